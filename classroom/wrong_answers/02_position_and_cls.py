"""Typical answers to the exercises of lesson 02: wrong ones, each with a part of the hint that it gets, and right ones."""

# %% place | wrong | CLS forgotten
# hint: CLS stands there
def place(row, column, columns):
    return row * columns + column

# %% place | wrong | no return
# hint: did you forget `return`
def place(row, column, columns):
    print(1 + row * columns + column)

# %% place | wrong | down the columns
# hint: you count down the columns
def place(row, column, columns):
    return 1 + column * columns + row

# %% place | wrong | counted from 1
# hint: rows and columns count from 0
def place(row, column, columns):
    return 1 + (row - 1) * columns + (column - 1)

# %% place | wrong | a row counts as one patch
# hint: a row that was passed counts
def place(row, column, columns):
    return 1 + row + column

# %% place | wrong | four columns always
# hint: use `columns`, the length of a row
def place(row, column, columns):
    return 1 + 4 * row + column

# %% place | wrong | CLS moves rows instead of patches
# hint: CLS stands there
def place(row, column, columns):
    return row * (columns + 1) + column

# %% place | right | counted one by one
def place(row, column, columns):
    index = 1
    for _ in range(row):
        index += columns
    return index + column

# %% place | right | the column first
def place(row, column, columns):
    return (column + 1) + columns * row

# %% sequence | wrong | no return
# hint: did you forget `return`
def add_cls_and_positions(patches, cls_token, position_embedding):
    sequence = torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1) + position_embedding

# %% sequence | wrong | CLS is not expanded
# hint: show it once for each picture
def add_cls_and_positions(patches, cls_token, position_embedding):
    return torch.cat([cls_token, patches], dim=1) + position_embedding

# %% sequence | wrong | positions first
# hint: CLS must be there before you add them
def add_cls_and_positions(patches, cls_token, position_embedding):
    patches = patches + position_embedding
    return torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1)

# %% sequence | wrong | CLS as one more picture
# hint: along the axis of tokens
def add_cls_and_positions(patches, cls_token, position_embedding):
    cls_for_all = cls_token.expand(1, patches.shape[1], -1)
    return torch.cat([cls_for_all, patches], dim=0) + position_embedding

# %% sequence | wrong | CLS last
# hint: CLS stands last
def add_cls_and_positions(patches, cls_token, position_embedding):
    return torch.cat([patches, cls_token.expand(len(patches), -1, -1)], dim=1) + position_embedding

# %% sequence | wrong | CLS last, with its own position
# hint: CLS stands last
def add_cls_and_positions(patches, cls_token, position_embedding):
    cls_for_all = (cls_token + position_embedding[:, :1]).expand(len(patches), -1, -1)
    return torch.cat([patches + position_embedding[:, 1:], cls_for_all], dim=1)

# %% sequence | wrong | CLS without a position
# hint: CLS has no position
def add_cls_and_positions(patches, cls_token, position_embedding):
    patches = patches + position_embedding[:, 1:]
    return torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1)

# %% sequence | wrong | no positions at all
# hint: CLS has no position, or nothing has
def add_cls_and_positions(patches, cls_token, position_embedding):
    return torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1)

# %% sequence | wrong | positions off by one
# hint: each patch is off by one
def add_cls_and_positions(patches, cls_token, position_embedding):
    n = patches.shape[1]
    patches = patches + position_embedding[:, :n]
    cls_for_all = (cls_token + position_embedding[:, n:]).expand(len(patches), -1, -1)
    return torch.cat([cls_for_all, patches], dim=1)

# %% sequence | wrong | CLS overwrites the first patch
# hint: CLS makes it one token longer
def add_cls_and_positions(patches, cls_token, position_embedding):
    sequence = patches + position_embedding[:, 1:]
    sequence[:, 0] = cls_token[:, 0] + position_embedding[:, 0]
    return sequence

# %% sequence | wrong | a new random CLS at each call
# hint: two calls with the same input
def add_cls_and_positions(patches, cls_token, position_embedding):
    cls_token = nn.Parameter(torch.randn(1, 1, patches.shape[2]))
    return torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1) + position_embedding

# %% sequence | wrong | CLS for the first picture only
# hint: the second picture has another CLS
def add_cls_and_positions(patches, cls_token, position_embedding):
    cls_for_all = torch.zeros(len(patches), 1, patches.shape[2])
    cls_for_all[0] = cls_token[0]
    return torch.cat([cls_for_all, patches], dim=1) + position_embedding

# %% sequence | wrong | the mean over the batch
# hint: b is gone
def add_cls_and_positions(patches, cls_token, position_embedding):
    sequence = torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1) + position_embedding
    return sequence.mean(dim=0)

