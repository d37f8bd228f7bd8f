"""The proof that our ViT is the ViT: other people's models and ours, with the same weights, answer the same.

Weights and pictures are random, so nothing is fetched. The peers are in scripts/bench/requirements.txt; without one of
them this fails.
"""

import re
from functools import partial

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed
from timm.models import VisionTransformer
from timm.models.vision_transformer import ResPostBlock
from torch import nn

from vit_from_scratch import pretrained
from vit_from_scratch.config import ViTConfig
from vit_from_scratch.model import ViTModel
from vit_from_scratch.pretrained import (
    from_google_npz,
    from_huggingface,
    from_timm,
    from_torchvision,
    known_architectures,
    to_layout,
    to_timm,
    to_torchvision,
)
from vit_from_scratch.transfer import resize_model, resize_position_embedding

pytestmark = pytest.mark.slow
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}  # width and heads; each has 12 blocks
SMALL_PICTURES = {"image_size": 64, "patch_size": 16}  # 16 patches instead of 196: quicker, and the same arithmetic

both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
every_size = pytest.mark.parametrize("size", SIZES)


@torch.no_grad()
def randomised(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Every parameter drawn anew: peers start many at 0 or at 1, where a swapped pair would not show."""
    for parameter in model.to(dtype).parameters():  # drawn in this dtype, so that float64 has all its digits
        matrix = parameter.ndim in (2, 4)
        parameter.normal_(std=2 * parameter.shape[1:].numel() ** -0.5 if matrix else 0.5)  # 2: heads that choose
    return model.eval()


def pictures(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, *(shape or (3, 64, 64)), dtype=dtype)


def answer(model: nn.Module, images: torch.Tensor, **options) -> torch.Tensor:
    """A peer's logits; where it has no classifier, all that comes out of its last norm."""
    with torch.no_grad():
        out = model(images, **options)
    return out if isinstance(out, torch.Tensor) else getattr(out, "logits", getattr(out, "last_hidden_state", None))


def alike(config: ViTConfig, other: ViTConfig) -> bool:
    """Whether two configs are of the same model; how its pictures are prepared is tested in test_preprocessing.py."""
    return config.replace(preprocessing=None) == other.replace(preprocessing=None)


def assert_agree(ours: ViTModel, expected: torch.Tensor, images: torch.Tensor) -> None:
    """The same answer, and one that depends on the pictures."""
    assert expected.std() > 0.1 and (expected[0] - expected[1]).abs().mean() > 0.02
    assert not ours.training
    with torch.no_grad():
        out = ours.forward_features(images) if expected.ndim == 3 else ours(images)
    assert out.dtype == expected.dtype
    torch.testing.assert_close(out, expected, rtol=0, atol=TOLERANCE[expected.dtype])


def torchvision_vit(size: str = "tiny", *, depth: int = 12) -> torchvision.models.VisionTransformer:
    width, heads = SIZES[size]
    return torchvision.models.VisionTransformer(64, 16, depth, heads, width, 4 * width, num_classes=10)


def timm_vit(size: str = "tiny", **options) -> VisionTransformer:
    options = {"img_size": 64, "num_classes": 10} | options
    return timm.create_model(f"vit_{size}_patch16_224", pretrained=False, **options)


def huggingface_config(size: str = "tiny", *, depth: int = 12, **options) -> transformers.ViTConfig:
    width, heads = SIZES[size]
    options = {"num_hidden_layers": depth, "num_attention_heads": heads, "num_labels": 10} | SMALL_PICTURES | options
    return transformers.ViTConfig(hidden_size=width, intermediate_size=4 * width, **options)


def huggingface_classifier(size: str = "tiny", **options) -> transformers.ViTForImageClassification:
    return transformers.ViTForImageClassification(huggingface_config(size, **options))


def huggingface_backbone(size: str = "tiny", **options) -> transformers.ViTModel:
    return transformers.ViTModel(huggingface_config(size, **options))


def huggingface_dinov2(*, depth: int = 2, **options) -> transformers.Dinov2Model:
    options = {"num_hidden_layers": depth, "num_attention_heads": 3, "image_size": 56, "patch_size": 14} | options
    return transformers.Dinov2Model(transformers.Dinov2Config(hidden_size=192, **options))


def expected_config(size: str = "tiny", **changes) -> ViTConfig:
    width, heads = SIZES[size]
    return ViTConfig(**{"emb_dim": width, "num_layers": 12, "num_heads": heads, "num_classes": 10}
                     | SMALL_PICTURES | changes)


# ---- the same weights, the same answer ----

PEERS = {  # a model, how we read it, and what its config has that is not ours
    "torchvision": (torchvision_vit, from_torchvision, {}),
    "timm": (timm_vit, from_timm, {}),
    "ViTForImageClassification": (huggingface_classifier, from_huggingface, {"norm_eps": 1e-12}),
    "ViTModel": (huggingface_backbone, from_huggingface, {"norm_eps": 1e-12, "num_classes": 0}),
}


@both_dtypes
@every_size
@pytest.mark.parametrize("peer", PEERS)
def test_our_vit_is_theirs(peer, size, dtype):
    make, read, changes = PEERS[peer]
    depth = 4 if size == "base" and dtype == torch.float64 else 12  # 12 in float32 show that Base is right to the top
    theirs, images = randomised(make(size, depth=depth), dtype), pictures(dtype=dtype)
    ours = read(theirs)
    assert alike(ours.config, expected_config(size, num_layers=depth, **changes))
    assert_agree(ours, answer(theirs, images), images)


@both_dtypes
def test_the_answer_is_only_as_close_with_every_weight_in_its_place(dtype):
    """What the proof is worth: two norms swapped in one of twelve blocks, and it fails."""
    theirs, images = randomised(timm_vit(), dtype), pictures(dtype=dtype)
    ours, block = from_timm(theirs), theirs.blocks[7]
    block.norm1, block.norm2 = block.norm2, block.norm1
    with pytest.raises(AssertionError, match="not close"):
        assert_agree(ours, answer(theirs, images), images)


def google_arrays(model: VisionTransformer) -> dict[str, np.ndarray]:
    """A timm model's weights as the paper's authors store them; timm's own loader says whether this is right."""
    heads = model.blocks[0].attn.num_heads

    def linear(name, theirs, module):
        return {f"{name}/{theirs}kernel": module.weight.T, f"{name}/{theirs}bias": module.bias}

    def norm(name, module):
        return {f"{name}/scale": module.weight, f"{name}/bias": module.bias}

    arrays = {
        "cls": model.cls_token, "Transformer/posembed_input/pos_embedding": model.pos_embed,
        "embedding/kernel": model.patch_embed.proj.weight.permute(2, 3, 1, 0),  # (ph, pw, c, d)
        "embedding/bias": model.patch_embed.proj.bias,
        **norm("Transformer/encoder_norm", model.norm), **linear("head", "", model.head),
    }
    for i, block in enumerate(model.blocks):
        name = f"Transformer/encoderblock_{i}"
        arrays |= norm(f"{name}/LayerNorm_0", block.norm1) | norm(f"{name}/LayerNorm_2", block.norm2)
        attention = f"{name}/MultiHeadDotProductAttention_1"
        weights, biases = block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3)
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}/{part}/kernel"] = weight.T.unflatten(1, (heads, -1))  # (d, heads, head width)
            arrays[f"{attention}/{part}/bias"] = bias.unflatten(0, (heads, -1))
        arrays[f"{attention}/out/kernel"] = block.attn.proj.weight.T.unflatten(0, (heads, -1))  # (heads, head width, d)
        arrays[f"{attention}/out/bias"] = block.attn.proj.bias
        arrays |= linear(f"{name}/MlpBlock_3", "Dense_0/", block.mlp.fc1)
        arrays |= linear(f"{name}/MlpBlock_3", "Dense_1/", block.mlp.fc2)
    return {name: tensor.detach().contiguous().numpy() for name, tensor in arrays.items()}


