"""Maps, rollout, distances, positions, filters, occlusion, neighbours: against plain loops, and on bad input."""

import builtins
import json
import math

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import ROOT
from torch import nn
from torch.nn import functional as F

from vit_from_scratch import inspection
from vit_from_scratch.config import ViTConfig
from vit_from_scratch.inspection import (
    attention_distance,
    attention_maps,
    attention_rollout,
    explore_attention,
    occlusion,
    overlay,
    patch_distances,
    plot_attention,
)
from vit_from_scratch.model import ViTModel

WIDE = ViTConfig(image_size=(8, 12), patch_size=(4, 2), emb_dim=16, num_layers=3, num_heads=2, num_classes=3)


@pytest.fixture
def wide() -> ViTModel:
    """Two rows of six patches, neither of them square."""
    return ViTModel(WIDE).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 8, 12) * 2 - 1


@pytest.fixture(autouse=True)
def no_figures_left():
    """Plots don't open windows, and leave no figures to those after them."""
    plt.switch_backend("agg")
    yield
    plt.close("all")


def uniform_maps(b=1, layers=2, heads=2, n=6) -> torch.Tensor:
    return torch.full((b, layers, heads, n + 1, n + 1), 1 / (n + 1))


def test_asking_for_maps_changes_no_logit(wide, images):
    logits, maps = attention_maps(wide, images)
    assert torch.allclose(logits, wide(images), atol=1e-5)
    assert maps.shape == (2, 3, 2, 13, 13)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(()), atol=1e-5)
    assert not logits.requires_grad and not maps.requires_grad


def test_maps_are_those_that_the_blocks_use(wide, images):
    _, maps = attention_maps(wide, images)
    x = wide.embeddings(images)
    for layer, block in enumerate(wide.encoder.blocks):
        values = block.attention.qkv(block.norm1(x)).reshape(2, 13, 3, 2, 8)[:, :, 2].transpose(1, 2)
        context = (maps[:, layer] @ values).transpose(1, 2).reshape(2, 13, 16)
        x = x + block.attention.out_proj(context)
        x = x + block.feed_forward(block.norm2(x))
    assert torch.allclose(wide.classifier(wide.encoder.norm(x)[:, 0]), wide(images), atol=1e-5)


def test_maps_leave_no_hook_and_no_mode_behind(images):
    model = ViTModel(WIDE.replace(drop_rate=0.5)).train()
    first, second = attention_maps(model, images), attention_maps(model, images)
    assert torch.equal(first[0], second[0])  # in eval mode: no dropout
    assert model.training and all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_the_mode_comes_back_after_an_error(wide, refuses):
    wide.train()
    with refuses(ValueError, "(8, 8)", "(8, 12)"):
        attention_maps(wide, torch.rand(1, 3, 8, 8))
    with refuses(TypeError, "uint8"):
        attention_maps(wide, torch.zeros(1, 3, 8, 12, dtype=torch.uint8))
    assert wide.training


def test_maps_of_a_model_with_layer_scale_and_without_a_head(images):
    model = ViTModel(WIDE.replace(layer_scale=0.1, num_classes=0)).eval()
    features, maps = attention_maps(model, images)
    assert torch.allclose(features, model(images), atol=1e-5) and features.shape == (2, 16)
    assert maps.shape[1] == 3


