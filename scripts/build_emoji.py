#!/usr/bin/env python3
"""Build the embedded data set: emoji drawn by eight artists, 32x32 pixels each, on white.

The drawings come from pinned npm packages; data/build_emoji.toml says which, and what is found where. The steps, in
the order of the functions: fetch the packages; find each emoji's drawing in each; rasterise it, and check that there is
something on it; give it a class; find near-duplicates, and choose splits that keep them together; write a sprite sheet
for each artist, and one table. Two runs on the same versions of resvg-py and Pillow give the same bytes.
"""

import argparse
import base64
import csv
import hashlib
import io
import json
import random
import re
import shutil
import subprocess
import tarfile
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
NEEDS = "pip install -r scripts/requirements-build.txt"
CELL = 32  # side of a picture, in pixels
COLUMNS = 40  # pictures in a row of a sheet
SHADES = 32  # per colour channel: the eye sees no difference to 256, and the files are a third smaller
SIDE = 4 * CELL  # drawings are made this large, then averaged down

TABLES = tomllib.loads((ROOT / "data" / "build_emoji.toml").read_text(encoding="utf-8"))
ARTISTS, CLASSES, UNSEEN_ARTIST = TABLES["artists"], TABLES["classes"], TABLES["unseen_artist"]
Row = dict[str, str]  # of emoji.csv: its columns and what they hold


def fetch(source: dict, cache: Path) -> Path:
    """The tarball of a package, from a table with name, version and integrity; npm fetches it if the cache lacks it."""
    package = f"{source['package']}@{source['version']}"
    path = cache / f"{package.lstrip('@').replace('/', '-').replace('@', '-')}.tgz"  # as npm names it
    if not path.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("npm was not found; install Node.js (it brings npm), or put the .tgz files into --cache")
        cache.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([npm, "pack", "--loglevel=error", package], cwd=cache, stdout=subprocess.DEVNULL)
        if done.returncode != 0 or not path.exists():
            raise SystemExit(f"`npm pack {package}` failed; check npm's configuration and network")
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != source["integrity"]:
        raise SystemExit(f"{path} is not the pinned {package} (sha512 differs); delete it and run again")
    return path


def read_json(tarball: Path, member: str) -> dict | list:
    """A JSON file in an npm tarball; an empty dict where the package has no such file."""
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
        return json.load(archive.extractfile(f"package/{member}")) if f"package/{member}" in names else {}


def read_emoji(tarball: Path) -> list[Row]:
    """The base emoji (no skin-tone variants, no parts of emoji, none of OpenMoji's own extras), in OpenMoji's order."""
    result = []
    for entry in read_json(tarball, "data/openmoji.json"):
        if entry["skintone"] or entry["group"].startswith(("extras", "component")):
            continue
        tags = ";".join(tag.strip() for tag in entry["tags"].split(",") if tag.strip())
        result.append({"emoji": entry["emoji"], "name": entry["annotation"].lower(), "group": entry["group"],
                       "subgroup": entry["subgroups"], "tags": tags})
    return result


def slug(name: str) -> str:
    """A name as Iconify writes it: "woman’s hat" -> "womans-hat"."""
    name = name.replace("’", "").replace(".", "").replace("&", " and ").replace("#", "hash").replace("*", "asterisk")
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")


class IconSet:
    """One artist's package, a tarball of npm: finds the SVG of an emoji."""

    def __init__(self, artist: str, tarball: Path) -> None:
        self.artist, self.table = artist, ARTISTS[artist]
        self.data = read_json(tarball, "icons.json")
        chars = read_json(tarball, "chars.json")  # "2600-fe0f" -> "sun"; sets differ in the variation selector FE0F
        self.by_code = {key.replace("-fe0f", ""): icon for key, icon in chars.items()}
        self.aliases = self.data.get("aliases", {})

    def candidates(self, emoji: Row) -> Iterator[str]:
        """Names that this emoji's icon may have, the surest first."""
        yield self.table.get("icons", {}).get(emoji["name"], "")
        chars = emoji["emoji"].replace("\ufe0f", "")
        yield self.by_code.get("-".join(f"{ord(char):x}" for char in chars), "")
        # The name in the Unicode character table is often older than the CLDR name, as these sets are.
        older = unicodedata.name(chars, "") if len(chars) == 1 else ""
        for name in (slug(emoji["name"]), slug(older)):
            yield name
            yield f"flag-for-{name}"  # EmojiOne: "flag-for-flag-peru", "flag-for-black-flag"
            if self.artist == "fxemoji":
                yield name.replace("-", "")

    def find(self, emoji: Row) -> str | None:
        """The name of the emoji's icon or alias in this set, or None."""
        if emoji["name"] in self.table.get("excluded", {}):
            return None
        return next((n for n in self.candidates(emoji) if n in self.data["icons"] or n in self.aliases), None)

    def svg(self, icon: str) -> str:
        """The SVG document of an icon, aliases resolved."""
        flipped = False
        while icon in self.aliases:
            flipped ^= self.aliases[icon].get("hFlip", False)
            icon = self.aliases[icon]["parent"]
        found = {"left": 0, "top": 0} | self.data | self.data["icons"][icon]
        left, top, width, height, body = (found[key] for key in ("left", "top", "width", "height", "body"))
        if flipped:
            body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
        return ('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body}</svg>')


