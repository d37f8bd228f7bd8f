"""Grade a folder of submissions with nbgrader: grades.csv, tasks.csv and a page of feedback for every student.

Submissions are found by the exercise's name: STUDENT/01_patches.ipynb, STUDENT/anything/01_patches.ipynb, or
STUDENT_01_patches.ipynb. A cell that never ends or eats memory, a kernel that dies and a file that can't be opened cost
only their own marks. Feedback has what hidden tests say, not the tests. What was graded and has not changed is not
graded again. Grading runs the students' code, with your rights: do it where that can do no harm.
"""

import argparse
import csv
import hashlib
import json
import re
import sys
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

import make  # first: it says so where nbgrader is not installed, and finds run_series
import nbformat
from guarded import GuardedExecute, HideTests, mend
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbformat.v4 import new_markdown_cell
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import CheckCellMetadata, GetGrades, LimitOutput, SaveAutoGrades
from run_series import write
from tqdm import tqdm

warnings.filterwarnings("ignore", module="nbgrader")  # its queries are older than SQLAlchemy 2.1
KERNEL_OPTIONS = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
LARGEST_FILE = 20e6  # bytes
MEDDLES = re.compile(r"get_ipython|displayhook|ast_transformers|input_transformers\w*|linecache|_getframe|getppid")


@dataclass
class Submission:
    """A student's file for one exercise, and what there is to say about it."""

    student: str
    exercise: str
    path: Path
    note: str = ""

    def read(self, course: Path, limits: dict) -> tuple[str, nbformat.NotebookNode]:
        """A fingerprint of all that counts, and the notebook; where it can't be opened, what `replacement` gives."""
        source = course / "source" / self.exercise / f"{self.exercise}.ipynb"
        digest = hashlib.sha256(source.read_bytes() + json.dumps(limits).encode())
        try:
            if self.path.stat().st_size > LARGEST_FILE:
                raise ValueError("it has more than 20 MB; clear its outputs, and hand it in again")
            data = self.path.read_bytes()
            digest.update(data)
            notebook = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
            text = json.dumps(notebook, ensure_ascii=False).encode("utf-8", "replace")  # half a character is let go
            notebook = nbformat.from_dict(json.loads(text))
            if not mend(notebook, self.released(course)):
                raise ValueError("its cells lack nbgrader's marks: another program removed them, or it is another file")
            _, notebook = nbformat.validator.normalize(notebook, version=4, version_minor=5)
            nbformat.validate(notebook)
            meddling = sorted({found for cell in notebook.cells for found in MEDDLES.findall(cell.source)})
            if meddling:
                self.note = "; ".join(filter(None, [self.note, f"read its code, it uses {', '.join(meddling)}"]))
        except Exception as error:  # whatever is wrong with a file, it must not stop the others
            notebook = self.replacement(course, (str(error) or type(error).__name__).splitlines()[0])
        return digest.hexdigest(), notebook

    def released(self, course: Path) -> nbformat.NotebookNode:
        """The exercise as it was handed out."""
        return nbformat.read(course / "release" / self.exercise / f"{self.exercise}.ipynb", as_version=4)

    def replacement(self, course: Path, reason: str) -> nbformat.NotebookNode:
        """The untouched release, which earns nothing, and on top of it why."""
        self.note = printable(f"could not be graded: {reason[:200]}")
        notebook = self.released(course)
        text = f"**Your file {printable(self.path.name)} {self.note}**\n\nWhat follows is the exercise as handed out."
        notebook.cells.insert(0, new_markdown_cell(text))
        return notebook


def printable(text: str) -> str:
    """The text, with ? for what is no character, as in names from other systems' archives."""
    return text.encode("utf-8", "replace").decode("utf-8")


