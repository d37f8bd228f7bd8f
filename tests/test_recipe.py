"""Recipes: every field is checked, and every file is of the fields that there are."""

import math
from dataclasses import fields

import pytest

from vit_from_scratch.emoji_vit import EMOJI_RECIPE
from vit_from_scratch.recipe import RECIPES, Recipe, read_recipe
from vit_from_scratch.training import TrainingConfig


@pytest.mark.parametrize(("change", "kind"), [
    *[(change, ValueError) for change in (
        {"epochs": 0}, {"batch_size": 0}, {"seed": -1}, {"learning_rate": 0.0}, {"learning_rate": math.nan},
        {"learning_rate": 1e30}, {"grad_clip": -1.0}, {"warmup_epochs": -1.0}, {"warmup_epochs": 34.0},
        {"weight_decay": math.inf}, {"label_smoothing": 1.0}, {"val_fraction": 1.0}, {"val_fraction": -0.1},
        {"val_fraction": math.nan}, {"data": ""}, {"model": "ViT-Huge"}, {"augment": "all"}, {"mix": "cut"},
        {"precision": "float16"}, {"optimizer": "sgd"}, {"patch_size": 5}, {"num_heads": 7}, {"drop_rate": 1.0},
        {"image_size": 64}, {"image_size": 0}, {"freeze": True}, {"layer_decay": 0.0}, {"layer_decay": 1.5},
        {"weights": ""},
    )],
    *[(change, TypeError) for change in (
        {"epochs": 2.5}, {"epochs": "3"}, {"batch_size": 8.0}, {"data": 3}, {"image_size": 32.0}, {"model": None},
        {"augment": 3}, {"freeze": 1}, {"weights": 7}, {"layer_decay": "low"}, {"val_fraction": "half"},
        {"emb_dim": 96.0},
    )],
])  # fmt: skip
def test_wrong_fields_are_refused_by_name(refuses, change, kind):
    ((name, value),) = change.items()
    with refuses(kind, name, str(value)):
        Recipe(**change)


def test_a_recipe_is_a_training_config_with_data_and_a_model():
    recipe = Recipe(data="pets", image_size=64, epochs=5)
    assert isinstance(recipe, TrainingConfig) and recipe.replace(epochs=6).epochs == 6
    assert Recipe(**recipe.to_dict()) == recipe
    for field in fields(TrainingConfig):
        assert getattr(Recipe(), field.name) == getattr(TrainingConfig(), field.name)


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in Recipe.choices.items() for word in words])
def test_every_choice_can_be_made(name, word):
    change = {name: word, **({"data": "pets"} if name == "model" else {})}
    assert getattr(Recipe(**change), name) == word


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
    assert Recipe(**read_recipe("emoji")) == Recipe(**EMOJI_RECIPE.to_dict())


@pytest.mark.parametrize(("text", "parts"), [
    ("epochs = ", ["is no TOML file"]), ("epoch = 3", ["sets epoch;", "a recipe has", "data", "epochs"]),
    ("\x00", ["is no TOML file"]), ("[recipe]\nepochs = 3", ["sets recipe"]),
])  # fmt: skip
def test_wrong_recipe_files(refuses, text, parts, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with refuses(ValueError, "mine.toml", *parts):
        read_recipe(tmp_path / "mine.toml")


def test_a_recipe_file_that_is_not_text(refuses, tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with refuses(ValueError, "mine.toml", "is no TOML file"):
        read_recipe(str(tmp_path / "mine.toml"))


def test_an_unknown_recipe_names_the_known_ones(refuses, tmp_path):
    with refuses(FileNotFoundError, "no recipe nix: use one of", "emoji", "cifar10-quick"):
        read_recipe("nix")
    with refuses(FileNotFoundError, "nix.toml"):
        read_recipe(tmp_path / "nix.toml")


@pytest.mark.parametrize("name, value", [("emb_dim", 96), ("drop_rate", 0.1), ("patch_size", 4)])
def test_weights_bring_their_own_shape(refuses, name, value):
    with refuses(ValueError, "weights", "their own", name):
        Recipe(weights="vit.pt", **{name: value})
