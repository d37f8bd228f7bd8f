"""Typical answers to the exercises of lesson 05: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% head | wrong | no return
# hint: did you forget `return`
def head(x, weight, bias):
    logits = x[:, 0] @ weight.T + bias

# %% head | wrong | every token, as in a GPT
# hint: logits for every token
def head(x, weight, bias):
    return F.linear(x, weight, bias)

# %% head | wrong | a slice that leaves the axis
# hint: index it, don't slice it
def head(x, weight, bias):
    return F.linear(x[:, :1], weight, bias)

# %% head | wrong | the first picture instead of the first token
# hint: take the first token of each picture
def head(x, weight, bias):
    return F.linear(x[0], weight, bias)

# %% head | wrong | the wrong axis
# hint: Is it axis 1, the tokens
def head(x, weight, bias):
    return F.linear(x[:, :, 0], weight, bias)

# %% head | wrong | the weight is not transposed
# hint: nn.Linear uses it transposed
def head(x, weight, bias):
    return x[:, 0] @ weight + bias

# %% head | wrong | the last token
# hint: you read the last token
def head(x, weight, bias):
    return F.linear(x[:, -1], weight, bias)

# %% head | wrong | the mean over all tokens
# hint: that is the mean over all tokens
def head(x, weight, bias):
    return F.linear(x.mean(dim=1), weight, bias)

# %% head | wrong | the mean over the patches
# hint: that is the mean over the patches
def head(x, weight, bias):
    return F.linear(x[:, 1:].mean(dim=1), weight, bias)

# %% head | wrong | the first patch
# hint: you read the first patch
def head(x, weight, bias):
    return F.linear(x[:, 1], weight, bias)

# %% head | wrong | probabilities
# hint: softmax is applied already
def head(x, weight, bias):
    return F.linear(x[:, 0], weight, bias).softmax(dim=-1)

# %% head | wrong | logarithms of probabilities
# hint: a log-softmax is applied
def head(x, weight, bias):
    return F.log_softmax(F.linear(x[:, 0], weight, bias), dim=-1)

# %% head | wrong | no bias
# hint: the bias is not added
def head(x, weight, bias):
    return x[:, 0] @ weight.T

# %% head | wrong | a squeeze too many
# hint: an axis of length 1 is an axis, too
def head(x, weight, bias):
    return F.linear(x[:, :1], weight, bias).squeeze()

# %% head | wrong | a new layer with copied numbers
# hint: no gradient reaches weight or bias
def head(x, weight, bias):
    layer = nn.Linear(x.shape[-1], len(weight), dtype=x.dtype)
    layer.weight.data, layer.bias.data = weight.detach().clone(), bias.detach().clone()
    return layer(x[:, 0])

# %% head | wrong | detached
# hint: no gradient reaches the encoder
def head(x, weight, bias):
    return F.linear(x[:, 0].detach(), weight, bias)

# %% head | right | einsum
def head(x, weight, bias):
    return torch.einsum("bd,kd->bk", x[:, 0, :], weight) + bias

# %% head | right | project first, then slice
def head(x, weight, bias):
    return (x @ weight.mT + bias)[:, 0]

# %% counting | wrong | no CLS
# hint: one more token comes first
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 196, 145_920, 385_000, 0, 2304

# %% counting | wrong | size does not matter
# hint: one parameter has a row for each token
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 0, 385_000, 0, 2304

# %% counting | wrong | rows instead of parameters
# hint: that is how many rows
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 24 * 24 - 14 * 14, 385_000, 0, 2304

# %% counting | wrong | all the positions
# hint: asked is how many more than before
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 577 * 384, 385_000, 0, 2304

# %% counting | wrong | no bias in the classifier
# hint: each class has a bias
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 145_920, 384_000, 0, 2304

# %% counting | wrong | heads cost something
# hint: the heads share out the 384 dimensions
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 145_920, 385_000, 6, 2304

# %% counting | wrong | the feed-forward alone
# hint: reach the feed-forward alone
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 145_920, 385_000, 0, 4 * 384

# %% counting | wrong | a float from a division
# hint: write a whole number
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 145_920, 385_000, 0, 24 * 384 / 4

# %% counting | wrong | a slip that nobody foresaw
# hint: not right: break_even
num_tokens, gained_by_size, lost_by_head, gained_by_heads, break_even = 197, 145_920, 385_000, 0, 2400

# %% counting | right | step by step
num_tokens = (224 // 16) ** 2 + 1
gained_by_size = (24**2 + 1) * 384 - num_tokens * 384
lost_by_head = (384 + 1) * 1000
gained_by_heads = 384 // 6 * 6 - 384 // 12 * 12
break_even = 24 * 384 // 4

# %% parameters | wrong | no return
# hint: did you forget `return`
def count_parameters(config):
    d, n = config.emb_dim, config.num_patches
    total = 12 * d**2 + 13 * d + (n + 1) * d

# %% parameters | wrong | a float
# hint: take int(emb_dim * mlp_ratio)
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 4 * d + 4 * d**2 + d + 3 * d * config.qkv_bias + 2 * d * d * config.mlp_ratio + d * config.mlp_ratio + d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | CLS is forgotten
# hint: one vector of emb_dim is missing
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 12 * d**2 + 13 * d
    return ph * pw * config.num_channels * d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | CLS has no position
# hint: one vector of emb_dim is missing
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 12 * d**2 + 13 * d
    return ph * pw * config.num_channels * d + d + d + n * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | the last norm is forgotten
# hint: the last norm (scale and shift)
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 12 * d**2 + 13 * d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + k * d + k

# %% parameters | wrong | norms without a shift
# hint: each with a scale and a shift
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 12 * d**2 + 11 * d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + d + k * d + k

# %% parameters | wrong | no bias for a class
# hint: a class has a bias, too
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 12 * d**2 + 13 * d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d

# %% parameters | wrong | positions forgotten
# hint: every patch has a position
def count_parameters(config):
    d, (ph, pw), k = config.emb_dim, config.patch_size, config.num_classes
    block = 12 * d**2 + 13 * d
    return ph * pw * config.num_channels * d + d + d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | only the weights of a block
# hint: count the biases and norms, too
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 12 * d**2
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | attention once for each head
# hint: the heads share out emb_dim
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 4 * d + config.num_heads * (4 * d**2 + 4 * d) + 8 * d**2 + 5 * d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | the lesson's function
# hint: wrong for patches that are not square
def count_parameters(config):
    p, c, d, n = config.patch_size[0], config.num_channels, config.emb_dim, config.num_patches
    layers, k = config.num_layers, config.num_classes
    block = 4 * d + (4 * d**2 + 4 * d) + (8 * d**2 + 5 * d)
    return (p**2 * c * d + d) + d + (n + 1) * d + layers * block + 2 * d + (k * d + k)

# %% parameters | wrong | mlp_ratio is always 4
# hint: not always 4 d
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    block = 12 * d**2 + 13 * d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | without qkv_bias the output projection loses its bias, too
# hint: the output projection keeps it
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    hidden = int(d * config.mlp_ratio)
    block = 4 * d + 4 * d**2 + (4 * d if config.qkv_bias else 0) + 2 * d * hidden + hidden + d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | layer_scale is ignored
# hint: two factors for each dimension
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    hidden = int(d * config.mlp_ratio)
    block = 4 * d + 4 * d**2 + d + (3 * d if config.qkv_bias else 0) + 2 * d * hidden + hidden + d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | a layer_scale of 0.0 is taken for None
# hint: compare with None
def count_parameters(config):
    d, n, (ph, pw), k = config.emb_dim, config.num_patches, config.patch_size, config.num_classes
    hidden = int(d * config.mlp_ratio)
    block = 4 * d + 4 * d**2 + d + (3 * d if config.qkv_bias else 0) + 2 * d * hidden + hidden + d
    if config.layer_scale:
        block += 2 * d
    return ph * pw * config.num_channels * d + d + d + (n + 1) * d + config.num_layers * block + 2 * d + k * d + k

# %% parameters | wrong | the last norm in every block
# hint: the third stands once
def count_parameters(config):
    d, hidden = config.emb_dim, int(config.emb_dim * config.mlp_ratio)
    start = config.patch_size[0] * config.patch_size[1] * config.num_channels * d + d + d + (config.num_patches + 1) * d
    attention = 3 * d * d + 3 * d * config.qkv_bias + d * d + d
    block = 6 * d + attention + 2 * d * hidden + hidden + d + (0 if config.layer_scale is None else 2 * d)
    return start + config.num_layers * block + config.num_classes * (d + 1)

# %% parameters | right | from little functions
def count_parameters(config):
    def linear(inputs, outputs, bias=True):
        return inputs * outputs + (outputs if bias else 0)
    d = config.emb_dim
    norm, hidden = 2 * d, int(config.mlp_ratio * d)
    count = linear(config.num_channels * config.patch_size[0] * config.patch_size[1], d)
    count += d + d * (1 + config.num_patches)
    for _ in range(config.num_layers):
        count += norm + linear(d, 3 * d, config.qkv_bias) + linear(d, d)
        count += norm + linear(d, hidden) + linear(hidden, d)
        if config.layer_scale is not None:
            count += 2 * d
    count += norm
    if config.num_classes:
        count += linear(d, config.num_classes)
    return count

# %% parameters | right | as a sum over a table of shapes
def count_parameters(config):
    d, m, k = config.emb_dim, int(config.emb_dim * config.mlp_ratio), config.num_classes
    h, w = config.patch_size
    once = [(h, w, config.num_channels, d), (d,), (d,), (config.num_patches + 1, d), (d,), (d,), (k, d), (k,)]
    per_block = [(d,)] * 4 + [(3 * d, d), (d, d), (d,), (m, d), (m,), (d, m), (d,)]
    per_block += [(3 * d,)] * config.qkv_bias + [(d,)] * (2 * (config.layer_scale is not None))
    product = torch.Size
    return sum(product(shape).numel() for shape in once + per_block * config.num_layers)

# %% config | wrong | whole division in silence
# hint: throws away what is left over
def check_config(image_size, patch_size, emb_dim, num_heads):
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | floats
# hint: // not /
def check_config(image_size, patch_size, emb_dim, num_heads):
    return image_size[0] / patch_size[0] * image_size[1] / patch_size[1], emb_dim / num_heads

# %% config | wrong | square pictures only
# hint: the picture is not square
def check_config(image_size, patch_size, emb_dim, num_heads):
    if image_size[0] % patch_size[0]:
        raise ValueError("image_size")
    return (image_size[0] // patch_size[0]) ** 2, emb_dim // num_heads

# %% config | wrong | CLS counted
# hint: CLS is no patch
def check_config(image_size, patch_size, emb_dim, num_heads):
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]) + 1, emb_dim // num_heads

# %% config | wrong | the number of heads for their width
# hint: d_head is the width of one head
def check_config(image_size, patch_size, emb_dim, num_heads):
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), num_heads

# %% config | wrong | assert instead of raise
# hint: not for `assert`
def check_config(image_size, patch_size, emb_dim, num_heads):
    assert image_size[0] % patch_size[0] == 0 and image_size[1] % patch_size[1] == 0, "image_size does not fit"
    assert emb_dim % num_heads == 0, "num_heads does not fit"
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | print instead of raise
# hint: don't only print
def check_config(image_size, patch_size, emb_dim, num_heads):
    if image_size[0] % patch_size[0] or image_size[1] % patch_size[1]:
        print("image_size does not fit")
        return None
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | no way out
# hint: the message should name the ways out
def check_config(image_size, patch_size, emb_dim, num_heads):
    if image_size[0] % patch_size[0] or image_size[1] % patch_size[1]:
        raise ValueError("image_size does not fit patch_size")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | the argument is not named
# hint: should name the argument, image_size
def check_config(image_size, patch_size, emb_dim, num_heads):
    for side, patch in zip(image_size, patch_size, strict=True):
        if side % patch:
            raise ValueError(f"the picture does not fit: use {side // patch * patch} or {side // patch * patch + patch}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | the heads are not checked
# hint: throws away what is left over
def check_config(image_size, patch_size, emb_dim, num_heads):
    for side, patch in zip(image_size, patch_size, strict=True):
        if side % patch:
            raise ValueError(f"image_size: use {side // patch * patch} or {side // patch * patch + patch}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | only the height is checked
# hint: throws away what is left over
def check_config(image_size, patch_size, emb_dim, num_heads):
    side, patch = image_size[0], patch_size[0]
    if side % patch:
        raise ValueError(f"image_size: use {side // patch * patch} or {side // patch * patch + patch}")
    if emb_dim % num_heads:
        heads = min((h for h in range(1, emb_dim + 1) if emb_dim % h == 0), key=lambda h: abs(h - num_heads))
        raise ValueError(f"num_heads: use {heads}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | the areas are compared
# hint: throws away what is left over
def check_config(image_size, patch_size, emb_dim, num_heads):
    area, patch_area = image_size[0] * image_size[1], patch_size[0] * patch_size[1]
    if area % patch_area:
        side, patch = image_size[0], patch_size[0]
        if side % patch == 0:
            side, patch = image_size[1], patch_size[1]
        raise ValueError(f"image_size: use {side // patch * patch} or {side // patch * patch + patch}")
    if emb_dim % num_heads:
        heads = min((h for h in range(1, emb_dim + 1) if emb_dim % h == 0), key=lambda h: abs(h - num_heads))
        raise ValueError(f"num_heads: use {heads}")
    return area // patch_area, emb_dim // num_heads

# %% config | wrong | height and width mixed up
# hint: Are height and width mixed up
def check_config(image_size, patch_size, emb_dim, num_heads):
    for side, patch in zip(image_size, reversed(patch_size), strict=True):
        if side % patch:
            raise ValueError(f"image_size: use {side // patch * patch} or {side // patch * patch + patch}")
    if emb_dim % num_heads:
        heads = min((h for h in range(1, emb_dim + 1) if emb_dim % h == 0), key=lambda h: abs(h - num_heads))
        raise ValueError(f"num_heads: use {heads}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | a picture of 0 pixels as the way out
# hint: 0 pixels are no picture
def check_config(image_size, patch_size, emb_dim, num_heads):
    for side, patch in zip(image_size, patch_size, strict=True):
        if side % patch:
            raise ValueError(f"image_size: use {side // patch * patch} or {side // patch * patch + patch}")
    if emb_dim % num_heads:
        heads = min((h for h in range(1, emb_dim + 1) if emb_dim % h == 0), key=lambda h: abs(h - num_heads))
        raise ValueError(f"num_heads: use {heads}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | the next smaller number of heads only
# hint: above or below
def check_config(image_size, patch_size, emb_dim, num_heads):
    for side, patch in zip(image_size, patch_size, strict=True):
        if side % patch:
            smaller = side // patch * patch
            raise ValueError(f"image_size: use {smaller or ''} or {smaller + patch}")
    if emb_dim % num_heads:
        while emb_dim % num_heads:
            num_heads -= 1
        raise ValueError(f"num_heads: use {num_heads}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | wrong | every number of heads that would do
# hint: name the nearest alone
def check_config(image_size, patch_size, emb_dim, num_heads):
    for i, (side, patch) in enumerate(zip(image_size, patch_size)):
        if side % patch:
            low = side // patch * patch
            way_out = f"{low} or {low + patch}" if low else f"{patch}"
            raise ValueError(f"image_size[{i}] = {side} is no multiple of patch_size[{i}] = {patch}: use {way_out}")
    if emb_dim % num_heads:
        good = [h for h in range(1, emb_dim + 1) if emb_dim % h == 0]
        raise ValueError(f"num_heads = {num_heads} does not divide emb_dim = {emb_dim}: use one of {good}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | right | the side by its index
def check_config(image_size, patch_size, emb_dim, num_heads):
    for i, (side, patch) in enumerate(zip(image_size, patch_size)):
        if side % patch:
            low = side // patch * patch
            way_out = f"{low} or {low + patch}" if low else f"{patch}"
            raise ValueError(f"image_size[{i}] = {side} is no multiple of patch_size[{i}] = {patch}: use {way_out}")
    if emb_dim % num_heads:
        near = min((h for h in range(1, emb_dim + 1) if emb_dim % h == 0), key=lambda h: abs(h - num_heads))
        raise ValueError(f"num_heads = {num_heads} does not divide emb_dim = {emb_dim}: use {near}")
    return (image_size[0] // patch_size[0]) * (image_size[1] // patch_size[1]), emb_dim // num_heads

# %% config | right | divmod, and both neighbours of the heads
def check_config(image_size, patch_size, emb_dim, num_heads):
    num_patches = 1
    for name, side, patch in zip(("height", "width"), image_size, patch_size, strict=True):
        count, left = divmod(side, patch)
        if left:
            choices = [patch * c for c in (count, count + 1) if c > 0]
            raise ValueError(f"image_size: its {name} {side} has {left} pixels left over; choices: {choices}")
        num_patches *= count
    d_head, left = divmod(emb_dim, num_heads)
    if left:
        distance = 1
        while not any(h > 0 and emb_dim % h == 0 for h in (num_heads - distance, num_heads + distance)):
            distance += 1
        good = [h for h in (num_heads - distance, num_heads + distance) if h > 0 and emb_dim % h == 0]
        raise ValueError(f"emb_dim={emb_dim} and num_heads={num_heads} don't fit, try num_heads in {good}")
    return num_patches, d_head

# %% config | right | the way out as whole pictures
def check_config(image_size, patch_size, emb_dim, num_heads):
    rest = [side % patch for side, patch in zip(image_size, patch_size, strict=True)]
    if any(rest):
        down = tuple(side - left or patch for side, left, patch in zip(image_size, rest, patch_size, strict=True))
        up = tuple(side + (patch - left) % patch for side, left, patch in zip(image_size, rest, patch_size, strict=True))
        raise ValueError(f"image_size={image_size} does not fit patch_size={patch_size}; use {down} or {up}")
    if emb_dim % num_heads != 0:
        by_distance = sorted((abs(h - num_heads), h) for h in range(1, emb_dim + 1) if emb_dim % h == 0)
        raise ValueError(f"num_heads should be {by_distance[0][1]}")
    return image_size[0] * image_size[1] // (patch_size[0] * patch_size[1]), emb_dim // num_heads

# %% knows | wrong | what is there before the first block is missing
# hint: what is there before the first block is missing
def vectors(model, images, pooling):
    kept, x = [], model.embeddings(images)
    for block in model.encoder.blocks:
        x = block(x)
        kept.append(x[:, 0] if pooling == "CLS" else x[:, 1:].mean(dim=1))
    return kept

# %% knows | wrong | all tokens are kept
# hint: you kept all the tokens
def vectors(model, images, pooling):
    kept = [model.embeddings(images)]
    for block in model.encoder.blocks:
        kept.append(block(kept[-1]))
    return kept

# %% knows | wrong | the first picture instead of the first token
# hint: the token axis is axis 1
def vectors(model, images, pooling):
    x = model.embeddings(images)
    kept = [x[0] if pooling == "CLS" else x[1:].mean(dim=0)]
    for block in model.encoder.blocks:
        x = block(x)
        kept.append(x[0] if pooling == "CLS" else x[1:].mean(dim=0))
    return kept

# %% knows | wrong | the last token
# hint: is it index 0 of axis 1
def vectors(model, images, pooling):
    x = model.embeddings(images)
    kept = [x[:, -1] if pooling == "CLS" else x[:, :-1].mean(dim=1)]
    for block in model.encoder.blocks:
        x = block(x)
        kept.append(x[:, -1] if pooling == "CLS" else x[:, :-1].mean(dim=1))
    return kept

# %% knows | wrong | every block reads the embeddings
# hint: does each block get the last one's output
def vectors(model, images, pooling):
    x = model.embeddings(images)
    states = [x] + [block(x) for block in model.encoder.blocks]
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]

# %% knows | wrong | with the last norm
# hint: the last norm is in it already
def vectors(model, images, pooling):
    x = model.embeddings(images)
    states = [x]
    for block in model.encoder.blocks:
        x = block(x)
        states.append(model.encoder.norm(x))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]

# %% knows | wrong | never measured
# hint: 4 blocks have 5 accuracies
def vectors(model, images, pooling):
    states = [model.embeddings(images)]
    for block in model.encoder.blocks:
        states.append(block(states[-1]))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]
knows = {"CLS": [], "mean": []}
figure, ax = plt.subplots()

# %% knows | wrong | CLS is in the mean
# hint: the mean has CLS in it
@torch.no_grad()
def vectors(model, images, pooling):
    states = [model.embeddings(images)]
    for block in model.encoder.blocks:
        states.append(block(states[-1]))
    return [state[:, 0] if pooling == "CLS" else state.mean(dim=1) for state in states]
knows = {pooling: [probe(a, b) for a, b in zip(vectors(untrained, train_images, pooling),
                                               vectors(untrained, val_images, pooling))] for pooling in ("CLS", "mean")}
figure, ax = plt.subplots()
for name in knows:
    ax.plot(knows[name], label=name)
ax.set(xlabel="block", ylabel="accuracy", title="found")
ax.legend()

# %% knows | wrong | both lines are CLS
# hint: is it CLS?
@torch.no_grad()
def vectors(model, images, pooling):
    states = [model.embeddings(images)]
    for block in model.encoder.blocks:
        states.append(block(states[-1]))
    return [state[:, 0] for state in states]
knows = {pooling: [probe(a, b) for a, b in zip(vectors(untrained, train_images, pooling),
                                               vectors(untrained, val_images, pooling))] for pooling in ("CLS", "mean")}
figure, ax = plt.subplots()
for name in knows:
    ax.plot(knows[name], label=name)
ax.set(xlabel="block", ylabel="accuracy", title="found")
ax.legend()

# %% knows | wrong | the model of the setup instead of the one given
# hint: is it `model` that you use
def vectors(model, images, pooling):
    states = [untrained.embeddings(images)]
    for block in untrained.encoder.blocks:
        states.append(block(states[-1]))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]

# %% knows | wrong | four blocks, always
# hint: is a number written in
def vectors(model, images, pooling):
    states = [model.embeddings(images)]
    for i in range(4):
        states.append(model.encoder.blocks[i](states[-1]))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]

# %% knows | wrong | another model measured
# hint: are not those of probe on train_images and val_images
@torch.no_grad()
def vectors(model, images, pooling):
    states = [model.embeddings(images)]
    for block in model.encoder.blocks:
        states.append(block(states[-1]))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]
mine = ViTModel(untrained.config.replace(num_heads=1))
knows = {pooling: [probe(a, b) for a, b in zip(vectors(mine, train_images, pooling),
                                               vectors(mine, val_images, pooling))] for pooling in ("CLS", "mean")}
figure, ax = plt.subplots()
for name in knows:
    ax.plot(knows[name], label=name)
ax.set(xlabel="block", ylabel="accuracy", title="found")
ax.legend()

# %% knows | wrong | axes without names
# hint: name both axes
@torch.no_grad()
def vectors(model, images, pooling):
    states = [model.embeddings(images)]
    for block in model.encoder.blocks:
        states.append(block(states[-1]))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]
knows = {pooling: [probe(a, b) for a, b in zip(vectors(untrained, train_images, pooling),
                                               vectors(untrained, val_images, pooling))] for pooling in ("CLS", "mean")}
figure, ax = plt.subplots()
for name in knows:
    ax.plot(knows[name], label=name)
ax.legend()

# %% knows | wrong | something else is drawn
# hint: what is drawn is not what is in knows
def vectors(model, images, pooling):
    with torch.no_grad():
        states = [model.embeddings(images)]
        for block in model.encoder.blocks:
            states.append(block(states[-1]))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]
knows = {pooling: [probe(a, b) for a, b in zip(vectors(untrained, train_images, pooling),
                                               vectors(untrained, val_images, pooling))] for pooling in ("mean", "CLS")}
figure, ax = plt.subplots()
for name in knows:
    ax.plot([1 - accuracy for accuracy in knows[name]], label=name)
ax.set(xlabel="block", ylabel="accuracy", title="one block is enough")
ax.legend()

# %% knows | right | the mean first, in per cent
def vectors(model, images, pooling):
    with torch.no_grad():
        states = [model.embeddings(images)]
        for block in model.encoder.blocks:
            states.append(block(states[-1]))
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(dim=1) for state in states]
knows = {pooling: [probe(a, b) for a, b in zip(vectors(untrained, train_images, pooling),
                                               vectors(untrained, val_images, pooling))] for pooling in ("mean", "CLS")}
figure, ax = plt.subplots()
for name in knows:
    ax.plot([100 * accuracy for accuracy in knows[name]], label=name)
ax.set(xlabel="block", ylabel="accuracy (per cent)", title="one block is enough")
ax.legend()

# %% knows | right | states first, then two comprehensions
def vectors(model, images, pooling):
    with torch.no_grad():
        states = [model.embeddings(images)]
        for block in model.encoder.blocks:
            states.append(block(states[-1]))
    if pooling == "CLS":
        return [state.select(1, 0) for state in states]
    return [(state.sum(dim=1) - state[:, 0]) / (state.shape[1] - 1) for state in states]
knows = {}
for pooling in ("CLS", "mean"):
    learned, asked = vectors(untrained, train_images, pooling), vectors(untrained, val_images, pooling)
    knows[pooling] = [probe(learned[i], asked[i]) for i in range(5)]
figure, ax = plt.subplots()
ax.bar([i - 0.2 for i in range(5)], knows["CLS"], width=0.4, label="CLS")
ax.bar([i + 0.2 for i in range(5)], knows["mean"], width=0.4, label="mean")
ax.set_xlabel("block")
ax.set_ylabel("accuracy")
ax.set_title("one block is enough")
ax.legend()

# %% knows | right | with hooks
def vectors(model, images, pooling):
    states = []
    hooks = [module.register_forward_hook(lambda module, inputs, output: states.append(output.detach()))
             for module in (model.embeddings, *model.encoder.blocks)]
    model.forward_features(images)
    for hook in hooks:
        hook.remove()
    return [state[:, 0] if pooling == "CLS" else state[:, 1:].mean(1) for state in states]
knows = {"CLS": [], "mean": []}
figure, ax = plt.subplots()
for pooling, marker in (("CLS", "o"), ("mean", "x")):
    for learned, asked in zip(vectors(untrained, train_images, pooling), vectors(untrained, val_images, pooling), strict=True):
        knows[pooling].append(probe(learned, asked))
    ax.plot(torch.arange(5), torch.tensor(knows[pooling]), marker=marker, label=pooling)
ax.set(xlabel="block", ylabel="accuracy", title="one block is enough")
ax.legend()

# %% knows | right | hooks on the whole model
def vectors(model, images, pooling):
    kept = []
    parts = [model.embeddings, *model.encoder.blocks]
    hooks = [part.register_forward_hook(lambda part, inputs, output: kept.append(output.detach())) for part in parts]
    model(images)
    for each in hooks:
        each.remove()
    return [tokens[:, 0] if pooling == "CLS" else tokens[:, 1:].mean(dim=1) for tokens in kept]
knows = {"CLS": [], "mean": []}
figure, ax = plt.subplots()
for pooling in knows:
    for learned, asked in zip(vectors(untrained, train_images, pooling), vectors(untrained, val_images, pooling)):
        knows[pooling].append(probe(learned, asked))
    ax.plot(range(5), knows[pooling], label=pooling)
ax.set(xlabel="block", ylabel="accuracy", title="one block is enough")
ax.legend()
