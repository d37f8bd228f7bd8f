"""The training command: from options to a run, its messages and exit codes, and how one goes on with it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields

import pytest
import torch
from conftest import ROOT, same

from vit_from_scratch.checkpoint import read_checkpoint
from vit_from_scratch.distributed import Communicator, DistributedTrainer
from vit_from_scratch.paths import BUILD, CACHE
from vit_from_scratch.recipe import Recipe, read_recipe
from vit_from_scratch.train_command import build_parser, how_to_go_on, main

TINY = "--image-size 16 --emb-dim 12 --num-layers 1 --epochs 2 --warmup-epochs 1 --batch-size 8 --device cpu".split()


def weights(path) -> dict:
    return read_checkpoint(path)["model"]


def command(*words) -> list[str]:
    return [sys.executable, "-m", "vit_from_scratch.train_command", *map(str, words)]


def test_the_command_from_start_to_end(folder, tmp_path, capsys):
    words = ["--data", str(folder), *TINY, "--output", str(tmp_path / "run")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "ViT-Mini/4, " in text and "train 22, val 2 pictures" in text and "best.pt" in text
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results.keys() == {"last.pt", "best.pt"} and results["best.pt"].keys() == {"val"}
    before = weights(tmp_path / "run" / "last.pt")
    assert main(words) == 2  # nothing is overwritten
    assert "add --resume to go on with it, or choose another --output" in capsys.readouterr().err
    capsys.readouterr()
    assert main([*words, "--resume"]) == 0
    assert "finished already: nothing is trained" in capsys.readouterr().out
    assert same(weights(tmp_path / "run" / "last.pt"), before)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert main([*words, "--resume", "--learning-rate", "0.5"]) == 2
    assert "another recipe: learning_rate" in capsys.readouterr().err


@pytest.mark.parametrize("number, code, step", [(signal.SIGINT, 130, 3), (signal.SIGTERM, 143, 3),
                                                (signal.SIGINT, 130, 5)])  # fmt: skip
def test_interrupted_it_says_how_to_go_on(folder, tmp_path, capsys, monkeypatch, number, code, step):
    """Step 5 is the run's last: what is left to do is the test."""
    take_step = DistributedTrainer.train_step

    def step_and_signal(trainer, batch):
        if trainer.step == step:
            signal.raise_signal(number)
        return take_step(trainer, batch)

    words = ["--data", str(folder), *TINY, "--output", str(tmp_path / "my run")]
    monkeypatch.setattr(DistributedTrainer, "train_step", step_and_signal)
    assert main(words) == code
    text = capsys.readouterr().out
    assert "stopped in epoch 2 of 2, and saved" in text
    (line,) = re.findall(r"^  python -m vit_from_scratch\.train_command (.+)$", text, re.MULTILINE)
    assert shlex.split(line) == [*words, "--resume"]
    monkeypatch.setattr(DistributedTrainer, "train_step", take_step)
    assert main(shlex.split(line)) == 0
    assert len(read_checkpoint(tmp_path / "my run" / "last.pt")["history"]["losses"]) == 6
    assert (tmp_path / "my run" / "results.json").exists()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), FloatingPointError("the loss is nan"),
                                   OSError("disk full"), TypeError("wrong"), KeyboardInterrupt()], ids=repr)
def test_every_error_has_its_exit_code(folder, tmp_path, capsys, monkeypatch, error):
    def fail(trainer, batch):
        raise error

    monkeypatch.setattr(DistributedTrainer, "train_step", fail)
    code = main(["--data", str(folder), *TINY, "--output", str(tmp_path / "run")])
    message = capsys.readouterr().err
    if isinstance(error, KeyboardInterrupt):  # a second Ctrl-C: there was no time to save
        assert code == 130 and message.startswith("vit-train: interrupted") and len(message.splitlines()) == 1
    else:
        assert code == 2 and message.startswith("vit-train: ") and len(message.splitlines()) == 1
        assert ("--accumulate 2" if isinstance(error, torch.OutOfMemoryError) else str(error)) in message


def test_how_to_go_on_with_several_processes(monkeypatch):
    words, device = ["--data", "my pets", "--resume"], torch.device("cpu")
    assert how_to_go_on(words, Communicator(0, 1, device)) == (
        "python -m vit_from_scratch.train_command --data 'my pets' --resume")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert how_to_go_on(words, Communicator(0, 4, device)).startswith("torchrun --nproc-per-node 4 -m ")
    several = how_to_go_on(words, Communicator(0, 8, device))
    assert several.startswith("torchrun --nproc-per-node 4 --nnodes 2 --rdzv-backend c10d --rdzv-endpoint ")


