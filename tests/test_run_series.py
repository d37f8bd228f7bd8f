"""What makes a lesson run again, and what doesn't: a made-up series of two lessons, in real kernels."""

import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import export
import nbformat
import pytest
import run_series

pytestmark = pytest.mark.slow

MODULES = {"__init__": "", "small": "word = 'small'\n", "large": "from .small import word\n", "other": "x = 1\n"}
FIRST = [
    "import os\nfrom pathlib import Path\nfrom vit_from_scratch.large import word\nroot = Path.cwd().parent",
    "with open(os.environ['RUNS'], 'a') as file:  # outside of the repository: how often it ran\n    file.write('00 ')",
    "text = (root / 'data' / 'read.txt').read_text() + (root / 'pyproject.toml').read_text()\n"
    "unfinished = root / 'build' / 'model.unfinished'\n"
    "unfinished.parent.mkdir(exist_ok=True)\n"
    "unfinished.write_text(text + word)\n"
    "os.replace(unfinished, root / 'build' / 'model.txt')\n"
    "print((root / 'build' / 'model.txt').read_text())",
]
SECOND = [
    "import os\nfrom pathlib import Path\nimport vit_from_scratch\nroot = Path.cwd().parent",
    "with open(os.environ['RUNS'], 'a') as file:\n    file.write('01 ')",
    "print((root / 'build' / 'model.txt').read_text())",
]


def write_lesson(path: Path, cells: list[str]) -> None:
    """A lesson with a title, its code cells, a figure and a last word."""
    notebook = nbformat.v4.new_notebook(metadata=run_series.METADATA)
    notebook.cells = [nbformat.v4.new_markdown_cell(f"# {path.stem}\n\n> A lesson of a test.", id="title")]
    notebook.cells += [nbformat.v4.new_code_cell(source, id=f"code-{i}") for i, source in enumerate(cells)]
    notebook.cells += [nbformat.v4.new_markdown_cell("The end.", id="end")]
    path.parent.mkdir(exist_ok=True)
    path.write_text(nbformat.writes(notebook).rstrip() + "\n", encoding="utf-8")


class Series:
    """A repository of two lessons in a folder of its own, and the command that runs them."""

    def __init__(self, folder: Path, monkeypatch):
        self.root, self.runs, self.monkeypatch = folder / "repository", folder / "runs", monkeypatch
        for name, text in MODULES.items():
            self.write(f"vit_from_scratch/{name}.py", text)
        self.write("pyproject.toml", "")  # as the export reads it
        self.write("data/read.txt", "a ")
        self.write("data/not_read.txt", "b ")
        write_lesson(self.root / "notebooks" / "00_first.ipynb", FIRST)
        write_lesson(self.root / "notebooks" / "01_second.ipynb", SECOND)
        for module, name, value in [(run_series, "ROOT", self.root), (run_series, "BUILD", self.root / "build"),
                                    (export, "ROOT", self.root)]:  # fmt: skip
            monkeypatch.setattr(module, name, value)
        monkeypatch.setenv("PYTHONPATH", str(self.root))
        monkeypatch.setenv("RUNS", str(self.runs))

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def command(self, *words: str) -> int:
        """The exit status of `run_series.py WORDS`."""
        self.monkeypatch.setattr(sys, "argv", ["run_series.py", *words])
        try:
            return run_series.main()
        except SystemExit as end:
            return end.code

    def ran(self, *words: str) -> str:
        """The numbers of the lessons that the command ran."""
        self.runs.write_text("")
        assert self.command(*words) == 0
        return self.runs.read_text().strip()

    def edit(self, name: str, change) -> None:
        """Let `change` alter the dict of a lesson's notebook."""
        path = self.root / "notebooks" / f"{name}.ipynb"
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def copy(self, name: str) -> nbformat.NotebookNode:
        return nbformat.read(self.root / "build" / "lessons" / f"{name}.ipynb", as_version=4)

    def snapshot(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.root / "notebooks").glob("*.ipynb")}


