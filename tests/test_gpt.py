"""The GPT: tokenizer, model, cache, choice and generation, the lesson's run, and GPT-2's weights."""

import itertools
import random
import signal

import pytest
import torch
from conftest import same
from safetensors.torch import save_file
from torch import nn

from vit_from_scratch import scene_gpt as written
from vit_from_scratch.attention import causal_mask
from vit_from_scratch.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vit_from_scratch.encoder import TransformerEncoder
from vit_from_scratch.generation import generate, sample_token
from vit_from_scratch.gpt import GPTConfig, GPTModel, KVCache, next_token_loss
from vit_from_scratch.gpt2 import from_gpt2
from vit_from_scratch.model import ViTModel
from vit_from_scratch.scene_gpt import GeneratedBatches, scene_gpt, train_on_scenes
from vit_from_scratch.scenes import is_held_out
from vit_from_scratch.tokenizer import Tokenizer
from vit_from_scratch.training import Interrupted

CONFIG = GPTConfig(vocab_size=30, context_length=24, emb_dim=16, num_layers=2, num_heads=4)


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """Every parameter drawn anew, so that nothing is 0 or 1 and the answers are far from even; in eval mode."""
    for parameter in model.parameters():
        parameter.normal_(std=parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else 0.5)
    return model.eval()


@pytest.fixture
def model() -> GPTModel:
    return shaken(GPTModel(CONFIG))


@pytest.fixture
def prompts() -> list[list[int]]:
    """Of four lengths; 0 is padding."""
    return [[5, 9, 2, 7], [3], [11, 4, 8, 8, 1, 29], [6, 6]]


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


# ---- tokenizer ----

WORDS = Tokenizer.train(["a cat above a house", "two cats, above!"])
NASTY = ["", " ", "a cat", " a  cat ", "a\ncat\r\n\tabove\n\n", "zebra", "naïve café", "日本語", "שלום עולם",
         "👩‍👩‍👧 🏴‍☠️ 🇨🇭", "\x00\x01", "<pad> <bos> <eos>", "1,000.50 €",
         "e\u0301", "\u2028\u3000\u00a0", "__a_b", "a" * 300]  # fmt: skip


@pytest.mark.parametrize("text", NASTY, ids=ascii)
@pytest.mark.parametrize("tokenizer", [WORDS, Tokenizer([])], ids=["words", "bytes"])
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.decode(torch.tensor(ids, dtype=torch.int64)) == text
    assert all(Tokenizer.first_byte <= i < len(tokenizer) for i in ids)  # no text says a special token


def test_random_text_comes_back():
    rng = random.Random(0)
    for _ in range(300):
        codes = [rng.choice([32, 32, rng.randrange(128), rng.randrange(0x110000)]) for _ in range(20)]
        text = "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)  # half of a UTF-16 pair is no text
        assert WORDS.decode(WORDS.encode(text)) == text


def test_a_word_is_one_token_with_its_space_and_an_unknown_one_is_bytes():
    assert WORDS.words[:3] == [" above", "a", " cat"]  # the most frequent first, then in the order of the texts
    assert WORDS.encode("a cat") == [WORDS.first_word + 1, WORDS.first_word + 2]
    assert WORDS.encode(" zoo") == [3 + byte for byte in b" zoo"]
    assert (WORDS.pad, WORDS.bos, WORDS.eos, len(WORDS)) == (0, 1, 2, 259 + len(WORDS.words))


def test_special_tokens_vanish_and_broken_bytes_are_replaced():
    assert WORDS.decode([WORDS.bos, *WORDS.encode("a cat"), WORDS.eos, WORDS.pad]) == "a cat"
    assert WORDS.decode([3 + 0xFF, *WORDS.encode(" cat"), 3 + 0xC3]) == "\ufffd cat\ufffd"


def test_train_takes_the_most_frequent():
    assert Tokenizer.train(["b b b a a c"], max_words=2).words == [" b", " a"]
    assert len(Tokenizer.train([])) == 259


@pytest.mark.parametrize("side", ["right", "left"])
def test_pad_batch(side):
    tokens, mask = WORDS.pad_batch([[5, 6, 7], [8], []], side)
    expected = {"right": [[5, 6, 7], [8, 0, 0], [0, 0, 0]], "left": [[5, 6, 7], [0, 0, 8], [0, 0, 0]]}
    assert tokens.tolist() == expected[side]
    assert torch.equal(mask, tokens != 0)
    assert (tokens.dtype, mask.dtype) == (torch.int64, torch.bool)