def find_submissions(folder: Path, exercises: list[str]) -> tuple[list[Submission], list[Path]]:
    """The submissions, for each student and exercise the file of just that name or else the newest; other notebooks."""
    found, others, students = {}, [], {}
    paths = [path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime if path.exists() else 0):
        match = re.search("|".join(exercises), path.name, re.IGNORECASE)
        if not match:
            others.append(path)
            continue
        exercise, inside = match[0].lower(), path.relative_to(folder).parts
        name = inside[0] if len(inside) > 1 else path.name[: match.start()].strip("_- ")
        if name not in students:  # a name that is safe as a folder's, and nobody else's
            clean = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("_.-") or "unknown"
            taken = {other.casefold() for other in students.values()}
            numbered = [clean, *(f"{clean}_{number}" for number in range(2, len(students) + 2))]
            students[name] = next(one for one in numbered if one.casefold() not in taken)
        key = (students[name], exercise)
        if key in found and found[key].path.stem.lower() == exercise:
            path = found[key].path
        note = printable(f"several files, graded {path.name}") if key in found else ""
        found[key] = Submission(*key, path, note)
    return [found[key] for key in sorted(found)], others


def grade(api, course: Path, submission: Submission, notebook: nbformat.NotebookNode) -> None:
    """Let nbgrader grade a submission and write the feedback; a RuntimeError where it can't even with the release."""
    names = (submission.exercise, submission.student)
    path = course / "submitted" / submission.student / submission.exercise / f"{submission.exercise}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        nbformat.write(notebook, path)
        answer = api.autograde(*names)
        if answer["success"] and (answer := api.generate_feedback(*names))["success"]:
            return
        if "KeyboardInterrupt" in answer["error"]:  # nbgrader hides it
            raise KeyboardInterrupt
        errors = re.findall(r"^\s*[\w.]*(?:Error|Exception): .+", answer.get("log", ""), re.MULTILINE)
        reason = errors[-1].strip() if errors else "and does not say why"
        notebook = submission.replacement(course, f"nbgrader gave up, {reason}")
    raise RuntimeError(f"nbgrader can't grade {submission.exercise} at all:\n{answer.get('log')}\n{answer['error']}")


def grade_all(api, course: Path, submissions: list[Submission], limits: dict, fresh: bool) -> None:
    """Grade what is new or has changed, with a progress bar; graded.json notes what is done, so nothing is lost."""
    stamps = read_stamps(course)
    for submission in (bar := tqdm(submissions, desc="grading", unit="submission", file=sys.stdout)):
        bar.set_postfix_str(f"{submission.student}, {submission.exercise}")
        key = f"{submission.student}/{submission.exercise}"
        fingerprint, notebook = submission.read(course, limits)
        stamp = stamps.get(key, {})
        if stamp.get("fingerprint") != fingerprint or fresh:
            stamp = {"fingerprint": fingerprint, "cut_off": 0}
        if "note" in stamp:
            submission.note = stamp["note"]
            continue
        if stamp["cut_off"] >= 3:  # students' code can interrupt the grader, too, and would stop it for ever
            notebook = submission.replacement(course, "grading it was cut off three times; --fresh tries once more")
        stamps[key] = stamp | {"cut_off": stamp["cut_off"] + 1}
        write(course / "graded.json", json.dumps(stamps, indent=1))
        grade(api, course, submission, notebook)
        stamps[key] = {"fingerprint": fingerprint, "note": submission.note}
        write(course / "graded.json", json.dumps(stamps, indent=1))


