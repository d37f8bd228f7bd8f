"""Two steps that `grade.py` puts into nbgrader: running a submission safely, and feedback without the hidden tests."""

import json
import os
import re
import tempfile
import threading
import time
from contextlib import contextmanager, suppress

import nbformat
import psutil
from nbclient.client import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_locked
from traitlets import Float

BEGIN_HIDDEN = "BEGIN HIDDEN TESTS"
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
        self.timeout_func = self.seconds
        done = 0
        while done < len(nb.cells):
            self.reset_execution_trackers()
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # of its own, for every kernel
                environment = {**os.environ, "IPYTHONDIR": folder}  # nobody's startup files
                with self.setup_kernel(cwd=folder, env=environment), self.watched():
                    done = self.run_from(done)
        return nb, self.resources

    def seconds(self, cell) -> float:
        """How long a cell may run: the teacher's own, such as imports on a busy machine, all the time that is left."""
        is_teachers = is_locked(cell) and not is_grade(cell)
        return max(self.timeout, self.deadline - time.monotonic()) if is_teachers else self.timeout

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
            if is_grade(cell) and index - 1 in self.lost:  # hidden tests right after checks: they would only stop again
                self.lost.add(index)
                refuse(cell, "not run, because the cell above had to be stopped")
                continue
            try:
                self.printed = 0
                self.execute_cell(cell, index, store_history=BEGIN_HIDDEN not in cell.source)
            except (DeadKernelError, CellTimeoutError) as error:
                self.lost.add(index)
                refuse(cell, self.reason(error))
                return max(first, index + 1)
            if any(output.get("ename") == "CellTimeoutError" for output in cell.outputs):
                self.lost.add(index)  # the kernel is well, but this cell is not to be run again
            if is_grade(cell):
                judge_only_errors(cell)
        return len(self.nb.cells)

    def on_cell_executed(self, **kwargs):
        """As in nbgrader; and `exit()` ends the kernel now, not during some later cell."""
        super().on_cell_executed(**kwargs)
        payload = kwargs["execute_reply"]["content"].get("payload") or []
        if any(item.get("source") == "ask_exit" for item in payload):
            raise DeadKernelError("exit() was called")

    def reason(self, error: Exception) -> str:
        """Why the kernel is lost, for the student."""
        if self.over_limit:
            return f"this used more than {self.memory_limit / 1e9:.0f} GB of memory, and was stopped"
        if isinstance(error, CellTimeoutError):
            return f"this took more than {self.timeout} seconds and could not be interrupted: a loop without an end?"
        return "the kernel died: exit() or a crash in this cell, or in a function that it calls"

    def output(self, outs, msg, display_id, cell_index):
        """Keep an output, unless the cell has printed too much already."""
        before, self.printed = self.printed, self.printed + len(str(msg["content"]))
        if self.printed < LARGEST_OUTPUT:
            return super().output(outs, msg, display_id, cell_index)
        if before < LARGEST_OUTPUT:
            outs.append(new_output("stream", text="\n[more than a million characters: the rest was left out]\n"))

    @contextmanager
    def watched(self):
        """Kill the kernel when it uses too much memory, and whatever it has started when it ends."""
        kernel, stop, family = psutil.Process(self.km.provisioner.pid), threading.Event(), set()
        self.over_limit = False

        def watch() -> None:
            while not stop.wait(0.1):
                with suppress(psutil.Error):
                    family.update(kernel.children(recursive=True))
                used = 0
                for process in (kernel, *family):
                    with suppress(psutil.Error):  # it has ended by itself
                        used += process.memory_info().rss
                if used > self.memory_limit:
                    self.over_limit = True
                    with suppress(psutil.Error):
                        kernel.kill()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            for process in family:
                with suppress(psutil.Error):
                    process.kill()


def refuse(cell, reason: str) -> None:
    """Make an error the only output of a code cell."""
    if cell.cell_type == "code":
        cell.outputs = [new_output("error", ename="NotGraded", evalue=reason, traceback=[f"NotGraded: {reason}"])]


def judge_only_errors(cell) -> None:
    """Leave nbgrader only errors to judge: it marks what never ran, and takes values for points, stderr for errors."""
    if cell.execution_count is None:
        refuse(cell, "this was not run")
    cell.outputs = [output for output in cell.outputs if output.output_type != "execute_result"]
    for output in cell.outputs:
        output.update({"name": "stdout"} if output.get("name") == "stderr" else {})


class HideTests(NbGraderPreprocessor):
    """Takes the hidden tests out of the feedback, and outputs in which their lines stand; what they said stays."""

    def preprocess(self, nb, resources):
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        tests = [cell for cell in code if is_grade(cell) and BEGIN_HIDDEN in cell.source]
        shown = {line.strip() for cell in nb.cells if cell not in tests for line in cell.source.splitlines()}
        hidden = {line.strip() for cell in tests for line in cell.source.splitlines()[1:]}
        self.secrets = {line for line in hidden - shown if len(line) > 11}  # no lone brackets, nothing common
        for cell in code:
            if cell in tests:  # what is left of it: that it passed, or its message
                errors = [output for output in cell.outputs if output.output_type == "error"]
                texts = [f"{error.ename}: {error.evalue}"[:600].removeprefix("AssertionError: ") for error in errors]
                cell.outputs = [new_output("stream", text="\n".join(texts) or "passed")]
            cell.outputs = [self.clean(output) for output in cell.outputs]
        for cell in tests:
            before, _, rest = cell.source.partition(f"### {BEGIN_HIDDEN}")
            cell.source = (before + rest.partition("### END HIDDEN TESTS")[2]).strip()
        for cell in nb.cells:
            if cell.cell_type == "markdown":  # lessons don't lie beside the feedback
                cell.source = re.sub(r"\[([^\]]+)\]\([^)]*\d\d_\w+\.ipynb[^)]*\)", r"\1", cell.source)
        return nb, resources

    def clean(self, output):
        """The output; or, where a line of the hidden tests is in it, a note that it was removed."""
        text = ANSI.sub("", json.dumps(output, ensure_ascii=False)).replace('\\"', '"').replace("\\\\", "\\")
        if any(secret in text for secret in self.secrets):
            return new_output("stream", text="[removed: a part of the hidden tests was in this output]")
        return output


def mend(notebook: nbformat.NotebookNode, release: nbformat.NotebookNode) -> bool:
    """Give a submission the marks (nbgrader's metadata) and cells that it was handed out with; False if it has none.

    Of a cell that was copied the last one counts; tags and other metadata go.
    """
    handed_out = {cell.metadata.nbgrader.grade_id: cell for cell in release.cells if "nbgrader" in cell.metadata}
    notebook.metadata, notebook.nbformat_minor, found = release.metadata, 5, {}
    for cell in notebook.cells:
        marks = cell.get("metadata", {}).get("nbgrader")
        name = marks.get("grade_id") if isinstance(marks, dict) else None
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if isinstance(name, str) and name in handed_out:
            found[name] = cell
    place = 0
    for name, cell in handed_out.items():
        if name in found:
            found[name].metadata = cell.metadata
            place = next(i for i, one in enumerate(notebook.cells) if one is found[name]) + 1
        else:
            notebook.cells.insert(place, cell)
            place += 1
    return bool(found)
