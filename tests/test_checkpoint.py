"""Checkpoints: files that are whole or absent, say what is in them, and are data, never code."""

import argparse
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import same
from torch import nn

from vit_from_scratch.checkpoint import (
    FORMAT,
    MODELS,
    atomic_write,
    check_same,
    load_checkpoint,
    load_or_train,
    read_checkpoint,
    save_checkpoint,
    state_beside,
)
from vit_from_scratch.contrastive import ContrastiveModel
from vit_from_scratch.gpt import GPTConfig, GPTModel
from vit_from_scratch.model import ViTModel
from vit_from_scratch.tokenizer import Tokenizer
from vit_from_scratch.vlm import ImageTextConfig, VisionLanguageModel, VLMConfig


@pytest.fixture
def model(tiny) -> ViTModel:
    return ViTModel(tiny.replace(drop_rate=0.2))


@pytest.fixture
def checkpoint(tmp_path, model) -> Path:
    save_checkpoint(tmp_path / "vit.pt", model)
    return tmp_path / "vit.pt"


# ---- whole or not at all ----


def test_a_file_is_written_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(str(path)) as unfinished:
        assert unfinished.parent == path.parent  # on one disk, so that it can take the place at once
        unfinished.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path, is_there, error):
    path = tmp_path / "file.txt"
    if is_there:
        path.write_text("old")
    with pytest.raises(type(error)), atomic_write(path) as unfinished:
        unfinished.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == ([path] if is_there else [])
    assert not is_there or path.read_text() == "old"
    with atomic_write(path) as unfinished:  # and the next one works
        unfinished.write_text("new")
    assert path.read_text() == "new"


def test_what_an_earlier_process_left_does_not_matter(tmp_path):
    """Killed while it wrote, it could not tidy up."""
    (tmp_path / "file.txt.unfinished").write_text("half of something long")
    with atomic_write(tmp_path / "file.txt") as unfinished:
        unfinished.write_text("new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file.txt", "new")]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("where", ["torch.save", "os.replace"])
def test_a_failed_save_leaves_the_old_file(monkeypatch, model, checkpoint, where, error):
    before = checkpoint.read_bytes()

    def half_then_fail(state, path, *args):
        if where == "torch.save":
            Path(path).write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(*((torch, "save") if where == "torch.save" else (os, "replace")), half_then_fail)
    with torch.no_grad():
        model.classifier.bias.add_(1)
    with pytest.raises(type(error)):
        save_checkpoint(checkpoint, model)
    monkeypatch.undo()
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    save_checkpoint(checkpoint, model)  # and the next one works
    assert same(load_checkpoint(checkpoint).state_dict(), model.state_dict())


# ---- what is in a file ----


def test_a_checkpoint_carries_its_kind_and_config(model, checkpoint):
    saved = read_checkpoint(checkpoint)
    assert (saved["format"], saved["kind"], saved["config"]) == (FORMAT, "ViTModel", model.config.to_dict())
    loaded, images = load_checkpoint(checkpoint), torch.randn(2, 3, 8, 8)
    assert loaded.config == model.config
    assert not loaded.training
    assert torch.equal(loaded(images), model.eval()(images))
    assert same(load_checkpoint(str(checkpoint), model.config).state_dict(), model.state_dict())


def test_a_checkpoint_keeps_more_and_makes_its_folder(model, tmp_path):
    path = tmp_path / "new" / "folder" / "vit.pt"
    save_checkpoint(path, model, note="best", scores=[1, 2.5], extra={"tensor": torch.arange(3)})
    saved = read_checkpoint(path)
    assert same({key: saved[key] for key in ("note", "scores", "extra")},
                {"note": "best", "scores": [1, 2.5], "extra": {"tensor": torch.arange(3)}})  # fmt: skip
    assert list(path.parent.iterdir()) == [path]


def test_the_names_of_the_classes_come_along(model, tmp_path):
    save_checkpoint(tmp_path / "vit.pt", model)
    assert load_checkpoint(tmp_path / "vit.pt").classes is None
    save_checkpoint(tmp_path / "vit.pt", model, classes=["a", "b", "c"])
    loaded = load_checkpoint(tmp_path / "vit.pt")
    assert loaded.classes == ["a", "b", "c"]
    save_checkpoint(tmp_path / "again.pt", loaded)
    assert load_checkpoint(tmp_path / "again.pt").classes == ["a", "b", "c"]


