"""Painted scenes, their scores, and folders of pictures with captions."""

import json
import os
import random

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vit_from_scratch.captions import (
    CELL,
    SEEN_ARTISTS,
    UNSEEN_ARTIST,
    CaptionFolder,
    ScenePainter,
    collate_captions,
    fit_picture,
    layout_scene,
    read_captions,
    score_captions,
)
from vit_from_scratch.scenes import RELATIONS, THINGS, Scene, draw_scene


@pytest.fixture(scope="module")
def painter() -> ScenePainter:
    return ScenePainter()


def ink(picture: torch.Tensor) -> torch.Tensor:
    """Bool (3, 3): which of the nine cells have something in them."""
    return (picture < 0.9).any(dim=0).unfold(0, CELL, CELL).unfold(1, CELL, CELL).flatten(2).any(dim=-1)


def test_the_artists_are_all_eight_and_the_unseen_one_is_apart(emoji):
    assert {*SEEN_ARTISTS, UNSEEN_ARTIST} == {row["artist"] for row in emoji.rows}
    assert UNSEEN_ARTIST not in SEEN_ARTISTS


def test_the_same_seed_paints_the_same_and_another_does_not(painter):
    scenes = [draw_scene(random.Random(0)) for _ in range(8)]
    first, again, other = (painter.paint(scenes, random.Random(seed), augment=True) for seed in (1, 1, 2))
    assert first.shape == (8, 3, 48, 48) and first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_picture_does_not_depend_on_torchs_random_numbers(painter):
    scenes = [Scene("cat", 3, "above", "house")]
    torch.manual_seed(1)
    first = painter.paint(scenes, random.Random(0), augment=True)
    torch.manual_seed(2)
    assert torch.equal(first, painter.paint(scenes, random.Random(0), augment=True))


def test_without_augmentation_colours_stay_in_range(painter):
    pictures = painter.paint([draw_scene(random.Random(k)) for k in range(32)], random.Random(0))
    assert pictures.min() >= -1 and pictures.max() <= 1
    assert (pictures.flatten(1).amax(dim=1) > 0.99).all()  # white is left somewhere
    assert (pictures.flatten(1).amin(dim=1) < 0.5).all()  # and something is there


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_layout_is_what_the_caption_says(painter, relation, count):
    for seed in range(20):
        placed = layout_scene(Scene("cat", count, relation, "house"), random.Random(seed))
        *things, (landmark, left, top, side) = placed
        assert landmark == "house" and side == 2 * CELL and len(things) == count
        assert len({(x, y) for _, x, y, _ in things}) == count  # no two in one place
        for thing, x, y, small in things:
            assert thing == "cat" and small == CELL
            assert 0 <= x <= 32 and 0 <= y <= 32 and 0 <= left <= 16 and 0 <= top <= 16
        holds = {"above": all(y + CELL <= top for _, _, y, _ in things),
                 "below": all(y >= top + side for _, _, y, _ in things),
                 "to the left of": all(x + CELL <= left for _, x, _, _ in things),
                 "to the right of": all(x >= left + side for _, x, _, _ in things)}  # fmt: skip
        assert [name for name, is_so in holds.items() if is_so] == [relation]  # and no other: one right caption


def test_no_scenes_are_refused(painter, refuses):
    with refuses(ValueError, "no scenes"):
        painter.paint([], random.Random(0))


def test_the_layout_is_what_gets_painted(painter):
    """Where the sprites are, there is ink; in cells that the layout leaves free there is none."""
    for seed in range(40):
        scene = draw_scene(random.Random(seed))
        rng, same = random.Random(seed), random.Random(seed)
        picture = painter.paint([scene], rng)[0]
        same.choice(painter.artists)
        covered = torch.zeros(48, 48, dtype=torch.bool)
        for _, left, top, side in layout_scene(scene, same):
            covered[top : top + side, left : left + side] = True
            assert (picture[:, top : top + side, left : left + side] < 0.9).any()
        assert (picture[:, ~covered] > 0.99).all()


def test_a_single_picture_is_its_sprite():
    painter = ScenePainter(["noto"])
    scene = Scene("rocket")
    rng = random.Random(0)
    rng.choice(painter.artists)
    [(_, left, top, side)] = layout_scene(scene, rng)
    painted = painter.paint([scene], random.Random(0))[0, :, top : top + side, left : left + side]
    assert torch.allclose(painted, painter.sprites["noto", "rocket"] / 127.5 - 1, atol=1e-4)


