"""Attention, block and encoder: against plain Python, against PyTorch, and what the causal mask does."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vit_from_scratch.attention import (
    MultiHeadAttention,
    ViTMultiHeadAttention,
    attention_weights,
    causal_mask,
    check_heads,
)
from vit_from_scratch.encoder import FeedForward, LayerScale, TransformerBlock, TransformerEncoder


def attention_in_plain_python(queries, keys, values, causal):
    """One head, one sentence; lists of lists of floats, and nothing but loops."""
    out = []
    for i, query in enumerate(queries):
        visible = range(i + 1) if causal else range(len(keys))
        scores = [sum(q * k for q, k in zip(query, keys[j], strict=True)) / math.sqrt(len(query)) for j in visible]
        exponentials = [math.exp(score - max(scores)) for score in scores]
        weights = [e / sum(exponentials) for e in exponentials]
        out.append([sum(w * values[j][d] for w, j in zip(weights, visible, strict=True)) for d in range(len(query))])
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_a_loop_in_plain_python(causal):
    b, n, d, heads = 2, 5, 12, 3
    attention = MultiHeadAttention(d, heads, causal=causal).double()
    x = torch.randn(b, n, d, dtype=torch.float64)
    queries, keys, values = attention.qkv(x).chunk(3, dim=-1)
    context = torch.empty_like(x)
    for i in range(b):
        for head in torch.arange(d).chunk(heads):
            rows = (part[i][:, head].tolist() for part in (queries, keys, values))
            context[i][:, head] = torch.tensor(attention_in_plain_python(*rows, causal), dtype=torch.float64)
    torch.testing.assert_close(attention(x), attention.out_proj(context), rtol=0, atol=1e-12)


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_pytorchs(causal, qkv_bias):
    d, heads, n = 24, 4, 7
    ours = MultiHeadAttention(d, heads, causal=causal, qkv_bias=qkv_bias).double()
    theirs = nn.MultiheadAttention(d, heads, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias if qkv_bias else torch.zeros(3 * d))
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    x = torch.randn(3, n, d, dtype=torch.float64)
    mask = torch.ones(n, n, dtype=torch.bool).triu(1) if causal else None
    expected, expected_weights = theirs(x, x, x, attn_mask=mask, average_attn_weights=False)
    out, weights = ours(x, return_weights=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_come_with_the_same_output(causal):
    attention = MultiHeadAttention(12, 3, causal=causal)
    x = torch.randn(2, 5, 12)
    out, weights = attention(x, return_weights=True)
    torch.testing.assert_close(out, attention(x), rtol=0, atol=1e-5)
    assert weights.shape == (2, 3, 5, 5)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5), rtol=0, atol=1e-5)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    assert (weights[..., future] == 0).all() == causal


def test_attention_weights_are_a_softmax_of_scaled_products():
    queries, keys = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0]]), torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0]])
    e = math.e  # the first query's scores are 2 / sqrt(4) = 1 and 0
    torch.testing.assert_close(attention_weights(queries, keys), torch.tensor([[e / (e + 1), 1 / (e + 1)], [0.5, 0.5]]))
    torch.testing.assert_close(attention_weights(queries, keys, causal=True), torch.tensor([[1, 0], [0.5, 0.5]]))


def test_the_two_classes_differ_in_the_mask_alone():
    assert MultiHeadAttention(8, 2, causal=True).causal
    assert not ViTMultiHeadAttention(8, 2).causal
    with pytest.raises(TypeError, match="causal"):
        ViTMultiHeadAttention(8, 2, causal=True)
    causal, full = TransformerBlock(8, 2, causal=True), TransformerBlock(8, 2)
    full.load_state_dict(causal.state_dict())  # the same parameters, by name and shape
    x = torch.randn(1, 4, 8)
    torch.testing.assert_close(full(x)[:, -1], causal(x)[:, -1])  # the last position sees all of them anyway
    assert (full(x)[:, 0] - causal(x)[:, 0]).abs().max() > 1e-3


def test_nothing_is_causal_unless_asked_to_be():
    assert not MultiHeadAttention(8, 2).causal
    assert not TransformerBlock(8, 2).attention.causal
    assert not any(block.attention.causal for block in TransformerEncoder(2, 8, num_heads=2).blocks)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_runs_in_half_precision(causal, dtype):
    attention = MultiHeadAttention(16, 4, causal=causal)
    x = torch.randn(2, 5, 16)
    with torch.autocast("cpu", dtype):
        out, (with_weights, weights) = attention(x), attention(x, return_weights=True)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), attention(x), rtol=0.05, atol=0.05)
    torch.testing.assert_close(with_weights.float(), attention(x), rtol=0.05, atol=0.05)
    torch.testing.assert_close(weights.float().sum(-1), torch.ones(2, 4, 5), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("emb_dim", "num_heads", "way_out"),
    [(10, 3, 2), (2, 4, 2), (128, 5, 4), (16, 99, 16), (7, 3, 1), (8, 0, 1), (8, -2, 1)],
)
def test_heads_that_do_not_divide_are_refused(refuses, emb_dim, num_heads, way_out):
    for wants_heads in (check_heads, MultiHeadAttention, ViTMultiHeadAttention, TransformerBlock):
        with refuses(ValueError, f"emb_dim {emb_dim}", f"num_heads {num_heads}", f"use num_heads={way_out},"):
            wants_heads(emb_dim, num_heads)
    check_heads(emb_dim, way_out)


@pytest.fixture
def encoder():
    """Makes small encoders in float64, with every parameter drawn at random (norms and scales too)."""

    def make(causal: bool = False, **options) -> TransformerEncoder:
        made = TransformerEncoder(2, 12, num_heads=3, causal=causal, **options).double()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.normal_(std=0.5)
        return made

    return make


def test_without_positions_order_does_not_matter(encoder):
    full, causal = encoder(), encoder(causal=True)
    x, order = torch.randn(2, 6, 12, dtype=torch.float64), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(full(x[:, order]), full(x)[:, order], rtol=0, atol=1e-12)
    assert (causal(x[:, order]) - causal(x)[:, order]).abs().max() > 1e-3  # a GPT's mask is a sort of position


def gradient_of_position_0(encoder: TransformerEncoder) -> torch.Tensor:
    """How much each position of the input moves the output at position 0: (n,)."""
    x = torch.randn(1, 6, 12, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(12, dtype=torch.float64)  # a plain sum would not do: LayerNorm fixes it
    (encoder(x)[0, 0] @ direction).backward()
    return x.grad[0].abs().sum(dim=1)


def test_position_0_reads_every_patch_only_without_the_mask(encoder):
    full, causal = gradient_of_position_0(encoder()), gradient_of_position_0(encoder(causal=True))
    assert (full > 1e-6).all()
    assert causal[0] > 1e-6
    assert (causal[1:] == 0).all()


def test_the_block_is_pre_norm():
    block = TransformerBlock(12, 3, layer_scale=0.25).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    middle = x + 0.25 * block.attention(block.norm1(x))
    expected = middle + 0.25 * block.feed_forward(block.norm2(middle))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_the_encoder_is_its_blocks_and_a_last_norm(encoder):
    made = encoder(norm_eps=0.1)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(made(x), made.norm(made.blocks[1](made.blocks[0](x))), rtol=0, atol=0)
    norms = [module for module in made.modules() if isinstance(module, nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [0.1] * 5


def test_options_reach_the_blocks():
    made = TransformerEncoder(2, 12, num_heads=3, mlp_ratio=2.5, qkv_bias=False, drop_rate=0.25, layer_scale=1e-3)
    for block in made.blocks:
        assert block.attention.num_heads == 3
        assert block.attention.qkv.bias is None
        assert block.feed_forward.layers[0].out_features == 30
        assert isinstance(block.scale1, LayerScale)
        assert (block.scale2.scale == 1e-3).all()
    assert {module.p for module in made.modules() if isinstance(module, nn.Dropout)} == {0.25}

# ---- masks and caches, for the GPT and what is built on it ----


class Memory:
    """The plainest cache."""

    keys = values = None

    def append(self, keys, values):
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], dim=2)
        self.values = values if self.values is None else torch.cat([self.values, values], dim=2)
        return self.keys, self.values


def test_the_causal_mask_counts_from_the_end():
    assert torch.equal(causal_mask(3), torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool())
    assert torch.equal(causal_mask(2, 4), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool())
    assert causal_mask(1, 5).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("return_weights", [False, True])
def test_a_mask_takes_the_place_of_the_causal_rule(causal, return_weights):
    """By gradient: each position depends on just the tokens that its row of the mask allows."""
    attention = MultiHeadAttention(12, 3, causal=causal).double()
    mask = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 0, 1]]).bool()
    x = torch.randn(1, 4, 12, dtype=torch.float64)
    for position in range(4):
        tokens = x.clone().requires_grad_()
        out = attention(tokens, return_weights=return_weights, mask=mask)
        (out[0] if return_weights else out)[0, position].square().sum().backward()
        allowed = mask[position].clone()
        allowed[position] = True  # its own query
        assert torch.equal(tokens.grad[0].norm(dim=-1) > 0, allowed)


def test_masks_may_differ_by_picture_and_head():
    attention = ViTMultiHeadAttention(12, 3)
    x, mask = torch.randn(2, 4, 12), torch.rand(2, 3, 4, 4) < 0.5
    mask |= torch.eye(4, dtype=torch.bool)
    out, weights = attention(x, return_weights=True, mask=mask)
    assert torch.equal(weights > 0, mask)
    torch.testing.assert_close(attention(x, mask=mask), out, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pieces", [[1] * 6, [4, 1, 1], [2, 3, 1], [6]])
@pytest.mark.parametrize("return_weights", [False, True])
def test_token_by_token_with_a_cache_equals_all_at_once(pieces, return_weights):
    made = TransformerEncoder(2, 12, num_heads=3, causal=True).double()
    x, caches = torch.randn(2, 6, 12, dtype=torch.float64), [Memory(), Memory()]
    parts = [made(part, caches=caches) for part in x.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), made(x), rtol=0, atol=1e-12)
    attention, memory = made.blocks[0].attention, Memory()
    outs = [attention(part, return_weights=return_weights, cache=memory) for part in x.split(pieces, dim=1)]
    outs = [out[0] if return_weights else out for out in outs]
    torch.testing.assert_close(torch.cat(outs, dim=1), attention(x), rtol=0, atol=1e-12)
    assert memory.keys.shape == (2, 3, 6, 4)


def test_there_is_a_cache_for_every_block():
    made = TransformerEncoder(2, 12, num_heads=3, causal=True)
    with pytest.raises(ValueError):
        made(torch.randn(1, 3, 12), caches=[Memory()])


def test_gelu_is_exact_unless_asked_for_gpt_2s():
    x = torch.linspace(-4, 4, 12)[None, None]
    exact, tanh = FeedForward(12, 24), FeedForward(12, 24, activation="gelu_tanh")
    tanh.load_state_dict(exact.state_dict())
    first, _, _, last, _ = exact.layers
    torch.testing.assert_close(exact(x), last(F.gelu(first(x))), rtol=0, atol=1e-6)
    torch.testing.assert_close(tanh(x), last(F.gelu(first(x), approximate="tanh")), rtol=0, atol=1e-6)
    assert not torch.equal(exact(x), tanh(x))
    made = TransformerEncoder(2, 12, num_heads=3, activation="gelu_tanh")
    assert {module.approximate for module in made.modules() if isinstance(module, nn.GELU)} == {"tanh"}
