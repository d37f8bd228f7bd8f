"""`ViTConfig` is checked once, where it is made, and never changes."""

import dataclasses
import json
import math

import pytest

from vit_from_scratch.config import CONFIGS, ViTConfig


def test_a_config_never_changes(tiny):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.emb_dim = 32
    assert {tiny: "found"}[tiny.replace()] == "found"  # so it can be the key of a dict


def test_configs_are_equal_if_all_their_fields_are(tiny):
    assert tiny == ViTConfig(image_size=(8, 8), patch_size=[4, 4], emb_dim=16, num_layers=2, num_heads=4, num_classes=3)
    assert tiny != tiny.replace(num_classes=4)


@pytest.mark.parametrize("name", CONFIGS)
def test_there_and_back_through_a_dict(name):
    config = CONFIGS[name]
    assert ViTConfig(**config.to_dict()) == config
    assert ViTConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_replace_makes_a_checked_copy(tiny, refuses):
    changed = tiny.replace(num_classes=10, image_size=(8, 12))
    assert (changed.num_classes, changed.image_size, changed.num_patches) == (10, (8, 12), 6)
    assert (tiny.num_classes, tiny.image_size, tiny.num_patches) == (3, (8, 8), 4)
    with refuses(ValueError, "image_size (9, 9)", "patch_size (4, 4)"):
        tiny.replace(image_size=9)
    with pytest.raises(TypeError, match="depth"):
        tiny.replace(depth=3)


def test_fields_go_by_name_and_have_defaults(tiny):
    assert (tiny.num_channels, tiny.mlp_ratio, tiny.qkv_bias) == (3, 4.0, True)
    assert (tiny.drop_rate, tiny.norm_eps, tiny.layer_scale) == (0.0, 1e-6, None)
    with pytest.raises(TypeError):
        ViTConfig(8, 4, 3, 16, 2, 4)


BAD_VALUES = [  # field, value, kind of error, way out
    *[(field, value, ValueError, "at least 1")
      for field in ("num_channels", "emb_dim", "num_layers", "num_heads") for value in (0, -1)],
    *[(field, value, TypeError, "a whole number")
      for field in ("num_channels", "emb_dim", "num_layers", "num_heads", "num_classes")
      for value in (2.0, "2", None, True)],
    *[(field, value, ValueError, "at least 1 pixel")
      for field in ("image_size", "patch_size") for value in (0, -8, (8, 0))],
    *[(field, value, TypeError, "(height, width)")
      for field in ("image_size", "patch_size") for value in (8.0, "8", None, True, (8,), (4, 4, 4), (8, 8.0))],
    ("num_classes", -1, ValueError, "at least 0"),
    *[("mlp_ratio", value, ValueError, "above 0") for value in (0, -4.0, math.nan)],
    *[("norm_eps", value, ValueError, "above 0") for value in (0.0, -1e-6, math.nan)],
    *[("drop_rate", value, ValueError, "less than 1") for value in (1, 1.5, -0.1, math.nan)],
    *[(field, value, TypeError, "a number")
      for field in ("mlp_ratio", "norm_eps", "drop_rate") for value in ("0.5", None, True)],
    *[("layer_scale", value, TypeError, "None to leave it out") for value in ("0.1", True, [1e-5])],
    *[("qkv_bias", value, TypeError, "True or False") for value in (1, 0, None, "yes")],
    # not finite, or too small to build a model from
    *[(field, math.inf, ValueError, "expected") for field in ("mlp_ratio", "norm_eps", "layer_scale")],
    ("layer_scale", math.nan, ValueError, "expected"),
    ("mlp_ratio", 0.01, ValueError, "expected"),  # no hidden unit left
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "kind", "way_out"), BAD_VALUES)
def test_a_bad_value_is_named_with_the_way_out(tiny, refuses, field, value, kind, way_out):
    with refuses(kind, field, repr(value), way_out):
        tiny.replace(**{field: value})


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"image_size": 30}, ["image_size (30, 30)", "patch_size (4, 4)", "use 28 or 32"]),
        ({"image_size": (8, 30)}, ["image_size (8, 30)", "use 28 or 32 in place of 30"]),
        ({"patch_size": 16}, ["patch_size (16, 16)", "use 16"]),
        ({"num_heads": 5}, ["emb_dim 16", "num_heads 5", "use num_heads=4"]),
        ({"num_heads": 99}, ["emb_dim 16", "num_heads 99", "use num_heads=16"]),
        ({"emb_dim": 18}, ["emb_dim 18", "num_heads 4", "use num_heads=3"]),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(tiny, refuses, changes, parts):
    with refuses(ValueError, "not divisible", *parts):
        tiny.replace(**changes)
