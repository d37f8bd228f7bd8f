"""Other people's weights: every way in, out and to disk, and what is refused. What they compute: test_parity.py."""

import itertools
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from vit_from_scratch import pretrained
from vit_from_scratch.config import CONFIGS, ViTConfig
from vit_from_scratch.model import ViTModel
from vit_from_scratch.pretrained import (
    LAYOUTS,
    build,
    flax_to_torch,
    from_google_npz,
    from_huggingface,
    from_timm,
    from_torchvision,
    infer_config,
    key_table,
    known_architectures,
    load_safetensors,
    load_weights,
    read_weights,
    save_safetensors,
    to_layout,
    to_torchvision,
    translate,
)
from vit_from_scratch.transfer import replace_head, resize_model, resize_position_embedding

OTHERS = ["torchvision", "timm", "huggingface"]  # layouts whose arrays lie as ours do
READERS = {"torchvision": from_torchvision, "timm": from_timm, "huggingface": from_huggingface}


@torch.no_grad()
def randomised(model: nn.Module) -> nn.Module:
    """No zeros and ones left, so that no two weights are alike."""
    for parameter in model.parameters():
        parameter.normal_()
    return model.eval()


def alike(config: ViTConfig, other: ViTConfig) -> bool:
    """Whether two configs are of the same model; how its pictures are prepared is tested in test_preprocessing.py."""
    return config.replace(preprocessing=None) == other.replace(preprocessing=None)


@pytest.fixture
def model(tiny) -> ViTModel:
    return randomised(ViTModel(tiny))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 3, 8, 8)


def torchvision_vit(**options) -> torchvision.models.VisionTransformer:
    """The `tiny` config's, as torchvision makes it."""
    return randomised(torchvision.models.VisionTransformer(8, 4, 2, 4, 16, 64, num_classes=3, **options))


def google_arrays(model: ViTModel) -> dict[str, np.ndarray]:
    """A tiny model's weights as the paper's authors store them."""
    arrays = {}
    for ours, theirs in key_table("google", model.config.num_layers).items():
        if ours not in model.state_dict():
            continue
        for name, part in zip(theirs, model.state_dict()[ours].chunk(len(theirs)), strict=True):
            heads, attends = (model.config.num_heads, -1), "MultiHeadDotProductAttention" in name
            if part.ndim == 4:
                part = part.permute(2, 3, 1, 0)
            elif name.endswith("kernel"):
                part = part.T
                part = part.unflatten(0 if "out/" in name else 1, heads) if attends else part
            elif attends and "out/" not in name:
                part = part.unflatten(0, heads)
            arrays[name] = part.detach().clone().numpy()
    return arrays


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def share_memory(one: nn.Module, other: nn.Module) -> bool:
    first, second = ({t.untyped_storage().data_ptr() for t in model.state_dict().values()} for model in (one, other))
    return bool(first & second)


# ---- names ----


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_layers", [0, 1, 12])
def test_the_table_is_one_to_one(layout, num_layers):
    table = key_table(layout, num_layers)
    theirs = [name for names in table.values() for name in names]
    assert len(theirs) == len(set(theirs))
    assert all(table.values()) and not any("{" in name for name in [*table, *theirs])
    assert {len(names) for names in table.values()} <= ({1, 3} if layout in ("huggingface", "google") else {1})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_table_has_every_weight_of_ours(tiny, layout):
    config = tiny.replace(layer_scale=0.1 if layout in ("timm", "huggingface") else None)
    plain = {name for name in key_table(layout, 2) if not name.endswith(("scale.bias", "scale.weight"))}
    expected = set(ViTModel(config).state_dict())
    assert expected <= plain
    assert {name.split(".")[-1] for name in plain - expected} <= {"scale"}


def test_the_table_has_every_weight_of_torchvisions():
    theirs = {name for names in key_table("torchvision", 2).values() for name in names}
    assert theirs == set(torchvision_vit().state_dict())


@pytest.mark.parametrize("layout", ["jax", "", None, "Timm"])
def test_unknown_layouts_are_refused(refuses, layout):
    for read in (lambda: key_table(layout, 1), lambda: translate({}, layout), lambda: load_weights({}, layout)):
        with refuses(ValueError, repr(layout), "expected one of", *LAYOUTS):
            read()


# ---- there and back ----


def test_torchvisions_weights_there_and_back(images):
    theirs = torchvision_vit()
    ours = from_torchvision(theirs)
    state = to_layout(ours, "torchvision")
    assert state.keys() == theirs.state_dict().keys()
    assert same_weights(to_torchvision(ours), theirs)
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", OTHERS)
@pytest.mark.parametrize("changes", [{}, {"num_classes": 0}, {"qkv_bias": False}, {"layer_scale": 0.1}], ids=str)
def test_every_layout_there_and_back(tiny, layout, changes):
    if layout == "torchvision":  # it has no LayerScale: that it says so is tested below
        changes = {name: value for name, value in changes.items() if name != "layer_scale"}
    model = randomised(ViTModel(tiny.replace(**changes)))
    back = READERS[layout](to_layout(model, layout), num_heads=4, norm_eps=tiny.norm_eps)
    assert same_weights(back, model)
    assert alike(back.config, model.config.replace(layer_scale=back.config.layer_scale))
    assert (back.config.layer_scale is None) == (model.config.layer_scale is None)


@pytest.mark.parametrize("layout", OTHERS)
def test_theirs_there_and_back_has_the_same_names(model, layout):
    state = to_layout(model, layout)
    back = to_layout(load_weights(state, layout, num_heads=4), layout)
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


def test_googles_arrays_make_our_weights(model, tmp_path):
    arrays = google_arrays(model)
    assert arrays["Transformer/encoderblock_1/MultiHeadDotProductAttention_1/out/kernel"].shape == (4, 4, 16)
    np.savez(tmp_path / "vit.npz", **arrays)
    for source in (arrays, tmp_path / "vit.npz", str(tmp_path / "vit.npz")):
        ours = from_google_npz(source)
        assert same_weights(ours, model) and alike(ours.config, model.config)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("embedding/kernel", (4, 2, 3, 16), (16, 3, 4, 2)),
        ("block/query/kernel", (16, 4, 5), (20, 16)),
        ("block/out/kernel", (4, 5, 16), (16, 20)),
        ("Dense_0/kernel", (16, 64), (64, 16)),
        ("block/query/bias", (4, 5), (20,)),
        ("LayerNorm_0/scale", (16,), (16,)),
        ("cls", (1, 1, 16), (1, 1, 16)),
    ],
)
def test_flax_to_torch(name, shape, expected):
    tensor = flax_to_torch(name, torch.randn(shape, dtype=torch.float64))
    assert tensor.shape == expected and tensor.dtype == torch.float64


