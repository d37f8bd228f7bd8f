"""The bridge between a ViT and a GPT: who sees whom, what counts, what it says, and what it refuses."""

import itertools
import random
import signal
import subprocess
import sys

import pytest
import torch
from PIL import Image

from vit_from_scratch.attention import causal_mask
from vit_from_scratch.caption_command import main
from vit_from_scratch.checkpoint import load_checkpoint, save_checkpoint
from vit_from_scratch.config import ViTConfig
from vit_from_scratch.generation import generate
from vit_from_scratch.gpt import GPTConfig, GPTModel
from vit_from_scratch.model import ViTModel
from vit_from_scratch.scene_gpt import GeneratedBatches
from vit_from_scratch.tokenizer import Tokenizer
from vit_from_scratch.training import Interrupted, Trainer, TrainingConfig
from vit_from_scratch.vlm import (
    GatedCrossAttention,
    Projector,
    VisionLanguageModel,
    VLMConfig,
    caption,
    caption_loss,
    caption_targets,
    plot_words,
    prefix_mask,
    resize_patch_embedding,
    word_attention,
)

WORDS = ("a", " a", " cat", " dog", " above", "two")
K = 4  # image tokens of the tiny model


def build(fusion: str = "prefix", projector: str = "linear") -> VisionLanguageModel:
    """The smallest that has everything, with every weight shaken, so that nothing is 0 or 1 by its start."""
    torch.manual_seed(0)
    vit = ViTConfig(image_size=8, patch_size=4, emb_dim=16, num_layers=2, num_heads=4, num_classes=0)
    gpt = GPTConfig(vocab_size=len(Tokenizer(WORDS)), context_length=12, emb_dim=24, num_layers=2, num_heads=3)
    model = VisionLanguageModel(VLMConfig(vit=vit, gpt=gpt, words=WORDS, fusion=fusion, projector=projector))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(params=["prefix", "cross_attention"])
def model(request) -> VisionLanguageModel:
    return build(request.param)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 8, 8) * 2 - 1


def tokens_of(model, *texts: str) -> torch.Tensor:
    return torch.tensor([model.tokenizer.encode(text) for text in texts])


def trainer_of(model, images, stop_in: int | None = None, **options) -> Trainer:
    """Six steps on captions of two of three pictures; Ctrl-C comes in the given one."""
    calls = itertools.count(1)

    def draw(rng: random.Random) -> tuple[torch.Tensor, list[str]]:
        keep = rng.sample(range(3), 2)
        return images[keep], [["a cat", "a dog", "two dog"][i] for i in keep]

    def loss_of(model: VisionLanguageModel, batch: tuple[torch.Tensor, list[str]]) -> torch.Tensor:
        if next(calls) == stop_in:
            signal.raise_signal(signal.SIGINT)
        return caption_loss(model, *batch)

    config = TrainingConfig(epochs=2, warmup_epochs=1.0)
    return Trainer(model, GeneratedBatches(draw, 3), config, loss_of, device="cpu", progress=False, **options)


# --- masks, and who sees whom ---


def test_the_mask_is_full_on_the_picture_and_causal_on_the_text():
    mask = prefix_mask(3, 4)
    assert mask.shape == (7, 7) and mask.dtype == torch.bool
    assert mask[:, :3].all()  # everyone sees the picture
    assert not mask[:3, 3:].any()  # which sees no text
    assert torch.equal(mask[3:, 3:], causal_mask(4))
    assert prefix_mask(3, 0).all() and prefix_mask(3, 0).shape == (3, 3)


def test_each_position_sees_the_picture_and_the_words_before_it(model, images):
    """By gradient, position by position: t + 1 of them, the first of which has no word before it."""
    tokens = tokens_of(model, "a cat above a dog")
    embedded = []

    def keep(module, arguments, out):
        out.retain_grad()
        embedded.append(out)

    model.gpt.dropout.register_forward_hook(keep)
    for position in range(6):
        image_tokens = model.encode_images(images[:1]).detach().requires_grad_()
        model(tokens, image_tokens=image_tokens)[0, position].square().sum().backward()
        gradient = embedded.pop().grad[0].norm(dim=-1)
        assert (image_tokens.grad[0].norm(dim=-1) > 0).all()
        seen = (gradient > 0).tolist()
        assert seen[-5:] == [i < position for i in range(5)]  # cross-attention has a <bos> before them
        assert seen[:-5] == [True] * (model.config.fusion == "cross_attention")


