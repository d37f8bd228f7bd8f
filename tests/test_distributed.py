"""Training of a recipe, alone or in several processes: the same run, whatever interrupts it and whoever shares it."""

import csv
import itertools
import json
import math
import multiprocessing
import os
import random
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import same
from torch import nn

from vit_from_scratch.checkpoint import load_checkpoint, read_checkpoint
from vit_from_scratch.distributed import Communicator, DistributedTrainer, start_communication, wrap_model
from vit_from_scratch.model import ViTModel
from vit_from_scratch.pictures import Pictures
from vit_from_scratch.recipe import Recipe
from vit_from_scratch.training import Interrupted

ALONE = Communicator(0, 1, torch.device("cpu"))


def forks(test: Callable) -> Callable:
    """Marks a test that starts processes, by a fork."""
    can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks, which Windows can't")
    return pytest.mark.slow(can_fork(test))


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


def trainer_of(recipe, parts, output, **options) -> DistributedTrainer:
    """Alone, without a bar."""
    return DistributedTrainer(recipe, parts, output, ALONE, progress=False, **options)


def fit(recipe, parts, output, **options) -> list[dict]:
    """The rows of a run's history."""
    return trainer_of(recipe, parts, output, **options).fit().epochs


def before_step(trainer: DistributedTrainer, act: Callable[[int], None]) -> None:
    """Let something happen before every step, given the number of steps so far."""
    take_step = trainer.train_step
    trainer.train_step = lambda batch: (act(trainer.step), take_step(batch))[1]


def stop_in(trainer: DistributedTrainer, step: int, number: int = signal.SIGINT) -> None:
    """Send a signal in the step of that number, counted from 1."""
    before_step(trainer, lambda done: done + 1 == step and signal.raise_signal(number))


def weights(path) -> dict:
    return read_checkpoint(path)["model"]


def steps_in(path) -> int:
    return len(read_checkpoint(path)["history"]["losses"])


def losses(rows: list[dict]) -> list[float]:
    return [row[name] for row in rows for name in ("train_loss", "val_loss")]


# --- a run, and its interruptions


@pytest.mark.slow
def test_a_run_learns_and_leaves_its_files(recipe, parts, tmp_path):
    for part in parts.values():
        part.images[:] = 80 * part.labels[:, None, None, None].to(torch.uint8)  # a class is a shade of grey
    trainer = trainer_of(recipe.replace(epochs=30, warmup_epochs=1.0), parts, tmp_path)
    rows = trainer.fit().epochs
    assert trainer.step == trainer.total_steps == 180 and rows[-1]["val_accuracy"] == 1
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 2
    with open(tmp_path / "log.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["epoch"]) for line in lines] == list(range(1, 31))
    for name in ("train_loss", "val_loss", "val_accuracy", "minutes", "batches_per_second"):
        assert [float(line[name]) for line in lines] == [row[name] for row in rows]
    assert [float(line["images_per_second"]) for line in lines] == [8 * row["batches_per_second"] for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt", "log.csv"]
    model = load_checkpoint(tmp_path / "best.pt", trainer.model.config)
    assert model.classes == ["a", "b", "c"]
    assert (model(parts["test"].images.float() / 127.5 - 1).argmax(1) == parts["test"].labels).all()
    assert trainer.measure("test")[1] == 1


def test_measure_is_a_plain_computation_and_leaves_the_mode(recipe, parts, tmp_path):
    trainer = trainer_of(recipe, parts, tmp_path)
    trainer.model.train().encoder.blocks[0].eval()
    before = [module.training for module in trainer.model.modules()]
    loss, accuracy = trainer.measure("val")
    assert [module.training for module in trainer.model.modules()] == before
    with torch.no_grad():
        logits = trainer.model.eval()(parts["val"].images.float() / 127.5 - 1)
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, parts["val"].labels).item(), abs=1e-5)
    assert accuracy == pytest.approx((logits.argmax(1) == parts["val"].labels).float().mean().item())


def test_best_is_the_epoch_that_validated_best(recipe, parts, tmp_path):
    trainer, found = trainer_of(recipe, parts, tmp_path), []
    accuracies = iter([0.2, 0.6, 0.6])

    def measure(name):
        found.append({name: weight.clone() for name, weight in trainer.model.state_dict().items()})
        return 1.0, next(accuracies)

    trainer.measure = measure
    trainer.fit()
    assert same(weights(tmp_path / "best.pt"), found[1]) and same(weights(tmp_path / "last.pt"), found[2])
    trainer.load("best.pt")
    assert same(dict(trainer.model.state_dict()), found[1])


