"""The training command: data, recipes, resuming after any interruption, several processes, and clear errors."""

import csv
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace

import pytest
import torch
from PIL import Image

from vit_from_scratch.checkpoint import load_checkpoint, read_checkpoint
from vit_from_scratch.model import ViTModel
from vit_from_scratch.train import (
    AUGMENTS,
    MIXES,
    RECIPES,
    Interrupted,
    Pictures,
    Recipe,
    Run,
    World,
    build_parser,
    join_world,
    listen,
    load_pictures,
    main,
    make_optimizers,
    prepare,
    random_crop_flip,
    read_recipe,
    seed_of,
    trivial_augment,
)  # fmt: skip

ALONE = World(0, 1, torch.device("cpu"))
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks, which Windows can't")


@pytest.fixture
def recipe():
    """A run of a second: 43 pictures in batches of 8, the last of 3."""
    return Recipe(data="nowhere", image_size=16, emb_dim=12, num_layers=2, epochs=3, batch_size=8,
                  augment="none", mix="none", drop_rate=0.1)  # fmt: skip


@pytest.fixture
def parts(seeded):
    """43 pictures to train on, 11 to validate on and 9 to test with, of three classes."""
    def draw(count):
        images = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8)
        return Pictures(images, torch.arange(count) % 3, list("abc"))

    return {"train": draw(43), "val": draw(11), "test": draw(9)}


@pytest.fixture
def folder(tmp_path):
    """A folder with 12 pictures for each of two classes."""
    for name, grey in (("cat", 60), ("dog", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (20 + i, 24), (grey, grey + i, 0)).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def weights(path) -> dict:
    return read_checkpoint(path)["model"]


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def losses(history: list[dict]) -> list[float]:
    return [line[name] for line in history for name in ("train_loss", "val_loss")]


# --- pictures


def test_the_embedded_emoji(emoji):
    parts = load_pictures("emoji", (32, 32))
    assert list(parts) == ["train", "val", "test_seen", "test_unseen"]
    assert parts["train"].images.dtype == torch.uint8 and parts["train"].images.shape[1:] == (3, 32, 32)
    assert len(parts["train"].classes) == 8 and parts["train"].labels.min() >= 0


def test_a_folder_is_decoded_once_and_split(folder):
    parts = load_pictures(str(folder), (16, 16), 0.25, show_progress=False)
    assert {name: len(part) for name, part in parts.items()} == {"train": 18, "val": 6}
    assert parts["train"].images.shape == (18, 3, 16, 16) and parts["train"].images.dtype == torch.uint8
    assert parts["train"].classes == ["cat", "dog"]
    for part in parts.values():  # red tells the class, to the last bit: nothing was rounded
        assert torch.equal(part.images[:, 0, 0, 0], torch.tensor([60, 200], dtype=torch.uint8)[part.labels])
    again = load_pictures(str(folder), (16, 16), 0.25, show_progress=False)
    assert torch.equal(again["val"].images, parts["val"].images)
    greens = sorted((int(label), int(image[1, 0, 0])) for part in parts.values()
                    for image, label in zip(part.images, part.labels, strict=True))  # fmt: skip
    assert greens == [(label, grey + i) for label, grey in ((0, 60), (1, 200)) for i in range(12)]


@pytest.mark.parametrize("show_progress", [False, True])
def test_a_folder_of_more_than_one_batch(tmp_path, show_progress):
    for i in range(150):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / str(i % 2) / f"{i:03d}.png")
    train = load_pictures(str(tmp_path), (8, 8), 0.0, show_progress=show_progress)["train"]
    assert train.images[:, 0, 0, 0].tolist() == [*range(0, 150, 2), *range(1, 150, 2)]
    assert train.labels.tolist() == [0] * 75 + [1] * 75


def test_without_a_fraction_nothing_is_held_out(folder):
    assert list(load_pictures(str(folder), (16, 16), 0.0, show_progress=False)) == ["train"]


