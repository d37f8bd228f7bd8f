"""Training: it learns, it resumes exactly from any step, and it refuses what can't be trained."""

import contextlib
import copy
import itertools
import math
import random
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from statistics import mean

import numpy as np
import pytest
import torch
from conftest import same
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision.transforms import v2

from vit_from_scratch import emoji_vit as written
from vit_from_scratch import training
from vit_from_scratch.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vit_from_scratch.config import CONFIGS
from vit_from_scratch.data import image_folder
from vit_from_scratch.evaluation import evaluate
from vit_from_scratch.generation import generate
from vit_from_scratch.gpt import GPTConfig, GPTModel, next_token_loss
from vit_from_scratch.model import ViTModel
from vit_from_scratch.scene_gpt import GeneratedBatches
from vit_from_scratch.training import (
    History,
    Interrupted,
    Muon,
    ResumableLoop,
    Trainer,
    TrainingConfig,
    TrainingLoop,
    augment,
    digest_of,
    learning_rate_at,
    make_optimizers,
    noted_signals,
    orthogonalize,
    parameter_groups,
    seed_of,
    train,
)

RECIPE = TrainingConfig(epochs=4, learning_rate=3e-3, warmup_epochs=1.0)


def run(model, loaders, config=RECIPE, **options) -> History:
    """`train` on the CPU, without a bar."""
    return train(model, *loaders, config, device="cpu", progress=False, **options)


@pytest.fixture
def model(tiny) -> ViTModel:
    """With dropout, so that its random numbers count too."""
    return ViTModel(tiny.replace(drop_rate=0.2))


def measured(history: History) -> tuple:
    """A history without its times."""
    timed = ("minutes", "batches_per_second")
    rows = [{name: value for name, value in row.items() if name not in timed} for row in history.epochs]
    return history.losses, rows


def copied(model: nn.Module) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


# ---- a task for any model: counting ----

COUNTER = GPTConfig(vocab_size=30, context_length=24, emb_dim=16, num_layers=2, num_heads=4, drop_rate=0.1)
QUICK = TrainingConfig(epochs=4, learning_rate=1e-2, warmup_epochs=1.0, label_smoothing=0.0)  # of 5 steps each


def numbers(rng: random.Random) -> torch.Tensor:
    """Each token is followed by the next number."""
    return torch.tensor([[rng.randrange(1, 20)] for _ in range(8)]) + torch.arange(9)


def counting_loss(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return next_token_loss(model(tokens[:, :-1]), tokens[:, 1:])


def counter(model: GPTModel, config: TrainingConfig = QUICK, *, kind: type = Trainer, steps: int = 5,
            loss_of: Callable = counting_loss, **options) -> TrainingLoop:
    """A loop that lets a small GPT learn to count."""
    batches = GeneratedBatches(numbers, steps)
    return kind(model, batches, config, loss_of, device="cpu", progress=False, **options)


def at_step(step: int, act: Callable, loss_of: Callable = counting_loss) -> Callable:
    """The same loss, but in the given step, counted from 0 by the calls, something happens first."""
    calls = itertools.count()

    def loss_and_act(model, batch):
        if next(calls) == step:
            act()
        return loss_of(model, batch)

    return loss_and_act


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


# ---- learning ----


@pytest.mark.slow
def test_one_batch_is_learned_by_heart(tiny):
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    batch = DataLoader(TensorDataset(images, labels), batch_size=8)
    model = ViTModel(tiny)
    config = TrainingConfig(epochs=60, learning_rate=1e-2, label_smoothing=0.0, weight_decay=0.0)
    history = run(model, (batch, batch), config)
    losses = history.column("train_loss")
    assert losses[-1] < 0.1 * losses[0]
    assert history.column("val_accuracy")[-1] == 1.0
    assert len(history.losses) == len(history.epochs) == 60


def test_any_model_and_loss_can_be_trained():
    model = GPTModel(COUNTER)
    history = counter(model, QUICK.replace(epochs=40)).fit()
    assert len(history.losses) == 200 and mean(history.losses[-5:]) < 0.6 < 3 < history.losses[0]  # with dropout
    assert generate(model, torch.tensor([[4]]), 8).tolist() == [list(range(4, 13))]
    assert model.out.weight is model.token_embedding.weight


def test_the_three_loops_take_the_same_steps():
    """Each adds something, and changes nothing."""
    found = []
    for kind in (TrainingLoop, ResumableLoop, Trainer):
        torch.manual_seed(0)
        model = GPTModel(COUNTER)
        found.append((measured(counter(model, kind=kind).fit()), copied(model)))
    assert same(found[0], found[1]) and same(found[0], found[2])


def test_the_history_says_what_evaluate_says(model, loaders):
    history = run(model, loaders)
    validation = evaluate(model, loaders[1], device="cpu")
    last = history.epochs[-1]
    assert (last["val_loss"], last["val_accuracy"]) == (validation.loss, validation.accuracy)
    assert history.last() == f", val_loss {validation.loss:.3f}, val_accuracy {validation.accuracy:.3f}"
    assert history.column("epoch") == [1, 2, 3, 4]
    assert all(0 < before < after for before, after in itertools.pairwise(history.column("minutes")))
    assert all(speed > 0 for speed in history.column("batches_per_second"))


def test_a_row_has_the_mean_over_its_steps(model, loaders):
    history = run(model, loaders)
    assert len(history.losses) == 12
    assert history.column("train_loss") == [mean(history.losses[i : i + 3]) for i in range(0, 12, 3)]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_the_losses_are_those_of_the_batches(tiny, loaders, label_smoothing):
    """With next to no learning, they are the losses of the model that came in."""
    config = TrainingConfig(epochs=1, warmup_epochs=0.5, learning_rate=1e-12, label_smoothing=label_smoothing)
    model, (images, labels) = ViTModel(tiny), loaders[0].dataset[:]
    parts = zip(images.split(8), labels.split(8), strict=True)
    expected = [F.cross_entropy(model(x), y, label_smoothing=label_smoothing).item() for x, y in parts]
    unshuffled = DataLoader(loaders[0].dataset, batch_size=8)
    assert run(model, (unshuffled, loaders[1]), config).losses == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_the_seed_decides_everything_after_the_weights(tiny, loaders):
    def history(seed):
        torch.manual_seed(0)
        model = ViTModel(tiny.replace(drop_rate=0.2))
        torch.rand(seed + 3)  # what happened before must not matter
        return measured(run(model, loaders, RECIPE.replace(seed=seed), augment=augment))

    assert same(history(1), history(1))
    assert not same(history(1), history(2))


def test_the_seed_decides_dropout_too():
    def losses(seed):
        torch.manual_seed(0)
        loop = counter(GPTModel(COUNTER), QUICK.replace(seed=seed))
        loop.batches = [numbers(random.Random(i)) for i in range(5)]  # the same for all
        return loop.fit().losses

    assert losses(0) == losses(0) != losses(1)


def test_seeds_differ_wherever_their_parts_do():
    parts = [(0, 1), (1, 0), (0, 1, 0), (4096, 0), (2**31 - 1, 10**9, 1023), (0, "order", 1), (0, "order", 2)]
    assert len({seed_of(*part) for part in parts}) == len(parts)
    assert all(0 <= seed_of(0, i) < 2**32 for i in range(1000))


def test_training_pictures_are_augmented_and_validation_pictures_are_not(model, loaders):
    """What reaches the model, batch by batch, and in which mode it is."""
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append((*inputs, module.training)))
    run(model.eval(), loaders, augment=torch.zeros_like)
    epoch = [(8, True), (8, True), (6, True), (4, False), (4, False), (2, False)]
    assert [(len(images), mode) for images, mode in seen] == epoch * 4
    assert all((images == 0).all() == mode for images, mode in seen)