# %% sequence | wrong | detached positions
# hint: no gradient reaches position_embedding
def add_cls_and_positions(patches, cls_token, position_embedding):
    sequence = torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1)
    return sequence + position_embedding.detach()

# %% sequence | wrong | CLS through a new tensor
# hint: no gradient reaches cls_token
def add_cls_and_positions(patches, cls_token, position_embedding):
    cls_for_all = torch.tensor(cls_token.tolist() * len(patches), dtype=patches.dtype)
    return torch.cat([cls_for_all, patches], dim=1) + position_embedding

# %% sequence | wrong | the patches are changed in place
# hint: it changes what it was given
def add_cls_and_positions(patches, cls_token, position_embedding):
    patches += position_embedding[:, 1:]
    cls_for_all = (cls_token + position_embedding[:, :1]).expand(len(patches), -1, -1)
    return torch.cat([cls_for_all, patches], dim=1)

# %% sequence | wrong | positions cut to fit
# hint: accepted without a word
def add_cls_and_positions(patches, cls_token, position_embedding):
    sequence = torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1)
    return sequence + position_embedding[:, : sequence.shape[1]]

# %% sequence | wrong | float32 whatever comes
# hint: must take the dtype of the patches
def add_cls_and_positions(patches, cls_token, position_embedding):
    b, n, d = patches.shape
    sequence = torch.zeros(b, n + 1, d)
    sequence[:, :1] = cls_token
    sequence[:, 1:] = patches
    sequence += position_embedding
    return sequence

# %% sequence | right | repeat
def add_cls_and_positions(patches, cls_token, position_embedding):
    return torch.cat((cls_token.repeat(patches.shape[0], 1, 1), patches), 1).add(position_embedding)

# %% sequence | right | each part gets its own positions
def add_cls_and_positions(patches, cls_token, position_embedding):
    first = cls_token + position_embedding[:, :1]
    rest = patches + position_embedding[:, 1:]
    return torch.cat([first.expand(rest.size(0), 1, rest.size(2)), rest], dim=1)

# %% sequence | right | written into a new tensor
def add_cls_and_positions(patches, cls_token, position_embedding):
    b, n, d = patches.shape
    sequence = patches.new_zeros(b, n + 1, d)
    sequence[:, 0] = cls_token[0, 0]
    sequence[:, 1:] = patches
    return sequence + position_embedding

# %% sequence | right | picture by picture
def add_cls_and_positions(patches, cls_token, position_embedding):
    return torch.stack([torch.vstack([cls_token[0], picture]) for picture in patches]) + position_embedding

# %% formula | wrong | no leading 1
# hint: the leading 1 is missing
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])

# %% formula | wrong | nothing for CLS
# hint: CLS has no row
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)[None]

# %% formula | wrong | CLS at the end
# hint: the zeros of CLS stand last
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1), torch.zeros(1, emb_dim)])[None]

# %% formula | wrong | the first patch's cosines for CLS, too
# hint: it should be zeros
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.cat([torch.zeros(1), torch.arange(rows).repeat_interleave(columns)])[:, None] * omega
    c = torch.cat([torch.zeros(1), torch.arange(columns).repeat(rows)])[:, None] * omega
    return torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)[None]

# %% formula | wrong | the column first
# hint: row and column have changed places
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([c.sin(), c.cos(), r.sin(), r.cos()], dim=1)])[None]

# %% formula | wrong | meshgrid the other way round
# hint: row and column have changed places
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="xy")
    r, c = r.flatten()[:, None] * omega, c.flatten()[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | sines and cosines alternate
# hint: sines and cosines alternate
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    waves = [torch.stack([x.sin(), x.cos()], dim=2).flatten(1) for x in (r, c)]
    return torch.cat([torch.zeros(1, emb_dim), torch.cat(waves, dim=1)])[None]

# %% formula | wrong | both sines first
# hint: you put both sines first
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), c.sin(), r.cos(), c.cos()], dim=1)])[None]

# %% formula | wrong | frequencies that rise
# hint: the exponent has a minus
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | k divided by d
# hint: the second frequency is 0.316
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / emb_dim)
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | whole-number division in the exponent
# hint: all the frequencies are 1
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000.0 ** (-(torch.arange(emb_dim // 4) // (emb_dim // 4)))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | counted from 1
# hint: counted from 0
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(1, rows + 1).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(1, columns + 1).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | numbered through the grid, as in a text
# hint: number the patches 0, 1, 2, ... through the grid
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    i = torch.arange(rows * columns)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([i.sin(), i.cos(), i.sin(), i.cos()], dim=1)])[None]

# %% formula | wrong | right for square grids only
# hint: right for a square grid
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    i = torch.arange(rows * columns)[:, None]
    r, c = i // rows * omega, i % rows * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | as many columns as rows
# hint: for a grid of 5 rows and 2 columns the shape is
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(rows)[:, None] * omega
    c = torch.arange(rows).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | rows repeated as often as there are rows
# hint: do rows and columns stand in for each other
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(rows)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None]