def test_without_validation_there_is_no_best(recipe, parts, tmp_path):
    rows = fit(recipe, {"train": parts["train"]}, tmp_path)
    assert not any(name.startswith("val") for name in rows[-1]) and not (tmp_path / "best.pt").exists()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop_at, optimizer", [
    (1, "adamw"), (6, "adamw"), (6, "muon"), (7, "muon"), (12, "adamw"), (18, "adamw"),
])  # fmt: skip
@pytest.mark.slow
def test_interrupted_and_resumed_is_as_if_nothing_was(recipe, parts, tmp_path, number, stop_at, optimizer):
    """6 and 12 are the last steps of an epoch, and 18 that of the run."""
    recipe = recipe.replace(augment="trivial", mix="both", optimizer=optimizer)
    expected = trainer_of(recipe, parts, tmp_path / "whole").fit()
    trainer = trainer_of(recipe, parts, tmp_path / "parts")
    stop_in(trainer, stop_at, number)
    with pytest.raises(Interrupted) as stop:
        trainer.fit()
    assert stop.value.signal == number and trainer.step == stop_at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as before
    torch.rand(7)  # whatever happens in between
    again = trainer_of(recipe, parts, tmp_path / "parts")
    assert again.step == stop_at
    history = again.fit()
    assert history.losses == expected.losses and losses(history.epochs) == losses(expected.epochs)
    assert same(weights(tmp_path / "parts" / "last.pt"), weights(tmp_path / "whole" / "last.pt"))
    assert same(weights(tmp_path / "parts" / "best.pt"), weights(tmp_path / "whole" / "best.pt"))


def test_epochs_of_one_step_can_be_stopped(recipe, parts, tmp_path):
    trainer = trainer_of(recipe.replace(batch_size=64), parts, tmp_path)
    stop_in(trainer, 1)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert trainer.step == 1 and len(trainer.history.epochs) == 1


def test_another_thread_can_train(recipe, parts, tmp_path):
    trainer = trainer_of(recipe, parts, tmp_path)
    thread = threading.Thread(target=trainer.fit)
    thread.start()
    thread.join()
    assert trainer.step == trainer.total_steps == steps_in(tmp_path / "last.pt")


def test_the_seed_decides_what_is_drawn(recipe, parts, tmp_path):
    """Augmentation, dropout and order: two seeds differ in each, from the same weights."""

    def first_loss(seed, batch=None, **changes):
        trainer = trainer_of(recipe.replace(seed=seed, **changes), parts, tmp_path / "nothing")
        trainer.model.load_state_dict(start)
        trainer.model.train()
        torch.manual_seed(seed)
        return trainer.train_step(next(iter(trainer.batches)) if batch is None else batch)[0].item()

    start, some = trainer_of(recipe, parts, tmp_path / "nothing").model.state_dict(), torch.arange(8)
    start = {name: value.clone() for name, value in start.items()}
    quiet = {"augment": "none", "drop_rate": 0.0}
    for batch, changes in ((some, quiet | {"augment": "crop_flip"}), (some, quiet | {"drop_rate": 0.3}), (None, quiet)):
        assert first_loss(0, batch, **changes) == first_loss(0, batch, **changes) != first_loss(1, batch, **changes)
    assert first_loss(0, some, **quiet) == first_loss(1, some, **quiet)  # nothing else depends on it


def test_saving_changes_nothing(recipe, parts, tmp_path):
    often = fit(recipe, parts, tmp_path / "often", save_minutes=1e-9)
    assert losses(often) == losses(fit(recipe, parts, tmp_path / "once"))


def test_it_saves_within_an_epoch(recipe, parts, tmp_path):
    trainer, seen = trainer_of(recipe, parts, tmp_path, save_minutes=1e-9), []
    before_step(trainer, lambda done: seen.append(steps_in(tmp_path / "last.pt") if done else 0))
    trainer.fit()
    assert seen == list(range(18))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # as kill -9, or a power cut: nothing can be tidied up


