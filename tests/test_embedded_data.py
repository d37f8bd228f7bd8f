"""The committed data: sheets, table and `data/README.md` say the same, and every picture is a picture."""

import csv
import json
import re
from collections import Counter

import build_emoji
import pytest
import torch
from conftest import ROOT

from vit_from_scratch.data import SPLITS, cut_sheet, fingerprint, load_emoji, read_picture
from vit_from_scratch.paths import DATA_DIR

DATA = ROOT / "data"
ARTISTS = sorted(path.stem for path in (DATA / "emoji").glob("*.png"))
UNSEEN = "fluent-emoji-flat"
LICENCES = {"Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "MIT", "CC0-1.0"}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    with open(DATA / "emoji" / "emoji.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def readme() -> str:
    return (DATA / "README.md").read_text(encoding="utf-8")


def markdown_tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text: lists of rows of cells, the header first, without emphasis."""
    tables, before = [], ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            cells = [cell.strip().replace("**", "") for cell in line.strip("|").split("|")]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                tables[-1].append(cells)
        before = line
    return tables


def counts_in(readme: str, header: list[str]) -> dict[tuple[str, str], int]:
    """The numbers of the table with that header: {(row's name, column's name): count}."""
    (table,) = [table for table in markdown_tables(readme) if table[0] == header]
    return {(row[0], column): int(cell.replace(",", "")) for row in table[1:]
            for column, cell in zip(header[1:], row[1:], strict=True)}  # fmt: skip


def with_totals(pairs: Counter) -> Counter:
    """The counts with an "all" in both directions."""
    both = Counter(pairs)
    for (row, column), count in pairs.items():
        both.update({(row, "all"): count, ("all", column): count, ("all", "all"): count})
    return both


# ---- sheets and table ----


def test_the_package_finds_the_data():
    assert DATA_DIR == DATA
    assert len(load_emoji("val")) > 0


def test_the_data_is_small():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= 10_000_000


def test_there_is_a_sheet_for_every_artist_and_none_more(rows):
    assert len(ARTISTS) == 8
    assert {row["artist"] for row in rows} == set(ARTISTS)


@pytest.mark.parametrize("artist", ARTISTS)
def test_a_sheet_holds_what_the_table_says(rows, artist):
    sprites = cut_sheet(DATA / "emoji" / f"{artist}.png")
    positions = [int(row["position"]) for row in rows if row["artist"] == artist]
    assert positions == list(range(len(positions)))  # in order, none missing, none twice
    assert 0 <= len(sprites) - len(positions) < 40  # the last row of 40 may be unfinished
    assert (sprites[len(positions) :] == 255).all()  # and the rest of it is white


def test_the_digests_are_those_of_the_table_and_every_sheet(rows):
    """`load_emoji` compares them. After a change that is meant: `python scripts/build_emoji.py` writes them anew."""
    expected = {"emoji.csv": fingerprint(rows)}
    expected |= {f"{artist}.png": fingerprint(cut_sheet(DATA / "emoji" / f"{artist}.png")) for artist in ARTISTS}
    assert json.loads((DATA / "emoji" / "digests.json").read_text(encoding="utf-8")) == expected


def test_no_picture_is_blank(emoji):
    drawn = (emoji.images.min(dim=1).values < 224).flatten(1).sum(dim=1)
    assert drawn.min() >= 20
    flat = emoji.images.flatten(1)
    assert ((flat.max(dim=1).values - flat.min(dim=1).values) > 30).all()


def test_no_artist_draws_an_emoji_twice(rows):
    assert max(Counter((row["artist"], row["emoji"]) for row in rows).values()) == 1


def test_every_row_is_whole(rows):
    for row in rows:
        assert None not in row and None not in row.values(), row
        assert all(row[column] for column in ("emoji", "name", "group", "subgroup")), row
        assert row["name"] == row["name"].lower(), row
        assert row["split"] in SPLITS if row["class"] else row["split"] == "", row


def test_one_emoji_has_one_name_and_one_class(rows):
    for column in ("name", "group", "subgroup", "tags", "class"):
        values = {(row["emoji"], row[column]) for row in rows}
        assert len(values) == len({row["emoji"] for row in rows}), column


def test_the_photograph_is_224_square():
    assert read_picture(DATA / "photo.png").size == (224, 224)


# ---- splits ----


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_every_class(emoji, split):
    part = load_emoji(split, root=DATA / "emoji")
    assert part.classes == emoji.classes
    assert len(part.classes) == 8
    assert part.labels.unique().tolist() == list(range(8))
    assert part.images.shape == (len(part), 3, 32, 32)
    assert part.images.dtype == torch.uint8


def test_splits_share_no_picture(emoji):
    """Neither a row of the table nor, pixel by pixel, a drawing."""
    places, drawings = {}, {}
    for row, image in zip(emoji.rows, emoji.images, strict=True):
        if row["split"]:
            places.setdefault((row["artist"], row["position"]), []).append(row["split"])
            drawings.setdefault(image.numpy().tobytes(), set()).add(row["split"])
    assert all(len(splits) == 1 for splits in places.values())
    assert all(len(splits) == 1 for splits in drawings.values())


def test_the_unseen_artist_is_unseen(rows):
    assert {row["artist"] for row in rows if row["split"] == "test_unseen"} == {UNSEEN}
    assert {row["split"] for row in rows if row["artist"] == UNSEEN} == {"test_unseen", ""}
    for split in ("train", "val", "test_seen"):
        assert {row["artist"] for row in rows if row["split"] == split} == set(ARTISTS) - {UNSEEN}


@pytest.mark.parametrize("sisters", [("noto", "noto-v1"), ("emojione", "emojione-v1")])
def test_sister_drawings_lie_on_one_side(rows, sisters):
    splits = {}
    for row in rows:
        if row["artist"] in sisters and row["split"]:
            splits.setdefault(row["emoji"], []).append(row["split"])
    pairs = [found for found in splits.values() if len(found) == 2]
    assert len(pairs) > 100
    assert all(one == other for one, other in pairs)


# ---- what they are built from: data/build_emoji.toml ----


def test_every_class_follows_from_the_table(rows):
    wrong = [row for row in rows if row["class"] != build_emoji.class_of(row["name"], row["subgroup"])]
    assert not wrong
    assert sorted(build_emoji.CLASSES) == sorted({row["class"] for row in rows} - {""})


def test_what_is_excluded_is_not_there(rows):
    assert set(build_emoji.ARTISTS) == set(ARTISTS) and build_emoji.UNSEEN_ARTIST == UNSEEN
    drawn = {(row["artist"], row["name"]) for row in rows}
    excluded = {(artist, name) for artist, table in build_emoji.ARTISTS.items() for name in table.get("excluded", ())}
    assert len(excluded) > 20 and not drawn & excluded


def test_the_table_names_emoji_that_there_are(rows):
    """A misspelt name would be an exception that never applies."""
    names, subgroups = ({row[column] for row in rows} for column in ("name", "subgroup"))
    for table in build_emoji.ARTISTS.values():
        assert {*table.get("icons", ()), *table.get("excluded", ())} <= names
    for table in build_emoji.CLASSES.values():
        assert {*table.get("added", ()), *table.get("left_out", ())} <= names
        assert set(table["subgroups"]) <= subgroups


# ---- data/README.md ----


def test_the_readme_counts_classes_by_artist(rows, readme):
    artists = ["noto", "noto-v1", "twemoji", "openmoji", UNSEEN, "emojione", "emojione-v1", "fxemoji"]
    counted = with_totals(Counter((row["class"] or "(none)", row["artist"]) for row in rows))
    assert counts_in(readme, ["class", *artists, "all"]) == counted


def test_the_readme_counts_classes_by_split(rows, readme):
    counted = with_totals(Counter((row["class"], row["split"]) for row in rows if row["split"]))
    counted = {pair: count for pair, count in counted.items() if pair[1] != "all"}
    assert counts_in(readme, ["class", *SPLITS]) == counted


def test_the_readme_counts_pictures_and_emoji(rows, readme):
    assert f"{len(rows):,} pictures of {len({row['emoji'] for row in rows}):,} emoji" in " ".join(readme.split())


@pytest.mark.parametrize("artist", ARTISTS)
def test_every_artist_is_credited_with_a_licence(readme, artist):
    (table,) = [table for table in markdown_tables(readme) if table[0] == ["artist", "work", "licence"]]
    ((_, work, licence),) = [row for row in table if f"`{artist}`" in row[0]]
    assert re.search(r"\[.+\]\(https://.+\), \w+", work)  # a link to the work, and whose it is
    assert licence in LICENCES
    assert (DATA / "emoji" / "LICENSES" / f"{licence}.txt").stat().st_size > 500


@pytest.mark.parametrize("artist", ARTISTS)
def test_both_readmes_give_the_same_licence(readme, artist):
    licences = (DATA / "emoji" / "LICENSES" / "README.md").read_text(encoding="utf-8")
    ((*_, cell),) = [row for table in markdown_tables(licences) for row in table if row[0] == f"`{artist}.png`"]
    ((*_, licence),) = [row for table in markdown_tables(readme) for row in table
                        if table[0][-1] == "licence" and f"`{artist}`" in row[0]]  # fmt: skip
    assert cell == f"[{licence}]({licence}.txt)"


def test_the_photograph_is_credited(readme):
    assert re.search(r"`photo\.png` is .+ by .+CC0", readme, re.DOTALL)
