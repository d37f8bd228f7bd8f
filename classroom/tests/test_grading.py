"""The students' version, and a class graded by nbgrader from the command line: good, wild and sly submissions."""

import csv
import html
import importlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pytest

pytestmark = pytest.mark.slow
CLASSROOM = Path(__file__).resolve().parents[1]
ROOT = CLASSROOM.parent
EXERCISES = sorted((CLASSROOM / "exercises").glob("*.ipynb"))
NAMES = [path.stem for path in EXERCISES]
UNTOUCHED = ["06_training", "10_image_to_words"]  # and 01 and 02, in the place of files that can't be opened
TOOLS = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}

LOOP = "def patchify(images, patch_size):\n    while True:\n        pass"
STUBBORN = """
import time
def patchify(images, patch_size):
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            pass
"""
EXIT = "import os\ndef embed(images, weight, bias, patch_size):\n    os._exit(0)"
FLOOD = "def embed(images, weight, bias, patch_size):\n    while True:\n        print('flood' * 1000)"
HOG = "hoard = []\nwhile True:\n    hoard.append(torch.ones(100_000_000))"
BROKEN_IMPORT = "import a_module_that_nobody_has\ndef patchify(images, patch_size):\n    return images"
PEEP = """
import inspect, linecache, warnings
stolen = []
def caller():
    return "".join(linecache.getlines(inspect.currentframe().f_back.f_back.f_code.co_filename))
def patchify(images, patch_size):
    warnings.warn("a warning is no mistake")
    print(caller())
    stolen.append(caller())
    open("stolen.txt", "w").write(caller())
    print(get_ipython().user_ns["In"][-1])
    return F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)
"""
PEEP_AND_RAISE = """
def embed(images, weight, bias, patch_size):
    if images.shape[1] == 3:
        raise ValueError(caller())
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, bias, stride=patch_size).flatten(2).transpose(1, 2)
"""


HOOK = "import sys\ndef embed(images, weight, bias, patch_size):\n    sys.displayhook(2.0)"
LIMITS = ["--seconds", "8", "--gigabytes", "2"]
SKIPPED = "def share_kept(images, patch):\n    return 1.0\nkept, (figure, ax) = {}, plt.subplots()"


def text_of(page: str) -> str:
    """What a page shows, without its markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def hidden_lines(exercise: str) -> set[str]:
    """The lines that an exercise has only in its hidden tests, but for lone brackets."""
    cells = nbformat.read(CLASSROOM / "exercises" / f"{exercise}.ipynb", as_version=4).cells
    lines = {is_test: {line.strip() for cell in cells if ("HIDDEN TESTS" in cell.source) == is_test
                       for line in cell.source.splitlines()} for is_test in (True, False)}  # fmt: skip
    return {line for line in lines[True] - lines[False] if len(line) > 11 and not line.startswith("#")}


def local_links(notebook: nbformat.NotebookNode) -> list[str]:
    """Where its Markdown leads, but for the web and its own headings."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    return [target for target in targets if target and not re.match(r"https?:|mailto:|attachment:", target)]


def changed(notebook: nbformat.NotebookNode, **answers: str) -> nbformat.NotebookNode:
    """A copy with other solutions, by grade_id."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(grade_id, cell.source)
    return notebook


def tool(name: str, *words) -> int | str | None:
    """What `python classroom/NAME.py WORDS` ends with, run in this process: to start one takes seconds."""
    module = importlib.import_module(name)
    with pytest.MonkeyPatch.context() as changes:
        changes.setenv("OMP_NUM_THREADS", "1")
        changes.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        try:
            return module.main()
        except SystemExit as end:
            return end.code


def as_users_start_it(name: str, *words) -> subprocess.CompletedProcess:
    """The same in a process of its own."""
    command = [sys.executable, CLASSROOM / f"{name}.py", *words]
    return subprocess.run(command, cwd=ROOT, env=TOOLS, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """The students' version, made by classroom/make.py."""
    folder = tmp_path_factory.mktemp("course")
    assert tool("make", "--to", folder) is None
    return folder


@pytest.fixture(scope="module")
def released(course) -> dict[str, nbformat.NotebookNode]:
    return {name: nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4) for name in NAMES}


