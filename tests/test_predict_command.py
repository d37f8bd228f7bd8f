"""The command that names what is in a picture: its lines, its errors and exit codes, and `predict` behind it."""

import re

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from vit_from_scratch.checkpoint import save_checkpoint
from vit_from_scratch.data import normalize
from vit_from_scratch.gpt import GPTConfig, GPTModel
from vit_from_scratch.model import ViTModel
from vit_from_scratch.predict_command import main, predict


@pytest.fixture
def model(tiny) -> ViTModel:
    return ViTModel(tiny.replace(drop_rate=0.2))


@pytest.fixture
def file(tmp_path, model) -> str:
    """A checkpoint with names for the three classes."""
    save_checkpoint(tmp_path / "vit.pt", model, classes=["cat", "dog", "tree"])
    return str(tmp_path / "vit.pt")


@pytest.fixture
def picture(tmp_path) -> str:
    """8x8, as the model wants it: nothing is resized."""
    path = tmp_path / "a picture.png"
    Image.effect_noise((8, 8), 80).convert("RGB").save(path)
    return str(path)


def test_names_and_probabilities_the_most_probable_first(model, picture):
    model.classes = ["cat", "dog", "tree"]
    model.train()
    found = predict(model, picture)
    assert model.training  # its mode is left alone, though dropout was off
    pixels = v2.functional.pil_to_tensor(Image.open(picture))
    with torch.no_grad():
        expected = model.eval()(normalize(pixels)[None]).softmax(dim=1)[0]
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found == pytest.approx(dict(zip(model.classes, expected.tolist(), strict=True)), abs=1e-6)
    assert predict(model, Image.open(picture)) == found  # a PIL image will do


def test_a_model_without_names_or_colours_predicts_too(tiny, picture):
    found = predict(ViTModel(tiny.replace(num_channels=1)), picture)
    assert sorted(found) == ["class 0", "class 1", "class 2"] and sum(found.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("words", "count"), [([], 3), (["--top", "1"], 1), (["--top", "9"], 3)])
def test_a_line_for_every_picture(file, picture, capsys, words, count):
    assert main(["--checkpoint", file, picture, picture, "--device", "cpu", *words]) == 0
    first, second = capsys.readouterr().out.splitlines()
    path, found = first.split(": ")
    names = re.findall(r"(\w+) [\d.]+%", found)
    assert first == second and path == picture and len(names) == count and set(names) <= {"cat", "dog", "tree"}


def test_the_other_pictures_are_named_where_one_cannot_be_read(file, picture, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    paths = [str(tmp_path / "none.png"), picture, str(tmp_path / "text.png")]
    assert main(["--checkpoint", file, *paths, "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 and said.out.startswith(f"{picture}: ")
    missing, broken = said.err.splitlines()
    assert missing.startswith("vit-predict: no picture at") and "none.png" in missing
    assert broken.startswith("vit-predict: ") and "text.png can't be read as a picture" in broken


@pytest.mark.parametrize(("words", "message"), [
    (["--checkpoint", "none.pt"], "no checkpoint at none.pt"),
    (["--checkpoint", "text.pt"], "text.pt is no checkpoint, or is cut short"),
    (["--checkpoint", "gpt.pt"], "no ViTModel but a GPTModel"),
    (["--checkpoint", "headless.pt"], "the model has no classes"),
    (["--checkpoint", "vit.pt", "--top", "0"], "--top is below 1"),
    (["--checkpoint", "vit.pt", "--device", "abacus"], "no device abacus here"),
    (["--checkpoint", "vit.pt", "--device", "meta"], "no device meta here"),
])  # fmt: skip
def test_a_mistake_ends_with_one_line_and_code_2(words, message, file, model, picture, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pt").write_text("no checkpoint")
    save_checkpoint("headless.pt", ViTModel(model.config.replace(num_classes=0)))
    save_checkpoint("gpt.pt", GPTModel(GPTConfig(vocab_size=9, context_length=4, emb_dim=8, num_layers=1, num_heads=2)))
    with pytest.raises(SystemExit) as end:
        main([picture, *words])
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == ""
    assert said.err.startswith("vit-predict: ") and message in said.err and len(said.err.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["picture.png"], ["--checkpoint", "vit.pt"], ["--top", "many"]])
def test_a_command_that_lacks_something_says_how_it_is_used(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and "usage: vit-predict" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and all(f"--{name}" in text for name in ("checkpoint", "top", "device"))