@both_dtypes
@pytest.mark.parametrize(("size", "depth"), [("tiny", 12), ("small", 2), ("base", 2)])  # Base is slow to write
def test_googles_files(tmp_path, size, depth, dtype):
    """Timm's loader of such files is the judge: our model is compared with the one that it fills."""
    images = pictures(dtype=dtype)
    np.savez(tmp_path / "vit.npz", **google_arrays(randomised(timm_vit(size, depth=depth), dtype)))
    theirs = timm_vit(size, depth=depth).to(dtype).eval()
    theirs.load_pretrained(str(tmp_path / "vit.npz"))
    ours = from_google_npz(tmp_path / "vit.npz")
    assert alike(ours.config, expected_config(size, num_layers=depth))
    assert_agree(ours, answer(theirs, images), images)


def test_googles_files_tell_the_number_of_heads():
    """Six heads of 32, where the rule would have said three of 64."""
    theirs, images = randomised(timm_vit(num_heads=6, depth=2)), pictures()
    ours = from_google_npz(google_arrays(theirs))
    assert ours.config.num_heads == 6
    assert_agree(ours, answer(theirs, images), images)


def test_googles_first_files_have_a_layer_before_the_classifier():
    theirs, images = randomised(timm_vit(depth=2)), pictures()
    arrays = google_arrays(theirs) | {"pre_logits/kernel": np.zeros((192, 192)), "pre_logits/bias": np.zeros(192)}
    with pytest.raises(ValueError, match=r"pre_logits/kernel, pre_logits/bias; head=False"):
        from_google_npz(arrays)
    theirs.reset_classifier(0)
    assert_agree(from_google_npz(arrays, head=False), answer(theirs, images), images)


