"""Every exercise: its shape, its reference solutions, and what its checks say to typical answers.

The answers are in classroom/wrong_answers/; each is run here in the place of the reference solution. That
nbgrader grades as these tests do is checked in test_grading.py.
"""

import ast
import copy
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

pytestmark = pytest.mark.slow
matplotlib.use("Agg")
torch.set_num_threads(1)  # models this small only lose by more
CLASSROOM = Path(__file__).resolve().parents[1]
NOTEBOOKS = CLASSROOM.parent / "notebooks"
SOURCES = {path.stem: path for path in sorted((CLASSROOM / "exercises").glob("*.ipynb"))}
LESSONS = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb") if path.stem[:2] != "00")
SOLUTION = re.compile(r"([ \t]*)### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL)  # as nbgrader cuts it out
KINDS = ("implement", "predict", "explain", "measure")


@dataclass(frozen=True)
class Answer:
    """A typical answer to a task; `hint` is a part of what the checks or hidden tests must say to a wrong one."""

    exercise: str
    task: str
    is_right: bool
    what: str
    code: str
    hint: str


@cache
def cells(exercise: str) -> list[dict]:
    """The cells of an exercise's source, each with its text and nbgrader's metadata as "nbgrader"."""
    notebook = json.loads(SOURCES[exercise].read_text(encoding="utf-8"))
    return [{"type": cell["cell_type"], "source": "".join(cell["source"]), "nbgrader": cell["metadata"].get("nbgrader")}
            for cell in notebook["cells"]]  # fmt: skip


@cache
def graded(exercise: str) -> dict[str, dict]:
    """The cells that nbgrader knows, by their grade_id."""
    return {cell["nbgrader"]["grade_id"]: cell for cell in cells(exercise) if cell["nbgrader"]}


@cache
def code_tasks(exercise: str) -> list[str]:
    """The tasks that are graded by machine."""
    return [name for name, cell in graded(exercise).items() if cell["nbgrader"]["solution"] and cell["type"] == "code"
            and not name.startswith("optional")]  # fmt: skip


@cache
def answers(exercise: str) -> list[Answer]:
    """The typical answers of an exercise's file."""
    path = CLASSROOM / "wrong_answers" / f"{exercise}.py"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    _, *parts = re.split(r"^# %% ", text, flags=re.MULTILINE)
    found = []
    for part in parts:
        title, _, code = part.partition("\n")
        task, kind, what = (field.strip() for field in title.split("|"))
        assert kind in ("wrong", "right"), title
        hint = re.match(r"# hint: (.+)\n", code)
        found.append(Answer(exercise, task, kind == "right", what, code, hint[1].strip() if hint else ""))
    return found


ANSWERS = [answer for exercise in SOURCES for answer in answers(exercise)]


@cache
def prepared(exercise: str) -> dict:
    """The names after the exercise's locked setup cells have run: all that a task may stand on."""
    names = {"__name__": "__main__"}
    for grade_id, cell in graded(exercise).items():
        if grade_id.startswith("setup"):
            exec(compile(cell["source"], f"<{exercise}: {grade_id}>", "exec"), names)
    return names


def marks(exercise: str, task: str, code: str, stop_early: bool = False) -> tuple[float, float, list[str]]:
    """Points reached, points possible, and the messages, for one task with this code as its answer."""
    own = (torch.Tensor, torch.nn.Module, dict, list)  # what one answer might spoil for the next
    names = {name: copy.deepcopy(value) if isinstance(value, own) else value
             for name, value in prepared(exercise).items() if not name.startswith("__")}  # fmt: skip
    names["__name__"] = "__main__"
    parts = {part: graded(exercise)[part] for part in (task, f"{task}-checks", f"{task}-hidden")}
    points = {part: cell["nbgrader"].get("points", 0) for part, cell in parts.items()}
    reached, messages = 0, []
    torch.manual_seed(0)
    for part, cell in parts.items():
        source = code if part == task else cell["source"]
        try:
            exec(compile(source, f"<{exercise}: {part}>", "exec"), names)
            reached += points[part]
        except Exception as error:
            messages.append(f"{type(error).__name__}: {error}")
            if stop_early:
                break
    plt.close("all")
    return reached, sum(points.values()), messages


def test_every_lesson_from_01_to_10_has_an_exercise():
    """Lesson 11 measures the machine that it runs on: no two students get the same answers."""
    assert list(SOURCES) == [name for name in LESSONS if name < "11"]


@pytest.mark.parametrize("exercise", SOURCES)
def test_it_has_four_to_six_tasks_of_every_kind(exercise):
    headings = [line for cell in cells(exercise) for line in cell["source"].splitlines() if line.startswith("## Task ")]
    found = [re.fullmatch(r"## Task (\d) · (\w+): \S.*", line) for line in headings]
    assert all(found), headings
    assert [match[1] for match in found] == [str(i + 1) for i in range(len(found))]
    assert 4 <= len(found) <= 6
    assert {match[2] for match in found} == set(KINDS)


@pytest.mark.parametrize("exercise", SOURCES)
def test_the_table_of_tasks_is_true(exercise):
    """Points and order in the opening table are those of the cells; its links lead to the headings."""
    rows = re.findall(r"^\| (\d) \| \[.+?\]\((#\S+)\) \| (\w+) \| (\d+) \| (\d+) \|$", cells(exercise)[0]["source"],
                      re.MULTILINE)  # fmt: skip
    headings = [line for cell in cells(exercise) for line in cell["source"].splitlines() if line.startswith("## Task ")]
    points, task = [], None
    for cell in cells(exercise):
        task = next((line for line in cell["source"].splitlines() if line.startswith("## Task ")), task)
        if cell["nbgrader"] and cell["nbgrader"]["grade"]:
            points += [] if points and points[-1][0] == task else [[task, 0]]
            points[-1][1] += cell["nbgrader"]["points"]
    assert [(int(row[3]), row[1], row[2]) for row in rows] == [
        (total, anchor(heading), re.match(r"## Task \d · (\w+)", heading)[1]) for heading, total in points
    ]
    assert [heading for heading, _ in points] == headings


def test_the_teachers_guide_is_true():
    """Minutes and points in its table are those of the exercises."""
    guide = (CLASSROOM / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d\d \| \[.+?\]\(exercises/(\w+)\.ipynb\) \| .+ \| (\d+) \| (\d+) \| (\d+) \|$", guide,
                      re.MULTILINE)  # fmt: skip
    expected, pattern = [], r"^\| \d \| .+ \| (\w+) \| (\d+) \| (\d+) \|$"
    for exercise in SOURCES:
        found = re.findall(pattern, cells(exercise)[0]["source"], re.MULTILINE)
        tasks = [(kind, int(points), int(minutes)) for kind, points, minutes in found]
        by_hand = sum(points for kind, points, _ in tasks if kind == "explain")
        expected.append((exercise, sum(task[2] for task in tasks), sum(task[1] for task in tasks), by_hand))
    assert [(row[0], *map(int, row[1:])) for row in rows] == expected
    totals = [sum(row[i] for row in expected) for i in (1, 2, 3)]
    assert f"| | all | | {totals[0]} | {totals[1]} | {totals[2]} |" in guide


def anchor(heading: str) -> str:
    """Where JupyterLab puts a heading."""
    return "#" + re.sub(r"[`*]", "", heading.lstrip("# ")).replace(" ", "-")


@pytest.mark.parametrize("exercise", SOURCES)
def test_every_task_has_hints_and_a_way_to_the_lesson(exercise):
    """At least two collapsed hints, then a link to a section that is there."""
    lesson = json.loads((NOTEBOOKS / f"{exercise}.ipynb").read_text(encoding="utf-8"))
    sections = {anchor(line) for cell in lesson["cells"] if cell["cell_type"] == "markdown"
                for line in "".join(cell["source"]).splitlines() if re.match(r"#+ ", line)}  # fmt: skip
    text = "\n".join(cell["source"] for cell in cells(exercise) if cell["type"] == "markdown")
    _, *tasks = re.split(r"^## Task ", text, flags=re.MULTILINE)
    for task in tasks:
        ways = re.findall(rf"\]\(\.\./\.\./notebooks/{exercise}\.ipynb(#[^)]+)\)", task)
        assert set(ways) <= sections, ways
        if " explain: " not in task.splitlines()[0]:
            assert len(re.findall(r"<details><summary>Hint \d</summary>", task)) >= 2, task
        assert ways, task


@pytest.mark.parametrize("exercise", SOURCES)
def test_links_lead_somewhere(exercise):
    text = "\n".join(cell["source"] for cell in cells(exercise) if cell["type"] == "markdown")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert [target for target in targets if target and not (SOURCES[exercise].parent / target).exists()] == []


@pytest.mark.parametrize("exercise", SOURCES)
def test_cells_have_what_nbgrader_needs(exercise):
    for name in code_tasks(exercise):
        solution, checks, hidden = (graded(exercise)[part] for part in (name, f"{name}-checks", f"{name}-hidden"))
        assert "### BEGIN SOLUTION" in solution["source"] and not solution["nbgrader"]["grade"]
        assert "HIDDEN TESTS" not in checks["source"]
        _, *tests = hidden["source"].split("### BEGIN HIDDEN TESTS\n")
        assert len(tests) == 1 and tests[0].endswith("### END HIDDEN TESTS")
        assert all(cell["nbgrader"]["locked"] and cell["nbgrader"]["grade"] for cell in (checks, hidden))
        assert hidden["nbgrader"]["points"] > 0
    for cell in cells(exercise):
        assert cell["source"].count("\n") <= 45, cell["source"]


@pytest.mark.parametrize("exercise", SOURCES)
def test_checks_explain_what_is_wrong(exercise):
    """Every assertion of checks and hidden tests has a message."""
    for name in code_tasks(exercise):
        for part in (f"{name}-checks", f"{name}-hidden"):
            asserts = [node for node in ast.walk(ast.parse(graded(exercise)[part]["source"]))
                       if isinstance(node, ast.Assert)]  # fmt: skip
            assert asserts and all(node.msg is not None for node in asserts), part


@pytest.mark.parametrize(("exercise", "task"), [(name, task) for name in SOURCES for task in code_tasks(name)])
def test_the_reference_gets_full_marks_and_the_stub_none(exercise, task):
    """Each task on its own, after nothing but the setup: no answer to another task is needed."""
    source = graded(exercise)[task]["source"]
    reached, possible, messages = marks(exercise, task, source)
    assert (reached, messages) == (possible, []) and possible > 0
    stub = SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", source)
    reached, _, messages = marks(exercise, task, stub)
    assert reached == 0 and messages[0].startswith("NotImplementedError") and "it fails" not in str(messages)


@pytest.mark.parametrize(("exercise", "task"), [(name, task) for name in SOURCES for task in code_tasks(name)])
def test_every_task_has_typical_answers(exercise, task):
    mine = [answer for answer in answers(exercise) if answer.task == task]
    assert sum(not answer.is_right for answer in mine) >= 5
    assert sum(answer.is_right for answer in mine) >= 1
    assert {answer.task for answer in answers(exercise)} <= set(code_tasks(exercise))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer.exercise[:2]} {answer.task}: {answer.what}")
