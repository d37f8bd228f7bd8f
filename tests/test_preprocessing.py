"""How pictures are prepared: as in other libraries, kept with the weights, and never wrong without a word."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.models import VisionTransformer, ViT_B_16_Weights

from vit_from_scratch.captions import CaptionFolder, fit_picture
from vit_from_scratch.checkpoint import load_checkpoint, save_checkpoint
from vit_from_scratch.config import CONFIGS, ViTConfig
from vit_from_scratch.data import image_folder, normalize
from vit_from_scratch.evaluation import check_pixels, evaluate
from vit_from_scratch.model import ViTModel
from vit_from_scratch.predict_command import predict
from vit_from_scratch.preprocessing import DEFAULT_PREPROCESSING, Preprocessing
from vit_from_scratch.pretrained import (
    DINOV2,
    IMAGENET,
    from_google_npz,
    from_huggingface,
    from_timm,
    from_torchvision,
    huggingface_preprocessing,
    load_safetensors,
    save_safetensors,
    to_layout,
    to_torchvision,
)
from vit_from_scratch.training import TrainingConfig, train
from vit_from_scratch.transfer import replace_head, resize_model

OTHER = Preprocessing(mean=(0.4, 0.3, 0.2), std=(0.2, 0.3, 0.4), crop_mode="squash", crop_pct=0.8,
                      interpolation="bilinear")  # fmt: skip


def photo(width: int, height: int) -> Image.Image:
    """Soft waves of colour, in which neither an edge nor a pixel stands out."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 29)]
    return Image.fromarray(np.stack([127 + 120 * wave for wave in waves], axis=2).astype(np.uint8))


# ---- the numbers ----


def test_the_default_is_what_the_lessons_do():
    pixels = torch.arange(256, dtype=torch.uint8).expand(2, 3, 4, 256)
    assert torch.equal(DEFAULT_PREPROCESSING.normalize(pixels), normalize(pixels))
    ends = OTHER.normalize(torch.tensor([0, 255])[:, None, None, None].expand(2, 3, 1, 1)).flatten(1)
    torch.testing.assert_close(ends, torch.tensor([[-2.0, -1.0, -0.5], [3.0, 7 / 3, 2.0]]))


@pytest.mark.parametrize("sides", [(300, 400), (400, 300), (256, 256)], ids=str)
def test_imagenet_is_torchvisions_own(sides):
    """Torchvision rounds the crop to whole pixels, we don't: up to half a pixel of a picture that is resized later."""
    picture = photo(*sides)
    theirs = ViT_B_16_Weights.IMAGENET1K_V1.transforms()(picture)
    ours = IMAGENET(picture, 224)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().mean() < 0.05 < (DEFAULT_PREPROCESSING(picture, 224) - theirs).abs().mean()


@pytest.mark.parametrize("sides", [(300, 400), (400, 300)], ids=str)
@pytest.mark.parametrize("how", [
    {"crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "center"},
    {"crop_pct": 0.8, "interpolation": "bilinear", "crop_mode": "squash"},
    {"crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"},
], ids=str)  # fmt: skip
def test_the_fields_mean_what_they_do_in_timm(sides, how):
    timm_data = pytest.importorskip("timm.data")
    picture = photo(*sides)
    theirs = timm_data.create_transform((3, 96, 96), mean=OTHER.mean, std=OTHER.std, **how)(picture)
    ours = replace(OTHER, **how)(picture, 96)
    assert (ours - theirs).abs().mean() < 0.06, "timm rounds the crop to whole pixels, too"


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("sides", [(1, 90), (90, 1), (1, 1), (7, 5)], ids=str)
def test_every_shape_comes_out_in_the_right_one(mode, sides):
    out = Preprocessing(crop_mode=mode, crop_pct=0.9)(photo(*sides), (12, 20))
    assert (out.shape, out.dtype) == ((3, 12, 20), torch.float32) and out.abs().max() <= 1


def test_with_a_border_all_of_a_picture_is_there():
    black = Image.new("RGB", (40, 20))
    out = Preprocessing(crop_mode="border")(black, 20)
    assert torch.equal(out[:, 5:15], torch.full((3, 10, 20), -1.0))
    assert out[:, :5].min() == out[:, 15:].min() == 1
    assert torch.equal(fit_picture(black, 20), out)
    assert fit_picture(black, 20, OTHER)[0, 0, 0] == pytest.approx((1 - 0.4) / 0.2)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mean", (0.5, 0.5)), ("std", (0.5, 0.5, 0.0)), ("crop_mode", "middle"), ("crop_pct", 0.0), ("crop_pct", 87.5),
     ("interpolation", "cubic")],
)  # fmt: skip
def test_a_field_that_cannot_be(refuses, field, value):
    with refuses(ValueError, f"{field} is {value!r}", "expected"):
        Preprocessing(**{field: value})