# %% formula | wrong | a parameter
# hint: they are fixed
def sincos_positions(rows, columns, emb_dim):
    omega = 10_000 ** (-torch.arange(emb_dim // 4) / (emb_dim // 4))
    r = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
    c = torch.arange(columns).repeat(rows)[:, None] * omega
    return nn.Parameter(torch.cat([torch.zeros(1, emb_dim), torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)])[None])

# %% formula | right | number by number
def sincos_positions(rows, columns, emb_dim):
    table = [[0.0] * emb_dim]
    for r in range(rows):
        for c in range(columns):
            numbers = []
            for number in (r, c):
                angles = [number / 10_000 ** (4 * k / emb_dim) for k in range(emb_dim // 4)]
                numbers += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            table.append(numbers)
    return torch.tensor([table])

# %% formula | right | a grid that is filled, in double precision
def sincos_positions(rows, columns, emb_dim):
    q = emb_dim // 4
    omega = torch.exp(-math.log(10_000) * torch.arange(q, dtype=torch.float64) / q)
    grid = torch.empty(rows, columns, emb_dim, dtype=torch.float64)
    down, right = torch.outer(torch.arange(rows).double(), omega), torch.outer(torch.arange(columns).double(), omega)
    grid[:, :, :q], grid[:, :, q : 2 * q] = down.sin()[:, None], down.cos()[:, None]
    grid[:, :, 2 * q : 3 * q], grid[:, :, 3 * q :] = right.sin(), right.cos()
    return nn.functional.pad(grid.reshape(1, -1, emb_dim), (0, 0, 1, 0))

# %% formula | right | meshgrid and einsum
def sincos_positions(rows, columns, emb_dim):
    omega = torch.logspace(0, -4, emb_dim // 4 + 1)[:-1]
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")).flatten(1).float()
    angles = torch.einsum("an,k->nak", grid, omega)
    waves = torch.stack([angles.sin(), angles.cos()], dim=2)
    return torch.cat([torch.zeros(1, 1, emb_dim), waves.reshape(1, rows * columns, emb_dim)], dim=1)

# %% counting | wrong | CLS forgotten in the sequence
# hint: CLS is a token, too
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    (32, 96, 192), 192, 18_624, 73_920, 177_984)

# %% counting | wrong | CLS as a picture
# hint: not a picture
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    (33, 96, 192), 192, 18_624, 73_920, 177_984)

# %% counting | wrong | a CLS for every picture
# hint: share one CLS
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    (32, 97, 192), 6_144, 18_624, 73_920, 177_984)

# %% counting | wrong | no position for CLS
# hint: CLS has a position, too
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    (32, 97, 192), 192, 18_432, 73_920, 177_984)

# %% counting | wrong | four times everything
# hint: but still one CLS
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    (32, 97, 192), 192, 18_624, 74_496, 177_984)

# %% counting | wrong | rows of the table instead of numbers
# hint: that is how many rows
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    (32, 97, 192), 192, 18_624, 73_920, 927)

# %% counting | wrong | a list
# hint: write a tuple of whole numbers
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    [32, 97, 192], 192, 18_624, 73_920, 177_984)

# %% counting | wrong | slips that nobody foresaw
# hint: not right: z_shape, idle_parameters
z_shape, cls_parameters, position_parameters, larger_parameters, idle_parameters = (
    (32, 98, 192), 192, 18_624, 73_920, 180_000)