def fit_until_killed(recipe, parts, output, where: str, count: int) -> None:
    """A run that saves after every step, and is killed at the place of that name when it is there for `count` times."""
    calls, save, replace_file = itertools.count(1), torch.save, os.replace

    def save_half(state, path):
        save(state, path)
        if next(calls) == count:
            content = Path(path).read_bytes()
            Path(path).write_bytes(content[: len(content) // 2])
            die()

    def replace_and_die(source, target):
        if where == "before a file takes its place" and next(calls) == count:
            die()
        replace_file(source, target)
        if where == "after a file took its place" and next(calls) == count:
            die()

    if where == "half of a file is written":
        torch.save = save_half
    elif where != "within a step":
        os.replace = replace_and_die
    trainer = trainer_of(recipe, parts, output, save_minutes=1e-9)
    if where == "within a step":
        before_step(trainer, lambda done: next(calls) == count and die())
    trainer.fit()


PLACES = ("within a step", "half of a file is written", "before a file takes its place", "after a file took its place")


@forks
def test_killed_at_any_moment_it_goes_on(recipe, parts, tmp_path):
    """kill -9, 24 times: every file is whole or absent, and in the end all is as if nothing was."""
    recipe, output = recipe.replace(epochs=12), tmp_path / "killed"
    expected = fit(recipe, parts, tmp_path / "whole")
    process, draw, steps = multiprocessing.get_context("fork"), random.Random(0), []
    for where in PLACES * 6:
        child = process.Process(target=fit_until_killed, args=(recipe, parts, output, where, draw.randint(1, 4)))
        child.start()
        child.join(120)
        assert child.exitcode == -signal.SIGKILL, f"it was not killed, {where}"
        for path in output.glob("*.pt"):
            assert weights(path).keys() == weights(tmp_path / "whole" / "last.pt").keys()
        steps.append(steps_in(output / "last.pt") if (output / "last.pt").exists() else 0)
    assert steps == sorted(steps) and len(set(steps)) > 12 and steps[-1] < 72  # it got on, and was never done
    fit(recipe, parts, output)
    for name in ("last.pt", "best.pt"):
        assert same(weights(output / name), weights(tmp_path / "whole" / name))
    assert losses(read_checkpoint(output / "last.pt")["history"]["epochs"]) == losses(expected)
    assert sorted(path.name for path in output.iterdir()) == ["best.pt", "last.pt", "log.csv"]


def test_another_recipe_is_not_resumed(recipe, parts, tmp_path, refuses):
    fit(recipe, parts, tmp_path)
    with refuses(ValueError, "last.pt", "another recipe", "learning_rate 0.001 (here 0.01)"):
        trainer_of(recipe.replace(learning_rate=0.01), parts, tmp_path)


def test_other_data_are_not_resumed(recipe, parts, tmp_path, refuses):
    fit(recipe, parts, tmp_path)
    for name, count in (("train", 43), ("val", 11), ("test", 9)):
        with refuses(ValueError, "last.pt", "another data", f"{name} {count} (here {count - 1})"):
            trainer_of(recipe, parts | {name: parts[name].part(range(count - 1))}, tmp_path)
    renamed = {name: replace(part, classes=list("abd")) for name, part in parts.items()}
    with refuses(ValueError, "last.pt", "another data", "classes"):
        trainer_of(recipe, renamed, tmp_path)


def test_a_damaged_or_foreign_checkpoint_is_refused(recipe, parts, tmp_path, refuses):
    fit(recipe, parts, tmp_path)
    state = read_checkpoint(tmp_path / "last.pt")
    for number in (None, 99):
        torch.save(state | {"format": number}, tmp_path / "last.pt")
        with refuses(ValueError, "last.pt", "another version of this package"):
            trainer_of(recipe, parts, tmp_path)
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:1000])
    with refuses(ValueError, "last.pt", "is no checkpoint, or is cut short"):
        trainer_of(recipe, parts, tmp_path)
    (tmp_path / "last.pt").write_bytes((tmp_path / "best.pt").read_bytes())
    with refuses(ValueError, "last.pt", "no state to go on from"):
        trainer_of(recipe, parts, tmp_path)


@pytest.mark.parametrize("step", [4, 5])  # in the middle of an epoch, and in its last step
def test_a_gradient_that_explodes_is_reported_and_not_saved(recipe, parts, tmp_path, step, refuses):
    trainer = trainer_of(recipe, parts, tmp_path, save_minutes=1e-9)
    calls, loss_of = itertools.count(), trainer.loss_of
    trainer.loss_of = lambda model, batch: loss_of(model, batch) * (math.nan if next(calls) == step else 1)
    with refuses(FloatingPointError, f"nan in step {step}", "use a learning_rate below 0.001"):
        trainer.fit()
    assert not (tmp_path / "best.pt").exists() and steps_in(tmp_path / "last.pt") == step
    assert all(value.isfinite().all() for value in weights(tmp_path / "last.pt").values())