def test_augmentation_mirrors_about_half():
    painter = ScenePainter(["noto"])
    scenes = [Scene("rocket")] * 64  # its nose is at the upper right
    pictures = painter.paint(scenes, random.Random(0), augment=True)
    weight = (pictures.amax(dim=(1, 2, 3), keepdim=True) - pictures).mean(dim=1)  # (64, 48, 48)
    columns = torch.arange(48.0)
    upper = torch.stack([(w * (columns[:, None] < (w.sum(1) * columns).sum() / w.sum())) for w in weight])
    slant = (upper.sum(1) * columns).sum(1) / upper.sum((1, 2)) - (weight.sum(1) * columns).sum(1) / weight.sum((1, 2))
    assert 16 < int((slant > 0).sum()) < 48


@pytest.mark.parametrize("artists", [[], "noto", ["noto", "picasso"]])
def test_the_painter_refuses_artists_that_it_does_not_know(artists, refuses):
    with refuses(ValueError, "artists", "noto-v1"):
        ScenePainter(artists)


def test_scores_count_what_they_say():
    truth = [Scene("cat", 2, "above", "house"), Scene("cat"), Scene("dog", 3, "below", "key")]
    said = ["two cats above a key", "a cat", "three dogs"]
    score = score_captions(said, truth)
    assert score["things"] == pytest.approx(3 / 5)  # cat; cat; dog. Of five
    assert score["counts"] == 1
    assert score["relations"] == pytest.approx(2 / 3)
    assert score["exact"] == pytest.approx(1 / 3)


def test_things_in_each_others_place_do_not_count():
    assert score_captions(["a house above a cat"], [Scene("cat", 1, "above", "house")])["things"] == 0


def test_nonsense_has_nothing_right():
    assert set(score_captions(["", "cat cat", "two cat"], [Scene("cat", 2)] * 3).values()) == {0}


def test_scores_refuse_other_numbers(refuses):
    with refuses(ValueError, "1 captions", "2 scenes"):
        score_captions(["a cat"], [Scene("cat")] * 2)
    with refuses(ValueError, "at least one"):
        score_captions([], [])


def test_every_thing_can_be_painted_by_everyone():
    painter = ScenePainter([*SEEN_ARTISTS, UNSEEN_ARTIST])
    assert len(painter.sprites) == 8 * len(THINGS)


# --- captions in files ---


@pytest.fixture
def folder(tmp_path):
    for k in range(3):
        Image.new("RGB", (20 + k, 10), (255 * (k == 0), 0, 0)).save(tmp_path / f"{k}.png")
    return tmp_path


FLICKR = "0.png#0\tA red thing .\n0.png#1\tRed, and wide .\n1.png#0\tA black thing .\n\n"
TABLE = 'image,caption\n0.png,A red thing .\n0.png,"Red, and wide ."\n1.png,A black thing .\n'
COCO = json.dumps({
    "images": [{"id": 7, "file_name": "0.png"}, {"id": 8, "file_name": "1.png"}],
    "annotations": [{"image_id": 7, "caption": "A red thing ."}, {"image_id": 7, "caption": "Red, and wide ."},
                    {"image_id": 8, "caption": "A black thing ."}],
})  # fmt: skip


@pytest.mark.parametrize("text", [
    FLICKR, TABLE, COCO, TABLE.replace('"', ""), FLICKR.replace("\n", "\r\n"), "\ufeff" + FLICKR,
])  # fmt: skip
def test_every_format_is_read_alike(tmp_path, text):
    path = tmp_path / "captions"
    path.write_bytes(text.encode())
    assert read_captions(path) == {"0.png": ["A red thing .", "Red, and wide ."], "1.png": ["A black thing ."]}


def test_a_folder_gives_pictures_with_all_their_captions(folder):
    (folder / "captions.txt").write_text(TABLE, encoding="utf-8")
    dataset = CaptionFolder(folder, image_size=(8, 16))
    assert len(dataset) == 2  # 2.png has no caption
    image, captions = dataset[0]
    assert image.shape == (3, 8, 16) and image.dtype == torch.float32
    assert captions == ["A red thing .", "Red, and wide ."]
    assert torch.allclose(image[:, 4, 8], torch.tensor([1.0, -1.0, -1.0]))


def test_pictures_are_fitted_whole():
    wide = fit_picture(Image.new("RGB", (96, 48), "black"), 48)
    assert (wide[:, :11] == 1).all() and (wide[:, -11:] == 1).all() and (wide[:, 14:34] == -1).all()


