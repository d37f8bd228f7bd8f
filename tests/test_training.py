"""Training: it learns, it resumes exactly, its checkpoints are whole, and it refuses what can't be trained."""

import copy
import dataclasses
import itertools
import json
import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from vit_from_scratch.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vit_from_scratch.evaluation import ShiftTTA, evaluate
from vit_from_scratch.model import ViTModel
from vit_from_scratch.training import TrainingConfig, augment, learning_rate_at, parameter_groups, train

RECIPE = TrainingConfig(epochs=4, learning_rate=3e-3, warmup_epochs=1.0)


def run(model, loaders, config=RECIPE, **options):
    """`train` on the CPU, without a bar."""
    return train(model, *loaders, config, device="cpu", progress=False, **options)


@pytest.fixture
def model(tiny) -> ViTModel:
    """With dropout, so that its random numbers count too."""
    return ViTModel(tiny.replace(drop_rate=0.2))


@pytest.fixture
def checkpoint(tmp_path, model) -> Path:
    save_checkpoint(tmp_path / "vit.pt", model)
    return tmp_path / "vit.pt"


def same(one, other) -> bool:
    """Equal to the last bit: tensors, and lists and dicts of them."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def measured(history) -> dict:
    """A history without its times."""
    return {name: values for name, values in vars(history).items() if name != "seconds"}


# ---- learning ----


def test_one_batch_is_learned_by_heart(tiny):
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    batch = DataLoader(TensorDataset(images, labels), batch_size=8)
    model = ViTModel(tiny)
    config = TrainingConfig(epochs=60, learning_rate=1e-2, label_smoothing=0.0, weight_decay=0.0)
    history = run(model, (batch, batch), config)
    assert history.train_loss[-1] < 0.1 * history.train_loss[0]
    assert history.val_accuracy[-1] == 1.0
    assert [len(values) for values in vars(history).values()] == [60] * 4


def test_the_history_says_what_evaluate_says(model, loaders):
    history = run(model, loaders)
    validation = evaluate(model, loaders[1], device="cpu")
    assert (history.val_loss[-1], history.val_accuracy[-1]) == (validation.loss, validation.accuracy)
    assert all(seconds > 0 for seconds in history.seconds)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_the_loss_is_a_mean_over_pictures_not_over_batches(tiny, loaders, label_smoothing):
    """With next to no learning, the first epoch's loss is the loss of the model that came in."""
    config = TrainingConfig(epochs=1, learning_rate=1e-12, label_smoothing=label_smoothing)
    model, (images, labels) = ViTModel(tiny), loaders[0].dataset[:]
    expected = F.cross_entropy(model(images), labels, label_smoothing=label_smoothing).item()
    assert run(model, loaders, config).train_loss[0] == pytest.approx(expected, abs=1e-5)


def test_the_seed_decides_everything_after_the_weights(tiny, loaders):
    def history(seed):
        torch.manual_seed(0)
        model = ViTModel(tiny.replace(drop_rate=0.2))
        torch.rand(seed + 3)  # what happened before must not matter
        return measured(run(model, loaders, dataclasses.replace(RECIPE, seed=seed), augment=augment))

    assert same(history(1), history(1))
    assert not same(history(1), history(2))


def test_training_pictures_are_augmented_and_validation_pictures_are_not(model, loaders):
    """What reaches the model, batch by batch, and in which mode it is."""
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append((*inputs, module.training)))
    run(model.eval(), loaders, augment=torch.zeros_like)
    epoch = [(8, True), (8, True), (6, True), (4, False), (4, False), (2, False)]
    assert [(len(images), mode) for images, mode in seen] == epoch * 4
    assert all((images == 0).all() == mode for images, mode in seen)


def test_every_epoch_has_an_order_of_its_own(model, loaders):
    seen = []
    run(model, loaders, augment=lambda images: seen.append(images) or images)
    epochs = [torch.cat(seen[i : i + 3]) for i in range(0, 12, 3)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(epochs, 2))
    pictures = {picture.numpy().tobytes() for picture in loaders[0].dataset.tensors[0]}
    assert all({picture.numpy().tobytes() for picture in epoch} == pictures for epoch in epochs)