def test_the_tokenizer_refuses_what_is_no_text(refuses):
    for text in (b"cat", None, ["a cat"], 3):
        with refuses(TypeError, "text", type(text).__name__, "str"):
            WORDS.encode(text)
    for bad in (-1, len(WORDS)):
        with refuses(ValueError, str(bad), str(len(WORDS) - 1)):
            WORDS.decode([bad])
    with refuses(TypeError, "words", "str"):
        Tokenizer(["a", 3])
    for words in (["a", "a"], ["a", ""]):
        with refuses(ValueError, "twice", "empty"):
            Tokenizer(words)
    with refuses(TypeError, "texts", "list"):
        Tokenizer.train("a cat")
    with refuses(ValueError, "'top'", "left"):
        WORDS.pad_batch([[1]], "top")
    with refuses(ValueError, "0 lists"):
        WORDS.pad_batch([])


# ---- config and model ----


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"vocab_size": 0}, ValueError), ({"context_length": -1}, ValueError), ({"emb_dim": 2.0}, TypeError),
        ({"num_layers": 0}, ValueError), ({"num_heads": True}, TypeError), ({"mlp_ratio": 0}, ValueError),
        ({"drop_rate": 1.0}, ValueError), ({"norm_eps": float("nan")}, ValueError), ({"tie_weights": 1}, TypeError),
        ({"activation": "relu"}, ValueError), ({"qkv_bias": None}, TypeError),
    ],
)  # fmt: skip
def test_the_config_refuses_nonsense(refuses, change, kind):
    ((name, value),) = change.items()
    with refuses(kind, name, repr(value)):
        CONFIG.replace(**change)


def test_heads_must_fit(refuses):
    with refuses(ValueError, "16", "5", "num_heads=4"):
        CONFIG.replace(num_heads=5)


def test_it_is_made_of_the_vits_encoder(model, tiny):
    assert type(model.decoder) is TransformerEncoder is type(ViTModel(tiny).encoder)
    assert all(block.attention.causal for block in model.decoder.blocks)


def test_gpt2_has_as_many_parameters_as_the_original():
    with torch.device("meta"):
        theirs = GPTModel(GPTConfig(vocab_size=50_257, context_length=1024, emb_dim=768, num_layers=12, num_heads=12))
    assert sum(parameter.numel() for parameter in theirs.parameters()) == 124_439_808


def test_who_sees_whom(model):
    n = 7
    x = model.embed(torch.arange(n)[None], torch.arange(n)).detach().requires_grad_()
    for i in range(n):
        (gradient,) = torch.autograd.grad(model.out(model.decoder(x))[0, i].square().sum(), x)
        assert torch.equal(gradient[0].norm(dim=-1) > 0, causal_mask(n)[i])


@pytest.mark.parametrize("side", ["right", "left"])
def test_who_sees_whom_with_padding(model, prompts, side):
    tokens, mask = WORDS.pad_batch(prompts, side)
    x = {}
    model.token_embedding.register_forward_hook(lambda module, inputs, output: x.setdefault("in", output))
    logits = model(tokens, mask)
    for row, i in [(0, 3), (1, 0), (2, 2), (3, 1)]:
        place = mask[row].nonzero()[i, 0]
        (gradient,) = torch.autograd.grad(logits[row, place].square().sum(), x["in"], retain_graph=True)
        seen = gradient.norm(dim=-1) > 0
        expected = torch.zeros_like(mask)
        expected[row] = mask[row] & (torch.arange(6) <= place)
        assert torch.equal(seen, expected)  # its own row, its past, no padding


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_padded_batch_equals_single_texts(model, prompts, side):
    tokens, mask = WORDS.pad_batch(prompts, side)
    logits = model(tokens, mask)
    assert logits.isfinite().all()
    for row, prompt in enumerate(prompts):
        close(logits[row, mask[row]], model(torch.tensor([prompt]))[0])


def test_every_position_may_see_something(model, prompts):
    """Else its softmax is 0 / 0, which some of torch's attentions answer with NaN."""
    masks = []
    model.decoder.register_forward_pre_hook(lambda module, inputs, named: masks.append(named["mask"]), with_kwargs=True)
    tokens, mask = WORDS.pad_batch(prompts, "left")
    caches = model.new_caches(6)
    model(tokens[:, :4], mask[:, :4], caches)
    model(tokens[:, 4:], mask, caches)
    assert [tuple(seen.shape) for seen in masks] == [(4, 1, 4, 4), (4, 1, 2, 6)]
    assert all(seen.any(dim=-1).all() for seen in masks)