def test_googles_arrays_are_copied(model):
    arrays = google_arrays(model)
    before = {name: array.copy() for name, array in arrays.items()}
    randomised(from_google_npz(arrays))
    assert all(np.array_equal(arrays[name], before[name]) for name in before)
    for tensor in read_weights(arrays).values():
        tensor.zero_()
    assert all(np.array_equal(arrays[name], before[name]) for name in before)


def test_a_google_array_keeps_its_axes():
    """Query: input d, head h, width w -> row h * 5 + w, column d. Out: head h, width w, output d -> row d."""
    array = torch.arange(16 * 4 * 5).reshape(16, 4, 5)
    assert flax_to_torch("query/kernel", array)[3 * 5 + 2, 7] == array[7, 3, 2]
    array = array.reshape(4, 5, 16)
    assert flax_to_torch("out/kernel", array)[7, 3 * 5 + 2] == array[3, 2, 7]


# ---- reading the config off weights ----


@pytest.mark.parametrize("name", CONFIGS)
def test_every_named_config_is_read_off_its_weights(name):
    """Their heads too: ViT-H/14 has 16, where 64 per head would have said 20."""
    with torch.device("meta"):  # shapes without memory
        weights = ViTModel(CONFIGS[name]).state_dict()
    assert infer_config(weights) == CONFIGS[name]
    assert infer_config(weights, num_heads=2, norm_eps=1e-3) == CONFIGS[name].replace(num_heads=2, norm_eps=1e-3)


def test_the_heads_of_vit_h_14():
    with torch.device("meta"):
        weights = ViTModel(CONFIGS["ViT-H/14"]).state_dict()
    assert infer_config(weights).num_heads == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": (8, 16)},
        {"image_size": (12, 8), "patch_size": (3, 4)},
        {"num_channels": 1, "num_classes": 0},
        {"mlp_ratio": 2.5, "qkv_bias": False},
        {"layer_scale": 0.3, "num_layers": 11},
    ],
    ids=str,
)
def test_every_field_is_read_off_or_given(tiny, changes):
    config = tiny.replace(**changes)
    found = infer_config(ViTModel(config).state_dict(), num_heads=4, image_size=config.image_size)
    assert found == config.replace(layer_scale=found.layer_scale)
    assert (found.layer_scale is None) == (config.layer_scale is None)


def test_heads_that_cannot_be_inferred(refuses, model):
    with refuses(ValueError, "number of heads", "emb_dim 16", "pass num_heads"):
        infer_config(model.state_dict())
    with refuses(ValueError, "emb_dim 16", "num_heads 3", "num_heads=2"):
        from_timm(to_layout(model, "timm"), num_heads=3)


def test_patches_that_are_no_square(refuses, tiny):
    state = to_layout(ViTModel(tiny.replace(image_size=(8, 12))), "timm")
    with refuses(ValueError, "6 patches are no square", "image_size=(height, width)"):
        from_timm(state, num_heads=4)
    assert from_timm(state, num_heads=4, image_size=(12, 8)).config.image_size == (12, 8)
    with refuses(ValueError, "position_embedding", "[1, 7, 16]", "[1, 5, 16]"):
        from_timm(state, num_heads=4, image_size=8)


def test_a_model_tells_its_heads_and_eps():
    theirs = torchvision_vit(norm_layer=lambda width: nn.LayerNorm(width, eps=1e-3))
    config = from_torchvision(theirs).config
    assert (config.num_heads, config.norm_eps, config.image_size) == (4, 1e-3, (8, 8))
    assert from_torchvision(theirs, num_heads=8).config.num_heads == 8