def test_weights_that_explode_in_the_last_step_are_not_saved(recipe, parts, tmp_path, refuses):
    """The loss is the one before the step: what the step did to the weights is first seen by validation."""
    trainer = trainer_of(recipe, parts, tmp_path, save_minutes=1e-9)
    take_step = trainer.optimizers[0].step

    def explode():
        take_step()
        if trainer.step == 5:
            for weight in trainer.model.parameters():
                weight.data.mul_(math.nan)

    trainer.optimizers[0].step = explode
    with refuses(FloatingPointError, "use a learning_rate below 0.001"):
        trainer.fit()
    assert not (tmp_path / "best.pt").exists() and steps_in(tmp_path / "last.pt") == 5
    assert all(value.isfinite().all() for value in weights(tmp_path / "last.pt").values())


def test_a_log_that_was_not_written_is_written_later(recipe, parts, tmp_path, capsys):
    fit(recipe, parts, tmp_path)
    log = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").unlink()
    fit(recipe, parts, tmp_path)
    assert (tmp_path / "log.csv").read_text() == log
    assert "finished already" in capsys.readouterr().out


# --- less memory, other precision: the same run


@pytest.mark.parametrize("options", [
    {"accumulate": 3}, {"checkpointing": True}, {"accumulate": 8, "checkpointing": True},
])  # fmt: skip
@pytest.mark.slow
def test_accumulation_and_checkpointing_change_nothing(recipe, parts, tmp_path, options):
    recipe = recipe.replace(drop_rate=0.0)
    expected = losses(fit(recipe, parts, tmp_path / "plain"))
    assert losses(fit(recipe, parts, tmp_path / "other", **options)) == pytest.approx(expected, abs=1e-5)


def test_accumulation_computes_in_parts(recipe, parts, tmp_path):
    trainer, seen = trainer_of(recipe, parts, tmp_path, accumulate=3), []
    trainer.model.register_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0])) if module.training else None)
    trainer.fit()
    assert seen == ([3, 3, 2] * 5 + [1, 1, 1]) * 3


def test_checkpointing_keeps_less(recipe):
    def kept(checkpointing: bool) -> int:
        model = wrap_model(ViTModel(recipe.vit_config(3)), ALONE, checkpointing=checkpointing)
        total = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: total.append(x.numel()) or x, lambda x: x):
            model(torch.randn(8, 3, 16, 16)).sum()
        return sum(total)

    assert kept(True) < kept(False) / 2


def test_bfloat16_runs_in_bfloat16(recipe, parts, tmp_path):
    trainer, seen = trainer_of(recipe.replace(precision="bfloat16", augment="affine"), parts, tmp_path), []
    trainer.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    trainer.model.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    rows = trainer.fit().epochs
    assert set(seen[0::2]) == {torch.float32} and set(seen[1::2]) == {torch.bfloat16}  # pictures whole, logits not
    assert math.isfinite(rows[-1]["val_loss"])
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "last.pt").values())


# --- several processes


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_the_shares_are_the_batch(size, count):
    batch, found = torch.randperm(count), []
    for rank in range(size):
        mine, counts = Communicator(rank, size, torch.device("cpu")).shard(batch)
        assert len(mine) >= 1  # nobody is left without work
        found += mine.tolist() * counts
    assert sorted(found) == list(range(count))


def test_alone_there_is_nobody_to_wait_for():
    values = torch.ones(2)
    assert ALONE.all_reduce(values) is values and ALONE.barrier() is None and values.tolist() == [1, 1]
    with start_communication("cpu") as group:
        assert group == ALONE


@pytest.mark.parametrize("name", ["abacus", "meta", "cuda:99"])
def test_a_device_that_is_not_here_is_refused(refuses, name):
    with refuses(ValueError, f"no device {name} here", "--device"), start_communication(name):
        pass


def _in_process(rank, size, port, recipe, parts, output, options, stop_at):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    with start_communication("cpu") as group:
        trainer = DistributedTrainer(recipe, parts, output, group, progress=False, **options)
        if stop_at and rank == size - 1:  # one of them hears it; all stop
            stop_in(trainer, stop_at)
        try:
            trainer.fit()
        except Interrupted as stop:
            (output / f"stopped_{rank}.json").write_text(json.dumps([trainer.step, stop.signal]))
            return
        results = {name: trainer.measure(name) for name in parts}
        trainer.load("best.pt")
        assert trainer.measure("val")[1] == max(trainer.history.column("val_accuracy"))
    (output / f"results_{rank}.json").write_text(json.dumps(results))