def test_what_is_mixed_reaches_the_loss(tiny, loaders):
    """With targets as probabilities; a mix that makes all alike leaves only the even guess."""
    seen = []

    def mix(images, labels):
        seen.append((len(images), labels.dtype))
        return torch.zeros_like(images), torch.full((len(images), 3), 1 / 3)

    config = TrainingConfig(epochs=30, learning_rate=1e-2, label_smoothing=0.0)
    history = run(ViTModel(tiny), loaders, config, augment=augment, mix=mix)
    assert seen == [(8, torch.int64), (8, torch.int64), (6, torch.int64)] * 30
    assert history.losses[-1] == pytest.approx(math.log(3), abs=1e-3)


def test_every_epoch_has_an_order_of_its_own(model, loaders):
    seen = []
    run(model, loaders, augment=lambda images: seen.append(images) or images)
    epochs = [torch.cat(seen[i : i + 3]) for i in range(0, 12, 3)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(epochs, 2))
    pictures = {picture.numpy().tobytes() for picture in loaders[0].dataset.tensors[0]}
    assert all({picture.numpy().tobytes() for picture in epoch} == pictures for epoch in epochs)


def test_generated_batches_are_new_every_step_and_by_seed():
    def drawn(seed):
        torch.manual_seed(seed)
        batches = GeneratedBatches(lambda rng: rng.random(), 4)
        assert len(batches) == 4
        return [*batches, *batches]

    assert len(set(drawn(0))) == 8
    assert drawn(0) == drawn(0) != drawn(1)


def test_validation_of_any_kind_is_noted(capsys):
    found = iter([{"val_score": 0.25}, {"val_score": 0.5}, {"val_score": 0.75}, {"val_score": 1.0}])
    loop = counter(GPTModel(COUNTER), validate=lambda: next(found))
    assert loop.fit().column("val_score") == [0.25, 0.5, 0.75, 1.0]
    assert capsys.readouterr().out == ""  # no bar was asked for


def test_the_bar_counts_the_steps_and_shows_the_loss(loaders, model, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # older versions of tqdm cut the bar to 80, even where there is no screen
    train(model, *loaders, RECIPE, device="cpu")
    last = capsys.readouterr().out.splitlines()[-1].split("\r")[-1]
    assert "12/12" in last and "loss " in last and "val_accuracy " in last


def test_the_model_goes_where_the_trainer_works(monkeypatch):
    monkeypatch.setattr(training, "best_device", lambda: torch.device("meta"))
    model = GPTModel(COUNTER)
    trainer = Trainer(model, GeneratedBatches(numbers, 5), QUICK, counting_loss, progress=False)
    assert trainer.device == model.device == torch.device("meta")


def test_a_part_that_is_frozen_stays_as_it_is(model, loaders):
    model.embeddings.requires_grad_(False)
    before = copied(model)
    run(model, loaders)
    after = model.state_dict()
    assert {name.startswith("embeddings.") for name in before if torch.equal(before[name], after[name])} == {True}
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("embeddings."))


# ---- resuming ----


