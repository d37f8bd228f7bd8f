"""What the commands share: exit codes, one line for each error, Ctrl-C at any moment, and any console."""

import io
import os
import subprocess
import sys

import pytest
import torch

from vit_from_scratch import commands
from vit_from_scratch.commands import first_line, run_command
from vit_from_scratch.training import Interrupted


@pytest.mark.parametrize(("error", "code", "said"), [
    (FileNotFoundError("no file at x: check the path"), 2, "vit-x: no file at x: check the path"),
    (ValueError("first line\nsecond"), 2, "vit-x: first line"),
    (ImportError("it needs onnx"), 2, "vit-x: it needs onnx"),
    (FloatingPointError("the loss is nan"), 2, "vit-x: the loss is nan"),
    (OSError(28, "No space left on device", "a.pt"), 2, "vit-x: [Errno 28] No space left on device: 'a.pt'"),
    (MemoryError(), 2, "vit-x: the device lacks memory: use a smaller model, or --device cpu"),
    (torch.OutOfMemoryError("CUDA out of memory"), 2, "vit-x: the device lacks memory: use a smaller model"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "vit-x: the device lacks memory"),
    (KeyboardInterrupt(), 130, "vit-x: interrupted"), (Interrupted(15), 143, ""),
], ids=repr)  # fmt: skip
def test_an_error_is_one_line_and_a_code(capsys, error, code, said):
    def fail() -> int:
        raise error

    assert run_command("vit-x", fail) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(said) and "".join(lines).startswith(said)


@pytest.mark.parametrize(("error", "line"), [(MemoryError(), "MemoryError"), (ValueError("a\nb"), "a"),
                                             (OSError(""), "OSError")])  # fmt: skip
def test_the_first_line_of_an_error_is_never_empty(error, line):
    assert first_line(error) == line


def test_an_error_of_our_own_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shapes"):
        run_command("vit-x", lambda: [][torch.zeros(2, 3) @ torch.zeros(2, 3)])


@pytest.mark.parametrize("text", ["Кошки", "a\udcffb", "日本", "$x$"])
def test_any_text_can_be_printed(monkeypatch, text):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    assert run_command("vit-x", lambda: print(text) or 0) == 0
    sys.stdout.flush()
    assert raw.getvalue().decode("cp1252").strip() == text.encode("cp1252", "backslashreplace").decode("cp1252")


@pytest.mark.parametrize("name", ["train", "predict", "caption", "export"])
def test_ctrl_c_may_come_while_a_command_is_imported(monkeypatch, capsys, name):
    asked = []

    def importing(module: str):
        asked.append(module)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "import_module", importing)
    assert getattr(commands, f"vit_{name}")() == 130
    assert asked == [f"vit_from_scratch.{name}_command"] and capsys.readouterr().err == f"vit-{name}: interrupted\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no such pipes there")
def test_whoever_reads_may_have_had_enough():
    code = ("from vit_from_scratch.commands import run_command; "
            "run_command('vit-x', lambda: print('line\\n' * 10**6) or 0)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0 and process.stderr.read() == b""


@pytest.mark.slow
def test_until_it_is_ready_for_ctrl_c_it_imports_nothing_large():
    code = "import sys, vit_from_scratch.commands; print({'torch', 'numpy', 'matplotlib', 'PIL'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