@both_dtypes
def test_dinov2_in_timm(dtype):
    theirs = randomised(timm.create_model("vit_small_patch14_dinov2", pretrained=False, img_size=56), dtype)
    ours, images = from_timm(theirs), pictures(3, 56, 56, dtype=dtype)
    assert alike(ours.config, expected_config("small", image_size=56, patch_size=14, num_classes=0,
                                          layer_scale=ours.config.layer_scale))
    assert ours.config.layer_scale is not None
    assert_agree(ours, answer(theirs, images), images)


@both_dtypes
def test_dinov2_in_transformers(dtype):
    theirs, images = randomised(huggingface_dinov2(depth=12), dtype), pictures(3, 56, 56, dtype=dtype)
    ours = from_huggingface(theirs)
    assert alike(ours.config, expected_config(image_size=56, patch_size=14, num_classes=0, norm_eps=1e-6,
                                          layer_scale=ours.config.layer_scale))
    assert ours.config.layer_scale is not None
    assert_agree(ours, answer(theirs, images), images)


@both_dtypes
def test_odd_ones_in_timm(dtype):
    """Neither square pictures nor square patches, grey, another number of heads, no bias on q, k and v, LayerScale."""
    theirs = randomised(VisionTransformer(img_size=(48, 64), patch_size=(16, 8), in_chans=1, num_classes=7,
                                          embed_dim=80, depth=2, num_heads=5, mlp_ratio=3, qkv_bias=False,
                                          init_values=0.1, norm_layer=partial(nn.LayerNorm, eps=1e-3)), dtype)
    ours, images = from_timm(theirs), pictures(1, 48, 64, dtype=dtype)
    assert alike(ours.config, ViTConfig(image_size=(48, 64), patch_size=(16, 8), num_channels=1, num_classes=7,
                                        emb_dim=80, num_layers=2, num_heads=5, mlp_ratio=3, qkv_bias=False,
                                        norm_eps=1e-3, layer_scale=ours.config.layer_scale))
    assert_agree(ours, answer(theirs, images), images)


@both_dtypes
def test_odd_ones_in_transformers(dtype):
    options = {"image_size": (48, 64), "num_channels": 1, "depth": 2, "num_attention_heads": 6,
               "qkv_bias": False, "layer_norm_eps": 1e-3}
    theirs, images = randomised(huggingface_classifier(**options), dtype), pictures(1, 48, 64, dtype=dtype)
    ours = from_huggingface(theirs)
    assert alike(ours.config, expected_config(image_size=(48, 64), num_channels=1, num_layers=2, num_heads=6,
                                          qkv_bias=False, norm_eps=1e-3))
    assert_agree(ours, answer(theirs, images), images)
    theirs = randomised(huggingface_dinov2(**options | {"image_size": 56}), dtype)  # Dinov2's own can only be square
    ours, images = from_huggingface(theirs), pictures(1, 56, 56, dtype=dtype)
    assert (ours.config.num_heads, ours.config.qkv_bias, ours.config.norm_eps) == (6, False, 1e-3)
    assert_agree(ours, answer(theirs, images), images)


def test_odd_ones_in_torchvision():
    theirs = randomised(torchvision.models.VisionTransformer(48, 8, 2, 6, 192, 300, num_classes=7,
                                                             norm_layer=partial(nn.LayerNorm, eps=1e-3)))
    ours, images = from_torchvision(theirs), pictures(3, 48, 48)
    assert alike(ours.config, expected_config(image_size=48, patch_size=8, num_layers=2, num_heads=6, num_classes=7,
                                          mlp_ratio=300 / 192, norm_eps=1e-3))
    assert_agree(ours, answer(theirs, images), images)


