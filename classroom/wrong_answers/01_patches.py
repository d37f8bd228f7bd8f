"""Typical answers to the exercises of lesson 01: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% patchify | wrong | reshape alone: the shape fits, the patches are stripes
# hint: the numbers are scrambled
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(b, (h // ph) * (w // pw), c * ph * pw)

# %% patchify | wrong | no return
# hint: did you forget `return`
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    grid = images.reshape(b, c, h // ph, ph, w // pw, pw)
    grid.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * ph * pw)

# %% patchify | wrong | the channels stay an axis of their own
# hint: the channels are still an axis
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(b, c, h // ph, ph, w // pw, pw).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c, ph * pw)

# %% patchify | wrong | column by column
# hint: column by column
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(b, c, h // ph, ph, w // pw, pw).permute(0, 4, 2, 1, 3, 5).reshape(b, -1, c * ph * pw)

# %% patchify | wrong | channels last within a patch
# hint: (row, column, channel)
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(b, c, h // ph, ph, w // pw, pw).permute(0, 2, 4, 3, 5, 1).reshape(b, -1, c * ph * pw)

# %% patchify | wrong | patches on their side
# hint: lies on its side
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(b, c, h // ph, ph, w // pw, pw).permute(0, 2, 4, 1, 5, 3).reshape(b, -1, c * ph * pw)

# %% patchify | wrong | patches and numbers have changed places
# hint: have changed places
def patchify(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size)

# %% patchify | wrong | one picture only
# hint: b is gone
def patchify(images, patch_size):
    _, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(c, h // ph, ph, w // pw, pw).permute(1, 3, 0, 2, 4).reshape(-1, c * ph * pw)

# %% patchify | wrong | two loops
# hint: it has a loop
def patchify(images, patch_size):
    h, w = images.shape[2:]
    ph, pw = patch_size
    patches = []
    for top in range(0, h, ph):
        for left in range(0, w, pw):
            patches.append(images[:, :, top : top + ph, left : left + pw].flatten(1))
    return torch.stack(patches, dim=1)

# %% patchify | wrong | a loop in a list comprehension
# hint: it has a loop
def patchify(images, patch_size):
    ph, pw = patch_size
    return torch.cat([strip.unfold(3, pw, pw).movedim(3, 1).flatten(2) for strip in images.split(ph, dim=2)], dim=1)

# %% patchify | wrong | split the wrong way round
# hint: split h into (rows, ph)
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    grid = images.reshape(b, c, ph, h // ph, pw, w // pw)
    return grid.permute(0, 3, 5, 1, 2, 4).reshape(b, -1, c * ph * pw)

# %% patchify | wrong | view after permute
# hint: view refuses
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    grid = images.view(b, c, h // ph, ph, w // pw, pw)
    return grid.permute(0, 2, 4, 1, 3, 5).view(b, -1, c * ph * pw)

# %% patchify | wrong | division with a remainder in mind
# hint: use h // ph
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(b, c, h / ph, ph, w / pw, pw).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * ph * pw)

# %% patchify | wrong | unfold and reshape
# hint: takes a transpose, not a reshape
def patchify(images, patch_size):
    columns = F.unfold(images, patch_size, stride=patch_size)
    return columns.reshape(len(images), columns.shape[2], columns.shape[1])

# %% patchify | wrong | the grid stays a grid
# hint: rows and columns of patches are still two axes
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    return images.reshape(b, c, h // ph, ph, w // pw, pw).permute(0, 2, 4, 1, 3, 5).flatten(3)

# %% patchify | wrong | a batch of one
# hint: right for one picture, wrong for two
def patchify(images, patch_size):
    _, c, h, w = images.shape
    ph, pw = patch_size
    return images[:1].reshape(1, c, h // ph, ph, w // pw, pw).permute(0, 2, 4, 1, 3, 5).reshape(1, -1, c * ph * pw)

# %% patchify | wrong | right for square patches only
# hint: does a height meet a width somewhere
def patchify(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size[0]
    return images.reshape(b, c, h // p, p, -1, p).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * p * p)

# %% patchify | wrong | detached
# hint: the gradient does not come through
def patchify(images, patch_size):
    b, c, h, w = images.shape
    ph, pw = patch_size
    grid = images.detach().reshape(b, c, h // ph, ph, w // pw, pw)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * ph * pw)

# %% patchify | right | checks its input in a loop
def patchify(images, patch_size):
    for side, patch in zip(images.shape[2:], patch_size):
        assert side % patch == 0
    rows, columns = images.shape[2] // patch_size[0], images.shape[3] // patch_size[1]
    grid = images.unflatten(2, (rows, -1)).unflatten(4, (columns, -1))
    return torch.einsum("bcrpsq->brscpq", grid).flatten(3).flatten(1, 2)

# %% patchify | right | with unfold
def patchify(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)

# %% patchify | right | Tensor.unfold and flatten
def patchify(images, patch_size):
    ph, pw = patch_size
    return images.unfold(2, ph, ph).unfold(3, pw, pw).movedim(1, 3).flatten(3).flatten(1, 2)

# %% embed | wrong | the window moves by one pixel
# hint: set the stride
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, bias).flatten(2).transpose(1, 2)

# %% embed | wrong | the map as the convolution gives it
# hint: a convolution's map
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, bias, stride=patch_size)

# %% embed | wrong | features before patches
# hint: swap the last two axes
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, bias, stride=patch_size).flatten(2)

# %% embed | wrong | reshape where a transpose is needed
# hint: needs a transpose, not a reshape
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    feature_map = F.conv2d(images, kernels, bias, stride=patch_size)
    return feature_map.reshape(len(images), -1, len(weight))

# %% embed | wrong | kernels folded up with the channels last
# hint: fold each row of weight to (c, ph, pw)
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), *patch_size, images.shape[1]).permute(0, 3, 1, 2)
    return F.conv2d(images, kernels, bias, stride=patch_size).flatten(2).transpose(1, 2)

# %% embed | wrong | no bias
# hint: the bias is not added
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, stride=patch_size).flatten(2).transpose(1, 2)

# %% embed | wrong | column by column
# hint: the patches come column by column
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, bias, stride=patch_size).transpose(2, 3).flatten(2).transpose(1, 2)

# %% embed | wrong | square patches only
# hint: it fails for patches that are not square
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], patch_size[0], patch_size[0])
    return F.conv2d(images, kernels, bias, stride=patch_size[0]).flatten(2).transpose(1, 2)

# %% embed | wrong | detached weights
# hint: no gradient reaches the weight
def embed(images, weight, bias, patch_size):
    layer = nn.Conv2d(images.shape[1], len(weight), kernel_size=patch_size, stride=patch_size)
    layer.weight.data = weight.detach().reshape(layer.weight.shape)
    layer.bias.data = bias.detach()
    return layer(images).flatten(2).transpose(1, 2)

# %% embed | wrong | the bias not detached, but copied
# hint: no gradient reaches the bias
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, bias.data, stride=patch_size).flatten(2).transpose(1, 2)

# %% embed | wrong | the bias twice
# hint: added twice
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), images.shape[1], *patch_size)
    return F.conv2d(images, kernels, bias, stride=patch_size).flatten(2).transpose(1, 2) + bias

# %% embed | wrong | weight as it is
# hint: fold up the rows of weight
def embed(images, weight, bias, patch_size):
    return F.conv2d(images, weight, bias, stride=patch_size).flatten(2).transpose(1, 2)

# %% embed | wrong | a new layer with weights of its own
# hint: no new layer
def embed(images, weight, bias, patch_size):
    layer = nn.Conv2d(images.shape[1], len(weight), kernel_size=patch_size, stride=patch_size)
    return layer(images).flatten(2).transpose(1, 2)

# %% embed | wrong | three channels always
# hint: the picture's own number of channels
def embed(images, weight, bias, patch_size):
    kernels = weight.reshape(len(weight), 2, *patch_size)
    return F.conv2d(images, kernels, bias, stride=patch_size).flatten(2).transpose(1, 2)

# %% embed | right | einsum instead of a transpose
def embed(images, weight, bias, patch_size):
    kernels = weight.unflatten(1, (images.shape[1], *patch_size))
    feature_map = F.conv2d(images, kernels, stride=patch_size)
    return torch.einsum("bdrc->brcd", feature_map).flatten(1, 2) + bias

# %% counting | wrong | with CLS
# hint: CLS is not there yet
num_patches, patch_length, num_parameters, times_the_pairs = 61, 768, 98_432, 16

# %% counting | wrong | one channel
# hint: that is one channel
num_patches, patch_length, num_parameters, times_the_pairs = 60, 256, 98_432, 16

# %% counting | wrong | no bias
# hint: has a bias, too
num_patches, patch_length, num_parameters, times_the_pairs = 60, 768, 98_304, 16

# %% counting | wrong | patches counted instead of pairs
# hint: that is how many times as many patches
num_patches, patch_length, num_parameters, times_the_pairs = 60, 768, 98_432, 4

# %% counting | wrong | a float
# hint: write a whole number
num_patches, patch_length, num_parameters, times_the_pairs = 60.0, 768, 98_432, 16

# %% counting | wrong | a slip that nobody foresaw
# hint: not right: num_parameters
num_patches, patch_length, num_parameters, times_the_pairs = 60, 768, 90_000, 16

# %% counting | right | as products
num_patches = (160 // 16) * (96 // 16)
patch_length = 16 * 16 * 3
num_parameters = (patch_length + 1) * 128
times_the_pairs = 2**4

# %% kept | wrong | the share that is lost
# hint: that is the share lost
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    return (((images - blurred) ** 2).sum() / ((images - overall) ** 2).sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
ax.plot(kept.keys(), kept.values())
ax.set(xlabel="patch", ylabel="share", title="found")

# %% kept | wrong | one patch size left out
# hint: kept should have the patch sides
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    return 1 - (((images - blurred) ** 2).sum() / ((images - overall) ** 2).sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
ax.plot(kept.keys(), kept.values())
ax.set(xlabel="patch", ylabel="share", title="found")

# %% kept | wrong | axes without names
# hint: name both axes
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    return 1 - (((images - blurred) ** 2).sum() / ((images - overall) ** 2).sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
ax.plot(kept.keys(), kept.values())

# %% kept | wrong | one mean for all the channels
# hint: one number for each channel
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    return 1 - (((images - blurred) ** 2).sum() / ((images - images.mean()) ** 2).sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
ax.plot(kept.keys(), kept.values())
ax.set(xlabel="patch", ylabel="share", title="found")

# %% kept | wrong | absolute values instead of squares
# hint: Squares, not absolute values
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    return 1 - ((images - blurred).abs().sum() / (images - overall).abs().sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
ax.plot(kept.keys(), kept.values())
ax.set(xlabel="patch", ylabel="share", title="found")

# %% kept | wrong | means over all the pictures
# hint: above, the mean of a patch is that of one picture
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images.mean(dim=0, keepdim=True), patch), scale_factor=patch)
    if patch == 1:
        blurred = images
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    return 1 - (((images - blurred) ** 2).sum() / ((images - overall) ** 2).sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
ax.plot(kept.keys(), kept.values())
ax.set(xlabel="patch", ylabel="share", title="found")

# %% kept | wrong | drawn into another figure
# hint: ax is empty
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    return 1 - (((images - blurred) ** 2).sum() / ((images - overall) ** 2).sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
plt.figure()
plt.plot(kept.keys(), kept.values())

# %% kept | wrong | each picture's own share, and their mean
# hint: share_kept is wrong on pictures that I know
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    lost, all = ((images - blurred) ** 2).sum((1, 2, 3)), ((images - overall) ** 2).sum((1, 2, 3))
    return (1 - lost / all).mean().item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()
ax.plot(kept.keys(), kept.values())
ax.set(xlabel="patch", ylabel="share", title="found")

# %% kept | wrong | no return
# hint: did you forget `return`
def share_kept(images, patch):
    blurred = F.interpolate(F.avg_pool2d(images, patch), scale_factor=patch)
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    1 - (((images - blurred) ** 2).sum() / ((images - overall) ** 2).sum()).item()
kept = {patch: share_kept(pictures, patch) for patch in (1, 2, 4, 8, 16, 32)}
figure, ax = plt.subplots()

# %% kept | right | with reshape, as a bar chart
def share_kept(images, patch):
    b, c, h, w = images.shape
    tiles = images.reshape(b, c, h // patch, patch, w // patch, patch)
    lost = (tiles - tiles.mean(dim=(3, 5), keepdim=True)).pow(2).mean()
    overall = images.mean(dim=(0, 2, 3), keepdim=True)
    return float(1 - lost / (images - overall).pow(2).mean())
kept = {}
for patch in (1, 2, 4, 8, 16, 32):
    kept[patch] = share_kept(pictures, patch)
figure, ax = plt.subplots()
ax.bar([str(patch) for patch in kept], kept.values())
ax.set_xlabel("patch side in pixels")
ax.set_ylabel("share of the variance")
ax.set_title("small patches keep most")