@pytest.fixture
def series(tmp_path, monkeypatch) -> Series:
    return Series(tmp_path.resolve(), monkeypatch)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory) -> Path:
    """The folder of a series that has run once; tests work on copies."""
    folder = tmp_path_factory.mktemp("first").resolve()
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert Series(folder, monkeypatch).ran() == "00 01"
    return folder / "repository"


@pytest.fixture
def has_run(series, first_run) -> Series:
    """The series after its first run."""
    shutil.copytree(first_run, series.root, dirs_exist_ok=True)
    return series


def test_what_has_run_does_not_run_again(has_run, capsys):
    before, unchanged = has_run.snapshot(), (has_run.root / "build" / "lessons" / "00_first.html").stat().st_mtime_ns
    assert has_run.ran() == ""
    assert "00_first                 has run already (build/lessons/00_first.ipynb)\n" in capsys.readouterr().out
    assert (has_run.root / "build" / "lessons" / "00_first.html").stat().st_mtime_ns == unchanged
    assert has_run.snapshot() == before  # without --save the lessons stay as they are
    assert has_run.copy("00_first").metadata.ran["read"].keys() == {
        "data/read.txt", *(f"vit_from_scratch/{name}.py" for name in ("__init__", "small", "large"))}  # fmt: skip
    assert has_run.copy("00_first").metadata.ran["written"] == ["build/model.txt"]
    assert has_run.copy("01_second").metadata.ran["read"].keys() == {"build/model.txt", "vit_from_scratch/__init__.py"}
    page = (has_run.root / "build" / "index.html").read_text(encoding="utf-8")
    assert all(text in page for text in ("A lesson of a test.", 'href="#00_first"', 'href="lessons/00_first.html"'))
    assert has_run.ran("--fresh") == "00 01"


