#!/usr/bin/env python3
"""Build the embedded data set: emoji drawn by eight artists, 32x32 pixels each, on white.

The drawings come from pinned npm packages; data/build_emoji.toml says which, and what is found where. The steps:

1. fetch the packages and check them against their hashes;
2. find each emoji's drawing in each artist's package (by the table, by code point, or by name);
3. rasterise it to 32x32 pixels, and check that something was drawn;
4. give it a class, by its Unicode subgroup;
5. find near-duplicates, and choose splits that keep them together;
6. write one sprite sheet per artist and one table for all.

Two runs on the same versions of resvg-py and Pillow give the same bytes.
"""

import argparse
import base64
import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
NEEDS = "pip install -r scripts/requirements-build.txt"
CELL = 32  # side of a picture, in pixels
COLUMNS = 40  # pictures in a row of a sheet
SHADES = 32  # per colour channel: the eye sees no difference to 256, and the files are a third smaller
OVERSAMPLING = 4  # drawn at 128x128, then averaged down to 32x32
SEED = 0

TABLES = tomllib.loads((ROOT / "data" / "build_emoji.toml").read_text(encoding="utf-8"))
ARTISTS, CLASSES, UNSEEN_ARTIST = TABLES["artists"], TABLES["classes"], TABLES["unseen_artist"]


class BuildError(RuntimeError):
    """Something the user can act on; printed as one line."""


# ---- 1. fetch ----


def fetch(source: dict, cache: Path) -> Path:
    """Return the path of a package's tarball in the cache, downloading it with npm where it is missing.

    Args:
        source: a table with the package's name, version and integrity.
        cache: where tarballs are kept.

    Raises:
        BuildError: if npm is missing or fails, or if the file is not the pinned one.
    """
    package, version = source["package"], source["version"]
    path = cache / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise BuildError("npm was not found; install Node.js (it brings npm), or put the .tgz files into --cache")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            command = [npm, "pack", "--silent", f"{package}@{version}"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            packed = list(Path(folder).glob("*.tgz"))
            if done.returncode != 0 or len(packed) != 1:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise BuildError(f"`{' '.join(command[1:])}` failed ({reason}); check npm's configuration and network")
            os.replace(packed[0], path)
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != source["integrity"]:
        raise BuildError(f"{path} is not the pinned {package}@{version} (sha512 differs); delete it and run again")
    return path


def read_json(tarball: Path, member: str) -> dict | list:
    """Read one JSON file out of an npm tarball; an empty dict where the package has no such file."""
    with tarfile.open(tarball) as archive:
        try:
            return json.load(archive.extractfile(f"package/{member}"))
        except KeyError:
            return {}


# ---- 2. find the drawings ----


@dataclass(frozen=True)
class Emoji:
    """One entry of the emoji list: what it is called, not how it is drawn."""

    char: str
    name: str
    group: str
    subgroup: str
    tags: str


@dataclass
class Picture:
    """One drawing of one emoji by one artist: a row of the table, and its pixels."""

    artist: str
    emoji: Emoji
    pixels: np.ndarray  # (32, 32, 3), uint8
    label: str = ""
    split: str = ""


def read_emoji(tarball: Path) -> list[Emoji]:
    """The base emoji (no skin-tone variants, no parts of emoji, none of OpenMoji's own extras), in OpenMoji's order."""
    result = []
    for entry in read_json(tarball, "data/openmoji.json"):
        if entry["skintone"] or entry["group"].startswith(("extras", "component")):
            continue
        tags = ";".join(tag.strip() for tag in entry["tags"].split(",") if tag.strip())
        name = entry["annotation"].lower()
        result.append(Emoji(entry["emoji"], name, entry["group"], entry["subgroups"], tags))
    return result


def slug(name: str) -> str:
    """A name as Iconify writes it: "woman’s hat" -> "womans-hat"."""
    name = name.replace("’", "").replace(".", "").replace("&", " and ").replace("#", "hash").replace("*", "asterisk")
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")


class IconSet:
    """One artist's package: finds the SVG of an emoji.

    Args:
        artist: a key of ARTISTS.
        tarball: the npm package.
    """

    def __init__(self, artist: str, tarball: Path) -> None:
        self.artist, self.table = artist, ARTISTS[artist]
        self.data = read_json(tarball, "icons.json")
        chars = read_json(tarball, "chars.json")  # "2600-fe0f" -> "sun"; sets differ in the variation selector FE0F
        self.by_code = {key.replace("-fe0f", ""): icon for key, icon in chars.items()}
        self.aliases = self.data.get("aliases", {})

    def candidates(self, emoji: Emoji) -> Iterator[str]:
        """Names that this emoji's icon may have, the surest first."""
        yield self.table.get("icons", {}).get(emoji.name, "")
        chars = emoji.char.replace("\ufe0f", "")
        yield self.by_code.get("-".join(f"{ord(char):x}" for char in chars), "")
        # The name in the Unicode character table is often older than the CLDR name, as these sets are.
        older = unicodedata.name(chars, "") if len(chars) == 1 else ""
        for name in (slug(emoji.name), slug(older)):
            yield name
            yield f"flag-for-{name}"  # EmojiOne: "flag-for-flag-peru", "flag-for-black-flag"
            if self.artist == "fxemoji":
                yield name.replace("-", "")

    def find(self, emoji: Emoji) -> str | None:
        """The name of the emoji's icon or alias in this set, or None."""
        if emoji.name in self.table.get("excluded", {}):
            return None
        return next((n for n in self.candidates(emoji) if n in self.data["icons"] or n in self.aliases), None)

    def svg(self, icon: str) -> str:
        """The SVG document of an icon, aliases resolved."""
        flipped = False
        while icon in self.aliases:
            flipped ^= self.aliases[icon].get("hFlip", False)
            icon = self.aliases[icon]["parent"]
        found = self.data | self.data["icons"][icon]
        left, top, width, height = (found.get(key, 0) for key in ("left", "top", "width", "height"))
        body = found["body"]
        if flipped:
            body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body}</svg>'
        )