def test_the_picture_sees_all_of_itself_and_no_text():
    model, images = build("prefix"), torch.rand(2, 3, 8, 8)
    tokens = tokens_of(model, "a cat above", "a dog a")
    image_tokens = model.encode_images(images[:1]).detach().expand(2, -1, -1).clone().requires_grad_()
    kept = []
    model.gpt.decoder.blocks[-1].register_forward_hook(lambda module, args, out: kept.append(out))
    model(tokens, image_tokens=image_tokens)
    assert torch.equal(kept[0][0, :K], kept[0][1, :K])  # other text, the same picture
    assert not torch.allclose(kept[0][0, K:], kept[0][1, K:], atol=1e-3)
    kept[0][0, 0].square().sum().backward()  # the first image token
    assert (image_tokens.grad[0].norm(dim=-1) > 0).all()


def test_order_matters_to_the_projector(images):
    """The same patch at another place is another token, even if the ViT's feature were the same."""
    projector = Projector(16, 24, K)
    same = torch.ones(1, K + 1, 16)
    tokens = projector(same)[0]
    assert tokens.shape == (K, 24)
    assert all(not torch.allclose(tokens[0], other, atol=0.1) for other in tokens[1:])


def test_the_projector_leaves_cls_out():
    projector, features = Projector(16, 24, K), torch.randn(2, K + 1, 16)
    changed = features.clone()
    changed[:, 0] += 1
    assert torch.equal(projector(features), projector(changed))


def test_the_mlp_projector_has_two_layers_and_a_bend():
    linear, mlp = Projector(16, 24, K), Projector(16, 24, K, kind="mlp")
    assert [type(layer).__name__ for layer in mlp.project] == ["Linear", "GELU", "Linear"]
    for projector, is_linear in ((linear, True), (mlp, False)):
        ones, none = torch.ones(1, K + 1, 16), torch.zeros(1, K + 1, 16)
        doubled = projector(2 * ones) - projector(none)
        assert torch.allclose(doubled, 2 * (projector(ones) - projector(none)), atol=1e-4) == is_linear


# --- fusion ---


def test_late_fusion_begins_as_the_gpt_alone(images):
    model = build("cross_attention")
    with torch.no_grad():
        for cross in model.cross_attentions:
            cross.gates.zero_()
    tokens = tokens_of(model, "a cat", "a dog", "two cat")
    alone = model.gpt(torch.nn.functional.pad(tokens, (1, 0), value=model.tokenizer.bos))
    assert torch.allclose(model(tokens, images), alone, atol=1e-5)


def test_gates_let_gradients_through_from_the_first_step(images):
    cross = GatedCrossAttention(8, 2)
    x, picture = torch.randn(1, 3, 8), torch.randn(1, 4, 8)
    assert torch.equal(cross(x, picture), x)
    (cross(x, picture) * torch.randn(1, 3, 8)).sum().backward()
    assert (cross.gates.grad != 0).all()


def test_cross_attention_equals_torchs():
    cross = GatedCrossAttention(8, 2)
    with torch.no_grad():
        cross.gates.copy_(torch.tensor([0.7, 0.0]))
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict({
        "in_proj_weight": torch.cat([cross.query.weight, cross.key_value.weight]),
        "in_proj_bias": torch.cat([cross.query.bias, cross.key_value.bias]),
        "out_proj.weight": cross.out_proj.weight, "out_proj.bias": cross.out_proj.bias,
    })  # fmt: skip
    x, picture = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    expected, expected_weights = theirs(cross.norm1(x), picture, picture, average_attn_weights=False)
    out, weights = cross(x, picture, return_weights=True)
    assert torch.allclose(out, x + torch.tensor(0.7).tanh() * expected, atol=1e-5)
    assert torch.allclose(weights, expected_weights, atol=1e-5)


