"""Run the lessons in order, each in a fresh kernel, and make one page of their figures and results.

The executed copies go to build/lessons/, the page to build/index.html; the notebooks themselves stay as they are,
unless --save writes the outputs into them. A lesson that has run already, and has not changed since, is not run
again: after an interruption the same command goes on where it was.
"""

import argparse
import base64
import hashlib
import html
import sys
import time
from pathlib import Path

import nbformat
from export import PACKAGE, ROOT, lessons, write
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from tqdm import tqdm

BUILD = ROOT / "build"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100%; display: block; margin: 1rem 0 } pre { background: #f4f4f4; padding: .8rem; overflow-x: auto }
h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem } .time { color: #666; font-size: .9rem }
"""


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


def fingerprint(lesson: Path) -> str:
    """Changes when the lesson's cells, the package or the data do: then the lesson has to run again."""
    cells = nbformat.read(lesson, as_version=4).cells
    digest = hashlib.sha256(repr([(cell.cell_type, cell.source) for cell in cells]).encode())
    for path in sorted([*PACKAGE.glob("*.py"), *(ROOT / "data").rglob("*.*")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(lesson: Path) -> nbformat.NotebookNode:
    """Run a lesson with a progress bar over its cells.

    Raises:
        LessonFailed: a cell raised.
    """
    notebook = nbformat.read(lesson, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(lesson.parent)}}
    client = Client(notebook, timeout=None, kernel_name="python3", resources=resources, coalesce_streams=True)
    start = time.perf_counter()
    bar_format = "{desc:24s} {percentage:3.0f}% |{bar:20}| {n_fmt:>2}/{total_fmt} cells [{elapsed}] {postfix}"
    client.extra_arguments = ["--log-level=ERROR"]
    with tqdm(total=len(notebook.cells), desc=lesson.stem, bar_format=bar_format) as bar, client.setup_kernel():
        client.show = lambda line: bar.set_postfix_str(line[:70])
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except (CellExecutionError, DeadKernelError) as error:
                count = sum(1 for other in notebook.cells[: index + 1] if other.cell_type == "code")
                reason = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
                raise LessonFailed(f"{lesson.name}, code cell {count}:\n\n{cell.source}\n\n{reason}") from error
            bar.update()
        bar.set_postfix_str("")
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata = nbformat.from_dict(METADATA | {"seconds": round(time.perf_counter() - start)})
    return notebook


def save(lesson: Path, notebook: nbformat.NotebookNode) -> None:
    """Put the outputs into the lesson itself, and the figure of its cell tagged `cover` beside it, for the README."""
    write(lesson, nbformat.writes(nbformat.from_dict({**notebook, "metadata": METADATA})).rstrip() + "\n")
    covers = [cell for cell in notebook.cells if "cover" in cell.metadata.get("tags", [])]
    for kind, data in (picture for cell in covers for picture in pictures(cell)):
        (lesson.parent / "images").mkdir(exist_ok=True)
        (lesson.parent / "images" / f"{lesson.stem}.{kind}").write_bytes(base64.b64decode(data))


def pictures(cell: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """A cell's figures, as (png or jpeg, base64)."""
    bundles = [output.get("data", {}) for output in cell.get("outputs", [])]
    kinds = [(kind, data.get(f"image/{kind}")) for data in bundles for kind in ("png", "jpeg")]
    return [(kind, data.strip()) for kind, data in kinds if data]


def section(notebook: nbformat.NotebookNode, name: str) -> str:
    """A lesson on the page: title, summary, every figure, and the text of the cells tagged `result`."""
    lines = notebook.cells[0].source.splitlines()
    title, summary = lines[0].lstrip("# "), next(line.lstrip("> ") for line in lines if line.startswith("> "))
    parts = [
        f'<h2 id="{name}">{html.escape(title)}</h2>',
        f'<p>{html.escape(summary)} <a href="lessons/{name}.html">The whole lesson</a> '
        f'<span class="time">({notebook.metadata["seconds"]} s)</span></p>',
    ]
    for cell in notebook.cells:
        for kind, data in pictures(cell):
            alt = html.escape(f"Figure of lesson {title}")
            parts.append(f'<img alt="{alt}" src="data:image/{kind};base64,{data}">')
        if "result" in cell.metadata.get("tags", []):
            parts += [f"<pre>{html.escape(output['text'])}</pre>" for output in cell.outputs if "text" in output]
    return "\n".join(parts)


def make_page() -> Path:
    """build/index.html: the figures and results of all the lessons that have run."""
    copies = [BUILD / "lessons" / lesson.name for lesson in lessons()]
    notebooks = {copy.stem: nbformat.read(copy, as_version=4) for copy in copies if copy.exists()}
    body = "\n".join(section(notebook, name) for name, notebook in notebooks.items())
    seconds = sum(notebook.metadata["seconds"] for notebook in notebooks.values())
    links = " · ".join(f'<a href="#{name}">{name.replace("_", " ")}</a>' for name in notebooks)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>ViT from scratch</title><style>{STYLE}</style>'
        f"<h1>ViT from scratch</h1><p>The figures and results of {len(notebooks)} lessons, run on this machine in "
        f"{seconds / 60:.1f} minutes.</p><p>{links}</p>\n{body}</html>\n"
    )
    write(BUILD / "index.html", page)
    return BUILD / "index.html"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", help="such as 01 or 01_patches (default: all)")
    parser.add_argument("--fresh", action="store_true", help="run again what has run already")
    parser.add_argument("--save", action="store_true", help="for maintainers: save the outputs in notebooks/ too")
    arguments = parser.parse_args()
    chosen = [path for path in lessons() if not arguments.lessons or path.stem.startswith(tuple(arguments.lessons))]
    if not chosen:
        parser.error(f"no lesson fits {' '.join(arguments.lessons)}; there are {', '.join(p.stem for p in lessons())}")
    for lesson in chosen:
        copy, stamp = BUILD / "lessons" / lesson.name, fingerprint(lesson)
        try:
            if not arguments.fresh and copy.exists():
                notebook = nbformat.read(copy, as_version=4)
                if notebook.metadata.get("fingerprint") == stamp:
                    print(f"{lesson.stem:24s} has run already ({copy.relative_to(ROOT)})")
                    continue
            notebook = run(lesson)
        except LessonFailed as error:
            print(f"\nFAILED: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\nInterrupted in {lesson.stem}. The same command goes on from there.", file=sys.stderr)
            return 130
        if arguments.save:
            save(lesson, notebook)
        notebook.metadata["fingerprint"] = fingerprint(lesson)
        write(copy.with_suffix(".html"), HTMLExporter().from_notebook_node(notebook)[0])
        write(copy, nbformat.writes(notebook))
    print(f"\nDone. Open {make_page().relative_to(ROOT)} in a browser; the executed lessons are beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
