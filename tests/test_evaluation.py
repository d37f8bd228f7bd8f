"""Evaluation: the answers of a model in eval mode, which leaves the model as it was."""

import pytest
import torch
from conftest import same
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from vit_from_scratch.data import image_folder
from vit_from_scratch.evaluation import Evaluation, ShiftTTA, best_device, check_labels, eval_mode, evaluate, to_model
from vit_from_scratch.model import ViTModel


@pytest.fixture
def model(tiny) -> ViTModel:
    """With dropout, which evaluation has to switch off."""
    return ViTModel(tiny.replace(drop_rate=0.2))


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


# ---- eval mode ----


class Unexpected(Exception):
    """Of no kind that the package knows."""


@pytest.mark.parametrize("error", [None, Unexpected, KeyboardInterrupt])
@pytest.mark.parametrize("mode", [True, False])
def test_eval_mode_gives_back_each_modules_own_mode(model, mode, error):
    """A part that was frozen in eval mode stays so, and one that trains in a model that does not, too."""
    model.train(mode)
    model.encoder.blocks[0].train(not mode)
    before = modes(model)
    assert set(before) == {True, False}
    if error is None:
        with eval_mode(model):
            assert not any(modes(model)) and not torch.is_grad_enabled()
    else:
        with pytest.raises(error), eval_mode(model):
            raise error
    assert modes(model) == before
    assert torch.is_grad_enabled()


def test_in_eval_mode_nothing_is_kept_for_a_gradient(model):
    with eval_mode(model):
        assert not model(torch.randn(2, 3, 8, 8)).requires_grad
    assert model(torch.randn(2, 3, 8, 8)).requires_grad


# ---- evaluate ----


@pytest.mark.parametrize("mode", [True, False])
def test_evaluate_is_a_plain_computation_in_eval_mode(model, mode):
    images, labels = torch.randn(10, 3, 8, 8), torch.arange(10) % 3
    model.train(mode)
    result = evaluate(model, DataLoader(TensorDataset(images, labels), batch_size=4), device="cpu")  # 4, 4, 2
    assert modes(model) == [mode] * len(modes(model))
    with torch.no_grad():
        logits = model.eval()(images)
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-5)
    assert result.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    torch.testing.assert_close(result.probabilities, logits.softmax(1), rtol=0, atol=1e-5)
    assert torch.equal(result.predictions, logits.argmax(1))
    assert torch.equal(result.labels, labels)


def test_evaluate_restores_the_modes_after_an_error(model):
    wrong_size = DataLoader(TensorDataset(torch.randn(2, 3, 9, 9), torch.tensor([0, 1])))
    model.train().encoder.blocks[0].eval()
    before = modes(model)
    with pytest.raises(ValueError):
        evaluate(model, wrong_size, device="cpu")
    assert modes(model) == before and True in before and False in before


def test_evaluate_leaves_ordinary_tensors(tiny, loaders):
    """Of `inference_mode` they would not be: a model that it moved to a device can't be trained after."""
    result = evaluate(ViTModel(tiny), loaders[1], device="cpu")
    result.probabilities[0] = 0  # the caller's to change
    moved = ViTModel(tiny)
    with pytest.raises(ValueError):
        evaluate(moved, [], device="meta")  # any other device; there is one everywhere
    assert not any(parameter.is_inference() for parameter in moved.parameters())


def test_evaluate_changes_no_weight(model, loaders):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, loaders[1], device="cpu")
    assert same(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_loader_without_pictures_is_refused(model, loaders, refuses):
    short = DataLoader(loaders[0].dataset, batch_size=100, drop_last=True)
    assert len(short) == 0
    with refuses(ValueError, "no pictures"):
        evaluate(model, short, device="cpu")


@pytest.mark.parametrize(("wrong", "way_out"), [(3, "num_classes=4"), (-1, "leave out pictures of no class")])
def test_labels_out_of_range_are_refused(model, refuses, wrong, way_out):
    labels = torch.tensor([0, 1, 2, wrong])
    parts = (f"from {min(0, wrong)} to {max(2, wrong)}", "classes 0 to 2", way_out)
    with refuses(ValueError, *parts):
        check_labels(labels, torch.zeros(4, 3))
    with refuses(ValueError, *parts):
        evaluate(model, DataLoader(TensorDataset(torch.randn(4, 3, 8, 8), labels), batch_size=4), device="cpu")
    check_labels(torch.tensor([0, 1, 2, 1]), torch.zeros(4, 3))


@pytest.mark.parametrize(("cuda", "mps", "name"),
                         [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])  # fmt: skip
def test_the_best_device(monkeypatch, cuda, mps, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(name)


# ---- shift TTA ----


def test_shift_tta_is_the_mean_over_nine_windows(tiny):
    model = ViTModel(tiny).eval()
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        result = ShiftTTA(model)(images)
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        windows = [padded[..., y : y + 8, x : x + 8] for y in (0, 1, 2) for x in (0, 1, 2)]
        assert torch.equal(windows[4], images)
        expected = sum(model(window).softmax(dim=1) for window in windows) / 9
    assert torch.allclose(result.exp(), expected, atol=1e-6)
    assert torch.allclose(result.exp().sum(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(expected, model(images).softmax(dim=1), atol=1e-4)


def test_classes_in_another_order_are_refused(refuses, folder, tiny):
    model = ViTModel(tiny.replace(num_classes=2))
    model.classes = ["dog", "cat"]
    with refuses(ValueError, "cat, dog", "expected the model's, in its order, dog, cat", "classes=model.classes"):
        evaluate(model, DataLoader(image_folder(folder, 8)), "cpu")
    right = evaluate(model, DataLoader(image_folder(folder, 8, classes=model.classes)), "cpu")
    assert right.labels.tolist() == [1] * 12 + [0] * 12


# ---- precision, shifts and confusion ----


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_any_precision_is_evaluated(model, dtype):
    images, labels = torch.rand(10, 3, 8, 8) * 2 - 1, torch.arange(10) % 3
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    expected, found = evaluate(model, loader, "cpu"), evaluate(model.to(dtype), loader, "cpu")
    assert found.probabilities.dtype == torch.float32
    assert torch.allclose(found.probabilities, expected.probabilities, atol=0.03)
    assert torch.allclose(evaluate(ShiftTTA(model), loader, "cpu").probabilities.sum(1), torch.ones(10), atol=0.03)


def test_only_floats_are_brought_to_a_models_precision(model):
    assert to_model(model.bfloat16(), torch.zeros(1, 3, 8, 8)).dtype == torch.bfloat16
    with pytest.raises(TypeError, match="uint8"):  # bytes are no prepared picture
        evaluate(model, DataLoader(TensorDataset(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2).long())))


class Sure(nn.Module):
    """So sure of class 0 that the probability of any other is 0 in float32."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([200.0, 0.0, -300.0], dtype=dtype))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.weight.expand(len(images), -1)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_shifts_have_a_finite_loss_where_the_model_has_one(label):
    loader = DataLoader(TensorDataset(torch.zeros(2, 3, 4, 4), torch.full((2,), label)), batch_size=2)
    plain, shifted = evaluate(Sure(), loader, "cpu"), evaluate(ShiftTTA(Sure()), loader, "cpu")
    assert shifted.loss == pytest.approx(plain.loss, abs=1e-4) and plain.loss == pytest.approx([0, 200, 500][label])


def test_the_confusion_counts_every_picture_once():
    labels, predictions = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 0, 0, 2])
    result = Evaluation(0.0, 0.5, F.one_hot(predictions, 4).float(), labels)
    assert result.confusion.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0]]