def test_odd_ones_of_google():
    theirs = randomised(timm_vit(img_size=(48, 64), in_chans=1, depth=2))
    images = pictures(1, 48, 64)
    assert_agree(from_google_npz(google_arrays(theirs), image_size=(48, 64)), answer(theirs, images), images)


# ---- wherever the weights are ----


def small_peer(peer: str) -> nn.Module:
    """Two blocks, 64 per head, default norms: what a bare state dict can tell."""
    return randomised(PEERS[peer][0](depth=2))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("kind", ["state dict", "safetensors", "pth", "model in pth", "state_dict in pth"])
def test_every_kind_of_source(tmp_path, peer, kind):
    theirs, images = small_peer(peer), pictures()
    source = state = theirs.state_dict()
    if kind == "safetensors":
        source = tmp_path / "vit.safetensors"
        save_file(state, source)
    elif kind != "state dict":
        wrapper = kind.removesuffix("pth").removesuffix(" in ")
        source = str(tmp_path / "vit.pth")
        torch.save({wrapper: state, "epoch": 300} if wrapper else state, source)  # as DeiT's files have it
    ours = PEERS[peer][1](source)
    assert alike(ours.config, PEERS[peer][1](theirs).config)  # a file doesn't know how pictures were prepared
    assert_agree(ours, answer(theirs, images), images)


@pytest.mark.parametrize("make", [huggingface_classifier, huggingface_backbone, huggingface_dinov2])
def test_what_transformers_saves(tmp_path, make):
    """Names in files differ from those in memory; heads, eps and sides are in config.json alone."""
    sides = (56, 56) if make is huggingface_dinov2 else (56, 28)
    theirs = randomised(make(depth=2, num_attention_heads=6, layer_norm_eps=1e-2, image_size=sides,
                             patch_size=14))
    images = pictures(3, *sides)
    theirs.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) != set(theirs.state_dict())
    in_memory = from_huggingface(theirs)
    for source in (tmp_path, str(tmp_path)):
        ours = from_huggingface(source)
        assert ours.config == in_memory.config
        assert_agree(ours, answer(theirs, images), images)
    by_hand = {"num_heads": 6, "norm_eps": 1e-2, "image_size": sides}
    assert from_huggingface(tmp_path, norm_eps=1e-5).config == in_memory.config.replace(norm_eps=1e-5)
    assert_agree(from_huggingface(tmp_path / "model.safetensors", **by_hand), answer(theirs, images), images)
    (tmp_path / "config.json").unlink()
    assert from_huggingface(tmp_path, **by_hand).config == in_memory.config


@pytest.mark.parametrize("make", [huggingface_classifier, huggingface_backbone, huggingface_dinov2])
def test_transformers_file_without_its_config(tmp_path, make):
    """By the rules of the family: 64 per head, transformers' default eps of each architecture."""
    theirs = randomised(make(depth=2), torch.float64)
    images = pictures(3, *from_huggingface(theirs).config.image_size, dtype=torch.float64)
    theirs.save_pretrained(tmp_path)
    ours = from_huggingface(tmp_path / "model.safetensors")
    assert ours.config.norm_eps == theirs.config.layer_norm_eps
    assert_agree(ours, answer(theirs, images), images)


def test_torchvisions_own_files_have_names_from_before_2022(tmp_path):
    """`vit_b_16-c867db91.pth` says mlp.linear_1, as torchvision did at first; its models rename that as they load."""
    theirs, images = small_peer("torchvision"), pictures()
    old = {re.sub(r"mlp\.([03])\.", lambda found: f"mlp.linear_{1 + int(found[1]) // 3}.", name): tensor
           for name, tensor in theirs.state_dict().items()}
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in old and "mlp.3" not in " ".join(old)
    judge = torchvision_vit(depth=2).eval()
    judge.load_state_dict(dict(old))
    torch.save(old, tmp_path / "vit.pth")
    for source in (old, tmp_path / "vit.pth"):
        assert_agree(from_torchvision(source), answer(judge, images), images)


@pytest.mark.parametrize("peer", PEERS)
def test_without_the_classifier(peer):
    theirs, images = small_peer(peer), pictures()
    ours = PEERS[peer][1](theirs, head=False)
    assert ours.config.num_classes == 0
    for name in ("heads", "head", "classifier"):
        if hasattr(theirs, name):
            setattr(theirs, name, nn.Identity())
    expected = answer(theirs, images)
    assert_agree(ours, expected if expected.ndim == 2 else expected[:, 0], images)