def test_other_weights_can_be_kept_than_the_models_own(model, tmp_path):
    """Those of a model that is shared out among processes come from elsewhere."""
    weights = {name: value + 1 for name, value in model.state_dict().items()}
    save_checkpoint(tmp_path / "vit.pt", model, weights=weights)
    assert same(load_checkpoint(tmp_path / "vit.pt").state_dict(), weights)


WORDS = ("a", " cat")


def every_kind(tiny) -> dict[str, nn.Module]:
    """A small one of each model that the package has."""
    gpt = GPTConfig(vocab_size=len(Tokenizer(WORDS)), context_length=8, emb_dim=16, num_layers=1, num_heads=2)
    both = {"vit": tiny.replace(num_classes=0), "gpt": gpt, "words": WORDS}
    return {"ViTModel": ViTModel(tiny), "GPTModel": GPTModel(gpt),
            "VisionLanguageModel": VisionLanguageModel(VLMConfig(**both, fusion="cross_attention")),
            "ContrastiveModel": ContrastiveModel(ImageTextConfig(**both))}


def test_every_kind_is_known(tiny):
    assert every_kind(tiny).keys() == MODELS.keys()


@pytest.mark.parametrize("kind", MODELS)
def test_the_file_says_which_model_to_make(tiny, tmp_path, kind):
    model = every_kind(tiny)[kind].train()
    save_checkpoint(tmp_path / "model.pt", model)
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert type(loaded) is type(model) and loaded.config == model.config and not loaded.training
    assert same(dict(loaded.state_dict()), dict(model.state_dict()))
    assert type(load_checkpoint(tmp_path / "model.pt", model.config, type(model))) is type(model)


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_saves_and_loads_itself(tiny, tmp_path, refuses, kind):
    model = every_kind(tiny)[kind].train()
    model.save(tmp_path / "model.pt")
    again = type(model).load(tmp_path / "model.pt")
    assert type(again) is type(model) and again.config == model.config and not again.training
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)
    other = {"ViTModel": GPTModel}.get(kind, ViTModel)
    with refuses(ValueError, f"holds no {other.__name__} but a {kind}"):
        other.load(tmp_path / "model.pt")


@pytest.mark.parametrize("kind", MODELS)
def test_a_checkpoint_of_another_kind_of_model_is_refused(tiny, tmp_path, refuses, kind):
    models = every_kind(tiny)
    save_checkpoint(tmp_path / "model.pt", models[kind])
    for other, wanted in models.items():
        if other != kind:
            with refuses(ValueError, str(tmp_path / "model.pt"), f"no {other} but a {kind}", "another file"):
                load_checkpoint(tmp_path / "model.pt", model_class=type(wanted))


def test_a_model_of_your_own_is_asked_for_by_its_class(model, checkpoint, refuses):
    class Mine(ViTModel):
        pass

    with refuses(ValueError, str(checkpoint), "no Mine", "ViTModel"):
        load_checkpoint(checkpoint, model_class=Mine)
    save_checkpoint(checkpoint, Mine(model.config))
    assert type(load_checkpoint(checkpoint, model_class=Mine)) is Mine
    with refuses(ValueError, str(checkpoint), "no model of this package but a Mine"):
        load_checkpoint(checkpoint)


def test_a_checkpoint_of_another_module_says_how_to_read_it(tmp_path, refuses):
    linear = nn.Linear(2, 2)
    save_checkpoint(tmp_path / "linear.pt", linear)
    with refuses(ValueError, str(tmp_path / "linear.pt"), "Linear without a config", "read_checkpoint(path)['model']"):
        load_checkpoint(tmp_path / "linear.pt")
    with refuses(ValueError, str(tmp_path / "linear.pt"), "no ViTModel but a Linear"):
        load_checkpoint(tmp_path / "linear.pt", model_class=ViTModel)
    assert same(read_checkpoint(tmp_path / "linear.pt")["model"], dict(linear.state_dict()))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"num_classes": 10}, ["num_classes 3 (here 10)"]),
        ({"image_size": 16, "mlp_ratio": 2.0}, ["image_size (8, 8) (here (16, 16))", "mlp_ratio 4.0 (here 2.0)"]),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(model, checkpoint, refuses, changes, parts):
    with refuses(ValueError, str(checkpoint), "config", "another file", *parts):
        load_checkpoint(checkpoint, model.config.replace(**changes))