PRECISIONS = [torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("given", [torch.float32, torch.float16])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_models_of_any_precision_give_float32(wide, images, dtype, given):
    exact, exact_maps = attention_maps(wide, images)
    exact_occlusion = occlusion(wide, images[0], 1, (4, 2))
    logits, maps = attention_maps(wide.to(dtype), images.to(given))
    rollout, distance = attention_rollout(maps), attention_distance(maps, (2, 6))
    hidden = occlusion(wide, images[0].to(given), 1, (4, 2))
    for found, expected in [(logits, exact), (maps, exact_maps), (rollout, attention_rollout(exact_maps)),
                            (distance, attention_distance(exact_maps, (2, 6))), (hidden, exact_occlusion)]:  # fmt: skip
        assert found.dtype == torch.float32 and found.device.type == "cpu"
        assert torch.allclose(found, expected, atol=0.05 if dtype == torch.bfloat16 else 0.01)
    assert hidden.abs().max() > 0 and next(wide.parameters()).dtype == dtype


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_maps_of_any_precision_are_multiplied_in_float32_or_better(dtype):
    maps = torch.rand(1, 4, 3, 65, 65).softmax(dim=-1)
    rollout = attention_rollout(maps.to(dtype))
    assert rollout.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(rollout.float(), attention_rollout(maps), atol=1e-3)
    assert torch.allclose(attention_distance(maps.to(dtype), (8, 8)), attention_distance(maps, (8, 8)), atol=0.02)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_models_of_any_precision_are_drawn(wide, images, dtype):
    pictures = images.to(dtype)
    plot_attention(wide.to(dtype), pictures[0], query=3).canvas.draw()
    assert bytes(explore_attention(wide, pictures).children[1].value).startswith(b"\x89PNG")
    overlay(plt.subplots()[1], pictures[0], torch.rand(2, 6, dtype=dtype, requires_grad=True))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_lessons_own_looks_at_weights_take_any_precision(wide, dtype):
    """`position_similarity` and `patch_filters` are not exported: from the notebook's cells."""
    cells = json.loads((ROOT / "notebooks" / "07_looking_inside.ipynb").read_text(encoding="utf-8"))["cells"]
    names = {"torch": torch, "F": F, "ViTModel": ViTModel}
    for cell in cells:
        if "".join(cell["source"]).startswith(("def position_similarity", "def patch_filters")):
            exec("".join(cell["source"]), names)
    exact = names["position_similarity"](wide), *names["patch_filters"](wide, 3)
    found = names["position_similarity"](wide.to(dtype)), *names["patch_filters"](wide, 3)
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32 and torch.allclose(one, other, atol=0.05)


class Shifted(nn.Module):
    """A whole number among the parameters, and before the others."""

    def __init__(self, model):
        super().__init__()
        self.steps, self.model = nn.Parameter(torch.tensor(3), requires_grad=False), model

    def forward(self, images):
        return self.model(images)


def test_occlusion_does_not_make_whole_numbers_of_pictures(wide, images):
    expected = occlusion(wide, images[0], 1, (4, 2))
    assert torch.equal(occlusion(Shifted(wide), images[0], 1, (4, 2)), expected)


def test_rollout_is_the_sum_over_all_paths():
    maps = torch.rand(1, 2, 3, 4, 4).softmax(dim=-1)
    a, b = (0.5 * torch.eye(4) + 0.5 * maps[0, layer].mean(dim=0) for layer in (0, 1))
    by_hand = torch.zeros(4, 4)
    for i in range(4):
        for j in range(4):
            for through in range(4):
                by_hand[i, j] += b[i, through] * a[through, j]
    rollout = attention_rollout(maps)
    assert torch.allclose(rollout[0], by_hand, atol=1e-6)
    assert torch.allclose(rollout.sum(dim=-1), torch.ones(1, 4))


def test_rollout_of_only_the_skip_is_the_identity():
    maps = torch.rand(2, 3, 2, 5, 5).softmax(dim=-1)
    assert torch.equal(attention_rollout(maps, residual=1.0), torch.eye(5).expand(2, 5, 5))
    assert torch.allclose(attention_rollout(maps, residual=0.0)[0],
                          maps[0, 2].mean(0) @ maps[0, 1].mean(0) @ maps[0, 0].mean(0))  # fmt: skip


@pytest.mark.parametrize("residual", [-0.1, 1.1, math.nan])
def test_rollout_refuses_a_share_out_of_range(residual, refuses):
    with refuses(ValueError, "residual", str(residual)):
        attention_rollout(uniform_maps(), residual)


@pytest.mark.parametrize("function", [attention_rollout, lambda maps: attention_distance(maps, (2, 3))])
def test_maps_of_another_shape_are_refused(function, refuses):
    with refuses(ValueError, "(2, 7, 7)", "attention_maps"):
        function(torch.rand(2, 7, 7))
    with refuses(ValueError, "(1, 2, 2, 7, 6)"):
        function(torch.rand(1, 2, 2, 7, 6))


def test_distances_are_those_of_a_ruler():
    distances = patch_distances((2, 3))  # 0 1 2 / 3 4 5
    assert distances[0, 2] == 2 and distances[0, 3] == 1 and distances[4, 4] == 0
    assert distances[0, 5] == pytest.approx(math.sqrt(5))
    assert torch.equal(distances, distances.T)


def test_attention_distance_of_three_that_are_known():
    n, grid = 6, (2, 3)
    everywhere = uniform_maps()
    assert attention_distance(everywhere, grid)[1, 1].item() == pytest.approx(patch_distances(grid).mean().item())
    itself = torch.eye(n + 1).expand(1, 1, 1, n + 1, n + 1)
    assert attention_distance(itself, grid).item() == 0
    next_one = torch.zeros(1, 1, 1, n + 1, n + 1)
    next_one[..., range(n + 1), [0, 2, 1, 2, 5, 4, 5]] = 0.4  # each patch at one beside it in its row ...
    next_one[..., 0] += 0.6  # ... and mostly at CLS, which does not count
    assert attention_distance(next_one, grid).item() == pytest.approx(1)


def test_attention_distance_refuses_another_grid(refuses):
    with refuses(ValueError, "(1, 2, 2, 7, 7)", "head, 5, 5)", "grid_size (2, 2)"):
        attention_distance(uniform_maps(), (2, 2))


class Brightness(nn.Module):
    """Sure of class 1 where one known pixel is dark."""

    def __init__(self, row: int, column: int):
        super().__init__()
        self.place = row, column
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, images):
        darkness = -images[:, :, self.place[0], self.place[1]].mean(dim=1) * self.sharpness
        return torch.stack([torch.zeros_like(darkness), darkness], dim=1)