@pytest.mark.parametrize(("width", "hidden"), [(44, 60), (52, 252), (76, 212), (88, 120), (1408, 960)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hidden_width_that_a_ratio_misses_by_rounding(layout, width, hidden):
    """`int(width * (hidden / width))` is one less: the ratio is the next number."""
    assert int(width * (hidden / width)) == hidden - 1
    ratio = np.nextafter(hidden / width, np.inf).item()
    config = ViTConfig(image_size=8, patch_size=4, emb_dim=width, num_layers=1, num_heads=4, num_classes=3,
                       mlp_ratio=ratio)
    model = ViTModel(config)
    assert model.encoder.blocks[0].feed_forward.layers[0].out_features == hidden
    source = google_arrays(model) if layout == "google" else to_layout(model, layout)
    back = (READERS | {"google": from_google_npz})[layout](source, num_heads=4)
    assert same_weights(back, model) and back.config.mlp_ratio == ratio


@pytest.mark.parametrize("ratio", [3.7362, 2.66, 1 / 3, 0.999])
def test_a_configs_own_ratio_is_kept_where_the_width_is_the_same(refuses, tiny, ratio):
    """3.7362 is how timm writes SO400M's 4304 / 1152."""
    model = randomised(ViTModel(tiny.replace(mlp_ratio=ratio)))
    state = to_layout(model, "timm")
    assert from_timm(state, model.config).config.mlp_ratio == ratio
    assert same_weights(from_timm(state, num_heads=4), model)
    with refuses(ValueError, "mlp_ratio"):
        from_timm(state, tiny.replace(mlp_ratio=ratio + 1 / 16))


@pytest.mark.parametrize("layout", OTHERS)
def test_a_gated_feed_forward_under_our_names_is_refused(refuses, model, layout):
    state = to_layout(model, layout)
    for name in [name for name in state if name.endswith(("fc2.weight", "mlp.3.weight"))]:
        state[name] = state[name][:, :32]
    with refuses(ValueError, "first layer gives 64 numbers, its second takes 32", "SwiGLU"):
        READERS[layout](state, num_heads=4)


# ---- positions without CLS ----


@pytest.mark.parametrize("changes", [{}, {"image_size": (8, 12)}, {"image_size": 4}, {"layer_scale": 0.1}], ids=str)
def test_positions_without_cls_get_a_row_of_zeros(tiny, changes):
    model = randomised(ViTModel(tiny.replace(**changes)))
    with torch.no_grad():
        model.embeddings.position_embedding[:, 0] = 0
    state = to_layout(model, "timm")
    state["pos_embed"] = state["pos_embed"][:, 1:].clone()
    for back in (from_timm(state, num_heads=4, image_size=model.config.image_size), from_timm(state, model.config)):
        assert same_weights(back, model) and back.config.image_size == model.config.image_size
    assert state["pos_embed"].shape[1] == model.config.num_patches  # what came is left as it was


@pytest.mark.parametrize("image_size", [16, (8, 12), (4, 12)])
def test_positions_that_fit_neither_way_are_refused(refuses, model, image_size):
    state = to_layout(model, "timm")
    state["pos_embed"] = state["pos_embed"][:, :1].repeat(1, 9, 1)
    with refuses(ValueError, "position_embedding", "[1, 9, 16]"):
        from_timm(state, num_heads=4, image_size=image_size)


@pytest.mark.parametrize("layout", ["torchvision", "huggingface"])
def test_only_timm_has_positions_without_cls(refuses, tiny, layout):
    state = to_layout(ViTModel(tiny), layout)
    name = key_table(layout, 1)["embeddings.position_embedding"][0]
    state[name] = state[name][:, 1:]
    with refuses(ValueError, "position_embedding", "[1, 4, 16]", "[1, 5, 16]"):
        READERS[layout](state, num_heads=4, image_size=8)


# ---- what is known ----


def test_the_table_in_the_readme_is_that_of_the_function():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [" | ".join(row.values()) for row in known_architectures()]
    assert "".join(f"| {line} |\n" for line in lines) in text


def test_known_architectures_is_a_table():
    rows = known_architectures()
    assert len(rows) > 20 and all(list(row) == ["models", "library", "loader", "differs"] for row in rows)
    assert all(isinstance(field, str) and field and "|" not in field for row in rows for field in row.values())
    names = [(row["library"], name, row["loader"]) for row in rows for name in row["models"].split(", ")]
    assert len(names) == len(set(names))
    assert not {name for _, name, loader in names if loader == "refused"} & {
        name for _, name, loader in names if loader != "refused"}
    for loader in {row["loader"].split("(")[0] for row in rows} - {"refused"}:
        assert callable(getattr(pretrained, loader))
    rows[0].clear()
    assert known_architectures()[0]["models"]


@pytest.mark.parametrize(("name", "differs"), [
    ("reg_token", "it has register tokens"), ("dist_token", "it has a distillation token"),
    ("fc_norm.weight", "it has a norm after the pooling"), ("norm_pre.bias", "it has a norm before the blocks"),
    ("blocks.1.attn.q_norm.weight", "it has norms on queries and keys"), ("rope.freqs", "it has rotary positions"),
    ("blocks.0.gamma_1", "positions may be rotary"), ("attn_pool.q.weight", "it has attention pooling"),
    ("blocks.0.mlp.w12.weight", "it has a gated feed-forward"),
])  # fmt: skip
@pytest.mark.parametrize("head", [True, False])
def test_a_name_says_what_differs(refuses, model, name, differs, head):
    state = to_layout(model, "timm") | {name: torch.zeros(3)}
    with refuses(ValueError, "no plain ViT in timm's layout", differs, name):
        from_timm(state, num_heads=4, head=head)


@pytest.mark.parametrize("extra", ["neck.weight", "head_dist.weight", "aux_head.bias"])
def test_head_false_is_no_way_out_where_it_would_not_help(model, extra):
    state = to_layout(model, "timm") | {extra: torch.zeros(3), "head.0.weight": torch.zeros(3)}
    with pytest.raises(ValueError, match=extra) as caught:
        from_timm(state, num_heads=4)
    assert "head=False" not in str(caught.value)


# ---- with a config ----


def test_a_config_is_kept(tiny, model):
    config = tiny.replace(drop_rate=0.2, norm_eps=1e-4)
    assert alike(from_timm(to_layout(model, "timm"), config).config, config)


@pytest.mark.parametrize("layer_scale", [1e-5, 0.3, 0.0])
def test_a_configs_layer_scale_is_kept(tiny, layer_scale):
    model = randomised(ViTModel(tiny.replace(layer_scale=layer_scale)))
    ours = from_timm(to_layout(model, "timm"), model.config)
    assert alike(ours.config, model.config) and same_weights(ours, model)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"num_layers": 3}, ["num_layers 2 (here 3)"]),
        ({"emb_dim": 32, "num_heads": 8}, ["emb_dim 16 (here 32)"]),
        ({"mlp_ratio": 2.0}, ["mlp_ratio 4.0 (here 2.0)"]),
        ({"qkv_bias": False}, ["qkv_bias True (here False)"]),
        ({"layer_scale": 0.1}, ["layer_scale None (here 0.1)"]),
        ({"patch_size": 2, "image_size": 4}, ["patch_size (4, 4) (here (2, 2))"]),
        ({"num_channels": 1}, ["num_channels 3 (here 1)"]),
        ({"num_classes": 5}, ["3 classes", "config 5", "replace_head(model, 5)"]),
        ({"num_classes": 0}, ["3 classes", "config 0", "replace_head(model, 0)"]),
        ({"image_size": 16}, ["position_embedding", "[1, 5, 16]", "[1, 17, 16]"]),
    ],
    ids=str,
)
def test_a_config_is_checked(refuses, tiny, model, changes, parts):
    with refuses(ValueError, *parts):
        from_timm(to_layout(model, "timm"), tiny.replace(**changes))


@pytest.mark.parametrize("changes", [{"num_heads": 2}, {"norm_eps": 1e-3}], ids=str)
def test_a_config_is_checked_against_what_only_a_model_knows(refuses, tiny, changes):
    with refuses(ValueError, *changes, "here", "torchvision"):
        from_torchvision(torchvision_vit(), tiny.replace(**changes))


def test_without_the_head(tiny, model, images):
    ours = from_torchvision(torchvision_vit(), head=False)
    assert alike(ours.config, tiny.replace(num_classes=0)) and ours(images).shape == (5, 16)
    for layout in OTHERS:
        ours = READERS[layout](to_layout(model, layout), tiny.replace(num_classes=0), head=False)
        torch.testing.assert_close(ours(images), model.forward_features(images)[:, 0])
    assert from_google_npz(google_arrays(model), head=False).config.num_classes == 0


def test_torchvisions_representation_layer_goes_with_the_head(refuses):
    theirs = torchvision_vit(representation_size=20)
    with refuses(ValueError, "heads.pre_logits.weight", "head=False"):
        from_torchvision(theirs)
    assert from_torchvision(theirs, head=False).config.num_classes == 0