def rasterise(svg: str) -> np.ndarray:
    """Draw an SVG on white, aspect ratio kept, centred. Returns (32, 32, 3), uint8."""
    import resvg_py

    width, height = map(float, re.search(r'width="([\d.]+)" height="([\d.]+)"', svg).groups())
    longer = {"width": SIDE} if width >= height else {"height": SIDE}
    png = resvg_py.svg_to_bytes(svg_string=svg, background="white", skip_system_fonts=True, **longer)
    drawing = Image.open(io.BytesIO(png)).convert("RGB")
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(drawing, ((SIDE - drawing.width) // 2, (SIDE - drawing.height) // 2))
    small = np.asarray(square.resize((CELL, CELL), Image.Resampling.BOX), dtype=np.float64)
    steps = SHADES - 1
    return np.rint(np.rint(small / 255 * steps) / steps * 255).astype(np.uint8)


def check_picture(row: Row, pixels: np.ndarray) -> None:
    """End the program at a picture on which nothing, or next to nothing, was drawn."""
    drawn = int((pixels.min(axis=2) < 224).sum())
    colours = len(np.unique(pixels.reshape(-1, 3), axis=0))
    flat = row["class"] in ("", "sign")  # "minus" is one flat bar; a thing has more colours
    if drawn < 20 or colours < (2 if flat else 3):
        raise SystemExit(f"{row['artist']}: '{row['name']}' looks blank ({drawn} pixels drawn, {colours} colours). "
                         f"Is it? Then add it to [artists.{row['artist']}.excluded] in data/build_emoji.toml")


def class_of(name: str, subgroup: str) -> str:
    """The class of an emoji, or an empty string."""
    for label, table in CLASSES.items():
        if name in table.get("added", []) or (subgroup in table["subgroups"] and name not in table.get("left_out", [])):
            return label
    return ""


# Two pictures are near-duplicates below this distance (see `distances`). Both were chosen by looking at pairs: two
# artists' drawings of one emoji, and drawings of two emoji, where all of an artist's faces share one yellow disc.
NEAR, NEAR_IF_OTHER_EMOJI = 20, 8
TEST_SHARE, VAL_SHARE = 0.10, 0.08


def distances(pixels: np.ndarray) -> np.ndarray:
    """Between every picture and those after it: (n, 32, 32, 3) -> (n, n), infinite on the diagonal and below.

    Mean absolute difference (0 to 255) over the pixels that are not white in both, at the best shift of one pixel.
    White surroundings are left out: else all small or thin drawings would count as alike.
    """
    from scipy.spatial.distance import cdist

    flat = pixels.reshape(len(pixels), -1).astype(np.float64)
    white = (pixels.min(axis=3) >= 250).reshape(len(pixels), -1).astype(np.float64)
    result = np.full((len(pixels), len(pixels)), np.inf)
    for i, picture in enumerate(pixels):
        padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=255)
        moved = np.stack([padded[y : y + CELL, x : x + CELL] for y in range(3) for x in range(3)])
        both_white = (moved.min(axis=3) >= 250).reshape(9, -1) @ white[i + 1 :].T
        sums = cdist(moved.reshape(9, -1), flat[i + 1 :], "cityblock")
        result[i, i + 1 :] = (sums / 3 / np.maximum(CELL**2 - both_white, 1)).min(axis=0)
    return result


def concept(name: str) -> str:
    """A name without gender, direction and key: artists draw "astronaut" and "man astronaut" alike."""
    return re.sub(r"\b(men|women|people|man|woman|person)\b *|: facing right|(?<=keycap): .*", "", name)


def clusters(rows: list[Row], pixels: np.ndarray) -> list[list[Row]]:
    """Group pictures that must not be divided between splits: near-duplicates, and sisters.

    Sisters are drawings of one concept by one family of artists. Linked pictures are joined, and so are their links.
    """
    from scipy.sparse.csgraph import connected_components

    concepts = np.array([concept(row["name"]) for row in rows])
    families = np.array([ARTISTS[row["artist"]]["family"] for row in rows])
    same_concept, same_family = concepts[:, None] == concepts, families[:, None] == families
    near = distances(pixels) < np.where(same_concept, NEAR, NEAR_IF_OTHER_EMOJI)
    groups = defaultdict(list)
    _, components = connected_components(near | (same_concept & same_family), directed=False)
    for row, component in zip(rows, components, strict=True):
        groups[component].append(row)
    return list(groups.values())


def assign_splits(rows: list[Row], pixels: np.ndarray) -> None:
    """Fill in `split`, class by class, so that no near-duplicate of a val or test picture is left in train."""
    for label in tqdm(CLASSES, desc="splits", unit="class"):
        members = [i for i, row in enumerate(rows) if row["class"] == label]
        groups = clusters([rows[i] for i in members], pixels[members])
        random.Random(f"0 {label}").shuffle(groups)
        seen = sum(rows[i]["artist"] != UNSEEN_ARTIST for i in members)
        room = {"test_seen": TEST_SHARE * seen, "val": VAL_SHARE * seen}
        # What looks like a picture of the unseen artist goes to the test first: train and val must not know it.
        groups.sort(key=lambda group: all(row["artist"] != UNSEEN_ARTIST for row in group))
        for group in groups:
            size = sum(row["artist"] != UNSEEN_ARTIST for row in group)
            touched = 0 < size < len(group)
            split = next((name for name in room if touched or size <= room[name]), "train")
            if split in room:
                room[split] -= size
            for row in group:
                row["split"] = "test_unseen" if row["artist"] == UNSEEN_ARTIST else split


def build(out: Path, cache: Path, verbose: bool) -> None:
    """Make the whole data set: all sheets and the table."""
    for needed in ("resvg_py", "scipy"):  # a missing one is reported now, not after all has been drawn
        import_module(needed)
    from vit_from_scratch.data import cut_sheet, fingerprint  # here, for it takes seconds

    emoji = read_emoji(fetch(TABLES["emoji_list"], cache))
    rows, sheets = [], {}
    for artist, table in ARTISTS.items():
        icons = IconSet(artist, fetch(table, cache))
        found = [(e, icons.find(e)) for e in emoji]
        missing = [e["name"] for e, icon in found if icon is None]
        drawings = []
        with tqdm([pair for pair in found if pair[1]], desc=artist, unit="picture") as bar:  # ended before an error
            for e, icon in bar:
                row = {"artist": artist, "position": str(len(drawings)), **e,
                       "class": class_of(e["name"], e["subgroup"]), "split": ""}
                drawings.append(rasterise(icons.svg(icon)))
                check_picture(row, drawings[-1])
                rows.append(row)
        sheets[artist] = np.stack(drawings)
        print(f"{artist} lacks {len(missing)} emoji" + (": " + "; ".join(missing) if verbose else ""))
    assign_splits(rows, np.concatenate(list(sheets.values())))
    out.mkdir(parents=True, exist_ok=True)
    for artist, pixels in sheets.items():
        height = -(-len(pixels) // COLUMNS)  # in pictures; the rest of the last row is white
        cells = np.full((height * COLUMNS, CELL, CELL, 3), 255, np.uint8)
        cells[: len(pixels)] = pixels
        sheet = cells.reshape(height, COLUMNS, CELL, CELL, 3).swapaxes(1, 2).reshape(height * CELL, COLUMNS * CELL, 3)
        Image.fromarray(sheet).save(out / f"{artist}.png", optimize=True)
    with open(out / "emoji.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    digests = {"emoji.csv": fingerprint(rows)}
    digests |= {f"{artist}.png": fingerprint(cut_sheet(out / f"{artist}.png")) for artist in sheets}
    (out / "digests.json").write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8", newline="\n")
    print(f"Wrote {len(rows):,} pictures by {len(sheets)} artists to {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=f"Needs npm (to fetch; its configuration says where from), and `{NEEDS}`.")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "emoji", help="to write (default: data/emoji)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "npm", help="(default: .cache/npm)")
    parser.add_argument("--verbose", action="store_true", help="name the emoji that each artist lacks")
    parser.add_argument("--photo", action="store_true", help="make only photo.png, in the folder above --out: "
                        "the photograph of the lessons, cut out of scikit-image's `chelsea` (a cat's face; CC0)")
    options = parser.parse_args()
    try:
        if options.photo:
            from skimage import data

            left, top, side = 75, 0, 300
            square = Image.fromarray(data.chelsea()).crop((left, top, left + side, top + side))
            square.resize((224, 224), Image.Resampling.LANCZOS).save(options.out.parent / "photo.png", optimize=True)
        else:
            build(options.out, options.cache, options.verbose)
    except ModuleNotFoundError as error:
        parser.exit(1, f"{error}; {NEEDS}\n")
    except OSError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