def test_what_stands_in_the_padding_does_not_matter(model, prompts):
    tokens, mask = WORDS.pad_batch(prompts, "left")
    other = tokens.masked_fill(~mask, 13)
    close(model(tokens, mask)[mask], model(other, mask)[mask])


def test_the_weights_are_tied(model):
    assert model.out.weight is model.token_embedding.weight
    assert GPTModel(CONFIG.replace(tie_weights=False)).out.weight.shape == (30, 16)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count + 30 * 16 == sum(p.numel() for p in GPTModel(CONFIG.replace(tie_weights=False)).parameters())


def test_it_begins_knowing_nothing():
    logits = GPTModel(CONFIG.replace(emb_dim=64))(torch.arange(20)[None])
    assert abs(next_token_loss(logits, torch.arange(1, 21)[None]) - torch.tensor(30.0).log()) < 0.5


@pytest.mark.parametrize("tie_weights", [True, False])
def test_save_and_load(tmp_path, tie_weights):
    model = shaken(GPTModel(CONFIG.replace(tie_weights=tie_weights)))
    save_checkpoint(tmp_path / "gpt.pt", model)
    loaded = load_checkpoint(tmp_path / "gpt.pt", model_class=GPTModel)
    tokens = torch.randint(30, (2, 9))
    assert torch.equal(loaded(tokens), model(tokens))
    assert (loaded.out.weight is loaded.token_embedding.weight) == tie_weights
    assert loaded.config == model.config and not loaded.training


def test_a_gpt_is_not_taken_for_a_vit(tmp_path, model, refuses):
    save_checkpoint(tmp_path / "gpt.pt", model)
    with refuses(ValueError, "gpt.pt", "ViTModel", "GPTModel"):
        load_checkpoint(tmp_path / "gpt.pt", model_class=ViTModel)


@pytest.mark.parametrize(
    ("tokens", "kind", "parts"),
    [
        ("a cat", TypeError, ("tokens", "str", "int64")),
        ([[1, 2]], TypeError, ("tokens", "list")),
        (torch.ones(1, 3), TypeError, ("float32", "int64")),
        (torch.ones(1, 3, dtype=torch.bool), TypeError, ("bool", "int64")),
        (torch.arange(3), ValueError, ("(3,)", "(b, n)", "tokens[None]")),
        (torch.zeros(1, 2, 3, dtype=torch.int64), ValueError, ("(1, 2, 3)", "(b, n)")),
        (torch.zeros(2, 0, dtype=torch.int64), ValueError, ("(2, 0)", "nothing")),
        (torch.tensor([[1, 30]]), ValueError, ("30", "0 to 29", "tokenizer")),
        (torch.tensor([[-1, 3]]), ValueError, ("-1", "0 to 29")),
        (torch.zeros(1, 25, dtype=torch.int64), ValueError, ("25", "context_length 24")),
    ],
)
def test_the_model_refuses(model, refuses, tokens, kind, parts):
    with refuses(kind, *parts):
        model(tokens)


def test_embed_refuses_positions_past_its_table(model, refuses):
    with refuses(ValueError, "25", "context_length 24"):
        model.embed(torch.ones(1, 1, dtype=torch.int64), torch.tensor([24]))


def test_another_index_error_passes_through_embed(model):
    model.token_embedding.register_forward_hook(lambda *_: [][0])
    with pytest.raises(IndexError):
        model(torch.ones(1, 1, dtype=torch.int64))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_compile_finds_one_graph_without_a_break(model, masked):
    """A break would be a place where the program waits for the device, or leaves what the compiler knows."""
    tokens = torch.ones(2, 5, dtype=torch.int64)
    torch._dynamo.reset()
    found = torch._dynamo.explain(model)(tokens, torch.ones(2, 5, dtype=torch.bool) if masked else None)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.slow
def test_compile_breaks_where_the_values_of_tokens_are_looked_at(model):
    """The test above can fail."""

    def forward(tokens):
        model.check_tokens(tokens)
        return model(tokens)

    torch._dynamo.reset()
    assert torch._dynamo.explain(forward)(torch.ones(2, 5, dtype=torch.int64)).graph_break_count > 0