# ---- copies, dtype, mode ----


@pytest.mark.parametrize("layout", OTHERS)
def test_weights_are_copied(model, layout):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = to_layout(model, layout)
    ours = READERS[layout](state, num_heads=4)
    assert not share_memory(ours, model)
    randomised(ours)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_models_are_copied_both_ways():
    theirs = torchvision_vit()
    ours = from_torchvision(theirs)
    assert not share_memory(ours, theirs)
    assert not share_memory(to_torchvision(ours), ours)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_dtype_is_kept(dtype):
    theirs = torchvision_vit().to(dtype)
    ours = from_torchvision(theirs)
    assert {tensor.dtype for tensor in ours.state_dict().values()} == {dtype}
    assert same_weights(to_torchvision(ours), theirs)


def test_models_come_in_eval_mode(tiny, model, tmp_path):
    save_safetensors(tmp_path / "vit.safetensors", model.train())
    models = [from_torchvision(torchvision_vit().train()), to_torchvision(model), from_google_npz(google_arrays(model)),
              build(ViTModel(tiny).train(), model.state_dict()), load_safetensors(tmp_path / "vit.safetensors")]
    models += [READERS[layout](to_layout(model, layout), num_heads=4) for layout in OTHERS]
    assert not any(module.training for one in models for module in one.modules())
    assert model.training  # and what went in stays as it was
    assert all(parameter.requires_grad for one in models for parameter in one.parameters())


# ---- sources ----


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ""])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_files_of_torch_save(tmp_path, model, suffix, wrapper):
    state = to_layout(model, "timm")
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / f"vit{suffix}")
    for path in (tmp_path / f"vit{suffix}", str(tmp_path / f"vit{suffix}")):
        assert same_weights(from_timm(path, num_heads=4), model)


@pytest.mark.parametrize("layout", OTHERS)
def test_files_of_safetensors(tmp_path, model, layout):
    state = {name: tensor.contiguous() for name, tensor in to_layout(model, layout).items()}
    save_file(state, tmp_path / "a.safetensors")
    assert same_weights(READERS[layout](tmp_path / "a.safetensors", num_heads=4), model)


def test_weights_from_a_gpu_are_read_to_the_cpu(tmp_path, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")  # where the file says they were
        torch.save(to_layout(model, "timm"), tmp_path / "vit.pth")
    ours = from_timm(tmp_path / "vit.pth", num_heads=4)
    assert {tensor.device.type for tensor in ours.state_dict().values()} == {"cpu"} and same_weights(ours, model)


def test_read_weights_leaves_the_source_alone(model):
    state = model.state_dict()
    weights = read_weights(state)
    weights.clear()
    assert state
    assert read_weights(model).keys() == state.keys()


@pytest.mark.parametrize("read", [from_torchvision, from_timm, from_huggingface, from_google_npz])
@pytest.mark.parametrize("bad", [3, None, [1, 2], torch.zeros(3), b"vit.pth"], ids=lambda bad: type(bad).__name__)
def test_no_source_at_all(refuses, read, bad):
    with refuses(TypeError, f"source is a {type(bad).__name__}", "expected"):
        read(bad)


@pytest.mark.parametrize("bad", [{"a": 1}, {"model": {"a": "b"}}, {"a": {"b": torch.zeros(1)}}, {"a": [1.0]}], ids=str)
def test_no_state_dict(refuses, tmp_path, bad):
    torch.save(bad, tmp_path / "vit.pth")
    for source in (bad, tmp_path / "vit.pth"):
        with refuses(ValueError, "no state dict", "'a' is a", "expected names"):
            from_timm(source)


@pytest.mark.parametrize("bad", [{1: torch.zeros(1)}, {}, {("a", "b"): torch.zeros(1)}], ids=str)
def test_state_dicts_without_names(refuses, bad):
    with refuses(ValueError):
        from_timm(bad)


# ---- files that are not what they should be ----


@pytest.fixture
def files(tmp_path, model) -> dict[str, Path]:
    """One good file of each kind, by its suffix."""
    files = {suffix: tmp_path / f"vit{suffix}" for suffix in (".safetensors", ".pth", ".npz")}
    state = {name: tensor.contiguous() for name, tensor in to_layout(model, "timm").items()}
    save_file(state, files[".safetensors"])
    torch.save(state, files[".pth"])
    np.savez(files[".npz"], **google_arrays(model))
    return files


def read_any(path: Path) -> ViTModel:
    return from_google_npz(path) if path.suffix == ".npz" else from_timm(path, num_heads=4)


DAMAGE = {
    "half": lambda data: data[: len(data) // 2],
    "the first hundred bytes": lambda data: data[:100],
    "all but ten bytes": lambda data: data[:-10],
    "empty": lambda data: b"",
    "text": lambda data: b"<html>404: not found</html>\n" * 40,
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_refused(refuses, files, suffix, damage):
    path = files[suffix]
    assert read_any(path).config.num_classes == 3
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    kind = "torch.save" if suffix == ".pth" else suffix
    with refuses(ValueError, str(path), kind, "cut short", "fetch it again"):
        read_any(path)
    if suffix == ".safetensors":
        with refuses(ValueError, str(path), "cut short"):
            load_safetensors(path)


@pytest.mark.parametrize(("true", "claimed"), list(itertools.permutations([".safetensors", ".pth", ".npz"], 2)))
def test_files_with_a_wrong_suffix_are_refused(refuses, files, true, claimed):
    files[true].replace(files[claimed])
    with refuses(ValueError):
        read_any(files[claimed])


@pytest.mark.parametrize("name", ["none.safetensors", "none.pth", "none.npz", "none"])
def test_missing_files(refuses, tmp_path, name):
    for read in (read_any, load_safetensors):
        with refuses(FileNotFoundError, str(tmp_path / name), "check the path"):
            read(tmp_path / name)


@pytest.mark.parametrize("read", [from_torchvision, from_timm, from_google_npz, load_safetensors])
def test_a_folder_is_no_file(refuses, tmp_path, read):
    with refuses(FileNotFoundError, str(tmp_path)):
        read(tmp_path)


def test_a_folder_of_transformers_needs_its_weights(refuses, tmp_path):
    with refuses(FileNotFoundError, str(tmp_path / "model.safetensors")):
        from_huggingface(tmp_path)


@pytest.mark.parametrize("bad", [b"", b'{"num_attention_heads": 4', b"[]", b"\xff\xfe\x00", b"3"], ids=str)
def test_a_folder_of_transformers_with_a_damaged_config(refuses, tmp_path, model, bad):
    state = {name: tensor.contiguous() for name, tensor in to_layout(model, "huggingface").items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(b'{"num_attention_heads": 4, "layer_norm_eps": 1e-06}')
    assert alike(from_huggingface(tmp_path).config, model.config)
    (tmp_path / "config.json").write_bytes(bad)
    with refuses(ValueError, str(tmp_path / "config.json")):
        from_huggingface(tmp_path)


class Dangerous:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["vit.pth", "vit.bin", "vit.npz", "vit.safetensors"])
def test_a_file_that_would_run_code_does_not(refuses, tmp_path, name):
    trap = tmp_path / "it has run"
    for save in (torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj, protocol=2))):
        save({"cls_token": Dangerous(trap)}, tmp_path / name)
        with refuses(ValueError, str(tmp_path / name)) if name != "vit.npz" else pytest.raises(ValueError):
            read_any(tmp_path / name)
        assert not trap.exists()
    np.savez(tmp_path / "objects.npz", cls=np.array([Dangerous(trap)], dtype=object))
    with refuses(ValueError, "objects.npz"):
        from_google_npz(tmp_path / "objects.npz")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Dangerous(trap)))  # it is a real trap
    assert trap.exists()