# ---- resuming ----


def interrupt_at(call: int):
    """The package's `augment`, but Ctrl-C comes at the given batch (counted from 0)."""
    calls = []

    def augment_until(images):
        calls.append(1)
        if len(calls) > call:
            raise KeyboardInterrupt
        return augment(images)

    return augment_until


@pytest.mark.parametrize("call", [1, 3, 6, 7, 11], ids=lambda call: f"epoch {call // 3 + 1}, batch {call % 3 + 1}")
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tiny, loaders, tmp_path, call):
    """Three batches an epoch, shuffled, augmented, with dropout."""
    config = tiny.replace(drop_rate=0.2)
    straight = ViTModel(config)
    stopped, same_start = copy.deepcopy(straight), copy.deepcopy(straight)
    expected = run(straight, loaders, augment=augment, checkpoint=tmp_path / "straight.pt")

    with pytest.raises(KeyboardInterrupt):
        run(stopped, loaders, augment=interrupt_at(call), checkpoint=tmp_path / "stopped.pt")
    if call < 3:  # before the first checkpoint there is nothing to go on from: the same start gives the same run
        assert list(tmp_path.iterdir()) == [tmp_path / "straight.pt"]
        resumed = same_start
    else:
        assert len(read_checkpoint(tmp_path / "stopped.pt")["history"]["train_loss"]) == call // 3
        resumed = ViTModel(config)  # of other weights: all that counts is in the file
    torch.rand(5)
    history = run(resumed, loaders, augment=augment, checkpoint=tmp_path / "stopped.pt")

    assert same(measured(history), measured(expected))
    assert same(resumed.state_dict(), straight.state_dict())
    ends = [read_checkpoint(tmp_path / name) for name in ("straight.pt", "stopped.pt")]
    assert same(ends[0]["optimizer"], ends[1]["optimizer"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.pt", "straight.pt"]


def test_a_finished_run_is_not_trained_again(tiny, loaders, tmp_path):
    model = ViTModel(tiny)
    first = run(model, loaders, checkpoint=tmp_path / "vit.pt")
    content, other = (tmp_path / "vit.pt").read_bytes(), ViTModel(tiny)
    assert run(other, loaders, checkpoint=tmp_path / "vit.pt") == first
    assert same(other.state_dict(), model.state_dict())
    assert (tmp_path / "vit.pt").read_bytes() == content


def test_a_checkpoint_of_another_kind_of_model_is_refused(model, checkpoint, refuses):
    class Other(ViTModel):
        pass

    assert read_checkpoint(checkpoint)["kind"] == "ViTModel"
    with refuses(ValueError, str(checkpoint), "no Other", "ViTModel"):
        load_checkpoint(checkpoint, model_class=Other)
    state = read_checkpoint(checkpoint)
    del state["kind"]  # as files were before there were other kinds
    torch.save(state, checkpoint)
    assert load_checkpoint(checkpoint).config == model.config


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"epochs": 5}, ["epochs 4 (here 5)"]),
        ({"learning_rate": 1e-3, "seed": 1}, ["learning_rate 0.003 (here 0.001)", "seed 0 (here 1)"]),
    ],
)
def test_another_recipe_is_refused(model, loaders, tmp_path, refuses, changes, parts):
    run(model, loaders, checkpoint=tmp_path / "vit.pt")
    before = (tmp_path / "vit.pt").read_bytes()
    with refuses(ValueError, str(tmp_path / "vit.pt"), "training_config", "another file", *parts):
        run(model, loaders, dataclasses.replace(RECIPE, **changes), checkpoint=tmp_path / "vit.pt")
    assert (tmp_path / "vit.pt").read_bytes() == before


