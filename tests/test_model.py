"""`ViTModel`: its shapes, its size, its gradients, and what it refuses."""

import copy
import pickle
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torchvision
from torch import nn
from torch.distributed import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from vit_from_scratch.attention import MultiHeadAttention
from vit_from_scratch.config import CONFIGS
from vit_from_scratch.embeddings import ViTEmbeddings
from vit_from_scratch.encoder import TransformerBlock, TransformerEncoder
from vit_from_scratch.model import ViTModel, cls_output
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


# ---- the last block works for CLS alone ----


def rows_of_the_last_block(model: ViTModel, images: torch.Tensor, monkeypatch) -> list[int]:
    """How many tokens each LayerNorm gets: a look that needs no hook."""
    rows, layer_norm = [], nn.functional.layer_norm
    with monkeypatch.context() as patched:
        patched.setattr(nn.functional, "layer_norm", lambda x, *rest: rows.append(x.shape[1]) or layer_norm(x, *rest))
        model(images)
    return rows[-2:]  # the last block's second norm, and the encoder's


@pytest.fixture(params=[{}, {"num_layers": 1}, {"layer_scale": 0.5, "qkv_bias": False}, {"num_heads": 1}], ids=str)
def model(request, tiny) -> ViTModel:
    """Models whose every parameter is drawn at random (norms and scales, too)."""
    made = ViTModel(tiny.replace(**request.param))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    return made


def test_cls_alone_gives_the_same_logits_and_gradients(model, images, monkeypatch):
    assert rows_of_the_last_block(model, images, monkeypatch) == [1, 1]
    both = model(images), model.classifier(model.forward_features(images)[:, 0])
    torch.testing.assert_close(*both, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1])),
                                     list(model.parameters())) for logits in both]
    for (name, _), ours, theirs in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)


def test_to_the_last_digits_in_float64(model, images):
    model, images = model.double(), images.double()
    torch.testing.assert_close(
        cls_output(model.encoder, model.embeddings(images)), model.forward_features(images)[:, 0], rtol=0, atol=1e-12
    )


PARTS = ["norm1", "attention", "attention.qkv", "attention.out_proj", "attention.dropout", "scale1", "norm2",
         "feed_forward", "feed_forward.layers", "feed_forward.layers.1", "scale2"]  # fmt: skip
WATCHED = ["encoder", "encoder.norm", "encoder.blocks.1", *(f"encoder.blocks.1.{part}" for part in PARTS)]


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"])
@pytest.mark.parametrize("part", WATCHED)
def test_a_hook_is_called_and_sees_every_token(tiny, images, kind, part, monkeypatch):
    model, shapes = ViTModel(tiny), []
    whole = model.classifier(model.forward_features(images)[:, 0])

    def note(module, *tensors):
        tensors = [item for each in tensors for item in (each if isinstance(each, tuple) else (each,))]
        shapes.extend(tuple(tensor.shape[:2]) for tensor in tensors)

    hook = getattr(model.get_submodule(part), f"register_{kind}")(note)
    logits = model(images)
    logits.sum().backward()
    assert set(shapes) == {(5, tiny.num_patches + 1)}
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-6)
    hook.remove()
    assert rows_of_the_last_block(model, images, monkeypatch) == [1, 1]


def test_a_hook_on_another_block_changes_nothing(tiny, images, monkeypatch):
    model, shapes = ViTModel(tiny), []
    model.encoder.blocks[0].register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    assert rows_of_the_last_block(model, images, monkeypatch) == [1, 1]
    assert shapes == [(5, tiny.num_patches + 1, 16)]


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Mixer(nn.Module):
    """In a feed-forward's place, but it looks at all the tokens."""

    def forward(self, x):
        return x + x.mean(dim=1, keepdim=True)


class LoRA(nn.Module):
    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear, self.down, self.up = linear, nn.Linear(16, 2), nn.Linear(2, linear.out_features)

    def forward(self, x):
        return self.linear(x) + self.up(self.down(x))