def raise_at(call: int, error: type[BaseException] = KeyboardInterrupt, image_change: Callable = augment):
    """The package's `augment`, but an exception comes at the given batch (counted from 0)."""
    calls = []

    def augment_until(images):
        calls.append(1)
        if len(calls) > call:
            raise error
        return image_change(images)

    return augment_until


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 3, 6, 7, 11], ids=lambda call: f"epoch {call // 3 + 1}, batch {call % 3 + 1}")
def test_a_run_that_crashed_ends_as_one_that_did_not(tiny, loaders, tmp_path, call):
    """Three batches an epoch, shuffled, augmented, with dropout. It could not save: the last epoch's file counts."""
    config = tiny.replace(drop_rate=0.2)
    straight = ViTModel(config)
    stopped, same_start = copy.deepcopy(straight), copy.deepcopy(straight)
    expected = run(straight, loaders, augment=augment, checkpoint=tmp_path / "straight.pt")

    with pytest.raises(KeyboardInterrupt):
        run(stopped, loaders, augment=raise_at(call), checkpoint=tmp_path / "stopped.pt")
    if call < 3:  # before the first checkpoint there is nothing to go on from: the same start gives the same run
        assert list(tmp_path.iterdir()) == [tmp_path / "straight.pt"]
        resumed = same_start
    else:
        assert len(read_checkpoint(tmp_path / "stopped.pt")["history"]["losses"]) == call // 3 * 3
        resumed = ViTModel(config)  # of other weights: all that counts is in the file
    torch.rand(5)
    history = run(resumed, loaders, augment=augment, checkpoint=tmp_path / "stopped.pt")

    assert same(measured(history), measured(expected))
    assert same(resumed.state_dict(), straight.state_dict())
    ends = [read_checkpoint(tmp_path / name) for name in ("straight.pt", "stopped.pt")]
    assert same(ends[0]["optimizers"], ends[1]["optimizers"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.pt", "straight.pt"]


class RandomPictures(Dataset):
    """22 pictures that a random transform changes each time that one is read."""

    def __init__(self):
        numbers = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (22, 3, 8, 8), dtype=torch.uint8, generator=numbers)
        self.change = v2.Compose([v2.RandomCrop(8, padding=2), v2.RandomHorizontalFlip(), v2.ColorJitter(0.3),
                                  v2.ToDtype(torch.float32, scale=True)])  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.change(self.images[i]), i % 3


@pytest.mark.parametrize(("stop_at", "optimizer", "number"), [
    *[(stop_at, optimizer, signal.SIGINT) for stop_at in (1, 3, 4, 8, 9, 12) for optimizer in ("adamw", "muon")],
    (4, "adamw", signal.SIGTERM), (9, "muon", signal.SIGTERM),
])  # fmt: skip
@pytest.mark.slow
def test_a_real_ctrl_c_in_the_middle_of_a_step_loses_nothing(tiny, loaders, tmp_path, stop_at, optimizer, number):
    """Shuffled, with a random transform for every picture, augmented, mixed, with dropout.

    Steps 3 and 9 are an epoch's last, and step 12 is the run's: all is done, and Ctrl-C is honoured all the same.
    """
    def fit(name, augment=augment):
        model = ViTModel(tiny.replace(drop_rate=0.2))
        loader = DataLoader(RandomPictures(), batch_size=8, shuffle=True)
        history = run(model, (loader, loaders[1]), RECIPE.replace(optimizer=optimizer), augment=augment, mix=cutmix,
                      checkpoint=tmp_path / name)
        return measured(history), copied(model)

    calls, cutmix = itertools.count(1), v2.RandomApply([v2.CutMix(num_classes=3)], p=0.5)

    def interrupted(images):
        if next(calls) == stop_at:
            signal.raise_signal(number)
        return augment(images)

    torch.manual_seed(1)
    expected = fit("whole.pt")
    torch.manual_seed(1)
    with pytest.raises(Interrupted) as stop:
        fit("stopped.pt", interrupted)
    assert stop.value.signal == number and next(calls) == stop_at + 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as before
    assert len(read_checkpoint(tmp_path / "stopped.pt")["history"]["losses"]) == stop_at
    torch.rand(7)  # whatever happens in between
    assert same(fit("stopped.pt"), expected)
    ends = [read_checkpoint(tmp_path / name) for name in ("whole.pt", "stopped.pt")]
    assert same(*(end["optimizers"] for end in ends))


@pytest.mark.parametrize("interrupted_at", [7, 10, 13])
def test_any_model_and_loss_goes_on_from_any_step(tmp_path, interrupted_at):
    straight = GPTModel(COUNTER)
    twin, file = copy.deepcopy(straight), tmp_path / "gpt.pt"
    expected = counter(straight).fit()
    with pytest.raises(Interrupted):
        counter(twin, loss_of=at_step(interrupted_at - 1, ctrl_c), checkpoint=file).fit()
    assert read_checkpoint(file)["history"]["losses"] == expected.losses[:interrupted_at]
    again = GPTModel(COUNTER)
    torch.rand(5)
    trainer = counter(again, checkpoint=file)
    assert trainer.step == interrupted_at
    assert same(measured(trainer.fit()), measured(expected))
    assert same(copied(again), copied(straight))
    assert list(tmp_path.iterdir()) == [file]


def test_interrupted_again_and_again(tmp_path):
    model = GPTModel(COUNTER)
    straight = copy.deepcopy(model)
    expected = counter(straight).fit()
    for stops in range(1, 7):  # after three steps each time
        trainer = counter(model, loss_of=at_step(2, ctrl_c), checkpoint=tmp_path / "gpt.pt")
        with pytest.raises(Interrupted):
            trainer.fit()
        assert trainer.step == 3 * stops
    history = counter(model, loss_of=at_step(2, ctrl_c), checkpoint=tmp_path / "gpt.pt").fit()  # the last two
    assert same(measured(history), measured(expected)) and same(copied(model), copied(straight))


def test_a_run_that_was_finished_says_so_and_trains_nothing(tiny, loaders, tmp_path, capsys):
    model, file = ViTModel(tiny), tmp_path / "vit.pt"
    first = run(model, loaders, checkpoint=file)
    assert "finished" not in capsys.readouterr().out
    content, other = file.read_bytes(), ViTModel(tiny)
    assert run(other, loaders, augment=raise_at(0), checkpoint=file) == first
    assert capsys.readouterr().out == f"{file} is of a run that was finished already: nothing is trained\n"
    assert same(other.state_dict(), model.state_dict())
    assert file.read_bytes() == content


def test_a_checkpoint_says_what_was_done(tiny, emoji, tmp_path):
    pictures = Subset(emoji, [i for i, label in enumerate(emoji.labels.tolist()) if label >= 0][:6])
    loader = DataLoader(pictures, batch_size=4)
    config = RECIPE.replace(epochs=2, warmup_epochs=0.0)
    model = ViTModel(tiny.replace(image_size=32, num_classes=8))
    history = run(model, (loader, loader), config, checkpoint=tmp_path / "vit.pt")
    state = read_checkpoint(tmp_path / "vit.pt")
    assert state["classes"] == emoji.classes and state["recipe"] == asdict(config)
    digest = digest_of(pictures)
    assert state["data"] == {"classes": emoji.classes, "train": 6, "val": 6, "batch_size": 4, "train_digest": digest,
                             "val_digest": digest}
    assert state["history"] == asdict(history) and state["minutes"] == history.epochs[-1]["minutes"] > 0
    loaded = load_checkpoint(tmp_path / "vit.pt")
    assert same(loaded.state_dict(), model.state_dict()) and loaded.classes == model.classes == emoji.classes


def test_the_minutes_go_on_too(loaders, model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(model, loaders, augment=raise_at(4), checkpoint=tmp_path / "vit.pt")
    state = read_checkpoint(tmp_path / "vit.pt")
    torch.save(state | {"minutes": 100.0}, tmp_path / "vit.pt")
    minutes = run(model, loaders, checkpoint=tmp_path / "vit.pt").column("minutes")
    assert minutes[0] < 1 and 100 < minutes[1] < minutes[2] < minutes[3] < 101


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"epochs": 3}, ["epochs 4 (here 3)"]),
        ({"epochs": 6, "seed": 1}, ["seed 0 (here 1)"]),
        ({"learning_rate": 1e-3, "seed": 1}, ["learning_rate 0.003 (here 0.001)", "seed 0 (here 1)"]),
        ({"optimizer": "muon"}, ["optimizer adamw (here muon)"]),
    ],
)
def test_another_recipe_is_refused(model, loaders, tmp_path, refuses, changes, parts):
    run(model, loaders, checkpoint=tmp_path / "vit.pt")
    before = (tmp_path / "vit.pt").read_bytes()
    with refuses(ValueError, str(tmp_path / "vit.pt"), "another recipe", "another file", *parts):
        run(model, loaders, RECIPE.replace(**changes), checkpoint=tmp_path / "vit.pt")
    assert (tmp_path / "vit.pt").read_bytes() == before


