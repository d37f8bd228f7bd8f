"""Typical answers to the exercises of lesson 08: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% new_head | wrong | no return
# hint: did you forget `return`
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)

# %% new_head | wrong | a variable with the module's name
# hint: a variable of yours is called copy
def new_head(model, num_classes):
    copy = copy.deepcopy(model).requires_grad_(False)
    copy.classifier = nn.Linear(model.config.emb_dim, num_classes)
    return copy

# %% new_head | wrong | the old head is loaded, too
# hint: strict=False forgives missing names, not other shapes
def new_head(model, num_classes):
    other = ViTModel(model.config.replace(num_classes=num_classes))
    other.load_state_dict(model.state_dict(), strict=False)
    return other

# %% new_head | wrong | the config written into
# hint: a config can't be changed
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.config.num_classes = num_classes
    return other

# %% new_head | wrong | the head alone comes back
# hint: expected the whole model
def new_head(model, num_classes):
    head = nn.Linear(model.config.emb_dim, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head

# %% new_head | wrong | the model that came is changed
# hint: work on a copy
def new_head(model, num_classes):
    model.requires_grad_(False)
    model.classifier = nn.Linear(model.config.emb_dim, num_classes)
    nn.init.zeros_(model.classifier.weight)
    nn.init.zeros_(model.classifier.bias)
    return model

# %% new_head | wrong | frozen, but the old head is still there
# hint: the copy still has the old head
def new_head(model, num_classes):
    other = copy.deepcopy(model)
    for name, parameter in other.named_parameters():
        parameter.requires_grad = name.startswith("classifier")
    return other

# %% new_head | wrong | random opinions
# hint: starts with random opinions
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    return other

# %% new_head | wrong | only the weight is zero
# hint: the bias is drawn at random
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    nn.init.zeros_(other.classifier.weight)
    return other

# %% new_head | wrong | requires_grad set on modules
# hint: it is just an attribute; parameters have it
def new_head(model, num_classes):
    other = copy.deepcopy(model)
    other.requires_grad = False
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other

# %% new_head | wrong | not frozen at all
# hint: freeze the body's parameters
def new_head(model, num_classes):
    other = copy.deepcopy(model)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other

# %% new_head | wrong | frozen last, and the head with it
# hint: freeze the body first, then put the head in
def new_head(model, num_classes):
    other = copy.deepcopy(model)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    for parameter in other.parameters():
        parameter.requires_grad = False
    return other

# %% new_head | wrong | the encoder is frozen, the embeddings are not
# hint: here these can: classifier.bias, classifier.weight, embeddings.cls_token
def new_head(model, num_classes):
    other = copy.deepcopy(model)
    other.encoder.requires_grad_(False)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other

# %% new_head | wrong | the config is forgotten
# hint: the copy's config says 5 classes
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other

# %% new_head | wrong | a shallow copy
# hint: you froze it, or share its parameters
def new_head(model, num_classes):
    other = copy.copy(model)
    other._modules = dict(model._modules)
    for parameter in other.parameters():
        parameter.requires_grad = False
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other

# %% new_head | wrong | a new model whose body is random
# hint: a new model has random weights
def new_head(model, num_classes):
    other = ViTModel(model.config.replace(num_classes=num_classes))
    other.requires_grad_(False)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
        parameter.requires_grad = True
    return other.train(model.training)

# %% new_head | wrong | the head is always float32
# hint: bring the new layer to the dtype of the body
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other

# %% new_head | wrong | the width comes from the old head
# hint: it fails for a model without a head
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.classifier.in_features, num_classes, dtype=model.classifier.weight.dtype)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other.train(model.training)

# %% new_head | wrong | always in eval mode
# hint: it should be in the same mode
def new_head(model, num_classes):
    other = copy.deepcopy(model).requires_grad_(False)
    other.config = model.config.replace(num_classes=num_classes)
    other.classifier = nn.Linear(model.config.emb_dim, num_classes).to(model.embeddings.cls_token)
    for parameter in other.classifier.parameters():
        nn.init.zeros_(parameter)
    return other.eval()

# %% new_head | right | a new model, and the old weights loaded
def new_head(model, num_classes):
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("classifier.")}
    state["classifier.weight"] = torch.zeros(num_classes, model.config.emb_dim)
    state["classifier.bias"] = torch.zeros(num_classes)
    result = ViTModel(model.config.replace(num_classes=num_classes)).to(model.embeddings.cls_token.dtype)
    result.load_state_dict(state)
    for name, parameter in result.named_parameters():
        parameter.requires_grad = name in ("classifier.weight", "classifier.bias")
    if model.training:
        result.train()
    else:
        result.eval()
    return result

# %% new_head | right | zeros written by hand
def new_head(model, num_classes):
    clone = copy.deepcopy(model)
    for p in clone.parameters():
        p.requires_grad_(False)
    clone.config = model.config.replace(num_classes=num_classes)
    head = nn.Linear(clone.config.emb_dim, num_classes, dtype=clone.embeddings.cls_token.dtype)
    with torch.no_grad():
        head.weight.fill_(0.0)
        head.bias.fill_(0.0)
    clone.classifier = head
    return clone

# %% larger | wrong | patches without CLS
# hint: CLS is a token as well
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 576, 1, 291_840, 2.9, 8.6, 174

# %% larger | wrong | every block has something to resize
# hint: one in each block?
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 12, 291_840, 2.9, 8.6, 174

# %% larger | wrong | positions counted, not their numbers
# hint: each position has 768 numbers
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 380, 2.9, 8.6, 174

# %% larger | wrong | the whole table
# hint: that is the whole table at 384
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 443_136, 2.9, 8.6, 174

# %% larger | wrong | the side instead of the area
# hint: tokens tile an area
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 291_840, 384 / 224, 8.6, 174

# %% larger | wrong | tokens instead of pairs
# hint: each looks at all of them
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 291_840, 2.9, 2.9, 174

# %% larger | wrong | float32
# hint: that is float32
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 291_840, 2.9, 8.6, 347

# %% larger | wrong | the file has not grown
# hint: it has grown a little
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 291_840, 2.9, 8.6, 173

# %% larger | wrong | a string
# hint: write a whole number
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, "291,840", 2.9, 8.6, 174

# %% larger | wrong | a slip that nobody foresaw
# hint: not right: more_parameters
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 300_000, 2.9, 8.6, 174

# %% larger | right | as quotients, CLS left out of the factors
num_tokens = (384 // 16) ** 2 + 1
num_resized = 1
more_parameters = (num_tokens - 197) * 768
times_the_linear = 576 / 196
times_the_pairs = (576 / 196) ** 2
megabytes = int((86_567_656 + more_parameters) * 2 / 10**6 + 0.5)

# %% larger | right | rounded
num_tokens, num_resized, more_parameters, times_the_linear, times_the_pairs, megabytes = 577, 1, 291_840, 2.9, 8.6, 174

# %% positions | wrong | no return
# hint: did you forget `return`
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | CLS is lost
# hint: CLS is gone
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return patches.flatten(2).transpose(1, 2)

# %% positions | wrong | CLS last
# hint: CLS has become the last
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([patches.flatten(2).transpose(1, 2), position_embedding[:, :1]], dim=1)

# %% positions | wrong | CLS interpolated along: one list of n + 1
# hint: a patch has got some of CLS's numbers
def resize_positions(position_embedding, grid_size, new_grid_size):
    n = new_grid_size[0] * new_grid_size[1] + 1
    return F.interpolate(position_embedding.transpose(1, 2), size=n, mode="linear").transpose(1, 2)

# %% positions | wrong | the grid is taken to be square
# hint: is the grid taken to be square
def resize_positions(position_embedding, grid_size, new_grid_size):
    side = int((position_embedding.shape[1] - 1) ** 0.5)
    patches = position_embedding[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | one factor for both sides
# hint: rows and columns grow each by itself
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, scale_factor=new_grid_size[0] / grid_size[0], mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | joined along the wrong axis
# hint: it fails already from 2 by 2 patches to 4 by 4
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)])

# %% positions | wrong | CLS is left in, and the grid has no place for it
# hint: is CLS off
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding.transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return patches.flatten(2).transpose(1, 2)

# %% positions | wrong | reshape where a transpose is needed
# hint: the numbers are scrambled
def resize_positions(position_embedding, grid_size, new_grid_size):
    d = position_embedding.shape[2]
    patches = position_embedding[:, 1:].reshape(1, d, *grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.reshape(1, -1, d)], dim=1)

# %% positions | wrong | right on the way in, reshape on the way out
# hint: in both directions
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.reshape(1, -1, position_embedding.shape[2])], dim=1)

# %% positions | wrong | d last is kept, and rows and columns are swapped
# hint: rows and columns have changed places
def resize_positions(position_embedding, grid_size, new_grid_size):
    image = position_embedding[:, 1:].unflatten(1, grid_size).permute(0, 3, 2, 1)
    image = F.interpolate(image, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], image.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | cut into columns by rows
# hint: cut into rows of a wrong length
def resize_positions(position_embedding, grid_size, new_grid_size):
    rows, columns = grid_size
    patches = position_embedding[:, 1:].transpose(1, 2).reshape(1, -1, columns, rows)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | the new size the wrong way round
# hint: cut into rows of a wrong length
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size[::-1], mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | stretched as a list
# hint: list stretched without its grid
def resize_positions(position_embedding, grid_size, new_grid_size):
    n = new_grid_size[0] * new_grid_size[1]
    patches = F.interpolate(position_embedding[:, 1:].transpose(1, 2), size=n, mode="linear").transpose(1, 2)
    return torch.cat([position_embedding[:, :1], patches], dim=1)

# %% positions | wrong | nearest
# hint: that is mode="nearest"
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | bilinear
# hint: that is mode="bilinear"
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bilinear", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | align_corners
# hint: that is align_corners=True
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", align_corners=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | antialias forgotten
# hint: that is without antialias=True
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic")
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | the same object where nothing is to do
# hint: the result shares memory
def resize_positions(position_embedding, grid_size, new_grid_size):
    if grid_size == new_grid_size:
        return position_embedding
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | no way for float16
# hint: interpolate in float32, then go back
def resize_positions(position_embedding, grid_size, new_grid_size):
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | always float32
# hint: another dtype goes out
def resize_positions(position_embedding, grid_size, new_grid_size):
    position_embedding = position_embedding.float()
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | wrong | detached
# hint: the gradient does not come through
def resize_positions(position_embedding, grid_size, new_grid_size):
    dtype, position_embedding = position_embedding.dtype, position_embedding.detach()
    patches = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size)
    patches = patches if dtype == torch.float64 else patches.float()
    patches = F.interpolate(patches, size=new_grid_size, mode="bicubic", antialias=True).to(dtype)
    return torch.cat([position_embedding[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

# %% positions | right | permute, and always through float64
def resize_positions(position_embedding, grid_size, new_grid_size):
    rows, columns = grid_size
    d = position_embedding.size(-1)
    grid = position_embedding[0, 1:].reshape(rows, columns, d).permute(2, 0, 1).unsqueeze(0).double()
    grid = F.interpolate(grid, tuple(new_grid_size), mode="bicubic", align_corners=False, antialias=True)
    patches = grid.permute(0, 2, 3, 1).reshape(1, new_grid_size[0] * new_grid_size[1], d)
    return torch.cat((position_embedding[:, 0:1, :], patches.to(position_embedding.dtype)), 1)

# %% positions | right | always through float32
def resize_positions(position_embedding, grid_size, new_grid_size):
    image = position_embedding[:, 1:].transpose(1, 2).unflatten(2, grid_size).float()
    image = F.interpolate(image, size=new_grid_size, mode="bicubic", antialias=True, align_corners=False)
    patches = image.flatten(2).transpose(1, 2).to(position_embedding.dtype)
    return torch.cat([position_embedding[:, :1], patches], dim=1)

# %% positions | right | einsum and a tensor filled in
def resize_positions(position_embedding, grid_size, new_grid_size):
    wide = position_embedding.float() if position_embedding.element_size() == 2 else position_embedding
    image = torch.einsum("brcd->bdrc", wide[:, 1:].unflatten(1, grid_size))
    image = F.interpolate(image, size=list(new_grid_size), mode="bicubic", antialias=True)
    result = wide.new_zeros(1, 1 + new_grid_size[0] * new_grid_size[1], wide.shape[2])
    result[:, :1] = wide[:, :1]
    result[:, 1:] = torch.einsum("bdrc->brcd", image).flatten(1, 2)
    return result.to(position_embedding.dtype)

# %% translate | wrong | no return
# hint: did you forget `return`
def to_ours(state, table):
    weights = {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}

# %% translate | wrong | joined along the wrong axis
# hint: biases have one axis, weights two
def to_ours(state, table):
    return {ours: torch.cat([state[name] for name in theirs], dim=1) if len(theirs) > 1 else state[theirs[0]]
            for ours, theirs in table.items()}

# %% translate | wrong | joined along the last axis
# hint: side by side came
def to_ours(state, table):
    return {ours: torch.cat([state[name] for name in theirs], dim=-1) for ours, theirs in table.items()}

# %% translate | wrong | stacked
# hint: cat, not stack
def to_ours(state, table):
    return {ours: torch.stack([state[name] for name in theirs]).squeeze(0) for ours, theirs in table.items()}

# %% translate | wrong | lists stay lists
# hint: each of our names has one tensor
def to_ours(state, table):
    return {ours: [state[name] for name in theirs] for ours, theirs in table.items()}

# %% translate | wrong | the names sorted
# hint: as in the alphabet
def to_ours(state, table):
    return {ours: torch.cat([state[name] for name in sorted(theirs)]) for ours, theirs in table.items()}

# %% translate | wrong | in the order of the state dict, from the end
# hint: the values come first
def to_ours(state, table):
    return {ours: torch.cat([state[name] for name in reversed(state) if name in theirs]) for ours, theirs in table.items()}

# %% translate | wrong | transposed
# hint: each matrix is transposed
def to_ours(state, table):
    return {ours: torch.cat([state[name].T if len(theirs) > 1 and state[name].ndim == 2 else state[name]
                             for name in theirs]) for ours, theirs in table.items()}

# %% translate | wrong | interleaved, as some libraries have it
# hint: alternate row by row
def to_ours(state, table):
    return {ours: torch.stack([state[name] for name in theirs], dim=1).flatten(0, 1) for ours, theirs in table.items()}

# %% translate | wrong | what is missing is left out
# hint: two of their keys were missing, and to_ours said nothing
def to_ours(state, table):
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()
            if all(name in state for name in theirs)}

# %% translate | wrong | a KeyError, with one key
# hint: KeyError came where ValueError was expected
def to_ours(state, table):
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}

# %% translate | wrong | it raises at the first missing key
# hint: your text doesn't say both
def to_ours(state, table):
    for theirs in table.values():
        for name in theirs:
            if name not in state:
                raise ValueError(f"{name} is missing")
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}

# %% translate | wrong | left-over keys in silence
# hint: two of their keys were left over, and to_ours said nothing
def to_ours(state, table):
    missing = [name for theirs in table.values() for name in theirs if name not in state]
    if missing:
        raise ValueError(f"missing: {missing}")
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}

# %% translate | wrong | the missing ones first, the others only if none is missing
# hint: not all are named
def to_ours(state, table):
    asked = [name for theirs in table.values() for name in theirs]
    missing, extra = [name for name in asked if name not in state], [name for name in state if name not in asked]
    if missing:
        raise ValueError(f"missing: {missing}")
    if extra:
        raise ValueError(f"left over: {extra}")
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}
def to_theirs(weights, table):
    if set(weights) != set(table):
        raise ValueError(set(weights) ^ set(table))
    return {name: part for ours, theirs in table.items() for name, part in zip(theirs, weights[ours].chunk(len(theirs)))}

# %% translate | wrong | popped from what came
# hint: the state dict that came has been changed
def to_ours(state, table):
    missing = [name for theirs in table.values() for name in theirs if name not in state]
    weights = {}
    if not missing:
        for ours, theirs in table.items():
            weights[ours] = torch.cat([state.pop(name) for name in theirs])
    extra = [name for name in state if name not in sum(table.values(), [])]
    if missing or extra:
        raise ValueError(f"missing: {missing}, left over: {extra}")
    return weights
def to_theirs(weights, table):
    if set(weights) != set(table):
        raise ValueError(set(weights) ^ set(table))
    return {name: part for ours, theirs in table.items() for name, part in zip(theirs, weights[ours].chunk(len(theirs)))}

# %% translate | wrong | on the way back the wrong axis is cut
# hint: to_theirs gives their names, all of them; each tensor is cut
def to_ours(state, table):
    asked = sum(table.values(), [])
    if set(asked) != set(state):
        raise ValueError(set(asked) ^ set(state))
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}
def to_theirs(weights, table):
    if set(weights) != set(table):
        raise ValueError(set(weights) ^ set(table))
    state = {}
    for ours, theirs in table.items():
        state |= dict(zip(theirs, weights[ours].chunk(len(theirs), dim=-1)))
    return state

# %% translate | wrong | an assert that doesn't name a thing
# hint: AssertionError came where ValueError was expected
def to_ours(state, table):
    assert set(state) == {name for theirs in table.values() for name in theirs}
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}

# %% translate | wrong | on the way back every third row
# hint: mixed up on the way back
def to_ours(state, table):
    asked = sum(table.values(), [])
    if set(asked) != set(state):
        raise ValueError(set(asked) ^ set(state))
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}
def to_theirs(weights, table):
    if set(weights) != set(table):
        raise ValueError(set(weights) ^ set(table))
    return {name: weights[ours][i :: len(theirs)] for ours, theirs in table.items() for i, name in enumerate(theirs)}

# %% translate | wrong | on the way back a part of the names
# hint: to_theirs gives their names, all of them
def to_ours(state, table):
    asked = sum(table.values(), [])
    if set(asked) != set(state):
        raise ValueError(set(asked) ^ set(state))
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}
def to_theirs(weights, table):
    return {theirs[0]: weights[ours] for ours, theirs in table.items()}

# %% translate | wrong | the way back is not strict
# hint: to_theirs says nothing
def to_ours(state, table):
    asked = sum(table.values(), [])
    if set(asked) != set(state):
        raise ValueError(set(asked) ^ set(state))
    return {ours: torch.cat([state[name] for name in theirs]) for ours, theirs in table.items()}
def to_theirs(weights, table):
    state = {}
    for ours, tensor in weights.items():
        if ours in table:
            state |= dict(zip(table[ours], tensor.chunk(len(table[ours]))))
    return state

# %% translate | right | loops, and a list of all the problems
def to_ours(state, table):
    rest, weights, problems = dict(state), {}, []
    for ours, theirs in table.items():
        parts = []
        for name in theirs:
            if name in rest:
                parts.append(rest.pop(name))
            else:
                problems.append("missing: " + name)
        if len(parts) == len(theirs):
            weights[ours] = parts[0] if len(parts) == 1 else torch.cat(parts, dim=0)
    problems += ["left over: " + name for name in rest]
    if problems:
        raise ValueError("\n".join(problems))
    return weights
def to_theirs(weights, table):
    problems = ["missing: " + name for name in table if name not in weights]
    problems += ["left over: " + name for name in weights if name not in table]
    if problems:
        raise ValueError("\n".join(problems))
    state = {}
    for ours, theirs in table.items():
        rows = len(weights[ours]) // len(theirs)
        for i, name in enumerate(theirs):
            state[name] = weights[ours][i * rows : (i + 1) * rows].clone()
    return state

# %% translate | right | sets, vstack by reshape, tensor_split
def check(found, expected):
    if found ^ expected:
        raise ValueError(f"do not fit: {', '.join(sorted(found ^ expected))}")
def to_ours(state, table):
    check(set(state), {name for theirs in table.values() for name in theirs})
    return {ours: state[theirs[0]] if len(theirs) == 1 else torch.stack([state[n] for n in theirs]).flatten(0, 1)
            for ours, theirs in table.items()}
def to_theirs(weights, table):
    check(set(weights), set(table))
    return {name: part for ours, theirs in table.items()
            for name, part in zip(theirs, torch.tensor_split(weights[ours], len(theirs)))}

# %% where | wrong | the ways never reach the copy
# hint: do the positions of each way reach the model
def with_positions(model, image_size, position_embedding):
    return resize_model(model, image_size)
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | the mean over rows and columns
# hint: that is the mean over rows and columns
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).abs().mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | the mean over the pictures only
# hint: expected one: the distance of each picture first
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).abs().mean(dim=0)

# %% where | wrong | the mean squared error
# hint: that is a mean of squares
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return F.mse_loss(model.eval()(pictures), middles).item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | the norm over the wrong axis
# hint: it goes over the two numbers of each picture
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=0).mean().item()

# %% where | wrong | in pixels
# hint: a share of the side, not pixels
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = side * mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | tensors instead of floats
# hint: mean_distance gave a Tensor
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | one side left out
# hint: should have the sides
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in (32, 48, 64):
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(distance[way].keys(), distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | rows compared with columns
# hint: row with row
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        pictures, middles = scenes(side)
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), pictures, middles.flip(1))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | drawn into another figure
# hint: ax is empty
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
plt.figure()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    plt.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
plt.axhline(middle)

# %% where | wrong | no dropout here, so no eval()
# hint: it must be in eval mode
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | the model itself gets the positions
# hint: with_positions works on a copy
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    model.embeddings.position_embedding.data = position_embedding
    model.embeddings.patch_embedding = other.embeddings.patch_embedding
    model.config = other.config
    return model
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
for way in WAYS:
    for side in SIDES:
        pointer = load_pointer()
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | a new model without the trained weights
# hint: does the copy have the pointer's trained weights
def with_positions(model, image_size, position_embedding):
    other = ViTModel(model.config.replace(image_size=image_size))
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | no yardstick in the figure
# hint: the yardstick is not in the figure
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, distance[way].values())
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | wrong | a figure of something else
# hint: what is drawn is not what is in distance
def with_positions(model, image_size, position_embedding):
    other = resize_model(model, image_size)
    other.embeddings.position_embedding.data = position_embedding
    return other
def mean_distance(model, pictures, middles):
    with torch.no_grad():
        return (model.eval()(pictures) - middles).norm(dim=1).mean().item()
distance = {way: {} for way in WAYS}
figure, ax = plt.subplots()
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        positions = WAYS[way](pointer.embeddings.position_embedding.detach(), (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
    ax.plot(SIDES, SIDES)
middle = (scenes(32)[1] - 0.5).norm(dim=1).mean().item()
ax.axhline(middle)
ax.set(xlabel="side", ylabel="distance", title="found")

# %% where | right | a state dict with one tensor replaced, sides in the outer loop
def with_positions(model, image_size, position_embedding):
    state = model.state_dict()
    state["embeddings.position_embedding"] = position_embedding
    larger = ViTModel(model.config.replace(image_size=image_size))
    larger.load_state_dict(state)
    return larger
@torch.inference_mode()
def mean_distance(model, pictures, middles):
    model.eval()
    answers = torch.cat([model(batch) for batch in pictures.split(50)])
    return float(torch.sqrt(((answers - middles) ** 2).sum(dim=-1)).mean())
distance = {way: {} for way in WAYS}
old = load_pointer().state_dict()["embeddings.position_embedding"]
for side in SIDES:
    pictures, middles = scenes(side)
    for way, function in WAYS.items():
        vit = with_positions(load_pointer(), side, function(old, (8, 8), (side // 4,) * 2))
        distance[way][side] = mean_distance(vit, pictures, middles)
middle = float(torch.linalg.vector_norm(scenes(64)[1] - torch.tensor([0.5, 0.5]), dim=1).mean())
figure, ax = plt.subplots()
for way in WAYS:
    ax.plot(list(SIDES), [distance[way][side] for side in SIDES], label=way)
ax.plot(list(SIDES), [middle] * len(SIDES), label="middle")
ax.set_xlabel("side")
ax.set_ylabel("mean distance")
ax.set_title("only the grid keeps places")
ax.legend()

# %% where | right | deepcopy, a new parameter, bars
def with_positions(model, image_size, position_embedding):
    other = copy.deepcopy(resize_model(model, image_size))
    other.embeddings.position_embedding = nn.Parameter(position_embedding.clone())
    return other
def mean_distance(model, pictures, middles):
    was_training = model.training
    model.eval()
    with torch.no_grad():
        difference = model(pictures) - middles
    model.train(was_training)
    return torch.hypot(difference[:, 0], difference[:, 1]).mean().item()
distance = {way: {side: 0.0 for side in SIDES} for way in WAYS}
pointer = load_pointer()
for way in WAYS:
    for side in SIDES:
        with torch.no_grad():
            positions = WAYS[way](pointer.embeddings.position_embedding, (8, 8), (side // 4, side // 4))
        distance[way][side] = mean_distance(with_positions(pointer, side, positions), *scenes(side))
middle = ((scenes(16)[1] - 0.5) ** 2).sum(1).sqrt().mean().item()
figure, ax = plt.subplots()
for i, way in enumerate(WAYS):
    ax.bar([k + i / 4 for k in range(len(SIDES))], distance[way].values(), width=0.25, label=way)
ax.axhline(middle)
ax.set(xlabel="side", ylabel="mean distance", title="as a picture they keep the place")