def test_an_npz_of_strings(refuses, tmp_path):
    np.savez(tmp_path / "words.npz", a=np.array(["cat", "dog"]))
    with refuses(ValueError, "no state dict", "'a' is a ndarray", "an array of numbers"):
        from_google_npz(tmp_path / "words.npz")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4, 5, 6)])
def test_an_npz_of_other_shapes(refuses, model, shape):
    for name in ("head/kernel", "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel", "x/kernel"):
        with refuses(ValueError):
            from_google_npz(google_arrays(model) | {name: np.zeros(shape)})


def test_an_npz_read_by_another_is_told_apart(refuses, files):
    with refuses(ValueError, "no plain ViT in timm's layout", "these look like google's names"):
        from_timm(files[".npz"])


# ---- weights that are not a ViT's ----


@pytest.mark.parametrize("read", [from_torchvision, from_timm, from_huggingface])
def test_another_architecture(refuses, read):
    with refuses(ValueError, "no plain ViT in", read.__name__.removeprefix("from_"), "(122)", "conv1.weight",
                 ", ...", "another architecture"):
        read(torchvision.models.resnet18())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("read", [*READERS.values(), from_google_npz], ids=lambda read: read.__name__)
def test_the_right_layout_is_named(refuses, model, layout, read):
    state = google_arrays(model) if layout == "google" else to_layout(model, layout)
    wanted = "google" if read is from_google_npz else read.__name__.removeprefix("from_")
    if wanted != layout:
        if read is from_google_npz:
            state = {name: tensor.numpy() for name, tensor in state.items()}
        elif layout == "google":
            state = {name: flax_to_torch(name, torch.from_numpy(array)) for name, array in state.items()}
        with refuses(ValueError, f"no plain ViT in {wanted}'s layout", f"these look like {layout}'s names", ", ..."):
            read(state)


def test_missing_keys_are_named(refuses, model):
    state = to_layout(model, "timm")
    gone = [name for name in state if name.startswith("blocks.1.")]
    few = {name: state[name] for name in state if name not in gone[1:]}
    with refuses(ValueError, f"missing keys ({len(gone) - 2})", "blocks.1.norm1.bias", ", ..."):
        from_timm(few, num_heads=4)  # the bias of q, k and v may be missing, and is not counted
    for name in ("cls_token", "pos_embed", "norm.weight", "patch_embed.proj.bias", "blocks.1.mlp.fc2.bias"):
        with refuses(ValueError, f"missing keys (1): {name}"):
            from_timm({key: state[key] for key in state if key != name}, num_heads=4)


def test_a_missing_block_is_missed(refuses, model):
    state = {name.replace("blocks.1.", "blocks.2."): tensor for name, tensor in to_layout(model, "timm").items()}
    with refuses(ValueError, "missing keys", "blocks.1.norm1.weight"):
        from_timm(state, num_heads=4)


@pytest.mark.parametrize("layout", OTHERS)
@pytest.mark.parametrize("block", [0, 1])
def test_a_block_without_its_bias(refuses, model, layout, block):
    """Without any q, k and v bias it is a plain ViT; without one block's, or one of the three, it is none."""
    state = to_layout(model, layout)
    names = key_table(layout, 2)[f"encoder.blocks.{block}.attention.qkv.bias"]
    with refuses(ValueError, "attention.qkv.bias"):
        READERS[layout]({key: state[key] for key in state if key not in names}, num_heads=4)
    if len(names) == 3:
        with refuses(ValueError, f"missing keys (1): {names[1]}"):
            READERS[layout]({key: state[key] for key in state if key != names[1]}, num_heads=4)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_half_a_classifier(refuses, model, part):
    state = to_layout(model, "timm")
    del state[f"head.{part}"]
    with refuses(ValueError, "classifier", "head=False"):
        from_timm(state, num_heads=4)
    assert from_timm(state, num_heads=4, head=False).config.num_classes == 0


def test_extra_keys_are_named(refuses, model):
    state = to_layout(model, "timm") | {f"projector.{i}": torch.zeros(1) for i in range(7)}
    with refuses(ValueError, "without a place in our model (7)", "projector.0, projector.1", "projector.4, ..."):
        from_timm(state, num_heads=4)
    with pytest.raises(ValueError, match=r"projector\.4, \.\.\.$"):  # no word of head=False, which would not help
        from_timm(state, num_heads=4)
    state = to_layout(model, "timm") | {"head.norm.weight": torch.zeros(1)}
    with refuses(ValueError, "(1): head.norm.weight", "head=False leaves the classifier out"):
        from_timm(state, num_heads=4)
    assert from_timm(state, num_heads=4, head=False).config.num_classes == 0
    with refuses(ValueError, "missing keys (1): norm.bias", "without a place in our model (1): fc_norm.bias"):
        from_timm({name.replace("norm.bias", "fc_norm.bias") if name == "norm.bias" else name: tensor
                   for name, tensor in to_layout(model, "timm").items()}, num_heads=4)


