"""The command that names what is in a picture: its lines, its errors and exit codes, and `predict` behind it."""

import csv
import os
import re

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from vit_from_scratch.checkpoint import save_checkpoint
from vit_from_scratch.data import normalize
from vit_from_scratch.gpt import GPTConfig, GPTModel
from vit_from_scratch.model import ViTModel
from vit_from_scratch.predict_command import find_pictures, main, predict, score_table


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
    assert main([picture, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
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
    assert end.value.code == 0 and all(f"--{name}" in text for name in ("checkpoint", "top", "csv", "device"))


# ---- folders, tables and counts ----


class Grey(ViTModel):
    """Takes dark pictures for cats, bright ones for trees, and those between for dogs."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return 50 * torch.stack([-0.3 - mean, 0.3 - mean.abs(), mean - 0.3], dim=1)


@pytest.fixture
def greys(tmp_path, model, monkeypatch):
    """A folder of pictures for each class, of which one cat is bright; and a model that goes by brightness."""
    for name, values in {"cat": (0, 10, 250), "dog": (120, 130), "tree": (255,)}.items():
        (tmp_path / "zoo" / name / "more").mkdir(parents=True)
        for value in values:
            Image.new("RGB", (9, 7), (value,) * 3).save(tmp_path / "zoo" / name / f"{value}.png")
    Image.new("RGB", (8, 8), "black").save(tmp_path / "zoo" / "cat" / "more" / "deep.JPG")
    (tmp_path / "zoo" / "cat" / ".hidden.png").write_text("no picture")
    (tmp_path / "zoo" / "cat" / "notes.txt").write_text("no picture")
    found = Grey(model.config)
    found.classes = ["cat", "dog", "tree"]
    monkeypatch.setattr("vit_from_scratch.predict_command.load_checkpoint", lambda *args, **options: found)
    return tmp_path / "zoo"


def test_pictures_in_folders_of_classes_are_counted(greys, capsys):
    assert main([str(greys), "--checkpoint", "x", "--device", "cpu"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 7 + 5 and sum("(it is a cat)" in line for line in out) == 1
    assert [line.split() for line in out[-5:]] == [
        ["class", "pictures", "right", "taken", "for"], ["cat", "4", "75.0%", "tree", "1"], ["dog", "2", "100.0%"],
        ["tree", "1", "100.0%"], ["all", "7", "85.7%"]]


def test_a_table_has_a_line_for_every_picture(greys, tmp_path, capsys):
    assert main([str(greys), "--checkpoint", "x", "--csv", str(tmp_path / "new" / "a.csv"), "--top", "2"]) == 0
    with open(tmp_path / "new" / "a.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["picture", "label", "class_1", "probability_1", "class_2", "probability_2"]
    assert len(rows) == 7 and [row["label"] for row in rows] == ["cat"] * 4 + ["dog"] * 2 + ["tree"]
    assert [row["class_1"] for row in rows] == ["cat", "cat", "tree", "cat", "dog", "dog", "tree"]
    assert all(0 <= float(row["probability_2"]) <= float(row["probability_1"]) <= 1 for row in rows)
    assert ".png: " not in capsys.readouterr().out  # not said twice


def test_folders_of_other_classes_are_predicted_and_not_counted(greys, capsys):
    (greys / "tree").rename(greys / "Trees")
    assert main([str(greys), "--checkpoint", "x"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 7 and "right" not in said.out and "it is a" not in said.out
    assert "not counted: the folders are no classes of the model, cat, dog, tree" in said.err
    assert main([str(greys / "cat"), "--checkpoint", "x"]) == 0  # a folder of pictures alone needs no such remark
    assert "not counted" in capsys.readouterr().err  # it has a folder "more" in it


def test_a_picture_that_cannot_be_read_stops_nothing(greys, tmp_path, capsys):
    (greys / "cat" / "10.png").write_text("no picture")
    assert main([str(greys), "--checkpoint", "x", "--csv", str(tmp_path / "a.csv")]) == 2
    said = capsys.readouterr()
    assert sum("10.png" in line for line in said.err.splitlines()) == 1 and "all " in said.out
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 6


def test_what_was_found_before_ctrl_c_is_kept(greys, tmp_path, capsys, monkeypatch):
    calls = []

    def predicting(model, path):
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return {"cat": 1.0}

    monkeypatch.setattr("vit_from_scratch.predict_command.predict", predicting)
    assert main([str(greys), "--checkpoint", "x", "--csv", str(tmp_path / "a.csv"), "--top", "1"]) == 130
    assert "vit-predict: interrupted" in capsys.readouterr().err
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 3


def test_pictures_beside_the_classes_are_predicted_and_not_counted(greys, capsys):
    Image.new("RGB", (8, 8), "white").save(greys / "odd.png")
    assert main([str(greys), "--checkpoint", "x"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert f"{greys / 'odd.png'}: tree" in out[0] and "it is" not in out[0]
    assert len(out) == 8 + 5 and out[-1].split() == ["all", "7", "85.7%"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_linked_folders_are_not_followed(greys):
    (greys / "cat" / "loop").symlink_to(greys)
    found = find_pictures(greys, ["cat", "dog", "tree"])
    assert [label for _, label in found] == ["cat"] * 4 + ["dog"] * 2 + ["tree"]


def test_the_score_of_many_classes_names_five_confusions():
    labels = ["a"] * 8 + ["b"]
    lines = score_table(labels, ["a", "b", "b", "c", "d", "e", "f", "g", "a"]).splitlines()
    assert lines[1].split() == ["a", "8", "12.5%", "b", "2,", "c", "1,", "d", "1,", "e", "1,", "f", "1,", "..."]
    assert lines[2].split() == ["b", "1", "0.0%", "a", "1"] and lines[3].split() == ["all", "9", "11.1%"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_any_precision_predicts(model, picture, dtype):
    expected = predict(model, picture)
    assert predict(model.to(dtype), picture) == pytest.approx(expected, abs=0.02)


def test_two_classes_of_one_name_stay_two(model, picture):
    model.classes = ["crane", "dog", "crane"]
    found = predict(model, picture)
    assert sorted(found) == ["crane (0)", "crane (2)", "dog"] and sum(found.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["vit.pt", "zoo/dog/120.png", "new.JPG", "zoo"])
def test_a_table_takes_no_other_files_place(greys, file, tmp_path, capsys, name):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([str(greys), "--checkpoint", file, "--csv", str(tmp_path / name)]) == 2
    assert "expected a file for the table" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory"), KeyboardInterrupt()])
def test_a_table_is_not_emptied_by_a_run_without_an_answer(greys, file, tmp_path, capsys, monkeypatch, error):
    def fail(model, path):
        raise error

    (tmp_path / "a.csv").write_text("dear")
    monkeypatch.setattr("vit_from_scratch.predict_command.predict", fail)
    code = main([str(greys), "--checkpoint", file, "--csv", str(tmp_path / "a.csv")])
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 2) and (tmp_path / "a.csv").read_text() == "dear"
    said = capsys.readouterr().err
    assert isinstance(error, KeyboardInterrupt) or f"{greys / 'cat' / '0.png'}: " in said
