"""Pictures in, loaders out: good files, every kind of bad file, and the three data sets side by side."""

import csv
import http.client
import json
import os
import pickle
import random
import shutil
import socket
import urllib.error
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import Subset, TensorDataset
from torchvision import datasets

from vit_from_scratch.checkpoint import load_checkpoint
from vit_from_scratch.data import (
    EmojiDataset,
    cifar10,
    cut_sheet,
    fingerprint,
    image_folder,
    load_emoji,
    make_loaders,
    normalize,
    read_picture,
    split_off,
)
from vit_from_scratch.plots import denormalize, show_pictures
from vit_from_scratch.preprocessing import DEFAULT_PREPROCESSING
from vit_from_scratch.train_command import main


def noise(height: int = 32, width: int = 32, seed: int = 0) -> Image.Image:
    """A picture that no codec can make small, so that half of its file is half of its pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


# ---- read_picture ----


def test_rgb_comes_as_it_is(tmp_path):
    noise().save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "x.png")), np.asarray(noise()))
    assert read_picture(str(tmp_path / "x.png")).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [
        ("grey.png", Image.new("L", (4, 4), 100), (100, 100, 100)),
        ("bits.png", Image.new("1", (4, 4), 1), (255, 255, 255)),
        ("transparent.png", Image.new("RGBA", (4, 4), (255, 0, 0, 0)), (255, 255, 255)),
        ("half.png", Image.new("RGBA", (4, 4), (0, 0, 0, 51)), (204, 204, 204)),
        ("opaque.png", Image.new("RGBA", (4, 4), (9, 8, 7, 255)), (9, 8, 7)),
        ("grey-transparent.png", Image.new("LA", (4, 4), (0, 0)), (255, 255, 255)),
        ("print-red.tiff", Image.new("CMYK", (4, 4), (0, 255, 255, 0)), (255, 0, 0)),
        ("print-white.jpg", Image.new("CMYK", (4, 4), (0, 0, 0, 0)), (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb_on_white(tmp_path, name, picture, expected):
    picture.save(tmp_path / name)
    read = read_picture(tmp_path / name)
    assert (read.mode, read.size) == ("RGB", (4, 4))
    assert np.abs(np.asarray(read, dtype=int) - expected).max() <= 2


def test_a_palettes_transparent_colour_becomes_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "x.png", transparency=0)  # red is see-through
    assert np.asarray(read_picture(tmp_path / "x.png")).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_a_photograph_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees
    noise(8, 16).save(tmp_path / "x.jpg", exif=exif)
    assert read_picture(tmp_path / "x.jpg").size == (8, 16)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_are_refused(tmp_path, refuses, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "deep.tiff")
    with refuses(ValueError, "deep.tiff", f"mode {mode}", "save it as 8-bit"):
        read_picture(tmp_path / "deep.tiff")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's, before it gives up
@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp", "tiff"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9])
def test_a_picture_cut_short_is_refused(tmp_path, refuses, ending, share):
    path = tmp_path / f"cut.{ending}"
    noise(64, 64).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with refuses(ValueError, str(path), "can't be read as a picture", "replace it, or move it away"):
        read_picture(path)


@pytest.mark.parametrize(
    "content", [b"not a picture", b"<svg></svg>", bytes(500), b"P6 3\x94 32 255 ", b"\x89PNG\r\n\x1a\n" + bytes(64)]
)
def test_what_is_no_picture_is_refused(tmp_path, refuses, content):
    (tmp_path / "x.png").write_bytes(content)
    with refuses(ValueError, str(tmp_path / "x.png"), "can't be read as a picture", "replace it, or move it away"):
        read_picture(tmp_path / "x.png")


def test_a_missing_picture_is_named(tmp_path, refuses):
    with refuses(FileNotFoundError, str(tmp_path / "none.png"), "check the path"):
        read_picture(tmp_path / "none.png")


# ---- pixels to numbers, and figures ----


def test_normalize_goes_from_minus_1_to_1_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    floats = normalize(pixels)
    assert floats.dtype == torch.float32
    assert (floats.min(), floats.max()) == (-1, 1)
    back = denormalize(floats)
    assert back.shape == (16, 16, 1)
    assert torch.equal((back.movedim(-1, 0) * 255).round().byte(), pixels)


def test_denormalize_stays_drawable():
    out = denormalize(torch.tensor([-3.0, 0.0, 3.0], requires_grad=True).reshape(3, 1, 1))
    assert out.tolist() == [[[0.0, 0.5, 1.0]]]
    assert not out.requires_grad


@pytest.mark.parametrize("channels", [1, 3])
def test_show_pictures_draws_each_with_its_title(channels):
    pictures = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
    figure = show_pictures(pictures, titles=list("abcde"), columns=3, title="letters")
    drawn = [ax for ax in figure.axes if ax.images]
    plt.close(figure)
    assert [ax.get_title() for ax in drawn] == list("abcde")
    assert figure.get_suptitle() == "letters"
    first = drawn[0].images[0].get_array()
    np.testing.assert_allclose(np.asarray(first).reshape(8, 8, channels), pictures[0].permute(1, 2, 0) / 255, atol=1e-6)


@pytest.mark.parametrize(("shape", "titles"), [((3, 8, 8), None), ((0, 3, 8, 8), None), ((2, 3, 8, 8), ["one"])])
def test_show_pictures_refuses_other_shapes(refuses, shape, titles):
    with refuses(ValueError, f"images has shape {shape}", "expected (N, c, h, w)"):
        show_pictures(torch.zeros(shape), titles)


@pytest.mark.parametrize("title", ["$\\frac{$", "costs $5, or $x_1$", "two\nlines", "caf\udce9", 7])
def test_a_title_is_drawn_as_it_is(title):
    figure = show_pictures(torch.zeros(1, 3, 8, 8), [title], title=title)
    figure.canvas.draw()
    plt.close(figure)
    assert {figure.get_suptitle(), figure.axes[0].get_title()} == {str(title).replace("\udce9", "\\udce9")}


# ---- the emoji ----

COLUMNS = ["artist", "position", "emoji", "name", "group", "subgroup", "tags", "class", "split"]


@pytest.fixture
def small_emoji(tmp_path) -> Path:
    """A data set of one sheet with four sprites, three of them in the table."""
    root = tmp_path / "emoji"
    root.mkdir()
    noise(64, 64).save(root / "me.png")
    rows = [
        ["me", 0, "a", "apple", "food", "fruit", "red;round", "fruit", "train"],
        ["me", 1, "b", "bear", "animals", "mammal", "brown", "animal", "train"],
        ["me", 3, "c", "clock", "objects", "time", "hour", "", ""],
    ]
    with open(root / "emoji.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return root


def test_sprites_are_read_row_by_row(small_emoji):
    sprites, sheet = cut_sheet(small_emoji / "me.png"), torch.from_numpy(np.asarray(noise(64, 64)).copy())
    assert sprites.shape == (4, 3, 32, 32)
    assert torch.equal(sprites[1].movedim(0, -1), sheet[:32, 32:])
    assert torch.equal(sprites[2].movedim(0, -1), sheet[32:, :32])


def test_load_emoji_gives_pictures_labels_and_words(small_emoji):
    everything, train = load_emoji(root=small_emoji), load_emoji("train", root=str(small_emoji))
    assert (len(everything), len(train)) == (3, 2)
    assert everything.classes == train.classes == ["animal", "fruit"]
    assert everything.labels.tolist() == [1, 0, -1]  # -1: of no class
    assert [row["name"] for row in everything.rows] == ["apple", "bear", "clock"]
    assert torch.equal(everything.images[2], cut_sheet(small_emoji / "me.png")[3])
    image, label = train[1]
    assert (image.shape, image.dtype, label) == ((3, 32, 32), torch.float32, 0)
    assert torch.equal(image, normalize(train.images[1]))


@pytest.mark.parametrize("split", ["test", "Train", "", 0])
def test_a_wrong_split_is_refused(refuses, split):
    with refuses(ValueError, f"split is {split!r}", "train, val, test_seen, test_unseen", "None"):
        load_emoji(split)


def test_a_missing_folder_is_named(tmp_path, refuses):
    with refuses(FileNotFoundError, "no emoji.csv", str(tmp_path / "none"), "data/emoji"):
        load_emoji(root=tmp_path / "none")


def test_a_missing_sheet_is_named(small_emoji, refuses):
    (small_emoji / "me.png").unlink()
    with refuses(FileNotFoundError, str(small_emoji / "me.png")):
        load_emoji(root=small_emoji)


@pytest.mark.parametrize("damage", [lambda b: b"junk" * 50, lambda b: b[: len(b) // 2], lambda b: b""])
def test_a_damaged_sheet_is_named(small_emoji, refuses, damage):
    sheet = small_emoji / "me.png"
    sheet.write_bytes(damage(sheet.read_bytes()))
    with refuses(ValueError, str(sheet), "replace it, or move it away"):
        load_emoji(root=small_emoji)


def test_a_sheet_smaller_than_the_table_says_is_refused(small_emoji, refuses):
    noise(32, 64).save(small_emoji / "me.png")
    with refuses(ValueError, str(small_emoji / "me.png"), "2 sprites", "number 3", "git checkout data"):
        load_emoji(root=small_emoji)


def test_a_sheet_of_another_grid_is_refused(small_emoji, refuses):
    noise(64, 50).save(small_emoji / "me.png")
    with refuses(ValueError, str(small_emoji / "me.png"), "(64, 50)", "multiples of 32", "git checkout data"):
        load_emoji(root=small_emoji)


def cut_last_line(keep: str):
    """A table that ends in the middle of a row: of the last one only `keep` is left."""
    return lambda text: "".join(text.splitlines(keepends=True)[:-1]) + keep


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.splitlines()[0] + "\n",  # the header alone
        lambda text: text.replace("position", "place", 1),
        lambda text: text.replace("me,1,", "me,one,"),
        lambda text: text.replace("me,1,", "me,-1,"),
        cut_last_line("me"),
        cut_last_line("me,"),
        cut_last_line("me,3,c,clo"),
        lambda text: "\udcff\udcfe" + text,  # not UTF-8
    ],
    ids=["empty", "header", "column", "word", "negative", "cut 1", "cut 2", "cut 3", "bytes"],
)
def test_a_damaged_table_is_named(small_emoji, refuses, damage):
    table = small_emoji / "emoji.csv"
    text = damage(table.read_text(encoding="utf-8"))
    table.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    with refuses(ValueError, str(table), "git checkout data"):
        load_emoji(root=small_emoji)


@pytest.fixture
def noted_emoji(small_emoji) -> Path:
    """The same with a second sheet, and `digests.json`: what comes with the package."""
    noise(32, 64, seed=1).save(small_emoji / "you.png")
    with open(small_emoji / "emoji.csv", "a", encoding="utf-8", newline="") as file:
        file.write("you,0,🐻,bear,animals,mammal,brown,animal,train\nyou,1,🍏,apple,food,fruit,green,fruit,train\n")
    with open(small_emoji / "emoji.csv", encoding="utf-8", newline="") as file:
        notes = {"emoji.csv": fingerprint(list(csv.DictReader(file)))}
    notes |= {f"{name}.png": fingerprint(cut_sheet(small_emoji / f"{name}.png")) for name in ("me", "you")}
    (small_emoji / "digests.json").write_text(json.dumps(notes))
    return small_emoji


CHANGES = {
    "cut": lambda lines: lines[:3], "one lost": lambda lines: [*lines[:2], *lines[3:]],
    "doubled": lambda lines: [*lines, lines[-1]], "in another order": lambda lines: [lines[0], *lines[:0:-1]],
    "another label": lambda lines: [line.replace("fruit,train", "friut,train") for line in lines],
    "of another class": lambda lines: [line.replace("animal,train", "fruit,train") for line in lines],
    "another split": lambda lines: [line.replace("animal,train", "animal,val") for line in lines],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_table_that_is_not_whole_is_noticed(noted_emoji, refuses, change):
    table = noted_emoji / "emoji.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(change(lines)), encoding="utf-8")
    for split in (None, "train"):
        with refuses(ValueError, str(table), "expected 5 entries, digest ", "git checkout data"):
            load_emoji(split, root=noted_emoji)


@pytest.mark.parametrize("change", [
    lambda root: (root / "me.png").write_bytes(b""), lambda root: shutil.copy(root / "you.png", root / "me.png"),
    lambda root: noise(64, 64, seed=9).save(root / "me.png"), lambda root: noise(96, 64).save(root / "me.png"),
])  # fmt: skip
def test_another_sheet_is_noticed(noted_emoji, refuses, change):
    change(noted_emoji)
    with refuses(ValueError, str(noted_emoji / "me.png")):
        load_emoji(root=noted_emoji)


@pytest.mark.parametrize("content", ["", "[]", '{"emoji.csv": '])
def test_damaged_digests_are_named(noted_emoji, refuses, content):
    (noted_emoji / "digests.json").write_text(content)
    with refuses(ValueError, "digests.json is damaged", "git checkout data"):
        load_emoji(root=noted_emoji)


@pytest.mark.parametrize("change", [lambda table: b"\xef\xbb\xbf" + table, lambda table: table.replace(b"\n", b"\r\n"),
                                    lambda table: table.replace(b"bear", b'"bear"')])  # fmt: skip
def test_what_a_spreadsheet_does_to_a_table_is_no_damage(noted_emoji, change):
    before = load_emoji(root=noted_emoji).rows
    table = noted_emoji / "emoji.csv"
    table.write_bytes(change(table.read_bytes()))
    assert load_emoji(root=noted_emoji).rows == before


@pytest.mark.parametrize("row", ["me,1,b,bear,a,b,c,animal,train", "me,2,b,bear,a,b,c,animal,trian",
                                 "me,2,b,bear,a,b,c,animal,train,more"])  # fmt: skip
def test_a_table_of_ones_own_is_checked_too(small_emoji, refuses, row):
    with open(small_emoji / "emoji.csv", "a", encoding="utf-8") as file:
        file.write(f"{row}\n")
    with refuses(ValueError, "emoji.csv", "git checkout data"):
        load_emoji(root=small_emoji)


# ---- a folder of one's own ----


@pytest.fixture
def pets(tmp_path) -> Path:
    """Two classes, three pictures, three formats, three shapes."""
    root = tmp_path / "pets"
    for name, shape in (("cat/a.png", (40, 20)), ("cat/b.jpg", (32, 32)), ("dog/c.webp", (10, 90))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise(*shape).save(root / name)
    return root


@pytest.mark.parametrize(("image_size", "shape"), [(32, (3, 32, 32)), ((16, 48), (3, 16, 48)), ([8, 8], (3, 8, 8))])
def test_image_folder_makes_every_picture_the_same_size(pets, image_size, shape):
    dataset = image_folder(pets, image_size)
    assert dataset.classes == ["cat", "dog"]
    assert [label for _, label in dataset] == [0, 0, 1]
    assert {(image.shape, image.dtype) for image, _ in dataset} == {(shape, torch.float32)}
    assert all(-1 <= image.min() < image.max() <= 1 for image, _ in dataset)


def test_a_picture_is_cut_to_its_middle_not_squeezed():
    pixels = np.full((20, 60, 3), 255, dtype=np.uint8)
    pixels[:, 20:40] = 0  # white, black, white: the middle third is the square that stays
    assert DEFAULT_PREPROCESSING(Image.fromarray(pixels), 10).max() < -0.8  # resizing blurs the edge a little


@pytest.mark.parametrize("image_size", [0, -32, 32.0, "32", (32,), (32, 0), (1, 2, 3), None])
def test_image_folder_refuses_a_wrong_size(pets, refuses, image_size):
    with refuses(ValueError, f"image_size is {image_size!r}", "such as 32, or (height, width)"):
        image_folder(pets, image_size)


def test_image_folder_names_a_missing_folder(tmp_path, refuses):
    with refuses(FileNotFoundError, str(tmp_path / "none"), "one folder of pictures per class"):
        image_folder(tmp_path / "none")


def test_image_folder_refuses_an_empty_folder(tmp_path, refuses):
    with refuses(FileNotFoundError, str(tmp_path), "one folder of pictures per class"):
        image_folder(tmp_path)


def test_image_folder_refuses_a_folder_of_loose_pictures(pets, refuses):
    with refuses(FileNotFoundError, str(pets / "cat"), "one folder of pictures per class"):
        image_folder(pets / "cat")


def test_image_folder_names_a_class_without_pictures(pets, refuses):
    (pets / "bird").mkdir()
    (pets / "bird" / "notes.txt").write_text("none seen yet")
    with refuses(FileNotFoundError, str(pets), "bird"):
        image_folder(pets)


def test_image_folder_names_a_corrupt_picture(pets, refuses):
    (pets / "dog" / "c.webp").write_bytes(b"woof")
    (loader,) = make_loaders(image_folder(pets))
    with refuses(ValueError, str(pets / "dog" / "c.webp"), "replace it, or move it away"):
        list(loader)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"woof"), lambda path: path.symlink_to("none.png"),
                                    lambda path: noise(9, 9).convert("I").save(path, "TIFF")])  # fmt: skip
def test_a_reader_in_another_process_says_it_in_one_line_too(pets, damage):
    damage(pets / "dog" / "odd.png")
    (loader,) = make_loaders(image_folder(pets), num_workers=1)
    with pytest.raises(ValueError, match=r"^(no picture at )?\S*odd\.png.*$"):
        list(loader)


# ---- a folder is not a class because it is there; a label is a name ----


def fill(root: Path, *folders: str, count: int = 1) -> Path:
    """Folders with pictures in them."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            noise(8, 8).save(root / folder / f"{i}.png")
    return root


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", ".cache/deep", "$RECYCLE.BIN"])
def test_hidden_and_system_folders_are_no_classes(tmp_path, name):
    fill(tmp_path, "cat", "dog", name, f"cat/{name}")
    dataset = image_folder(tmp_path)
    assert (dataset.classes, len(dataset), dataset.skipped) == (["cat", "dog"], 2, [])


