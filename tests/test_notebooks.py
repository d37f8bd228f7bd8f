"""What every lesson has, and what none may have; nbval checks that its outputs are true."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from run_series import clean, code_hash

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CORE_SERIES = [
    "00_the_pictures",
    "01_patches",
    "02_position_and_cls",
    "03_attention",
    "04_encoder",
    "05_classifier",
    "06_training",
]
LESSONS = sorted({*CORE_SERIES, *(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))})
MACHINE_PATHS = re.compile(r"/home/|/root/|/Users/|/tmp/|[A-Z]:\\|(?<![\w.:/<])/(?:\w[\w.-]*/)+")
READABLE = ("text/", "application/json", "image/svg")  # not base64, where any four letters can occur by chance


@pytest.fixture(params=LESSONS)
def lesson(request) -> dict:
    """A lesson's notebook, as a dict."""
    path = NOTEBOOKS / f"{request.param}.ipynb"
    assert path.is_file(), f"{path.name} is missing"
    return json.loads(path.read_text(encoding="utf-8")) | {"name": request.param}


def joined(text: str | list[str]) -> str:
    """A field of a notebook: a string, or a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def code(lesson: dict) -> list[dict]:
    """The code cells that have code."""
    return [cell for cell in lesson["cells"] if cell["cell_type"] == "code" and joined(cell["source"]).strip()]


def prose(lesson: dict) -> str:
    """All the Markdown."""
    return "\n\n".join(joined(cell["source"]) for cell in lesson["cells"] if cell["cell_type"] == "markdown")


def outputs(lesson: dict) -> list[dict]:
    return [output for cell in code(lesson) for output in cell["outputs"]]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_the_kernel_is_there_on_every_machine(lesson):
    assert lesson["metadata"]["kernelspec"]["name"] == "python3"


def test_it_was_run_from_top_to_bottom(lesson):
    counts = [cell["execution_count"] for cell in code(lesson)]
    assert counts == list(range(1, len(counts) + 1))


def test_its_outputs_are_of_its_code(lesson):
    """Not that they are true, which nbval checks: but no code cell has changed since they were saved."""
    notebook = nbformat.read(NOTEBOOKS / f"{lesson['name']}.ipynb", as_version=4)
    way_out = f"{lesson['name']} has changed since its outputs were saved: make save LESSON={lesson['name'][:2]}"
    assert lesson["metadata"].get("outputs_of") == code_hash(notebook), way_out


def test_no_editor_has_left_anything(lesson):
    path = NOTEBOOKS / f"{lesson['name']}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    is_clean = clean(notebook, notebook.metadata.get("outputs_of", "")) == path.read_text(encoding="utf-8")
    assert is_clean, f"{path.name} has metadata or a form that `make export` removes"


def test_no_cell_failed_or_warned(lesson):
    assert [output.get("evalue") for output in outputs(lesson) if output["output_type"] == "error"] == []
    assert [joined(output["text"]) for output in outputs(lesson) if output.get("name") == "stderr"] == []


def test_outputs_name_no_machine(lesson):
    for output in outputs(lesson):
        texts = [joined(output.get("text", ""))]
        texts += [joined(data) if isinstance(data, str | list) else json.dumps(data)
                  for kind, data in output.get("data", {}).items() if kind.startswith(READABLE)]  # fmt: skip
        assert not [found for text in texts for found in MACHINE_PATHS.findall(text)], texts


def test_no_cell_is_skipped(lesson):
    for cell in lesson["cells"]:
        assert not {"nbval-skip", "raises-exception"} & set(tags(cell)), joined(cell["source"])
        assert not re.search(r"#\s*(NBVAL_SKIP|NBVAL_RAISES_EXCEPTION)", joined(cell["source"]))


def test_what_varies_is_asserted_soon_after(lesson):
    cells = code(lesson)
    for i, cell in enumerate(cells):
        if "nbval-ignore-output" in tags(cell) or re.search(r"#\s*NBVAL_IGNORE_OUTPUT", joined(cell["source"])):
            following = "\n".join(joined(after["source"]) for after in cells[i + 1 : i + 4])
            assert re.search(r"^\s*assert ", following, re.MULTILINE), joined(cell["source"])


def test_it_opens_with_its_number_and_what_it_is_for(lesson):
    first = joined(lesson["cells"][0]["source"])
    assert re.match(rf"# {lesson['name'][:2]}\b", first)
    assert re.search(r"^> \S", first, re.MULTILINE)


def test_it_ships_what_it_built(lesson):
    shipped = prose(lesson).find("## Ship it")
    assert shipped > 0
    after = next(i for i, cell in enumerate(lesson["cells"]) if "## Ship it" in joined(cell["source"]))
    last_cells = "\n".join(joined(cell["source"]) for cell in lesson["cells"][after:] if cell["cell_type"] == "code")
    assert f"scripts/export.py {lesson['name']}.ipynb" in last_cells
    assert re.search(r"\b(from|import) vit_from_scratch", last_cells)  # and imports it back
    assert re.search(r"^\s*assert ", last_cells, re.MULTILINE)


def test_it_ends_with_three_questions(lesson):
    _, *rest = re.split(r"^#+ .*[Qq]uestions.*$", prose(lesson), flags=re.MULTILINE)
    assert len(rest) == 1
    assert re.findall(r"^(?:\*\*)?(\d)\.(?:\*\*)? ", rest[0], re.MULTILINE) == ["1", "2", "3"]


def test_its_links_lead_somewhere(lesson):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(lesson)) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose(lesson))
    local = [target.split("#")[0] for target in targets if not re.match(r"https?:|mailto:|attachment:|#", target)]
    assert [target for target in local if not (NOTEBOOKS / target).exists()] == []


def test_it_leads_to_its_neighbours(lesson):
    """From any lesson but the first back to one before it."""
    number = int(lesson["name"][:2])
    linked = {int(found) for found in re.findall(r"\]\((\d\d)_\w+\.ipynb", prose(lesson))}
    assert number == 0 or any(other < number for other in linked)


def test_lessons_are_numbered_without_gaps():
    assert [name[:2] for name in LESSONS] == [f"{i:02d}" for i in range(len(LESSONS))]


def test_the_time_to_read_is_that_of_its_words_and_lines(lesson):
    """150 words a minute, or 25 lines of code: slowly, as one reads what is new."""
    words = len(prose(lesson).split())
    lines = sum(bool(line.strip()) for cell in code(lesson) for line in joined(cell["source"]).splitlines())
    (stated,) = re.findall(r"Time:(?:\*\*)? about (\d+) minutes to read", prose(lesson))
    assert abs(int(stated) - (words / 150 + lines / 25)) <= 5, f"about {words / 150 + lines / 25:.0f} minutes"