def test_a_timm_model_that_pools_by_the_mean():
    """Its classifier is of no use to us, its blocks are."""
    theirs, images = randomised(timm_vit(depth=2, global_pool="avg", fc_norm=False)), pictures()
    ours = from_timm(theirs, head=False)
    with torch.no_grad():
        expected = theirs.forward_features(images)
    assert_agree(ours, expected, images)


# ---- other sizes of picture ----

GRIDS = [((4, 4), (6, 6)), ((4, 4), (3, 3)), ((4, 4), (5, 3)), ((4, 4), (7, 2)), ((14, 14), (24, 24)),
         ((16, 16), (7, 9)), ((16, 16), (37, 37)), ((4, 4), (4, 4))]


@pytest.mark.parametrize(("grid", "new_grid"), [*GRIDS, ((3, 5), (6, 4)), ((5, 3), (3, 5)), ((4, 6), (6, 4))])
def test_positions_are_resized_as_in_timm(grid, new_grid):
    position_embedding = torch.randn(1, 1 + grid[0] * grid[1], 24)
    expected = resample_abs_pos_embed(position_embedding, new_grid, grid, num_prefix_tokens=1, antialias=True)
    out = resize_position_embedding(position_embedding, grid, new_grid)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("grid", "new_grid"), GRIDS)  # Dinov2 takes it that the first is square
def test_positions_are_resized_as_in_dinov2(grid, new_grid):
    theirs = randomised(huggingface_dinov2(depth=1, image_size=14 * grid[0]))
    height, width = (14 * side for side in new_grid)
    with torch.no_grad():
        tokens = torch.zeros(1, 1 + new_grid[0] * new_grid[1], 192)
        expected = theirs.embeddings.interpolate_pos_encoding(tokens, height, width)
    out = resize_position_embedding(theirs.embeddings.position_embeddings.data, grid, new_grid, antialias=False)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("image_size", [(96, 96), (32, 32), (48, 112)])
@pytest.mark.parametrize("how", ["set_input_size", "dynamic_img_size"])
def test_a_model_is_resized_as_in_timm(image_size, how):
    theirs, images = randomised(timm_vit(depth=2, dynamic_img_size=how == "dynamic_img_size")), pictures(3, *image_size)
    ours = from_timm(theirs)
    if how == "set_input_size":
        theirs.set_input_size(img_size=image_size)
        assert from_timm(theirs).config == ours.config.replace(image_size=image_size)
    assert_agree(resize_model(ours, image_size), answer(theirs, images), images)


@pytest.mark.parametrize("image_size", [(112, 112), (28, 28), (42, 84)])
def test_a_model_is_resized_as_in_dinov2(image_size):
    theirs, images = randomised(huggingface_dinov2()), pictures(3, *image_size)
    assert_agree(resize_model(from_huggingface(theirs), image_size, antialias=False), answer(theirs, images), images)


@pytest.mark.parametrize("image_size", [(96, 96), (48, 112)])
def test_a_model_is_resized_as_in_transformers(image_size):
    theirs, images = small_peer("ViTForImageClassification"), pictures(3, *image_size)
    expected = answer(theirs, images, interpolate_pos_encoding=True)
    assert_agree(resize_model(from_huggingface(theirs), image_size, antialias=False), expected, images)


# ---- ours in theirs ----

OURS = expected_config(num_layers=2, num_heads=6, norm_eps=1e-3)  # neither the rule's heads nor anyone's default eps


@both_dtypes
@pytest.mark.parametrize("changes", [{}, {"num_classes": 0}, {"mlp_ratio": 2.0, "drop_rate": 0.1, "patch_size": 8}])
def test_to_torchvision(dtype, changes):
    ours, images = randomised(ViTModel(OURS.replace(**changes)), dtype), pictures(dtype=dtype)
    theirs = to_torchvision(ours)
    assert isinstance(theirs, torchvision.models.VisionTransformer) and not theirs.training
    assert_agree(ours, answer(theirs, images), images)
    assert from_torchvision(theirs).config == ours.config.replace(drop_rate=0.0)


@both_dtypes
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_classes": 0, "mlp_ratio": 2.0, "drop_rate": 0.1},
        {"image_size": (48, 64), "patch_size": (16, 8), "num_channels": 1, "qkv_bias": False, "layer_scale": 0.1},
        {"layer_scale": 0.0},
    ],
)
def test_to_timm(dtype, changes):
    config = OURS.replace(**changes)
    ours = randomised(ViTModel(config), dtype)
    images = pictures(config.num_channels, *config.image_size, dtype=dtype)
    theirs = to_timm(ours)
    assert isinstance(theirs, VisionTransformer) and not theirs.training
    assert_agree(ours, answer(theirs, images), images)
    back = from_timm(theirs).config
    assert back == config.replace(drop_rate=0.0, layer_scale=back.layer_scale)
    assert (back.layer_scale is None) == (config.layer_scale is None)