@pytest.mark.parametrize("name", ["._a.png", ".hidden.jpg", ".DS_Store"])
def test_hidden_files_are_no_pictures(pets, name):
    (pets / "cat" / name).write_bytes(b"of the system")
    assert len([image for image, _ in image_folder(pets)]) == 3


@pytest.mark.parametrize("name", ["notes.txt", "clip.mp4", "raw.dng"])
def test_what_is_left_out_is_counted_and_named(pets, name):
    (pets / "dog" / name).write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=rf"^1 files are no pictures by their names or kinds, .*, such as .*{name}$"):
        assert len(image_folder(pets)) == 3


@pytest.mark.parametrize("suffix", [".gif", ".jfif", ".jpe", ".JPG", ".tif", ".bmp"])
def test_every_suffix_of_a_readable_picture_counts(pets, suffix):
    with open(pets / "dog" / f"d{suffix}", "wb") as file:
        noise(9, 9).convert("RGB").save(file, Image.registered_extensions()[suffix.lower()])
    assert [label for _, label in image_folder(pets)].count(1) == 2


@pytest.mark.parametrize("outer", ["train", "validation", "Test", "2024"])
def test_a_class_folder_that_holds_only_folders_is_refused(tmp_path, refuses, outer):
    fill(tmp_path, f"{outer}/cat", f"{outer}/dog", "bird")
    with refuses(ValueError, str(tmp_path / outer), "holds folders", f"pass {tmp_path / outer}"):
        image_folder(tmp_path)