def test_new_prose_tags_and_ids_run_nothing_and_are_shown(has_run, capsys):
    def change(content):
        content["cells"][-1]["source"] = "A new last word."
        content["cells"].insert(2, {"cell_type": "markdown", "id": "new", "metadata": {}, "source": "A new cell."})
        content["cells"][1] |= {"id": "another", "metadata": {"tags": ["result"]}}

    has_run.edit("00_first", change)
    assert has_run.ran() == ""
    assert "only its prose is new" in capsys.readouterr().out
    copy = has_run.copy("00_first")
    assert [cell.source for cell in copy.cells if cell.cell_type == "markdown"][1:] == [
        "A new cell.", "A new last word."]  # fmt: skip
    assert copy.cells[1].metadata.tags == ["result"] and copy.cells[4].outputs[0].text == "a small\n"
    assert [cell.execution_count for cell in copy.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert "A new last word." in (has_run.root / "build" / "lessons" / "00_first.html").read_text(encoding="utf-8")
    assert has_run.ran() == ""
    assert "only its prose is new" not in capsys.readouterr().out


def change_code(content):
    content["cells"][3]["source"] = "".join(content["cells"][3]["source"]) + "\nprint('more')"


def swap_cells(content):
    content["cells"][1:3] = content["cells"][2:0:-1]
    content["cells"][1]["source"] = "import os\n" + "".join(content["cells"][1]["source"])


@pytest.mark.parametrize("change", [change_code, swap_cells])
def test_changed_code_runs_again(has_run, change):
    has_run.edit("01_second", change)
    assert has_run.ran() == "01"
    assert has_run.ran() == ""


@pytest.mark.parametrize("name, text, again", [
    ("vit_from_scratch/small.py", "word = 'small'  # imported through another module, and makes the same model", "00"),
    ("vit_from_scratch/small.py", "word = 'tiny'", "00 01"),
    ("vit_from_scratch/other.py", "x = 2  # nobody imports it", ""),
    ("data/read.txt", "another ", "00 01"),
    ("data/not_read.txt", "another ", ""),
    ("build/model.txt", "another", "01"),
], ids=["same model", "other model", "not imported", "data", "not read", "checkpoint"])  # fmt: skip
def test_only_what_a_lesson_has_read_makes_it_run_again(has_run, capsys, name, text, again):
    has_run.write(name, text)
    assert has_run.ran() == again
    assert (f"runs again: {name} has changed" in capsys.readouterr().out) == bool(again)
    assert has_run.ran() == ""


def test_a_lost_checkpoint_is_made_by_the_lesson_that_makes_it(has_run, capsys):
    (has_run.root / "build" / "model.txt").unlink()
    assert has_run.ran() == "00"  # and the second need not run: the new one equals the old one
    assert "00_first                 runs again: build/model.txt is gone" in capsys.readouterr().out


def test_what_other_processes_and_rust_read_counts(series):
    """A program that the lesson starts, a worker process of each kind, and safetensors, whose files Rust opens."""
    for name in ("program", "fork", "spawn", "safetensors"):
        series.write(f"data/{name}", name)
    series.write("data/reader.py", "import sys\n\ndef read(path):\n    open(path).close()\n\nread(sys.argv[-1])\n")
    write_lesson(series.root / "notebooks" / "00_first.ipynb", [
        "import multiprocessing, subprocess, sys\nsys.path.insert(0, '../data')\nsys.argv.append('../data/reader.py')",
        "subprocess.run([sys.executable, 'reader.py', 'program'], cwd='../data', check=True)",
        "from reader import read\n"
        "for kind in set(multiprocessing.get_all_start_methods()) & {'fork', 'spawn'}:\n"
        "    with multiprocessing.get_context(kind).Pool(1) as pool:\n"
        "        pool.map(read, [f'../data/{kind}'])",
        "from safetensors import SafetensorError, safe_open\n"
        "try:\n"
        "    safe_open('../data/safetensors', 'np')\n"
        "except SafetensorError:\n"
        "    pass",
    ])  # fmt: skip
    assert series.command("00") == 0
    read = series.copy("00_first").metadata.ran["read"]
    kinds = {"fork", "spawn"} & set(multiprocessing.get_all_start_methods())
    assert read.keys() == {f"data/{name}" for name in ("reader.py", "program", "safetensors", *kinds)}


def test_a_lesson_that_was_overtaken_runs_again(series):
    """A module that somebody changes while the lesson runs, seen by no recorder."""
    write_lesson(series.root / "notebooks" / "01_second.ipynb", [
        "import os, subprocess, sys, vit_from_scratch\nfrom pathlib import Path",
        "with open(os.environ['RUNS'], 'a') as file:\n    file.write('01 ')",
        "if not os.path.exists(os.environ['RUNS'] + '.once'):\n"
        "    code = 'open(\"../vit_from_scratch/__init__.py\", \"a\").write(\"# more\")'\n"
        "    subprocess.run([sys.executable, '-S', '-c', code], check=True)\n"
        "    Path(os.environ['RUNS'] + '.once').touch()",
    ])  # fmt: skip
    assert [series.ran("01") for _ in range(3)] == ["01", "01", ""]


def test_an_interrupted_series_goes_on_where_it_was(series, monkeypatch, capsys):
    run = run_series.run

    def interrupted(lesson):
        if lesson.stem == "01_second":
            raise KeyboardInterrupt
        return run(lesson)

    monkeypatch.setattr(run_series, "run", interrupted)
    assert series.command() == 130
    assert "Interrupted in 01_second. The same command, without --fresh, goes on" in capsys.readouterr().err
    monkeypatch.setattr(run_series, "run", run)
    assert series.ran() == "01"


def test_a_cell_that_fails_is_shown_and_nothing_is_kept(has_run, capsys):
    before = has_run.copy("01_second")
    has_run.edit("01_second", lambda content: content["cells"][3].update(source="1 / 0"))
    assert has_run.command("--save") == 1
    message = capsys.readouterr().err
    assert "FAILED: 01_second.ipynb, code cell 3:\n\n1 / 0\n\nZeroDivisionError" in message
    assert has_run.copy("01_second") == before
    assert [path for path in has_run.root.rglob("*.unfinished") if path.parent.name != "build"] == []


def test_a_lesson_that_does_not_exist_is_named(series, capsys):
    assert series.command("00", "77") == 2
    assert "no lesson fits 77; there are 00_first, 01_second" in capsys.readouterr().err


def test_one_lesson_is_run_and_saved(has_run):
    """With the checkpoint that the first has left, and with nothing in its metadata but what belongs there."""
    before = has_run.snapshot()
    assert has_run.ran("--fresh", "--save", "01") == "01"
    after = has_run.snapshot()
    assert after["00_first.ipynb"] == before["00_first.ipynb"]
    saved = nbformat.reads(after["01_second.ipynb"].decode(), as_version=4)
    assert saved.cells[3].outputs[0].text == "a small\n"
    assert saved.metadata == run_series.METADATA | {"outputs_of": run_series.code_hash(saved)}
    assert has_run.ran("--save") == ""  # what is in build/ is saved, too, without a run
    assert has_run.snapshot()["01_second.ipynb"] == after["01_second.ipynb"]
    assert json.loads(has_run.snapshot()["00_first.ipynb"])["cells"][3]["outputs"]


def test_an_edit_while_it_runs_is_not_lost(series, monkeypatch, capsys):
    run = run_series.run

    def edited(change):
        def run_then_edit(lesson):
            notebook = run(lesson)
            series.edit(lesson.stem, change)
            return notebook

        return run_then_edit

    monkeypatch.setattr(run_series, "run", edited(lambda content: content["cells"][-1].update(source="New prose.")))
    assert series.command("--save", "00") == 0
    saved = nbformat.reads(series.snapshot()["00_first.ipynb"].decode(), as_version=4)
    assert saved.cells[-1].source == "New prose." and saved.cells[3].outputs[0].text == "a small\n"
    monkeypatch.setattr(run_series, "run", edited(change_code))
    assert series.command("--fresh", "--save", "00") == 1
    assert "00_first.ipynb has been edited while it ran, and nothing is saved" in capsys.readouterr().err
    assert b"print('more')" in series.snapshot()["00_first.ipynb"]


def test_what_an_editor_leaves_is_removed(series, capsys):
    def leave_traces(content):
        content["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}
        content["metadata"]["outputs_of"] = "kept"
        content["cells"][1]["metadata"] = {"tags": ["result"], "collapsed": True}
        content["cells"][2]["metadata"] = {"tags": [], "scrolled": True}

    before = series.snapshot()
    assert series.ran("--clean") == ""
    once = series.snapshot()
    assert once["01_second.ipynb"].decode() == before["01_second.ipynb"].decode().replace(
        '"python"\n  }\n }', '"python"\n  },\n  "outputs_of": ""\n }')  # fmt: skip
    series.edit("01_second", leave_traces)
    capsys.readouterr()
    assert series.ran("--clean") == ""
    assert capsys.readouterr().out == "01_second: removed what an editor had left\n"
    cleaned = nbformat.reads(series.snapshot()["01_second.ipynb"].decode(), as_version=4)
    assert cleaned.metadata == run_series.METADATA | {"outputs_of": "kept"}
    assert [cell.metadata for cell in cleaned.cells[1:3]] == [{"tags": ["result"]}, {}]


def test_saved_outputs_do_not_say_where_the_repository_lies(monkeypatch, tmp_path):
    monkeypatch.setattr(run_series, "ROOT", tmp_path)
    cell = nbformat.v4.new_code_cell("print()", outputs=[
        nbformat.v4.new_output("stream", text=f"{tmp_path / 'data' / 'photo.png'}: cat")])  # fmt: skip
    text = run_series.clean(nbformat.v4.new_notebook(cells=[cell]), "hash")
    assert str(tmp_path) not in text and "photo.png: cat" in text


def test_kernels_get_what_the_makefile_exports(monkeypatch, tmp_path):
    makefile = tmp_path / "Makefile"
    makefile.write_text("export MADE_UP ?= 1\nexport SET_BEFORE ?= 1\nOTHER ?= 1\n")
    monkeypatch.setattr(run_series, "MAKEFILE", makefile)
    monkeypatch.setenv("SET_BEFORE", "2")
    monkeypatch.setenv("PYTHONPATH", "mine")
    found = run_series.environment("record")
    assert (found["MADE_UP"], found["SET_BEFORE"], found.get("OTHER")) == ("1", "2", None)
    assert found["PYTHONPATH"].endswith("mine") and found["PYTHONPATH"] != "mine"
