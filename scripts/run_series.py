"""Run the lessons in order, each in a fresh kernel, and make one page of their figures and results.

The executed copies go to build/lessons/, the page to build/index.html; --save writes outputs into the notebooks, too. A
lesson runs again only when its code cells have changed, or a file that it read (a module of the package, data, a
checkpoint), or when a file that it wrote is gone. After an interruption the same command goes on where it was.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from export import ROOT, lessons, write
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat.v4 import new_markdown_cell, new_notebook
from tqdm import tqdm

BUILD = ROOT / "build"
RECORDER = Path(__file__).resolve().parent / "recorder"
MAKEFILE = Path(__file__).resolve().parents[1] / "Makefile"
NO_INPUT = {".git", "notebooks", "scripts", "__pycache__"}  # `%run ../scripts/export.py` opens them
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


class LessonFailed(Exception):
    """A lesson's cell raised, or its kernel died; the message names the cell."""


class Client(NotebookClient):
    """Runs a notebook, and hands the last line that a cell has printed to `self.show`."""

    def output(self, outs, msg, display_id, cell_index):
        """Store a cell's output, as `NotebookClient` does, and show it."""
        text = msg["content"].get("text", "").strip()
        if text:
            self.show(text.replace("\r", "\n").splitlines()[-1])
        return super().output(outs, msg, display_id, cell_index)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells that have code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Changes when a code cell does, or their order; not with the prose, the tags or the outputs."""
    return hashlib.sha256(json.dumps([cell.source for cell in code_cells(notebook)]).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Changes with a file's content; "" if there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def inputs_and_outputs(record: Path) -> dict:
    """What a lesson's processes read, as {path: hash}, and what they wrote and left, as [path]; paths from ROOT.

    A file counts as written if it was written before it was read. One that somebody else has changed while the lesson
    ran has the hash "changed", which no file has: the lesson will run again.
    """
    entries = [line.split(" ", 2) for line in record.read_text(encoding="utf-8", errors="surrogateescape").splitlines()]
    written = {name for kind, _, name in entries if kind == "w"}
    first = {name: (kind, int(changed)) for kind, changed, name in reversed(entries)}
    read, left = {}, []
    for name, (kind, changed) in sorted(first.items()):
        path = Path(name)
        relative = path.relative_to(ROOT)
        is_about_the_project = len(relative.parts) == 1 or relative.parts[0].endswith(".egg-info")
        if is_about_the_project or NO_INPUT & set(relative.parts) or not path.is_file():
            continue
        if kind == "w":
            left.append(relative.as_posix())
        else:
            is_ours = name in written or path.is_relative_to(BUILD) or path.stat().st_mtime_ns == changed
            read[relative.as_posix()] = file_hash(path) if is_ours else "changed"
    return {"read": read, "written": left}


def what_changed(lesson: nbformat.NotebookNode, copy: nbformat.NotebookNode) -> str:
    """Why a lesson has to run again, in words; "" if its executed copy is still what a run would give."""
    ran = copy.metadata.get("ran")
    if ran is None or ran["code"] != code_hash(lesson):
        return "its code has changed"
    changed = [f"{path} has changed" for path, content in ran["read"].items() if file_hash(ROOT / path) != content]
    gone = [f"{path} is gone" for path in ran["written"] if not (ROOT / path).exists()]
    return next(iter([*changed, *gone]), "")


def take_outputs(lesson: nbformat.NotebookNode, copy: nbformat.NotebookNode) -> None:
    """Give a lesson, whose prose may have changed since, the outputs of its executed copy."""
    for cell, ran in zip(code_cells(lesson), code_cells(copy), strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    lesson.metadata = copy.metadata


def environment(record: str) -> dict[str, str]:
    """A kernel's: what the Makefile exports, unless it is set already, and what the recorder of opened files needs."""
    exported = dict(re.findall(r"^export (\w+) \?= (\S+)", MAKEFILE.read_text(encoding="utf-8"), re.M))
    folders = os.pathsep.join(filter(None, [str(RECORDER), os.environ.get("PYTHONPATH")]))
    return exported | os.environ | {"PYTHONPATH": folders, "SERIES_ROOT": str(ROOT), "SERIES_RECORD": record}


