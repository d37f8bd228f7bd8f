"""What comes in from outside: bad options, files and environments end in one clear line, and nothing hangs.

`python -m pytest tests/test_doors.py` counts them: every case is one test.
"""

import errno
import os
import signal

import pytest
import torch
from filelock import FileLock
from PIL import Image

from vit_from_scratch import caption_command, export_command, predict_command, train_command
from vit_from_scratch.checkpoint import save_checkpoint
from vit_from_scratch.config import ViTConfig
from vit_from_scratch.model import ViTModel

SECONDS = 20  # to refuse what can't be
TINY = ("--data pets --image-size 8 --patch-size 4 --emb-dim 8 --num-layers 1 --num-heads 2 --epochs 3 --batch-size 4 "
        "--device cpu --output run").split()


@pytest.fixture
def place(folder, monkeypatch):
    """A folder to work in, with pictures, models and files that are broken in many ways."""
    monkeypatch.chdir(folder.parent)
    place = folder.parent
    picture = (folder / "cat" / "0.png").read_bytes()
    (place / "half.png").write_bytes(picture[: len(picture) // 2])
    (place / "empty.png").write_bytes(b"")
    (place / "text.png").write_text("no picture")
    (place / "folder.png").mkdir()
    Image.new("I;16", (8, 8)).save(place / "deep.png")
    model = ViTModel(ViTConfig(image_size=8, patch_size=4, emb_dim=8, num_layers=1, num_heads=2, num_classes=2))
    model.classes = ["cat", "dog"]
    save_checkpoint(place / "vit.pt", model)
    state = torch.load(place / "vit.pt", weights_only=True)
    (place / "half.pt").write_bytes((place / "vit.pt").read_bytes()[:2000])
    (place / "text.pt").write_text("no model")
    torch.save(torch.zeros(3), place / "tensor.pt")
    torch.save({"weights": 3}, place / "dict.pt")
    torch.save(model, place / "pickle.pt")
    for name, change in {
        "nan": {"model": {key: weight * float("nan") for key, weight in state["model"].items()}},
        "int": {"model": {key: weight.long() for key, weight in state["model"].items()}},
        "short": {"model": dict(list(state["model"].items())[:3])},
        "huge": {"config": state["config"] | {"emb_dim": 10**9}},
        "tall": {"config": state["config"] | {"num_layers": 10**7}},
        "odd": {"config": state["config"] | {"colour": "red"}},
        "names": {"classes": ["cat"]}, "number": {"classes": 7}, "later": {"format": 99}, "kind": {"kind": "CatModel"},
    }.items():  # fmt: skip
        torch.save(state | change, place / f"{name}.pt")
    (place / "hollow").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(place / "pipe.png")
    return place


def one_clear_line(main, words: list[str], capsys) -> str:
    """What `main` says: it must end in time, with code 2 and a single line, after its usage."""

    def too_late(*_):
        raise AssertionError(f"{words} did not end within {SECONDS} seconds")

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, too_late)
        signal.alarm(SECONDS)
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    finally:
        if hasattr(signal, "SIGALRM"):
            signal.alarm(0)
    said = capsys.readouterr().err
    message = said[said.rfind("\nvit-") + 1 :] if said.startswith("usage:") else said
    assert code == 2 and message.startswith("vit-") and len(message.splitlines()) == 1, (code, said)
    return message


TRAIN = [
    *[[option, value] for option, values in {
        "--output": ["", " ", "vit.pt", "pets/cat/0.png", "vit.pt/run"],
        "--recipe": ["", "none", "pets", "none.toml", "vit.pt"],
        "--data": ["", "nowhere", "pets/cat", "vit.pt"], "--seed": ["-1", "0.5", "x", "99999999999"],
        "--epochs": ["0", "-1", "1.5", "x"], "--warmup-epochs": ["99", "-1", "nan", "3"],
        "--learning-rate": ["0", "-1", "nan", "inf", "x"], "--weight-decay": ["-1", "nan", "inf"],
        "--grad-clip": ["0", "-1", "nan"], "--label-smoothing": ["1", "-0.1", "nan"], "--drop-rate": ["1", "-1", "nan"],
        "--batch-size": ["0", "-4", "x"], "--val-fraction": ["1", "-0.1", "nan", "0.0001"],
        "--image-size": ["0", "-8", "9", "400000", "x"], "--patch-size": ["0", "3", "16"],
        "--emb-dim": ["0", "7", "100000000", "x"], "--num-layers": ["0", "10000000"],
        "--num-heads": ["0", "3", "100000000"], "--mlp-ratio": ["0", "-1", "inf", "nan"],
        "--device": ["cpu:9", "quantum", "meta", "cuda:99"], "--accumulate": ["0", "-1", "99"],
        "--save-minutes": ["0", "-1", "nan"], "--precision": ["int8"], "--optimizer": ["sgd"], "--augment": ["x"],
        "--mix": ["x"], "--model": ["ViT-X", ""], "--layer-decay": ["0", "2", "nan", "x"],
        "--resume": ["", "pets", "vit.pt"],
        "--weights": ["", "none.pt", "half.pt", "text.pt", "tensor.pt", "dict.pt", "pickle.pt", "nan.pt", "int.pt",
                      "short.pt", "huge.pt", "pets", "pets/cat/0.png", "vit.pt", "pipe.png"],
    }.items() for value in values],
    ["--unknown"], ["more"], ["--fsdp"], ["--freeze"], ["--weights", "vit.pt", "--model", "ViT-Ti/16"],
    ["--data", "emoji"],
    ["--data", "cifar10", "--image-size", "32", "--root", "here"],
]  # fmt: skip


@pytest.mark.parametrize("words", TRAIN, ids=" ".join)
def test_vit_train_refuses_options(place, capsys, words):
    before = sorted(place.rglob("*"))
    one_clear_line(train_command.main, TINY + words, capsys)
    assert sorted(place.rglob("*")) == before


ENVIRONMENTS = [
    {"RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "2"}, {"LOCAL_RANK": "0", "WORLD_SIZE": "2"},
    {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
    *[{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": address, "MASTER_PORT": port}
      for address, port in (("no.such.host.invalid", "29511"), ("localhost", "port"), ("localhost", "99999"),
                            ("", ""))],
    {"RANK": "x", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29512"},
]  # fmt: skip


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_vit_train_refuses_half_an_environment(place, capsys, monkeypatch, environment):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    one_clear_line(train_command.main, TINY, capsys)


def without(name: str):
    return lambda state: state.pop(name)


STATES = {
    "no optimizers": without("optimizers"), "no history": without("history"), "no minutes": without("minutes"),
    "no recipe": without("recipe"), "no data": without("data"), "no kind": without("kind"),
    "negative minutes": lambda state: state.update(minutes=-1.0),
    "no number": lambda state: state.update(minutes="long"),
    "odd history": lambda state: state.update(history={"epochs": 3}),
    "optimizers of nothing": lambda state: state.update(optimizers={}),
    "an optimizer's damage": lambda state: state["optimizers"].pop("state"),
    "other shapes": lambda state: state["model"].update({"embeddings.cls_token": torch.zeros(1, 1, 5)}),
    "fewer weights": lambda state: state["model"].popitem(),
    "other config": lambda state: state["config"].update(num_layers=2),
    "too many steps": lambda state: state["history"].update(losses=[1.0] * 999),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", STATES)
def test_vit_train_refuses_to_go_on_from(place, capsys, damage):
    assert train_command.main(TINY) == 0
    capsys.readouterr()
    state = torch.load(place / "run" / "last.pt", weights_only=True)
    STATES[damage](state)
    torch.save(state, place / "run" / "last.pt")
    content = (place / "run" / "last.pt").read_bytes()
    assert "last.pt" in one_clear_line(train_command.main, [*TINY, "--resume"], capsys)
    assert (place / "run" / "last.pt").read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("change", ["swapped labels", "another picture", "another name", "one more"])
def test_vit_train_goes_on_only_with_its_own_data(place, capsys, change):
    assert train_command.main(TINY) == 0
    capsys.readouterr()
    cat, dog = place / "pets" / "cat" / "0.png", place / "pets" / "dog" / "0.png"
    if change == "swapped labels":
        cat.rename(place / "cat.png")
        dog.rename(cat)
        (place / "cat.png").rename(dog)
    elif change == "another picture":
        Image.new("RGB", (24, 24), "red").save(cat)
    elif change == "another name":
        cat.rename(cat.with_name("99.png"))
    else:
        Image.new("RGB", (24, 24), "red").save(cat.with_name("99.png"))
    assert "another data" in one_clear_line(train_command.main, [*TINY, "--resume"], capsys)


def test_two_runs_do_not_write_to_one_folder(place, capsys):
    (place / "run").mkdir()
    with FileLock(place / "run" / ".lock"):
        assert "another run is at work in run" in one_clear_line(train_command.main, TINY, capsys)
    assert train_command.main(TINY) == 0
    assert not (place / "run" / ".lock").exists()


def test_a_start_that_fails_leaves_nothing(place, capsys):
    (place / "pets" / "cat" / "0.png").write_bytes(b"broken")
    assert "0.png" in one_clear_line(train_command.main, TINY, capsys)
    assert not (place / "run").exists()


def test_a_broken_link_is_named_in_one_line(place, capsys):
    try:
        (place / "pets" / "cat" / "link.png").symlink_to("gone.png")
    except OSError:
        pytest.skip("no links here")
    assert "link.png: check the path" in one_clear_line(train_command.main, TINY, capsys)


def test_fewer_epochs_than_a_warm_up_work(place, capsys):
    assert train_command.main([*TINY, "--epochs", "2"]) == 0
    said = capsys.readouterr().out
    assert "train: cat " in said and "val: cat " in said  # what it has found, before the first step


PREDICT = [
    *[["--checkpoint", "vit.pt", picture] for picture in
      ("half.png", "empty.png", "text.png", "folder.png", "deep.png", "none.png", "", " ", "pipe.png", "vit.pt",
       "hollow")],
    *[["--checkpoint", "vit.pt", "pets", "--csv", file] for file in ("pets", "vit.pt/table.csv", "")],
    *[["--checkpoint", file, "pets/cat/0.png"] for file in
      ("half.pt", "text.pt", "tensor.pt", "dict.pt", "pickle.pt", "nan.pt", "int.pt", "short.pt", "huge.pt", "tall.pt",
       "odd.pt", "names.pt", "number.pt", "later.pt", "kind.pt", "none.pt", "", "pets", "pets/cat/0.png")],
    *[["--checkpoint", "vit.pt", "pets/cat/0.png", *words] for words in
      (["--top", "0"], ["--top", "-1"], ["--top", "x"], ["--device", "cpu:9"], ["--device", "meta"], ["--device", "x"],
       ["--unknown"])],
    ["--checkpoint", "pipe.png", "pets/cat/0.png"], ["pets/cat/0.png"], ["--checkpoint", "vit.pt"],
]  # fmt: skip


@pytest.mark.parametrize("words", PREDICT, ids=" ".join)
def test_vit_predict_refuses(place, capsys, words):
    if "pipe.png" in words and not (place / "pipe.png").exists():
        pytest.skip("no such files here")
    one_clear_line(predict_command.main, words, capsys)


EXPORT = [
    *[["--checkpoint", file, "--output", "new.pt2"] for file in
      ("half.pt", "text.pt", "tensor.pt", "dict.pt", "pickle.pt", "nan.pt", "int.pt", "short.pt", "huge.pt", "tall.pt",
       "odd.pt", "names.pt", "number.pt", "later.pt", "kind.pt", "none.pt", "", "pets", "pets/cat/0.png",
       "pipe.png")],
    *[["--checkpoint", "vit.pt", "--output", file] for file in
      ("", " ", "pets", "vit.pt", "new", "new.pth", "vit.pt/new.pt2")],
    ["--output", "new.pt2"], ["--checkpoint", "vit.pt"], ["--unknown"],
]  # fmt: skip


@pytest.mark.parametrize("words", EXPORT, ids=" ".join)
def test_vit_export_refuses(place, capsys, words):
    if "pipe.png" in words and not (place / "pipe.png").exists():
        pytest.skip("no such files here")
    before = sorted(place.rglob("*"))
    one_clear_line(export_command.main, words, capsys)
    assert sorted(place.rglob("*")) == before


CAPTION = [
    *[["--checkpoint", file, "--image", "pets/cat/0.png"] for file in
      ("vit.pt", "half.pt", "text.pt", "tensor.pt", "dict.pt", "pickle.pt", "nan.pt", "none.pt", "", "pets",
       "pipe.png")],
    ["--image", "pets/cat/0.png", "--temperature", "x"], ["--unknown"], [],
]  # fmt: skip


@pytest.mark.parametrize("words", CAPTION, ids=" ".join)
def test_vit_caption_refuses(place, capsys, words):
    one_clear_line(caption_command.main, words, capsys)


@pytest.mark.parametrize("error", [RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
                                   MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])  # fmt: skip
def test_too_little_memory_is_said(place, capsys, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(train_command, "_start_run", fail)
    assert "lacks memory" in one_clear_line(train_command.main, TINY, capsys)


def test_a_folder_called_memory_is_no_lack_of_it(place, capsys):
    assert "no folder at memory_cards" in one_clear_line(train_command.main, [*TINY, "--data", "memory_cards"], capsys)


def test_a_folder_of_ones_own_stays(place, capsys):
    (place / "run").mkdir()
    one_clear_line(train_command.main, [*TINY, "--data", "nowhere"], capsys)
    assert (place / "run").is_dir()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_no_end(place, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, "no locks")

    monkeypatch.setattr(FileLock, "acquire", fail)
    assert train_command.main(TINY) == 0