def test_parts_are_copied_and_the_classifier_left_out(tiny):
    vit = ViTModel(tiny)
    tokenizer = Tokenizer(WORDS)
    gpt = GPTModel(GPTConfig(vocab_size=len(tokenizer), context_length=8, emb_dim=16, num_layers=1, num_heads=2))
    model = VisionLanguageModel.from_parts(vit, gpt, tokenizer, fusion="cross_attention", projector="mlp")
    assert (model.config.fusion, model.config.projector, model.config.vit.num_classes) == ("cross_attention", "mlp", 0)
    assert torch.equal(model.vit.embeddings.position_embedding, vit.embeddings.position_embedding)
    assert torch.equal(model.gpt.out.weight, gpt.out.weight)
    with torch.no_grad():
        vit.embeddings.cls_token.add_(1)
        gpt.out.weight.add_(1)
    assert not torch.equal(model.vit.embeddings.cls_token, vit.embeddings.cls_token)
    assert not torch.equal(model.gpt.out.weight, gpt.out.weight)


def test_a_frozen_encoder_stays_as_it_is(model, images):
    model.vit.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer_of(model, images).fit()
    changed = {name for name, tensor in model.cpu().state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and not any(name.startswith("vit.") for name in changed)
    assert any(name.startswith("projector.") for name in changed) and any(name.startswith("gpt.") for name in changed)


# --- the encoder's larger patches ---


def test_larger_patches_see_a_doubled_picture_as_before(tiny):
    vit = ViTModel(tiny.replace(image_size=(8, 16)))
    pictures = torch.rand(2, 3, 4, 8) * 2 - 1
    doubled = pictures.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)  # (2, 3, 8, 16)
    large = resize_patch_embedding(vit, 2)
    assert large.config == vit.config.replace(patch_size=8)
    small_projection = vit.embeddings.patch_embedding.projection(pictures)
    assert torch.allclose(large.embeddings.patch_embedding.projection(doubled), small_projection, atol=1e-5)
    others = [name for name in vit.state_dict() if "embeddings" not in name]
    assert others and all(torch.equal(vit.state_dict()[name], large.state_dict()[name]) for name in others)


def test_patches_that_do_not_tile_are_refused(tiny, refuses):
    with refuses(ValueError, "not divisible"):
        resize_patch_embedding(ViTModel(tiny), 3)


# --- loss ---


def test_the_loss_is_on_the_text_only(model, images):
    """Changing what stands at image positions of the output changes nothing: they are never read."""
    targets = caption_targets(model.tokenizer, ["a cat"])
    logits = model(targets[:, :-1], images[:1])
    assert logits.shape == (1, 3, len(model.tokenizer))  # "a", " cat", <eos>: no logit for the picture
    log_probabilities = logits.log_softmax(dim=-1)[0]
    by_hand = -sum(log_probabilities[i, token] for i, token in enumerate(targets[0].tolist())) / 3
    assert torch.allclose(caption_loss(model, images[:1], ["a cat"]), by_hand, atol=1e-5)


def test_the_first_word_is_predicted_from_the_picture(model, images):
    """With no text at all there is one position, and it depends on the picture."""
    nothing = torch.zeros(3, 0, dtype=torch.int64)
    logits = model(nothing, images)
    assert logits.shape == (3, 1, len(model.tokenizer))
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_a_padded_batch_equals_single_texts(model, images):
    texts = ["a", "two cat above a dog", "a dog"]
    counts = [2, 6, 3]
    single = [caption_loss(model, images[i : i + 1], [text]) for i, text in enumerate(texts)]
    together = sum(loss * count for loss, count in zip(single, counts, strict=True)) / sum(counts)
    assert torch.allclose(caption_loss(model, images, texts), together, atol=1e-5)


def test_targets_end_and_are_padded():
    tokenizer = Tokenizer(WORDS)
    first, second = caption_targets(tokenizer, ["a", "two cat"]).tolist()
    assert first == [tokenizer.ids["a"], tokenizer.eos, tokenizer.pad]
    assert second == [tokenizer.ids["two"], tokenizer.ids[" cat"], tokenizer.eos]