def run(lesson: Path) -> nbformat.NotebookNode:
    """The lesson, run now; its metadata has the seconds, and as "ran" what `what_changed` compares."""
    notebook = nbformat.read(lesson, as_version=4)
    client = Client(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(lesson.parent)}},
                    coalesce_streams=True, record_timing=False, extra_arguments=["--log-level=ERROR"])
    start = time.perf_counter()
    bar_format = "{desc:24s} {percentage:3.0f}% |{bar:20}| {n_fmt:>2}/{total_fmt} cells [{elapsed}] {postfix}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        record = Path(folder) / "record"
        kernel = client.setup_kernel(env=environment(str(record)))
        with tqdm(total=len(notebook.cells), desc=lesson.stem, bar_format=bar_format) as bar, kernel:
            client.show = lambda line: bar.set_postfix_str(line[:70])
            for index, cell in enumerate(notebook.cells):
                try:
                    client.execute_cell(cell, index)
                except (CellExecutionError, DeadKernelError) as error:
                    count = sum(other.cell_type == "code" for other in notebook.cells[: index + 1])
                    reason = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
                    raise LessonFailed(f"{lesson.name}, code cell {count}:\n\n{cell.source}\n\n{reason}") from error
                bar.update()
            bar.set_postfix_str("")
        ran = {"code": code_hash(notebook), **inputs_and_outputs(record)}
    seconds = round(time.perf_counter() - start)
    notebook.metadata = nbformat.from_dict(METADATA | {"seconds": seconds, "ran": ran})
    return notebook


def clean(notebook: nbformat.NotebookNode, outputs_of: str) -> str:
    """The text of a lesson's file: no metadata but tags, the kernel, and the hash of the code that made the outputs."""
    notebook = nbformat.from_dict({**notebook, "metadata": METADATA | {"outputs_of": outputs_of}})
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name == "tags" and value}
        for output in cell.get("outputs", []):
            if "text" in output:  # where this repository lies is nobody's business
                output["text"] = output["text"].replace(f"{ROOT}{os.sep}", "")
    return nbformat.writes(notebook).rstrip() + "\n"


def save(lesson: Path, notebook: nbformat.NotebookNode) -> None:
    """Put the outputs into the lesson itself, where new prose is kept, and its `cover` beside it, for the README."""
    current, code = nbformat.read(lesson, as_version=4), notebook.metadata["ran"]["code"]
    if code_hash(current) != code:
        raise LessonFailed(f"{lesson.name} has been edited while it ran, and nothing is saved in it: run it again")
    take_outputs(current, notebook)
    write(lesson, clean(current, code))
    for cell in code_cells(current):
        for kind, data in pictures(cell.outputs) if "cover" in cell.metadata.get("tags", []) else []:
            (lesson.parent / "images").mkdir(exist_ok=True)
            (lesson.parent / "images" / f"{lesson.stem}.{kind}").write_bytes(base64.b64decode(data))


def pictures(outputs: list[nbformat.NotebookNode]) -> list[tuple[str, str]]:
    """The figures of a cell, as (png or jpeg, base64)."""
    bundles = [output.get("data", {}) for output in outputs]
    return [(kind, data[f"image/{kind}"]) for data in bundles for kind in ("png", "jpeg") if f"image/{kind}" in data]