class OwnBlock(TransformerBlock):
    def forward(self, x, mask=None, cache=None):
        return super().forward(x.flip(1), mask, cache)


def causal(block: TransformerBlock) -> None:
    block.attention.causal = True


CHANGES = {
    "activation checkpointing": lambda block: setattr(
        block, "forward", partial(checkpoint, block.forward, use_reentrant=False)),
    "attention's forward": lambda block: setattr(block.attention, "forward", lambda x, mask, cache: x.flip(1)),
    "parametrized": lambda block: parametrize.register_parametrization(block.attention.qkv, "weight", Doubled()),
    "LoRA": lambda block: setattr(block.attention, "qkv", LoRA(block.attention.qkv)),
    "no attention": lambda block: setattr(block, "attention", Mixed()),
    "another feed-forward": lambda block: setattr(block, "feed_forward", Mixer()),
    "attention as feed-forward": lambda block: setattr(block, "feed_forward", MultiHeadAttention(16, 4)),
    "subclass": lambda block: setattr(block, "__class__", OwnBlock),
    "causal": causal,
    "another activation": lambda block: block.feed_forward.layers.__setitem__(1, nn.ReLU()),
}  # fmt: skip


class Mixed(nn.Module):
    """In an attention's place."""

    def forward(self, x, mask=None, cache=None):
        return x.cumsum(dim=1)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_block_is_called_as_it_is(tiny, images, change, monkeypatch):
    model = ViTModel(tiny)
    before = model(images)
    CHANGES[change](model.encoder.blocks[-1])
    logits = model(images)
    torch.testing.assert_close(logits, model.classifier(model.forward_features(images)[:, 0]), rtol=0, atol=1e-6)
    assert rows_of_the_last_block(model, images, monkeypatch)[-1] == tiny.num_patches + 1
    if change != "activation checkpointing":
        assert (logits - before).abs().max() > 1e-3


def test_checkpointing_gives_the_same_gradients(tiny, images):
    plain, saving = ViTModel(tiny).double(), ViTModel(tiny).double()
    saving.load_state_dict(plain.state_dict())
    for block in saving.encoder.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for model in (plain, saving):
        model(images.double()).square().sum().backward()
    for (name, ours), theirs in zip(saving.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12, msg=name)


def test_fsdp_finds_the_last_blocks_weights(tiny, images):
    """FSDP gathers a block's weights in a hook before its forward."""
    model, plain = ViTModel(tiny), ViTModel(tiny)
    plain.load_state_dict(model.state_dict())
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for module in [*model.encoder.blocks, model]:
            fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
        logits = model(images)
        logits.square().sum().backward()
        plain(images).square().sum().backward()
        torch.testing.assert_close(logits, plain(images), rtol=0, atol=1e-6)
        for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad, rtol=1e-4, atol=1e-4, msg=name)
    finally:
        dist.destroy_process_group()


def test_an_encoder_of_ones_own_is_called(tiny, images):
    class Reversed(TransformerEncoder):
        def forward(self, x, mask=None, caches=None):
            return super().forward(x).flip(1)

    model = ViTModel(tiny)
    model.encoder.__class__ = Reversed
    torch.testing.assert_close(model(images), model.classifier(model.forward_features(images)[:, 0]), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("hooked", [False, True])
def test_compile_finds_one_graph_without_a_break(tiny, images, hooked):
    model = ViTModel(tiny)
    if hooked:
        model.encoder.blocks[-1].register_forward_hook(lambda module, inputs, output: None)
    torch._dynamo.reset()
    found = torch._dynamo.explain(model)(images)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.slow
def test_a_hook_is_seen_by_a_compiled_model_too(tiny, images):
    model, shapes = ViTModel(tiny).eval(), []
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), model(images), rtol=0, atol=1e-6)
    model.encoder.blocks[-1].register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    compiled(images)
    assert shapes == [(5, tiny.num_patches + 1, 16)]


# ---- what else the forward pass does ----


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