@pytest.mark.parametrize("name", ["pooler.dense.weight", "embeddings.mask_token", "mask_token"])
def test_what_only_training_needs_is_left_out(model, name):
    state = to_layout(model, "huggingface") | {name: torch.zeros(1)}
    assert same_weights(from_huggingface(state, num_heads=4), model)


@pytest.mark.parametrize(
    ("name", "shape", "parts"),
    [
        ("norm.weight", (17,), ["encoder.norm.weight", "[17]", "[16]"]),
        ("blocks.1.attn.qkv.weight", (16, 48), ["blocks.1.attention.qkv.weight", "[16, 48]", "[48, 16]"]),
        ("cls_token", (16,), ["cls_token", "[16]", "[1, 1, 16]"]),
        ("head.bias", (4,), ["classifier.bias", "[4]", "[3]", "head=False"]),
        ("blocks.0.mlp.fc1.weight", (32, 16), ["feed_forward.layers.0.bias", "[64]", "[32]"]),
        ("patch_embed.proj.weight", (16, 48), ["patch_embedding.projection.weight", "(16, 48)"]),
        ("patch_embed.proj.weight", (16, 3, 4, 4, 4), ["patch_embedding.projection.weight", "(16, 3, 4, 4, 4)"]),
        ("pos_embed", (5, 16), ["position_embedding", "(5, 16)"]),
        ("pos_embed", (), ["position_embedding", "()"]),
        ("head.weight", (), ["classifier.weight", "()"]),
        ("blocks.0.mlp.fc1.weight", (), ["feed_forward.layers.0.weight", "()"]),
    ],
)
def test_another_shape(refuses, model, name, shape, parts):
    with refuses(ValueError, *parts):
        from_timm(to_layout(model, "timm") | {name: torch.zeros(shape)}, num_heads=4)


def test_whole_numbers_are_no_weights(refuses, model):
    state = {name: tensor.to(torch.int8) for name, tensor in to_layout(model, "timm").items()}
    with refuses(ValueError, "int8"):
        from_timm(state, num_heads=4)


# ---- ours in theirs ----


def test_googles_layout_is_only_read(refuses, model):
    with refuses(ValueError, "google", "torchvision, timm or huggingface"):
        to_layout(model, "google")
    with refuses(ValueError, "'jax'", "expected one of"):
        to_layout(model, "jax")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"image_size": (8, 16)}, "image_size (8, 16)"),
        ({"patch_size": (4, 2)}, "patch_size (4, 2)"),
        ({"num_channels": 1}, "num_channels 1"),
        ({"qkv_bias": False}, "qkv_bias False"),
        ({"layer_scale": 0.1}, "layer_scale 0.1"),
    ],
)
def test_torchvision_cannot_have_everything(refuses, tiny, changes, part):
    with refuses(ValueError, "can't have", part, "to_timm"):
        to_torchvision(ViTModel(tiny.replace(**changes)))
    if "layer_scale" in changes:
        with refuses(ValueError, "torchvision has no place for encoder.blocks.0.scale1.scale"):
            to_layout(ViTModel(tiny.replace(**changes)), "torchvision")


def test_torchvisions_dropout_is_ours(tiny):
    rates = {module.p for module in to_torchvision(ViTModel(tiny.replace(drop_rate=0.3))).modules()
             if isinstance(module, nn.Dropout)}
    assert rates == {0.3}


# ---- our files ----


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_classes": 0},
        {"layer_scale": 0.3, "qkv_bias": False},
        {"image_size": (8, 12), "patch_size": (4, 2), "num_channels": 1},
        {"drop_rate": 0.1, "norm_eps": 1e-5, "mlp_ratio": 2.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_our_files_there_and_back(tmp_path, tiny, changes, dtype):
    model = randomised(ViTModel(tiny.replace(**changes)).to(dtype))
    save_safetensors(tmp_path / "new" / "folder" / "vit.safetensors", model)
    back = load_safetensors(str(tmp_path / "new" / "folder" / "vit.safetensors"), model.config)
    assert back.config == model.config and same_weights(back, model)
    assert {tensor.dtype for tensor in back.state_dict().values()} == {dtype}
    assert {tensor.device.type for tensor in back.state_dict().values()} == {"cpu"}


def test_the_config_is_in_the_header(tmp_path, model):
    save_safetensors(str(tmp_path / "vit.safetensors"), model)
    with safe_open(tmp_path / "vit.safetensors", "pt") as file:
        header = file.metadata()
    assert header.keys() == {"format", "config", "classes"}
    assert header["format"] == "pt"  # transformers asks for it
    assert ViTConfig(**json.loads(header["config"])) == model.config
    weights = load_file(tmp_path / "vit.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_that_do_not_lie_in_a_row_are_saved(tmp_path, model):
    model.classifier.weight.data = torch.randn(16, 3).T
    save_safetensors(tmp_path / "vit.safetensors", model)
    assert same_weights(load_safetensors(tmp_path / "vit.safetensors"), model)


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["writing", "replacing"])
def test_a_file_is_whole_or_the_old_one(tmp_path, model, monkeypatch, kind, where):
    path = tmp_path / "vit.safetensors"
    save_safetensors(path, model)
    before = path.read_bytes()

    write = Path.write_bytes

    def half_written(file, data):
        write(file, data[:100])
        raise kind("no space left on device")

    def fail(*args):
        raise kind("not permitted")

    monkeypatch.setattr(*((Path, "write_bytes", half_written) if where == "writing" else (os, "replace", fail)))
    with pytest.raises(kind):
        save_safetensors(path, randomised(model))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]  # nothing unfinished