def test_words_that_nobody_knows_are_learned_as_bytes(model, images):
    targets = caption_targets(model.tokenizer, ["a zebra ✨"])
    assert model.tokenizer.decode(targets[0]) == "a zebra ✨"
    assert caption_loss(model, images[:1], ["zebra ✨"]).isfinite()


@pytest.mark.parametrize("captions", [[], [""], ["a cat", "  "]])
def test_no_text_is_refused(refuses, captions):
    with refuses(ValueError, "captions", "empty"):
        caption_targets(Tokenizer(WORDS), captions)


def test_too_long_a_text_is_refused(model, images, refuses):
    with refuses(ValueError, "context_length 12"):
        caption_loss(model, images[:1], ["a" + " cat" * 12])


def test_a_text_is_measured_before_the_tables_are_read(model, images, refuses, monkeypatch):
    """A GPU that looks past a table's end stops for good, so no table may be asked."""
    monkeypatch.setattr(model.gpt.position_embedding, "forward", lambda positions: pytest.fail("the table was read"))
    with refuses(ValueError, "context_length 12"):
        model(torch.full((1, 12), 5), images[:1])


# --- writing ---


@pytest.mark.parametrize("choice", [{}, {"temperature": 1.0, "seed": 3}, {"temperature": 1.5, "top_k": 5, "seed": 1}])
def test_cached_equals_uncached(model, images, choice):
    with torch.no_grad():
        image_tokens = model.encode_images(images)
    nothing = torch.zeros(3, 0, dtype=torch.int64)
    cached, anew = (
        generate(model, nothing, 9, image_tokens=image_tokens, use_cache=use, **choice) for use in (True, False)
    )
    assert cached.shape == (3, 9)
    assert torch.equal(cached, anew)


def test_cached_logits_equal_those_of_one_pass(model, images):
    tokens = tokens_of(model, "a cat above a dog").expand(3, -1)
    with torch.no_grad():
        image_tokens = model.encode_images(images)
        whole = model(tokens, image_tokens=image_tokens)
        caches = model.new_caches(5)
        steps = [model(tokens[:, :0], image_tokens=image_tokens, caches=caches)]
        steps += [model(tokens[:, i : i + 1], image_tokens=image_tokens, caches=caches) for i in range(5)]
    assert torch.allclose(torch.cat(steps, dim=1), whole, atol=1e-5)


def test_a_prompt_is_continued(model, images):
    with torch.no_grad():
        image_tokens = model.encode_images(images)
    prompt = tokens_of(model, "two").expand(3, -1)
    said = generate(model, prompt, 4, image_tokens=image_tokens)
    assert torch.equal(said[:, :1], prompt) and said.shape == (3, 5)
    with torch.no_grad():
        assert torch.equal(said[:, 1], model(prompt, image_tokens=image_tokens)[:, -1].argmax(dim=-1))


def test_batches_say_what_single_pictures_say(model, images):
    single = [caption(model, images[i : i + 1])[0] for i in range(3)]
    assert len(set(single)) > 1  # they differ, so the test can fail
    assert caption(model, images) == caption(model, images, batch_size=2) == single


def test_more_text_than_the_model_can_hold_is_refused(model, images, refuses):
    with refuses(ValueError, "context_length 12"):
        caption(model, images, max_new_tokens=12)


# --- your own pictures ---


@pytest.fixture
def files(tmp_path):
    """The same grey square in every dress that a picture can come in."""
    grey = Image.new("L", (10, 10), 120)
    paths = {}
    for name, mode in [("grey.png", "L"), ("rgb.png", "RGB"), ("palette.png", "P")]:
        paths[name] = tmp_path / name
        grey.convert(mode).save(paths[name])
    paths["transparent.png"] = tmp_path / "transparent.png"
    Image.new("RGBA", (10, 10), (0, 0, 0, 135)).save(paths["transparent.png"])  # on white it is the same grey
    paths["cmyk.tif"] = tmp_path / "cmyk.tif"
    grey.convert("CMYK").save(paths["cmyk.tif"])
    paths["animated.gif"] = tmp_path / "animated.gif"
    grey.save(paths["animated.gif"], save_all=True, append_images=[Image.new("L", (10, 10), k) for k in (0, 255)])
    return paths


