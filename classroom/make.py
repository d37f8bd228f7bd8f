"""Make the students' version of the exercises: build/exercises/release/, and a zip to hand out beside it.

The sources in classroom/exercises/ have the solutions; nbgrader cuts them out, and the hidden tests with them. The zip
has all that a student needs, also offline: exercises, lessons and what they run, package, pictures, requirements.
"""

import argparse
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
from tqdm import tqdm
from traitlets.config import Config

try:
    from nbgrader.apps import NbGraderAPI
except ImportError:
    raise SystemExit("nbgrader is not installed: pip install -r classroom/requirements.txt") from None

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
import run_series
from export import ROOT, lessons

CLASSROOM = ROOT / "classroom"
SETTINGS = """# lets nbgrader's Formgrader find this course: start JupyterLab in this folder
from pathlib import Path

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(Path(__file__).parent)
"""
HANDED_OUT = ["LICENSE", "requirements.txt", "pyproject.toml", "vit_from_scratch/*.*", "data/**/*.*",
              "scripts/export.py"]
TO_LESSONS = re.compile(r"\]\((?:\.\./)+(?:notebooks/)?(?=\d\d_\w+\.ipynb)")  # a link, up to the name


def sources(chosen: list[str] | None = None) -> list[Path]:
    """The exercises' sources, all or those whose names begin with one of `chosen`; ends the program if none does."""
    every = sorted((CLASSROOM / "exercises").glob("[0-9][0-9]_*.ipynb"))
    found = [path for path in every if not chosen or path.stem.startswith(tuple(chosen))]
    if not found:
        names = ", ".join(path.stem for path in every)
        raise SystemExit(f"no exercise fits {' '.join(chosen or [])}; there are {names}")
    return found


def course_api(course: Path, **options):
    """Nbgrader's API on a course in this folder; the options are settings of its classes, such as `Autograde={...}`."""
    course.mkdir(parents=True, exist_ok=True)
    (course / "nbgrader_config.py").write_text(SETTINGS, encoding="utf-8")
    tools = str(Path(sys.executable).parent)  # nbgrader calls alembic by name, also where no environment is activated
    if tools not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = tools + os.pathsep + os.environ["PATH"]
    return NbGraderAPI(config=Config({"CourseDirectory": {"root": str(course)}, **options}))


def is_foreign(course: Path) -> bool:
    """Whether a folder holds something, and is no course that was begun here."""
    settings = course / "nbgrader_config.py"
    is_ours = settings.is_file() and settings.read_text(encoding="utf-8") == SETTINGS
    return course.exists() and any(course.iterdir()) and not is_ours


def make_course(api, course: Path, chosen: list[Path]) -> None:
    """Copy sources into the course, and let nbgrader make release and gradebook; ends the program if it refuses one."""
    for path in tqdm(chosen, desc="exercises", unit="notebook", file=sys.stdout):
        notebook = nbformat.read(path, as_version=4)
        to_lessons = ".."  # in a course elsewhere they may lie beside the assignments' folders
        if course.is_relative_to(ROOT):  # so that links lead from where the release will lie
            to_lessons = Path(os.path.relpath(ROOT / "notebooks", course / "release" / path.stem)).as_posix()
        for cell in notebook.cells:
            cell.source = TO_LESSONS.sub(f"]({to_lessons}/", cell.source)
        folder = course / "source" / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / path.name)
        answer = api.generate_assignment(path.stem)
        if not answer["success"]:
            why = f"{answer.get('log')}\n{answer.get('error')}"
            if "there are submissions associated" in why:
                raise SystemExit(f"{path.name} got other cells since this class was graded: grade into another folder")
            raise SystemExit(f"nbgrader refuses {path.name}:\n{why}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exercises", nargs="*", help="such as 01 or 01_patches (default: all)")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "exercises",
                        help="the folder to write, a course as nbgrader has it (default: build/exercises)")
    parser.add_argument("--save", action="store_true", help="for maintainers: run the sources and save their outputs")
    arguments = parser.parse_args()
    chosen, course = sources(arguments.exercises), arguments.to.expanduser().resolve()
    if arguments.save:
        for path in chosen:
            run_series.save(path, run_series.run(path))
        return
    is_graded = any((course / name).exists() for name in ("graded.json", "submitted", "autograded"))
    if is_graded or is_foreign(course):
        parser.error(f"{course} holds something else, or a class that was graded; give an empty or a new folder")
    for old in (course / "source", course / "release", course / "gradebook.db"):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    make_course(course_api(course), course, chosen)
    archive = course / "vit_exercises.zip"  # laid out as the repository is, so that links and imports work
    files = {path.relative_to(ROOT): path for pattern in HANDED_OUT for path in sorted(ROOT.glob(pattern))}
    files |= {path.relative_to(ROOT): path for path in lessons()} | {Path("README.md"): CLASSROOM / "STUDENTS.md"}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, path in files.items():
            file.write(path, Path("vit_exercises") / name)
        for path in chosen:
            released = (course / "release" / path.stem / path.name).read_text(encoding="utf-8")
            name = (Path("vit_exercises") / path.relative_to(ROOT)).as_posix()
            file.writestr(name, TO_LESSONS.sub("](../../notebooks/", released))
    print(f"\n{len(chosen)} exercises for students: {course / 'release'}")
    print(f"to hand out: {archive} ({archive.stat().st_size / 1e6:.0f} MB)")


if __name__ == "__main__":
    main()