def make_page() -> Path:
    """build/index.html: of all the lessons that have run, the figures, and what their cells tagged `result` print."""
    page, seconds = [new_markdown_cell()], 0
    for copy in filter(Path.exists, (BUILD / "lessons" / lesson.name for lesson in lessons())):
        notebook = nbformat.read(copy, as_version=4)
        opening, seconds = notebook.cells[0].source, seconds + notebook.metadata["seconds"]
        title, summary = opening.splitlines()[0].lstrip("# "), re.search("^> (.+)", opening, re.MULTILINE)[1]
        page[0].source += f"- [{title}](#{copy.stem})\n"
        page.append(new_markdown_cell(f'<a id="{copy.stem}"></a>\n\n## {title}\n\n{summary} [The whole lesson]'
                                      f"(lessons/{copy.stem}.html) ({notebook.metadata['seconds']} s)"))
        for cell in code_cells(notebook):
            is_result = "result" in cell.metadata.get("tags", [])
            cell.outputs = [one for one in cell.outputs if pictures([one]) or (is_result and "text" in one)]
            cell.metadata["alt"] = f"Figure of lesson {title}"
            page += [cell] if cell.outputs else []
    page[0].source = ("# ViT from scratch\n\nThe figures and results of the lessons, run on this machine in "
                      f"{seconds / 60:.1f} minutes.\n\n{page[0].source}")
    exporter = HTMLExporter(template_name="classic", exclude_input=True, exclude_output_prompt=True)
    named = {"metadata": {"name": "ViT from scratch"}}
    write(BUILD / "index.html", exporter.from_notebook_node(new_notebook(cells=page), named)[0])
    return BUILD / "index.html"


def up_to_date(lesson: Path, fresh: bool = False) -> nbformat.NotebookNode:
    """A lesson with its outputs, in build/lessons/ too: from there if nothing has changed, or else it runs now."""
    copy, notebook = BUILD / "lessons" / lesson.name, nbformat.read(lesson, as_version=4)
    ran = nbformat.read(copy, as_version=4) if copy.exists() and not fresh else None
    reason = what_changed(notebook, ran) if ran else ""
    if ran and not reason:
        take_outputs(notebook, ran)
        is_same = nbformat.writes(notebook) == nbformat.writes(ran)
        news = "" if is_same else ": only its prose is new"
        print(f"{lesson.stem:24s} has run already ({copy.relative_to(ROOT)}){news}")
        if is_same:
            return notebook
    else:
        if reason:
            print(f"{lesson.stem:24s} runs again: {reason}")
        notebook = run(lesson)
    write(copy.with_suffix(".html"), HTMLExporter().from_notebook_node(notebook)[0])
    write(copy, nbformat.writes(notebook))
    return notebook


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", help="such as 01 or 01_patches (default: all)")
    parser.add_argument("--fresh", action="store_true", help="run again what has run already")
    parser.add_argument("--save", action="store_true", help="for maintainers: save the outputs in notebooks/ too")
    parser.add_argument("--clean", action="store_true", help="for maintainers: run nothing, but remove from notebooks/ "
                        "what an editor has left there, such as its version of Python")
    arguments = parser.parse_args()
    chosen = [path for path in lessons() if not arguments.lessons or path.stem.startswith(tuple(arguments.lessons))]
    unknown = [name or "''" for name in arguments.lessons
               if not name or not any(path.stem.startswith(name) for path in chosen)]
    if unknown or not chosen:
        parser.error(f"no lesson fits {' '.join(unknown)}; there are {', '.join(path.stem for path in lessons())}")
    if arguments.clean:
        for lesson in chosen:
            notebook = nbformat.read(lesson, as_version=4)
            text = clean(notebook, notebook.metadata.get("outputs_of", ""))
            if text != lesson.read_text(encoding="utf-8"):
                write(lesson, text)
                print(f"{lesson.stem}: removed what an editor had left")
        return 0
    for lesson in chosen:
        try:
            notebook = up_to_date(lesson, arguments.fresh)
            if arguments.save:
                save(lesson, notebook)
        except LessonFailed as error:
            print(f"\nFAILED: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\nInterrupted in {lesson.stem}. The same command, without --fresh, goes on there.", file=sys.stderr)
            return 130
    print(f"\nDone. Open {make_page().relative_to(ROOT)} in a browser; the executed lessons are beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