def test_another_model_is_refused(model, tiny, loaders, tmp_path, refuses):
    run(model, loaders, checkpoint=tmp_path / "vit.pt")
    before = (tmp_path / "vit.pt").read_bytes()
    with refuses(ValueError, str(tmp_path / "vit.pt"), "num_layers 2 (here 1)", "another file"):
        run(ViTModel(tiny.replace(drop_rate=0.2, num_layers=1)), loaders, checkpoint=tmp_path / "vit.pt")
    assert (tmp_path / "vit.pt").read_bytes() == before


def test_a_checkpoint_of_weights_alone_is_not_resumed(model, loaders, checkpoint, refuses):
    with refuses(ValueError, str(checkpoint), "training_config", "another file"):
        run(model, loaders, checkpoint=checkpoint)


def test_other_modules_train_and_resume_too(loaders, tmp_path):
    """A CNN to compare with has no `ViTConfig`."""

    def cnn():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(3))

    def ready(model):
        model(torch.zeros(2, 3, 8, 8))
        return model

    torch.manual_seed(1)
    straight = ready(cnn())
    expected = run(straight, loaders, augment=augment)
    torch.manual_seed(1)
    stopped = ready(cnn())
    with pytest.raises(KeyboardInterrupt):
        run(stopped, loaders, augment=interrupt_at(7), checkpoint=tmp_path / "cnn.pt")
    history = run(ready(cnn()), loaders, augment=augment, checkpoint=tmp_path / "cnn.pt")
    assert same(measured(history), measured(expected))


# ---- checkpoints ----


def test_a_checkpoint_carries_its_config(model, checkpoint):
    saved = read_checkpoint(checkpoint)
    assert saved["config"] == model.config.to_dict()
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