@both_dtypes
def test_to_transformers(dtype):
    options = {"depth": 2, "num_attention_heads": 6, "layer_norm_eps": 1e-3}
    ours, images = randomised(ViTModel(OURS), dtype), pictures(dtype=dtype)
    theirs = huggingface_classifier(**options).to(dtype).eval()
    state = to_layout(ours, "huggingface")
    theirs.load_state_dict({name if name.startswith("classifier") else f"vit.{name}": state[name] for name in state})
    assert_agree(ours, answer(theirs, images), images)

    ours = randomised(ViTModel(OURS.replace(num_classes=0)), dtype)
    theirs = transformers.ViTModel(huggingface_config(**options), add_pooling_layer=False).to(dtype).eval()
    theirs.load_state_dict(to_layout(ours, "huggingface"))
    assert_agree(ours, answer(theirs, images), images)


# ---- what only looks like a ViT is refused ----


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("vit_small_patch14_reg4_dinov2", {}, ["it has register tokens", "without a place", "(1): reg_token"]),
        # SwiGLU: half as many go in as come out
        ("vit_tiny_patch16_224", {"block_fn": ResPostBlock}, ["ResPostBlock", "pre-norm"]),
        ("vit_giant_patch14_dinov2", {"embed_dim": 192, "num_heads": 3}, ["activation", "SiLU", "gelu"]),
        ("vit_base_patch16_clip_224", {}, ["it has a norm before the blocks", "norm_pre.weight", "norm_pre.bias"]),
        ("deit_tiny_distilled_patch16_224", {}, ["it has a distillation token", "dist_token", "head_dist.weight"]),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}, ["it has a norm after the pooling", "fc_norm.weight"]),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "fc_norm": False}, ["pools by 'avg'", "head=False"]),
        ("vit_tiny_patch16_224", {"qk_norm": True}, ["norms on queries and keys", "blocks.0.attn.q_norm.weight"]),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": ""}, ["it has no CLS token", "(1): cls_token"]),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg", "fc_norm": False}, ["has no CLS"]),
        ("vit_tiny_patch16_224", {"act_layer": "relu"}, ["activation", "ReLU", "gelu"]),
        ("vit_tiny_patch16_224", {"act_layer": "quick_gelu"}, ["activation", "gelu"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value)),
)
def test_timm_models_that_are_no_plain_vit(refuses, name, options, parts):
    sides = {"img_size": 56 if "patch14" in name else 64}
    theirs = timm.create_model(name, pretrained=False, depth=1, **sides, **options)
    with refuses(ValueError, *parts):
        from_timm(theirs)


ARCHITECTURES = known_architectures()


@pytest.fixture
def without_memory(monkeypatch):
    """Models have names and shapes, but no weights; what `build` then still checks is that all of them fit."""

    def fit(model: nn.Module, weights: dict) -> nn.Module:
        model.load_state_dict(weights)
        return model

    monkeypatch.setattr(pretrained, "build", fit)
    with torch.device("meta"):
        yield


def loading(library: str) -> list[tuple[str, str]]:
    """The models of a library that load, each with what differs."""
    return [(name, row["differs"]) for row in ARCHITECTURES for name in row["models"].split(", ")
            if row["loader"] != "refused" and library in row["library"]]


def refused(library: str) -> list[tuple[str, str]]:
    return [(name, row["differs"]) for row in ARCHITECTURES for name in row["models"].split(", ")
            if row["loader"] == "refused" and library in row["library"]]


@pytest.mark.parametrize(("name", "differs"), loading("timm"))
def test_the_table_is_right_on_what_loads_from_timm(name, differs, without_memory):
    """In its true shape: all names and shapes fit, and what differs is as the table says."""
    theirs = timm.create_model(name, pretrained=False)
    sides = {"image_size": theirs.patch_embed.img_size} if "image_size" in differs else {}
    for source, known in ((theirs, {}), (theirs.state_dict(), sides)):
        ours = from_timm(source, **known)
        assert ours.config.num_heads == theirs.blocks[0].attn.num_heads
        assert ours.config.image_size == theirs.patch_embed.img_size
        assert (ours.config.layer_scale is not None) == ("LayerScale" in differs)
        assert (ours.config.num_classes == 0) == ("no classifier" in differs)
    assert theirs.pos_embed.shape[1] == ours.config.num_patches + ("CLS has no position" not in differs)