# ---- 3. rasterise ----


def rasterise(svg: str) -> np.ndarray:
    """Draw an SVG on white, aspect ratio kept, centred. Returns (32, 32, 3), uint8."""
    import resvg_py

    side = CELL * OVERSAMPLING
    width, height = map(float, re.search(r'width="([\d.]+)" height="([\d.]+)"', svg).groups())
    longer = {"width": side} if width >= height else {"height": side}
    png = resvg_py.svg_to_bytes(svg_string=svg, background="white", skip_system_fonts=True, **longer)
    drawing = Image.open(io.BytesIO(png)).convert("RGB")
    square = Image.new("RGB", (side, side), "white")
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    small = np.asarray(square.resize((CELL, CELL), Image.Resampling.BOX), dtype=np.float64)
    steps = SHADES - 1
    return np.rint(np.rint(small / 255 * steps) / steps * 255).astype(np.uint8)


def check_picture(picture: Picture) -> None:
    """Refuse a picture on which nothing, or next to nothing, was drawn.

    Raises:
        BuildError: if it is blank or nearly so.
    """
    drawn = int((picture.pixels.min(axis=2) < 224).sum())
    colours = len(np.unique(picture.pixels.reshape(-1, 3), axis=0))
    flat = picture.label in ("", "sign")  # "minus" is one flat bar; a thing has more colours
    if drawn < 20 or colours < (2 if flat else 3):
        raise BuildError(
            f"{picture.artist}: '{picture.emoji.name}' looks blank ({drawn} pixels drawn, {colours} colours); "
            f"look at it, and add it to [artists.{picture.artist}.excluded] in data/build_emoji.toml if it is"
        )


# ---- 4. classes ----


