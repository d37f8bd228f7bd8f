"""Starting from weights: files of any layout, a new head, what is frozen, learning rates by layer, and how to go on."""

import json

import numpy as np
import pytest
import torch
from conftest import same
from torch.utils.data import DataLoader

from vit_from_scratch.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vit_from_scratch.data import image_folder
from vit_from_scratch.distributed import Communicator, DistributedTrainer, first_model
from vit_from_scratch.evaluation import evaluate
from vit_from_scratch.model import ViTModel
from vit_from_scratch.pictures import load_pictures, random_resized_crop
from vit_from_scratch.pretrained import IMAGENET, from_file, save_safetensors, to_layout
from vit_from_scratch.recipe import Recipe
from vit_from_scratch.train_command import main
from vit_from_scratch.training import TrainingConfig
from vit_from_scratch.transfer import layerwise_optimizers

HERE = Communicator(0, 1, torch.device("cpu"))
RUN = "--epochs 2 --warmup-epochs 1 --batch-size 8 --device cpu".split()


@pytest.fixture
def model(tiny) -> ViTModel:
    return ViTModel(tiny.replace(image_size=16, num_classes=2, preprocessing=IMAGENET)).eval()


@pytest.fixture
def file(tmp_path, model) -> str:
    """A trained model of the folder's classes."""
    save_checkpoint(tmp_path / "vit.pt", model, classes=["cat", "dog"])
    return str(tmp_path / "vit.pt")


# ---- files of any kind ----


@pytest.mark.parametrize("kind", ["ours", "safetensors", "torchvision", "timm", "huggingface", "older huggingface",
                                  "timm safetensors"])  # fmt: skip
def test_a_file_of_any_layout_is_recognised(tmp_path, model, kind):
    path = tmp_path / ("vit.safetensors" if "safetensors" in kind else "vit.pth")
    if kind == "ours":
        save_checkpoint(path, model, classes=["cat", "dog"])
    elif kind == "safetensors":
        model.classes = ["cat", "dog"]
        save_safetensors(path, model)
    elif kind == "timm safetensors":
        from safetensors.torch import save_file

        save_file({name: weight.contiguous() for name, weight in to_layout(model, "timm").items()}, path)
    else:
        state = to_layout(model, kind.split()[-1])
        if kind == "older huggingface":
            renamed = {f"vit.{name}".replace(".layers.", ".encoder.layer."): weight for name, weight in state.items()}
            state = {name: weight for name, weight in renamed.items() if "classifier" not in name}
        torch.save({"state_dict": state} if kind == "timm" else state, path)
    known = {} if kind in ("ours", "safetensors") else {"num_heads": 4, "norm_eps": model.config.norm_eps}
    found = from_file(path, **known)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(found.forward_features(images), model.forward_features(images))
    assert getattr(found, "classes", None) == (["cat", "dog"] if kind in ("ours", "safetensors") else None)


def test_googles_file_and_a_folder_are_recognised_by_their_names(tmp_path, refuses):
    np.savez(tmp_path / "a.npz", cls=np.zeros((1, 1, 8)))
    with refuses(ValueError, "google's layout"):
        from_file(tmp_path / "a.npz")
    with refuses(FileNotFoundError, "model.safetensors"):
        from_file(tmp_path)
    with refuses(FileNotFoundError, "nowhere.pt"):
        from_file(tmp_path / "nowhere.pt")


# ---- learning rates by layer ----


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_each_layer_learns_at_a_share_of_the_rate_above(model, optimizer):
    config = TrainingConfig(epochs=3, optimizer=optimizer)
    groups = [group for found in layerwise_optimizers(model, config, 0.5) for group in found.param_groups]
    scales = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert len(scales) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    expected = {"embeddings.cls_token": 0.125, "embeddings.patch_embedding.projection.bias": 0.125,
                "encoder.blocks.0.norm1.weight": 0.25, "encoder.blocks.1.attention.qkv.weight": 0.5,
                "encoder.norm.weight": 1.0, "classifier.weight": 1.0}  # fmt: skip
    for name, scale in expected.items():
        parameter = model.get_parameter(name)
        assert scales[id(parameter)] == scale
        assert decays[id(parameter)] == (0.0 if parameter.ndim < 2 or "cls" in name else 0.05), name


# ---- the run ----


def trainer_of(recipe, folder, output, **options):
    start = first_model(recipe)
    parts = load_pictures(str(folder), start.config.image_size, preprocessing=start.config.preprocessing,
                          show_progress=False)
    return DistributedTrainer(recipe, parts, output, HERE, start=start, progress=False, **options)