# %% counting | right | as products
num_patches = (96 // 8) * (64 // 8)
z_shape = (32, num_patches + 1, 192)
cls_parameters = 1 * 1 * 192
position_parameters = num_patches * 192 + cls_parameters
larger_parameters = 4 * num_patches * 192 + cls_parameters
idle_parameters = 1024 * 192 - position_parameters

# %% noticed | wrong | the positions move along
# hint: did the positions move along with the patches
def noticed(read, tokens, positions, order):
    z = tokens + positions
    answers = read(z)
    return ((read(z[:, order]) - answers).norm(dim=-1).mean() / (answers - answers.roll(1, 0)).norm(dim=-1).mean()).item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | only the shuffled tokens get positions
# hint: added to both
def noticed(read, tokens, positions, order):
    answers = read(tokens)
    shuffled = read(tokens[:, order] + positions)
    return ((shuffled - answers).norm(dim=-1).mean() / (answers - answers.roll(1, 0)).norm(dim=-1).mean()).item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | upside down
# hint: above the fraction line
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    shuffled = read(tokens[:, order] + positions)
    return ((answers - answers.roll(1, 0)).norm(dim=-1).mean() / (shuffled - answers).norm(dim=-1).mean()).item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | no fraction
# hint: wrong on tokens that I know
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    return (read(tokens[:, order] + positions) - answers).norm(dim=-1).mean().item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | absolute values instead of lengths
# hint: the root of the sum of squares
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    shuffled = read(tokens[:, order] + positions)
    return ((shuffled - answers).abs().mean() / (answers - answers.roll(1, 0)).abs().mean()).item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | no positions below the fraction
# hint: also below the fraction
def noticed(read, tokens, positions, order):
    moved = read(tokens[:, order] + positions) - read(tokens + positions)
    apart = read(tokens) - read(tokens.roll(1, 0))
    return (moved.norm(dim=-1).mean() / apart.norm(dim=-1).mean()).item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | shuffled in place
# hint: changes the tokens
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    tokens[:] = tokens[:, order]
    shuffled = read(tokens + positions)
    return ((shuffled - answers).norm(dim=-1).mean() / (answers - answers.roll(1, 0)).norm(dim=-1).mean()).item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | tensors kept
# hint: take .item()
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    shuffled = read(tokens[:, order] + positions)
    return (shuffled - answers).norm(dim=-1).mean() / (answers - answers.roll(1, 0)).norm(dim=-1).mean()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | one reader only
# hint: measured should have
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    shuffled = read(tokens[:, order] + positions)
    return ((shuffled - answers).norm(dim=-1).mean() / (answers - answers.roll(1, 0)).norm(dim=-1).mean()).item()
read = readers["attention, then the mean"]
measured = {"attention, then the mean": [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes]}
figure, ax = plt.subplots()
ax.plot(sizes, measured["attention, then the mean"])
ax.set(xlabel="size", ylabel="noticed", title="found")

# %% noticed | wrong | positions of one size always
# hint: larger positions are noticed more
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    shuffled = read(tokens[:, order] + positions)
    return ((shuffled - answers).norm(dim=-1).mean() / (answers - answers.roll(1, 0)).norm(dim=-1).mean()).item()
measured = {name: [noticed(read, emoji_tokens, min(s, 0.5) * emoji_marks, emoji_order) for s in sizes]
            for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | wrong | no legend
# hint: ax.legend()
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    shuffled = read(tokens[:, order] + positions)
    return ((shuffled - answers).norm(dim=-1).mean() / (answers - answers.roll(1, 0)).norm(dim=-1).mean()).item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name])
ax.set(xlabel="size", ylabel="noticed", title="found")

# %% noticed | wrong | the mean of fractions
# hint: two means first, then one division
def noticed(read, tokens, positions, order):
    answers = read(tokens + positions)
    moved = (read(tokens[:, order] + positions) - answers).norm(dim=-1)
    return (moved / (answers - answers.roll(1, 0)).norm(dim=-1)).mean().item()
measured = {name: [noticed(read, emoji_tokens, s * emoji_marks, emoji_order) for s in sizes] for name, read in readers.items()}
figure, ax = plt.subplots()
for name in measured:
    ax.plot(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()

# %% noticed | right | loops, and bars
def noticed(read, tokens, positions, order):
    with torch.no_grad():
        answers, shuffled = read(tokens + positions), read(tokens.index_select(1, order) + positions)
    b = len(answers)
    moved = sum(torch.dist(shuffled[i], answers[i]) for i in range(b)) / b
    apart = sum(torch.dist(answers[i], answers[(i + 1) % b]) for i in range(b)) / b
    return float(moved / apart)
measured = {name: [] for name in readers}
figure, ax = plt.subplots()
for shift, (name, read) in zip((-0.1, 0.1), readers.items()):
    for size in sizes:
        measured[name].append(noticed(read, emoji_tokens, size * emoji_marks, emoji_order))
    ax.bar([size + shift for size in sizes], measured[name], width=0.2, label=name)
ax.set_xlabel("size of the positions")
ax.set_ylabel("noticed")
ax.set_title("the mean is deaf")
ax.legend()

# %% noticed | right | in double precision, the readers in another order
def noticed(read, tokens, positions, order):
    before, after = read(tokens + positions).double(), read(tokens[:, order] + positions).double()
    following = torch.cat([before[1:], before[:1]])
    lengths = [(before - other).pow(2).sum(-1).sqrt().mean() for other in (after, following)]
    return (lengths[0] / lengths[1]).item()
figure, ax = plt.subplots()
measured = {}
for name in reversed(list(readers)):
    measured[name] = [noticed(readers[name], emoji_tokens, emoji_marks * size, emoji_order) for size in sizes]
    ax.scatter(sizes, measured[name], label=name)
ax.set(xlabel="size", ylabel="noticed", title="found")
ax.legend()
