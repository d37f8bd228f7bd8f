"""Typical answers to the exercises of lesson 07: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% looks | wrong | who looks at CLS
# hint: that is who looks at CLS
def cls_map(maps, layer, grid_size):
    return maps[:, layer, :, 1:, 0].mean(dim=1).reshape(-1, *grid_size)

# %% looks | wrong | CLS in the map
# hint: is CLS, which has no place, in?
def cls_map(maps, layer, grid_size):
    return maps[:, layer, :, 0].mean(dim=1).reshape(-1, *grid_size)

# %% looks | wrong | the last patch left out in place of CLS
# hint: CLS itself is in the map
def cls_map(maps, layer, grid_size):
    return maps[:, layer, :, 0, :-1].mean(dim=1).reshape(-1, *grid_size)

# %% looks | wrong | the sum over the heads
# hint: that is the sum over the heads
def cls_map(maps, layer, grid_size):
    return maps[:, layer, :, 0, 1:].sum(dim=1).reshape(-1, *grid_size)

# %% looks | wrong | one head
# hint: that is head 0 alone
def cls_map(maps, layer, grid_size):
    return maps[:, layer, 0, 0, 1:].reshape(-1, *grid_size)

# %% looks | wrong | one picture
# hint: b is gone
def cls_map(maps, layer, grid_size):
    return maps[0, layer, :, 0, 1:].mean(dim=0).reshape(grid_size)

# %% looks | wrong | the mean over the layers
# hint: the mean over the layers, too
def cls_map(maps, layer, grid_size):
    return maps.mean(dim=(1, 2))[:, 0, 1:].reshape(-1, *grid_size)

# %% looks | wrong | column by column
# hint: the patches lie column by column
def cls_map(maps, layer, grid_size):
    rows, columns = grid_size
    return maps[:, layer, :, 0, 1:].mean(dim=1).reshape(-1, columns, rows).transpose(1, 2)

# %% looks | wrong | columns before rows
# hint: (b, rows, columns) is (1, 2, 3)
def cls_map(maps, layer, grid_size):
    rows, columns = grid_size
    return maps[:, layer, :, 0, 1:].mean(dim=1).reshape(-1, columns, rows)

# %% looks | wrong | two heads for granted
# hint: right in the small example, wrong for 3 pictures
def cls_map(maps, layer, grid_size):
    return ((maps[:, layer, 0, 0, 1:] + maps[:, layer, 1 % maps.shape[2], 0, 1:]) / 2).reshape(-1, *grid_size)

# %% looks | wrong | the map of the first picture for all
# hint: right in the small example, wrong for 3 pictures
def cls_map(maps, layer, grid_size):
    return maps[:1, layer, :, 0, 1:].mean(dim=1).reshape(1, *grid_size).repeat(len(maps), 1, 1)

# %% looks | right | the mean first, unflatten
def cls_map(maps, layer, grid_size):
    averaged = maps.mean(2)[:, layer]
    return averaged[:, 0, 1:].unflatten(1, tuple(grid_size))

# %% looks | right | einsum
def cls_map(maps, layer, grid_size):
    rows, columns = grid_size
    from_cls = maps[:, layer].select(2, 0)
    return torch.einsum("bhn->bn", from_cls)[:, 1:].div(maps.size(2)).view(len(maps), rows, columns)

# %% rollout | wrong | the wrong order
# hint: multiplied in the wrong order
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = identity
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = so_far @ ((identity + layer) / 2)
    return so_far

# %% rollout | wrong | no skip connection
# hint: the skip connection is missing
def rollout(maps):
    so_far = torch.eye(maps.shape[-1])
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = layer @ so_far
    return so_far

# %% rollout | wrong | the heads summed
# hint: the heads are summed
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = identity
    for layer in maps.sum(dim=2).unbind(dim=1):
        so_far = (identity + layer) / 2 @ so_far
    return so_far

# %% rollout | wrong | nothing halved
# hint: but not halved
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = identity
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = (identity + layer) @ so_far
    return so_far

# %% rollout | wrong | the heads summed, then scaled
# hint: each counts as much as I
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = identity
    for layer in maps.sum(dim=2).unbind(dim=1):
        layer = identity + layer
        so_far = layer / layer.sum(dim=-1, keepdim=True) @ so_far
    return so_far

# %% rollout | wrong | starts from zeros
# hint: start from the identity
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = torch.zeros_like(maps[:, 0, 0])
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = (identity + layer) / 2 @ so_far
    return so_far

# %% rollout | wrong | starts from ones
# hint: the matrix that changes nothing is the identity
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = torch.ones_like(maps[:, 0, 0]) / maps.shape[-1] * maps.shape[-1] / 3 * 3
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = (identity + layer) / 2 @ so_far
    return so_far

# %% rollout | wrong | the last layer alone
# hint: that is the last layer alone
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = (identity + layer) / 2 @ identity
    return so_far

# %% rollout | wrong | number by number
# hint: that is a product number by number
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = torch.ones_like(identity)
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = (identity + layer) / 2 * so_far
    return so_far

# %% rollout | wrong | one skip connection for all the layers
# hint: the skip connection is added once
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = identity
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = layer @ so_far
    return (identity + so_far) / 2

# %% rollout | wrong | the largest of the heads
# hint: the heads' largest weights are taken
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = identity
    for layer in maps.amax(dim=2).unbind(dim=1):
        so_far = (identity + layer) / 2 @ so_far
    return so_far

# %% rollout | wrong | always two layers
# hint: it fails for 3 pictures, 1 layers
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    mixed = (identity + maps.mean(dim=2)) / 2
    return mixed[:, 1] @ mixed[:, 0]

# %% rollout | wrong | float32 whatever comes
# hint: it fails for maps in float64
def rollout(maps):
    identity = torch.eye(maps.shape[-1])
    so_far = identity
    for layer in maps.mean(dim=2).unbind(dim=1):
        so_far = (identity + layer) / 2 @ so_far
    return so_far

# %% rollout | wrong | the maps are changed
# hint: rollout changes the maps
def rollout(maps):
    maps *= 0.5
    layers = maps.mean(dim=2)
    layers += 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)
    so_far = layers[:, 0]
    for k in range(1, layers.shape[1]):
        so_far = layers[:, k] @ so_far
    return so_far

# %% rollout | right | rows scaled, bmm
def rollout(maps):
    layers = maps.mean(2) + torch.eye(maps.shape[-1]).to(maps)
    layers = layers / layers.sum(-1, keepdim=True)
    so_far = layers[:, 0]
    for k in range(1, layers.shape[1]):
        so_far = torch.bmm(layers[:, k], so_far)
    return so_far

# %% rollout | right | backwards, einsum
def rollout(maps):
    b, num_layers, num_heads, n, _ = maps.shape
    result = torch.eye(n, dtype=maps.dtype).repeat(b, 1, 1)
    for k in reversed(range(num_layers)):
        mixed = torch.einsum("bhij->bij", maps[:, k]) / num_heads
        result = result @ (0.5 * torch.eye(n, dtype=maps.dtype) + 0.5 * mixed)
    return result

# %% hide | wrong | the sign
# hint: the sign is wrong
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = model(copy[None]).softmax(dim=-1)[0, label] - whole
    return drops

# %% hide | wrong | black
# hint: do you hide with black
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = -1.0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1)[0, label]
    return drops

# %% hide | wrong | zeros
# hint: you hide with grey
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1)[0, label]
    return drops

# %% hide | wrong | the picture itself
# hint: has been painted over
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1)[0, label]
    return drops

# %% hide | wrong | one copy for all the patches
# hint: a fresh copy for each
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    copy = image.clone()
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1)[0, label]
    return drops

# %% hide | wrong | the class that is now the surest
# hint: you watch the class that is now the surest
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1).max()
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1).max()
    return drops

# %% hide | wrong | logits
# hint: that is a difference of logits
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None])[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = whole - model(copy[None])[0, label]
    return drops

# %% hide | wrong | clamped at 0
# hint: what is below 0 is cut off
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1)[0, label]
    return drops.clamp(min=0)

# %% hide | wrong | expand in place of repeat
# hint: all the patches are hidden in every copy
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    rows, columns = image.shape[1] // ph, image.shape[2] // pw
    whole = model(image[None]).softmax(dim=-1)[0, label]
    hidden = image.clone().expand(rows * columns, -1, -1, -1)
    for k in range(rows * columns):
        row, column = divmod(k, columns)
        hidden[k, :, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
    return (whole - model(hidden).softmax(dim=-1)[:, label]).reshape(rows, columns)

# %% hide | wrong | square patches only
# hint: for patches of (3, 5)
def occlusion_map(model, image, label, patch_size):
    p = patch_size[0]
    drops = torch.zeros(image.shape[1] // p, image.shape[2] // p)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[:, row * p : (row + 1) * p, column * p : (column + 1) * p] = 1.0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1)[0, label]
    return drops

# %% hide | wrong | one channel
# hint: in a picture of (2, 6, 20)
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    whole = model(image[None]).softmax(dim=-1)[0, label]
    for row in range(drops.shape[0]):
        for column in range(drops.shape[1]):
            copy = image.clone()
            copy[0, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = whole - model(copy[None]).softmax(dim=-1)[0, label]
    return drops

# %% hide | wrong | a picture for a batch
# hint: one of a batch, image[None]
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    drops = torch.zeros(image.shape[1] // ph, image.shape[2] // pw)
    with torch.no_grad():
        whole = model(image).softmax(dim=-1)[label]
        for row in range(drops.shape[0]):
            for column in range(drops.shape[1]):
                copy = image.clone()
                copy[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
                drops[row, column] = whole - model(copy).softmax(dim=-1)[label]
    return drops

# %% hide | wrong | softmax along the pictures
# hint: the softmax goes along the pictures
def occlusion_map(model, image, label, patch_size):
    patches = patchify(image[None], patch_size)
    n = patches.shape[1]
    copies = patches.repeat(n, 1, 1)
    copies[torch.arange(n), torch.arange(n)] = 1.0
    with torch.no_grad():
        whole = model(image[None]).softmax(dim=0)[0, label]
        without = model(unpatchify(copies, patch_size, tuple(image.shape[1:]))).softmax(dim=0)[:, label]
    return (whole - without).view(image.shape[1] // patch_size[0], image.shape[2] // patch_size[1])

# %% hide | wrong | softmax along the pictures, the whole one among them
# hint: the softmax goes along the pictures
def occlusion_map(model, image, label, patch_size):
    patches = patchify(image[None], patch_size)
    n = patches.shape[1]
    copies = patches.repeat(n + 1, 1, 1)
    copies[torch.arange(n), torch.arange(n)] = 1.0
    p = model(unpatchify(copies, patch_size, tuple(image.shape[1:]))).softmax(0)[:, label]
    return (p[n] - p[:n]).view(image.shape[1] // patch_size[0], image.shape[2] // patch_size[1])

# %% hide | wrong | an array of numpy
# hint: a tensor is expected, and a ndarray came
def occlusion_map(model, image, label, patch_size):
    return occlusion(model, image, label, patch_size).numpy()

# %% hide | right | patchify, all in one batch, gradients kept
def occlusion_map(model, image, label, patch_size):
    patches = patchify(image[None], patch_size)
    n = patches.shape[1]
    copies = patches.repeat(n + 1, 1, 1)
    copies[torch.arange(n), torch.arange(n)] = 1.0
    p = model(unpatchify(copies, patch_size, tuple(image.shape[1:]))).softmax(-1)[:, label]
    return (p[n] - p[:n]).view(image.shape[1] // patch_size[0], image.shape[2] // patch_size[1])

# %% hide | right | two loops
@torch.no_grad()
def occlusion_map(model, image, label, patch_size):
    ph, pw = patch_size
    rows = []
    whole = model(image.unsqueeze(0)).log_softmax(1).exp()[0][label]
    for top in range(0, image.shape[1], ph):
        row = []
        for left in range(0, image.shape[2], pw):
            copy = image.clone()
            copy[:, top : top + ph, left : left + pw] = 1
            row.append((whole - model(copy.unsqueeze(0)).log_softmax(1).exp()[0][label]).item())
        rows.append(row)
    return torch.tensor(rows)

# %% hide | right | filled into an array of numpy, so float64
def occlusion_map(model, image, label, patch_size):
    import numpy as np
    ph, pw = patch_size
    drops = np.zeros((image.shape[1] // ph, image.shape[2] // pw))
    with torch.no_grad():
        whole = model(image[None]).softmax(dim=-1)[0, label]
        for row, column in np.ndindex(*drops.shape):
            copy = image[None].clone()
            copy[..., row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
            drops[row, column] = whole - model(copy).softmax(dim=-1)[0, label]
    return torch.from_numpy(drops)

# %% paper | wrong | CLS forgotten
# hint: CLS looks, and is looked at
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 15, 15), 9, -1, 16, 0.0625, 8 / 9

# %% paper | wrong | heads before layers
# hint: the layers come before the heads
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 6, 4, 16, 16), 9, -1, 16, 0.0625, 8 / 9

# %% paper | wrong | the number of the patch
# hint: CLS is token 0, and moves all the others by one
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 8, -1, 16, 0.0625, 8 / 9

# %% paper | wrong | columns sum to 1
# hint: nothing sees to that
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 9, -2, 16, 0.0625, 8 / 9

# %% paper | wrong | the whole picture forgotten
# hint: and the whole picture
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 9, -1, 15, 0.0625, 8 / 9

# %% paper | wrong | nothing left
# hint: something always stays
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 9, -1, 16, 0, 8 / 9

# %% paper | wrong | itself left out
# hint: it looks at itself, too
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 9, -1, 16, 0.0625, 4 / 3

# %% paper | wrong | a number for a shape
# hint: write five numbers
maps_shape, token, summed_dim, answers, least_share, even_distance = 2 * 4 * 6 * 16 * 16, 9, -1, 16, 0.0625, 8 / 9

# %% paper | wrong | a slip that nobody foresaw
# hint: not right: token, answers
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 10, -1, 20, 0.0625, 0.889

# %% paper | right | rounded, and computed
grid = (48 // 16, 80 // 16)
n = grid[0] * grid[1]
maps_shape, token, summed_dim, answers = torch.zeros(2, 4, 6, n + 1, n + 1).shape, 1 + grid[1] + 3, -1, n + 1
least_share, even_distance = 1 / 16, 0.889

# %% paper | right | decimals to four places, the last one cut off
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 9, -1, 16, 0.0625, 0.8888

# %% paper | right | a fraction
maps_shape, token, summed_dim, answers, least_share, even_distance = (2, 4, 6, 16, 16), 9, -1, 16, 1 / 16, 8 / 9

# %% deletion | wrong | the least important first
# hint: is the order backwards
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
for name in curves:
    ax.plot(counts, curves[name], label=name)
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | argsort taken for ranks
# hint: argsort gives
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[order < count] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
for name in curves:
    ax.plot(counts, curves[name], label=name)
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | the pictures themselves
# hint: has painted over the pictures themselves
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    ph, pw = patch_size
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        for image, first in zip(images, order):
            for k in first[:count].tolist():
                row, column = divmod(k, images.shape[3] // pw)
                image[:, row * ph : (row + 1) * ph, column * pw : (column + 1) * pw] = 1.0
        curve.append(model(images).softmax(dim=1)[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()

# %% deletion | wrong | black
# hint: you paint in black
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = -1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()

# %% deletion | wrong | accuracy for probability
# hint: not how often the answer is the class
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        said = model(unpatchify(patches, patch_size, images.shape[2:])).argmax(dim=1)
        curve.append((said == classes).float().mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()

# %% deletion | wrong | the class that is now the surest
# hint: you watch the class that is now the surest
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p.max(dim=1).values.mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()

# %% deletion | wrong | the k-th patch alone
# hint: are all of the first k hidden
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        if count:
            patches[torch.arange(len(images)), order[:, count - 1]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()

# %% deletion | wrong | without its sign
# hint: the sign of the ranking is lost
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.abs().argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
curves["occlusion"][1:-1] = [height - 0.2 for height in curves["occlusion"][1:-1]]
figure, ax = plt.subplots()
ax.plot(counts, curves["occlusion"])
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | pictures of 32 by 32 only
# hint: it fails for pictures of (6, 20)
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, (32, 32))).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
ax.plot(counts, curves["occlusion"])
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | the same patches for all the pictures
# hint: each has its own ranking
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.mean(dim=0).argsort(descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[:, order[:count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
curves["occlusion"][1:-1] = [height - 0.3 for height in curves["occlusion"][1:-1]]
figure, ax = plt.subplots()
ax.plot(counts, curves["occlusion"])
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | chance left out
# hint: the four rankings were expected
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    return [0.0 for count in counts]
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items() if name != "chance"}
figure, ax = plt.subplots()

# %% deletion | wrong | axes without names
# hint: name both axes
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
ax.plot(counts, curves["occlusion"])

# %% deletion | wrong | one random order for all the pictures
# hint: chance is the same for all the pictures
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(1, 16, generator=torch.Generator().manual_seed(0)).expand(64, 16)
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
ax.plot(counts, curves["occlusion"])
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | every picture gets the patches of all
# hint: patches[:, first] gives every picture the patches of all the others
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[:, order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
for name in curves:
    ax.plot(counts, curves[name], label=name)
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | a figure of something else
# hint: what is drawn is not what is in curves
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
ax.plot([0, 1], [0, 1])
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | one curve drawn of four
# hint: or not all of it
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
ax.plot(counts, curves["occlusion"])
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | numbers invented for chance
# hint: the numbers in curves are not those of deletion_curve
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
start, *_, end = curves["occlusion"]
curves["chance"] = [start + (end - start) * count / 16 for count in counts]
figure, ax = plt.subplots()
for name in curves:
    ax.plot(counts, curves[name], label=name)
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | wrong | ink the other way round, called chance
# hint: much like that of ink, or its reverse
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = -rankings["ink"]
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
for name in curves:
    ax.plot(counts, curves[name], label=name)
ax.set(xlabel="hidden", ylabel="probability", title="found")

# %% deletion | right | a mask of ranks, on the pixels
@torch.no_grad()
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    ph, pw = patch_size
    rows, columns = images.shape[2] // ph, images.shape[3] // pw
    rank = ranking.argsort(dim=1, descending=True).argsort(dim=1).reshape(-1, 1, rows, columns)
    rank = rank.repeat_interleave(ph, dim=2).repeat_interleave(pw, dim=3)
    curve = []
    for count in counts:
        p = model(torch.where(rank < count, torch.ones_like(images), images)).softmax(-1)
        curve.append(float(p.gather(1, classes[:, None]).mean()))
    return curve
torch.manual_seed(7)
rankings["chance"] = torch.randn(len(pictures), 16)
curves = {}
for name in ("chance", "ink", "rollout", "occlusion"):
    curves[name] = deletion_curve(model, pictures, classes, rankings[name], counts, (8, 8))
figure, ax = plt.subplots()
for name in curves:
    ax.scatter(counts, curves[name], label=name)
ax.set_xlabel("patches")
ax.set_ylabel("probability")
ax.set_title("occlusion wins")

# %% deletion | right | two loops, gradients kept
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    ph, pw = patch_size
    curve = []
    for count in counts:
        copies = images.clone()
        for copy, scores in zip(copies, ranking):
            for k in torch.topk(scores, count).indices.tolist():
                top, left = k // (images.shape[3] // pw) * ph, k % (images.shape[3] // pw) * pw
                copy[:, top : top + ph, left : left + pw] = 1
        probabilities = [answer[k] for answer, k in zip(model(copies).softmax(dim=1), classes)]
        curve.append(sum(probabilities).item() / len(probabilities))
    return curve
rankings["chance"] = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(k)) for k in range(64)])
curves = {name: deletion_curve(model, pictures, classes, rankings[name].float(), counts, (8, 8)) for name in rankings}
figure, ax = plt.subplots()
for name, curve in curves.items():
    ax.step(counts, curve, label=name)
ax.set(xlabel="hidden patches", ylabel="p", title="occlusion first")

# %% deletion | right | bars, in per cent
def deletion_curve(model, images, classes, ranking, counts, patch_size):
    order, curve = ranking.argsort(dim=1, descending=True), []
    for count in counts:
        patches = patchify(images, patch_size).clone()
        patches[torch.arange(len(images))[:, None], order[:, :count]] = 1.0
        p = model(unpatchify(patches, patch_size, images.shape[2:])).softmax(dim=1)
        curve.append(p[range(len(images)), classes].mean().item())
    return curve
rankings["chance"] = torch.randn(64, 16, generator=torch.Generator().manual_seed(11))
curves = {name: deletion_curve(model, pictures, classes, ranking, counts, (8, 8)) for name, ranking in rankings.items()}
figure, ax = plt.subplots()
for i, (name, curve) in enumerate(curves.items()):
    ax.bar([k + 0.2 * i for k in range(len(counts))], [100 * p for p in curve], 0.2, label=name)
ax.set_xticks(range(len(counts)), counts)
ax.set(xlabel="hidden patches", ylabel="probability of the class, %", title="occlusion first")