@pytest.fixture(scope="module")
def unpacked(course, tmp_path_factory) -> tuple[Path, Callable[..., str]]:
    """The zip's folder, and a way to run Python with the package that is in it: `run("-c", "print(1)")`."""
    top = tmp_path_factory.mktemp("student") / "vit_exercises"
    with zipfile.ZipFile(course / "vit_exercises.zip") as file:
        file.extractall(top.parent)

    def run(*words: str) -> str:
        environment = {**TOOLS, "PYTHONPATH": str(top)}
        return subprocess.run([sys.executable, *words], cwd=top, env=environment, check=True, text=True,
                              stdout=subprocess.PIPE).stdout  # fmt: skip

    return top, run


def write_class(folder: Path, submissions: dict[str, nbformat.NotebookNode | str]) -> None:
    """Files as students hand them in, by their path: a notebook, or a text that is none."""
    for name, content in submissions.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else nbformat.writes(content)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def tame(released, tmp_path_factory) -> Path:
    """A class of two, graded: the references to all the exercises, and some as they were handed out."""
    folder = tmp_path_factory.mktemp("tame") / "handed in"
    write_class(folder, {f"reference/{path.name}": nbformat.read(path, as_version=4) for path in EXERCISES})
    write_class(folder, {f"untouched/week/{name}.ipynb": released[name] for name in UNTOUCHED})
    assert tool("grade", folder) is None
    return folder.with_name("handed in_graded")