def class_of(name: str, subgroup: str) -> str:
    """The class of an emoji, or an empty string."""
    for label, table in CLASSES.items():
        if name in table.get("added", []) or (subgroup in table["subgroups"] and name not in table.get("left_out", [])):
            return label
    return ""


# ---- 5. near-duplicates and splits ----

# Two pictures are near-duplicates below this distance (see `distance`). Both were chosen by looking at pairs: two
# artists' drawings of one emoji, and drawings of two emoji, where all of an artist's faces share one yellow disc.
NEAR, NEAR_IF_OTHER_EMOJI = 20, 8
TEST_SHARE, VAL_SHARE = 0.10, 0.08


def shifted(pixels: np.ndarray) -> np.ndarray:
    """A picture moved by -1, 0 or 1 pixels in both directions: (32, 32, 3) -> (9, 32, 32, 3), int16."""
    padded = np.pad(pixels.astype(np.int16), ((1, 1), (1, 1), (0, 0)), constant_values=255)
    return np.stack([padded[y : y + CELL, x : x + CELL] for y in range(3) for x in range(3)])


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference (0 to 255) over the pixels that are not white in both, at the best shift of one pixel.

    White surroundings are left out: else all small or thin drawings would count as alike.
    """
    moved, fixed = shifted(one), other.astype(np.int16)
    drawn = ((moved.min(axis=3) < 250) | (fixed.min(axis=2) < 250)).sum(axis=(1, 2))
    return float((np.abs(moved - fixed).sum(axis=(1, 2, 3)) / 3 / np.maximum(drawn, 1)).min())


def near_duplicates(pictures: list[Picture]) -> list[tuple[int, int]]:
    """All pairs (i, j), i < j, of near-duplicates in a list of pictures.

    Averages over blocks of 8x8 pixels rule most pairs out first: they can't differ by more than the pixels do.
    """
    stack = np.stack([picture.pixels for picture in pictures])
    drawn = (stack.min(axis=3) < 250).sum(axis=(1, 2))
    blocks = block_means(stack)
    pairs = []
    for i, pixels in enumerate(stack[:-1]):
        bound = np.abs(block_means(shifted(pixels))[:, None] - blocks[i + 1 :]).mean(axis=2).min(axis=0)
        limit = NEAR * np.minimum(drawn[i] + drawn[i + 1 :] + 4 * CELL, CELL * CELL) / CELL**2
        for j in np.flatnonzero(bound < limit) + i + 1:
            same = concept(pictures[i].emoji.name) == concept(pictures[j].emoji.name)
            if distance(pixels, stack[j]) < (NEAR if same else NEAR_IF_OTHER_EMOJI):
                pairs.append((i, int(j)))
    return pairs


def block_means(pixels: np.ndarray) -> np.ndarray:
    """Means over blocks of 8x8 pixels: (n, 32, 32, 3) -> (n, 48), float32."""
    return pixels.reshape(len(pixels), 4, 8, 4, 8, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(pixels), -1)


def concept(name: str) -> str:
    """A name without gender, direction and key: artists draw "astronaut" and "man astronaut" alike."""
    return re.sub(r"\b(men|women|people|man|woman|person)\b *|: facing right|(?<=keycap): .*", "", name)


def clusters(pictures: list[Picture]) -> list[list[Picture]]:
    """Group pictures that must not be divided between splits: near-duplicates, and sisters.

    Sisters are drawings of one concept by one family of artists. Linked pictures are joined, and so are their links.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first_sister: dict[tuple[str, str], int] = {}
    links = near_duplicates(pictures)
    for i, picture in enumerate(pictures):
        links.append((first_sister.setdefault((ARTISTS[picture.artist]["family"], concept(picture.emoji.name)), i), i))
    graph = coo_array((np.ones(len(links)), tuple(zip(*links, strict=True))), shape=(len(pictures), len(pictures)))
    groups = defaultdict(list)
    for picture, component in zip(pictures, connected_components(graph, directed=False)[1], strict=True):
        groups[component].append(picture)
    return list(groups.values())