def test_every_kind_of_picture_is_read(files):
    model = build()
    said = caption(model, list(files.values()), max_new_tokens=6)
    assert said == [said[0]] * len(files)


def test_a_path_a_string_and_a_pil_picture_say_the_same(files):
    model, path = build(), files["rgb.png"]
    said = caption(model, path, max_new_tokens=6)
    assert isinstance(said, str)
    assert said == caption(model, str(path), max_new_tokens=6) == caption(model, Image.open(path), max_new_tokens=6)
    assert [said, said] == caption(model, [path, Image.open(path)], max_new_tokens=6)


@pytest.mark.slow
def test_a_huge_picture_is_shrunk_and_a_bomb_refused(tmp_path, monkeypatch, refuses):
    path = tmp_path / "huge.png"
    Image.new("RGB", (3000, 2000), "red").save(path)
    model = build()
    assert isinstance(caption(model, path, max_new_tokens=3), str)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # over twice that is a bomb to Pillow
    with refuses(ValueError, "huge.png", "exceeds limit"):
        caption(model, path)


def test_broken_and_missing_files_are_refused(tmp_path, refuses):
    model, broken, cut = build(), tmp_path / "broken.png", tmp_path / "cut.png"
    broken.write_bytes(b"this is no picture")
    Image.effect_noise((50, 50), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:500])
    for path in (broken, cut):
        with refuses(ValueError, path.name, "can't be read as a picture"):
            caption(model, path)
    with refuses(FileNotFoundError, "nowhere.png"):
        caption(model, tmp_path / "nowhere.png")


@pytest.mark.parametrize("pictures, kind, part", [
    ([], ValueError, "0 pictures"), (torch.zeros(0, 3, 8, 8), ValueError, "0 pictures"), (3, TypeError, "int"),
    ([1, 2], TypeError, "list"), (torch.zeros(1, 3, 4, 4), ValueError, "(8, 8)"),
    (torch.zeros(1, 1, 8, 8), ValueError, "channels"), (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "uint8"),
])  # fmt: skip
def test_what_is_no_picture_is_refused(refuses, pictures, kind, part):
    with refuses(kind, part):
        caption(build(), pictures)


def test_a_16_bit_picture_is_refused(tmp_path, refuses):
    Image.new("I;16", (10, 10), 30_000).save(tmp_path / "deep.png")
    with refuses(ValueError, "deep.png", "8 bits"):
        caption(build(), tmp_path / "deep.png")


def test_a_long_thin_picture_is_read(tmp_path):
    for size in [(2000, 1), (1, 200)]:
        Image.new("RGB", size, "black").save(tmp_path / "thin.png")
        assert isinstance(caption(build(), tmp_path / "thin.png", max_new_tokens=3), str)


def test_a_vit_for_grey_and_oblong_pictures_captions_files(files):
    config = build().config
    odd = config.replace(vit=config.vit.replace(num_channels=1, image_size=(8, 16)))
    model = VisionLanguageModel(odd).eval()
    assert isinstance(caption(model, files["rgb.png"], max_new_tokens=3), str)
    assert word_attention(model, torch.zeros(1, 8, 16), "a cat")[1].shape == (3, 2, 4)


def test_half_precision_captions_files(files, images):
    model = build().to(torch.bfloat16)
    assert isinstance(caption(model, files["rgb.png"], max_new_tokens=3), str)
    assert word_attention(model, images[0], "a cat")[1].shape == (3, 2, 2)


def test_dropout_is_off_while_it_speaks(images):
    config = build().config
    torch.manual_seed(0)
    model = VisionLanguageModel(config.replace(vit=config.vit.replace(drop_rate=0.5))).train()
    assert len({tuple(caption(model, images)) for _ in range(5)}) == 1
    assert model.training


def test_mode_and_gradients_are_left_alone(model, images):
    model.train()
    caption(model, images, max_new_tokens=2)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


# --- where it looks ---


