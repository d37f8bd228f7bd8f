"""Typical answers to the exercises of lesson 04: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% bend | wrong | nothing between the layers
# hint: nothing bends
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = hidden
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | the result is not kept
# hint: put what it gives back into hidden
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    F.gelu(hidden)
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | ReLU
# hint: that is ReLU
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = F.relu(hidden)
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | after the second layer
# hint: you bend the result
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    return F.gelu(F.linear(hidden, down_weight, down_bias))

# %% bend | wrong | before the first layer
# hint: you bend x before
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(F.gelu(x), up_weight, up_bias)
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | SiLU
# hint: that is SiLU
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = hidden * hidden.sigmoid()
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | softmax, as in attention
# hint: that is softmax
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = hidden.softmax(dim=-1)
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | the probability without the number
# hint: that is the probability alone
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = torch.special.ndtr(hidden)
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | bent twice
# hint: which function, and of what
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = F.gelu(F.gelu(hidden))
    return F.linear(hidden, down_weight, down_bias)

# %% bend | wrong | GPT-2's approximation
# hint: that is GPT-2's approximation
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = F.gelu(hidden, approximate="tanh")
    return F.linear(hidden, down_weight, down_bias)

# %% bend | right | in place, from the normal distribution
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden *= torch.distributions.Normal(0, 1).cdf(hidden)
    return F.linear(hidden, down_weight, down_bias)

# %% bend | right | as a module
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = nn.GELU()(hidden)
    return F.linear(hidden, down_weight, down_bias)

# %% bend | right | from the error function
def feed_forward(x, up_weight, up_bias, down_weight, down_bias):
    hidden = F.linear(x, up_weight, up_bias)
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    return F.linear(hidden, down_weight, down_bias)

# %% norm | wrong | no return
# hint: did you forget `return`
def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    weight * centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt() + bias

# %% norm | wrong | the axis is lost
# hint: keepdim=True leaves it there
def layer_norm(x, weight, bias, eps):
    return weight * (x - x.mean(dim=-1)) / (x.var(dim=-1, correction=0) + eps).sqrt() + bias

# %% norm | wrong | over the batch
# hint: your mean goes over the batch
def layer_norm(x, weight, bias, eps):
    mean, var = x.mean(dim=0, keepdim=True), x.var(dim=0, correction=0, keepdim=True)
    return weight * (x - mean) / (var + eps).sqrt() + bias

# %% norm | wrong | over batch and positions, as BatchNorm
# hint: your mean goes over the batch
def layer_norm(x, weight, bias, eps):
    mean, var = x.mean(dim=(0, 1), keepdim=True), x.var(dim=(0, 1), correction=0, keepdim=True)
    return weight * (x - mean) / (var + eps).sqrt() + bias

# %% norm | wrong | over the positions
# hint: your mean goes over the positions
def layer_norm(x, weight, bias, eps):
    mean, var = x.mean(dim=1, keepdim=True), x.var(dim=1, correction=0, keepdim=True)
    return weight * (x - mean) / (var + eps).sqrt() + bias

# %% norm | wrong | over positions and dimensions together
# hint: your mean goes over the positions
def layer_norm(x, weight, bias, eps):
    mean, var = x.mean(dim=(1, 2), keepdim=True), x.var(dim=(1, 2), correction=0, keepdim=True)
    return weight * (x - mean) / (var + eps).sqrt() + bias

# %% norm | wrong | the variance as torch takes it
# hint: you divided by d - 1
def layer_norm(x, weight, bias, eps):
    mean, var = x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True)
    return weight * (x - mean) / (var + eps).sqrt() + bias

# %% norm | wrong | divided by torch's std
# hint: you divided by d - 1
def layer_norm(x, weight, bias, eps):
    return weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) + bias

# %% norm | wrong | the mean is not subtracted
# hint: don't have mean 0
def layer_norm(x, weight, bias, eps):
    return weight * x / (x.var(dim=-1, correction=0, keepdim=True) + eps).sqrt() + bias

# %% norm | wrong | no spread
# hint: not divided by the spread
def layer_norm(x, weight, bias, eps):
    return weight * (x - x.mean(-1, keepdim=True)) + bias

# %% norm | wrong | no root
# hint: you divide by the variance
def layer_norm(x, weight, bias, eps):
    return weight * (x - x.mean(-1, keepdim=True)) / (x.var(dim=-1, correction=0, keepdim=True) + eps) + bias

# %% norm | wrong | no weight
# hint: the weight is forgotten
def layer_norm(x, weight, bias, eps):
    return (x - x.mean(-1, keepdim=True)) / (x.var(dim=-1, correction=0, keepdim=True) + eps).sqrt() + bias

# %% norm | wrong | no bias
# hint: the bias is forgotten
def layer_norm(x, weight, bias, eps):
    return weight * (x - x.mean(-1, keepdim=True)) / (x.var(dim=-1, correction=0, keepdim=True) + eps).sqrt()

# %% norm | wrong | the bias is scaled
# hint: don't scale it
def layer_norm(x, weight, bias, eps):
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(dim=-1, correction=0, keepdim=True) + eps).sqrt()
    return weight * (normed + bias)

# %% norm | wrong | one weight for all
# hint: the first token 9, 18, 33, 44
def layer_norm(x, weight, bias, eps):
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(dim=-1, correction=0, keepdim=True) + eps).sqrt()
    return weight[0] * normed + bias[0]

# %% norm | wrong | eps outside the root
# hint: inside the root
def layer_norm(x, weight, bias, eps):
    normed = (x - x.mean(-1, keepdim=True)) / (x.std(dim=-1, correction=0, keepdim=True) + eps)
    return weight * normed + bias

# %% norm | wrong | eps forgotten
# hint: inside the root
def layer_norm(x, weight, bias, eps):
    return weight * (x - x.mean(-1, keepdim=True)) / x.std(dim=-1, correction=0, keepdim=True) + bias

# %% norm | wrong | mean of squares minus square of mean
# hint: tokens far from 0
def layer_norm(x, weight, bias, eps):
    mean = x.mean(-1, keepdim=True)
    variance = (x.square().mean(-1, keepdim=True) - mean.square()).clamp(min=0)
    return weight * (x - mean) / (variance + eps).sqrt() + bias

# %% norm | wrong | the axis counted from the front
# hint: for a single token
def layer_norm(x, weight, bias, eps):
    mean, var = x.mean(dim=2, keepdim=True), x.var(dim=2, correction=0, keepdim=True)
    return weight * (x - mean) / (var + eps).sqrt() + bias

# %% norm | wrong | in place
# hint: if it writes into x, it must not
def layer_norm(x, weight, bias, eps):
    x -= x.mean(dim=-1, keepdim=True)
    return weight * x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() + bias

# %% norm | wrong | back in float32
# hint: float64 went in
def layer_norm(x, weight, bias, eps):
    x, weight, bias = x.float(), weight.float(), bias.float()
    return weight * (x - x.mean(-1, keepdim=True)) / (x.var(dim=-1, correction=0, keepdim=True) + eps).sqrt() + bias

# %% norm | right | var_mean and rsqrt
def layer_norm(x, weight, bias, eps):
    var, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(var + eps), weight)

# %% norm | right | einsum, and axes put back by hand
def layer_norm(x, weight, bias, eps):
    d = x.shape[-1]
    centred = x - (x.sum(-1) / d)[..., None]
    variance = torch.einsum("...d,...d->...", centred, centred) / d
    return torch.einsum("d,...d->...d", weight, centred / torch.sqrt(variance + eps).unsqueeze(-1)) + bias

# %% block | wrong | no return
# hint: did you forget `return`
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = x + attention(norm1(x))
    x = x + feed_forward(norm2(x))

# %% block | wrong | post-norm
# hint: that is post-norm
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = norm1(x + attention(x))
    return norm2(x + feed_forward(x))

# %% block | wrong | the first residual is missing
# hint: the first residual is missing
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = attention(norm1(x))
    return x + feed_forward(norm2(x))

# %% block | wrong | the second residual is missing
# hint: its residual is missing
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = x + attention(norm1(x))
    return feed_forward(norm2(x))

# %% block | wrong | no residuals
# hint: both residuals are missing
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    return feed_forward(norm2(attention(norm1(x))))

# %% block | wrong | the road leads through the norms
# hint: in both lines you add to what was normed
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = norm1(x)
    x = x + attention(x)
    x = norm2(x)
    return x + feed_forward(x)

# %% block | wrong | the first residual from what was normed
# hint: in the first line you add to norm1(x)
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    normed = norm1(x)
    x = normed + attention(normed)
    return x + feed_forward(norm2(x))

# %% block | wrong | the second residual from the first input
# hint: in the second line you add to the first x
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    y = x + attention(norm1(x))
    return x + feed_forward(norm2(y))

# %% block | wrong | norm1 twice
# hint: norm1 is used twice
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = x + attention(norm1(x))
    return x + feed_forward(norm1(x))

# %% block | wrong | what comes out is normed
# hint: you norm what comes out of the layer
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = x + norm1(attention(x))
    return x + norm2(feed_forward(x))

# %% block | wrong | the feed-forward first
# hint: the feed-forward comes first
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = x + feed_forward(norm2(x))
    return x + attention(norm1(x))

# %% block | wrong | side by side
# hint: both layers look at the first x
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    return x + attention(norm1(x)) + feed_forward(norm2(x))

# %% block | wrong | attention only
# hint: the feed-forward is not there
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    return x + attention(norm1(x))

# %% block | wrong | a norm at the end
# hint: follow the two equations
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = x + attention(norm1(x))
    x = x + feed_forward(norm2(x))
    return norm2(x)

# %% block | wrong | in place
# hint: writes into the caller's tensor
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x += attention(norm1(x))
    x += feed_forward(norm2(x))
    return x

# %% block | wrong | the road is detached
# hint: the gradient is not that of the block
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    x = x.detach() + attention(norm1(x))
    return x + feed_forward(norm2(x))

# %% block | right | in small steps
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    road = x.clone()
    for norm, layer in ((norm1, attention), (norm2, feed_forward)):
        road = torch.add(road, layer(norm(road)))
    return road

# %% block | right | in place, on a new tensor
def pre_norm_block(x, norm1, attention, norm2, feed_forward):
    after_attention = attention(norm1(x)) + x
    return feed_forward(norm2(after_attention)) + after_attention

# %% counting | wrong | attention without biases
# hint: each of the four linear maps has a bias
attention_parameters, feed_forward_parameters, block_parameters = 40_000, 80_500, 121_300
gained_by_heads, times_the_weights = 0, 4

# %% counting | wrong | no output projection
# hint: after them comes the output projection
attention_parameters, feed_forward_parameters, block_parameters = 30_300, 80_500, 121_300
gained_by_heads, times_the_weights = 0, 4

# %% counting | wrong | one head's width for all
# hint: don't multiply by their number
attention_parameters, feed_forward_parameters, block_parameters = 5 * 40_400, 80_500, 121_300
gained_by_heads, times_the_weights = 0, 4

# %% counting | wrong | both biases of the feed-forward as wide as the inside
# hint: the layer back has 100 outputs
attention_parameters, feed_forward_parameters, block_parameters = 40_400, 80_800, 121_300
gained_by_heads, times_the_weights = 0, 4

# %% counting | wrong | no norms
# hint: the two norms have parameters, too
attention_parameters, feed_forward_parameters, block_parameters = 40_400, 80_500, 120_900
gained_by_heads, times_the_weights = 0, 4

# %% counting | wrong | heads cost something
# hint: more heads, narrower ones
attention_parameters, feed_forward_parameters, block_parameters = 40_400, 80_500, 121_300
gained_by_heads, times_the_weights = 40_400, 4

# %% counting | wrong | one side of a matrix
# hint: both sides are twice as wide
attention_parameters, feed_forward_parameters, block_parameters = 40_400, 80_500, 121_300
gained_by_heads, times_the_weights = 0, 2

# %% counting | wrong | a share as a float
# hint: write a whole number
attention_parameters, feed_forward_parameters, block_parameters = 40_400, 80_500, 121_300
gained_by_heads, times_the_weights = 0, 4.0

# %% counting | wrong | slips that nobody foresaw
# hint: not right: feed_forward_parameters, block_parameters
attention_parameters, feed_forward_parameters, block_parameters = 40_400, 80_510, 121_310
gained_by_heads, times_the_weights = 0, 4

# %% counting | right | as the table of the lesson has it
d = 100
attention_parameters = 3 * d**2 + 3 * d + d**2 + d
feed_forward_parameters = 8 * d**2 + 5 * d
block_parameters = 12 * d**2 + 13 * d
gained_by_heads = block_parameters - (12 * d**2 + 13 * d)
times_the_weights = (12 * 200**2) // (12 * 100**2)

# %% stream | wrong | the size before the first block is missing
# hint: the size before the first block
def follow_stream(blocks, x):
    sizes, shares = [], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).pow(2).mean().sqrt().item() / x.pow(2).mean().sqrt().item())
        sizes.append(after.pow(2).mean().sqrt().item())
        x = after
    return sizes, shares

# %% stream | wrong | the difference of the sizes
# hint: not the difference of the sizes
def size(x):
    return x.square().mean().sqrt().item()
def follow_stream(blocks, x):
    sizes, shares = [size(x)], []
    for block in blocks:
        x = block(x)
        sizes.append(size(x))
        shares.append((sizes[-1] - sizes[-2]) / sizes[-2])
    return sizes, shares

# %% stream | wrong | a share of what went out
# hint: not of what went out
def size(x):
    return x.square().mean().sqrt().item()
def follow_stream(blocks, x):
    sizes, shares = [size(x)], []
    for block in blocks:
        after = block(x)
        shares.append(size(after - x) / size(after))
        sizes.append(size(after))
        x = after
    return sizes, shares

# %% stream | wrong | output by input
# hint: your share is output by input
def size(x):
    return x.square().mean().sqrt().item()
def follow_stream(blocks, x):
    sizes, shares = [size(x)], []
    for block in blocks:
        x = block(x)
        sizes.append(size(x))
        shares.append(sizes[-1] / sizes[-2])
    return sizes, shares

# %% stream | wrong | a norm, which grows with the width
# hint: the root of the sum of squares
def follow_stream(blocks, x):
    sizes, shares = [x.norm().item()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).norm().item() / x.norm().item())
        sizes.append(after.norm().item())
        x = after
    return sizes, shares

# %% stream | wrong | the mean of the absolute values
# hint: not the root of the mean of the squares
def follow_stream(blocks, x):
    sizes, shares = [x.abs().mean().item()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).abs().mean().item() / x.abs().mean().item())
        sizes.append(after.abs().mean().item())
        x = after
    return sizes, shares

# %% stream | wrong | every block reads the embeddings
# hint: not the embeddings again
def follow_stream(blocks, x):
    sizes, shares = [x.square().mean().sqrt().item()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).square().mean().sqrt().item() / sizes[0])
        sizes.append(after.square().mean().sqrt().item())
    return sizes, shares

# %% stream | wrong | tensors are kept
# hint: take .item()
def follow_stream(blocks, x):
    sizes, shares = [x.square().mean().sqrt()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).square().mean().sqrt() / sizes[-1])
        sizes.append(after.square().mean().sqrt())
        x = after
    return sizes, shares

# %% stream | wrong | never run on the blocks
# hint: run it on blocks and sequence
def follow_stream(blocks, x):
    sizes, shares = [x.square().mean().sqrt().item()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).square().mean().sqrt().item() / sizes[-1])
        sizes.append(after.square().mean().sqrt().item())
        x = after
    return sizes, shares
sizes, shares = [], []
figure, ax = plt.subplots()

# %% stream | wrong | no legend
# hint: two lines need a legend
def follow_stream(blocks, x):
    sizes, shares = [x.square().mean().sqrt().item()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).square().mean().sqrt().item() / sizes[-1])
        sizes.append(after.square().mean().sqrt().item())
        x = after
    return sizes, shares
sizes, shares = follow_stream(blocks, sequence)
figure, ax = plt.subplots()
ax.plot(sizes)
ax.plot(shares)
ax.set(xlabel="block", ylabel="size", title="it grows")

# %% stream | wrong | only one line drawn
# hint: draw two lines into ax
def follow_stream(blocks, x):
    sizes, shares = [x.square().mean().sqrt().item()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x).square().mean().sqrt().item() / sizes[-1])
        sizes.append(after.square().mean().sqrt().item())
        x = after
    return sizes, shares
sizes, shares = follow_stream(blocks, sequence)
figure, ax = plt.subplots()
ax.plot(sizes, label="size")
ax.set(xlabel="block", ylabel="size", title="it grows")
ax.legend()

# %% stream | wrong | the CLS token only
# hint: over what do you take the mean
def follow_stream(blocks, x):
    sizes, shares = [x[:, 0].square().mean().sqrt().item()], []
    for block in blocks:
        after = block(x)
        shares.append((after - x)[:, 0].square().mean().sqrt().item() / sizes[-1])
        sizes.append(after[:, 0].square().mean().sqrt().item())
        x = after
    return sizes, shares
sizes, shares = follow_stream(blocks, sequence)
figure, ax = plt.subplots()
ax.plot(sizes, label="size")
ax.plot(shares, label="share")
ax.set(xlabel="block", ylabel="size", title="it grows")
ax.legend()

# %% stream | wrong | a second scale that shows something else
# hint: what is drawn is not what you kept: shares
def follow_stream(blocks, x):
    sizes, shares = [x.square().mean().sqrt().item()], []
    with torch.no_grad():
        for block in blocks:
            before, x = x, block(x)
            shares.append((x - before).square().mean().sqrt().item() / sizes[-1])
            sizes.append(x.square().mean().sqrt().item())
    return sizes, shares
sizes, shares = follow_stream(blocks, sequence)
figure, ax = plt.subplots()
ax.plot(sizes, label="size")
other = ax.twinx()
other.plot(range(1, 17), sizes[1:], label="share")
ax.set(xlabel="block", ylabel="size", title="late blocks change less")
ax.legend()

# %% stream | right | a second scale, in per cent
def follow_stream(blocks, x):
    sizes, shares = [x.square().mean().sqrt().item()], []
    with torch.no_grad():
        for block in blocks:
            before, x = x, block(x)
            shares.append((x - before).square().mean().sqrt().item() / sizes[-1])
            sizes.append(x.square().mean().sqrt().item())
    return sizes, shares
sizes, shares = follow_stream(blocks, sequence)
figure, ax = plt.subplots()
ax.plot(sizes, label="size")
other = ax.twinx()
other.plot(range(1, 17), [100 * share for share in shares], label="share")
ax.set(xlabel="block", ylabel="size")
other.set(ylabel="share (per cent)", title="late blocks change less")
figure.legend()

# %% stream | right | all states first, then the measures; numpy for the drawing
@torch.no_grad()
def follow_stream(blocks, x):
    states = [x]
    for block in blocks:
        states.append(block(states[-1]))
    def size(tensor):
        return (tensor.double() ** 2).mean().item() ** 0.5
    return [size(state) for state in states], [size(b - a) / size(a) for a, b in zip(states[:-1], states[1:], strict=True)]
sizes, shares = follow_stream(blocks, sequence)
figure, ax = plt.subplots()
for name, values in (("size", sizes), ("share", shares)):
    ax.plot(torch.tensor(values).numpy(), label=name)
ax.set_xlabel("block")
ax.set_ylabel("size or share")
ax.set_title("late blocks change less")
ax.legend()

# %% stream | right | with vector_norm
def follow_stream(blocks, x):
    def size(tensor):
        return float(torch.linalg.vector_norm(tensor.detach()) / tensor.numel() ** 0.5)
    sizes, shares = [size(x)], []
    for block in blocks:
        before, x = x, block(x).detach()
        sizes.append(size(x))
        shares.append(size(x - before) / size(before))
    return sizes, shares
sizes, shares = follow_stream(blocks, sequence)
figure, ax = plt.subplots()
ax.scatter(range(17), sizes, label="size")
ax.bar(range(1, 17), shares, label="share")
ax.set(xlabel="block", ylabel="size", title="late blocks change less")
ax.legend()