def test_pictures_further_down_count_but_not_behind_a_link(tmp_path):
    fill(tmp_path, "cat", "cat/2024", "dog")
    try:
        (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    except OSError:
        pytest.skip("no links here")
    assert [label for _, label in image_folder(tmp_path)] == [0, 0, 1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a pipe"])
def test_a_pipe_or_device_is_no_picture(pets, refuses, kind, monkeypatch):
    odd = pets / "cat" / "odd.png"
    monkeypatch.chdir(odd.parent)  # the name of a socket must be short
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(odd.name)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    else:
        os.mkfifo(pets / "pipe")
        odd.symlink_to(pets / "pipe")
    with pytest.warns(UserWarning, match=r"odd\.png"):
        assert len([image for image, _ in image_folder(pets)]) == 3
    with refuses(ValueError, f"{odd} is no file"):
        read_picture(odd)


@pytest.fixture
def link():
    """`link(path, target)`, or the test is skipped."""

    def make(path: Path, target):
        try:
            path.symlink_to(target)
        except OSError:
            pytest.skip("no links here")

    return make


def test_loops_of_links_end(pets, link):
    for name in "abc":  # each leads to all of them: followed, that would be 3 to the power of 40 folders
        link(pets / "cat" / name, pets / "cat")
    link(pets / "dog" / "up", "..")
    assert [label for _, label in image_folder(pets)] == [0, 0, 1]


@pytest.mark.parametrize("target", ["cat", "..", "cat/more"])
def test_a_link_that_brings_in_another_class_is_refused(pets, refuses, link, target):
    fill(pets, "cat/more")
    noise(8, 8).save(pets.parent / "cover.png")
    link(pets / "kitten", target)
    with refuses(ValueError, str(pets), "in two classes", "a folder of its own"):
        image_folder(pets)


def test_a_class_may_lie_behind_a_link(pets, link, tmp_path):
    link(pets / "emu", fill(tmp_path / "elsewhere", "birds", "birds/2024") / "birds")
    assert [label for _, label in image_folder(pets)] == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(("name", "target"), [("emu", "nowhere"), ("self", "self")])
def test_a_class_behind_a_broken_link_is_named(pets, refuses, link, name, target):
    link(pets / name, target)
    with refuses(FileNotFoundError, str(pets), f"{name} in it is a link to nothing"):
        image_folder(pets)


def test_a_folder_that_cannot_be_read_is_no_empty_folder(pets, monkeypatch):
    fill(pets, "cat/2024")
    scandir = os.scandir

    def fail(path):
        if str(path).endswith("2024"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(PermissionError, match="2024"):
        image_folder(pets)


# ---- names that are no text ----


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", "Кошки".encode("cp1251")])
def test_a_class_whose_name_is_no_text_is_trained_and_printed(tmp_path, capsys, name):
    name = os.fsdecode(name)
    try:
        root = fill(tmp_path / "pets", name, "dog", f"{name}/2024")
    except (OSError, UnicodeError):
        pytest.skip("this system takes no such names")
    assert name in image_folder(root).classes
    options = "--emb-dim 12 --num-layers 1 --epochs 1 --val-fraction 0 --device cpu".split()
    assert main(["--data", str(root), *options, "--output", str(tmp_path / name)]) == 0
    said = capsys.readouterr().out
    assert name.encode("utf-8", "backslashreplace").decode() in said
    assert name in load_checkpoint(tmp_path / name / "last.pt").classes
    (root / name / "half.png").write_bytes(b"half")
    assert main(["--data", str(root), *options, "--output", str(tmp_path / "other")]) == 2
    assert "half.png can't be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "order"),
    [(["0", "1", "10", "11", "2", "9"], ["0", "1", "2", "9", "10", "11"]),
     (["b2", "b10", "a3", "b1"], ["a3", "b1", "b2", "b10"]), (["B", "a", "C"], ["B", "C", "a"])],
)  # fmt: skip
def test_numbers_are_in_the_order_of_numbers(tmp_path, names, order):
    assert image_folder(fill(tmp_path, *names)).classes == order


def test_labels_are_those_of_the_classes_that_are_passed(tmp_path):
    wanted = ["cat", "dog", "emu"]
    fill(tmp_path, "dog", "emu")
    dataset = image_folder(tmp_path, 8, classes=wanted)
    assert (dataset.classes, [label for _, label in dataset]) == (wanted, [1, 2])
    assert [label for _, label in image_folder(tmp_path, 8, classes=wanted[::-1])] == [1, 0]


def test_classes_that_do_not_fit(tmp_path, refuses):
    fill(tmp_path, "cat", "dog")
    with refuses(ValueError, "folders for dog", "only the classes cat, emu"):
        image_folder(tmp_path, classes=["cat", "emu"])
    with refuses(ValueError, "cat, dog, dog, each once"):
        image_folder(tmp_path, classes=["cat", "dog", "dog"])


# ---- splitting and loading ----


def test_split_off_takes_each_picture_once():
    dataset = TensorDataset(torch.arange(50))
    rest, held_out = split_off(dataset, 0.2, seed=3)
    assert (len(rest), len(held_out)) == (40, 10)
    assert sorted([*rest.indices, *held_out.indices]) == list(range(50))


def test_split_off_depends_on_the_seed_alone():
    dataset = TensorDataset(torch.arange(50))
    first = split_off(dataset, 0.2, seed=3)[1].indices
    torch.rand(7)
    assert split_off(dataset, 0.2, seed=3)[1].indices == first
    assert split_off(dataset, 0.2, seed=4)[1].indices != first
    torch.manual_seed(5)
    before = torch.get_rng_state()
    split_off(dataset)
    assert torch.equal(torch.get_rng_state(), before)


def labelled(labels: list[int]):
    """The kinds of data sets whose labels are known: in `targets`, in `labels`, as tensors, and as a part of one."""
    plain, emoji = TensorDataset(torch.arange(len(labels))), TensorDataset(torch.arange(len(labels)))
    plain.targets, emoji.labels = labels, torch.tensor(labels)
    tensors = TensorDataset(torch.zeros(len(labels)), torch.tensor(labels))
    whole = TensorDataset(torch.zeros(2 * len(labels)), torch.tensor([9] * len(labels) + labels))
    return [plain, emoji, tensors, Subset(Subset(whole, range(1, len(whole))), range(len(labels) - 1, len(whole) - 1))]


@pytest.mark.parametrize("kind", range(4))
def test_every_class_is_on_both_sides_by_its_share(kind):
    labels = [0] * 30 + [1] * 18 + [2] * 2
    dataset, drawn = labelled(labels)[kind], set()
    for seed in range(50):
        rest, held = split_off(dataset, 0.2, seed)
        assert sorted([*rest.indices, *held.indices]) == list(range(50)) and len(held) == 10
        counts = torch.tensor(labels)[held.indices].bincount()
        assert counts[2] == 1 and counts[0] in (5, 6) and counts[1] in (3, 4)
        drawn |= set(held.indices)
    assert drawn == set(range(50))  # each picture has its chance


@pytest.mark.parametrize("held_out", [4, 11, 19])
def test_the_classes_of_a_folder_are_on_both_sides(tmp_path, held_out):
    fill(tmp_path, "cat", "dog", "emu", count=7)
    fill(tmp_path, "rare", count=2)
    dataset = image_folder(tmp_path)
    for part in split_off(dataset, held_out / len(dataset)):
        assert {dataset.targets[i] for i in part.indices} == {0, 1, 2, 3}


def test_a_class_with_one_picture_stays_to_be_trained_on(tmp_path):
    fill(tmp_path, "cat", "dog", count=10)
    fill(tmp_path, "rare", "yeti")
    dataset = image_folder(tmp_path)
    with pytest.warns(UserWarning, match=r"^the held-out part has no pictures of rare, yeti: ") as told:
        rest, _ = split_off(dataset, 0.8)
    assert len(told) == 1 and told[0].filename == __file__
    assert {dataset.targets[i] for i in rest.indices} == {0, 1, 2, 3}


@pytest.mark.parametrize(("held_out", "part"), [(5, "the held-out part"), (55, "the rest")])
def test_a_part_with_fewer_pictures_than_classes_says_what_it_lacks(held_out, part):
    with pytest.warns(UserWarning, match=rf"^{part} has no pictures of (\d+, ){{9}}\d+ and 5 more: there are too few"):
        split_off(labelled([k for k in range(20) for _ in range(3)])[0], held_out / 60)


@pytest.mark.parametrize("labels", [["a", "b"] * 5, torch.rand(10), torch.eye(10), [[1], [2, 3]] * 5, None, [1, 2]])
def test_labels_that_are_no_classes_do_not_matter(labels):
    dataset = TensorDataset(torch.arange(10))
    dataset.targets = labels
    assert [len(part) for part in split_off(dataset, 0.2)] == [8, 2]


@pytest.mark.parametrize("fraction", [0.0, 0.001, 1.0, -0.5, 1.5])
def test_split_off_refuses_an_empty_side(refuses, fraction):
    with refuses(ValueError, f"fraction {fraction} of 50 pictures", "another fraction"):
        split_off(TensorDataset(torch.arange(50)), fraction)


def test_the_first_loader_is_shuffled_and_the_others_are_not():
    numbers = TensorDataset(torch.zeros(100, 3, 2, 2), torch.arange(100))
    train, val, test = make_loaders(numbers, numbers, numbers, batch_size=30)
    in_order = list(range(100))

    def epoch(loader):
        return torch.cat([labels for _, labels in loader]).tolist()

    first, second = epoch(train), epoch(train)
    assert sorted(first) == sorted(second) == in_order
    assert first != in_order and second != in_order and first != second
    assert epoch(val) == epoch(test) == in_order
    assert [len(labels) for _, labels in val] == [30, 30, 30, 10]


def test_worker_processes_give_the_same_batches(small_emoji):
    dataset = load_emoji("train", root=small_emoji)
    alone, workers = (make_loaders(dataset, dataset, num_workers=n)[1] for n in (0, 1))
    for (images, labels), (same_images, same_labels) in zip(alone, workers, strict=True):
        assert torch.equal(images, same_images) and torch.equal(labels, same_labels)


def test_an_empty_dataset_is_refused(refuses):
    full, empty = TensorDataset(torch.arange(5)), EmojiDataset(torch.zeros(0, 3, 32, 32), [], [])
    with refuses(ValueError, "5, 0 pictures", "at least one in each"):
        make_loaders(full, empty)


# ---- CIFAR-10 ----


def write_fake_cifar10(root: str | Path) -> None:
    """Ten training and two test pictures, in the files that torchvision reads."""
    folder, rng = Path(root) / datasets.CIFAR10.base_folder, np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, _ in datasets.CIFAR10.train_list + datasets.CIFAR10.test_list:
        batch = {"data": rng.integers(0, 256, (2, 3072), dtype=np.uint8), "labels": [3, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))


@pytest.fixture
def any_md5(monkeypatch):
    """Let torchvision take files of any content for CIFAR-10's."""
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(datasets.CIFAR10, name, [[file, None] for file, _ in getattr(datasets.CIFAR10, name)])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": None})


@pytest.fixture
def fake_cifar10(tmp_path, any_md5) -> Path:
    write_fake_cifar10(tmp_path / "cifar")
    return tmp_path / "cifar"


def test_cifar10_is_read_from_its_folder(fake_cifar10):
    train, test = cifar10(fake_cifar10), cifar10(str(fake_cifar10), train=False, download=True)
    assert (len(train), len(test)) == (10, 2)
    assert train.classes[train[0][1]] == "cat"


@pytest.mark.parametrize("name", ["emoji", "folder", "cifar10"])
def test_the_three_data_sets_give_the_same_kind_of_batches(name, small_emoji, pets, fake_cifar10):
    make = {
        "emoji": lambda: load_emoji("train", root=small_emoji),
        "folder": lambda: image_folder(pets),
        "cifar10": lambda: cifar10(fake_cifar10),
    }
    for loader in make_loaders(*[make[name]()] * 2, batch_size=2):
        images, labels = next(iter(loader))
        assert (images.shape, images.dtype) == ((2, 3, 32, 32), torch.float32)
        assert (labels.shape, labels.dtype) == ((2,), torch.int64)
        assert -1 <= images.min() < images.max() <= 1


def test_a_download_is_moved_in_when_it_is_whole(tmp_path, monkeypatch, any_md5):
    monkeypatch.setattr(datasets.CIFAR10, "download", lambda self: write_fake_cifar10(self.root))
    assert len(cifar10(tmp_path / "new", download=True)) == 10
    assert [path.name for path in (tmp_path / "new").iterdir()] == [datasets.CIFAR10.base_folder]
    assert len(cifar10(tmp_path / "new")) == 10  # and the next time none is needed


def test_cifar10_without_network(tmp_path, monkeypatch, refuses):
    def no_network(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    with refuses(ConnectionError, "CIFAR-10", "Name or service not known", "check the network", "load_emoji()"):
        cifar10(tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def interrupted_by(error: BaseException):
    """A download that leaves half an archive, and then fails."""

    def download(self):
        (Path(self.root) / self.filename).write_bytes(b"half an archive")
        (Path(self.root) / self.base_folder).mkdir()
        raise error

    return download


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("timed out"),
        OSError("connection reset"),
        http.client.IncompleteRead(b"", 170),
        RuntimeError("File not found or corrupted."),
    ],
)
def test_a_failed_download_leaves_nothing(tmp_path, monkeypatch, refuses, error):
    monkeypatch.setattr(datasets.CIFAR10, "download", interrupted_by(error))
    with refuses(ConnectionError, "CIFAR-10", "check the network", "load_emoji()"):
        cifar10(tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "download", interrupted_by(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cifar10(tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_cifar10_that_is_not_there_is_not_fetched_unasked(tmp_path, refuses):
    with refuses(FileNotFoundError, str(tmp_path), "cifar10(root, download=True)", "`vit-train` with --download"):
        cifar10(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("download", [False, True])
def test_a_damaged_cifar10_is_named_with_the_way_out(fake_cifar10, refuses, download):
    folder = fake_cifar10 / datasets.CIFAR10.base_folder
    (folder / "data_batch_3").unlink()
    with refuses(FileNotFoundError, f"no intact CIFAR-10 in {fake_cifar10}", str(folder), "away, then call"):
        cifar10(fake_cifar10, download=download)


# ---- how the camera was held, when it can't be said ----


def exif_blocks() -> list[bytes]:
    """Odd EXIF blocks around a turned picture's: cut short, with wrong counts and types, with noise in them."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "a camera", {0x9003: "2024:01:01", 0xA002: 16}
    whole, rng = exif.tobytes(), random.Random(0)
    blocks = [whole[:length] for length in range(6, len(whole), 3)]
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(6, len(changed))] = rng.randrange(256)
        blocks.append(bytes(changed))
    return blocks


def test_an_odd_exif_block_never_spoils_a_picture(tmp_path):
    """Of the file's name and a clear error, or a picture: either way up."""
    picture, sizes = noise(24, 16), []
    for i, block in enumerate(exif_blocks()):
        picture.save(tmp_path / f"{i}.jpg", exif=block)
        sizes.append(read_picture(tmp_path / f"{i}.jpg").size)
    assert set(sizes) == {(24, 16), (16, 24)} and sizes.count((16, 24)) > 100  # most can still be read


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_way_to_hold_a_camera(tmp_path, orientation):
    picture = noise(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "held.png", exif=exif)
    with Image.open(tmp_path / "held.png") as file:
        expected = ImageOps.exif_transpose(file).convert("RGB")
    assert np.array_equal(np.array(read_picture(tmp_path / "held.png")), np.array(expected))


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, refuses):
    Image.new("1", (13_000, 13_000)).save(tmp_path / "vast.png")
    with refuses(ValueError, "vast.png", "13000 x 13000 pixels", "move it away"):
        read_picture(tmp_path / "vast.png")