def test_a_run_starts_from_a_files_weights_and_keeps_its_classes(file, folder, tmp_path, model):
    recipe = Recipe(data=str(folder), weights=file, epochs=2, warmup_epochs=1, batch_size=8)
    trainer = trainer_of(recipe, folder, tmp_path / "run")
    assert same(trainer.model.state_dict(), model.state_dict()) and trainer.model.config == model.config
    before = trainer.measure("train")
    pictures = image_folder(folder, 16, preprocessing=IMAGENET)
    assert trainer.model.classes == pictures.classes == ["cat", "dog"]
    found = evaluate(model, DataLoader(pictures, batch_size=24), "cpu")
    val = trainer.measure("val")
    assert (22 * before[0] + 2 * val[0]) / 24 == pytest.approx(found.loss, rel=1e-4)
    trainer.fit()
    loaded = load_checkpoint(tmp_path / "run" / "last.pt")
    assert loaded.config.preprocessing == IMAGENET and not same(loaded.state_dict(), model.state_dict())


def test_training_pictures_are_prepared_as_the_weights_want_them(file, folder, tmp_path, model):
    recipe = Recipe(data=str(folder), weights=file, augment="none", mix="none", epochs=2, warmup_epochs=1)
    trainer = trainer_of(recipe, folder, tmp_path / "run")
    images, labels = trainer.prepare(torch.arange(22))
    expected = IMAGENET.normalize(trainer.parts["train"].images)
    assert torch.allclose(images, expected, atol=1e-5) and images.max() > 1.5
    assert torch.equal(labels, trainer.parts["train"].labels)


def test_other_classes_get_a_new_head_and_another_size_other_positions(file, folder, tmp_path, model):
    (folder / "dog").rename(folder / "emu")
    recipe = Recipe(data=str(folder), weights=file, image_size=24, epochs=2, warmup_epochs=1)
    trainer = trainer_of(recipe, folder, tmp_path / "run")
    assert trainer.model.classes == ["cat", "emu"] and not trainer.model.classifier.weight.any()
    assert trainer.model.config.image_size == (24, 24)
    assert torch.equal(trainer.model.encoder.norm.weight, model.encoder.norm.weight)


def test_frozen_all_but_the_classifier_stays_as_it_was(file, folder, tmp_path, model, capsys):
    (folder / "dog").rename(folder / "emu")
    words = ["--data", str(folder), "--weights", file, "--freeze", *RUN]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    after = read_checkpoint(tmp_path / "run" / "last.pt")["model"]
    for name, weight in model.state_dict().items():
        assert torch.equal(after[name], weight) is not name.startswith("classifier"), name
    assert main([*words, "--output", str(tmp_path / "run"), "--resume", "--epochs", "3"]) == 0
    capsys.readouterr()
    assert main([*words, "--output", str(tmp_path / "other"), "--optimizer", "muon"]) == 2
    assert "no transformer blocks to train: use adamw" in capsys.readouterr().err


def test_the_command_says_from_what_it_starts(file, folder, tmp_path, capsys):
    words = ["--data", str(folder), "--weights", file, *RUN, "--layer-decay", "0.5", "--freeze"]
    assert main([*words, "--output", str(tmp_path / "one")]) == 0
    out = capsys.readouterr().out
    assert f"{file}, " in out and "new classifier" not in out and " frozen), on" in out and "16 x 16 pixels" in out
    (folder / "dog").rename(folder / "emu")
    assert main([*words, "--output", str(tmp_path / "two")]) == 0
    assert f"{file}, a new classifier, " in capsys.readouterr().out


@pytest.mark.parametrize(("change", "part"), [
    ({"num_channels": 1}, "is for 1 channels"), ({"preprocessing": None}, "its preprocessing is None")])  # fmt: skip
def test_weights_that_do_not_suit_are_refused(tiny, folder, tmp_path, capsys, change, part):
    save_checkpoint(tmp_path / "odd.pt", ViTModel(tiny.replace(**change)))
    assert main(["--data", str(folder), "--weights", str(tmp_path / "odd.pt"), *RUN, "--output", "run"]) == 2
    assert part in capsys.readouterr().err


def test_a_size_is_checked_against_the_weights_patches(file, folder, tmp_path, capsys):
    words = ["--data", str(folder), "--weights", file, *RUN]
    assert main([*words, "--image-size", "20", "--output", str(tmp_path / "run")]) == 0
    assert "20 x 20 pixels" in capsys.readouterr().out
    assert main([*words, "--image-size", "18", "--output", str(tmp_path / "other")]) == 2
    assert "use 16 or 20" in capsys.readouterr().err