def test_saving_again_replaces(tmp_path, model):
    path = tmp_path / "vit.safetensors"
    save_safetensors(path, model)
    save_safetensors(path, randomised(model))
    assert same_weights(load_safetensors(path), model)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_another_config(refuses, tmp_path, tiny, model):
    save_safetensors(tmp_path / "vit.safetensors", model)
    with refuses(ValueError, "vit.safetensors has another config", "num_heads 4 (here 2)", "drop_rate 0.0 (here 0.5)"):
        load_safetensors(tmp_path / "vit.safetensors", tiny.replace(num_heads=2, drop_rate=0.5))


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_of_someone_else(refuses, tmp_path, model, metadata):
    save_file(model.state_dict(), tmp_path / "vit.safetensors", metadata=metadata)
    with refuses(ValueError, "vit.safetensors has no config of ours", "from_timm", "from_huggingface"):
        load_safetensors(tmp_path / "vit.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: "{",
        lambda fields: "",
        lambda fields: "null",
        lambda fields: "[1, 2]",
        lambda fields: "{}",
        lambda fields: json.dumps(fields | {"depth": 3}),
        lambda fields: json.dumps(fields | {"emb_dim": "16"}),
        lambda fields: json.dumps(fields | {"num_heads": 3}),
        lambda fields: json.dumps(fields | {"num_layers": 3}),
        lambda fields: json.dumps(fields | {"mlp_ratio": 2}),
        lambda fields: json.dumps(fields | {"num_classes": 4}),
    ],
    ids=range(11),
)
def test_a_file_with_a_damaged_config(refuses, tmp_path, model, change):
    path = tmp_path / "vit.safetensors"
    save_file(model.state_dict(), path, metadata={"config": json.dumps(model.config.to_dict())})
    assert load_safetensors(path).config == model.config
    save_file(model.state_dict(), path, metadata={"config": change(model.config.to_dict())})
    with refuses(ValueError, str(path), "no ViTModel", "copy it again"):
        load_safetensors(path)


@pytest.mark.parametrize("change", [{"embeddings.cls_token": None}, {"encoder.norm.bias": None},
                                    {"extra": torch.zeros(1)}, {"encoder.norm.bias": torch.zeros(3)}], ids=str)
def test_a_file_with_other_weights(refuses, tmp_path, model, change):
    weights = {name: tensor for name, tensor in (model.state_dict() | change).items() if tensor is not None}
    save_file(weights, tmp_path / "vit.safetensors", metadata={"config": json.dumps(model.config.to_dict())})
    with refuses(ValueError, "vit.safetensors", "no ViTModel", *change):
        load_safetensors(tmp_path / "vit.safetensors")


def test_the_names_that_torchvision_published(tmp_path):
    """Its files are older than the names in its models: mlp.linear_1 is mlp.0 now, mlp.linear_2 mlp.3."""
    theirs = torchvision_vit()
    older = {name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): tensor
             for name, tensor in theirs.state_dict().items()}
    assert older.keys() != theirs.state_dict().keys()
    torch.save(older, tmp_path / "vit.pth")
    known = {"num_heads": theirs.encoder.layers[0].num_heads, "norm_eps": theirs.encoder.ln.eps}
    assert same_weights(from_torchvision(tmp_path / "vit.pth", **known), from_torchvision(theirs))


# ---- another head ----


@pytest.mark.parametrize("num_classes", [1, 5, 0])
@pytest.mark.parametrize("mode", [True, False])
def test_replace_head(model, images, num_classes, mode):
    model.train(mode)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copy = replace_head(model, num_classes)
    assert copy.config == model.config.replace(num_classes=num_classes)
    assert all(module.training == mode for module in copy.modules())
    assert not share_memory(copy, model)
    for name, tensor in copy.state_dict().items():
        assert (tensor == 0).all() if name.startswith("classifier") else torch.equal(tensor, before[name]), name
    assert same_weights(model, build(ViTModel(model.config), before)) and model.training == mode
    if num_classes:
        assert torch.equal(copy(images), torch.zeros(5, num_classes))
    else:
        torch.testing.assert_close(copy.eval()(images), model.eval().forward_features(images)[:, 0])


def test_a_head_for_a_model_without_one(tiny):
    model = randomised(ViTModel(tiny.replace(num_classes=0)).double())
    copy = replace_head(model, 4)
    assert copy.classifier.weight.shape == (4, 16) and copy.classifier.weight.dtype == torch.float64
    assert (copy.classifier.weight == 0).all() and (copy.classifier.bias == 0).all()
    assert all(parameter.requires_grad for parameter in copy.parameters())


@pytest.mark.parametrize(("bad", "kind"), [(-1, ValueError), (2.5, TypeError), ("3", TypeError), (True, TypeError)])
def test_a_bad_number_of_classes(refuses, model, bad, kind):
    with refuses(kind, "num_classes", repr(bad)):
        replace_head(model, bad)


# ---- another size ----


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("mode", [True, False])
def test_the_same_size_is_the_same_model(model, images, antialias, mode):
    copy = resize_model(model.train(mode), 8, antialias)
    assert copy.config == model.config and same_weights(copy, model) and not share_memory(copy, model)
    assert all(module.training == mode for module in copy.modules())
    assert torch.equal(copy.eval()(images), model.eval()(images))