def test_more_epochs_may_be_asked_for(tiny, loaders, tmp_path, capsys):
    """They go on at the learning rates of a run of so many, whether the first ones were finished or not."""
    step = torch.optim.AdamW.step

    def noting(rates: list[float], optimizer: torch.optim.Optimizer) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        step(optimizer)

    for epochs, stop in ((4, None), (4, 5)):
        torch.manual_seed(0)
        model, path = ViTModel(tiny), tmp_path / f"{stop}.pt"
        with contextlib.nullcontext() if stop is None else pytest.raises(KeyboardInterrupt):
            run(model, loaders, augment=None if stop is None else raise_at(stop), checkpoint=path)
        done = len(read_checkpoint(path)["history"]["losses"])
        assert done == 12 if stop is None else done < 12
        rates, longer = [], RECIPE.replace(epochs=epochs + 2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", lambda self, rates=rates: noting(rates, self))
            history = run(model, loaders, longer, checkpoint=path)
        assert f"is of a run of 4 epochs: it goes on to {epochs + 2}" in capsys.readouterr().out
        assert len(history.losses) == 18 and len(history.epochs) == 6 and len(rates) == 18 - done
        expected = [longer.learning_rate * learning_rate_at(k, 3 * longer.warmup_epochs, 18) for k in range(done, 18)]
        assert rates == pytest.approx(expected)
        assert read_checkpoint(path)["recipe"]["epochs"] == 6
        run(model, loaders, longer, checkpoint=path)
        assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_not_trained(model, loaders, refuses, dtype):
    with refuses(ValueError, str(dtype), "expected float32", "model.float()", "precision='bfloat16'"):
        run(copy.deepcopy(model).to(dtype), loaders)
    model.encoder.requires_grad_(False).to(dtype)  # nor if they are frozen, and the others are not
    with refuses(ValueError, str(dtype)):
        run(model, loaders)


def test_weights_of_double_precision_are(model, loaders):
    assert len(run(model.double(), loaders).losses) == 12 and model.classifier.weight.dtype == torch.float64


def test_optimizers_of_ones_own(model, loaders):
    made = []

    def plain(model: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
        made.append(torch.optim.SGD(model.parameters(), momentum=0.9))
        return made

    run(model, loaders, optimizers=plain)
    assert len(made[0].state) == len(list(model.parameters()))


def test_another_model_is_refused(model, tiny, loaders, tmp_path, refuses):
    run(model, loaders, checkpoint=tmp_path / "vit.pt")
    before = (tmp_path / "vit.pt").read_bytes()
    with refuses(ValueError, str(tmp_path / "vit.pt"), "another config", "num_layers 2 (here 1)", "another file"):
        run(ViTModel(tiny.replace(drop_rate=0.2, num_layers=1)), loaders, checkpoint=tmp_path / "vit.pt")
    stranger = type("Stranger", (ViTModel,), {})(model.config)  # of the same config, but another model
    with refuses(ValueError, str(tmp_path / "vit.pt"), "another kind", "ViTModel (here Stranger)"):
        run(stranger, loaders, checkpoint=tmp_path / "vit.pt")
    assert (tmp_path / "vit.pt").read_bytes() == before


def test_other_data_are_refused(model, loaders, tmp_path, refuses):
    run(model, loaders, checkpoint=tmp_path / "vit.pt")
    before, train_set = (tmp_path / "vit.pt").read_bytes(), loaders[0].dataset
    fewer, other_batches = Subset(train_set, range(20)), DataLoader(train_set, batch_size=10, shuffle=True)
    for other, part in [((DataLoader(fewer, batch_size=8), loaders[1]), "train 22 (here 20)"),
                        ((loaders[0], DataLoader(train_set, batch_size=4)), "val 10 (here 22)"),
                        ((other_batches, loaders[1]), "batch_size 8 (here 10)")]:  # fmt: skip
        with refuses(ValueError, str(tmp_path / "vit.pt"), "another data", part, "another file"):
            run(model, other, checkpoint=tmp_path / "vit.pt")
    train_set.classes = ["a", "b", "c"]
    with refuses(ValueError, str(tmp_path / "vit.pt"), "another data", "classes None (here ['a', 'b', 'c'])"):
        run(model, loaders, checkpoint=tmp_path / "vit.pt")
    assert (tmp_path / "vit.pt").read_bytes() == before


def test_a_checkpoint_of_weights_alone_is_not_resumed(model, loaders, tmp_path, refuses):
    save_checkpoint(tmp_path / "vit.pt", model)
    with refuses(ValueError, str(tmp_path / "vit.pt"), "no state to go on from", "another file"):
        run(model, loaders, checkpoint=tmp_path / "vit.pt")


def test_what_is_damaged_or_of_another_version_is_not_resumed(model, loaders, tmp_path, refuses):
    file = tmp_path / "vit.pt"
    run(model, loaders, checkpoint=file)
    state = read_checkpoint(file)
    del state["format"]
    torch.save(state, file)
    with refuses(ValueError, str(file), "another version"):
        run(model, loaders, checkpoint=file)
    file.write_bytes(file.read_bytes()[:1000])
    with refuses(ValueError, str(file), "cut short"):
        run(model, loaders, checkpoint=file)


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
        run(stopped, loaders, augment=raise_at(7), checkpoint=tmp_path / "cnn.pt")
    history = run(ready(cnn()), loaders, augment=augment, checkpoint=tmp_path / "cnn.pt")
    assert same(measured(history), measured(expected))


# ---- stopping and saving ----


def test_it_is_saved_on_the_way(tmp_path):
    """After every epoch, and within it so often; a crash, which can save nothing, costs what came after."""

    class Crash(Exception):
        """Like a power cut."""

    def crash():
        raise Crash

    for minutes, expected in ((5.0, 15), (1e-9, 17)):
        file = tmp_path / f"{minutes}.pt"
        with pytest.raises(Crash):
            counter(GPTModel(COUNTER), loss_of=at_step(17, crash), checkpoint=file, save_minutes=minutes).fit()
        state = read_checkpoint(file)
        assert len(state["history"]["losses"]) == expected
        assert (state["minutes"] > state["history"]["epochs"][-1]["minutes"]) == (expected == 17)


def test_saving_changes_nothing(tmp_path):
    model = GPTModel(COUNTER)
    twin = copy.deepcopy(model)
    once = counter(model).fit()
    assert same(measured(counter(twin, checkpoint=tmp_path / "gpt.pt", save_minutes=1e-9).fit()), measured(once))
    assert same(copied(twin), copied(model))


def test_a_second_ctrl_c_between_weights_and_count_saves_nothing(tmp_path, monkeypatch):
    take_step = torch.optim.AdamW.step

    def interrupted(optimizer, closure=None):
        take_step(optimizer)
        ctrl_c()
        ctrl_c()

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt) as stop:
        counter(GPTModel(COUNTER), checkpoint=tmp_path / "gpt.pt").fit()
    assert stop.type is KeyboardInterrupt and list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_acts_at_once():
    with pytest.raises(KeyboardInterrupt) as stop, noted_signals() as noted:
        ctrl_c()
        assert noted == [signal.SIGINT]
        ctrl_c()
    assert stop.type is KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()  # outside it acts as always


def test_after_the_block_signals_act_as_before():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with noted_signals() as noted:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert noted == [signal.SIGTERM] and heard == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("error", [None, ValueError])
def test_where_no_signal_came_they_act_as_before_too(error):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(error) if error else nullcontext(), noted_signals() as noted:
        assert signal.getsignal(signal.SIGINT) is not before[0]
        if error:
            raise error
    assert noted == [] and [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_interrupted_is_a_keyboard_interrupt_that_knows_its_signal():
    assert issubclass(Interrupted, KeyboardInterrupt)  # so that what is written for Ctrl-C takes it, too
    stop = Interrupted(signal.SIGTERM)
    assert stop.signal == signal.SIGTERM and "15" in str(stop)


def test_without_a_checkpoint_it_can_be_stopped_too():
    trainer = counter(GPTModel(COUNTER), loss_of=at_step(6, ctrl_c))
    with pytest.raises(Interrupted):
        trainer.fit()
    assert trainer.step == len(trainer.history.losses) == 7


@pytest.mark.parametrize("epochs", [1, 4])
def test_ctrl_c_in_validation_stops_after_it(tmp_path, epochs):
    """In that of the last epoch, too."""
    config = QUICK.replace(epochs=epochs, warmup_epochs=0.5)
    trainer = counter(GPTModel(COUNTER), config, validate=lambda: ctrl_c() or {"val_loss": 1.0},
                      checkpoint=tmp_path / "gpt.pt")  # fmt: skip
    with pytest.raises(Interrupted):
        trainer.fit()
    assert trainer.step == 5 and len(trainer.history.epochs) == 1
    assert read_checkpoint(tmp_path / "gpt.pt")["history"] == asdict(trainer.history)


def test_epochs_of_one_step_can_be_stopped(tmp_path):
    trainer = counter(GPTModel(COUNTER), steps=1, loss_of=at_step(1, ctrl_c), checkpoint=tmp_path / "gpt.pt")
    with pytest.raises(Interrupted):
        trainer.fit()
    assert trainer.step == len(trainer.history.epochs) == 2


def test_another_thread_can_train():
    """Only the main thread gets signals."""
    trainer = counter(GPTModel(COUNTER))
    thread = threading.Thread(target=trainer.fit)
    thread.start()
    thread.join()
    assert trainer.step == len(trainer.history.losses) == 20


def test_it_looks_at_the_device_about_once_a_second(monkeypatch):
    """Each look waits for the device. A step takes 0.04 seconds here, so there are 25 between two looks."""
    clock, looks = [0.0], []

    def slow_loss(model, batch):
        clock[0] += 0.04
        return counting_loss(model, batch)

    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])
    trainer = counter(GPTModel(COUNTER), QUICK.replace(epochs=2), steps=60, loss_of=slow_loss)
    monkeypatch.setattr(trainer, "total", lambda values: looks.append(trainer.step) or values)
    history = trainer.fit()
    assert looks == [1, 26, 51, 60, 60, 61, 86, 111, 120, 120]  # and at an epoch's first and last step, and at its end
    assert len(history.losses) == 120 and all(map(math.isfinite, history.losses))


