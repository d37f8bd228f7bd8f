"""Grade a folder of submissions with nbgrader: grades.csv, tasks.csv and a page of feedback for every student.

Submissions are found by the exercise's name: STUDENT/01_patches.ipynb, STUDENT/anything/01_patches.ipynb, or
STUDENT_01_patches.ipynb. A cell that never ends or eats memory, a kernel that dies and a file that can't be opened cost
only their own marks. Feedback shows what the hidden tests say, never the tests. What was graded already, and has not
changed since, is not graded again. Grading runs the students' code: do it where that can do no harm.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from exercises import ROOT, course_api, make_course, sources
from nbclient.client import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_markdown_cell, new_output
from tqdm import tqdm
from traitlets import Float

try:
    from nbgrader.api import Gradebook, MissingEntry
    from nbgrader.preprocessors import Execute, NbGraderPreprocessor
    from nbgrader.utils import is_grade
except ImportError:
    raise SystemExit("nbgrader is not installed: pip install -r requirements-classroom.txt") from None

warnings.filterwarnings("ignore", module="nbgrader")  # its queries are older than SQLAlchemy 2.1
BEGIN_HIDDEN = "BEGIN HIDDEN TESTS"
KERNEL_OPTIONS = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
LARGEST_FILE = 20e6  # bytes
LARGEST_OUTPUT = 1e6  # characters of one cell
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class GuardedExecute(Execute):
    """Runs a submission as nbgrader does, and goes on in a fresh kernel where one was lost.

    The cell in which the kernel died, or did not stop when told to, gets an error as its output. The cells before it
    are run again in the new kernel, but for the lost ones and the tests, so that the tasks after it can be graded.
    """

    memory_limit = Float(4e9, help="bytes that a kernel and its children may use").tag(config=True)
    total_limit = Float(900, help="seconds for a whole submission").tag(config=True)

    def preprocess(self, nb, resources, km=None):
        """Run all the cells; every one that was not run has an error as its output, so that it earns nothing."""
        NotebookClient.__init__(self, nb, km)
        self._check_assign_resources(resources)
        self.deadline, self.lost = time.monotonic() + self.total_limit, set()
        done = 0
        while done < len(nb.cells):
            self.reset_execution_trackers()
            with self.setup_kernel(), self.watched():
                done = self.run_from(done)
        return nb, self.resources

    def run_from(self, first: int) -> int:
        """Run the cells from `first` on, after those before it; gives the first that is still to be run."""
        for index, cell in enumerate(self.nb.cells):
            again = index < first
            if cell.cell_type != "code" or (again and (index in self.lost or is_grade(cell))):
                continue
            if time.monotonic() > self.deadline:
                for late in self.nb.cells[max(first, index) :]:
                    refuse(late, f"the submission took more than {self.total_limit:.0f} seconds; this was not run")
                return len(self.nb.cells)
            if is_grade(cell) and index - 1 in self.lost:  # it would only stop once more
                self.lost.add(index)
                refuse(cell, "not run, because the cell above had to be stopped")
                continue
            target = nbformat.from_dict(cell) if again else cell
            try:
                self.printed = 0
                self.execute_cell(target, index, store_history=BEGIN_HIDDEN not in cell.source)
            except (DeadKernelError, CellTimeoutError) as error:
                self.lost.add(index)
                refuse(cell, self.reason(error))
                return max(first, index + 1)
            if is_grade(target):  # a warning is no failure, but nbgrader takes stderr for one
                for output in target.outputs:
                    output.update({"name": "stdout"} if output.get("name") == "stderr" else {})
        return len(self.nb.cells)

    def reason(self, error: Exception) -> str:
        """Why the kernel is lost, for the student."""
        if self.over_limit:
            return f"this used more than {self.memory_limit / 1e9:.0f} GB of memory, and was stopped"
        if isinstance(error, CellTimeoutError):
            return f"this took more than {self.timeout} seconds and could not be interrupted: a loop without an end?"
        return "the kernel died: exit() or a crash in this cell, or in a function that it calls"

    def output(self, outs, msg, display_id, cell_index):
        """Keep an output, unless the cell has printed too much already."""
        self.printed += len(str(msg["content"]))
        return super().output(outs, msg, display_id, cell_index) if self.printed < LARGEST_OUTPUT else None

    @contextmanager
    def watched(self):
        """Kill the kernel when it uses too much memory, and whatever it has started when it ends."""
        kernel, stop, family = psutil.Process(self.km.provisioner.pid), threading.Event(), set()
        self.over_limit = False

        def watch() -> None:
            while not stop.wait(0.1):
                try:
                    family.update(kernel.children(recursive=True))
                    living = [process for process in family if process.is_running()]
                    if sum(process.memory_info().rss for process in [kernel, *living]) > self.memory_limit:
                        self.over_limit = True
                        kernel.kill()
                except psutil.Error:  # one of them has just ended
                    continue

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            for process in family:
                if process.is_running():
                    process.kill()


def refuse(cell, reason: str) -> None:
    """Make an error the only output of a code cell."""
    if cell.cell_type == "code":
        cell.outputs = [new_output("error", ename="NotGraded", evalue=reason, traceback=[f"NotGraded: {reason}"])]


class HideTests(NbGraderPreprocessor):
    """Takes the hidden tests out of the feedback, their traces in outputs too; what they said stays."""

    def preprocess(self, nb, resources):
        """See the class."""
        tests = [cell for cell in nb.cells if BEGIN_HIDDEN in cell.source]
        shown = {line.strip() for cell in nb.cells if cell not in tests for line in cell.source.splitlines()}
        hidden = {line.strip() for cell in tests for line in cell.source.splitlines()[1:]}
        self.secrets = {line for line in hidden - shown if len(line) > 11}  # no lone brackets, nothing common
        for cell in nb.cells:
            if cell.cell_type == "markdown":  # lessons don't lie beside the feedback
                cell.source = re.sub(r"\[([^\]]+)\]\([^)]*\d\d_\w+\.ipynb[^)]*\)", r"\1", cell.source)
            else:
                cell.outputs = self.said(cell) if cell in tests else [self.clean(output) for output in cell.outputs]
        for cell in tests:
            before, _, rest = cell.source.partition(f"### {BEGIN_HIDDEN}")
            cell.source = (before + rest.partition("### END HIDDEN TESTS")[2]).strip()
        return nb, resources

    def said(self, cell) -> list:
        """What is left of a hidden test's outputs: that it passed, or its message."""
        errors = [output for output in cell.outputs if output.output_type == "error"]
        texts = [f"{error.ename}: {error.evalue}"[:600].removeprefix("AssertionError: ") for error in errors]
        return [self.clean(new_output("stream", text="\n".join(texts) or "passed"))]

    def clean(self, output):
        """The output; or, where a line of the hidden tests is in it, a note that it was removed."""
        text = ANSI.sub("", json.dumps(output, ensure_ascii=False)).replace('\\"', '"').replace("\\\\", "\\")
        if any(secret in text for secret in self.secrets):
            return new_output("stream", text="[removed: a part of the hidden tests was in this output]")
        return output