@pytest.mark.parametrize("size", [16, 4, (8, 12), (20, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_another_size(model, size, dtype):
    model = model.to(dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copy, name = resize_model(model, size), "embeddings.position_embedding"
    assert copy.config == model.config.replace(image_size=size)
    assert copy(torch.randn(2, 3, *copy.config.image_size, dtype=dtype)).shape == (2, 3)
    for key, tensor in copy.state_dict().items():
        assert tensor.dtype == dtype
        assert key == name or torch.equal(tensor, before[key])
    assert torch.equal(copy.state_dict()[name][:, 0], before[name][:, 0])  # CLS has no place to move
    assert same_weights(model, build(ViTModel(model.config), before)) and not share_memory(copy, model)


def test_positions_keep_their_order():
    """A ramp down the rows stays one, and one along the columns too: rows are not taken for columns."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 4), torch.linspace(0, 1, 6), indexing="ij")
    ramp = torch.stack([rows, columns], dim=-1).reshape(1, 24, 2)
    out = resize_position_embedding(torch.cat([torch.full((1, 1, 2), 9.0), ramp], dim=1), (4, 6), (8, 3))
    assert (out[:, 0] == 9).all()
    out = out[0, 1:].unflatten(0, (8, 3))
    torch.testing.assert_close(out[..., 0], out[:, :1, 0].expand(8, 3))  # the same along each row
    torch.testing.assert_close(out[..., 1], out[:1, :, 1].expand(8, 3))
    assert (out[:, :, 0].diff(dim=0) > 0).all() and (out[:, :, 1].diff(dim=1) > 0).all()


def test_antialias_counts():
    position_embedding = torch.randn(1, 37, 4)
    smooth, sharp = (resize_position_embedding(position_embedding, (6, 6), (3, 3), on) for on in (True, False))
    default = resize_position_embedding(position_embedding, (6, 6), (3, 3))
    assert torch.equal(default, smooth) and (smooth - sharp).abs().max() > 0.1
    assert smooth.std() < sharp.std()
    model = randomised(ViTModel(ViTConfig(image_size=24, patch_size=4, emb_dim=16, num_layers=1, num_heads=4,
                                          num_classes=3)))
    default, smooth, sharp = (resize_model(model, 12, *on) for on in ((), (True,), (False,)))
    assert same_weights(default, smooth) and not same_weights(smooth, sharp)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_positions_keep_their_dtype(dtype):
    position_embedding = torch.randn(1, 17, 4).to(dtype)
    out = resize_position_embedding(position_embedding, (4, 4), (6, 3))
    assert out.dtype == dtype and out.shape == (1, 19, 4)
    expected = resize_position_embedding(position_embedding.float(), (4, 4), (6, 3)).to(dtype)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_positions_of_the_same_grid_are_a_copy():
    position_embedding = torch.randn(1, 17, 4)
    out = resize_position_embedding(position_embedding, (4, 4), (4, 4))
    assert torch.equal(out, position_embedding) and out.data_ptr() != position_embedding.data_ptr()


@pytest.mark.parametrize("size", [10, (8, 9), 3])
def test_a_size_that_patches_do_not_tile(refuses, model, size):
    with refuses(ValueError, "not divisible by patch_size (4, 4)"):
        resize_model(model, size)


@pytest.mark.parametrize(
    ("shape", "grid", "new_grid", "parts"),
    [
        ((1, 16, 4), (4, 4), (2, 2), ["(1, 16, 4)", "expected (1, 17, d)", "grid_size (4, 4)", "CLS"]),
        ((1, 17, 4), (2, 4), (2, 2), ["(1, 17, 4)", "expected (1, 9, d)"]),
        ((17, 4), (4, 4), (2, 2), ["(17, 4)", "expected (1, 17, d)"]),
        ((2, 17, 4), (4, 4), (2, 2), ["(2, 17, 4)", "expected (1, 17, d)"]),
        ((1, 17, 4), (4, 4), (0, 2), ["new_grid_size", "(0, 2)"]),
        ((1, 17, 4), (-4, -4), (2, 2), ["grid_size", "(-4, -4)"]),
    ],
)
def test_positions_of_another_grid(refuses, shape, grid, new_grid, parts):
    with refuses(ValueError, *parts):
        resize_position_embedding(torch.zeros(shape), grid, new_grid)


# ---- as training scripts leave them ----


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "backbone.", "module.model."])
@pytest.mark.parametrize("layout", OTHERS)
def test_prefixes_of_wrappers_are_taken_off(tiny, layout, prefix):
    model = randomised(ViTModel(tiny))
    state = {prefix + name: tensor for name, tensor in to_layout(model, layout).items()}
    assert same_weights(READERS[layout](state, num_heads=4), model)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "teacher", "model_ema", "state_dict_ema"])
def test_wrappers_of_training_scripts(tiny, wrapper):
    model = randomised(ViTModel(tiny.replace(num_classes=0)))
    state = {"module.backbone." + name: tensor for name, tensor in to_layout(model, "timm").items()}
    state |= {"module.head.mlp.0.weight": torch.zeros(3, 3)} if wrapper == "teacher" else {}  # DINO's own
    assert same_weights(from_timm({wrapper: state, "epoch": 3}, num_heads=4), model)


@pytest.mark.parametrize("layout", OTHERS)
def test_weights_of_nan_are_refused(tiny, refuses, layout):
    state = to_layout(ViTModel(tiny), layout)
    name = list(state)[-1]
    state[name] = state[name] * float("nan")
    with refuses(ValueError, "holds NaN", "use others"):
        READERS[layout](state, num_heads=4)


# ---- what lies beside the weights ----


def save_as_transformers(folder: Path, model: ViTModel, shards: int, suffix: str) -> None:
    """A folder as `save_pretrained` leaves it: 8 heads for 16 dimensions, which no rule would guess."""
    state = {name: tensor.contiguous() for name, tensor in to_layout(model, "huggingface").items()}
    name, write = (("model.safetensors", save_file) if suffix == "safetensors" else ("pytorch_model.bin", torch.save))
    names, parts = list(state), {}
    for k in range(shards):
        file = name if shards == 1 else name.replace(".", f"-0000{k + 1}-of-0000{shards}.", 1)
        parts[file] = {key: state[key] for key in names[k::shards]}
        write(parts[file], folder / file)
    if shards > 1:
        index = {"weight_map": {key: file for file, part in parts.items() for key in part}}
        (folder / f"{name}.index.json").write_text(json.dumps(index))
    facts = {"num_attention_heads": 8, "layer_norm_eps": 1e-6, "id2label": {"0": "cat", "1": "dog", "2": "emu"}}
    (folder / "config.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 3])
def test_folders_of_transformers_in_every_form(tmp_path, tiny, images, suffix, shards):
    model = randomised(ViTModel(tiny.replace(num_heads=8)))
    save_as_transformers(tmp_path, model, shards, suffix)
    loaded = from_huggingface(tmp_path)
    assert same_weights(loaded, model) and loaded.config.num_heads == 8 and loaded.classes == ["cat", "dog", "emu"]
    assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_the_config_beside_a_file_is_read(tmp_path, tiny, suffix):
    save_as_transformers(tmp_path, ViTModel(tiny.replace(num_heads=8)), 1, suffix)
    (file,) = (path for path in tmp_path.iterdir() if path.suffix != ".json")
    assert from_huggingface(file).config.num_heads == 8


def test_a_shard_that_is_missing_is_named(tmp_path, tiny, refuses):
    save_as_transformers(tmp_path, ViTModel(tiny), 3, "safetensors")
    missing = tmp_path / "model-00002-of-00003.safetensors"
    missing.unlink()
    with refuses(FileNotFoundError, str(missing)):
        from_huggingface(tmp_path)


def test_names_that_are_no_names_are_left_out(tmp_path, tiny):
    save_as_transformers(tmp_path, ViTModel(tiny.replace(num_heads=8)), 1, "safetensors")
    labels = {str(k): f"LABEL_{k}" for k in range(3)}
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 8, "id2label": labels}))
    assert getattr(from_huggingface(tmp_path), "classes", None) is None


def test_a_backbones_own_classifier_is_kept(tiny):
    model = randomised(ViTModel(tiny))
    state = {name if name.startswith("head.") else f"backbone.{name}": tensor
             for name, tensor in to_layout(model, "timm").items()}
    assert same_weights(from_timm(state, num_heads=4), model)