def spread(size, recipe, parts, output, stop_at: int | None = None, **options) -> dict:
    """Run a recipe in `size` processes, and give the history."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_in_process, args=(rank, size, port, recipe, parts, output, options, stop_at))
                for rank in range(size)]  # fmt: skip
    for child in children:
        child.start()
    for child in children:
        child.join(240)
    assert [child.exitcode for child in children] == [0] * size
    return read_checkpoint(output / "last.pt")["history"]


@forks
@pytest.mark.parametrize("size, options", [
    (2, {}), (3, {"accumulate": 2}), (2, {"sharded": True}), (2, {"sharded": True, "accumulate": 2}),
])  # fmt: skip
def test_many_processes_do_what_one_does(recipe, parts, tmp_path, size, options):
    """43 pictures in batches of 8: the last has 3, one or two for each process, and 11 to validate on."""
    recipe = recipe.replace(drop_rate=0.0)
    alone = trainer_of(recipe, parts, tmp_path / "alone")
    expected = alone.fit()
    found = spread(size, recipe, parts, tmp_path / "many", **options)
    assert found["losses"] == pytest.approx(expected.losses, abs=1e-5)
    assert losses(found["epochs"]) == pytest.approx(losses(expected.epochs), abs=1e-5)
    assert [row["val_accuracy"] for row in found["epochs"]] == expected.column("val_accuracy")
    results = [json.loads((tmp_path / "many" / f"results_{rank}.json").read_text()) for rank in range(size)]
    for result in results:  # every process knows the results on all the pictures
        for name in parts:
            assert result[name] == pytest.approx(alone.measure(name), abs=1e-5)
    first, second = weights(tmp_path / "alone" / "last.pt"), weights(tmp_path / "many" / "last.pt")
    assert load_checkpoint(tmp_path / "many" / "best.pt").config == alone.model.config  # an ordinary ViT
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], atol=1e-3) for name in first)


@forks
@pytest.mark.parametrize("options", [{}, {"sharded": True}])
def test_muon_in_two_processes(recipe, parts, tmp_path, options):
    """It rounds to bfloat16 inside, so what differs in the last digit at first differs in the fourth."""
    recipe = recipe.replace(drop_rate=0.0, optimizer="muon")
    expected = fit(recipe, parts, tmp_path / "alone")
    found = spread(2, recipe, parts, tmp_path / "many", **options)
    assert losses(found["epochs"]) == pytest.approx(losses(expected), abs=5e-3)


@forks
def test_begun_alone_it_goes_on_with_two_and_the_other_way(recipe, parts, tmp_path):
    recipe = recipe.replace(drop_rate=0.0)
    expected = losses(fit(recipe, parts, tmp_path / "alone"))
    trainer = trainer_of(recipe, parts, tmp_path / "mixed")
    stop_in(trainer, 8)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert trainer.step == 8
    found = spread(2, recipe, parts, tmp_path / "mixed", sharded=True)
    assert losses(found["epochs"]) == pytest.approx(expected, abs=1e-5)


@forks
@pytest.mark.parametrize("options", [{}, {"sharded": True}])
def test_where_one_process_is_stopped_all_stop_at_the_same_step(recipe, parts, tmp_path, options):
    """And alone it goes on from there."""
    recipe = recipe.replace(drop_rate=0.0)
    expected = losses(fit(recipe, parts, tmp_path / "alone"))
    spread(2, recipe, parts, tmp_path / "mixed", stop_at=8, **options)
    (first, one), (second, other) = (json.loads((tmp_path / "mixed" / f"stopped_{rank}.json").read_text())
                                     for rank in (0, 1))  # fmt: skip
    assert 8 <= first == second <= 12 and (one, other) == (signal.SIGTERM, signal.SIGINT)
    again = trainer_of(recipe, parts, tmp_path / "mixed")
    assert again.step == first
    assert losses(again.fit().epochs) == pytest.approx(expected, abs=1e-5)


def test_a_batch_that_cannot_be_shared_out(recipe, parts, tmp_path, refuses):
    three = Communicator(0, 3, torch.device("cpu"))
    with refuses(ValueError, "batch_size is 8; expected at least 9 for 3 processes and batches in 3 parts"):
        DistributedTrainer(recipe, parts, tmp_path, three, accumulate=3)