def saved_as(content):
    return lambda path: torch.save(content, path)


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
        saved_as([1, 2, 3]),
        saved_as({"model": {}}),
        saved_as({"config": {"emb_dim": 16}, "model": {}}),
        saved_as({"config": 7, "model": {}}),
        lambda path: torch.save({**read_checkpoint(path), "model": {}}, path),
        lambda path: torch.save({**read_checkpoint(path), "model": 7}, path),
    ],
    ids="empty cut-30% cut-99% text zeros json pickle list no-config half-config config-7 no-weights model-7".split(),
)
def test_what_is_no_checkpoint_is_refused(checkpoint, refuses, damage):
    damage(checkpoint)
    with refuses(ValueError, str(checkpoint), "checkpoint"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("read", [read_checkpoint, load_checkpoint])
def test_a_missing_checkpoint_is_named(tmp_path, refuses, read):
    with refuses(FileNotFoundError, str(tmp_path / "none.pt"), "check the path"):
        read(tmp_path / "none.pt")


def test_a_checkpoint_of_another_module_says_how_to_read_it(tmp_path, refuses):
    linear = nn.Linear(2, 2)
    save_checkpoint(tmp_path / "linear.pt", linear)
    with refuses(ValueError, str(tmp_path / "linear.pt"), "no ViTModel", "read_checkpoint(path)['model']"):
        load_checkpoint(tmp_path / "linear.pt")
    assert same(read_checkpoint(tmp_path / "linear.pt")["model"], dict(linear.state_dict()))


class Trap:
    """Unpickling it makes a folder: a stand-in for code that runs when a file is opened."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_is_data_never_code(model, tmp_path, refuses):
    save_checkpoint(tmp_path / "trap.pt", model, more=Trap(tmp_path / "sprung"))
    with refuses(ValueError, str(tmp_path / "trap.pt"), "no checkpoint"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "trap.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap does work


def test_no_error_tells_the_reader_to_run_foreign_code(model, tmp_path):
    save_checkpoint(tmp_path / "trap.pt", model, more=Trap(tmp_path / "sprung"))
    with pytest.raises(ValueError) as caught:
        load_checkpoint(tmp_path / "trap.pt")
    assert "weights_only" not in str(caught.value)


# ---- what can't be trained ----


@pytest.mark.parametrize(("wrong", "way_out"), [(3, "num_classes=4"), (-1, "leave out pictures of no class")])
def test_labels_out_of_range_are_refused(model, refuses, wrong, way_out):
    data = DataLoader(TensorDataset(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, wrong])), batch_size=4)
    parts = (f"from {min(0, wrong)} to {max(2, wrong)}", "classes 0 to 2", way_out)
    with refuses(ValueError, *parts):
        run(model, (data, data))
    with refuses(ValueError, *parts):
        evaluate(model, data, device="cpu")


def test_a_diverging_loss_stops_the_run(model, loaders, tmp_path, refuses):
    config = dataclasses.replace(RECIPE, learning_rate=1e30, warmup_epochs=0.0)
    with refuses(FloatingPointError, "epoch 1", "learning_rate", "1e+30"):
        run(model, loaders, config, checkpoint=tmp_path / "vit.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_loader_without_pictures_is_refused(model, loaders, refuses):
    short = DataLoader(loaders[0].dataset, batch_size=100, drop_last=True)
    assert len(short) == 0
    with refuses(ValueError, "no pictures"):
        evaluate(model, short, device="cpu")
    with refuses(ValueError, "no pictures"):
        run(model, (short, loaders[1]))


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        *[("epochs", value, ValueError) for value in (0, -1, 2.0, "4", None)],
        *[("learning_rate", value, ValueError) for value in (0, -1e-3, math.nan)],
        *[("grad_clip", value, ValueError) for value in (0, -1.0, math.nan)],
        *[("warmup_epochs", value, ValueError) for value in (-1, math.nan)],
        *[("weight_decay", value, ValueError) for value in (-0.1, math.nan)],
        *[("label_smoothing", value, ValueError) for value in (-0.1, 1.0, math.nan)],
    ],
)
def test_a_bad_recipe_is_refused(refuses, field, value, kind):
    with refuses(kind, field, str(value), "expected"):
        TrainingConfig(**{field: value})


# ---- the parts ----


def test_weight_decay_falls_on_weight_matrices_only(tiny):
    model = ViTModel(tiny.replace(layer_scale=0.1))
    decayed, free = parameter_groups(model, 0.3)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    weights = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    everything = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in decayed["params"]} == weights
    assert {id(parameter) for parameter in free["params"]} == everything - weights
    assert len(decayed["params"]) + len(free["params"]) == len(everything)  # each once
    for kept in (model.embeddings.cls_token, model.embeddings.position_embedding, model.encoder.norm.weight):
        assert id(kept) not in weights


def test_positions_never_decay_whatever_holds_them():
    model = nn.ModuleDict({"position_embedding": nn.Embedding(4, 8), "layer": nn.Linear(8, 8)})
    decayed, free = parameter_groups(model, 0.3)
    assert [id(parameter) for parameter in decayed["params"]] == [id(model["layer"].weight)]
    assert id(model["position_embedding"].weight) in {id(parameter) for parameter in free["params"]}


@pytest.mark.parametrize(("warmup", "total"), [(10, 100), (0, 50), (2.5, 40)])
def test_the_learning_rate_rises_then_falls(warmup, total):
    factors = [learning_rate_at(step, warmup, total) for step in range(total)]
    peak = math.ceil(warmup)
    assert all(earlier < later for earlier, later in itertools.pairwise(factors[: peak + 1]))
    assert all(earlier > later for earlier, later in itertools.pairwise(factors[peak:]))
    assert factors[peak] == pytest.approx(1, abs=0.01)
    assert 0 < min(factors) <= factors[-1] < 0.01
    assert max(factors) <= 1


def test_every_step_has_its_learning_rate_and_a_short_gradient(model, loaders, monkeypatch):
    rates, norms, take_step = [], [], torch.optim.AdamW.step

    def watch(optimizer, *args):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        rates.append({group["lr"] for group in optimizer.param_groups})
        norms.append(torch.stack([parameter.grad.norm() for parameter in parameters]).norm().item())
        return take_step(optimizer, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    run(model, loaders, dataclasses.replace(RECIPE, grad_clip=0.1))
    assert rates == [{3e-3 * learning_rate_at(step, 3, 12)} for step in range(12)]
    assert norms == pytest.approx([0.1] * 12, rel=1e-3)  # longer without the clipping


@pytest.mark.parametrize("mode", [True, False])
def test_evaluate_is_a_plain_computation_in_eval_mode(model, mode):
    images, labels = torch.randn(10, 3, 8, 8), torch.arange(10) % 3
    model.train(mode)
    result = evaluate(model, DataLoader(TensorDataset(images, labels), batch_size=4), device="cpu")  # 4, 4, 2
    assert model.training == mode
    assert all(module.training == mode for module in model.modules())
    with torch.no_grad():
        logits = model.eval()(images)
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-5)
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    torch.testing.assert_close(result.probabilities, logits.softmax(1), rtol=0, atol=1e-5)
    assert torch.equal(result.predictions, logits.argmax(1))
    assert torch.equal(result.labels, labels)


def test_evaluate_restores_the_mode_after_an_error(model):
    wrong_size = DataLoader(TensorDataset(torch.randn(2, 3, 9, 9), torch.tensor([0, 1])))
    with pytest.raises(ValueError):
        evaluate(model.train(), wrong_size, device="cpu")
    assert model.training


def test_evaluate_leaves_ordinary_tensors(tiny, loaders):
    """Of `inference_mode` they would not be: a model that it moved to a device can't be trained after."""
    result = evaluate(ViTModel(tiny), loaders[1], device="cpu")
    result.probabilities[0] = 0  # the caller's to change
    moved = ViTModel(tiny)
    with pytest.raises(ValueError):
        evaluate(moved, [], device="meta")  # any other device; there is one everywhere
    assert not any(parameter.is_inference() for parameter in moved.parameters())


# ---- augmentation ----


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (2, 1, 8, 12), (1, 3, 12, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_augment_keeps_shape_and_type(shape, dtype):
    images = torch.rand(shape, dtype=dtype) * 2 - 1
    before = images.clone()
    out = augment(images)
    assert (out.shape, out.dtype) == (images.shape, dtype)
    assert torch.equal(images, before)
    assert not torch.equal(out, images)


@pytest.mark.parametrize("shape", [(64, 3, 16, 16), (64, 3, 8, 24)])
def test_what_comes_in_from_outside_is_white(shape):
    """White paper stays one flat colour: were the outside anything else, it would show at the edges."""
    out = augment(torch.ones(shape)).flatten(1)
    torch.testing.assert_close(out.min(dim=1).values, out.max(dim=1).values, rtol=0, atol=1e-5)
    grey = augment(torch.zeros(shape)).flatten(1)
    assert ((grey.max(dim=1).values - grey.min(dim=1).values) > 0.5).float().mean() > 0.5  # for on grey it does


def test_augment_treats_every_picture_in_its_own_way_and_by_seed():
    images = torch.rand(1, 3, 8, 8).expand(16, -1, -1, -1) * 2 - 1

    def seeded(seed):
        torch.manual_seed(seed)
        return augment(images)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    assert len({picture.numpy().tobytes() for picture in seeded(1)}) == 16


def test_augment_mirrors_about_half():
    images = torch.ones(400, 1, 16, 16)
    images[..., :8] = -1  # black on the left
    out = augment(images)[:, 0]
    mirrored = out[..., 8:].mean(dim=(1, 2)) < out[..., :8].mean(dim=(1, 2))
    assert 0.35 < mirrored.float().mean() < 0.65


def test_shift_tta_is_the_mean_over_nine_windows(tiny):
    model = ViTModel(tiny).eval()
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        result = ShiftTTA(model)(images)
        padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
        windows = [padded[..., y : y + 8, x : x + 8] for y in (0, 1, 2) for x in (0, 1, 2)]
        assert torch.equal(windows[4], images)
        expected = sum(model(window).softmax(dim=1) for window in windows) / 9
    assert torch.allclose(result.exp(), expected, atol=1e-6)
    assert torch.allclose(result.exp().sum(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(expected, model(images).softmax(dim=1), atol=1e-4)