def test_check_same_names_what_differs_and_nothing_else(refuses):
    check_same("recipe", "a.pt", {"epochs": 3}, {"epochs": 3})
    check_same("config", "a.pt", None, None)
    with pytest.raises(ValueError) as caught:
        check_same("recipe", "a.pt", {"epochs": 3, "seed": 1, "old": 2}, {"epochs": 3, "seed": 0, "new": 5})
    message = str(caught.value)
    assert message == ("a.pt has another recipe: seed 1 (here 0), old 2 (here None), new None (here 5); "
                       "use the same recipe, or another file")  # fmt: skip
    with refuses(ValueError, "a.pt", "epochs 3 (here None)"):
        check_same("recipe", "a.pt", {"epochs": 3}, None)


# ---- what is no checkpoint ----


def changed(**changes):
    """Write the same again, with some entries changed; one that is ... is taken out."""

    def write(path):
        state = read_checkpoint(path) | changes
        torch.save({name: value for name, value in state.items() if value is not ...}, path)

    return write


def cut(share: float):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize(
    "damage",
    [
        cut(0.0),
        cut(0.3),
        cut(0.99),
        lambda path: path.write_bytes(b"no checkpoint at all, but long enough to look at"),
        lambda path: path.write_bytes(bytes(2000)),
        lambda path: path.write_text(json.dumps({"config": {}, "model": {}})),
        lambda path: path.write_bytes(pickle.dumps({"config": None, "model": {}}, protocol=2)),
        lambda path: torch.save([1, 2, 3], path),
        changed(config=...),
        changed(model=...),
        changed(config={"emb_dim": 16}),
        changed(config={"colour": "red"}),
        changed(config=7),
        changed(model={}),
        changed(model=7),
        changed(kind=...),
        changed(kind="GPTModel"),
    ],
    ids="empty cut-30% cut-99% text zeros json pickle list no-config no-model half-config odd-config config-7 "
    "no-weights model-7 no-kind other-kind".split(),
)
def test_what_is_no_checkpoint_is_refused(checkpoint, refuses, damage):
    damage(checkpoint)
    with refuses(ValueError, str(checkpoint), "checkpoint"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("number", [..., None, FORMAT + 1, FORMAT - 1, str(FORMAT)])
@pytest.mark.parametrize("read", [read_checkpoint, load_checkpoint])
def test_a_checkpoint_of_another_version_is_refused(checkpoint, refuses, read, number):
    """Files without a number are those of before there were numbers."""
    changed(format=number)(checkpoint)
    shown = None if number is ... else number
    with refuses(ValueError, str(checkpoint), "another version", f"format {shown}, here {FORMAT}", "train again"):
        read(checkpoint)


@pytest.mark.parametrize("read", [read_checkpoint, load_checkpoint])
def test_a_missing_checkpoint_is_named(tmp_path, refuses, read):
    with refuses(FileNotFoundError, str(tmp_path / "none.pt"), "check the path"):
        read(tmp_path / "none.pt")


class Trap:
    """Unpickling it makes a folder: a stand-in for code that runs when a file is opened."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_is_data_never_code(model, tmp_path, refuses):
    save_checkpoint(tmp_path / "vit.pt", model)
    state = torch.load(tmp_path / "vit.pt", weights_only=True)
    torch.save(state | {"more": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    with refuses(ValueError, str(tmp_path / "trap.pt"), "no checkpoint", "holds more than data"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "trap.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap does work


@pytest.mark.parametrize(
    ("value", "named"),
    [(np.float64(0.5), "numpy"), (argparse.Namespace(epochs=3), "argparse.Namespace"), (np.zeros(3), "numpy"),
     (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"), (Path("x"), "pathlib")],
    ids=["NumPy number", "Namespace", "NumPy array", "module", "path"],
)  # fmt: skip
def test_what_is_more_than_data_is_named_and_nothing_is_removed(model, tmp_path, refuses, value, named):
    with refuses(TypeError, "score holds more than data", ".item()"):
        save_checkpoint(tmp_path / "vit.pt", model, score=[value])
    assert not list(tmp_path.iterdir())
    save_checkpoint(tmp_path / "vit.pt", model)
    state = torch.load(tmp_path / "vit.pt", weights_only=True)
    for content in (state | {"score": value}, value):
        torch.save(content, tmp_path / "more.pt")
        with refuses(ValueError, "more.pt", f"holds more than data, {named}", "use another file"):
            load_checkpoint(tmp_path / "more.pt")


def test_no_error_tells_the_reader_to_run_foreign_code(model, tmp_path):
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "trap.pt")
    with pytest.raises(ValueError) as caught:
        load_checkpoint(tmp_path / "trap.pt")
    assert "weights_only" not in str(caught.value) and "remove" not in str(caught.value)


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda model: nn.DataParallel(torch.compile(model))])
def test_a_wrapped_model_is_saved_as_the_model_within(model, tmp_path, wrap):
    save_checkpoint(tmp_path / "vit.pt", wrap(model))
    loaded = load_checkpoint(tmp_path / "vit.pt")
    assert loaded.config == model.config and same(loaded.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda state: next(iter(state["model"].values())).fill_(float("nan")), "not all weights are finite floats"),
     (lambda state: state.update(model={name: w.long() for name, w in state["model"].items()}), "finite floats"),
     (lambda state: state.update(classes=["one"]), "names of its classes"),
     (lambda state: state.update(classes=7), "names of its classes"),
     (lambda state: state["config"].update(num_layers=10**7), "num_layers is 10000000"),
     (lambda state: state["config"].update(emb_dim=10**9), "emb_dim is 1000000000"),
     (lambda state: state.update(model=3), "no ViTModel")],
)  # fmt: skip
def test_a_checkpoint_that_would_answer_wrongly_is_refused(model, tmp_path, refuses, change, words):
    save_checkpoint(tmp_path / "vit.pt", model)
    state = torch.load(tmp_path / "vit.pt", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "vit.pt")
    with refuses(ValueError, str(tmp_path / "vit.pt"), words, "use another file"):
        load_checkpoint(tmp_path / "vit.pt")


def test_errors_of_the_system_pass_in_their_own_words(model, tmp_path):
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(ValueError, match=r"folder\.pt is no file: expected a checkpoint, such as best\.pt"):
        load_checkpoint(tmp_path / "folder.pt")
    save_checkpoint(tmp_path / "vit.pt", model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(MemoryError("too large")))
        with pytest.raises(MemoryError, match="too large"):
            load_checkpoint(tmp_path / "vit.pt")


# ---- from a file, or trained now ----


def test_the_state_of_a_run_lies_beside_its_file_until_it_ends_well(tmp_path):
    path = tmp_path / "vit.pt"
    with pytest.raises(KeyboardInterrupt), state_beside(str(path)) as state:
        state.write_text("half way")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [state] and state.name == "vit_unfinished.pt"
    with state_beside(path) as again:
        assert again == state and again.read_text() == "half way"  # the next run finds it
        path.write_text("the end")
    assert list(tmp_path.iterdir()) == [path]
    with state_beside(path):  # where nothing was written, nothing has to go
        pass


def test_trained_once_and_then_from_the_file(model, tmp_path, capsys, refuses):
    path, calls = tmp_path / "vit.pt", []

    def train(checkpoint):
        calls.append(checkpoint)
        save_checkpoint(checkpoint, model)

    first = load_or_train(path, train, "it takes a minute", ViTModel, model.config)
    assert capsys.readouterr().out == "no vit.pt yet: it takes a minute\n"
    second = load_or_train(path, train, "it takes a minute", ViTModel)
    assert capsys.readouterr().out == "" and calls == [path]
    for each in (first, second):
        assert not each.training and same(each.state_dict(), model.state_dict())
    with refuses(ValueError, "vit.pt", "num_classes 3 (here 5)"):
        load_or_train(path, train, "", ViTModel, model.config.replace(num_classes=5))
    with refuses(ValueError, "vit.pt", "no GPTModel"):
        load_or_train(path, train, "", GPTModel)
    assert calls == [path]  # a file of something else is refused, never replaced


# ---- a full disk ----


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for the size of a file")
@pytest.mark.parametrize("how", ["save_checkpoint(path, model)", "save_safetensors(path, model)", "torn(path)"])
def test_a_full_disk_is_one_line_and_the_file_before_stays(tmp_path, how):
    """A limit for the size of files stands in for the disk."""
    code = f"""
import resource, signal
from vit_from_scratch.checkpoint import atomic_write, save_checkpoint
from vit_from_scratch.config import CONFIGS
from vit_from_scratch.model import ViTModel
from vit_from_scratch.pretrained import save_safetensors
def torn(path):
    with atomic_write(path) as unfinished: unfinished.write_bytes(bytes(10**6))
model, path = ViTModel(CONFIGS["ViT-Mini/4"]), "model.pt"
open(path, "w").write("before")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))
try:
    {how}
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1 and "model.pt" in done.stdout, done
    assert (tmp_path / "model.pt").read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