def read_stamps(course: Path) -> dict:
    """What was graded already, {"student/exercise": {"fingerprint", "note"}}; empty where nothing can be read."""
    try:
        return json.loads((course / "graded.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_csv(path: Path, columns: list[str], rows: list[dict]) -> None:
    """Write a table, with a mark at its beginning by which Excel knows UTF-8."""
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


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
                grades.append({**row, "points": sum(one.score for one in found), "still_by_hand": by_hand, "of": most,
                               "note": notes.get((student, exercise), "not handed in")})
                tasks += [{**row, "cell": one.name, "points": one.score, "of": one.max_score,
                           "still_by_hand": one.needs_manual_grade} for one in found]
    write_csv(course / "grades.csv", ["student", "exercise", "points", "still_by_hand", "of", "note"], grades)
    columns = ["student", "exercise", "cell", "points", "of", "still_by_hand"]
    write_csv(course / "tasks.csv", columns, sorted(tasks, key=lambda row: [row[name] for name in columns[1::-1]]))
    return tasks


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("submissions", type=Path, help="the folder of submissions")
    parser.add_argument("--to", type=Path, help="the folder to write (default: SUBMISSIONS_graded, beside it)")
    parser.add_argument("--seconds", type=int, default=60, help="for a student's cell (default: %(default)s)")
    parser.add_argument("--total", type=float, default=900, help="the same for a submission (default: %(default)s)")
    parser.add_argument("--gigabytes", type=float, default=4, help="memory for a submission (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="grade again what was graded already")
    parser.add_argument("--results", action="store_true",
                        help="grade nothing, only write tables and feedback anew: after grading by hand")
    arguments = parser.parse_args()
    folder = arguments.submissions.expanduser().resolve()  # make hands on ~ as it is
    if not folder.is_dir() or folder in (make.ROOT, *make.ROOT.parents):
        parser.error(f"no folder of submissions at {arguments.submissions}: give one that holds them and nothing else")
    course = (arguments.to or folder.with_name(folder.name + "_graded")).expanduser().resolve()
    if course.is_relative_to(folder) or set("[]*?") & set(str(course)):
        parser.error(f"can't write to {course}: it lies in the submissions, or has one of []*? in its name; use --to")
    if make.is_foreign(course):
        parser.error(f"{course} holds something else: give an empty or a new folder with --to")
    arguments.submissions, arguments.to = folder, course
    return arguments


def main() -> None:
    """The command line."""
    arguments = parse_arguments()
    course, chosen = arguments.to, make.sources()
    submissions, others = find_submissions(arguments.submissions, [path.stem for path in chosen])
    if not submissions:
        raise SystemExit(f"no submissions in {arguments.submissions}; expected files such as STUDENT/{chosen[0].name}")
    limits = {"timeout": arguments.seconds, "total_limit": arguments.total, "memory_limit": arguments.gigabytes * 1e9}
    if not (course / "gradebook.db").exists():  # then the marks are gone, and what was graded must be graded again
        (course / "graded.json").unlink(missing_ok=True)
    api = make.course_api(
        course,
        GuardedExecute=limits | {"shutdown_kernel": "immediate", "extra_arguments": KERNEL_OPTIONS},
        Autograde={"autograde_preprocessors": [GuardedExecute, LimitOutput, SaveAutoGrades, CheckCellMetadata]},
        GenerateFeedback={"preprocessors": [HideTests, GetGrades, CSSHTMLHeaderPreprocessor]},
    )
    handed_in = {submission.exercise for submission in submissions}
    make.make_course(api, course, [path for path in chosen if path.stem in handed_in])
    try:
        if arguments.results:
            stamps = read_stamps(course)
            for one in tqdm(submissions, desc="feedback", unit="page", file=sys.stdout):
                one.note = stamps.get(f"{one.student}/{one.exercise}", {}).get("note", "not graded yet")
                api.generate_feedback(one.exercise, one.student)
        else:
            grade_all(api, course, submissions, limits, arguments.fresh)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from there.", file=sys.stderr)
        sys.exit(130)
    tasks = write_grades(course, submissions)
    print(f"\n{'exercise':24}{'tests':28}full marks")  # how the class did: what to go over again
    for exercise, cell in dict.fromkeys((row["exercise"], row["cell"]) for row in tasks if row["of"]):
        rows = [row for row in tasks if (row["exercise"], row["cell"]) == (exercise, cell) and not row["still_by_hand"]]
        if rows:
            print(f"{exercise:24}{cell:28}{sum(row['points'] == row['of'] for row in rows):4} of {len(rows)}")
    for path in others:
        print(f"not graded, because its name is no exercise's: {printable(str(path))}")
    for name in ("grades.csv", "tasks.csv", "feedback"):
        print(course / name)


if __name__ == "__main__":
    main()