def test_the_model_refuses_masks_and_configs_that_do_not_fit(model, refuses, tiny):
    tokens = torch.ones(2, 5, dtype=torch.int64)
    with refuses(TypeError, "attention_mask", "float32", "bool"):
        model(tokens, torch.ones(2, 5))
    with refuses(ValueError, "(2, 4)", "(2, 5)"):
        model(tokens, torch.ones(2, 4, dtype=torch.bool))
    with refuses(TypeError, "ViTConfig", "GPTConfig"):
        GPTModel(tiny)


# ---- cache ----


def test_token_by_token_equals_all_at_once(model):
    tokens = torch.randint(30, (3, 12))
    caches, expected = model.new_caches(12), model(tokens)
    parts = [model(part, caches=caches) for part in tokens.split([4, 1, 5, 1, 1], dim=1)]
    close(torch.cat(parts, dim=1), expected)
    assert [cache.length for cache in caches] == [12, 12]


def test_the_cache_says_when_it_is_full(model, refuses):
    caches = model.new_caches(5)
    model(torch.ones(2, 4, dtype=torch.int64), caches=caches)
    with refuses(ValueError, "4 tokens", "room for 5", "2 more"):
        model(torch.ones(2, 2, dtype=torch.int64), caches=caches)
    with refuses(ValueError, "holds 2 texts", "1 came"):
        model(torch.ones(1, 1, dtype=torch.int64), caches=caches)


def test_positions_go_on_behind_the_cache(model, refuses):
    caches = model.new_caches(50)
    model(torch.ones(1, 24, dtype=torch.int64), caches=caches)
    with refuses(ValueError, "25", "context_length 24"):
        model(torch.ones(1, 1, dtype=torch.int64), caches=caches)


def test_the_cache_gives_what_it_was_given():
    cache, keys = KVCache(4), torch.randn(2, 3, 4, 5)
    cache.append(keys[:, :, :3], -keys[:, :, :3])
    found = cache.append(keys[:, :, 3:], -keys[:, :, 3:])
    assert torch.equal(found[0], keys) and torch.equal(found[1], -keys)


# ---- choosing ----