def test_occlusion_finds_the_one_pixel_that_counts():
    image = torch.full((3, 8, 12), -1.0)
    result = occlusion(Brightness(5, 7), image, 1, (4, 2))
    assert result.shape == (2, 6)
    assert result[1, 3] > 0.9 and (result > 0.1).sum() == 1


def test_a_wider_window_hides_its_neighbours_too():
    image = torch.full((3, 8, 12), -1.0)
    found = occlusion(Brightness(5, 7), image, 1, (4, 2), window=3) > 0.1
    assert found.nonzero().tolist() == [[r, c] for r in (0, 1) for c in (2, 3, 4)]


def test_hiding_white_with_white_changes_nothing(wide):
    assert occlusion(wide, torch.ones(3, 8, 12), 0, (4, 2)).abs().max() < 1e-6
    assert occlusion(wide, torch.ones(3, 8, 12), 0, (4, 2), fill=-1.0).abs().max() > 1e-4


def test_occlusion_leaves_image_and_mode_alone(wide, images):
    wide.train()
    before = images.clone()
    occlusion(wide, images[0], 0, (4, 2))
    assert torch.equal(images, before) and wide.training


@pytest.mark.parametrize(
    ("changes", "kind", "parts"),
    [
        ({"image": torch.rand(2, 3, 8, 12)}, ValueError, ["(2, 3, 8, 12)", "one picture"]),
        ({"image": torch.zeros(3, 8, 12, dtype=torch.uint8)}, TypeError, ["uint8"]),
        ({"image": "cat.png"}, TypeError, ["str"]),
        ({"label": 3}, ValueError, ["label is 3", "0 to 2"]),
        ({"label": -1}, ValueError, ["label is -1"]),
        ({"window": 2}, ValueError, ["window is 2", "odd"]),
        ({"window": 0}, ValueError, ["window is 0"]),
        ({"patch_size": (3, 2)}, ValueError, ["(8, 12)", "(3, 2)"]),
    ],
)
def test_occlusion_refuses(wide, changes, kind, parts, refuses):
    arguments = {"image": torch.rand(3, 8, 12), "label": 0, "patch_size": (4, 2), "window": 1} | changes
    with refuses(kind, *parts):
        occlusion(wide, **arguments)


def test_the_grid_of_maps_has_a_panel_for_each(wide, images):
    assert len(plot_attention(wide, images[0]).axes) == 3 * 2
    assert "row 1, column 0" in plot_attention(wide, images[0], query=7).get_suptitle()


@pytest.mark.parametrize("query", [-1, 13])
def test_the_grid_refuses_a_token_that_is_not_there(wide, images, query, refuses):
    with refuses(ValueError, f"query is {query}", "1 to 12"):
        plot_attention(wide, images[0], query)