def assign_splits(pictures: list[Picture]) -> None:
    """Fill in `split`, class by class, so that no near-duplicate of a val or test picture is left in train."""
    for label in tqdm(CLASSES, desc="splits", unit="class"):
        members = [picture for picture in pictures if picture.label == label]
        groups = clusters(members)
        random.Random(f"{SEED} {label}").shuffle(groups)
        seen = sum(picture.artist != UNSEEN_ARTIST for picture in members)
        room = {"test_seen": TEST_SHARE * seen, "val": VAL_SHARE * seen}
        # What looks like a picture of the unseen artist goes to the test first: train and val must not know it.
        groups.sort(key=lambda group: all(picture.artist != UNSEEN_ARTIST for picture in group))
        for group in groups:
            size = sum(picture.artist != UNSEEN_ARTIST for picture in group)
            touched = 0 < size < len(group)
            split = next((name for name in room if touched or size <= room[name]), "train")
            if split in room:
                room[split] -= size
            for picture in group:
                picture.split = "test_unseen" if picture.artist == UNSEEN_ARTIST else split


# ---- 6. write, and read back ----


def sheet_of(pictures: list[Picture]) -> Image.Image:
    """Put pictures side by side, 40 to a row, the rest of the last row white."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = np.full((rows * CELL, COLUMNS * CELL, 3), 255, np.uint8)
    for position, picture in enumerate(pictures):
        y, x = CELL * (position // COLUMNS), CELL * (position % COLUMNS)
        sheet[y : y + CELL, x : x + CELL] = picture.pixels
    return Image.fromarray(sheet)


def write_data_set(by_artist: dict[str, list[Picture]], out: Path) -> None:
    """Write all sheets and the table."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "emoji.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["artist", "position", "emoji", "name", "group", "subgroup", "tags", "class", "split"])
        for artist, pictures in by_artist.items():
            sheet_of(pictures).save(out / f"{artist}.png", optimize=True)
            for position, picture in enumerate(pictures):
                e = picture.emoji
                row = [artist, position, e.char, e.name, e.group, e.subgroup, e.tags, picture.label, picture.split]
                writer.writerow(row)


def read_data_set(out: Path) -> list[Picture]:
    """Read sheets and table back."""
    if not (out / "emoji.csv").exists():
        raise BuildError(f"{out / 'emoji.csv'} is missing; run this script without --stats first")
    sheets = {artist: np.asarray(Image.open(out / f"{artist}.png")) for artist in ARTISTS}
    pictures = []
    with open(out / "emoji.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            y, x = (CELL * k for k in divmod(int(row["position"]), COLUMNS))
            emoji = Emoji(row["emoji"], row["name"], row["group"], row["subgroup"], row["tags"])
            pixels = sheets[row["artist"]][y : y + CELL, x : x + CELL]
            pictures.append(Picture(row["artist"], emoji, pixels, row["class"], row["split"]))
    return pictures


# ---- the tables of data/README.md ----


def markdown(title: str, columns: list[str], rows: dict[str, list[int]], total: bool = True) -> str:
    """A Markdown table of numbers with a total below, numbers right-aligned."""
    if total:
        rows = {**rows, "**all**": [sum(column) for column in zip(*rows.values(), strict=True)]}
    lines = [f"| {title} | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{n:,}" for n in numbers) + " |" for name, numbers in rows.items()]
    return "\n".join(lines)