@dataclass
class Submission:
    """A student's file for one exercise, and what there is to say about it."""

    student: str
    exercise: str
    path: Path
    note: str = ""
    fingerprint: str = field(default="", init=False)

    def read(self, course: Path, limits: dict) -> nbformat.NotebookNode:
        """The notebook; where it can't be opened, what `replacement` gives. Notes a fingerprint of all that counts."""
        source = course / "source" / self.exercise / f"{self.exercise}.ipynb"
        digest = hashlib.sha256(source.read_bytes() + json.dumps(limits).encode())
        try:
            data = self.path.read_bytes()
            digest.update(data)
            if len(data) > LARGEST_FILE:
                raise ValueError(f"it has {len(data) / 1e6:.0f} MB; clear its outputs, and hand it in again")
            notebook = nbformat.reads(data.decode("utf-8"), as_version=4)
            nbformat.validate(notebook)
            if not any("nbgrader" in cell.metadata for cell in notebook.cells):
                raise ValueError("its cells lack nbgrader's marks: another program removed them, or it is another file")
        except Exception as error:  # whatever is wrong with a file, it must not stop the others
            notebook = self.replacement(course, (str(error) or type(error).__name__).splitlines()[0])
        self.fingerprint = digest.hexdigest()
        return notebook

    def replacement(self, course: Path, reason: str) -> nbformat.NotebookNode:
        """The untouched release, which earns nothing, and on top of it why."""
        self.note = f"could not be graded: {reason[:200]}"
        notebook = nbformat.read(course / "release" / self.exercise / f"{self.exercise}.ipynb", as_version=4)
        text = f"**Your file {self.path.name} {self.note}**\n\nWhat follows is the exercise as it was handed out."
        notebook.cells.insert(0, new_markdown_cell(text))
        return notebook