# ---- it stays with the weights ----


@pytest.fixture
def model(tiny) -> ViTModel:
    model = ViTModel(tiny.replace(preprocessing=OTHER))
    model.classes = ["cat", "dog", "emu"]
    return model.eval()


def test_a_config_keeps_it_in_a_file(tmp_path, model):
    assert ViTConfig(**json.loads(json.dumps(model.config.to_dict()))) == model.config
    save_checkpoint(tmp_path / "vit.pt", model)
    save_safetensors(tmp_path / "vit.safetensors", model)
    for again in (load_checkpoint(tmp_path / "vit.pt"), load_safetensors(tmp_path / "vit.safetensors")):
        assert (again.config, again.classes) == (model.config, model.classes)


@pytest.mark.parametrize("change", [lambda model: replace_head(model, 7), lambda model: resize_model(model, 16)])
def test_a_changed_model_keeps_it_and_what_is_frozen(model, change):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("norm" in name)
    changed = change(model)
    assert changed.config.preprocessing == OTHER
    frozen = {name: parameter.requires_grad for name, parameter in changed.named_parameters()}
    assert all(frozen[name] == ("norm" in name) for name in frozen if not name.startswith("classifier"))
    assert frozen["classifier.weight"] == (changed.config.num_classes == 7)  # a new one is there to be trained
    assert getattr(changed, "classes", None) == (None if changed.config.num_classes == 7 else model.classes)


def test_other_libraries_say_what_they_want(tiny, model):
    timm = pytest.importorskip("timm")
    for name in ("vit_tiny_patch16_224", "deit_tiny_patch16_224", "vit_small_patch14_dinov2"):
        theirs = timm.create_model(name, pretrained=False, num_classes=0)
        told, found = timm.data.resolve_model_data_config(theirs), from_timm(theirs).config.preprocessing
        assert {field: told[field] for field in vars(found)} == vars(found)
    plain = model.config.replace(preprocessing=DEFAULT_PREPROCESSING)
    for layout, read in (("timm", from_timm), ("huggingface", from_huggingface)):
        weights = to_layout(ViTModel(plain), layout)
        assert read(weights, num_heads=4).config.preprocessing is None  # a file doesn't tell
        assert read(weights, num_heads=4, preprocessing=OTHER).config.preprocessing == OTHER
        assert read(weights, plain).config == plain.replace(preprocessing=None)  # the default says nothing
        assert read(weights, plain.replace(preprocessing=OTHER)).config.preprocessing == OTHER
        scaled = to_layout(ViTModel(plain.replace(layer_scale=0.1)), layout)
        assert read(scaled, num_heads=4).config.preprocessing == DINOV2
        assert read(scaled, plain.replace(layer_scale=0.1)).config.preprocessing == DINOV2
    theirs = VisionTransformer(32, 16, 1, 3, 192, 768)
    assert from_torchvision(theirs).config.preprocessing == IMAGENET
    assert from_torchvision(to_torchvision(model)).config.preprocessing == OTHER  # not lost on the way