def frequencies(logits, count: int = 20_000, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    chosen = sample_token(torch.tensor(logits).expand(count, -1), generator=generator, **options)
    return chosen.bincount(minlength=len(logits)) / count


P = [0.1, 0.4, 0.15, 0.3, 0.05]
LOGITS = torch.tensor(P).log().tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0}, P),
        ({"temperature": 0.5}, [p**2 / 0.285 for p in P]),
        ({"temperature": 1.0, "top_k": 2}, [0, 4 / 7, 0, 3 / 7, 0]),
        ({"temperature": 1.0, "top_k": 99}, P),
        ({"temperature": 1.0, "top_p": 0.6}, [0, 4 / 7, 0, 3 / 7, 0]),  # 0.4 is not enough, 0.7 is
        ({"temperature": 1.0, "top_p": 0.8}, [0, 8 / 17, 3 / 17, 6 / 17, 0]),
        ({"temperature": 1.0, "top_p": 1e-9}, [0, 1, 0, 0, 0]),  # the first always stays
        ({"temperature": 1.0, "top_p": 1.0}, P),
        ({"temperature": 1.0, "top_k": 3, "top_p": 0.8}, [0, 4 / 7, 0, 3 / 7, 0]),  # of the three left 0.4 / 0.85, ...
        ({"temperature": 0.0}, [0, 1, 0, 0, 0]),
        ({"temperature": 1.0, "top_k": 1}, [0, 1, 0, 0, 0]),
        ({"temperature": 1e-30}, [0, 1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should(options, expected):
    found, expected = frequencies(LOGITS, **options), torch.tensor(expected, dtype=torch.float32)
    assert ((found > 0) <= (expected > 0)).all()
    torch.testing.assert_close(found, expected, rtol=0, atol=0.015)


def test_half_is_enough_for_a_half():
    assert frequencies([0.0, 0.0], temperature=1.0, top_p=0.5).tolist() == [1, 0]


def test_a_tiny_temperature_does_not_overflow():
    assert frequencies([20.0, 30.0, -30.0], temperature=1e-38).tolist() == [0, 1, 0]


def test_ties_do_not_let_more_than_k_in():
    assert (frequencies([1.0, 1.0, 1.0, 1.0], temperature=1.0, top_k=2) > 0).sum() == 2


def test_each_row_is_drawn_from_its_own_logits():
    logits = torch.full((3, 5), -100.0)
    logits[[0, 1, 2], [4, 0, 2]] = 0
    assert sample_token(logits, temperature=1.0).tolist() == sample_token(logits).tolist() == [4, 0, 2]


# ---- generating ----

SAMPLED = {"temperature": 1.0, "seed": 3}


@pytest.mark.parametrize("options", [{}, SAMPLED, SAMPLED | {"top_k": 5}, SAMPLED | {"top_p": 0.8, "stop_token": 4}],
                         ids=["greedy", "sampled", "top_k", "top_p and stop"])  # fmt: skip
@pytest.mark.parametrize("padded", [False, True])
def test_cached_equals_uncached(model, prompts, options, padded):
    tokens, mask = WORDS.pad_batch(prompts, "left")
    inputs = options | ({"attention_mask": mask} if padded else {})
    cached = generate(model, tokens, 12, **inputs)
    assert torch.equal(cached, generate(model, tokens, 12, use_cache=False, **inputs))
    assert torch.equal(cached[:, :6], tokens)
    assert len(cached.unique()) > 5  # it is not the same word all over


def test_a_padded_prompt_is_continued_as_it_would_be_alone(model, prompts):
    tokens, mask = WORDS.pad_batch(prompts, "left")
    together = generate(model, tokens, 12, attention_mask=mask)
    for row, prompt in zip(together, prompts, strict=True):
        assert torch.equal(row[6:], generate(model, torch.tensor([prompt]), 12)[0, len(prompt) :])


def test_greedy_is_the_argmax(model):
    tokens = torch.tensor([[5, 9]])
    for _ in range(6):
        tokens = torch.cat([tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(generate(model, tokens[:, :2], 6), tokens)


def test_after_the_stop_token_comes_nothing_else(model):
    tokens = torch.randint(30, (20, 2))
    free = generate(model, tokens, 20, **SAMPLED)
    stop = free[0, 6].item()
    out = generate(model, tokens, 20, stop_token=stop, **SAMPLED)
    ended = 0
    for row in out[:, 2:]:
        places = (row == stop).nonzero()
        if len(places):
            ended += 1
            assert (row[places[0, 0] :] == stop).all()
    assert ended > 5


def test_it_ends_when_all_have_stopped(model):
    tokens = torch.tensor([[5, 9], [5, 9]])
    first = generate(model, tokens, 1)[0, -1].item()
    assert generate(model, tokens, 20, stop_token=first).shape == (2, 3)


def test_a_seed_means_the_same_whatever_was_drawn_before(model):
    tokens = torch.tensor([[5]])
    one = generate(model, tokens, 15, **SAMPLED)
    torch.rand(7)
    assert torch.equal(one, generate(model, tokens, 15, **SAMPLED))
    assert not torch.equal(one, generate(model, tokens, 15, temperature=1.0, seed=4))
    torch.manual_seed(0)
    one = generate(model, tokens, 15, temperature=1.0)
    assert not torch.equal(one, generate(model, tokens, 15, temperature=1.0))  # without a seed it goes on
    torch.manual_seed(0)
    assert torch.equal(one, generate(model, tokens, 15, temperature=1.0))


@pytest.mark.parametrize("training_mode", [True, False])
def test_generating_leaves_the_model_as_it_was(training_mode):
    model = shaken(GPTModel(CONFIG.replace(drop_rate=0.5))).train(training_mode)
    out = generate(model, torch.tensor([[5]]), 8)
    assert model.training == training_mode and not out.requires_grad
    assert torch.equal(out, generate(model.eval(), torch.tensor([[5]]), 8))  # dropout was off
    model.train(training_mode)
    model.out.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(model, torch.tensor([[5]]), 8)
    assert model.training == training_mode


@pytest.mark.parametrize("use_cache", [True, False])
def test_other_models_and_inputs_can_be_used(model, use_cache):
    """What the next lesson's model will have: new_caches, and a forward with an input of its own before the text."""

    class Prefixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gpt, self.calls = model, []

        def new_caches(self, max_length):
            return self.gpt.new_caches(max_length + 3)

        def forward(self, tokens, caches=None, *, prefix):
            self.calls.append(tokens.shape[1])
            fresh = caches is None or caches[0].length == 0
            tokens = torch.cat([prefix, tokens], dim=1) if fresh else tokens
            return self.gpt(tokens, caches=caches)

    prefix, wrapper = torch.tensor([[5, 9, 2], [7, 7, 1]]), Prefixed()
    out = generate(wrapper, torch.zeros(2, 0, dtype=torch.int64), 10, prefix=prefix, use_cache=use_cache)
    assert torch.equal(out, generate(model, prefix, 10)[:, 3:])
    assert wrapper.calls == ([0] + [1] * 9 if use_cache else list(range(10)))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"max_new_tokens": 0}, ("max_new_tokens", "0", "at least 1")),
        ({"max_new_tokens": 2.0}, ("max_new_tokens", "2.0")),
        ({"max_new_tokens": 23}, ("25", "context_length 24")),
        ({"temperature": -0.1}, ("temperature", "-0.1", "at least 0")),
        ({"temperature": float("nan")}, ("temperature", "nan")),
        ({"temperature": float("inf")}, ("temperature", "inf")),
        ({"top_k": 0}, ("top_k", "0", "at least 1")),
        ({"top_k": 1.5}, ("top_k", "1.5")),
        ({"top_p": 0.0}, ("top_p", "0.0", "more than 0")),
        ({"top_p": 1.1}, ("top_p", "1.1", "at most 1")),
        ({"attention_mask": torch.tensor([[True, False]])}, ("attention_mask", "side='left'")),
        ({"attention_mask": torch.ones(1, 3, dtype=torch.bool)}, ("attention_mask", "(b, n)")),
        ({"attention_mask": torch.ones(1, 2)}, ("attention_mask", "bool")),
        ({"tokens": torch.tensor([1, 2])}, ("tokens", "(b, n)")),
        ({"tokens": [[1, 2]]}, ("tokens", "(b, n)", "torch.tensor")),
        ({"tokens": torch.zeros(1, 0, dtype=torch.int64)}, ("(1, 0)", "nothing")),
        ({"tokens": torch.tensor([[1, 30]])}, ("30", "0 to 29", "tokenizer")),
        ({"tokens": torch.tensor([[-1, 2]])}, ("-1", "0 to 29", "tokenizer")),
    ],
)
def test_generate_refuses(model, refuses, options, parts):
    arguments = {"tokens": torch.tensor([[1, 2]]), "max_new_tokens": 3} | options
    with refuses(ValueError, *parts):
        generate(model, **arguments)