# ---- what can't be trained ----


@pytest.mark.parametrize(("wrong", "way_out"), [(3, "num_classes=4"), (-1, "leave out pictures of no class")])
def test_labels_out_of_range_are_refused(model, refuses, wrong, way_out):
    data = DataLoader(TensorDataset(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, wrong])), batch_size=4)
    with refuses(ValueError, f"from {min(0, wrong)} to {max(2, wrong)}", "classes 0 to 2", way_out):
        run(model, (data, data))


@pytest.mark.parametrize("step", [0, 4, 5, 11])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("minutes", [5.0, 1e-9])
def test_a_loss_that_is_no_number_ends_the_run_and_is_not_saved(tmp_path, refuses, step, value, minutes):
    """Steps 4 and 11: the last of an epoch, and of the run. The gradient of what is infinite is no number either."""
    calls, file = itertools.count(), tmp_path / "gpt.pt"

    def loss_of(model, batch):
        return counting_loss(model, batch) * (value if next(calls) == step else 1)

    trainer = counter(GPTModel(COUNTER), QUICK.replace(epochs=3), steps=4, loss_of=loss_of, checkpoint=file,
                      save_minutes=minutes)  # fmt: skip
    with refuses(FloatingPointError, f"is {value} in step {step}", "use a learning_rate below 0.01", "longer warm-up"):
        trainer.fit()
    assert file.exists() == (step > 0 if minutes < 1 else step >= 4)
    if file.exists():
        state = read_checkpoint(file)
        assert len(state["history"]["losses"]) == (step if minutes < 1 else step // 4 * 4)
        assert all(weight.isfinite().all() for weight in state["model"].values())


def test_a_gradient_that_is_no_number_ends_the_run_too(refuses):
    """The loss alone would look well, for this step."""

    def loss_of(model, batch):
        loss = counting_loss(model, batch)
        loss.register_hook(lambda gradient: gradient * math.nan)
        return loss

    trainer = counter(GPTModel(COUNTER), loss_of=loss_of)
    with refuses(FloatingPointError, "gradient is nan in step 0", "learning_rate"):
        trainer.fit()


def test_validation_that_is_no_number_ends_the_run_unsaved(tmp_path, refuses):
    found = iter([0.5, math.nan])
    trainer = counter(GPTModel(COUNTER), validate=lambda: {"val_loss": next(found)}, checkpoint=tmp_path / "gpt.pt")
    with refuses(FloatingPointError, "nan", "learning_rate"):
        trainer.fit()
    assert len(read_checkpoint(tmp_path / "gpt.pt")["history"]["losses"]) == 5


def test_a_diverging_run_stops(model, loaders, tmp_path, refuses):
    config = RECIPE.replace(learning_rate=1000, warmup_epochs=0.0, grad_clip=math.inf, weight_decay=10.0)
    with refuses(FloatingPointError, "learning_rate", "below 1000"):
        run(model, loaders, config.replace(epochs=30), checkpoint=tmp_path / "vit.pt")


def test_a_loader_without_pictures_is_refused(model, loaders, refuses):
    short = DataLoader(loaders[0].dataset, batch_size=100, drop_last=True)
    assert len(short) == 0
    with refuses(ValueError, "no pictures"):
        run(model, (short, loaders[1]))


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        *[("epochs", value, ValueError) for value in (0, -1)],
        *[("epochs", value, TypeError) for value in (2.0, "4", None, True)],
        *[("seed", value, ValueError) for value in (-1, 2**31)],
        *[("seed", value, TypeError) for value in (0.0, None)],
        *[("learning_rate", value, ValueError) for value in (0, -1e-3, math.nan, math.inf, 1001)],
        ("learning_rate", "0.1", TypeError),
        *[("grad_clip", value, ValueError) for value in (0, -1.0, math.nan)],
        ("grad_clip", None, TypeError),
        *[("warmup_epochs", value, ValueError) for value in (-1, math.nan, math.inf, 34, 34.0)],
        *[("weight_decay", value, ValueError) for value in (-0.1, math.nan, math.inf)],
        *[("label_smoothing", value, ValueError) for value in (-0.1, 1.0, math.nan)],
        *[("optimizer", value, ValueError) for value in ("sgd", "AdamW", "")],
        ("optimizer", None, TypeError),
        *[("precision", value, ValueError) for value in ("float16", "bf16")],
        ("precision", torch.bfloat16, TypeError),
    ],
)
def test_a_bad_recipe_is_refused(refuses, field, value, kind):
    with refuses(kind, field, str(value), "expected"):
        TrainingConfig(**{field: value})