def test_a_folder_with_parts_of_its_own(folder, tmp_path):
    (tmp_path / "data").mkdir()
    folder.rename(tmp_path / "data" / "train")
    for part in ("val", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            Image.new("RGB", (16, 16)).save(tmp_path / "data" / part / name / "1.png")
    parts = load_pictures(str(tmp_path / "data"), (16, 16), show_progress=False)
    assert {name: len(part) for name, part in parts.items()} == {"train": 24, "val": 2, "test": 2}
    (tmp_path / "data" / "val" / "dog").rename(tmp_path / "data" / "val" / "wolf")
    with pytest.raises(ValueError, match=r"val has the classes cat, wolf; expected those of .*train: cat, dog"):
        load_pictures(str(tmp_path / "data"), (16, 16), show_progress=False)


def test_a_broken_picture_is_named(folder):
    (folder / "cat" / "3.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"^\S*3\.png can't be read as a picture.*$"):
        load_pictures(str(folder), (16, 16), show_progress=False)


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_no_folder(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder|not one folder of pictures per class"):
        load_pictures(str(tmp_path / name), (16, 16), show_progress=False)


def test_no_cifar10(tmp_path):
    with pytest.raises(FileNotFoundError, match="no intact CIFAR-10"):
        load_pictures("cifar10", (32, 32), root=tmp_path)


# --- augmentation


def test_random_crop_flip_shifts_mirrors_and_reflects(seeded):
    image = torch.arange(36).reshape(1, 1, 6, 6).expand(500, 1, 6, 6)
    moved = random_crop_flip(image, 2)
    padded = torch.nn.functional.pad(image[:1].float(), (2, 2, 2, 2), mode="reflect")[0, 0].long()
    expected = {tuple(window.flatten().tolist()) for y in range(5) for x in range(5)
                for window in (padded[y : y + 6, x : x + 6], padded[y : y + 6, x : x + 6].flip(1))}  # fmt: skip
    found = {tuple(picture.flatten().tolist()) for picture in moved}
    assert found == expected and len(found) == 50  # each of them, and no other


def test_random_crop_flip_leaves_the_channels_together(seeded):
    image = torch.randint(0, 256, (20, 1, 8, 6), dtype=torch.uint8).expand(20, 3, 8, 6)
    moved = random_crop_flip(image)
    assert moved.dtype == torch.uint8 and moved.shape == (20, 3, 8, 6)
    assert torch.equal(moved[:, 0], moved[:, 1]) and torch.equal(moved[:, 0], moved[:, 2])


@pytest.mark.parametrize("name", AUGMENTS)
def test_augmentations_give_normalized_floats(name, seeded):
    images = torch.randint(0, 256, (35, 3, 16, 16), dtype=torch.uint8)
    before = images.clone()
    torch.manual_seed(1)
    first = AUGMENTS[name](images)
    torch.manual_seed(1)
    assert torch.equal(AUGMENTS[name](images), first)  # the seed decides
    assert first.dtype == torch.float32 and first.shape == images.shape and torch.equal(images, before)
    assert name == "affine" or (first.min() >= -1 and first.max() <= 1)
    if name != "none":
        assert not torch.equal(AUGMENTS[name](images), first)


def test_trivial_augment_changes_groups_alike(seeded, monkeypatch):
    monkeypatch.setattr("vit_from_scratch.train.random_crop_flip", lambda images: images)
    images = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8).expand(40, 3, 16, 16)
    groups = trivial_augment(images, group=8).split(8)
    assert all(torch.equal(picture, group[0]) for group in groups for picture in group)
    assert len({group[0].numpy().tobytes() for group in groups}) > 1


def test_random_crop_flip_of_pictures_smaller_than_the_shift(seeded):
    images = torch.arange(6).reshape(1, 1, 2, 3).expand(50, 1, 2, 3)
    assert set(random_crop_flip(images).flatten().tolist()) == set(range(6))


@pytest.mark.parametrize("name", MIXES)
def test_mixes(name, seeded):
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % 3
    mixed, targets = MIXES[name](3)(images, labels)
    assert mixed.shape == images.shape
    assert torch.equal(targets, labels) or torch.allclose(targets.sum(1), torch.ones(6))


# --- recipes


@pytest.mark.parametrize("change", [
    {"epochs": 0}, {"epochs": 2.5}, {"batch_size": 0}, {"seed": -1}, {"learning_rate": 0.0},
    {"learning_rate": math.nan},
    {"grad_clip": -1.0}, {"warmup_epochs": -1.0}, {"weight_decay": math.inf}, {"label_smoothing": 1.0},
    {"val_fraction": 1.0}, {"val_fraction": -0.1}, {"data": ""}, {"data": 3}, {"model": "ViT-Huge"}, {"augment": "all"},
    {"warmup_epochs": 34.0}, {"learning_rate": 1e30}, {"image_size": 32.0},
    {"mix": "cut"}, {"precision": "float16"}, {"patch_size": 5}, {"num_heads": 7}, {"drop_rate": 1.0},
    {"image_size": 64}, {"optimizer": "sgd"},
])  # fmt: skip
def test_wrong_fields_are_refused_by_name(change):
    with pytest.raises((TypeError, ValueError), match=next(iter(change))):
        Recipe(**change)


def test_a_torch_without_muon_says_so(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"optimizer is muon, which torch .* does not have: use adamw"):
        Recipe(optimizer="muon")


def test_muon_takes_the_matrices_of_the_blocks(recipe):
    model = ViTModel(recipe.vit_config(3))
    muon, adamw = make_optimizers(model, "muon", 0.05)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = {names[id(parameter)] for group in muon.param_groups for parameter in group["params"]}
    rest = [names[id(parameter)] for group in adamw.param_groups for parameter in group["params"]]
    assert len(taken) == 4 * recipe.num_layers and all("blocks" in name for name in taken)
    assert sorted([*taken, *rest]) == sorted(names.values())
    assert "classifier.weight" in rest
    (all_of_them,) = make_optimizers(model, "adamw", 0.05)
    assert sum(len(group["params"]) for group in all_of_them.param_groups) == len(names)


def test_muons_steps_are_as_long_as_adamws(recipe):
    """Liu et al. 2025: the root mean square of a step is about 0.2 times the learning rate."""
    torch.manual_seed(0)
    model = ViTModel(replace(recipe, emb_dim=96).vit_config(3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    muon, _ = make_optimizers(model, "muon", 0.0)
    muon.param_groups[0]["lr"] = 0.01
    muon.step()
    moved = [(value - before[name]).square().mean().sqrt().item() for name, value in model.state_dict().items()
             if not torch.equal(value, before[name])]  # fmt: skip
    assert len(moved) == 4 * recipe.num_layers and all(0.1 < step / 0.01 < 0.3 for step in moved)


def test_the_named_config_with_changes():
    recipe = Recipe(data="pets", model="ViT-S/16", image_size=64, num_layers=3, drop_rate=0.2)
    config = recipe.vit_config(5)
    assert (config.image_size, config.patch_size, config.emb_dim) == ((64, 64), (16, 16), 384)
    assert (config.num_layers, config.drop_rate, config.num_classes) == (3, 0.2, 5)
    assert Recipe(data="cifar10", model="ViT-S/16").vit_config(10).image_size == (32, 32)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository(path):
    recipe = Recipe(**read_recipe(path.stem))
    assert recipe == Recipe(**read_recipe(path)) and recipe.data in ("emoji", "cifar10")
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_emoji_recipe_is_lesson_06s():
    assert Recipe(**read_recipe("emoji")) == Recipe()


@pytest.mark.parametrize("text, message", [
    ("epochs = ", "is no TOML file"), ("epoch = 3", r"sets epoch; a recipe has data, .*epochs"),
    ("\x00", "is no TOML file"),
])  # fmt: skip
def test_wrong_recipe_files(text, message, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_recipe(tmp_path / "mine.toml")


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"no recipe nix: use one of .*emoji"):
        read_recipe("nix")


# --- a run, and its interruptions


def test_a_run_learns_and_leaves_its_files(recipe, parts, tmp_path):
    for part in parts.values():
        part.images[:] = 80 * part.labels[:, None, None, None].to(torch.uint8)  # a class is a shade of grey
    run = Run(replace(recipe, epochs=30, warmup_epochs=1.0), parts, tmp_path, ALONE)
    history = run.fit(show_progress=False)
    assert run.finished and history[-1]["val_accuracy"] == 1
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 2
    with open(tmp_path / "log.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["epoch"]) for line in lines] == list(range(1, 31))
    assert [float(line["val_loss"]) for line in lines] == [line["val_loss"] for line in history]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt", "log.csv"]
    model = load_checkpoint(tmp_path / "best.pt", run.model.config)
    assert (model(parts["test"].images.float() / 127.5 - 1).argmax(1) == parts["test"].labels).all()
    assert run.measure("test")[1] == 1


def test_best_is_the_epoch_that_validated_best(recipe, parts, tmp_path):
    run, found = Run(recipe, parts, tmp_path, ALONE), []
    accuracies = iter([0.2, 0.6, 0.6])

    def measure(name):
        found.append({name: weight.clone() for name, weight in run.model.state_dict().items()})
        return 1.0, next(accuracies)

    run.measure = measure
    run.fit(show_progress=False)
    assert same(weights(tmp_path / "best.pt"), found[1]) and same(weights(tmp_path / "last.pt"), found[2])


def test_without_validation_there_is_no_best(recipe, parts, tmp_path):
    history = Run(recipe, {"train": parts["train"]}, tmp_path, ALONE).fit(show_progress=False)
    assert history[-1]["val_accuracy"] is None and not (tmp_path / "best.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop_at, optimizer", [(1, "adamw"), (6, "adamw"), (6, "muon"), (7, "muon"), (12, "adamw")])
def test_interrupted_and_resumed_is_as_if_nothing_was(recipe, parts, tmp_path, number, stop_at, optimizer):
    """6 and 12 are the last steps of an epoch."""
    recipe = replace(recipe, augment="trivial", mix="both", optimizer=optimizer)
    whole = Run(recipe, parts, tmp_path / "whole", ALONE)
    history = whole.fit(show_progress=False)
    run = Run(recipe, parts, tmp_path / "parts", ALONE)
    step = run.step

    def step_and_signal(indices):
        if run.progress.step == stop_at - 1:
            signal.raise_signal(number)
        return step(indices)

    run.step = step_and_signal
    with pytest.raises(Interrupted) as stop:
        run.fit(show_progress=False)
    assert stop.value.signal == number and run.progress.step == stop_at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as before
    torch.rand(7)  # whatever happens in between
    again = Run(recipe, parts, tmp_path / "parts", ALONE)
    assert again.progress.step == run.progress.step
    assert losses(again.fit(show_progress=False)) == losses(history)
    assert same(weights(tmp_path / "parts" / "last.pt"), weights(tmp_path / "whole" / "last.pt"))
    assert same(weights(tmp_path / "parts" / "best.pt"), weights(tmp_path / "whole" / "best.pt"))


def test_epochs_of_one_step_can_be_stopped(recipe, parts, tmp_path):
    run = Run(replace(recipe, batch_size=64), parts, tmp_path, ALONE)
    step = run.step
    run.step = lambda indices: (signal.raise_signal(signal.SIGINT), step(indices))[1]
    with pytest.raises(Interrupted):
        run.fit(show_progress=False)
    assert run.progress.step == 1 and len(run.progress.history) == 1


def test_another_thread_can_train(recipe, parts, tmp_path):
    run = Run(recipe, parts, tmp_path, ALONE)
    thread = threading.Thread(target=run.fit, kwargs={"show_progress": False})
    thread.start()
    thread.join()
    assert run.finished


def test_the_seed_decides_what_is_drawn(recipe, parts, tmp_path):
    """Augmentation, dropout and order: two seeds differ in each, from the same weights."""
    def first_loss(seed, **changes):
        run = Run(replace(recipe, seed=seed, **changes), parts, tmp_path, ALONE)
        run.model.load_state_dict(start)
        return run.step(torch.arange(8))[0].item()

    start = Run(recipe, parts, tmp_path, ALONE).model.state_dict()
    for changes in ({"augment": "crop_flip", "drop_rate": 0.0}, {"drop_rate": 0.3}):
        assert first_loss(0, **changes) == first_loss(0, **changes) != first_loss(1, **changes)
    assert len({seed_of(*numbers) for numbers in [(0, 1), (1, 0), (0, 1, 0), (4096, 0), (2**31 - 1, 10**9, 1023)]}) == 5


def test_saving_changes_nothing(recipe, parts, tmp_path):
    often = Run(recipe, parts, tmp_path / "often", ALONE, save_minutes=1e-9).fit(show_progress=False)
    assert losses(often) == losses(Run(recipe, parts, tmp_path / "once", ALONE).fit(show_progress=False))


def test_a_second_ctrl_c_acts_at_once():
    with pytest.raises(KeyboardInterrupt), listen() as heard:
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)


def _fit(recipe, parts, output, **options):
    Run(recipe, parts, output, ALONE, **options).fit(show_progress=False)


@forks
def test_killed_at_any_moment_it_goes_on(recipe, parts, tmp_path):
    """kill -9, twenty times: every file is whole or absent, and in the end all is as if nothing was."""
    recipe = replace(recipe, epochs=8)
    _fit(recipe, parts, tmp_path / "whole")
    process, draw, steps = multiprocessing.get_context("fork"), random.Random(0), []
    for _ in range(20):
        child = process.Process(target=_fit, args=(recipe, parts, tmp_path / "killed"), kwargs={"save_minutes": 1e-9})
        child.start()
        child.join(draw.uniform(0.03, 0.2))
        child.kill()
        child.join()
        for path in (tmp_path / "killed").glob("*.pt"):
            steps.append(read_checkpoint(path).get("progress", {}).get("step"))
    assert len({step for step in steps if step is not None}) > 3  # it got on, and was hit at different places
    _fit(recipe, parts, tmp_path / "killed")
    for name in ("last.pt", "best.pt"):
        assert same(weights(tmp_path / "killed" / name), weights(tmp_path / "whole" / name))
    assert losses(read_checkpoint(tmp_path / "killed" / "last.pt")["progress"]["history"]) == losses(
        read_checkpoint(tmp_path / "whole" / "last.pt")["progress"]["history"])  # fmt: skip
    assert not list((tmp_path / "killed").glob("*.unfinished"))


def test_it_saves_within_an_epoch(recipe, parts, tmp_path):
    run = Run(recipe, parts, tmp_path, ALONE, save_minutes=1e-9)
    step, seen = run.step, []

    def look_and_step(indices):
        seen.append(read_checkpoint(tmp_path / "last.pt")["progress"]["step"] if run.progress.step else 0)
        return step(indices)

    run.step = look_and_step
    run.fit(show_progress=False)
    assert seen == list(range(18))


def test_another_recipe_is_not_resumed(recipe, parts, tmp_path):
    _fit(recipe, parts, tmp_path)
    with pytest.raises(ValueError, match=r"another recipe: learning_rate 0\.001 \(here 0\.01\)"):
        Run(replace(recipe, learning_rate=0.01), parts, tmp_path, ALONE)


def test_other_data_are_not_resumed(recipe, parts, tmp_path):
    _fit(recipe, parts, tmp_path)
    with pytest.raises(ValueError, match=r"another data: train 43 \(here 42\)"):
        Run(recipe, parts | {"train": parts["train"].part(range(42))}, tmp_path, ALONE)
    renamed = {name: Pictures(part.images, part.labels, list("abd")) for name, part in parts.items()}
    with pytest.raises(ValueError, match="another data: classes"):
        Run(recipe, renamed, tmp_path, ALONE)


def test_a_damaged_or_foreign_checkpoint_is_refused(recipe, parts, tmp_path):
    _fit(recipe, parts, tmp_path)
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match="is no checkpoint, or is cut short"):
        Run(recipe, parts, tmp_path, ALONE)
    (tmp_path / "last.pt").write_bytes((tmp_path / "best.pt").read_bytes())
    with pytest.raises(ValueError, match="is not a checkpoint to go on from"):
        Run(recipe, parts, tmp_path, ALONE)


@pytest.mark.parametrize("step_of_nan", [4, 5])  # in the middle of an epoch, and in its last step
def test_a_loss_that_explodes_is_reported_and_not_saved(recipe, parts, tmp_path, step_of_nan):
    run = Run(recipe, parts, tmp_path, ALONE, save_minutes=1e-9)
    step = run.step

    def step_and_explode(indices):
        sums = step(indices)
        if run.progress.step == step_of_nan + 1:
            for weight in run.model.parameters():
                weight.data.mul_(math.nan)
        return sums * (math.nan if run.progress.step > step_of_nan + 1 else 1)

    run.step = step_and_explode
    with pytest.raises(FloatingPointError, match=r"use a learning_rate below 0\.001"):
        run.fit(show_progress=False)
    assert not (tmp_path / "best.pt").exists()
    if step_of_nan == 5:
        assert all(value.isfinite().all() for value in weights(tmp_path / "last.pt").values())


def test_a_log_that_was_not_written_is_written_later(recipe, parts, tmp_path):
    _fit(recipe, parts, tmp_path)
    log = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").unlink()
    _fit(recipe, parts, tmp_path)
    assert (tmp_path / "log.csv").read_text() == log


# --- less memory, other precision: the same run


@pytest.mark.parametrize("options", [
    {"accumulate": 3}, {"checkpointing": True}, {"accumulate": 8, "checkpointing": True},
])  # fmt: skip
def test_accumulation_and_checkpointing_change_nothing(recipe, parts, tmp_path, options):
    recipe = replace(recipe, drop_rate=0.0)
    expected = losses(Run(recipe, parts, tmp_path / "plain", ALONE).fit(show_progress=False))
    found = losses(Run(recipe, parts, tmp_path / "other", ALONE, **options).fit(show_progress=False))
    assert found == pytest.approx(expected, abs=1e-5)


def test_checkpointing_keeps_less(recipe, parts):
    def kept(checkpointing: bool) -> int:
        model, total = prepare(Run(recipe, parts, "nowhere", ALONE).model, ALONE, checkpointing=checkpointing), []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: total.append(x.numel()) or x, lambda x: x):
            model(torch.randn(8, 3, 16, 16)).sum()
        return sum(total)

    assert kept(True) < kept(False) / 2


def test_bfloat16_runs_in_bfloat16(recipe, parts, tmp_path):
    run = Run(replace(recipe, precision="bfloat16"), parts, tmp_path, ALONE)
    seen = []
    run.model.classifier.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    history = run.fit(show_progress=False)
    assert set(seen) == {torch.bfloat16} and math.isfinite(history[-1]["val_loss"])
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "last.pt").values())


