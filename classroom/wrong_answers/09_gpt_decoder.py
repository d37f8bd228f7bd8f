"""Typical answers to the exercises of lesson 09: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% loss | wrong | no shift
# hint: which it has just read
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=pad)

# %% loss | wrong | shifted the wrong way
# hint: moved the wrong way
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), tokens[:, :-1].flatten(), ignore_index=pad)

# %% loss | wrong | padding counts
# hint: padding counts; leave out
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

# %% loss | wrong | padding told by what is read, not by what is asked
# hint: padding counts; leave out
def next_token_loss(logits, tokens, pad):
    targets = tokens[:, 1:]
    log_p = logits[:, :-1].log_softmax(dim=-1).gather(2, targets[:, :, None])[:, :, 0]
    return -log_p[tokens[:, :-1] != pad].mean()

# %% loss | wrong | the mean is taken before padding is left out
# hint: it still counts in what you divide by
def next_token_loss(logits, tokens, pad):
    targets = tokens[:, 1:]
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none")
    return (nats * (targets != pad)).mean()

# %% loss | wrong | a mean for each text first
# hint: so a longer text counts more
def next_token_loss(logits, tokens, pad):
    keep = (tokens[:, 1:] != pad).float()
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    return ((nats * keep).sum(dim=1) / keep.sum(dim=1)).mean()

# %% loss | wrong | softmax twice
# hint: the softmax is taken twice
def next_token_loss(logits, tokens, pad):
    probabilities = logits[:, :-1].softmax(dim=-1)
    return F.cross_entropy(probabilities.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=pad)

# %% loss | wrong | the sum
# hint: that is the sum
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=pad, reduction="sum")

# %% loss | wrong | a reshape in place of a transpose
# hint: needs a transpose, not a reshape
def next_token_loss(logits, tokens, pad):
    b, n, v = logits.shape
    return F.cross_entropy(logits[:, :-1].reshape(b, v, n - 1), tokens[:, 1:], ignore_index=pad)

# %% loss | wrong | the axes as they come
# hint: cross_entropy wants the classes on axis 1
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits[:, :-1], tokens[:, 1:], ignore_index=pad)

# %% loss | wrong | pad is always 0
# hint: is `pad` the one that was given
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)

# %% loss | wrong | a log after the softmax
# hint: take both in one step
def next_token_loss(logits, tokens, pad):
    targets = tokens[:, 1:]
    p = logits[:, :-1].softmax(dim=-1)
    right = torch.stack([p[row, i, targets[row, i]] for row, i in (targets != pad).nonzero().tolist()]) if (
        targets.max() < logits.shape[-1]) else p[:, :, 0].flatten()
    return -right.log().mean()

# %% loss | wrong | the last question alone
# hint: you ask only at the last position
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits[:, -2], tokens[:, -1], ignore_index=pad)

# %% loss | right | by hand, with a mask
def next_token_loss(logits, tokens, pad):
    targets = tokens[:, 1:]
    keep = targets != pad
    log_p = logits[:, :-1].log_softmax(dim=-1)
    picked = log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return -(picked * keep).sum() / keep.sum()

# %% loss | right | the last two axes swapped
def next_token_loss(logits, tokens, pad):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], ignore_index=pad)

# %% loss | right | roll, and the last target as padding
def next_token_loss(logits, tokens, pad):
    targets = tokens.roll(-1, dims=1)
    targets[:, -1] = pad
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=pad)

# %% choice | wrong | times the temperature
# hint: divide, don't multiply
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(top_k, dim=-1).values[:, -1:], -torch.inf)
    return (logits * temperature).softmax(dim=-1)

# %% choice | wrong | temperature 0 has no way of its own
# hint: Temperature 0 needs a way of its own
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
    return (logits / temperature).softmax(dim=-1)

# %% choice | wrong | top-k after the softmax, and not renormed
# hint: let them share it all
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    p = (logits / temperature).softmax(dim=-1)
    if top_k is not None:
        best = p.topk(min(top_k, p.shape[-1]), dim=-1)
        p = torch.zeros_like(p).scatter(-1, best.indices, best.values)
    return p

# %% choice | wrong | along the texts
# hint: the columns sum to 1
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=0), logits.shape[-1]).to(logits.dtype)
    return (logits / temperature).softmax(dim=0)

# %% choice | wrong | a logit of 0 for those that are out
# hint: a logit of 0 is not enough
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
        logits = torch.zeros_like(logits).scatter(-1, best.indices, best.values)
    return (logits / temperature).softmax(dim=-1)

# %% choice | wrong | sorted, and not put back
# hint: it looks sorted
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    if top_k is not None:
        logits = logits.sort(dim=-1, descending=True).values
        logits[:, top_k:] = -torch.inf
    return (logits / temperature).softmax(dim=-1)

# %% choice | wrong | a threshold lets equals in
# hint: exactly k may stay
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    if top_k is not None:
        smallest = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    return (logits / temperature).softmax(dim=-1)

# %% choice | wrong | a very small temperature for 0
# hint: temperature 0 keeps more than one
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
    return (logits / max(temperature, 1e-4)).softmax(dim=-1)

# %% choice | wrong | fails for a large k
# hint: top_k is larger than the vocabulary
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    if top_k is not None:
        best = logits.topk(top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
    return (logits / temperature).softmax(dim=-1)

# %% choice | wrong | writes into the logits
# hint: it changes the logits
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    if top_k is not None:
        out = logits.argsort(dim=-1, descending=True)[:, top_k:]
        logits.scatter_(-1, out, -torch.inf)
    return (logits / temperature).softmax(dim=-1)

# %% choice | wrong | exp by hand overflows
# hint: large logits overflow
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    weights = (logits / temperature).exp()
    if top_k is not None:
        best = weights.topk(min(top_k, weights.shape[-1]), dim=-1)
        weights = torch.zeros_like(weights).scatter(-1, best.indices, best.values)
    return weights / weights.sum(dim=-1, keepdim=True)

# %% choice | right | renormed after the softmax
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        temperature, top_k = 1.0, 1
    p = torch.softmax(logits.double() / temperature, dim=1)
    if top_k:
        mask = torch.zeros_like(p, dtype=torch.bool)
        mask.scatter_(1, p.argsort(dim=1, descending=True)[:, :top_k], True)
        p = p * mask
    return p / p.sum(dim=1, keepdim=True)

# %% choice | right | row by row
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    made = torch.zeros_like(logits)
    for row, scores in enumerate(logits):
        if temperature == 0:
            made[row, scores.argmax()] = 1
        else:
            kept = scores.argsort(descending=True)[:top_k]
            made[row, kept] = F.softmax(scores[kept] / temperature, dim=0)
    return made

# %% choice | right | scattered into new tensors in the default dtype
def next_token_probabilities(logits, temperature=1.0, top_k=None):
    if temperature == 0:
        return torch.zeros(logits.shape).scatter(1, logits.argmax(dim=1, keepdim=True), 1.0)
    if top_k is not None:
        values, indices = logits.topk(min(top_k, logits.shape[1]))
        logits = torch.full(logits.shape, -torch.inf).scatter(1, indices, values)
    return (logits / temperature).softmax(dim=1)

# %% counting | wrong | the tied matrix counted twice
# hint: the weights are tied
table_parameters, cache_numbers, positions_without, positions_with, questions = 206_400, 38_400, 390, 29, 9

# %% counting | wrong | no positions
# hint: the table of positions is missing
table_parameters, cache_numbers, positions_without, positions_with, questions = 100_000, 38_400, 390, 29, 9

# %% counting | wrong | only keys are kept
# hint: keys and values are kept, both
table_parameters, cache_numbers, positions_without, positions_with, questions = 106_400, 19_200, 390, 29, 9

# %% counting | wrong | times the heads
# hint: the heads share out the width
table_parameters, cache_numbers, positions_without, positions_with, questions = 106_400, 192_000, 390, 29, 9

# %% counting | wrong | the last new token is read, without a cache
# hint: the first new token comes from the 10 of the prompt
table_parameters, cache_numbers, positions_without, positions_with, questions = 106_400, 38_400, 410, 29, 9

# %% counting | wrong | the last new token is read, with a cache
# hint: read by nobody
table_parameters, cache_numbers, positions_without, positions_with, questions = 106_400, 38_400, 390, 30, 9

# %% counting | wrong | padding is asked for
# hint: padding is not asked for
table_parameters, cache_numbers, positions_without, positions_with, questions = 106_400, 38_400, 390, 29, 12

# %% counting | wrong | the end is not asked for
# hint: the end is asked for, too
table_parameters, cache_numbers, positions_without, positions_with, questions = 106_400, 38_400, 390, 29, 7

# %% counting | wrong | a slip that nobody foresaw
# hint: not right: cache_numbers
table_parameters, cache_numbers, positions_without, positions_with, questions = 106_400, 11_111, 390, 29, 9

# %% counting | right | as sums and products
table_parameters = (1000 + 64) * 100
cache_numbers = 3 * 2 * 5 * 64 * 20
positions_without = sum(10 + i for i in range(20))
positions_with = 10 + 20 - 1
questions = len("a cat <eos>".split()) + len("two cats above a house <eos>".split())

# %% read_on | wrong | positions begin at 0 again
# hint: you give it position 0
def read_on(model, tokens, memory):
    n = tokens.shape[1]
    x = model.embed(tokens, torch.arange(n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if i in memory:
            keys, values = torch.cat([memory[i][0], keys], dim=2), torch.cat([memory[i][1], values], dim=2)
        memory[i] = keys, values
        mask = causal_mask(n, keys.shape[2])
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | the memory is overwritten
# hint: is it overwritten
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        memory[i] = keys, values
        x = finish(block, x, F.scaled_dot_product_attention(queries, *memory[i], attn_mask=causal_mask(n)))
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | joined along the heads
# hint: meet along the axis of the tokens
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if start:
            keys, values = torch.cat([memory[i][0], keys], dim=1), torch.cat([memory[i][1], values], dim=1)
        memory[i] = keys, values
        mask = causal_mask(n, start + n)
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | joined along the batch
# hint: meet along the axis of the tokens
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if start:
            keys, values = torch.cat([memory[i][0], keys]), torch.cat([memory[i][1], values])
        memory[i] = keys, values
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=causal_mask(n)))
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | the mask begins at the first key
# hint: your mask begins at the first key
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if start:
            keys, values = torch.cat([memory[i][0], keys], dim=2), torch.cat([memory[i][1], values], dim=2)
        memory[i] = keys, values
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, is_causal=True))
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | no mask once there is a memory
# hint: several new tokens at once
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if start:
            keys, values = torch.cat([memory[i][0], keys], dim=2), torch.cat([memory[i][1], values], dim=2)
        memory[i] = keys, values
        mask = None if start else causal_mask(n)
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | one memory for all the blocks
# hint: does each have its own keys and values
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for block in model.decoder.blocks:
        queries, keys, values = project(block, x)
        if start:
            keys, values = torch.cat([memory["k"], keys], dim=2), torch.cat([memory["v"], values], dim=2)
        memory["k"], memory["v"] = keys, values
        mask = causal_mask(n, keys.shape[2])
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | what is kept is kept in a global
# hint: it begins with an empty memory
kept = {}
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], kept.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if start:
            keys, values = torch.cat([kept[i][0], keys], dim=2), torch.cat([kept[i][1], values], dim=2)
        kept[i] = keys, values
        mask = causal_mask(n, start + n)
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))
    kept["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | everything is read again
# hint: pass through the model again
def read_on(model, tokens, memory):
    memory["tokens"] = torch.cat([memory["tokens"], tokens], dim=1) if memory else tokens
    return read(model, memory["tokens"])[:, -tokens.shape[1]:]

# %% read_on | wrong | looks before it keeps
# hint: does not see itself
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.get("length", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if start:
            context = F.scaled_dot_product_attention(queries, *memory[i])
            memory[i] = torch.cat([memory[i][0], keys], dim=2), torch.cat([memory[i][1], values], dim=2)
        else:
            context = F.scaled_dot_product_attention(queries, keys, values, attn_mask=causal_mask(n))
            memory[i] = keys, values
        x = finish(block, x, context)
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | an empty memory is not foreseen
# hint: memory is an empty dict
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory["length"]
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        memory[i] = torch.cat([memory[i][0], keys], dim=2), torch.cat([memory[i][1], values], dim=2)
        x = finish(block, x, F.scaled_dot_product_attention(queries, *memory[i], attn_mask=causal_mask(n, start + n)))
    memory["length"] = start + n
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | tokens are counted once in each block
# hint: is a token counted once, not once in each block
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.setdefault("m", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if i in memory:
            keys, values = torch.cat([memory[i][0], keys], dim=2), torch.cat([memory[i][1], values], dim=2)
        memory[i] = keys, values
        memory["m"] += n
        mask = causal_mask(n, keys.shape[2])
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))
    return model.out(model.decoder.norm(x))

# %% read_on | wrong | tokens are counted once in each block, and the mask with them
# hint: is a token counted once, not once in each block
def read_on(model, tokens, memory):
    n, start = tokens.shape[1], memory.setdefault("m", 0)
    x = model.embed(tokens, torch.arange(start, start + n))
    for i, block in enumerate(model.decoder.blocks):
        queries, keys, values = project(block, x)
        if i in memory:
            keys, values = torch.cat([memory[i][0], keys], dim=2), torch.cat([memory[i][1], values], dim=2)
        memory[i] = keys, values
        memory["m"] += n
        mask = causal_mask(n, memory["m"])
        x = finish(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask))
    return model.out(model.decoder.norm(x))

# %% read_on | right | the package's own caches
def read_on(model, tokens, memory):
    with torch.no_grad():
        if "caches" not in memory:
            memory["caches"] = model.new_caches(model.config.context_length)
        return model(tokens, caches=memory["caches"])

# %% read_on | right | lists, and attention by hand
def read_on(model, tokens, memory):
    with torch.no_grad():
        pairs = memory.setdefault("pairs", [None] * len(model.decoder.blocks))
        start = 0 if pairs[0] is None else pairs[0].shape[3]
        b, n = tokens.shape
        x = model.token_embedding(tokens) + model.position_embedding.weight[start : start + n]
        for i, block in enumerate(model.decoder.blocks):
            queries, *new = project(block, x)
            new = torch.stack(new)
            pairs[i] = new if pairs[i] is None else torch.cat([pairs[i], new], dim=-2)
            keys, values = pairs[i]
            scores = queries @ keys.mT / keys.shape[-1] ** 0.5
            later = torch.arange(start + n) > torch.arange(start, start + n)[:, None]
            x = finish(block, x, scores.masked_fill(later, -torch.inf).softmax(-1) @ values)
        return model.out(model.decoder.norm(x))

# %% lookback | wrong | mean over the contexts
# hint: you took the mean over contexts
def best_loss(rows, k):
    after = {}
    for row in rows:
        for i in range(1, len(row)):
            after.setdefault(tuple(row[max(0, i - k) : i]), []).append(row[i])
    means = [sum(-math.log(tokens.count(t) / len(tokens)) for t in tokens) / len(tokens) for tokens in after.values()]
    return sum(means) / len(means)
losses = {}

# %% lookback | wrong | every pair counts once
# hint: weight it by its number
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-math.log(times / contexts[context]) for (context, _), times in pairs.items()) / len(pairs)
losses = {}

# %% lookback | wrong | shares of all the questions
# hint: the share is among those with the same context
def best_loss(rows, k):
    pairs = Counter((tuple(row[max(0, i - k) : i]), row[i]) for row in rows for i in range(1, len(row)))
    total = pairs.total()
    return sum(-times * math.log(times / total) for times in pairs.values()) / total
losses = {}

# %% lookback | wrong | the first token is asked for
# hint: nobody is asked for the first
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {}

# %% lookback | wrong | one token too many
# hint: one token too long
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k - 1) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {}

# %% lookback | wrong | nothing becomes everything
# hint: row[-0:] is row[0:]
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[:i][-k:])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {}

# %% lookback | wrong | the beginnings of rows are left out
# hint: although just one token stands before them
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(max(1, k), len(row)):
            context = tuple(row[i - k : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {}

# %% lookback | wrong | negative numbers count from the end
# hint: where fewer than k tokens stand before
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[i - k : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {k: best_loss(rows, k) for k in range(9)}
figure, ax = plt.subplots()
ax.plot(losses.keys(), losses.values())
ax.set(xlabel="k", ylabel="nats", title="found")

# %% lookback | wrong | bits
# hint: that is in bits
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log2(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {}

# %% lookback | wrong | k = 0 left out
# hint: losses should have k = 0 to 8
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {k: best_loss(rows, k) for k in range(1, 9)}
figure, ax = plt.subplots()
ax.plot(losses.keys(), losses.values())

# %% lookback | wrong | drawn into another figure
# hint: ax is empty
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {k: best_loss(rows, k) for k in range(9)}
figure, ax = plt.subplots()
plt.figure()
plt.plot(losses.keys(), losses.values())

# %% lookback | wrong | a figure of something else
# hint: what is drawn is not what is in losses
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {k: best_loss(rows, k) for k in range(9)}
figure, ax = plt.subplots()
ax.bar(range(9), range(9))
ax.set(xlabel="k", ylabel="nats", title="one word is nearly enough")

# %% lookback | right | lists of followers, drawn as bars
def best_loss(rows, k):
    followers = {}
    for row in rows:
        for i, token in enumerate(row[1:], start=1):
            context = " ".join(map(str, row[max(i - k, 0) : i]))
            followers.setdefault(context, Counter()).update([token])
    total, questions = 0.0, 0
    for counts in followers.values():
        here = sum(counts.values())
        total += sum(-n * math.log(n / here) for n in counts.values())
        questions += here
    return total / questions
losses = {}
for k in range(9):
    losses[k] = best_loss(rows, k)
figure, ax = plt.subplots()
ax.bar([str(k) for k in losses], losses.values())
ax.set_xlabel("look back")
ax.set_ylabel("nats")
ax.set_title("one word is nearly enough")

# %% lookback | right | with numpy's log, and <bos> repeated in front
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        longer = [-1] * k + row
        for i in range(k + 1, len(longer)):
            context = tuple(longer[i - k : i])
            contexts[context] += 1
            pairs[context + (longer[i],)] += 1
    times = torch.tensor(list(pairs.values()), dtype=torch.float64)
    of = torch.tensor([contexts[pair[:-1]] for pair in pairs], dtype=torch.float64)
    return float((times * -(times / of).log()).sum() / times.sum())
losses = {k: best_loss(rows, k) for k in range(0, 9)}
figure, ax = plt.subplots()
ax.plot(list(losses), list(losses.values()), "x:")
ax.set(xlabel="k", ylabel="nats", title="one word is nearly enough")

# %% lookback | right | a yardstick first, and two lines
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {k: best_loss(rows, k) for k in range(9)}
figure, ax = plt.subplots()
ax.axhline(losses[8], linestyle=":")
ax.plot([0, 1], [losses[0], losses[1]])
ax.plot(range(1, 9), [round(losses[k], 2) for k in range(1, 9)])
ax.set(xlabel="k", ylabel="nats", title="one word is nearly enough")

# %% lookback | right | dots above a yardstick
def best_loss(rows, k):
    contexts, pairs = Counter(), Counter()
    for row in rows:
        for i in range(1, len(row)):
            context = tuple(row[max(0, i - k) : i])
            contexts[context] += 1
            pairs[context, row[i]] += 1
    return sum(-times * math.log(times / contexts[context]) for (context, _), times in pairs.items()) / contexts.total()
losses = {k: best_loss(rows, k) for k in range(9)}
figure, ax = plt.subplots()
ax.scatter(list(losses), list(losses.values()))
ax.axhline(1.42)
ax.set(xlabel="k", ylabel="nats", title="one word is nearly enough")