# ---- loss, and lesson 09's run ----


def test_the_loss_counts_what_is_not_padding(model):
    logits, targets = torch.randn(2, 3, 30), torch.tensor([[4, 5, 6], [7, 0, 0]])
    log_p = logits.log_softmax(-1)
    expected = -(log_p[0, 0, 4] + log_p[0, 1, 5] + log_p[0, 2, 6] + log_p[1, 0, 7]) / 4
    close(next_token_loss(logits, targets), expected)
    assert next_token_loss(logits, targets, pad=7) != next_token_loss(logits, targets)


def test_the_loss_refuses(refuses):
    with refuses(ValueError, "(1, 4, 30)", "(1, 5)"):
        next_token_loss(torch.randn(1, 4, 30), torch.ones(1, 5, dtype=torch.int64))


def test_the_loss_of_nothing_but_padding_is_no_number():
    """Zero by zero; whoever trains finds it by the loss, without a look at the targets of every batch."""
    assert next_token_loss(torch.randn(1, 4, 30), torch.zeros(1, 4, dtype=torch.int64)).isnan()


def cut_short(monkeypatch, steps: int) -> list:
    """Let an epoch of lesson 09's run have so few steps; gives the scenes that it draws."""
    drawn, real_draw = [], written.draw_scene
    monkeypatch.setattr(written, "draw_scene", lambda rng: drawn.append(real_draw(rng)) or drawn[-1])
    monkeypatch.setattr(written, "GeneratedBatches", lambda make, **options: GeneratedBatches(make, steps))
    return drawn


@pytest.mark.slow
def test_train_on_scenes_and_scene_gpt(tmp_path, monkeypatch, capsys):
    """The lesson's run, cut short; what it says is the lesson's matter."""
    drawn = cut_short(monkeypatch, 1)
    model, tokenizer = scene_gpt(tmp_path / "gpt.pt")
    assert "no gpt.pt yet" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["gpt.pt"]
    assert len(drawn) == 5000 + 10 * 64
    assert not any(scene.landmark and is_held_out(scene.thing, scene.landmark) for scene in drawn)
    text = "three light bulbs to the right of an elephant"
    assert min(tokenizer.encode(text)) >= tokenizer.first_word and tokenizer.decode(tokenizer.encode(text)) == text
    state = read_checkpoint(tmp_path / "gpt.pt")
    assert len(state["history"]["losses"]) == state["recipe"]["epochs"] == 10 and state["words"] == tokenizer.words
    monkeypatch.setattr(written, "train_on_scenes", None)  # from here on from the file
    again, same_tokenizer = scene_gpt(tmp_path / "gpt.pt")
    assert same_tokenizer.words == tokenizer.words and not again.training
    assert (model.config.vocab_size, model.config.context_length) == (len(tokenizer), 32)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.slow