def find_submissions(folder: Path, exercises: list[str]) -> list[Submission]:
    """The submissions in a folder: for each student and exercise the file of just that name, or else the newest."""
    found = {}
    for path in sorted(folder.rglob("*.ipynb"), key=lambda path: path.stat().st_mtime if path.exists() else 0):
        match = re.search("|".join(exercises), path.name)
        inside = path.relative_to(folder).parts
        if not match or ".ipynb_checkpoints" in inside:
            continue
        student = inside[0] if len(inside) > 1 else path.name[: match.start()]
        student = re.sub(r"[^\w.-]+", "_", student).strip("_.-") or "unknown"
        key = (student, match[0])
        if key in found and found[key].path.stem == match[0]:
            path = found[key].path
        found[key] = Submission(*key, path, f"several files, graded {path.name}" if key in found else "")
    return [found[key] for key in sorted(found)]


def grade(api, course: Path, submission: Submission, notebook: nbformat.NotebookNode) -> None:
    """Put a submission where nbgrader looks for it, and let it grade and write the feedback.

    Raises:
        KeyboardInterrupt: interrupted; nbgrader's answer hides it.
        RuntimeError: nbgrader fails even on the untouched release.
    """
    names = (submission.exercise, submission.student)
    path = course / "submitted" / submission.student / submission.exercise / f"{submission.exercise}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        nbformat.write(notebook, path)
        answer = api.autograde(*names)
        if answer["success"]:
            answer = api.generate_feedback(*names)
        if answer["success"]:
            return
        if "KeyboardInterrupt" in answer["error"]:
            raise KeyboardInterrupt
        errors = re.findall(r"^\s*[\w.]*(?:Error|Exception): .+", answer.get("log", ""), re.MULTILINE)
        reason = errors[-1].strip() if errors else "and does not say why"
        notebook = submission.replacement(course, f"nbgrader gave up, {reason}")
    raise RuntimeError(f"nbgrader can't grade {submission.exercise} at all:\n{answer.get('log')}\n{answer['error']}")


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write a table whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    with open(unfinished, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, path)


def write_grades(course: Path, submissions: list[Submission]) -> list[dict]:
    """grades.csv, a row for each student and exercise, and tasks.csv, a row for each graded cell; gives the latter."""
    grades, tasks = [], []
    notes = {(one.student, one.exercise): one.note for one in submissions}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        for student in sorted({one.student for one in submissions}):
            for exercise in sorted({one.exercise for one in submissions}):
                row = {"student": student, "exercise": exercise}
                most = gradebook.find_assignment(exercise).max_score
                try:
                    found = gradebook.find_submission_notebook(exercise, exercise, student).grades
                except MissingEntry:
                    found = []
                by_hand = sum(one.max_score for one in found if one.needs_manual_grade)
                grades.append(row | {"points": sum(one.score for one in found), "still_by_hand": by_hand, "of": most,
                                     "note": notes.get((student, exercise), "not handed in")})  # fmt: skip
                tasks += [row | {"cell": one.name, "points": one.score, "of": one.max_score,
                                 "still_by_hand": one.needs_manual_grade} for one in found]  # fmt: skip
    write_csv(course / "grades.csv", grades)
    write_csv(course / "tasks.csv", sorted(tasks, key=lambda row: (row["exercise"], row["student"], row["cell"])))
    return tasks


