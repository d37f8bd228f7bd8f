"""`ViTModel`: its shapes, its size, its gradients, and what it refuses."""

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn

from vit_from_scratch.config import CONFIGS
from vit_from_scratch.embeddings import ViTEmbeddings
from vit_from_scratch.model import ViTModel
from vit_from_scratch.patches import patchify, unpatchify


def number_of_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 3, 8, 8)


# ---- parameters ----


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-Ti/16", 5_717_416),  # timm's deit_tiny_patch16_224
        ("ViT-S/16", 22_050_664),  # timm's deit_small_patch16_224
        ("ViT-B/16", 86_567_656),
        ("ViT-B/32", 88_224_232),
        ("ViT-L/16", 304_326_632),
        ("ViT-L/32", 306_535_400),
        ("ViT-H/14", 632_045_800),
        ("ViT-Mini/4", 459_368),
    ],
)
def test_parameter_counts(name, expected):
    with torch.device("meta"):  # shapes without memory
        assert number_of_parameters(ViTModel(CONFIGS[name])) == expected


def test_every_config_is_counted():
    counted = test_parameter_counts.pytestmark[0].args[1]
    assert [name for name, _ in counted] == list(CONFIGS)


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"])
def test_torchvisions_models_have_as_many(name):
    ours = CONFIGS[f"ViT-{name[4].upper()}/{name[6:]}"]
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
        assert number_of_parameters(ViTModel(ours)) == number_of_parameters(theirs)


def test_the_options_cost_what_they_say(tiny):
    plain = number_of_parameters(ViTModel(tiny))
    assert number_of_parameters(ViTModel(tiny.replace(qkv_bias=False))) == plain - 2 * 3 * 16
    assert number_of_parameters(ViTModel(tiny.replace(layer_scale=1e-5))) == plain + 2 * 2 * 16
    assert number_of_parameters(ViTModel(tiny.replace(num_classes=0))) == plain - (16 * 3 + 3)
    assert number_of_parameters(ViTModel(tiny.replace(image_size=(8, 16)))) == plain + 4 * 16
    assert number_of_parameters(ViTModel(tiny.replace(mlp_ratio=2))) == plain - 2 * (2 * 16 * 32 + 32)
    assert number_of_parameters(ViTModel(tiny.replace(num_channels=1))) == plain - 2 * 4 * 4 * 16


# ---- shapes and values ----


@pytest.mark.parametrize(
    ("changes", "num_patches"),
    [
        ({}, 4),
        ({"image_size": (8, 16)}, 8),
        ({"image_size": (12, 8), "patch_size": (3, 4)}, 8),
        ({"num_channels": 1}, 4),
        ({"layer_scale": 1e-5, "qkv_bias": False, "drop_rate": 0.5}, 4),
    ],
)
def test_shapes(tiny, changes, num_patches):
    config = tiny.replace(**changes)
    model = ViTModel(config)
    images = torch.randn(2, config.num_channels, *config.image_size)
    assert config.num_patches == num_patches
    assert model.forward_features(images).shape == (2, num_patches + 1, 16)
    assert model(images).shape == (2, 3)


def test_the_classifier_reads_the_cls_token(tiny, images):
    model = ViTModel(tiny).eval()
    torch.testing.assert_close(model(images), model.classifier(model.forward_features(images)[:, 0]))


def test_slicing_early_changes_no_gradient(tiny, images):
    early, late = ViTModel(tiny.replace(layer_scale=0.1)), ViTModel(tiny.replace(layer_scale=0.1))
    late.load_state_dict(early.state_dict())
    early(images).square().sum().backward()
    late.classifier(late.forward_features(images)[:, 0]).square().sum().backward()
    for (name, ours), theirs in zip(early.named_parameters(), late.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_the_last_block_works_for_cls_alone(tiny, images):
    model, shapes = ViTModel(tiny), []
    for block in model.encoder.blocks:
        block.feed_forward.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    model(images)
    assert shapes == [(5, tiny.num_patches + 1, 16)] * (tiny.num_layers - 1) + [(5, 1, 16)]


def test_no_classes_gives_the_cls_features(tiny, images):
    model, headless = ViTModel(tiny), ViTModel(tiny.replace(num_classes=0))
    headless.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("classifier")})
    out = headless(images)
    assert out.shape == (5, 16)
    torch.testing.assert_close(out, model.forward_features(images)[:, 0])


def test_the_sequence_is_cls_then_patches_plus_positions():
    embeddings = ViTEmbeddings(8, 4, num_channels=3, emb_dim=6)
    images = torch.randn(2, 3, 8, 8)
    out, positions = embeddings(images), embeddings.position_embedding
    assert out.shape == (2, 5, 6)
    torch.testing.assert_close(out[:, 1:], embeddings.patch_embedding(images) + positions[:, 1:])
    torch.testing.assert_close(out[:, 0], (embeddings.cls_token + positions[:, :1])[0].expand(2, -1))