def stats(pictures: list[Picture]) -> str:
    """All of them."""
    splits = ["train", "val", "test_seen", "test_unseen"]
    per_artist = Counter((p.label or "(none)", p.artist) for p in pictures)
    per_split = Counter((p.label, p.split) for p in pictures)
    by_name = defaultdict(list)
    for picture in pictures:
        if picture.label:
            by_name[picture.emoji.name].append(picture)
    drawn_twice = [pair for same in by_name.values() for pair in combinations(same, 2)]
    near = [(a, b) for a, b in drawn_twice if distance(a.pixels, b.pixels) < NEAR]
    pairs = Counter(pair for a, b in near for pair in ((a.artist, b.artist), (b.artist, a.artist)))
    per_class = Counter((p.label, p.artist) for pair in near for p in pair)

    def counts(names: Iterable[str], counter: Counter) -> dict[str, list[int]]:
        rows = {name: [counter[name, artist] for artist in ARTISTS] for name in names}
        return {name: [*row, sum(row)] for name, row in rows.items()}

    return "\n\n".join([
        markdown("class", [*ARTISTS, "**all**"], counts([*CLASSES, "(none)"], per_artist)),
        markdown("class", splits, {label: [per_split[label, split] for split in splits] for label in CLASSES}),
        markdown("near-duplicates", [*ARTISTS, "**all**"], counts(ARTISTS, pairs), total=False),
        markdown("near-duplicates", [*ARTISTS], {name: row[:-1] for name, row in counts(CLASSES, per_class).items()}),
    ])


# ---- the commands ----


def build(out: Path, cache: Path, verbose: bool) -> None:
    """Make the whole data set."""
    for needed in ("resvg_py", "scipy"):  # a missing one is reported now, not after all has been drawn
        import_module(needed)
    emoji = read_emoji(fetch(TABLES["emoji_list"], cache))
    by_artist: dict[str, list[Picture]] = {}
    missing: dict[str, list[str]] = {}
    for artist, table in ARTISTS.items():
        icons = IconSet(artist, fetch(table, cache))
        found = [(e, icons.find(e)) for e in emoji]
        missing[artist] = [e.name for e, icon in found if icon is None]
        by_artist[artist] = []
        with tqdm([pair for pair in found if pair[1]], desc=artist, unit="picture") as bar:  # ended before an error
            for e, icon in bar:
                picture = Picture(artist, e, rasterise(icons.svg(icon)), class_of(e.name, e.subgroup))
                check_picture(picture)
                by_artist[artist].append(picture)
    assign_splits([picture for pictures in by_artist.values() for picture in pictures])
    write_data_set(by_artist, out)
    print("Missing emoji per artist:")
    for artist, names in missing.items():
        print(f"  {artist}: {len(names)}" + (" " + "; ".join(names) if verbose else ""))
    print(f"Wrote {sum(map(len, by_artist.values())):,} pictures by {len(by_artist)} artists to {out}")


def build_photo(path: Path) -> None:
    """Cut the photograph of the lessons, 224x224, out of scikit-image's `chelsea` (a cat's face; CC0)."""
    from skimage import data

    left, top, side = 75, 0, 300
    square = Image.fromarray(data.chelsea()).crop((left, top, left + side, top + side))
    square.resize((224, 224), Image.Resampling.LANCZOS).save(path, optimize=True)
    print(f"Wrote {path}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Build the emoji data set (sprite sheets and a table) from pinned npm packages.",
        epilog=f"Needs npm (to fetch), and `{NEEDS}`. npm's configuration decides where packages come from.",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "emoji", help="to write (default: data/emoji)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "npm", help="(default: .cache/npm)")
    parser.add_argument("--verbose", action="store_true", help="name the emoji that each artist lacks")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stats", action="store_true", help="build nothing; print the tables of data/README.md")
    what.add_argument("--photo", action="store_true", help="make only photo.png, in the folder above --out")
    options = parser.parse_args(arguments)
    try:
        if options.stats:
            print(stats(read_data_set(options.out)))
        elif options.photo:
            build_photo(options.out.parent / "photo.png")
        else:
            build(options.out, options.cache, options.verbose)
    except ModuleNotFoundError as error:
        print(f"build_emoji: {error.name} was not found; {NEEDS}", file=sys.stderr)
    except (BuildError, OSError) as error:
        print(f"build_emoji: {error}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