def test_a_recipe_is_a_config_like_the_models(refuses):
    assert TrainingConfig(grad_clip=math.inf).replace(epochs=3, seed=2**31 - 1).epochs == 3
    assert TrainingConfig(**RECIPE.to_dict()) == RECIPE
    with refuses(ValueError, "warmup_epochs is 2.0", "less than the epochs (2)"):
        TrainingConfig(epochs=2)
    with pytest.raises(TypeError, match="positional"):
        TrainingConfig(3)


# ---- the optimizers ----


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


def test_muon_takes_the_matrices_of_the_blocks(tiny):
    model, config = ViTModel(tiny), TrainingConfig(optimizer="muon", weight_decay=0.3)
    muon, adamw = make_optimizers(model, config)
    assert (type(muon), type(adamw)) == (Muon, torch.optim.AdamW)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = {names[id(parameter)] for group in muon.param_groups for parameter in group["params"]}
    rest = [names[id(parameter)] for group in adamw.param_groups for parameter in group["params"]]
    assert len(taken) == 4 * tiny.num_layers and all("blocks" in name for name in taken)
    assert sorted([*taken, *rest]) == sorted(names.values())
    assert "classifier.weight" in rest
    assert [group["weight_decay"] for group in (*muon.param_groups, *adamw.param_groups)] == [0.3, 0.3, 0.0]
    (all_of_them,) = make_optimizers(model, config.replace(optimizer="adamw"))
    assert sum(len(group["params"]) for group in all_of_them.param_groups) == len(names)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="a torch before 2.9")
@pytest.mark.parametrize("shape", [(24, 24), (72, 24), (24, 96)])
def test_muon_is_torchs_but_for_its_precision(shape):
    """Several steps, of which the later ones rest on the moving mean; torch's are rounded to 8 bits on the way."""
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [Muon([ours], weight_decay=0.2),
                  torch.optim.Muon([theirs], weight_decay=0.2, adjust_lr_fn="match_rms_adamw")]  # fmt: skip
    for _ in range(4):
        ours.grad = theirs.grad = torch.randn(shape)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.1
            optimizer.step()
    assert (ours - theirs).norm() < 0.03 * (ours - start).norm()