@pytest.mark.parametrize(("name", "differs"), refused("timm"))
@pytest.mark.parametrize("head", [True, False])
def test_the_table_is_right_on_timm_models_that_are_refused(refuses, name, differs, head, without_memory):
    theirs = timm.create_model(name, pretrained=False)
    for source in (theirs, theirs.state_dict()):  # head=False is no way out, and no message says so
        with refuses(ValueError, "no plain ViT in timm's layout: it has ", differs):
            from_timm(source, head=head)


@pytest.mark.parametrize(("name", "differs"), loading("torchvision"))
def test_the_table_is_right_on_torchvision(name, differs, without_memory):
    theirs = getattr(torchvision.models, name)()
    ours = from_torchvision(theirs)
    assert differs == "nothing" and ours.config.num_heads == theirs.encoder.layers[0].num_heads
    assert ours.config.image_size == (theirs.image_size, theirs.image_size)


def tiny_transformers(name: str) -> nn.Module:
    """A small model of transformers of this class."""
    config = getattr(transformers, name).config_class
    facts = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
             "image_size": [32, 32] if name == "VitPoseBackbone" else 32, "patch_size": 8}
    if name == "ViTMAEForPreTraining":
        facts |= {f"decoder_{key}": facts[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    if name.startswith("ViTMAE"):
        facts["mask_ratio"] = 0.0
    return getattr(transformers, name)(config(**facts))


@pytest.mark.parametrize(("name", "differs"), loading("transformers"))
def test_the_table_is_right_on_what_loads_from_transformers(name, differs):
    theirs, images = randomised(tiny_transformers(name)), pictures(3, 32, 32)
    head = "more than CLS" not in differs
    ours = from_huggingface(theirs, head=head)
    assert (ours.config.layer_scale is not None) == name.startswith("Dinov2")
    if "1e-12" in differs:
        assert ours.config.norm_eps == 1e-12
    if not head:
        with pytest.raises(ValueError, match="head=False"):
            from_huggingface(theirs)
        theirs = theirs.dinov2
    expected = answer(theirs, images)  # where it masks, it shuffles the patches, which CLS does not notice
    assert_agree(ours, expected if expected.ndim == 2 else expected[:, 0], images)


@pytest.mark.parametrize(("name", "differs"), refused("transformers"))
@pytest.mark.parametrize("head", [True, False])
def test_the_table_is_right_on_transformers_models_that_are_refused(refuses, name, differs, head):
    theirs = tiny_transformers(name)
    for source in (theirs, theirs.state_dict()):
        with refuses(ValueError, "no plain ViT in huggingface's layout: it has ", differs):
            from_huggingface(source, head=head)


# ---- positions without CLS ----


@both_dtypes
@pytest.mark.parametrize("options", [{}, {"img_size": (64, 96)}, {"num_classes": 0}, {"img_size": 16}], ids=str)
def test_deit_iii(dtype, options):
    """From the model, and from its weights with the size of picture: CLS has no position there."""
    options = {"img_size": 64, "num_classes": 10, "depth": 2} | options
    theirs = randomised(timm.create_model("deit3_small_patch16_224", pretrained=False, **options), dtype)
    sides = theirs.patch_embed.img_size
    images = pictures(3, *sides, dtype=dtype)
    assert theirs.pos_embed.shape[1] == theirs.patch_embed.num_patches
    ours = from_timm(theirs)
    assert ours.config.num_patches == theirs.patch_embed.num_patches and ours.config.layer_scale is not None
    for model in (ours, from_timm(theirs.state_dict(), image_size=sides), from_timm(to_timm(ours)),
                  from_timm(theirs.state_dict(), ours.config)):
        assert_agree(model, answer(theirs, images), images)
        assert (model.embeddings.position_embedding[:, 0] == 0).all()


@pytest.mark.parametrize("name", ["deit3_small_patch16_224", "deit3_medium_patch16_224"])
def test_deit_iii_resized(name):
    theirs = randomised(timm.create_model(name, pretrained=False, img_size=64, depth=2, dynamic_img_size=True))
    images = pictures(3, 96, 48)
    assert_agree(resize_model(from_timm(theirs), (96, 48)), answer(theirs, images), images)


def test_deit_iii_without_the_size_of_picture_asks_for_it_once(refuses):
    """196 positions may be 14 x 14 patches, or 13 x 15 and CLS: we ask rather than guess."""
    theirs = timm.create_model("deit3_small_patch16_224", pretrained=False, depth=1)
    with refuses(ValueError, "195 patches are no square", "image_size=(height, width)", "(224, 224)", "DeiT III"):
        from_timm(theirs.state_dict())
    assert from_timm(theirs.state_dict(), image_size=224).config.num_patches == 196
    plain = timm_vit(img_size=(13 * 16, 15 * 16), depth=1)
    assert from_timm(plain.state_dict(), image_size=(13 * 16, 15 * 16)).config.num_patches == 195


def test_metas_files_of_deit_iii_are_told_apart_from_evas(refuses):
    """`gamma_1` is LayerScale in both; EVA may turn queries and keys besides, and no weight says so."""
    theirs = timm.create_model("deit3_small_patch16_224", pretrained=False, depth=1)
    metas = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): tensor for name, tensor in theirs.state_dict().items()}
    with refuses(ValueError, "blocks.0.gamma_1", "rotary", "for DeiT III, pass timm's model"):
        from_timm(metas, image_size=224)