def show_tasks(tasks: list[dict]) -> None:
    """Print how the class did, cell by cell: what to go over again."""
    print(f"\n{'exercise':24}{'tests':28}full marks")
    for exercise, cell in dict.fromkeys((row["exercise"], row["cell"]) for row in tasks if row["of"]):
        rows = [row for row in tasks if (row["exercise"], row["cell"]) == (exercise, cell) and not row["still_by_hand"]]
        if rows:
            full = sum(row["points"] == row["of"] for row in rows)
            print(f"{exercise:24}{cell:28}{full:4} of {len(rows)}")


def read_stamps(path: Path) -> dict:
    """What was graded already, {"student/exercise": {"fingerprint", "note"}}; empty where nothing can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("submissions", type=Path, help="the folder of submissions")
    parser.add_argument("--to", type=Path, help="the folder to write (default: SUBMISSIONS_graded, beside it)")
    parser.add_argument("--seconds", type=int, default=60, help="how long a cell may run (default: %(default)s)")
    parser.add_argument("--total", type=float, default=900, help="the same for a submission (default: %(default)s)")
    parser.add_argument("--gigabytes", type=float, default=4, help="memory for a submission (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="grade again what was graded already")
    parser.add_argument("--results", action="store_true",
                        help="grade nothing, only write tables and feedback anew: after grading by hand")  # fmt: skip
    arguments = parser.parse_args()
    folder = arguments.submissions.resolve()
    if not folder.is_dir() or folder in (ROOT, *ROOT.parents):
        parser.error(f"no folder of submissions at {arguments.submissions}: give one that holds them and nothing else")
    chosen = sources()
    submissions = find_submissions(folder, [path.stem for path in chosen])
    if not submissions:
        parser.error(f"no submissions in {arguments.submissions}: expected files such as STUDENT/{chosen[0].name}")
    course = (arguments.to or folder.with_name(folder.name + "_graded")).resolve()
    limits = {"timeout": arguments.seconds, "total_limit": arguments.total, "memory_limit": arguments.gigabytes * 1e9}
    api = course_api(
        course,
        GuardedExecute=limits | {"shutdown_kernel": "immediate", "extra_arguments": KERNEL_OPTIONS},
        OverwriteCells={"add_missing_cells": True},
        Autograde={"autograde_preprocessors": [GuardedExecute, "nbgrader.preprocessors.LimitOutput",
                                               "nbgrader.preprocessors.SaveAutoGrades",
                                               "nbgrader.preprocessors.CheckCellMetadata"]},
        GenerateFeedback={"preprocessors": [HideTests, "nbgrader.preprocessors.GetGrades",
                                            "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor"]},
    )  # fmt: skip
    handed_in = {submission.exercise for submission in submissions}
    make_course(api, course, [path for path in chosen if path.stem in handed_in])
    stamps, stamp_file = read_stamps(course / "graded.json"), course / "graded.json"
    try:
        for submission in (bar := tqdm(submissions, desc="grading", unit="submission", file=sys.stdout)):
            bar.set_postfix_str(f"{submission.student}, {submission.exercise}")
            key = f"{submission.student}/{submission.exercise}"
            notebook, stamp = submission.read(course, limits), stamps.get(key, {})
            is_known = stamp.get("fingerprint") == submission.fingerprint and not arguments.fresh
            if is_known or arguments.results:
                submission.note = stamp.get("note", "not graded yet")
                if arguments.results and stamp:
                    api.generate_feedback(submission.exercise, submission.student)
                continue
            grade(api, course, submission, notebook)
            stamps[key] = {"fingerprint": submission.fingerprint, "note": submission.note}
            unfinished = stamp_file.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(stamps, indent=1), encoding="utf-8")
            os.replace(unfinished, stamp_file)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from there.", file=sys.stderr)
        return 130
    show_tasks(write_grades(course, submissions))
    for name in ("grades.csv", "tasks.csv", "feedback"):
        print(course / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