def test_orthogonalize_keeps_the_directions_and_evens_their_weights():
    for shape in ((16, 40), (40, 16), (16, 16)):
        left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        even = orthogonalize(left * torch.logspace(0, -2, len(values)) @ right)
        found = left.T @ even @ right.T  # diagonal, where the directions are the same
        assert (found - found.diagonal().diag()).abs().max() < 1e-3
        assert 0.5 < found.diagonal().min() and found.diagonal().max() < 1.3
    assert not orthogonalize(torch.zeros(3, 5)).any()


def test_muon_leaves_what_has_no_gradient(tiny):
    model = ViTModel(tiny)
    model.encoder.blocks[0].requires_grad_(False)
    before = copied(model)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    muon, _ = make_optimizers(model, TrainingConfig(optimizer="muon"))
    muon.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert len(moved) == 4 * (tiny.num_layers - 1) and not any("blocks.0" in name for name in moved)


def test_muons_steps_are_as_long_as_adamws(tiny):
    """Liu et al. 2025: the root mean square of a step is about 0.2 times the learning rate."""
    model = ViTModel(tiny.replace(emb_dim=96))
    before = copied(model)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    muon, _ = make_optimizers(model, TrainingConfig(optimizer="muon", weight_decay=0.0))
    muon.param_groups[0]["lr"] = 0.01
    muon.step()
    moved = [(value - before[name]).square().mean().sqrt().item() for name, value in model.state_dict().items()
             if not torch.equal(value, before[name])]  # fmt: skip
    assert len(moved) == 4 * tiny.num_layers and all(0.1 < step / 0.01 < 0.3 for step in moved)


def test_muon_trains_and_moves_every_weight(tiny, loaders):
    """Both optimizers step: no weight is left where it was, and the run differs from AdamW's."""
    found = {}
    for optimizer in ("adamw", "muon"):
        torch.manual_seed(0)
        model = ViTModel(tiny)
        before = copied(model)
        history = run(model, loaders, RECIPE.replace(optimizer=optimizer))
        assert not any(torch.equal(before[name], value) for name, value in model.state_dict().items())
        found[optimizer] = history.losses
    assert found["adamw"][0] == found["muon"][0] and found["adamw"][-1] != found["muon"][-1]


def test_muon_learns_by_heart(tiny):
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    batch = DataLoader(TensorDataset(images, labels), batch_size=8)
    config = TrainingConfig(epochs=60, optimizer="muon", learning_rate=1e-2, label_smoothing=0.0, weight_decay=0.0)
    history = run(ViTModel(tiny), (batch, batch), config)
    assert history.losses[-1] < 0.1 * history.losses[0] and history.column("val_accuracy")[-1] == 1.0


def test_muon_needs_blocks(loaders, refuses):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with refuses(ValueError, "optimizer is muon", "Sequential", "use adamw"):
        run(linear, loaders, RECIPE.replace(optimizer="muon"))


# ---- the step ----


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
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
        return take_step(optimizer, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    run(model, loaders, RECIPE.replace(grad_clip=0.1, weight_decay=0.3))
    assert rates == [{3e-3 * learning_rate_at(step, 3, 12)} for step in range(12)]
    assert norms == pytest.approx([0.1] * 12, rel=1e-3)  # longer without the clipping


def test_both_of_muons_optimizers_follow_the_schedule(model, loaders, monkeypatch):
    rates = {torch.optim.AdamW: [], Muon: []}
    for kind in rates:
        take_step = kind.step

        def watch(optimizer, *args, take_step=take_step, kind=kind):
            rates[kind].append({group["lr"] for group in optimizer.param_groups})
            return take_step(optimizer, *args)

        monkeypatch.setattr(kind, "step", watch)
    run(model, loaders, RECIPE.replace(optimizer="muon"))
    expected = [{3e-3 * learning_rate_at(step, 3, 12)} for step in range(12)]
    assert rates == {torch.optim.AdamW: expected, Muon: expected}


def test_no_gradient_is_left_over_from_the_step_before(loaders, tiny):
    """Two steps on the same weights would differ, if the second had the first one's gradient in it, too."""
    images, labels = next(iter(loaders[0]))
    model, lengths = ViTModel(tiny), []
    config = TrainingConfig(epochs=3, warmup_epochs=0.0, learning_rate=1e-12, grad_clip=math.inf)

    def loss_of(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    loop = TrainingLoop(model, [(images, labels)], config, loss_of, device="cpu", progress=False)
    record = loop.record
    loop.record = lambda values: lengths.append(values[1].item()) or record(values)
    loop.fit()
    assert lengths == pytest.approx([lengths[0]] * 3, rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_reaches_the_model_and_not_the_augmentation(tiny, loaders, precision):
    """Where a picture is turned by some degrees, 8 bits of precision would move it; and weights stay whole."""
    seen = {"augmented": set(), "matrix products": set(), "logits": set()}
    model = ViTModel(tiny)

    def turn(images):
        product = images.flatten(1) @ images.flatten(1).T  # as in affine_grid
        seen["augmented"] |= {images.dtype, product.dtype, augment(images).dtype}
        return augment(images)

    model.encoder.blocks[0].attention.out_proj.register_forward_hook(
        lambda module, inputs, out: seen["matrix products"].add(out.dtype) if module.training else None)
    model.classifier.register_forward_hook(
        lambda module, inputs, out: seen["logits"].add(out.dtype) if module.training else None)
    history = run(model, loaders, RECIPE.replace(precision=precision), augment=turn)
    dtype = getattr(torch, precision)
    assert seen == {"augmented": {torch.float32}, "matrix products": {dtype}, "logits": {dtype}}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(map(math.isfinite, history.losses)) and history.losses[-1] < history.losses[0]


# ---- lesson 06's model ----


@pytest.mark.slow
def test_train_on_emoji_and_emoji_vit(tmp_path, monkeypatch, capsys, refuses):
    """The lesson's run, cut short; what it reaches is the lesson's matter."""
    path, make_loaders, config = tmp_path / "vit.pt", written.make_loaders, TrainingConfig(epochs=2, warmup_epochs=1.0)

    def small_loaders(train_set, val_set, batch_size):
        parts = Subset(train_set, range(66)), Subset(val_set, range(4))
        return make_loaders(*parts, batch_size=batch_size)

    monkeypatch.setattr(written, "make_loaders", small_loaders)
    monkeypatch.setattr(written, "EMOJI_RECIPE", config)
    model = written.emoji_vit(path)
    assert "no vit.pt yet: lesson 06's training" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]
    state = read_checkpoint(path)
    assert state["recipe"] == asdict(config) and len(state["history"]["losses"]) == 4
    assert len(state["classes"]) == 8 and model.config == CONFIGS["ViT-Mini/4"] and not model.training
    again, history = written.train_on_emoji(tmp_path / "again.pt")
    assert same(measured(history), measured(History(**state["history"])))  # the seed decides
    assert same(again.cpu().state_dict(), model.state_dict())
    monkeypatch.setattr(written, "train_on_emoji", None)  # from here on from the file
    assert same(written.emoji_vit(path).state_dict(), model.state_dict())
    save_checkpoint(path, ViTModel(CONFIGS["ViT-Mini/4"].replace(num_classes=3)))
    with refuses(ValueError, "vit.pt", "num_classes 3 (here 8)"):
        written.emoji_vit(path)


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 3])  # 3: in the last step
def test_an_interrupted_lesson_goes_on_and_tidies_up(tmp_path, monkeypatch, call):
    path, make_loaders, calls = tmp_path / "vit.pt", written.make_loaders, itertools.count()
    monkeypatch.setattr(written, "make_loaders", lambda *parts, batch_size: make_loaders(
        *(Subset(part, range(66)) for part in parts), batch_size=batch_size))
    config = TrainingConfig(epochs=2, warmup_epochs=1.0)
    monkeypatch.setattr(written, "EMOJI_RECIPE", config)
    monkeypatch.setattr(written, "augment", lambda images: (next(calls) == call and ctrl_c(), augment(images))[1])
    with pytest.raises(Interrupted):
        written.train_on_emoji(path)
    assert [found.name for found in tmp_path.iterdir()] == ["vit_unfinished.pt"]
    _, history = written.train_on_emoji(path)
    assert len(history.losses) == 4 and next(calls) == 4  # no step was taken twice
    assert list(tmp_path.iterdir()) == [path]


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


