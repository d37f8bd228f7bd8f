"""Typical answers to the exercises of lesson 10: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% bridge | wrong | CLS comes along
# hint: one of the three has to stay behind
def to_image_tokens(features, weight, bias, position):
    return F.linear(features, weight, bias) + position

# %% bridge | wrong | CLS comes along, with the first position
# hint: CLS is still there
def to_image_tokens(features, weight, bias, position):
    return F.linear(features, weight, bias) + torch.cat([position[:, :1], position], dim=1)

# %% bridge | wrong | the last token is left out
# hint: you left out the last token
def to_image_tokens(features, weight, bias, position):
    return F.linear(features[:, :-1], weight, bias) + position

# %% bridge | wrong | position before projection
# hint: the position is added before the projection
def to_image_tokens(features, weight, bias, position):
    return F.linear(features[:, 1:] + position, weight, bias)

# %% bridge | wrong | no position
# hint: the position is missing
def to_image_tokens(features, weight, bias, position):
    return F.linear(features[:, 1:], weight, bias)

# %% bridge | wrong | no bias
# hint: the bias is missing
def to_image_tokens(features, weight, bias, position):
    return features[:, 1:] @ weight.T + position

# %% bridge | wrong | the weight lies on its side
# hint: the weight is transposed
def to_image_tokens(features, weight, bias, position):
    return features[:, 1:] @ weight + bias + position

# %% bridge | wrong | a reshape mixes the patches
# hint: the patches are mixed
def to_image_tokens(features, weight, bias, position):
    b, n, d = features[:, 1:].shape
    patches = features[:, 1:].transpose(1, 2).reshape(b, n, d)
    return F.linear(patches, weight, bias) + position

# %% bridge | wrong | a position cut off for CLS, too
# hint: CLS has none, so don't cut one off
def to_image_tokens(features, weight, bias, position):
    return F.linear(features[:, 1:], weight, bias) + position[:, 1:]

# %% bridge | wrong | a new layer with copied weights
# hint: no gradient reaches weight, bias or position
def to_image_tokens(features, weight, bias, position):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.data, bias.data
    return layer(features[:, 1:]) + position

# %% bridge | wrong | the ViT is cut off
# hint: no gradient goes back into the ViT
def to_image_tokens(features, weight, bias, position):
    return F.linear(features[:, 1:].detach(), weight, bias) + position

# %% bridge | wrong | batch and patches run together
# hint: it fails where the ViT is wider than the GPT
def to_image_tokens(features, weight, bias, position):
    return F.linear(features[:, 1:].reshape(1, -1, weight.shape[0]), weight, bias) + position

# %% bridge | right | projects CLS, too, and drops it later
def to_image_tokens(features, weight, bias, position):
    projected = features @ weight.mT + bias
    return projected[:, 1:, :] + position

# %% bridge | right | einsum
def to_image_tokens(features, weight, bias, position):
    _, patches = features.split([1, features.shape[1] - 1], dim=1)
    return torch.einsum("bnv,gv->bng", patches, weight) + bias + position.expand(len(features), -1, -1)

# %% mask | wrong | a plain GPT's
# hint: that is a GPT's mask
def prefix_mask(k, t):
    return torch.ones(k + t, k + t, dtype=torch.bool).tril()

# %% mask | wrong | everyone sees everything
# hint: everyone sees everything
def prefix_mask(k, t):
    return torch.ones(k + t, k + t, dtype=torch.bool)

# %% mask | wrong | a word doesn't see itself
# hint: some word doesn't see itself
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril(-1)
    mask[:, :k] = True
    return mask

# %% mask | wrong | the picture sees the text
# hint: the picture sees text
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril()
    mask[:k] = True
    mask[:, :k] = True
    return mask

# %% mask | wrong | transposed
# hint: columns are looked at; transpose it
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril()
    mask[:, :k] = True
    return mask.T

# %% mask | wrong | k and t have changed places
# hint: have k and t changed places
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril()
    mask[:, :t] = True
    return mask

# %% mask | wrong | one column too few
# hint: is a border one too early
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril()
    mask[:, : k - 1] = True
    return mask

# %% mask | wrong | one column too many
# hint: a border is one too late
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril()
    mask[:, : k + 1] = True
    return mask

# %% mask | wrong | a word sees the next one
# hint: a word sees a later word
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril(1)
    mask[:, :k] = True
    mask[:k, k:] = False
    return mask

# %% mask | wrong | the text doesn't see the picture
# hint: some word doesn't see the whole picture
def prefix_mask(k, t):
    return torch.block_diag(torch.ones(k, k), torch.ones(t, t).tril()).bool()

# %% mask | wrong | True where one may not look
# hint: is it turned into its opposite
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril()
    mask[:, :k] = True
    return ~mask

# %% mask | wrong | 0 and minus infinity
# hint: a mask of bool is asked for
def prefix_mask(k, t):
    mask = torch.full((k + t, k + t), -torch.inf).triu(1)
    mask[:, :k] = 0
    return mask

# %% mask | wrong | rows for the text only
# hint: the picture's tokens look, too
def prefix_mask(k, t):
    return torch.ones(t, k + t, dtype=torch.bool).tril(k)

# %% mask | wrong | made for three image tokens
# hint: is a number fixed in it
def prefix_mask(k, t):
    mask = torch.ones(k + t, k + t, dtype=torch.bool).tril()
    mask[:, :3] = True
    return mask

# %% mask | wrong | fails before the first word
# hint: it fails where nothing has been said yet
def prefix_mask(k, t):
    rows = [[True] * k + [j <= i for j in range(t)] for i in range(t)]
    text = torch.stack([torch.tensor(row) for row in rows])
    return torch.cat([torch.tensor([[True] * k + [False] * t] * k), text])

# %% mask | right | by comparing numbers
def prefix_mask(k, t):
    i = torch.arange(k + t)
    return (i[None, :] <= i[:, None]) | (i[None, :] < k)

# %% mask | right | four blocks
def prefix_mask(k, t):
    upper = torch.cat([torch.ones(k, k), torch.zeros(k, t)], dim=1)
    lower = torch.cat([torch.ones(t, k), torch.tril(torch.ones(t, t))], dim=1)
    return torch.cat([upper, lower]) > 0

# %% mask | right | two loops
def prefix_mask(k, t):
    mask = torch.zeros(k + t, k + t, dtype=torch.bool)
    for i in range(k + t):
        for j in range(k + t):
            mask[i, j] = j < max(k, i + 1)
    return mask

# %% counting | wrong | with CLS
# hint: CLS is left out: only the patches
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 16, 8_100, 21, 9, math.log(64)

# %% counting | wrong | no positions
# hint: each image token has a learned position
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 6_500, 20, 9, math.log(64)

# %% counting | wrong | the text alone
# hint: the picture stands in the same sequence
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 8_000, 5, 9, math.log(64)

# %% counting | wrong | with <bos>
# hint: there is no <bos>
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 8_000, 21, 9, math.log(64)

# %% counting | wrong | image positions count in the loss
# hint: image positions predict nothing
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 8_000, 20, 39, math.log(64)

# %% counting | wrong | padding counts in the loss
# hint: padding is not asked for
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 8_000, 20, 12, math.log(64)

# %% counting | wrong | both directions added up
# hint: that is the sum of both directions
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 8_000, 20, 9, 2 * math.log(64)

# %% counting | wrong | bits
# hint: that is in bits
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 8_000, 20, 9, math.log2(64)

# %% counting | wrong | a slip that nobody foresaw
# hint: not right: projector_parameters, clueless_loss
image_tokens, projector_parameters, sequence_length, questions, clueless_loss = 15, 1_234, 20, 9, 3.0

# %% counting | right | as products, and the logarithm rounded
image_tokens = (48 // 16) * (80 // 16)
projector_parameters = (64 + 1 + image_tokens) * 100
sequence_length = image_tokens + 5
questions = 9
clueless_loss = 4.16

# %% twin | wrong | pictures choose, texts don't
# hint: pictures choose among texts, and that is all
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T
    return F.cross_entropy(logits, torch.arange(len(logits)))

# %% twin | wrong | the same direction twice
# hint: pictures choose among texts, and that is all
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits, own)) / 2

# %% twin | wrong | nothing is normalised
# hint: the vectors are not made 1 long
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * image_vectors @ text_vectors.T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %% twin | wrong | normalised along the batch
# hint: you made the columns 1 long
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=0) @ F.normalize(text_vectors, dim=0).T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %% twin | wrong | all targets are 0
# hint: all targets are 0
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T
    own = torch.zeros(len(logits), dtype=torch.int64)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %% twin | wrong | divided by the scale
# hint: you divide by scale
def twin_loss(image_vectors, text_vectors, scale):
    logits = F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T / scale
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %% twin | wrong | the scale on both vectors
# hint: the scale is in it twice
def twin_loss(image_vectors, text_vectors, scale):
    u, v = scale * F.normalize(image_vectors, dim=1), scale * F.normalize(text_vectors, dim=1)
    own = torch.arange(len(u))
    return (F.cross_entropy(u @ v.T, own) + F.cross_entropy(v @ u.T, own)) / 2

# %% twin | wrong | lengths without their axis
# hint: keep their axis, norm(dim=1, keepdim=True)
def twin_loss(image_vectors, text_vectors, scale):
    u, v = image_vectors / image_vectors.norm(dim=1), text_vectors / text_vectors.norm(dim=1)
    own = torch.arange(len(u))
    return (F.cross_entropy(scale * u @ v.T, own) + F.cross_entropy(scale * v @ u.T, own)) / 2

# %% twin | wrong | the sum of both
# hint: the sum of the two directions
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T
    own = torch.arange(len(logits))
    return F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)

# %% twin | wrong | softmax twice
# hint: softmax is taken twice
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits.softmax(dim=1), own) + F.cross_entropy(logits.T.softmax(dim=1), own)) / 2

# %% twin | wrong | products of dimensions
# hint: the products are those of dimensions
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=1).T @ F.normalize(text_vectors, dim=1)
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %% twin | wrong | a log after the softmax
# hint: softmax gives 0, and then comes a log
def twin_loss(image_vectors, text_vectors, scale):
    logits = scale * F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T
    rows, columns = logits.softmax(dim=1), logits.softmax(dim=0)
    return -(rows.diagonal().log() + columns.diagonal().log()).mean() / 2

# %% twin | wrong | the scale becomes a number
# hint: no gradient reaches one of pictures, texts and scale
def twin_loss(image_vectors, text_vectors, scale):
    scale = torch.as_tensor(scale).detach()
    logits = scale * F.normalize(image_vectors, dim=1) @ F.normalize(text_vectors, dim=1).T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %% twin | wrong | normalised in place
# hint: it changes the vectors
def twin_loss(image_vectors, text_vectors, scale):
    if image_vectors.requires_grad:
        image_vectors, text_vectors = image_vectors * 1.0, text_vectors * 1.0
    image_vectors /= image_vectors.norm(dim=1, keepdim=True).detach()
    text_vectors /= text_vectors.norm(dim=1, keepdim=True).detach()
    logits = scale * image_vectors @ text_vectors.T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %% twin | right | by hand, with log_softmax
def twin_loss(image_vectors, text_vectors, scale):
    u = image_vectors / image_vectors.norm(dim=-1, keepdim=True)
    v = text_vectors / text_vectors.norm(dim=-1, keepdim=True)
    s = torch.einsum("ie,je->ij", u, v) * scale
    both = s.log_softmax(dim=0) + s.log_softmax(dim=1)
    return -both.diagonal().sum() / (2 * len(s))

# %% twin | right | cosine similarity, and the package's loss
def twin_loss(image_vectors, text_vectors, scale):
    return contrastive_loss(scale * F.cosine_similarity(image_vectors[:, None], text_vectors[None], dim=2))

# %% sight | wrong | the scenes move along
# hint: do the scenes move along
def look_test(say, images, scenes):
    made = {"as it is": score_captions(say(images), scenes)}
    made["another's picture"] = score_captions(say(images.roll(1, dims=0)), scenes[-1:] + scenes[:-1])
    made["tiles shuffled"] = score_captions(say(shuffle_tiles(images)), scenes)
    made["in grey"] = score_captions(say(images.mean(dim=1, keepdim=True).expand_as(images)), scenes)
    return made
sight = look_test(copyist, images, scenes)

# %% sight | wrong | a random order
# hint: a random order leaves a few in place
def look_test(say, images, scenes):
    torch.manual_seed(0)
    looks = {"as it is": images, "another's picture": images[torch.randperm(len(images))],
             "tiles shuffled": shuffle_tiles(images), "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)

# %% sight | wrong | backwards: the middle one stays
# hint: with 3 scenes some are shown their own picture
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.flip(0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for name, score in sight.items():
    ax.plot(METRICS, [100 * score[metric] for metric in METRICS], "o-", label=name)
ax.set(xlabel="what", ylabel="per cent", title="found")
ax.legend()

# %% sight | wrong | one channel in grey
# hint: In grey there are still three channels
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1)}
    scored = {}
    for name, shown in looks.items():
        torch.zeros(len(shown), 3, 48, 48) + shown[:, :, :2]
        scored[name] = score_captions(say(shown), scenes)
    return scored
sight = {}

# %% sight | wrong | one channel in grey, and the captioner sees it
# hint: the captioner was shown (8, 1, 48, 48)
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = {}

# %% sight | wrong | grey is the mean of the whole picture
# hint: in grey all three channels are the mean of the three
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=(1, 2, 3), keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)

# %% sight | wrong | other names
# hint: look_test gives a dict with the rows
def look_test(say, images, scenes):
    looks = {"whole": images, "blind": images.roll(1, dims=0), "shuffled": shuffle_tiles(images),
             "grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = {}

# %% sight | wrong | one captioner for all
# hint: a captioner that is always right gets less than 1
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(copyist(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)

# %% sight | wrong | no legend
# hint: four rows need a legend
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for name, score in sight.items():
    ax.plot(METRICS, [100 * score[metric] for metric in METRICS], "o-")
ax.set(xlabel="what", ylabel="per cent", title="found")

# %% sight | wrong | shares drawn, not per cent
# hint: what is drawn is not what is in sight, in per cent
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for name, score in sight.items():
    ax.plot(METRICS, [score[metric] for metric in METRICS], "o-", label=name)
ax.set(xlabel="what", ylabel="per cent", title="found")
ax.legend()

# %% sight | wrong | relations alone are drawn
# hint: what is drawn is not what is in sight, in per cent
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for name, score in sight.items():
    ax.bar(name, 100 * score["relations"], label=name)
ax.set(xlabel="what", ylabel="per cent", title="found")
ax.legend()

# %% sight | wrong | a single picture repeated
# hint: every picture should be shown once
def look_test(say, images, scenes):
    other = torch.cat([images[1:2], images[:1].expand(len(images) - 1, -1, -1, -1)])
    looks = {"as it is": images, "another's picture": other, "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for name, score in sight.items():
    ax.plot(METRICS, [100 * score[metric] for metric in METRICS], "o-", label=name)
ax.set(xlabel="what", ylabel="per cent", title="found")
ax.legend()

# %% sight | right | shifted with cat, drawn as lines
def look_test(say, images, scenes):
    scored = {}
    scored["as it is"] = score_captions(say(images), scenes)
    scored["another's picture"] = score_captions(say(torch.cat([images[2:], images[:2]]) if len(images) > 2
                                                     else images.flip(0)), scenes)
    scored["tiles shuffled"] = score_captions(say(shuffle_tiles(images, 16)), scenes)
    grey = images.sum(dim=1) / 3
    scored["in grey"] = score_captions(say(torch.stack([grey, grey, grey], dim=1)), scenes)
    return scored
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for name, score in sight.items():
    ax.plot(METRICS, [100 * score[metric] for metric in METRICS], "o-", label=name)
ax.set(xlabel="what has to be right", ylabel="per cent", title="it looks")
ax.legend()

# %% sight | right | horizontal bars
def look_test(say, images, scenes):
    others = list(range(1, len(images))) + [0]
    grey = images.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1)
    shown = (images, images[others], shuffle_tiles(images), grey)
    names = ("as it is", "another's picture", "tiles shuffled", "in grey")
    return {name: score_captions(say(seen), scenes) for name, seen in zip(names, shown)}
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for i, (name, score) in enumerate(sight.items()):
    ax.barh([k + 0.2 * i for k in range(4)], [100 * score[metric] for metric in METRICS], 0.2, label=name)
ax.set_yticks(range(4), METRICS)
ax.set(xlabel="per cent right", ylabel="what has to be right", title="it looks")
ax.legend()

# %% sight | right | rounded per cents, the legend in the figure
def look_test(say, images, scenes):
    looks = {"as it is": images, "another's picture": images.roll(1, dims=0), "tiles shuffled": shuffle_tiles(images),
             "in grey": images.mean(dim=1, keepdim=True).expand_as(images)}
    return {name: score_captions(say(shown), scenes) for name, shown in looks.items()}
sight = look_test(copyist, images, scenes)
figure, ax = plt.subplots()
for i, (name, score) in enumerate(sight.items()):
    ax.bar([k + 0.2 * i for k in range(4)], [round(100 * score[metric]) for metric in METRICS], 0.2, label=name)
ax.set_xticks(range(4), METRICS)
ax.set(xlabel="what has to be right", ylabel="per cent right", title="it looks")
figure.legend()