# --- several processes


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_the_shares_are_the_batch(size, count):
    batch, found = torch.randperm(count), []
    for rank in range(size):
        mine, counts = World(rank, size, torch.device("cpu")).share(batch)
        assert len(mine) >= 1  # nobody is left without work
        found += mine.tolist() * counts
    assert sorted(found) == list(range(count))


def _in_process(rank, size, port, recipe, parts, output, options):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    with join_world("cpu") as world:
        run = Run(recipe, parts, output, world, **options)
        run.fit(show_progress=False)
        results = {name: run.measure(name) for name in parts}
        run.load("best.pt")
        assert run.measure("val")[1] == max(line["val_accuracy"] for line in run.progress.history)
    (output / f"results_{rank}.json").write_text(json.dumps(results))


def spread(size, recipe, parts, output, **options) -> list[dict]:
    """Run a recipe in `size` processes, and give the history."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_in_process, args=(rank, size, port, recipe, parts, output, options))
                for rank in range(size)]  # fmt: skip
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * size
    return read_checkpoint(output / "last.pt")["progress"]["history"]


@forks
@pytest.mark.parametrize("size, options", [
    (2, {}), (3, {"accumulate": 2}), (2, {"sharded": True}), (2, {"sharded": True, "accumulate": 2}),
])  # fmt: skip
def test_many_processes_do_what_one_does(recipe, parts, tmp_path, size, options):
    """43 pictures in batches of 8: the last has 3, one or two for each process, and 11 to validate on."""
    recipe = replace(recipe, drop_rate=0.0)
    alone = Run(recipe, parts, tmp_path / "alone", ALONE)
    expected = alone.fit(show_progress=False)
    found = spread(size, recipe, parts, tmp_path / "many", **options)
    assert losses(found) == pytest.approx(losses(expected), abs=1e-5)
    for name in ("train_accuracy", "val_accuracy"):
        assert [line[name] for line in found] == [line[name] for line in expected]
    results = [json.loads((tmp_path / "many" / f"results_{rank}.json").read_text()) for rank in range(size)]
    for result in results:  # every process knows the results on all the pictures
        for name in parts:
            assert result[name] == pytest.approx(alone.measure(name), abs=1e-5)
    first, second = weights(tmp_path / "alone" / "last.pt"), weights(tmp_path / "many" / "last.pt")
    assert all(torch.allclose(first[name], second[name], atol=1e-3) for name in first)


@forks
@pytest.mark.parametrize("options", [{}, {"sharded": True}])
def test_muon_in_two_processes(recipe, parts, tmp_path, options):
    """It rounds to bfloat16 inside, so what differs in the last digit at first differs in the fourth."""
    recipe = replace(recipe, drop_rate=0.0, optimizer="muon")
    expected = Run(recipe, parts, tmp_path / "alone", ALONE).fit(show_progress=False)
    found = spread(2, recipe, parts, tmp_path / "many", **options)
    assert losses(found) == pytest.approx(losses(expected), abs=5e-3)


@forks
def test_begun_alone_it_goes_on_with_two_and_the_other_way(recipe, parts, tmp_path):
    recipe = replace(recipe, drop_rate=0.0)
    expected = losses(Run(recipe, parts, tmp_path / "alone", ALONE).fit(show_progress=False))
    run = Run(recipe, parts, tmp_path / "mixed", ALONE)
    step = run.step
    run.step = lambda indices: (run.progress.step == 7 and signal.raise_signal(signal.SIGINT), step(indices))[1]
    with pytest.raises(Interrupted):
        run.fit(show_progress=False)
    found = spread(2, recipe, parts, tmp_path / "mixed", sharded=True)
    assert losses(found) == pytest.approx(expected, abs=1e-5)


def test_a_batch_that_cannot_be_shared_out(recipe, parts, tmp_path):
    with pytest.raises(ValueError, match="batch_size is 8; expected at least 9 for 3 processes and batches in 3 parts"):
        Run(recipe, parts, tmp_path, World(0, 3, torch.device("cpu")), accumulate=3)


# --- the command

TINY = "--image-size 16 --emb-dim 12 --num-layers 1 --epochs 2 --warmup-epochs 1 --batch-size 8 --device cpu".split()


def command(*words) -> list[str]:
    return [sys.executable, "-m", "vit_from_scratch.train", *map(str, words)]


def test_the_command_from_start_to_end(folder, tmp_path, capsys):
    words = ["--data", str(folder), *TINY, "--output", str(tmp_path / "run")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "ViT-Mini/4, " in text and "train 22, val 2 pictures" in text and "best.pt" in text
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results.keys() == {"last.pt", "best.pt"} and results["best.pt"].keys() == {"val"}
    before = weights(tmp_path / "run" / "last.pt")
    assert main(words) == 1  # nothing is overwritten
    assert "add --resume to go on with it, or choose another --output" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert same(weights(tmp_path / "run" / "last.pt"), before)
    assert main([*words, "--resume", "--learning-rate", "0.5"]) == 1
    assert "another recipe: learning_rate" in capsys.readouterr().err


def test_interrupted_it_says_how_to_go_on(folder, tmp_path, capsys, monkeypatch):
    step = Run.step

    def step_and_signal(run, indices):
        if run.progress.step == 3:
            signal.raise_signal(signal.SIGINT)
        return step(run, indices)

    words = ["--data", str(folder), *TINY, "--output", str(tmp_path / "my run")]
    monkeypatch.setattr(Run, "step", step_and_signal)
    assert main(words) == 130
    text = capsys.readouterr().out
    assert "stopped in epoch 2 of 2, and saved" in text and f"--output '{tmp_path}/my run' --resume" in text
    monkeypatch.setattr(Run, "step", step)
    assert main([*words, "--resume"]) == 0


@pytest.mark.parametrize("words, message", [
    (["--epochs", "0"], "epochs is 0; expected a whole number, at least 1"),
    (["--epochs", "2"], "warmup_epochs is 2.0; expected less than the epochs (2)"),
    (["--device", "meta"], "no device meta here (expected cpu, cuda or mps)"),
    (["--recipe", "nix"], "no recipe nix: use one of"),
    (["--data", "nowhere"], "no folder at nowhere"),
    (["--data", "cifar10", "--root", "nowhere"], "no intact CIFAR-10 in nowhere"),
    (["--model", "ViT"], "model is 'ViT'; expected one of ViT-Ti/16"),
    (["--patch-size", "5"], "not divisible by patch_size"),
    (["--device", "abacus"], "no device abacus here"),
    (["--accumulate", "0"], "--accumulate must be at least 1"),
    (["--save-minutes", "nan"], "--save-minutes above 0"),
    (["--accumulate", "65"], "batch_size is 64; expected at least 65"),
    (["--fsdp"], "start them with torchrun"),
])  # fmt: skip
def test_errors_come_before_the_first_step_and_leave_nothing(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--output", "run"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_compiler_is_needed_to_compile(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["--compile", "--device", "cpu", "--output", str(tmp_path / "run")]) == 1
    assert "--compile needs a C++ compiler" in capsys.readouterr().err


@pytest.mark.parametrize("text", [build_parser().epilog, (RECIPES.parent / "README.md").read_text(encoding="utf-8")],
                         ids=["help", "README"])  # fmt: skip
def test_the_example_commands_can_be_given(text):
    """Their options exist, their recipes are there, and they make a model."""
    commands = re.findall(r"^ *(?:python|torchrun .+?) -m vit_from_scratch\.train ([^#\n]+)", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        if command.strip() != "--help":
            options = vars(build_parser().parse_args(command.split()))
            changes = {field.name: options[field.name] for field in fields(Recipe) if field.name in options}
            recipe = Recipe(**(read_recipe(options["recipe"]) if options["recipe"] else {}) | changes)
            assert recipe.vit_config(num_classes=2).image_size == ((64, 64) if "64" in command else (32, 32))


def test_one_class_is_no_task(folder, tmp_path, capsys):
    shutil.rmtree(folder / "dog")
    assert main(["--data", str(folder), *TINY, "--output", str(tmp_path / "run")]) == 1
    assert "has one class, cat: expected at least two" in capsys.readouterr().err


def test_a_file_stands_where_the_folder_should(tmp_path, capsys, folder):
    (tmp_path / "run").write_text("mine")
    assert main(["--data", str(folder), *TINY, "--output", str(tmp_path / "run")]) == 1
    assert (tmp_path / "run").read_text() == "mine" and "run" in capsys.readouterr().err


def test_help_names_every_field(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for option in fields(Recipe):
        assert "--" + option.name.replace("_", "-") in text


def test_as_users_start_it_with_ctrl_c_and_torchrun(folder, tmp_path):
    """One process, stopped by a real Ctrl-C; two of torchrun's go on with its run, and end as one would have."""
    words = ["--data", folder, *TINY, "--epochs", 300, "--augment", "none", "--output", tmp_path / "run"]
    if os.name == "nt":
        pytest.skip("Windows sends Ctrl-C to the whole console")
    process = subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "best.pt").exists():
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "and saved. To go on:" in text
    done = read_checkpoint(tmp_path / "run" / "last.pt")["progress"]["step"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    again = subprocess.run([*torchrun, *command(*words, "--resume")[2:]], capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "on 2 x cpu" in again.stdout
    assert read_checkpoint(tmp_path / "run" / "last.pt")["progress"]["step"] == 900 > done