def test_a_recipes_own_shape_gives_way_to_the_weights(file, folder, tmp_path):
    (tmp_path / "own.toml").write_text('model = "ViT-Ti/16"\nemb_dim = 32\nepochs = 2\nwarmup_epochs = 1\n')
    words = ["--recipe", str(tmp_path / "own.toml"), "--data", str(folder), "--weights", file, "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    assert load_checkpoint(tmp_path / "run" / "last.pt").config.emb_dim == 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_trained_in_float32(folder, tmp_path, model, dtype):
    model.classes = ["cat", "dog"]
    save_safetensors(tmp_path / "half.safetensors", model.to(dtype))
    words = ["--data", str(folder), "--weights", str(tmp_path / "half.safetensors"), *RUN]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    assert load_checkpoint(tmp_path / "run" / "last.pt").classifier.weight.dtype == torch.float32


def test_a_frozen_body_has_no_dropout(tiny, folder, tmp_path):
    save_checkpoint(tmp_path / "vit.pt", ViTModel(tiny.replace(drop_rate=0.5)))
    recipe = Recipe(data=str(folder), weights=str(tmp_path / "vit.pt"), freeze=True, epochs=3)
    trainer = trainer_of(recipe, folder, tmp_path / "run")
    images = torch.rand(2, 3, 8, 8)
    assert trainer.model.training and torch.equal(trainer.model.forward_features(images),
                                                  trainer.model.forward_features(images))


# ---- going on by the folder alone ----


@pytest.mark.parametrize("words", [["--resume", "run"], None], ids=["by the folder", "by the same options"])
def test_a_run_goes_on_from_another_folder_and_without_its_weights(file, folder, tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    first = ["--data", "pets", "--weights", "vit.pt", "--epochs", "1", "--batch-size", "8", "--device", "cpu"]
    assert main([*first, "--output", "run"]) == 0
    (tmp_path / "vit.pt").unlink() if words else None
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / ("below" if words else "."))
    capsys.readouterr()
    again = ["--resume", "../run", "--device", "cpu"] if words else [*first, "--output", "run", "--resume"]
    assert main([*again, "--epochs", "3"]) == 0, capsys.readouterr().err
    assert "goes on to 3" in capsys.readouterr().out


def test_a_run_goes_on_by_its_folder_alone_and_for_longer(folder, tmp_path, capsys):
    words = ["--data", str(folder), "--image-size", "16", "--emb-dim", "12", "--num-layers", "1", *RUN]
    output = tmp_path / "run"
    assert main([*words, "--output", str(output)]) == 0
    capsys.readouterr()
    assert main(["--resume", str(output), "--device", "cpu"]) == 0
    assert "finished already: nothing is trained" in capsys.readouterr().out
    assert main(["--resume", str(output), "--epochs", "4", "--device", "cpu"]) == 0
    assert "is of a run of 2 epochs: it goes on to 4" in capsys.readouterr().out
    assert len(read_checkpoint(output / "last.pt")["history"]["epochs"]) == 4
    assert json.loads((output / "recipe.json").read_text())["epochs"] == 4
    assert main(["--resume", str(output), "--epochs", "3", "--device", "cpu"]) == 2
    assert "another recipe: epochs 4 (here 3)" in capsys.readouterr().err
    for more in (["--output", "x"], ["--recipe", "emoji"]):
        assert main(["--resume", str(output), *more]) == 2
        assert "has its own recipe and output" in capsys.readouterr().err
    (output / "recipe.json").write_text("[1")
    assert main(["--resume", str(output)]) == 2
    assert "no run in " in capsys.readouterr().err


@pytest.mark.parametrize(("data", "augment"), [("emoji", "affine"), ("cifar10", "crop_flip"), ("pets", "photo")])
def test_augmentation_suits_the_data(data, augment):
    assert Recipe(data=data).augment == augment and Recipe(data=data, augment="none").augment == "none"
    assert Recipe(**Recipe(data=data).to_dict()) == Recipe(data=data)


# ---- a part of a picture ----


def test_crops_are_of_every_size_and_half_are_mirrored():
    ramp = torch.linspace(-1, 1, 16).expand(200, 3, 16, 16)
    found = random_resized_crop(ramp, smallest=0.35)
    slopes = found[:, 0, 0, -1] - found[:, 0, 0, 0]
    assert 60 < (slopes > 0).sum() < 140
    assert slopes.abs().max() < 2.01 and slopes.abs().min() > 0.9 and slopes.abs().max() > 1.7
    whole = random_resized_crop(ramp, smallest=1.0)[:, 0, 0]  # but for the shape, from 3:4 to 4:3
    assert (whole[:, -1] - whole[:, 0]).abs().min() > 1.6


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (5, 1, 6, 10), (1, 3, 1, 1)])
def test_a_crop_has_the_shape_of_the_picture_and_no_new_colours(shape):
    images = torch.rand(shape)
    found = random_resized_crop(images)
    assert found.shape == shape and found.min() >= images.min() - 1e-6 and found.max() <= images.max() + 1e-6