@pytest.mark.parametrize("weights", [torch.zeros(2, 6), torch.randn(2, 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_overlay_draws_any_map(weights, channels):
    _, ax = plt.subplots()
    overlay(ax, torch.rand(channels, 8, 12), weights, mark=(1, 5), title="a title")
    ax.figure.canvas.draw()
    frame = ax.patches[0].get_bbox()
    assert (frame.x0, frame.y0, frame.x1, frame.y1) == (9.5, 3.5, 11.5, 7.5)


def strengths(weights: torch.Tensor) -> torch.Tensor:
    """How strongly `overlay` draws each patch, from 0 to 1."""
    _, ax = plt.subplots()
    overlay(ax, torch.rand(3, 32, 48), weights)
    return torch.as_tensor(ax.images[1].get_alpha()) / 0.9


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sink", [0.9, 0.3])
@pytest.mark.parametrize("grid", [(16, 16), (8, 8), (2, 6)])
def test_a_sink_does_not_blank_the_rest(grid, sink, sign):
    weights = (1 - sink) * torch.rand(grid).flatten().softmax(dim=0).reshape(grid) * sign
    with_sink = weights.clone()
    with_sink[1, 2] = sink * sign
    drawn, others = strengths(with_sink), weights.abs() != weights[1, 2].abs()
    assert drawn[1, 2] == 1 and drawn[others].max() >= 0.25 and drawn[others].median() > 0.1
    order = with_sink.abs()[others].argsort()
    assert (drawn[others][order].diff() >= 0).all()


@pytest.mark.parametrize("weights", [torch.rand(8, 8), torch.arange(12.0).reshape(2, 6), torch.randn(16, 16),
                                     torch.full((2, 3), 0.1), torch.zeros(4, 4)])  # fmt: skip
def test_an_ordinary_map_is_drawn_up_to_its_largest_value(weights):
    largest = weights.abs().max()
    assert torch.allclose(strengths(weights), weights.abs() / (largest if largest else 1), atol=1e-6)


def test_noise_beside_the_one_patch_that_counts_stays_pale():
    weights = torch.randn(8, 8) * 1e-7
    weights[2, 3] = 0.7
    drawn = strengths(weights)
    assert drawn[2, 3] == 1 and drawn.flatten().sort()[0][-2] < 1e-2
    assert torch.equal(strengths(torch.eye(8)[:1] * 0.7), torch.eye(8, dtype=torch.float64)[:1].to(drawn.dtype))


@pytest.mark.parametrize("title", ["costs $5 or $_{", r"$\nothing$", "a $x^$ b", "$$"])
def test_dollars_in_titles_are_no_mathematics(wide, images, title):
    figure, ax = plt.subplots()
    overlay(ax, images[0], torch.rand(2, 6), title=title)
    figure.canvas.draw()
    assert ax.get_title() == title
    wide.classes = [title] * 3
    assert bytes(explore_attention(wide, images, [title, title]).children[1].value).startswith(b"\x89PNG")


@pytest.mark.parametrize(("side", "share"), [(32, "1.54%"), (64, "0.389%"), (192, "0.0434%")])
def test_shares_of_many_patches_are_not_called_0(side, share):
    config = WIDE.replace(image_size=side, patch_size=4, num_layers=1, num_heads=1)
    model = ViTModel(config)
    nn.init.zeros_(model.encoder.blocks[0].attention.qkv.weight)  # looks everywhere alike
    assert plot_attention(model, torch.rand(3, side, side)).axes[0].get_title().endswith(f"at most {share}")


@pytest.fixture
def titles(monkeypatch) -> list[tuple[str, str]]:
    """The titles of each drawing that `explore_attention` makes, and nothing is drawn."""
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(inspection, "_side_by_side", lambda image, weights, mark, *titles: seen.append(titles) or b"")
    return seen


@pytest.mark.parametrize(("classes", "name"), [
    (["cat", "dog", "cow"], "dog"), (None, "class 1"), (["$x$", "$", "_"], "$"), (["a", "b", "b"], "b (1)"),
])  # fmt: skip
def test_the_interactive_figure_says_the_answer(wide, images, titles, classes, name):
    nn.init.zeros_(wide.classifier.weight)
    wide.classifier.bias.data = torch.tensor([0.0, 2.0, 0.0])  # e**2 / (e**2 + 2) = 0.787
    if classes:
        wide.classes = classes
    explore_attention(wide, images, ["one", "two"])
    assert titles[-1][0] == f"one\n{name}, 78.7%"


def test_a_model_without_a_head_has_no_answer(images, titles):
    explore_attention(ViTModel(WIDE.replace(num_classes=0)), images)
    assert titles[-1][0] == "picture 0"


def test_controls_that_would_change_nothing_are_disabled(wide, images, titles):
    def disabled(explorer) -> list[str]:
        return [control.description for control in explorer.children[0].children if control.disabled]

    explorer = explore_attention(wide, images)
    looks = explorer.children[0].children[3]
    assert disabled(explorer) == ["row", "column"]
    looks.value = "patch"
    assert disabled(explorer) == []
    looks.value = "CLS"
    assert disabled(explorer) == ["row", "column"]
    one_row = ViTModel(WIDE.replace(patch_size=(8, 2), num_layers=1))
    explorer = explore_attention(one_row, images[:1])
    explorer.children[0].children[3].value = "patch"
    assert disabled(explorer) == ["picture", "layer", "row"]


@pytest.mark.slow
def test_the_interactive_figure_redraws(wide, images):
    explorer = explore_attention(wide, images, ["one", "two"])
    controls = {control.description: control for control in explorer.children[0].children}
    drawing, seen = explorer.children[1], []
    for name, value in [("picture", 1), ("layer", 0), ("head", 1), ("looks", "patch"), ("row", 0), ("column", 5),
                        ("head", "rollout")]:  # fmt: skip
        controls[name].value = value
        seen.append(bytes(drawing.value))
    assert len(set(seen)) == len(seen) and all(picture.startswith(b"\x89PNG") for picture in seen)
    assert plt.get_fignums() == []


def test_the_interactive_figure_refuses_too_few_titles(wide, images, refuses):
    with refuses(ValueError, "1", "2"):
        explore_attention(wide, images, ["one"])


def test_without_ipywidgets_it_says_what_to_do(wide, images, refuses, monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "ipywidgets":
            raise ImportError("No module named 'ipywidgets'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with refuses(ImportError, "pip install ipywidgets", "plot_attention"):
        explore_attention(wide, images)