@pytest.mark.parametrize("words, message", [
    (["--epochs", "0"], "epochs is 0; expected a whole number, at least 1"),
    (["--epochs", "2", "--warmup-epochs", "2"], "warmup_epochs is 2.0; expected less than the epochs (2)"),
    (["--device", "meta"], "no device meta here ("),
    (["--recipe", "nix"], "no recipe nix: use one of"),
    (["--data", "nowhere"], "no folder at nowhere"),
    (["--data", "cifar10", "--root", "nowhere"], "no intact CIFAR-10 in nowhere"),
    (["--patch-size", "5"], "not divisible by patch_size"),
    (["--device", "abacus"], "no device abacus here"),
    (["--accumulate", "0"], "--accumulate must be at least 1"),
    (["--save-minutes", "nan"], "--save-minutes above 0"),
    (["--accumulate", "65"], "batch_size is 64; expected at least 65"),
    (["--fsdp"], "start them with torchrun"),
    (["--val-fraction", "1"], "val_fraction is 1.0"),
    (["--learning-rate", "0"], "learning_rate is 0.0"),
])  # fmt: skip
def test_errors_come_before_the_first_step_and_leave_nothing(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--output", "run"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("vit-train: ") and len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["--optimizer", "sgd"], ["--model", "ViT"], ["--epochs", "many"], ["--depth", "3"]])
def test_options_that_there_are_not_end_with_the_same_code(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and words[0] in capsys.readouterr().err


def test_a_compiler_is_needed_to_compile(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["--compile", "--device", "cpu", "--output", str(tmp_path / "run")]) == 2
    assert "--compile needs a C++ compiler" in capsys.readouterr().err


@pytest.mark.parametrize("text", [build_parser().epilog, (ROOT / "README.md").read_text(encoding="utf-8")],
                         ids=["help", "README"])  # fmt: skip
def test_the_example_commands_can_be_given(text):
    """Their options exist, their recipes are there, and they make a model."""
    starts = r"vit-train|(?:python|torchrun .+?) -m vit_from_scratch\.train_command"
    commands = re.findall(rf"^ *(?:{starts}) +([^#\n]+)", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        if command.strip() != "--help":
            options = vars(build_parser().parse_args(command.split()))
            changes = {field.name: options[field.name] for field in fields(Recipe) if field.name in options}
            recipe = Recipe(**(read_recipe(options["recipe"]) if options["recipe"] else {}) | changes)
            assert recipe.vit_config(num_classes=2).image_size == ((64, 64) if "64" in command else (32, 32))


def test_one_class_is_no_task(folder, tmp_path, capsys):
    shutil.rmtree(folder / "dog")
    assert main(["--data", str(folder), *TINY, "--output", str(tmp_path / "run")]) == 2
    assert "has one class, cat: expected at least two" in capsys.readouterr().err


def test_a_file_stands_where_the_folder_should(tmp_path, capsys, folder):
    (tmp_path / "run").write_text("mine")
    assert main(["--data", str(folder), *TINY, "--output", str(tmp_path / "run")]) == 2
    assert (tmp_path / "run").read_text() == "mine" and "run" in capsys.readouterr().err


def test_help_names_every_field(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for option in fields(Recipe):
        assert "--" + option.name.replace("_", "-") in text
    words = "".join(text.split())  # a long path may be broken into two lines
    assert f"(default:{CACHE})" in words and f"(default:RECIPEorDATAin{BUILD / 'runs'})" in words


@pytest.mark.slow
def test_as_users_start_it_with_ctrl_c_and_torchrun(folder, tmp_path):
    """One process, stopped by a real Ctrl-C; two of torchrun's go on with its run, and end as one would have."""
    words = ["--data", folder, *TINY, "--epochs", 60, "--augment", "none", "--output", tmp_path / "run"]
    if os.name == "nt":
        pytest.skip("Windows sends Ctrl-C to the whole console")
    process = subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "best.pt").exists():
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "and saved. To go on:" in text
    done = len(read_checkpoint(tmp_path / "run" / "last.pt")["history"]["losses"])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    again = subprocess.run([*torchrun, *command(*words, "--resume")[2:]], capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "on 2 x cpu" in again.stdout
    assert len(read_checkpoint(tmp_path / "run" / "last.pt")["history"]["losses"]) == 180 > done
