"""Lesson 10's run, cut short: what is joined, what is drawn, and that it goes on from its file."""

import itertools
import signal
from dataclasses import asdict

import pytest
import torch
from conftest import same

from vit_from_scratch import captioner as written
from vit_from_scratch.captioner import captioner, fit_captioner, new_captioner, train_captioner
from vit_from_scratch.checkpoint import read_checkpoint, save_checkpoint
from vit_from_scratch.config import CONFIGS
from vit_from_scratch.gpt import GPTConfig, GPTModel
from vit_from_scratch.model import ViTModel
from vit_from_scratch.scenes import draw_scene, is_held_out
from vit_from_scratch.tokenizer import Tokenizer
from vit_from_scratch.training import Interrupted, TrainingConfig

SHORT = TrainingConfig(epochs=2, learning_rate=2e-3, warmup_epochs=0.5, label_smoothing=0.0)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """In the place of what lessons 06 and 09 trained, small models that know nothing; and batches of few scenes."""
    vit = ViTModel(CONFIGS["ViT-Mini/4"].replace(emb_dim=24, num_layers=1)).eval()
    tokenizer = Tokenizer.train(draw_scene(written.random.Random(i)).caption for i in range(300))
    gpt = GPTModel(GPTConfig(vocab_size=len(tokenizer), context_length=32, emb_dim=24, num_layers=1, num_heads=2))
    monkeypatch.setattr(written, "emoji_vit", lambda: vit)
    monkeypatch.setattr(written, "scene_gpt", lambda: (gpt, tokenizer))
    monkeypatch.setattr(written, "CAPTIONER_RECIPE", SHORT)
    real_fit = written.fit_captioner
    monkeypatch.setattr(written, "fit_captioner", lambda *arguments, **options: real_fit(
        *arguments, batch_size=4, progress=False, device="cpu", **options))  # fmt: skip
    return vit, gpt, tokenizer


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The scenes that are drawn."""
    scenes, real_draw = [], written.draw_scene
    monkeypatch.setattr(written, "draw_scene", lambda rng: scenes.append(real_draw(rng)) or scenes[-1])
    return scenes


def test_a_new_captioner_joins_what_was_trained(small):
    vit, gpt, tokenizer = small
    model = new_captioner(projector="mlp")
    assert model.config.vit == vit.config.replace(image_size=48, patch_size=8, num_classes=0)
    assert (model.config.gpt, list(model.config.words), model.config.projector) == (gpt.config, tokenizer.words, "mlp")
    assert same(dict(model.gpt.state_dict()), dict(gpt.state_dict()))
    assert same(dict(model.vit.encoder.state_dict()), dict(vit.encoder.state_dict()))
    positions = [new_captioner(seed).projector.position for seed in (0, 0, 1)]
    assert torch.equal(positions[0], positions[1]) and not torch.equal(positions[0], positions[2])


@pytest.mark.slow
def test_it_learns_from_scenes_that_are_not_held_out(drawn):
    model = new_captioner()
    history = fit_captioner(model, SHORT.replace(epochs=6), batch_size=16, steps=10, progress=False, device="cpu")
    assert len(drawn) == 16 * 10 * 6 and len({scene.caption for scene in drawn}) > 300  # new ones in every step
    assert not any(scene.landmark and is_held_out(scene.thing, scene.landmark) for scene in drawn)
    assert len(history.losses) == 60 and history.column("train_loss")[-1] < 0.8 * history.losses[0]


@pytest.mark.slow
def test_other_batches_do_not_go_on_with_a_run(tmp_path, refuses):
    options = {"progress": False, "device": "cpu", "checkpoint": tmp_path / "captioner.pt"}
    fit_captioner(new_captioner(), SHORT, batch_size=2, steps=1, **options)
    with refuses(ValueError, "captioner.pt", "another data", "batch_size 2 (here 3)"):
        fit_captioner(new_captioner(), SHORT, batch_size=3, steps=1, **options)
    with refuses(ValueError, "captioner.pt", "another data", "steps 1 (here 2)"):
        fit_captioner(new_captioner(), SHORT, batch_size=2, steps=2, **options)


@pytest.mark.slow
def test_train_captioner_depends_on_its_seed_alone(tmp_path):
    losses = []
    for seed in (0, 0, 1):
        torch.rand(5)
        losses.append(train_captioner(tmp_path / "captioner.pt", seed=seed, steps=2)[1].losses)
    assert len(losses[0]) == 4 and losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_train_captioner_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    model, expected = train_captioner(tmp_path / "whole.pt", steps=3)
    calls, real_loss = itertools.count(1), written.caption_loss

    def loss_and_ctrl_c(*arguments):
        if next(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return real_loss(*arguments)

    monkeypatch.setattr(written, "caption_loss", loss_and_ctrl_c)
    with pytest.raises(Interrupted):
        train_captioner(tmp_path / "captioner.pt", steps=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captioner_unfinished.pt", "whole.pt"]
    again, history = train_captioner(tmp_path / "captioner.pt", steps=3)
    assert history.losses == expected.losses and next(calls) == 7  # no step was taken twice
    assert same(dict(again.state_dict()), dict(model.state_dict()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captioner.pt", "whole.pt"]


def test_captioner_trains_once_and_then_reads(tmp_path, monkeypatch, capsys, tiny, refuses):
    path, train = tmp_path / "captioner.pt", written.train_captioner
    monkeypatch.setattr(written, "train_captioner", lambda checkpoint: train(checkpoint, steps=1))
    model = captioner(path)
    assert "no captioner.pt yet: lesson 10's training" in capsys.readouterr().out
    state = read_checkpoint(path)
    assert state["recipe"] == asdict(SHORT) and len(state["history"]["losses"]) == 2
    monkeypatch.setattr(written, "train_captioner", None)  # from here on from the file
    again = captioner(path)
    assert not again.training and same(dict(again.state_dict()), dict(model.state_dict()))
    save_checkpoint(path, ViTModel(tiny))
    with refuses(ValueError, "captioner.pt", "no VisionLanguageModel but a ViTModel"):
        captioner(path)
