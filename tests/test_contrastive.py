"""The contrastive twin: the loss, what the towers read, and that they learn."""

import math
import random

import pytest
import torch

from vit_from_scratch.checkpoint import load_checkpoint, save_checkpoint
from vit_from_scratch.config import ViTConfig
from vit_from_scratch.contrastive import ContrastiveModel, contrastive_loss
from vit_from_scratch.gpt import GPTConfig
from vit_from_scratch.scene_gpt import GeneratedBatches
from vit_from_scratch.tokenizer import Tokenizer
from vit_from_scratch.training import Trainer, TrainingConfig
from vit_from_scratch.vlm import ImageTextConfig

WORDS = ("red", "green", "blue", " square")


@pytest.fixture
def twin() -> ContrastiveModel:
    vit = ViTConfig(image_size=8, patch_size=4, emb_dim=16, num_layers=1, num_heads=4, num_classes=0)
    gpt = GPTConfig(vocab_size=len(Tokenizer(WORDS)), context_length=8, emb_dim=24, num_layers=1, num_heads=3)
    return ContrastiveModel(ImageTextConfig(vit=vit, gpt=gpt, words=WORDS)).eval()


def test_the_loss_is_both_cross_entropies_by_hand():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.5, 1.0, -1.0], [0.0, 3.0, 2.0]])
    total = 0.0
    for i in range(3):
        row, column = logits[i].tolist(), logits[:, i].tolist()
        total += math.log(sum(map(math.exp, row))) - row[i]
        total += math.log(sum(map(math.exp, column))) - column[i]
    assert contrastive_loss(logits).item() == pytest.approx(total / 6, abs=1e-5)
    assert torch.allclose(contrastive_loss(logits), contrastive_loss(logits.T), atol=1e-6)


def test_knowing_nothing_costs_the_logarithm_of_the_batch():
    assert contrastive_loss(torch.zeros(7, 7)).item() == pytest.approx(math.log(7), abs=1e-5)
    assert contrastive_loss(torch.eye(7) * 50) < 1e-5


@pytest.mark.parametrize("shape", [(3, 4), (3,), (2, 3, 3)])
def test_a_table_that_is_not_square_is_refused(refuses, shape):
    with refuses(ValueError, str(shape), "(N, N)"):
        contrastive_loss(torch.zeros(shape))


def test_pictures_and_texts_become_arrows_of_length_1(twin):
    images, texts = torch.rand(3, 3, 8, 8), ["red", "green square"]
    arrows = twin.encode_images(images), twin.encode_texts(texts)
    assert [tuple(a.shape) for a in arrows] == [(3, 64), (2, 64)]
    for each in arrows:
        assert torch.allclose(each.norm(dim=-1), torch.ones(len(each)), atol=1e-5)
    scale = twin.log_scale.exp()
    assert scale.item() == pytest.approx(1 / 0.07, rel=1e-4)
    assert torch.allclose(twin(images, texts), scale * arrows[0] @ arrows[1].T, atol=1e-4)


def test_a_padded_text_is_the_same_arrow(twin):
    texts = ["red", "a blue", "blue square"]
    together = twin.encode_texts(texts)
    for text, arrow in zip(texts, together, strict=True):
        assert torch.allclose(twin.encode_texts([text])[0], arrow, atol=1e-5)


def test_a_text_is_read_whole(twin):
    """The arrow depends on every token, because it is taken at the end."""
    kept = []

    def keep(module, arguments, out):
        out.retain_grad()
        kept.append(out)

    twin.gpt.dropout.register_forward_hook(keep)
    (twin.encode_texts(["red square"]) * torch.randn(64)).sum().backward()
    assert (kept[0].grad[0].norm(dim=-1) > 0).tolist() == [True] * 4  # <bos>, two words, <eos>


def test_the_temperature_stays_above_a_hundredth(twin):
    with torch.no_grad():
        twin.log_scale.fill_(10.0)
    logits = twin(torch.rand(2, 3, 8, 8), ["red", "blue"])
    assert logits.abs().max() <= 100 + 1e-3
    contrastive_loss(logits).backward()
    assert twin.log_scale.grad != 0  # and can come back down


@pytest.mark.slow
def test_towers_learn_which_belongs_to_which(twin):
    """Three colours in shades, until each text finds its own."""
    colours = torch.eye(3)[:, :, None, None] * 2 - 1

    texts = ["red square", "green square", "blue square"]

    def shades(rng: random.Random) -> torch.Tensor:
        return colours + 0.3 * torch.randn(3, 3, 8, 8)

    def loss_of(model: ContrastiveModel, images: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(model(images, texts))

    config = TrainingConfig(epochs=12, learning_rate=3e-3, warmup_epochs=1.0)
    Trainer(twin, GeneratedBatches(shades, 5), config, loss_of, device="cpu", progress=False).fit()
    twin.eval()
    pictures = colours.expand(-1, -1, 8, 8).to(twin.device)
    nearest = twin(pictures, texts).argmax(dim=1)
    assert nearest.tolist() == [0, 1, 2]


def test_a_config_of_another_model_is_refused(tiny, refuses):
    with refuses(TypeError, "ImageTextConfig"):
        ContrastiveModel(tiny)


def test_it_is_saved_and_loaded(twin, tmp_path):
    save_checkpoint(tmp_path / "twin.pt", twin)
    again = load_checkpoint(tmp_path / "twin.pt", model_class=ContrastiveModel)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(again(images, ["red", "blue"]), twin(images, ["red", "blue"]))


def test_texts_that_it_can_not_read_are_refused(twin, refuses):
    with refuses(TypeError, "one str"):
        twin.encode_texts("red")
    with refuses(ValueError, "lists"):
        twin.encode_texts([])
    with refuses(ValueError, "context_length 8"):
        twin.encode_texts(["red" + " square" * 8])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_towers_of_any_precision_take_ordinary_pictures(twin, dtype):
    images = torch.rand(2, 3, 8, 8)
    expected = twin.encode_images(images)
    assert torch.allclose(twin.to(dtype).encode_images(images).float(), expected, atol=0.02)