# ---- what a run goes on with ----


def test_a_digest_tells_data_apart(emoji, folder):
    pictures = image_folder(folder, 8)
    tensors = TensorDataset(torch.arange(6.0), torch.arange(6))
    sets = [pictures, Subset(pictures, range(4)), Subset(pictures, range(5)), Subset(Subset(pictures, [3, 1]), [0]),
            emoji, Subset(emoji, range(4)), tensors, TensorDataset(torch.arange(6.0) + 1, torch.arange(6)),
            TensorDataset(torch.arange(6.0), torch.arange(6).flip(0))]  # fmt: skip
    digests = [digest_of(data) for data in sets]
    assert len(set(digests)) == len(sets) and digests == [digest_of(data) for data in sets]
    (folder / "cat" / "0.png").rename(folder / "cat" / "99.png")
    assert digest_of(image_folder(folder, 8)) != digests[0]
    assert digest_of(iter([1])) == digest_of(iter([2]))  # nothing is known of these


def test_layers_may_learn_at_rates_of_their_own(tiny, loaders):
    """`lr_scale` in a group of an optimizer is kept, as in timm."""
    class Slower(Trainer):
        def train_step(self, batch):
            self.optimizers[0].param_groups[1]["lr_scale"] = 0.0
            return super().train_step(batch)

    model = ViTModel(tiny)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    loop = Slower(model, loaders[0], RECIPE, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
                  device="cpu", progress=False)
    loop.fit()
    unchanged = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    still = {id(parameter) for parameter in loop.optimizers[0].param_groups[1]["params"]}
    assert unchanged == {name for name, parameter in model.named_parameters() if id(parameter) in still} != set()


# ---- what users' own data sets and models look like ----


class Labelled(torch.utils.data.Dataset):
    """A data set of somebody else, with attributes whose names mean something here."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int):
        return torch.rand(3, 8, 8) * 2 - 1, i % 3


@pytest.mark.parametrize("attributes", [
    {"labels": [0, 1, 2]}, {"samples": [("a", 0, "more")]}, {"images": ["a"], "labels": ["b"]}, {"classes": 3},
    {"preprocessing": "none"}, {"classes": ("cat", "dog", "emu")}, {"classes": np.array(["cat", "dog", "emu"])},
    {"classes": [("cat", "kitten"), ("dog",), ("emu",)]}, {"config": {"a": 1}},
], ids=str)  # fmt: skip
def test_data_sets_of_others_train_and_go_on(tiny, tmp_path, attributes):
    loader, model = DataLoader(Labelled(**attributes), batch_size=3), ViTModel(tiny)
    config = RECIPE.replace(epochs=1, warmup_epochs=0.0)
    for _ in range(2):  # the second time from the file
        run(model, (loader, loader), config, checkpoint=tmp_path / "vit.pt")
    names = attributes.get("classes")
    expected = list(map(str, names)) if isinstance(names, list | tuple) else None
    assert load_checkpoint(tmp_path / "vit.pt").classes == expected


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_a_wrapped_model_goes_on_from_its_file(tiny, loaders, tmp_path, wrap):
    path = tmp_path / "vit.pt"
    with pytest.raises(KeyboardInterrupt):
        run(wrap(ViTModel(tiny)), loaders, augment=raise_at(4), checkpoint=path)
    model = ViTModel(tiny)
    history = run(wrap(model), loaders, checkpoint=path)
    assert len(history.epochs) == RECIPE.epochs and same(load_checkpoint(path).state_dict(), model.state_dict())


def test_more_logits_than_classes_are_refused(tiny, folder, refuses):
    loader = DataLoader(image_folder(folder, 8), batch_size=8)
    with refuses(ValueError, "3 classes, the data have 2", "num_classes=2", "replace_head"):
        run(ViTModel(tiny), (loader, loader))