def test_timm_is_told_what_we_know(model):
    timm = pytest.importorskip("timm")
    from vit_from_scratch.pretrained import to_timm

    theirs = to_timm(model)
    told = timm.data.resolve_model_data_config(theirs)
    assert {field: told[field] for field in vars(OTHER)} == vars(OTHER) and told["input_size"] == (3, 8, 8)
    assert from_timm(theirs).config.preprocessing == OTHER


PROCESSORS = {  # what the files of three well-known models say
    "google/vit-base-patch16-224": (
        {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2,
         "size": {"height": 224, "width": 224}},
        Preprocessing(crop_mode="squash", interpolation="bilinear"),
    ),
    "facebook/dinov2-small": (
        {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_convert_rgb": True,
         "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": list(IMAGENET.mean),
         "image_std": list(IMAGENET.std),
         "rescale_factor": 0.00392156862745098, "resample": 3, "size": {"shortest_edge": 256}},
        replace(DINOV2, crop_pct=0.875),
    ),
    "an old one": (
        {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224},
        Preprocessing(crop_mode="squash", interpolation="bilinear"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_lies_beside_the_weights_is_read(tmp_path, tiny, name):
    facts, expected = PROCESSORS[name]
    assert huggingface_preprocessing(facts) == expected
    state = {name: tensor.contiguous() for name, tensor in to_layout(ViTModel(tiny), "huggingface").items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4}')
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(facts))
    assert from_huggingface(tmp_path).config.preprocessing == expected


@pytest.mark.parametrize("change", [{"do_normalize": False}, {"do_resize": False}, {"image_mean": None}, {"size": {}},
                                    {"image_std": [0.0] * 3}, {"resample": 99}, {"size": "large"},
                                    {"do_center_crop": True}], ids=str)  # fmt: skip
def test_a_processor_that_does_something_else(refuses, change):
    facts, _ = PROCESSORS["google/vit-base-patch16-224"]
    with refuses(ValueError, "the processor's config can't be followed", "pass preprocessing="):
        huggingface_preprocessing(facts | change)


def test_googles_own_files_are_known(tiny):
    from test_pretrained import google_arrays

    found = from_google_npz(google_arrays(ViTModel(tiny))).config.preprocessing
    assert found == Preprocessing(crop_mode="squash", interpolation="bilinear")


def test_a_file_from_before_means_the_default(tmp_path, tiny):
    model = ViTModel(tiny)
    save_checkpoint(tmp_path / "old.pt", model)
    state = torch.load(tmp_path / "old.pt")
    del state["config"]["preprocessing"]
    torch.save(state, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt").config == tiny


# ---- a wrong one is not used without a word ----


def test_predict_prepares_a_picture_as_the_model_wants_it(tmp_path, model):
    photo(50, 30).save(tmp_path / "wide.png")
    found = predict(model, tmp_path / "wide.png")
    with torch.no_grad():
        expected = model(OTHER(photo(50, 30), 8)[None])[0].softmax(0)
    assert found == pytest.approx(dict(zip(model.classes, expected.tolist(), strict=True)))


def test_where_nobody_knows_pictures_are_refused(refuses, tmp_path, folder, model):
    unknown = ViTModel(model.config.replace(preprocessing=None))
    photo(50, 30).save(tmp_path / "wide.png")
    with refuses(ValueError, "nobody has said how pictures are prepared", "preprocessing="):
        predict(unknown, tmp_path / "wide.png")
    with refuses(ValueError, "nobody has said"):
        evaluate(unknown, DataLoader(image_folder(folder, 8)), "cpu")
    assert unknown(torch.zeros(1, 3, 8, 8)).shape == (1, 3)  # whoever prepares them need not say how


def test_a_data_set_that_was_prepared_for_another_model(refuses, folder, model):
    model = ViTModel(model.config.replace(num_classes=2))
    wrong, right = image_folder(folder, 8), image_folder(folder, 8, preprocessing=OTHER)
    for data in (wrong, Subset(wrong, range(4)), Subset(Subset(wrong, range(4)), range(2))):
        with refuses(ValueError, str(DEFAULT_PREPROCESSING), str(OTHER), "preprocessing=model.config.preprocessing"):
            evaluate(model, DataLoader(data), "cpu")
        with refuses(ValueError, "the data were made with"):
            train(model, DataLoader(data), DataLoader(right), TrainingConfig(epochs=1, warmup_epochs=0), device="cpu")
    assert evaluate(model, DataLoader(Subset(right, range(4))), "cpu").labels.tolist() == [0] * 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 255.0, -40.0])
def test_pixels_that_no_preparation_gives(refuses, tiny, value):
    images = torch.zeros(4, 3, 8, 8)
    images[2, 1, 3, 3] = value
    with refuses(ValueError, "pixels go from", "expected -1 (black) to 1 (white)", "preprocessing.normalize"):
        evaluate(ViTModel(tiny), DataLoader(TensorDataset(images, torch.zeros(4, dtype=torch.int64))), "cpu")


@pytest.mark.parametrize(
    ("images", "warned"),
    [(torch.rand(4, 3, 8, 8), True), (IMAGENET.normalize(torch.tensor([0, 255]).expand(4, 3, 8, 2)), True),
     (2 * torch.rand(4, 3, 8, 8) - 1, False), (1.4 * (2 * torch.rand(4, 3, 8, 8) - 1), False)],
)  # fmt: skip
def test_pixels_that_seem_prepared_for_another_model(tiny, images, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_pixels(ViTModel(tiny), images.min().item(), images.max().item())
    assert [str(one.message).startswith("pixels go from") for one in caught] == [True] * warned


def test_answers_that_are_no_numbers(tiny):
    model = ViTModel(tiny)
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    with pytest.raises(FloatingPointError, match=r"^the model answers with NaN: .*$"):
        evaluate(model, DataLoader(TensorDataset(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))), "cpu")


def test_captions_pictures_are_prepared_as_asked(tmp_path):
    photo(30, 20).save(tmp_path / "1.png")
    (tmp_path / "captions.txt").write_text("image,caption\n1.png,waves\n")
    image, _ = CaptionFolder(tmp_path, image_size=16, preprocessing=OTHER)[0]
    assert torch.equal(image, replace(OTHER, crop_mode="border")(photo(30, 20), 16))
    assert CONFIGS["ViT-B/16"].preprocessing == DEFAULT_PREPROCESSING


@pytest.mark.parametrize("change", [{"mean": None}, {"mean": 0.5}, {"std": (0.5, 0.5)}, {"crop_pct": "0.9"},
                                    {"crop_pct": None}, {"mean": (float("nan"),) * 3}], ids=str)  # fmt: skip
def test_a_field_of_another_type(refuses, change):
    with refuses(ValueError, "expected"):
        Preprocessing(**change)


def test_a_squashed_and_cropped_picture_is_that_of_transformers():
    """DeiT's: first all of it in 256 x 256, then the middle."""
    facts = {"do_resize": True, "size": {"height": 256, "width": 256}, "do_center_crop": True, "resample": 3,
             "crop_size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    found = huggingface_preprocessing(facts)
    assert found == Preprocessing(crop_mode="squash", crop_pct=0.875)
    whole = np.array(photo(600, 300).resize((256, 256), Image.Resampling.BICUBIC))[16:-16, 16:-16]
    assert (found(photo(600, 300), 224) - normalize(torch.from_numpy(whole).permute(2, 0, 1))).abs().max() < 0.02


def test_one_warning_for_a_whole_loader(tiny):
    loader = DataLoader(TensorDataset(torch.rand(40, 3, 8, 8), torch.zeros(40, dtype=torch.int64)), batch_size=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluate(ViTModel(tiny), loader, "cpu")
    assert len(caught) == 1