def test_typical_answer(answer):
    """A right one gets full marks, however it is written; a wrong one is caught, and gets the hint that fits it."""
    reached, possible, messages = marks(answer.exercise, answer.task, answer.code, stop_early=True)
    if answer.is_right:
        assert (reached, messages) == (possible, [])
    else:
        assert reached < possible
        assert answer.hint and answer.hint in messages[0], messages
        assert messages[0].startswith("AssertionError: "), messages


def optional_part() -> list[str]:
    """The code of exercise 06's optional part, cell by cell."""
    start = next(i for i, cell in enumerate(cells("06_training")) if cell["source"].startswith("## Optional"))
    return [cell["source"] for cell in cells("06_training")[start:] if cell["type"] == "code"]


def test_the_optional_part_trains_ones_own_pieces(monkeypatch, capsys):
    """Beside the sources all the pieces are one's own, and what they make up learns."""
    monkeypatch.chdir(CLASSROOM / "exercises")
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    names = dict(prepared("06_training"))
    for source in optional_part():
        exec(compile(source, "<optional>", "exec"), names)
    plt.close("all")
    found = re.findall(r"^(\w+) +yours \((\d\d)", capsys.readouterr().out, re.MULTILINE)
    assert len(found) == 9 and {number for _, number in found} == {"01", "02", "03", "04", "05", "06"}
    assert names["accuracy"] > 0.5


def test_the_optional_part_goes_on_without_a_piece(monkeypatch, capsys, tmp_path):
    """In nbgrader's layout: one notebook is missing, one untouched, one broken, one wrong; the others are taken."""
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    for exercise, path in SOURCES.items():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            if exercise == "02_position_and_cls":
                source = SOLUTION.sub(r"\1raise NotImplementedError()", source)
            cell["source"] = source.replace("x = x + attention(norm1(x))", "x = attention(norm1(x))")
        if exercise != "05_classifier":
            (tmp_path / exercise).mkdir()
            text = "{" if exercise == "03_attention" else json.dumps(notebook)
            (tmp_path / exercise / path.name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "06_training")
    names = dict(prepared("06_training"))
    for source in optional_part()[:3]:
        exec(compile(source, "<optional>", "exec"), names)
    said = dict(re.findall(r"^(\w+) +(.+)$", capsys.readouterr().out, re.MULTILINE))
    assert said["embed"].startswith("yours (01")
    assert said["add_cls_and_positions"] == "the package's: yours is not written yet"
    assert "JSONDecodeError" in said["attend"] and "no such notebook" in said["head"]
    assert said["pre_norm_block"] == "the package's: yours gives something else in a quick test"