def test_train_on_scenes_depends_on_its_seed_alone(tmp_path, monkeypatch):
    cut_short(monkeypatch, 2)
    losses = []
    for seed in (0, 0, 1):
        torch.rand(5)
        losses.append(train_on_scenes(tmp_path / "gpt.pt", seed=seed, epochs=1)[2])
    assert len(losses[0]) == 2 and losses[0] == losses[1] != losses[2]


def test_train_on_scenes_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    cut_short(monkeypatch, 4)
    model, _, expected = train_on_scenes(tmp_path / "whole.pt", epochs=1)
    calls, real_loss = itertools.count(1), written.next_token_loss

    def loss_and_ctrl_c(logits, targets):
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return real_loss(logits, targets)

    monkeypatch.setattr(written, "next_token_loss", loss_and_ctrl_c)
    with pytest.raises(Interrupted):
        train_on_scenes(tmp_path / "gpt.pt", epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpt_unfinished.pt", "whole.pt"]
    again, _, losses = train_on_scenes(tmp_path / "gpt.pt", epochs=1)
    assert losses == expected and next(calls) == 5  # no step was taken twice
    assert same(dict(again.state_dict()), dict(model.state_dict()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpt.pt", "whole.pt"]


def test_scene_gpt_refuses_other_files(tmp_path, model, tiny, refuses):
    save_checkpoint(tmp_path / "vit.pt", ViTModel(tiny))
    with refuses(ValueError, "vit.pt", "GPTModel"):
        scene_gpt(tmp_path / "vit.pt")
    save_checkpoint(tmp_path / "gpt.pt", model)
    with refuses(ValueError, "gpt.pt", "words"):
        scene_gpt(tmp_path / "gpt.pt")


# ---- GPT-2 ----


beside_theirs = pytest.mark.slow  # Hugging Face's library takes seconds to import, and only `make test` installs it


def their_gpt2(**options) -> nn.Module:
    """A small one, every weight drawn anew: fresh norms and biases would hide a swap."""
    import transformers

    options = {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 101, "n_positions": 20} | options
    return shaken(transformers.GPT2LMHeadModel(transformers.GPT2Config(**options)))


@torch.no_grad()
def assert_the_same(ours: GPTModel, theirs: nn.Module, atol: float = 1e-5) -> None:
    tokens = torch.randint(theirs.config.vocab_size, (3, theirs.config.n_positions))
    expected = theirs(tokens).logits
    assert expected.std() > 0.3 and not ours.training
    torch.testing.assert_close(ours(tokens), expected, rtol=0, atol=atol)


@beside_theirs
@pytest.mark.parametrize(
    "options",
    [{}, {"n_head": 4}, {"activation_function": "gelu"}, {"n_inner": 96}, {"layer_norm_epsilon": 1e-2},
     {"n_layer": 11}, {"tie_word_embeddings": False}],
    ids=str,
)  # fmt: skip
def test_our_gpt_is_gpt2(options):
    theirs = their_gpt2(**options)
    ours = from_gpt2(theirs)
    assert_the_same(ours, theirs)
    assert (ours.out.weight is ours.token_embedding.weight) == options.get("tie_word_embeddings", True)


@beside_theirs
def test_it_is_as_close_in_float64():
    theirs = their_gpt2().double()
    assert_the_same(from_gpt2(theirs), theirs, atol=1e-12)


@beside_theirs
def test_the_answer_is_only_the_same_with_every_weight_in_its_place():
    theirs = their_gpt2()
    ours, block = from_gpt2(theirs), theirs.transformer.h[1]
    block.ln_1, block.ln_2 = block.ln_2, block.ln_1
    with pytest.raises(AssertionError, match="not close"):
        assert_the_same(ours, theirs)


@beside_theirs
def test_the_tanh_matters():
    theirs = their_gpt2()
    ours = from_gpt2(theirs)
    exact = GPTModel(ours.config.replace(activation="gelu"))
    exact.load_state_dict(ours.state_dict())
    with pytest.raises(AssertionError, match="not close"):
        assert_the_same(exact.eval(), theirs)


@beside_theirs
def test_state_dicts_and_files_are_read_too(tmp_path):
    theirs = their_gpt2(n_head=1)
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    assert_the_same(from_gpt2(state), theirs)  # 64 wide: one head
    old = {name.removeprefix("transformer."): tensor for name, tensor in state.items() if name != "lm_head.weight"}
    for i in range(2):  # as in the files of 2019
        old |= {f"h.{i}.attn.bias": causal_mask(20)[None, None], f"h.{i}.attn.masked_bias": torch.tensor(-1e4)}
    save_file(old, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert_the_same(from_gpt2(tmp_path / "model.safetensors"), theirs)
    assert_the_same(from_gpt2(str(tmp_path / "pytorch_model.bin")), theirs)
    assert_the_same(from_gpt2(theirs.transformer), theirs)


@beside_theirs
def test_cached_generation_of_gpt2_equals_theirs():
    theirs = their_gpt2()
    prompt = torch.tensor([[5, 17, 80]])
    expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False,
                               pad_token_id=0, eos_token_id=None)  # fmt: skip
    assert torch.equal(generate(from_gpt2(theirs), prompt, 12), expected)


@beside_theirs
def test_a_config_is_checked(refuses):
    theirs = their_gpt2()
    config = from_gpt2(theirs).config
    assert config == GPTConfig(vocab_size=101, context_length=20, emb_dim=64, num_layers=2, num_heads=2,
                               activation="gelu_tanh")
    assert from_gpt2(theirs.state_dict(), config.replace(drop_rate=0.1)).config == config.replace(drop_rate=0.1)
    with refuses(ValueError, "context_length 20 (here 30)"):
        from_gpt2(theirs, config.replace(context_length=30))
    with refuses(ValueError, "num_heads 2 (here 4)"):
        from_gpt2(theirs, config.replace(num_heads=4))


def changed(state: dict, name: str, tensor: torch.Tensor | None) -> dict:
    return {key: value for key, value in (state | {name: tensor}).items() if value is not None}


@beside_theirs
@pytest.mark.parametrize(
    ("name", "tensor", "parts"),
    [
        ("transformer.h.1.mlp.c_fc.bias", None, ("decoder.blocks.1.feed_forward.layers.0.bias",)),
        ("transformer.ln_f.weight", None, ("decoder.norm.weight",)),
        ("transformer.h.0.crossattention.c_attn.weight", torch.ones(2, 2), ("crossattention",)),
        ("score.weight", torch.ones(3, 64), ("score.weight",)),
        ("transformer.h.0.ln_1.weight", torch.ones(7), ("norm1.weight", "[7]", "[64]")),
        ("transformer.wte.weight", torch.ones(101), ("wte.weight",)),
        ("transformer.wte.weight", torch.ones(101, 64, dtype=torch.int8), ("quantized",)),
        ("transformer.wpe.weight", None, ("wpe.weight", "another architecture")),
        ("transformer.h.0.mlp.c_fc.weight", None, ("c_fc.weight",)),
    ],
)
def test_weights_that_are_not_gpt2s_are_refused(refuses, name, tensor, parts):
    with refuses(ValueError, *parts):
        from_gpt2(changed(their_gpt2().state_dict(), name, tensor), num_heads=2)


@beside_theirs
def test_other_sources_are_refused(refuses, tiny, tmp_path):
    with refuses(ValueError, "no GPT-2", "cls_token"):
        from_gpt2(ViTModel(tiny))
    with refuses(TypeError, "source", "int"):
        from_gpt2(3)
    with refuses(FileNotFoundError, "nowhere"):
        from_gpt2(tmp_path / "nowhere.bin")
    with refuses(ValueError, "relu"):
        from_gpt2(their_gpt2(activation_function="relu"))
    with refuses(ValueError, "scale"):
        from_gpt2(their_gpt2(scale_attn_by_inverse_layer_idx=True))
    with refuses(ValueError, "emb_dim 48", "pass num_heads"):
        from_gpt2(their_gpt2(n_embd=48).state_dict())


@beside_theirs
def test_the_config_beside_a_file_is_read(tmp_path):
    """8 heads for 64 dimensions, which no rule would guess: from the folder, and from the file in it."""
    theirs = their_gpt2(n_head=8)
    theirs.save_pretrained(tmp_path)
    for source in (tmp_path, tmp_path / "model.safetensors"):
        ours = from_gpt2(source)
        assert ours.config.num_heads == 8
        assert_the_same(ours, theirs)