def test_word_attention_is_the_attention_of_the_position_that_says_the_word(model, images):
    words, maps = word_attention(model, images[0], "a cat zoo")
    assert words[:2] == ["a", "cat"] and words[-1] == "(end)"
    assert maps.shape == (len(words), 2, 2)
    assert (maps > 0).all() and (maps.sum(dim=(1, 2)) <= 1 + 1e-5).all()
    if model.config.fusion == "cross_attention":
        assert torch.allclose(maps.sum(dim=(1, 2)), torch.ones(len(words)), atol=1e-5)
    else:  # the first word is said by the last image token, which sees nothing but the picture
        assert abs(maps[0].sum().item() - 1) < 1e-5 and (maps[1:].sum(dim=(1, 2)) < 1 - 1e-4).all()
    longer = word_attention(model, images[0], "a cat zoo a dog")[1]
    assert torch.allclose(longer[:2], maps[:2], atol=1e-5)  # what comes later changes nothing


def test_asking_for_weights_leaves_the_logits_as_they_are(model, images):
    tokens = tokens_of(model, "a cat", "a dog", "two dog")
    logits, maps = model(tokens, images, return_weights=True)
    assert torch.allclose(logits, model(tokens, images), atol=1e-5)
    assert maps.shape == (3, 2, 3, 3, K)


def test_plot_words_draws_a_map_for_every_word(model, images):
    figure = plot_words(model, images[0], "a cat")
    assert [ax.get_title() for ax in figure.axes] == ["a", "cat", "(end)"]


# --- configs and files ---


@pytest.mark.parametrize("fusion", ["prefix", "cross_attention"])
@pytest.mark.parametrize("projector", ["linear", "mlp"])
def test_a_checkpoint_comes_back_whole(tmp_path, images, fusion, projector):
    model = build(fusion, projector)
    save_checkpoint(tmp_path / "model.pt", model)
    again = load_checkpoint(tmp_path / "model.pt", model.config, VisionLanguageModel)
    assert again.config == model.config
    tokens = tokens_of(model, "a cat", "a dog", "two dog")
    assert torch.equal(again(tokens, images), model(tokens, images))
    assert again.gpt.out.weight is again.gpt.token_embedding.weight
    assert caption(again, images, max_new_tokens=5) == caption(model, images, max_new_tokens=5)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path, tiny, refuses):
    save_checkpoint(tmp_path / "vit.pt", ViTModel(tiny))
    with refuses(ValueError, "vit.pt", "VisionLanguageModel", "ViTModel"):
        load_checkpoint(tmp_path / "vit.pt", model_class=VisionLanguageModel)
    save_checkpoint(tmp_path / "model.pt", build())
    with refuses(ValueError, "model.pt", "fusion"):
        load_checkpoint(tmp_path / "model.pt", build().config.replace(fusion="cross_attention"), VisionLanguageModel)
    with refuses(ValueError, "model.pt", "ViTModel"):
        load_checkpoint(tmp_path / "model.pt", model_class=ViTModel)