def test_layer_scale_0_leaves_only_the_residual(tiny, images):
    model = ViTModel(tiny.replace(layer_scale=0.0))
    torch.testing.assert_close(model.forward_features(images), model.encoder.norm(model.embeddings(images)))


def test_eval_mode_is_deterministic_and_dropout_is_not(tiny, images):
    model = ViTModel(tiny.replace(drop_rate=0.5))
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_a_picture_does_not_see_its_batch(tiny, images):
    model = ViTModel(tiny).eval()
    one_by_one = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), one_by_one, rtol=0, atol=1e-5)


def test_positions_tell_shuffled_patches_apart(tiny):
    images, order = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.tensor([2, 0, 3, 1])
    shuffled = unpatchify(patchify(images, 4)[:, order], 4, 8)
    model = ViTModel(tiny).double().eval()
    assert (model(shuffled) - model(images)).abs().max() > 1e-4
    with torch.no_grad():
        model.embeddings.position_embedding.zero_()
    torch.testing.assert_close(model(shuffled), model(images), rtol=0, atol=1e-12)


def test_gradient_reaches_every_parameter_and_every_pixel(tiny, images):
    model = ViTModel(tiny.replace(layer_scale=0.1))
    images.requires_grad_()
    nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 0, 1])).backward()
    assert (images.grad != 0).all()
    assert model.embeddings.cls_token.grad.abs().min() > 0
    assert model.embeddings.position_embedding.grad.abs().sum(dim=2).min() > 0  # of every position
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_it_starts_near_chance(tiny):
    """Not one logit per class far from the others: the first loss is about log(num_classes)."""
    model = ViTModel(tiny.replace(num_classes=100))
    loss = nn.functional.cross_entropy(model(torch.randn(64, 3, 8, 8)), torch.arange(64))
    assert abs(loss.item() - torch.tensor(100.0).log().item()) < 1.5
    assert (model.classifier.bias == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tiny, images, dtype):
    model = ViTModel(tiny).eval()
    with torch.autocast("cpu", dtype):
        out = model(images)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), model(images), rtol=0.1, atol=0.1)


# ---- copies ----


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_answers_the_same_and_stands_alone(tiny, images, how):
    model = ViTModel(tiny).eval()
    twin = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
    before = model(images)
    assert twin.config == tiny
    assert torch.equal(twin(images), before)
    with torch.no_grad():
        twin.embeddings.cls_token.add_(1)
    assert not torch.equal(twin(images), before)
    assert torch.equal(model(images), before)


def test_state_dict_there_and_back(tiny, images):
    model, other = ViTModel(tiny).eval(), ViTModel(tiny).eval()
    assert not torch.equal(model(images), other(images))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(images), other(images))


# ---- bad input ----


@pytest.mark.parametrize(
    ("bad", "kind", "parts"),
    [
        (torch.zeros(1, 3, 16, 16), ValueError, ["(16, 16)", "expected (8, 8)", "image_size"]),
        (torch.zeros(1, 3, 8, 12), ValueError, ["(8, 12)", "expected (8, 8)", "resize"]),
        (torch.zeros(1, 1, 8, 8), ValueError, ["1 channels", "expected 3", "num_channels"]),
        (torch.zeros(1, 4, 8, 8), ValueError, ["4 channels", "expected 3", "num_channels"]),
        (torch.zeros(1, 8, 8, 3), ValueError, ["8 channels", "(1, 8, 8, 3)", "expected 3"]),
        (torch.zeros(3, 8, 8), ValueError, ["(3, 8, 8)", "four dimensions", "images[None]"]),
        (torch.zeros(1, 1, 3, 8, 8), ValueError, ["(1, 1, 3, 8, 8)", "four dimensions"]),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, ["torch.uint8", "expected floats", "normalize"]),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), TypeError, ["torch.int64", "expected floats", "normalize"]),
        ([[1, 2], [3, 4]], TypeError, ["images is a list", "expected a float tensor"]),
        (None, TypeError, ["images is a NoneType", "expected a float tensor"]),
    ],
    ids=lambda value: str(tuple(value.shape)) if isinstance(value, torch.Tensor) else None,
)
def test_bad_images_are_refused(tiny, refuses, bad, kind, parts):
    with refuses(kind, *parts):
        ViTModel(tiny)(bad)


@pytest.mark.parametrize("bad", [None, {"emb_dim": 16}, "ViT-B/16"])
def test_it_takes_a_config(refuses, bad):
    with refuses(TypeError, type(bad).__name__, "expected a ViTConfig", "CONFIGS["):
        ViTModel(bad)