def test_what_a_model_does_in_training_alone_does_not_matter():
    """Dropout of patches, of attention and of whole branches."""
    theirs = randomised(timm_vit(depth=2, patch_drop_rate=0.5, attn_drop_rate=0.2, drop_path_rate=0.2))
    images = pictures()
    assert_agree(from_timm(theirs), answer(theirs, images), images)


def test_a_gated_feed_forward_is_named_from_a_file_too(refuses):
    """timm names a SwiGLU's layers as ours; but half as many numbers go in as come out."""
    theirs = timm.create_model("vit_giant_patch14_dinov2", pretrained=False, depth=1, embed_dim=192, num_heads=3)
    with refuses(ValueError, "gated feed-forward", "1024", "512"):
        from_timm(theirs.state_dict())


@pytest.mark.parametrize(("width", "hidden"), [(88, 120), (104, 504), (176, 784), (704, 960)])
def test_a_hidden_width_that_a_ratio_misses_by_rounding(width, hidden):
    assert int(width * (hidden / width)) == hidden - 1
    theirs = VisionTransformer(64, 16, num_classes=10, embed_dim=width, depth=2, num_heads=8, mlp_ratio=hidden / width)
    for block in theirs.blocks:  # theirs rounds down as well
        block.mlp = timm.layers.Mlp(width, hidden)
    images = pictures()
    for model in (from_timm(randomised(theirs)), from_timm(theirs.state_dict(), num_heads=8)):
        assert model.encoder.blocks[0].feed_forward.layers[0].out_features == hidden
        assert_agree(model, answer(theirs, images), images)
        assert_agree(model, answer(to_timm(model), images), images)
        assert_agree(model, answer(to_torchvision(model), images), images)


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "quick_gelu"])
def test_transformers_models_with_another_activation(refuses, tmp_path, activation):
    theirs = huggingface_backbone(depth=1, hidden_act=activation)
    with refuses(ValueError, "activation", activation, "gelu"):
        from_huggingface(theirs)
    theirs.save_pretrained(tmp_path)
    with refuses(ValueError, "activation", activation, "gelu"):
        from_huggingface(tmp_path)


def test_dinov2s_classifier_reads_more_than_cls(refuses):
    theirs = randomised(transformers.Dinov2ForImageClassification(huggingface_dinov2().config))
    with refuses(ValueError, "classifier.weight", "[2, 384]", "[2, 192]", "head=False"):
        from_huggingface(theirs)
    images = pictures(3, 56, 56)
    assert_agree(from_huggingface(theirs, head=False), answer(theirs.dinov2, images), images)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("read", [from_torchvision, from_timm, from_huggingface, from_google_npz],
                         ids=lambda read: read.__name__)
def test_a_peer_read_as_another_is_told_apart(refuses, peer, read):
    theirs, right = small_peer(peer), PEERS[peer][1]
    if read is not right:
        state, layout = theirs.state_dict(), right.__name__.removeprefix("from_")
        state = {name.removeprefix("vit."): state[name] for name in state}  # that prefix is from_huggingface's business
        state = {name: tensor.numpy() for name, tensor in state.items()} if read is from_google_npz else state
        wanted = read.__name__.split("_")[1]
        with refuses(ValueError, f"no plain ViT in {wanted}'s layout", f"look like {layout}'s names"):
            read(state)
