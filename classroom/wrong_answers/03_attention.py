"""Typical answers to the exercises of lesson 03: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% mask | wrong | no return
# hint: did you forget `return`
def may_look(n, prefix):
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[:, :prefix] = True

# %% mask | wrong | floats
# hint: should be of bool
def may_look(n, prefix):
    mask = torch.ones(n, n).tril()
    mask[:, :prefix] = 1
    return mask

# %% mask | wrong | True where it is hidden
# hint: the mask is inverted
def may_look(n, prefix):
    mask = torch.ones(n, n, dtype=torch.bool).triu(diagonal=1)
    mask[:, :prefix] = False
    return mask

# %% mask | wrong | the upper triangle
# hint: the mask lies on its side
def may_look(n, prefix):
    mask = torch.ones(n, n, dtype=torch.bool).triu()
    mask[:, :prefix] = True
    return mask

# %% mask | wrong | nobody sees itself
# hint: the diagonal is True
def may_look(n, prefix):
    mask = torch.ones(n, n, dtype=torch.bool).tril(diagonal=-1)
    mask[:, :prefix] = True
    return mask

# %% mask | wrong | no prefix
# hint: prefix changes nothing
def may_look(n, prefix):
    return torch.ones(n, n, dtype=torch.bool).tril()

# %% mask | wrong | rows instead of columns
# hint: you opened rows
def may_look(n, prefix):
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[:prefix] = True
    return mask

# %% mask | wrong | one too many
# hint: is it one too many
def may_look(n, prefix):
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if prefix:
        mask[:, : prefix + 1] = True
    return mask

# %% mask | wrong | the diagonal moved
# hint: is it one too many
def may_look(n, prefix):
    return torch.ones(n, n, dtype=torch.bool).tril(diagonal=prefix)

# %% mask | wrong | everything is open as soon as there is a prefix
# hint: you opened rows
def may_look(n, prefix):
    return torch.ones(n, n, dtype=torch.bool).tril() if prefix == 0 else torch.ones(n, n, dtype=torch.bool)

# %% mask | wrong | the words see no earlier words
# hint: earlier words and itself
def may_look(n, prefix):
    if prefix == 0:
        return torch.ones(n, n, dtype=torch.bool).tril()
    mask = torch.eye(n, dtype=torch.bool)
    mask[:, :prefix] = True
    return mask

# %% mask | wrong | the last token stays hidden
# hint: in a ViT
def may_look(n, prefix):
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[:, : min(prefix, n - 1)] = True
    return mask

# %% mask | right | by comparing numbers
def may_look(n, prefix):
    rows, columns = torch.arange(n)[:, None], torch.arange(n)
    return (columns <= rows) | (columns < prefix)

# %% mask | right | two loops
def may_look(n, prefix):
    mask = torch.zeros(n, n).bool()
    for i in range(n):
        for j in range(n):
            if j <= i or j < prefix:
                mask[i, j] = True
    return mask

# %% attend | wrong | no return
# hint: did you forget `return`
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    context = scores.softmax(dim=-1) @ values

# %% attend | wrong | no scale
# hint: the scores are not scaled
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | divided by d_head
# hint: divide by its root
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | multiplied by the root
# hint: you multiply by the root
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | softmax over the queries
# hint: sum to 1 over the keys
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-2) @ values

# %% attend | wrong | the root of the number of keys
# hint: go through the four steps
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / keys.shape[-2] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | no softmax
# hint: have not gone through a softmax
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, 0)
    return scores @ values

# %% attend | wrong | only the weights
# hint: these are weights
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1)

# %% attend | wrong | the keys in place of the values
# hint: what a token hands over is its value
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ keys

# %% attend | wrong | causal, as in a GPT
# hint: a causal mask is left in
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ values

# %% attend | wrong | the mask inverted
# hint: the mask is inverted
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | the mask after the softmax
# hint: the others no longer sum to 1
def attend(queries, keys, values, mask=None):
    weights = (queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5).softmax(dim=-1)
    if mask is not None:
        weights = weights * mask
    return weights @ values

# %% attend | wrong | 0 instead of minus infinity
# hint: a score of 0 is not hidden
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, 0)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | the mask's result is thrown away
# hint: the mask changes nothing
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | the mask added as a number
# hint: the mask was added as a number
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + mask
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | a mask is taken for granted
# hint: it fails without a mask
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ values

# %% attend | wrong | the queries transposed
# hint: it fails for queries (2, 4) and keys (3, 4): the scores are
def attend(queries, keys, values, mask=None):
    scores = queries.transpose(-2, -1) @ keys / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | .T turns all the axes
# hint: and no others
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.permute(*range(keys.ndim - 1, -1, -1)) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | exp by hand
# hint: large scores give nan or inf
def attend(queries, keys, values, mask=None):
    grown = (queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5).exp()
    if mask is not None:
        grown = grown * mask
    return grown / grown.sum(dim=-1, keepdim=True) @ values

# %% attend | wrong | masked after the softmax, and shared out again
# hint: a hidden key with a very large score
def attend(queries, keys, values, mask=None):
    weights = (queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5).softmax(dim=-1)
    if mask is not None:
        weights = weights * mask
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights @ values

# %% attend | wrong | the queries are scaled in place
# hint: attend changes what it was given
def attend(queries, keys, values, mask=None):
    queries /= queries.shape[-1] ** 0.5
    scores = queries @ keys.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | hidden scores of -100
# hint: the number that you fill in is not small enough
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -100)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | hidden scores of -10,000
# hint: the number that you fill in is not small enough
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | the largest score of the whole table taken off
# hint: subtract each query's own largest score
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = (scores - scores.max()).exp()
    return weights / weights.sum(dim=-1, keepdim=True) @ values

# %% attend | wrong | scores clamped
# hint: clamp nothing
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.clamp(max=80).exp()
    return weights / weights.sum(dim=-1, keepdim=True) @ values

# %% attend | wrong | axes counted from the front
# hint: count axes from the end
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | four axes taken for granted
# hint: count axes from the end
def attend(queries, keys, values, mask=None):
    b, h, n, d = queries.shape
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(d)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | two axes taken for granted
# hint: count axes from the end
def attend(queries, keys, values, mask=None):
    n, d = queries.shape
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(d)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | if mask
# hint: ask `if mask is not None`
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | wrong | a mask of one's own is square
# hint: is a mask that you made yourself (n, m), too
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is None:
        mask = torch.ones(queries.shape[-2], queries.shape[-2], dtype=torch.bool)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values

# %% attend | right | -1e9
def attend(queries, keys, values, mask=None):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    return scores.softmax(dim=-1) @ values

# %% attend | right | einsum, and a large negative number
def attend(queries, keys, values, mask=None):
    scores = torch.einsum("...nd,...md->...nm", queries, keys) * queries.shape[-1] ** -0.5
    if mask is not None:
        scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    return torch.einsum("...nm,...md->...nd", F.softmax(scores, dim=-1), values)

# %% attend | right | exp by hand, with the largest score taken off
def attend(queries, keys, values, mask=None):
    scores = queries / math.sqrt(keys.size(-1)) @ keys.mT
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    scores = scores + torch.zeros_like(scores).masked_fill(mask.logical_not(), float("-inf"))
    grown = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return (grown @ values) / grown.sum(dim=-1, keepdim=True)

# %% attend | right | torch's own
def attend(queries, keys, values, mask=None):
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)

# %% heads | wrong | one reshape
# hint: one reshape cuts between tokens
def split_heads(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, num_heads, n, d // num_heads)
def merge_heads(x):
    b, h, n, d_head = x.shape
    return x.reshape(b, n, h * d_head)

# %% heads | wrong | no return
# hint: did you forget `return`
def split_heads(x, num_heads):
    heads = x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
def merge_heads(x):
    return x.transpose(1, 2).flatten(2)

# %% heads | wrong | the heads stay behind the tokens
# hint: they stand after the tokens
def split_heads(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, n, num_heads, d // num_heads)
def merge_heads(x):
    return x.flatten(2)

# %% heads | wrong | every second number
# hint: head 0 has every second number
def split_heads(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, n, d // num_heads, num_heads).permute(0, 3, 1, 2)
def merge_heads(x):
    return x.permute(0, 2, 3, 1).flatten(2)

# %% heads | wrong | all heads get the same slice
# hint: both heads have the same numbers
def split_heads(x, num_heads):
    part = x[:, :, : x.shape[2] // num_heads]
    return torch.stack([part] * num_heads, dim=1)
def merge_heads(x):
    return x.transpose(1, 2).flatten(2)

# %% heads | wrong | numbers before tokens
# hint: tokens and numbers have changed places
def split_heads(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, n, num_heads, d // num_heads).permute(0, 2, 3, 1)
def merge_heads(x):
    return x.permute(0, 3, 1, 2).flatten(2)

# %% heads | wrong | heads before pictures
# hint: b is gone, or behind the heads
def split_heads(x, num_heads):
    return torch.stack(x.chunk(num_heads, dim=-1))
def merge_heads(x):
    return torch.cat(list(x), dim=-1)

# %% heads | wrong | merged with one reshape
# hint: merge_heads scrambles
def split_heads(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
def merge_heads(x):
    b, h, n, d_head = x.shape
    return x.reshape(b, n, h * d_head)

# %% heads | wrong | view after a transpose
# hint: did you take `view` after the transpose
def split_heads(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
def merge_heads(x):
    b, h, n, d_head = x.shape
    return x.transpose(1, 2).view(b, n, h * d_head)

# %% heads | wrong | heads added up
# hint: the heads were added, averaged, or left out
def split_heads(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
def merge_heads(x):
    return x.sum(dim=1)

# %% heads | wrong | merged number by number
# hint: merge_heads shuffles the heads' numbers together
def split_heads(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
def merge_heads(x):
    return x.permute(0, 2, 3, 1).flatten(2)

# %% heads | wrong | the rest is cut off
# hint: but no error came
def split_heads(x, num_heads):
    d_head = x.shape[2] // num_heads
    return torch.stack([x[:, :, i * d_head : (i + 1) * d_head] for i in range(num_heads)], dim=1)
def merge_heads(x):
    return x.transpose(1, 2).flatten(2)

# %% heads | wrong | always two heads
# hint: split_heads is wrong for 3 pictures, 5 tokens and 1 heads
def split_heads(x, num_heads):
    return x.unflatten(-1, (2, -1)).transpose(1, 2)
def merge_heads(x):
    return x.transpose(1, 2).flatten(2)

# %% heads | wrong | one picture only
# hint: it fails for 3 pictures
def split_heads(x, num_heads):
    _, n, d = x.shape
    return x.reshape(1, n, num_heads, d // num_heads).transpose(1, 2)
def merge_heads(x):
    _, h, n, d_head = x.shape
    return x.transpose(1, 2).reshape(1, n, h * d_head)

# %% heads | wrong | the tokens are counted by what is left
# hint: but no error came
def split_heads(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, -1, num_heads, d // num_heads).transpose(1, 2)
def merge_heads(x):
    return x.transpose(1, 2).flatten(2)

# %% heads | wrong | merged to the width of one head
# hint: the sides that you ask for don't hold all the numbers
def split_heads(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, n, num_heads, d // num_heads).transpose(1, 2)
def merge_heads(x):
    b, h, n, d_head = x.shape
    return x.transpose(1, 2).reshape(b, n, d_head)

# %% heads | right | chunks, side by side again
def split_heads(x, num_heads):
    if x.shape[-1] % num_heads:
        raise ValueError("the heads don't divide the dimensions")
    return torch.stack(x.chunk(num_heads, dim=-1), dim=1)
def merge_heads(x):
    return torch.cat(list(x.unbind(dim=1)), dim=-1)

# %% heads | right | permute, contiguous, view
def split_heads(x, num_heads):
    b, n, d = x.size()
    assert d % num_heads == 0
    return x.contiguous().view(b, n, num_heads, d // num_heads).permute(0, 2, 1, 3)
def merge_heads(x):
    b, h, n, d_head = x.size()
    return x.permute(0, 2, 1, 3).contiguous().view(b, n, h * d_head)

# %% counting | wrong | one table for all heads
# hint: each head has a table of its own
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 65, 65), 37_248, 37_248, 405_600, 811_200)

# %% counting | wrong | no biases
# hint: both layers have biases
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 6, 65, 65), 36_864, 36_864, 405_600, 811_200)

# %% counting | wrong | out_proj forgotten
# hint: out_proj comes after them
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 6, 65, 65), 27_936, 27_936, 405_600, 811_200)

# %% counting | wrong | twice as many heads, twice as many parameters
# hint: more heads are narrower heads
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 6, 65, 65), 37_248, 74_496, 405_600, 811_200)

# %% counting | wrong | scores instead of products
# hint: that is how many scores
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 6, 65, 65), 37_248, 37_248, 25_350, 811_200)

# %% counting | wrong | every head multiplies all of d
# hint: its own part of the 96 numbers only
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 6, 65, 65), 37_248, 37_248, 2_433_600, 811_200)

# %% counting | wrong | numbers instead of bytes
# hint: each takes 4 bytes
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 6, 65, 65), 37_248, 37_248, 405_600, 202_800)

# %% counting | wrong | a shape as a text
# hint: write a tuple of whole numbers
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    "8, 6, 65, 65", 37_248, 37_248, 405_600, 811_200)

# %% counting | wrong | slips that nobody foresaw
# hint: not right: num_parameters, weights_bytes
weights_shape, num_parameters, parameters_12_heads, score_products, weights_bytes = (
    (8, 6, 65, 65), 40_000, 37_248, 405_600, 800_000)

# %% counting | right | as products
weights_shape = (8, 6) + 2 * (65,)
num_parameters = 4 * (96 * 96 + 96)
parameters_12_heads = 4 * 97 * 96
score_products = 65**2 * 96
weights_bytes = 4 * math.prod(weights_shape)

# %% entropy | wrong | 0 times minus infinity
# hint: has nan in it
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return -(weights * weights.log()).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | no minus
# hint: is it missing in yours
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.xlogy(weights, weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | bits
# hint: the logarithm the natural one
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return -(weights * (weights + 1e-12).log2()).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | the sum over everything
# hint: the mean over all else
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | the mean over the keys, too
# hint: the entropy is ln 3
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | the entropy of the mean weights
# hint: take the entropy of each query's weights first
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1).mean(dim=0)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | the scale is not used
# hint: is `scale` used
def row_entropy(queries, keys, scale):
    weights = (queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | the root as the scale, not one divided by it
# hint: is the scale turned over
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | the two exchanged
# hint: or are the two names
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), 1) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | divided by d_head
# hint: one divided by the root of the width
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), 1 / w) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | scaled twice
# hint: the scores are multiplied by scale, once
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ (scale * keys).transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | softmax over the queries
# hint: the entropy is ln 3
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-2)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | wrong | axes without names
# hint: name both axes
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.legend()

# %% entropy | wrong | one width left out
# hint: one for each of the 5 widths
def row_entropy(queries, keys, scale):
    weights = (scale * queries @ keys.transpose(-2, -1)).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths[1:]],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths[1:]]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths[1:], measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | right | torch's distributions, as bars
def row_entropy(queries, keys, scale):
    scores = torch.bmm(queries, keys.mT) * scale
    return float(torch.distributions.Categorical(logits=scores).entropy().mean())
measured = {"unscaled": [], "scaled": []}
for width in widths:
    queries, keys = queries_and_keys(width)
    measured["scaled"].append(row_entropy(queries, keys, 1 / width**0.5))
    measured["unscaled"].append(row_entropy(queries, keys, 1.0))
figure, ax = plt.subplots()
ax.bar([i - 0.2 for i in range(5)], measured["scaled"], width=0.4, label="scaled")
ax.bar([i + 0.2 for i in range(5)], measured["unscaled"], width=0.4, label="unscaled")
ax.set_xticks(range(5), labels=[str(width) for width in widths])
ax.set_xlabel("width of the head")
ax.set_ylabel("entropy, nats")
ax.set_title("the root keeps it wide")
ax.legend()

# %% entropy | right | log_softmax, in double precision
def row_entropy(queries, keys, scale):
    logarithms = torch.log_softmax(queries.double() @ keys.double().transpose(1, 2) * scale, dim=2)
    return -(logarithms.exp() * logarithms).sum(dim=2).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.semilogx(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()

# %% entropy | right | a small number inside the logarithm
def row_entropy(queries, keys, scale):
    weights = torch.softmax(torch.einsum("bnd,bmd->bnm", queries, keys) * scale, dim=-1)
    return -(weights * torch.log(weights + 1e-9)).sum(-1).mean().item()
measured = {"scaled": [row_entropy(*queries_and_keys(w), w**-0.5) for w in widths],
            "unscaled": [row_entropy(*queries_and_keys(w), 1) for w in widths]}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(widths, measured[name], label=name)
ax.set(xlabel="d_head", ylabel="entropy", title="found")
ax.legend()