@pytest.mark.parametrize("text, part", [
    ("no tab here\n", "line 1"), ("0.png#0\tfine\nnot fine\n", "line 2"), ("image,caption\n0.png\n", "line 2"),
    ("", "no captions"), ("image,caption\n", "no captions"), ("0.png#0\t  \n", "no captions"),
    ("{", "COCO"), ("{}", "images"), ('{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}', "COCO"),
    ('{"images": 3, "annotations": []}', "COCO"),
])  # fmt: skip
def test_a_captions_file_of_another_format_is_refused(tmp_path, refuses, text, part):
    path = tmp_path / "captions.txt"
    path.write_text(text, encoding="utf-8")
    with refuses(ValueError, str(path), part):
        read_captions(path)


def test_what_is_missing_is_named(folder, refuses):
    with refuses(FileNotFoundError, "captions.txt", "check the path"):
        CaptionFolder(folder)
    with refuses(FileNotFoundError, "nowhere"):
        CaptionFolder(folder / "nowhere")
    (folder / "captions.txt").write_text("9.png#0\tA ghost .\n0.png#0\tA red thing .\n", encoding="utf-8")
    with refuses(FileNotFoundError, "1 of 2", "9.png"):
        CaptionFolder(folder)


def test_a_picture_that_flickr8k_itself_lacks_is_left_out(folder):
    text = "2258277193_586949ec62.jpg.1#0\tA dog .\n0.png#0\tA red thing ."
    (folder / "captions.txt").write_text(text, encoding="utf-8")
    assert CaptionFolder(folder).names == ["0.png"]


def test_a_caption_may_hold_signs_that_break_lines_elsewhere(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes('image,caption\n0.png,"two\nlines"\n1.png,a\u2028b\n'.encode())
    assert read_captions(path) == {"0.png": ["two\nlines"], "1.png": ["a\u2028b"]}


@pytest.mark.parametrize("null", ["null", "3", '["a dog"]'])
def test_a_caption_that_is_no_text_is_refused(tmp_path, refuses, null):
    path = tmp_path / "coco.json"
    path.write_text('{"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"image_id": 1, "caption": "x"}, '
                    f'{{"image_id": 1, "caption": {null}}}]}}', encoding="utf-8")
    with refuses(ValueError, str(path), "annotation 2"):
        read_captions(path)


def test_two_stray_quotation_marks_swallow_no_lines(tmp_path, refuses):
    path = tmp_path / "captions.txt"
    lines = [f"{i}.jpg,a dog" for i in range(900)]
    lines[3], lines[890] = '3.jpg,"a dog', '890.jpg,a dog"'
    path.write_text("\n".join(["image,caption", *lines]), encoding="utf-8")
    with refuses(ValueError, str(path), "opens in line 5 and closes in line 892"):
        read_captions(path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png"])
def test_captions_do_not_leave_their_folder(tmp_path, refuses, name):
    path = tmp_path / "captions.txt"
    path.write_text(f"image,caption\n{name},a dog\n", encoding="utf-8")
    with refuses(ValueError, name, "within the folder"):
        read_captions(path)


def test_a_loader_gives_batches_of_captions(folder):
    (folder / "captions.txt").write_text(TABLE, encoding="utf-8")
    dataset = CaptionFolder(folder, image_size=8)
    ((images, texts),) = DataLoader(dataset, batch_size=2, collate_fn=collate_captions)
    assert images.shape == (2, 3, 8, 8) and texts == dataset.captions


def test_an_open_quotation_mark_is_refused(tmp_path, refuses):
    path = tmp_path / "captions.txt"
    path.write_text('image,caption\n0.png,"a cat says\n1.png,a dog\n', encoding="utf-8")
    with refuses(ValueError, str(path), "unexpected end of data"):
        read_captions(path)


def test_binary_captions_and_broken_pictures_are_refused(folder, refuses):
    (folder / "captions.txt").write_bytes(b"\xff\xfe\x00\x81")
    with refuses(ValueError, "UTF-8"):
        CaptionFolder(folder)
    (folder / "captions.txt").write_text("0.png#0\tA red thing .", encoding="utf-8")
    (folder / "0.png").write_bytes(b"no picture")
    dataset = CaptionFolder(folder)
    with refuses(ValueError, "0.png", "can't be read as a picture"):
        dataset[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_or_a_folder_is_no_captions_file(tmp_path, refuses):
    os.mkfifo(tmp_path / "pipe.txt")
    for path in (tmp_path / "pipe.txt", tmp_path):
        with refuses(ValueError, str(path), "is no file"):
            read_captions(path)
