"""Notes which files of the repository a lesson opens: in its kernel, and in every Python that the lesson starts.

`run_series.py` puts this folder on their PYTHONPATH, and Python imports a module of this name when it starts. Each file
is a line in SERIES_RECORD: "r" or "w", the time of its last change, its path. What C++ or Rust opens on its own is not
seen (`torch.save` to a path; `torch.load` is), but for what safetensors reads.
"""

import importlib.machinery
import importlib.util
import os
import sys
from contextlib import suppress
from functools import lru_cache, wraps


def watch(root: str, record: str) -> None:
    """Note every file below `root` that is opened or moved there from now on: once for reading, once for writing."""
    file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    installed = os.path.realpath(sys.prefix) + os.sep
    ignored = installed if installed.startswith(root) else "\0"  # a virtual environment inside the repository
    seen, real = set(), lru_cache(None)(os.path.realpath)

    def note(kind: str, path: str) -> None:
        if kind == "r" and path.endswith(".pyc"):  # a module that was compiled before
            path = importlib.util.source_from_cache(path)
        folder, name = os.path.split(os.path.abspath(path))
        path = os.path.join(real(folder), name)
        is_ours = path.startswith(root) and not path.startswith(ignored) and (kind == "w" or os.path.isfile(path))
        if (kind, path) in seen or not is_ours:
            return
        seen.add((kind, path))
        changed = os.stat(path).st_mtime_ns if kind == "r" else 0
        os.write(file, f"{kind} {changed} {path}\n".encode("utf-8", "surrogateescape"))

    def hook(event: str, values: tuple) -> None:
        try:
            if event == "open" and isinstance(values[0], str | bytes):
                note("w" if values[2] & (os.O_WRONLY | os.O_RDWR) else "r", os.fsdecode(values[0]))
            elif event == "os.rename":
                note("w", os.fsdecode(values[1]))
        except (OSError, ValueError, NotImplementedError):  # no such path: whoever opens it will hear of it
            pass

    sys.addaudithook(hook)


def watch_safetensors() -> None:
    """Let `safetensors.safe_open` say what it opens: Rust tells Python nothing."""
    import safetensors

    opened = safetensors.safe_open

    @wraps(opened)
    def safe_open(filename, *args, **kwargs):
        sys.audit("open", os.fspath(filename), "r", os.O_RDONLY)
        return opened(filename, *args, **kwargs)

    safetensors.safe_open = safe_open


def make_way() -> None:
    """Leave `sys.path` as it would be without this folder, and run the module of this name that it hides, if any."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != here]
    hidden = importlib.machinery.PathFinder.find_spec("sitecustomize")
    if hidden:
        hidden.loader.exec_module(importlib.util.module_from_spec(hidden))


if "SERIES_RECORD" in os.environ:
    watch(os.environ["SERIES_ROOT"] + os.sep, os.environ["SERIES_RECORD"])
    with suppress(ImportError):
        watch_safetensors()
    make_way()