@pytest.fixture(scope="module")
def wild(tmp_path_factory) -> Path:
    """Another class, graded: all that can go wrong with exercise 01."""
    folder = tmp_path_factory.mktemp("wild") / "handed in"
    first = nbformat.read(CLASSROOM / "exercises" / "01_patches.ipynb", as_version=4)
    sly = changed(first, patchify=PEEP, embed=PEEP_AND_RAISE)
    sly.cells += [nbformat.v4.new_code_cell("print(In)"), nbformat.v4.new_code_cell("print(stolen)")]
    vandal = changed(first, patchify="def patchify(images, patch_size):\n    return images", embed=HOOK, kept=SKIPPED)
    vandal = changed(vandal, **{"patchify-checks": "pass"})
    vandal.cells = [cell for cell in vandal.cells if "patchify-hidden" not in str(cell.metadata)]
    for cell in vandal.cells:
        if "points" in cell.metadata.get("nbgrader", {}):
            cell.metadata.nbgrader["points"] = 100
        if "kept-" in str(cell.metadata):
            cell.metadata["tags"] = ["skip-execution"]
    mangled = changed(first, patchify=BROKEN_IMPORT)  # by accident: a cell copied, one deleted, others added
    mangled.cells = [cell for cell in mangled.cells if "'setup'" not in str(cell.metadata)]
    copied = next(cell for cell in mangled.cells if "'embed-checks'" in str(cell.metadata))
    mangled.cells[3:3] = [copied, nbformat.v4.new_raw_cell("raw"), nbformat.v4.new_markdown_cell("half a hand \\UD83D")]
    mangled = nbformat.writes(mangled).replace("\\\\UD83D", "\\ud83d")
    write_class(folder, {
        "looper/01_patches.ipynb": changed(first, patchify=LOOP, embed=EXIT, kept=HOG),
        "stubborn/01_patches (1).ipynb": changed(first, patchify=STUBBORN, embed=FLOOD),
        "importer_01_patches.ipynb": mangled,
        "sly/01_patches.ipynb": sly,
        "vandal/01_patches.ipynb": vandal,
        "stranger/01_patches.ipynb": nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]),
        "broken/01_patches.ipynb": "{ this is no notebook",
        "empty/02_position_and_cls.ipynb": "",
    })  # fmt: skip
    done = as_users_start_it("grade", folder, *LIMITS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder.with_name("handed in_graded")


def grades(course: Path) -> dict[tuple[str, str], dict]:
    """The rows of grades.csv, by student and exercise."""
    with open(course / "grades.csv", encoding="utf-8-sig", newline="") as file:
        return {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def tasks(wild) -> dict[tuple[str, str], float]:
    """Points of each cell of exercise 01, by student and grade_id."""
    with open(wild / "tasks.csv", encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["exercise"] == "01_patches"]
    return {(row["student"], row["cell"]): float(row["points"]) for row in rows}


def feedback(graded: Path, student: str, exercise: str = "01_patches") -> str:
    return text_of((graded / "feedback" / student / exercise / f"{exercise}.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_release_has_neither_solutions_nor_hidden_tests(released, name):
    text = "\n".join(cell.source for cell in released[name].cells)
    assert "BEGIN" not in text and "gets full marks" not in text
    assert not [line for line in hidden_lines(name) if line in text]
    assert not [cell for cell in released[name].cells if cell.get("outputs")]
    code = [cell for cell in released[name].cells if cell.cell_type == "code"]
    stubs = [cell for cell in code if "raise NotImplementedError()" in cell.source]
    assert all(cell.metadata.nbgrader.solution for cell in stubs) and len(stubs) >= 3


def test_the_zip_has_all_that_a_student_needs(unpacked, released):
    top, run = unpacked
    assert not list(top.rglob("wrong_answers")) and not list(top.rglob("tests"))
    assert "pip install" in (top / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        notebook = nbformat.read(top / "classroom" / "exercises" / f"{name}.ipynb", as_version=4)
        assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == [
            cell.source for cell in released[name].cells if cell.cell_type == "code"
        ]
        assert local_links(notebook)
    for path in top.rglob("*.ipynb"):
        links = local_links(nbformat.read(path, as_version=4))
        assert [link for link in links if not (path.parent / link).is_file()] == [], path.name
    code = "from vit_from_scratch import load_emoji, recipe; print(len(load_emoji('val')), recipe.read_recipe('emoji'))"
    assert re.fullmatch(r"[1-9]\d+ \{'data': 'emoji', .+\}\n", run("-c", code))


def test_the_lessons_run_in_the_zip_too(unpacked):
    """What they take from the repository besides the package and its data is there: the export."""
    top, run = unpacked
    text = "".join(path.read_text(encoding="utf-8") for path in (top / "notebooks").glob("*.ipynb"))
    scripts = set(re.findall(r"%run \.\./(\S+)", text))
    assert scripts and all((top / script).is_file() for script in scripts)
    run("scripts/export.py", "--check")


@pytest.mark.parametrize("name", NAMES)
def test_nbgrader_gives_the_reference_full_marks(tame, name):
    """All but the explanations, which wait for the teacher."""
    row = grades(tame)["reference", name]
    assert float(row["points"]) + float(row["still_by_hand"]) == float(row["of"]) > float(row["still_by_hand"]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_saved_outputs_are_those_of_this_code(tame, name):
    """The reference, as it was run for grading, says what the source has saved."""
    fresh = nbformat.read(tame / "autograded" / "reference" / name / f"{name}.ipynb", as_version=4)
    saved = nbformat.read(CLASSROOM / "exercises" / f"{name}.ipynb", as_version=4)
    assert len(fresh.cells) == len(saved.cells)
    for new, old in zip(fresh.cells, saved.cells, strict=True):
        if old.cell_type == "code" and "nbval-ignore-output" not in old.metadata.get("tags", []):
            assert printed(new) == printed(old), old.source
            assert len(figures(new)) == len(figures(old)), old.source


def printed(cell) -> str:
    """A cell's text output, which arrives in one piece or in several."""
    return "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")


def figures(cell) -> list:
    """What a cell gives besides text."""
    return [output for output in cell.outputs if output.output_type != "stream"]


def test_the_untouched_release_gets_nothing(tame):
    for name in UNTOUCHED:
        row = grades(tame)["untouched", name]
        assert (float(row["points"]), float(row["still_by_hand"])) == (0, 0)


def test_every_student_is_in_the_table(wild):
    students = {"looper", "stubborn", "importer", "sly", "vandal", "stranger", "broken", "empty"}
    assert set(grades(wild)) == {(student, name) for student in students for name in NAMES[:2]}
    assert grades(wild)["looper", NAMES[1]]["note"] == "not handed in"


def test_loops_exits_and_hogs_cost_only_their_own_marks(tasks, wild):
    for student, lost in (("looper", ("patchify", "embed", "kept")), ("stubborn", ("patchify", "embed"))):
        for task in ("patchify", "embed", "counting", "kept"):
            points = {tasks[student, f"{task}-checks"], tasks[student, f"{task}-hidden"]}
            assert points == {0.0} if task in lost else 0.0 not in points, (student, task)
    assert "NotGraded: this used more than 2 GB of memory" in feedback(wild, "looper")
    assert "the kernel died" in feedback(wild, "looper")
    assert "could not be interrupted" in feedback(wild, "stubborn")
    assert len(feedback(wild, "stubborn")) < 3_000_000


def test_an_import_that_fails_costs_only_its_task(tasks):
    """And what happened to other cells by accident costs nothing: the setup is back, the copy does not count twice."""
    assert tasks["importer", "patchify-checks"] == tasks["importer", "patchify-hidden"] == 0
    assert tasks["importer", "embed-hidden"] == tasks["importer", "kept-hidden"] == 2


@pytest.mark.parametrize("student, exercise", [("broken", NAMES[0]), ("empty", NAMES[1]), ("stranger", NAMES[0])])
def test_a_file_that_cannot_be_opened_gets_nothing_and_a_reason(wild, student, exercise):
    row = grades(wild)[student, exercise]
    assert (float(row["points"]), float(row["still_by_hand"])) == (0, 0)
    assert row["note"].startswith("could not be graded: ") and row["note"] in feedback(wild, student, exercise)


def test_checks_that_were_changed_or_removed_are_put_back(tasks, wild):
    assert tasks["vandal", "patchify-checks"] == tasks["vandal", "patchify-hidden"] == 0
    assert grades(wild)["vandal", "01_patches"]["of"] == grades(wild)["looper", "01_patches"]["of"] == "19.0"
    assert tasks["vandal", "counting-hidden"] == 3


def test_a_test_that_did_not_run_earns_nothing(tasks, wild):
    """Not where a value was shown in its place, and not where a tag kept it from running; the teacher gets a hint."""
    for task in ("embed", "kept"):
        assert tasks["vandal", f"{task}-checks"] == tasks["vandal", f"{task}-hidden"] == 0
    assert "displayhook" in grades(wild)["vandal", "01_patches"]["note"]


def test_a_warning_costs_nothing(tasks):
    assert tasks["sly", "patchify-checks"] == tasks["sly", "patchify-hidden"] == 2


def test_feedback_never_shows_hidden_tests(tame, wild):
    pages = sorted([*(tame / "feedback").rglob("*.html"), *(wild / "feedback").rglob("*.html")])
    assert len(pages) == len(NAMES) + len(UNTOUCHED) + 8
    for page in pages:
        text = text_of(page.read_text(encoding="utf-8"))
        assert not [line for line in hidden_lines(page.stem) if line in text], page
    assert "[removed: a part of the hidden tests was in this output]" in feedback(wild, "sly")
    assert {path.suffix for path in (wild / "feedback").rglob("*") if path.is_file()} == {".html"}


def test_feedback_says_what_hidden_tests_found(tame, wild):
    page = feedback(tame, "reference")
    assert page.count("Hidden tests: they run when the exercise is graded.") == page.count("passed") == 4
    assert "NotImplementedError" in feedback(tame, "untouched", UNTOUCHED[0])


def test_what_was_graded_is_not_graded_again(wild):
    """The same command goes on where it was, and keeps the marks that a teacher gave by hand."""
    from nbgrader.api import Gradebook

    pages = (wild / "autograded").rglob("*.ipynb")
    times = {page: page.stat().st_mtime for page in pages if "stranger" not in page.parts}
    stamps = json.loads((wild / "graded.json").read_text(encoding="utf-8"))
    stamps["stranger/01_patches"] = {"fingerprint": stamps["stranger/01_patches"]["fingerprint"], "cut_off": 3}
    (wild / "graded.json").write_text(json.dumps(stamps), encoding="utf-8")
    with Gradebook(f"sqlite:///{wild / 'gradebook.db'}") as gradebook:
        mark = gradebook.find_grade("no-error", "01_patches", "01_patches", "looper")
        mark.manual_score, mark.needs_manual_grade = 3, False
        gradebook.db.commit()
    before = grades(wild)["looper", "01_patches"]
    folder = wild.with_name("handed in")
    write_class(folder, {"late/01_patches.ipynb": "{}"})
    assert tool("grade", folder, *LIMITS) is None
    after = grades(wild)
    assert float(after["looper", "01_patches"]["points"]) == float(before["points"]) + 3
    assert after["late", "01_patches"]["note"].startswith("could not be graded")
    assert "cut off three times" in after["stranger", "01_patches"]["note"]  # as if its code had killed the grader
    assert times == {page: page.stat().st_mtime for page in times}


def test_links_lead_from_where_the_release_lies(tmp_path, monkeypatch):
    """To the repository's lessons from a course in it; elsewhere to lessons beside the assignments."""
    import make

    monkeypatch.setattr(make, "ROOT", tmp_path / "repository")
    for course, lessons in (("repository/build/exercises", "repository/notebooks"), ("course", "course/release")):
        course = tmp_path / course
        nbgrader = Mock(generate_assignment=Mock(return_value={"success": True}))
        make.make_course(nbgrader, course, EXERCISES[:1])
        links = local_links(nbformat.read(course / "source" / NAMES[0] / EXERCISES[0].name, as_version=4))
        found = {os.path.normpath(course / "release" / NAMES[0] / link) for link in links}
        assert found == {str(tmp_path / lessons / EXERCISES[0].name)}


def test_a_slow_setup_is_not_the_students_fault():
    """A cell's limit holds for students' cells; those that the teacher has locked may take longer."""
    from guarded import GuardedExecute

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"import time; time.sleep(2); {name} = 1")
                                               for name in ("setup", "answer")])  # fmt: skip
    notebook.cells[0].metadata["nbgrader"] = {"locked": True, "grade": False, "solution": False}
    notebook.cells.append(nbformat.v4.new_code_cell("print(setup, 'answer' in globals())"))
    GuardedExecute(timeout=1).preprocess(notebook, {})
    errors = [[output.get("ename") for output in cell.outputs] for cell in notebook.cells[:2]]
    assert errors[0] == [] and "CellTimeoutError" in errors[1] and printed(notebook.cells[2]) == "1 False\n"


def test_students_are_told_apart(tmp_path):
    """Names are made safe, but never two into one; a file under its own name goes before others."""
    from grade import find_submissions

    for name in ("Ann [x]/01_patches.ipynb", "Ann (x)/01_Patches.ipynb", "ann_x/01_patches.ipynb", "bob/patches.ipynb",
                 "Zoé/deep/01_patches.ipynb", "zip_01_patches.ipynb", "bob/01_patches.ipynb",
                 "bob/01_patches-Copy1.ipynb", "bob/.ipynb_checkpoints/01_patches.ipynb"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found, others = find_submissions(tmp_path, NAMES)
    students = {one.student for one in found}
    assert len(found) == len({student.casefold() for student in students}) == 6
    assert {"Zoé", "zip", "bob", "Ann_x", "Ann_x_2"} <= students and {one.exercise for one in found} == {"01_patches"}
    bob = next(one for one in found if one.student == "bob")
    assert bob.path.name == "01_patches.ipynb" and "several files" in bob.note
    assert [path.name for path in others] == ["patches.ipynb"]


def test_nobody_elses_folder_is_overwritten(wild, tmp_path, capsys):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "thesis.txt").write_text("years of work")
    done = as_users_start_it("make", "--to", tmp_path)
    assert done.returncode == 2 and "holds something else" in done.stderr
    assert tool("make", "--to", wild) == 2 and "holds something else" in capsys.readouterr().err
    assert (tmp_path / "source" / "thesis.txt").exists() and (wild / "gradebook.db").exists()


def test_grading_refuses_what_is_no_class(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # which "" is
    done = as_users_start_it("grade", tmp_path)
    assert done.returncode == 1 and "no submissions in" in done.stderr and "Traceback" not in done.stderr
    for folder in (tmp_path / "nowhere", ""):
        assert tool("grade", folder) == 2 and "no folder of submissions at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