@pytest.mark.slow
def test_an_interrupted_training_goes_on(tmp_path, images):
    """Half, and the rest from the checkpoint, is the same as all at once."""
    whole, half, rest = build(), build(), build()
    expected = trainer_of(whole, images).fit()
    with pytest.raises(Interrupted):
        trainer_of(half, images, stop_in=3, checkpoint=tmp_path / "half.pt").fit()
    with torch.no_grad():
        rest.projector.position.zero_()  # whatever it was: the file counts
    trainer = trainer_of(rest, images, checkpoint=tmp_path / "half.pt")
    assert trainer.step == 3
    assert trainer.fit().losses == expected.losses
    assert all(torch.equal(a, b) for a, b in zip(rest.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize("change, kind, parts", [
    ({"fusion": "middle"}, ValueError, ["fusion", "prefix, cross_attention"]),
    ({"projector": "glue"}, ValueError, ["projector", "mlp"]),
    ({"fusion": 1}, TypeError, ["fusion"]), ({"vit": None}, TypeError, ["vit", "ViTConfig"]),
    ({"gpt": 3}, TypeError, ["gpt", "GPTConfig"]), ({"words": ("a",)}, ValueError, ["vocab_size", "1 words"]),
])  # fmt: skip
def test_configs_that_do_not_fit_are_refused(refuses, change, kind, parts):
    with refuses(kind, *parts):
        build().config.replace(**change)


def test_a_vit_with_its_classifier_is_refused(refuses, tiny):
    with refuses(ValueError, "num_classes=3", "replace_head"):
        build().config.replace(vit=tiny)
    with refuses(TypeError, "config", "VLMConfig"):
        VisionLanguageModel(tiny)


def test_an_unknown_projector_is_refused(refuses):
    with refuses(ValueError, "kind", "linear, mlp"):
        Projector(16, 24, K, kind="glue")


def test_pictures_and_texts_have_to_be_as_many(model, images, refuses):
    tokens = tokens_of(model, "a cat", "a dog")
    with refuses(ValueError, "3 pictures", "2 texts"):
        model(tokens, images)
    with refuses(ValueError, "images or image_tokens"):
        model(tokens)
    with refuses(ValueError, "tokens", "(b, t)"):
        model(tokens[0], images[:1])
    with refuses(ValueError, "image_tokens", "(2, 4, 16)"):
        model(tokens, image_tokens=torch.zeros(2, K, 16))
    with refuses(ValueError, "return_weights"):
        model(tokens, images[:2], caches=model.new_caches(3), return_weights=True)
    with refuses(ValueError, "batch_size is 0"):
        caption(model, images, batch_size=0)
    with refuses(TypeError, "one str"):
        caption_loss(model, images[:1], "a cat")
    with refuses(ValueError, "images or image_tokens"):
        model(tokens, images[:2], image_tokens=model.encode_images(images[:2]))


# --- the shell ---


@pytest.fixture
def trained(tmp_path):
    path = tmp_path / "captioner.pt"
    save_checkpoint(path, build().cpu())
    return path


def shell(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    try:
        exit_code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        exit_code = stop.code
    return exit_code, *capsys.readouterr()


SHORT = ["--max-new-tokens", 5]


def test_the_shell_says_what_caption_says(capsys, trained, files):
    said = caption(build(), files["rgb.png"], max_new_tokens=5)
    assert shell(capsys, "--image", files["rgb.png"], "--checkpoint", trained, *SHORT) == (0, said + "\n", "")
    exit_code, out, _ = shell(capsys, "--image", *files.values(), "--checkpoint", trained, *SHORT)
    assert exit_code == 0
    assert out.splitlines() == [f"{path}: {said}" for path in files.values()]


def test_the_shell_refuses_in_one_line(capsys, trained, files, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no")
    for arguments, part in [
        (["--image", tmp_path / "broken.png", "--checkpoint", trained], "broken.png can't be read"),
        (["--image", tmp_path / "nowhere.png", "--checkpoint", trained], "nowhere.png"),
        (["--image", files["rgb.png"], "--checkpoint", tmp_path / "nowhere.pt"], "nowhere.pt: check the path, or make"),
        (["--image", files["rgb.png"], "--checkpoint", files["rgb.png"]], "no checkpoint"),
        (["--image", files["rgb.png"], "--checkpoint", trained, "--temperature", -1], "temperature"),
        (["--image", files["rgb.png"], "--checkpoint", trained, "--device", "abacus"], "no device abacus here"),
        (["--image", files["rgb.png"], "--checkpoint", trained, "--device", "meta"], "no device meta here"),
    ]:
        exit_code, out, err = shell(capsys, *arguments)
        assert exit_code == 2 and out == "" and part in err and len(err.splitlines()) == 1, err


@pytest.mark.slow
def test_the_module_runs_as_a_program(capsys, trained, files):
    command = [sys.executable, "-m", "vit_from_scratch.caption_command"]
    options = ["--image", str(files["rgb.png"]), "--checkpoint", str(trained), "--max-new-tokens", "5"]
    run = subprocess.run([*command, *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == caption(build(), files["rgb.png"], max_new_tokens=5) + "\n"
    exit_code, help_text, _ = shell(capsys, "--help")
    assert exit_code == 0 and "--image" in help_text and "--checkpoint" in help_text
