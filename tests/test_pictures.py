"""Pictures in memory: from the embedded emoji, CIFAR-10 or any folder, and how they are augmented and mixed."""

import _thread
import multiprocessing
import os
import threading
import time

import pytest
import torch
from PIL import Image

from vit_from_scratch import data, pictures
from vit_from_scratch.pictures import (
    AUGMENTS,
    MIXES,
    Pictures,
    describe,
    load_pictures,
    random_crop_flip,
    trivial_augment,
)

# --- pictures


def test_the_embedded_emoji(emoji):
    parts = load_pictures("emoji", (32, 32))
    assert list(parts) == ["train", "val", "test_seen", "test_unseen"]
    assert parts["train"].images.dtype == torch.uint8 and parts["train"].images.shape[1:] == (3, 32, 32)
    assert len(parts["train"].classes) == 8 and parts["train"].labels.min() >= 0


def test_a_folder_is_decoded_once_and_split(folder):
    parts = load_pictures(str(folder), (16, 16), 0.25, show_progress=False)
    assert {name: len(part) for name, part in parts.items()} == {"train": 18, "val": 6}
    assert parts["train"].images.shape == (18, 3, 16, 16) and parts["train"].images.dtype == torch.uint8
    assert parts["train"].classes == ["cat", "dog"]
    for part in parts.values():  # red tells the class, to the last bit: nothing was rounded
        assert torch.equal(part.images[:, 0, 0, 0], torch.tensor([60, 200], dtype=torch.uint8)[part.labels])
    again = load_pictures(str(folder), (16, 16), 0.25, show_progress=False)
    assert torch.equal(again["val"].images, parts["val"].images)
    greens = sorted((int(label), int(image[1, 0, 0])) for part in parts.values()
                    for image, label in zip(part.images, part.labels, strict=True))  # fmt: skip
    assert greens == [(label, grey + i) for label, grey in ((0, 60), (1, 200)) for i in range(12)]


@pytest.mark.parametrize("show_progress", [False, True])
def test_a_folder_of_more_than_one_batch(tmp_path, show_progress):
    for i in range(150):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / str(i % 2) / f"{i:03d}.png")
    train = load_pictures(str(tmp_path), (8, 8), 0.0, show_progress=show_progress)["train"]
    assert train.images[:, 0, 0, 0].tolist() == [*range(0, 150, 2), *range(1, 150, 2)]
    assert train.labels.tolist() == [0] * 75 + [1] * 75


def test_without_a_fraction_nothing_is_held_out(folder):
    assert list(load_pictures(str(folder), (16, 16), 0.0, show_progress=False)) == ["train"]


def test_a_folder_with_parts_of_its_own(folder, tmp_path):
    (tmp_path / "data").mkdir()
    folder.rename(tmp_path / "data" / "train")
    for part in ("val", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            Image.new("RGB", (16, 16)).save(tmp_path / "data" / part / name / "1.png")
    parts = load_pictures(str(tmp_path / "data"), (16, 16), show_progress=False)
    assert {name: len(part) for name, part in parts.items()} == {"train": 24, "val": 2, "test": 2}
    (tmp_path / "data" / "val" / "dog").rename(tmp_path / "data" / "val" / "wolf")
    with pytest.raises(ValueError, match=r"val has folders for wolf; expected only the classes cat, dog, each once"):
        load_pictures(str(tmp_path / "data"), (16, 16), show_progress=False)


def test_a_broken_picture_is_named(folder):
    (folder / "cat" / "3.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"^\S*3\.png can't be read as a picture.*$"):
        load_pictures(str(folder), (16, 16), show_progress=False)


def test_pictures_are_read_without_other_processes(folder, monkeypatch):
    """Docker's containers have little shared memory, and a script without `if __name__ ...` can't start processes."""
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", lambda self: pytest.fail("a process"))
    assert len(load_pictures(str(folder), (16, 16), 0.0, show_progress=False)["train"]) == 24


@pytest.mark.parametrize("limit", [0, 24 * 24 + 1, 10**6])
def test_large_pictures_are_read_one_at_a_time(folder, monkeypatch, limit):
    """Of 120 million pixels each, eight at once would fill the memory."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(pictures, "_LARGE", limit)
    expected = load_pictures(str(folder), (16, 16), 0.0, show_progress=False)["train"].images
    reading, most, lock = [], [], threading.Lock()
    read_picture = data.read_picture

    def read(path):
        picture = read_picture(path)
        if picture.width * picture.height > limit:
            with lock:
                reading.append(path)
                most.append(len(reading))
            time.sleep(0.005)
            with lock:
                reading.remove(path)
        return picture

    monkeypatch.setattr(data, "read_picture", read)
    assert torch.equal(load_pictures(str(folder), (16, 16), 0.0, show_progress=False)["train"].images, expected)
    assert set(most) <= {1} and bool(most) == (limit < 10**6)


def test_an_interrupt_ends_the_reading_at_once(folder, monkeypatch):
    for i in range(400):
        os.link(folder / "cat" / "0.png", folder / "cat" / f"more{i}.png")
    monkeypatch.setattr(data, "read_picture", lambda path: time.sleep(0.05) or Image.new("RGB", (8, 8)))
    start = time.monotonic()
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        load_pictures(str(folder), (16, 16), 0.0, show_progress=False)
    timer.join()
    assert time.monotonic() - start < 2
    assert not [thread for thread in threading.enumerate()[1:] if not thread.daemon]  # tqdm's own may stay


def test_a_rare_class_is_held_out_too_and_an_only_picture_is_not(tmp_path):
    lay_out(tmp_path, "yeti", *(f"{name}/{i}" for name in ("cat", "dog") for i in range(12)), "rare/0", "rare/1")
    for name in ("cat", "dog", "rare"):  # class_folders must see pictures in the class itself
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    with pytest.warns(UserWarning, match="the held-out part has no pictures of yeti: there are too few"):
        parts = load_pictures(str(tmp_path), (8, 8), 0.2, show_progress=False)
    classes = {name: part.labels.unique().tolist() for name, part in parts.items()}
    assert classes == {"train": [0, 1, 2, 3], "val": [0, 1, 2]}


def test_the_same_pictures_are_not_two_parts(tmp_path, refuses):
    lay_out(tmp_path, "train/cat", "train/dog")
    try:
        (tmp_path / "val").symlink_to("train")
    except OSError:
        pytest.skip("no links here")
    with refuses(ValueError, str(tmp_path), "the same pictures in val as in train"):
        load_pictures(str(tmp_path), (8, 8), show_progress=False)


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_no_folder(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder|not one folder of pictures per class"):
        load_pictures(str(tmp_path / name), (16, 16), show_progress=False)


def test_no_cifar10(tmp_path):
    with pytest.raises(FileNotFoundError, match="no intact CIFAR-10"):
        load_pictures("cifar10", (32, 32), root=tmp_path)


def test_a_part_keeps_the_order_that_it_was_asked_for(folder):
    pictures = load_pictures(str(folder), (16, 16), 0.0, show_progress=False)["train"]
    part = pictures.part([20, 3, 7])
    assert len(part) == 3 and part.classes == pictures.classes
    assert torch.equal(part.images, pictures.images[[20, 3, 7]]) and part.labels.tolist() == [1, 0, 0]
    for indices in ((20, 3, 7), torch.tensor([20, 3, 7])):
        assert torch.equal(pictures.part(indices).images, part.images)
    assert torch.equal(pictures.part(range(3)).images, pictures.images[:3])
    moved = part.to(torch.device("meta"))
    assert isinstance(moved, Pictures) and moved.images.device == moved.labels.device == torch.device("meta")


# --- augmentation


def test_random_crop_flip_shifts_mirrors_and_reflects(seeded):
    image = torch.arange(36).reshape(1, 1, 6, 6).expand(500, 1, 6, 6)
    moved = random_crop_flip(image, 2)
    padded = torch.nn.functional.pad(image[:1].float(), (2, 2, 2, 2), mode="reflect")[0, 0].long()
    expected = {tuple(window.flatten().tolist()) for y in range(5) for x in range(5)
                for window in (padded[y : y + 6, x : x + 6], padded[y : y + 6, x : x + 6].flip(1))}  # fmt: skip
    found = {tuple(picture.flatten().tolist()) for picture in moved}
    assert found == expected and len(found) == 50  # each of them, and no other


def test_random_crop_flip_leaves_the_channels_together(seeded):
    image = torch.randint(0, 256, (20, 1, 8, 6), dtype=torch.uint8).expand(20, 3, 8, 6)
    moved = random_crop_flip(image)
    assert moved.dtype == torch.uint8 and moved.shape == (20, 3, 8, 6)
    assert torch.equal(moved[:, 0], moved[:, 1]) and torch.equal(moved[:, 0], moved[:, 2])


@pytest.mark.parametrize("name", AUGMENTS)
def test_augmentations_give_normalized_floats(name, seeded):
    images = torch.randint(0, 256, (35, 3, 16, 16), dtype=torch.uint8)
    before = images.clone()
    torch.manual_seed(1)
    first = AUGMENTS[name](images)
    torch.manual_seed(1)
    assert torch.equal(AUGMENTS[name](images), first)  # the seed decides
    assert first.dtype == torch.float32 and first.shape == images.shape and torch.equal(images, before)
    assert name == "affine" or (first.min() >= -1 and first.max() <= 1)
    if name != "none":
        assert not torch.equal(AUGMENTS[name](images), first)


def test_trivial_augment_changes_groups_alike(seeded, monkeypatch):
    monkeypatch.setattr("vit_from_scratch.pictures.random_crop_flip", lambda images: images)
    images = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8).expand(40, 3, 16, 16)
    groups = trivial_augment(images, group=8).split(8)
    assert all(torch.equal(picture, group[0]) for group in groups for picture in group)
    assert len({group[0].numpy().tobytes() for group in groups}) > 1


def test_random_crop_flip_of_pictures_smaller_than_the_shift(seeded):
    images = torch.arange(6).reshape(1, 1, 2, 3).expand(50, 1, 2, 3)
    assert set(random_crop_flip(images).flatten().tolist()) == set(range(6))


@pytest.mark.parametrize("name", MIXES)
def test_mixes(name, seeded):
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % 3
    mixed, targets = MIXES[name](3)(images, labels)
    assert mixed.shape == images.shape
    assert torch.equal(targets, labels) or torch.allclose(targets.sum(1), torch.ones(6))


# ---- parts of a folder, and what is said of them ----


def lay_out(root, *folders: str):
    """Folders with one picture in each."""
    for name in folders:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / name / "1.png")
    return root


@pytest.mark.parametrize(
    "names",
    [("train", "val", "test"), ("Train", "Validation", "Test"), ("training_set", "valid", "test_set"),
     ("TRAINING", "dev", "testing"), ("train-images", "val data", "test split")],
)  # fmt: skip
def test_parts_are_known_by_their_usual_names(tmp_path, names):
    lay_out(tmp_path, *(f"{name}/{label}" for name in names for label in ("cat", "dog")))
    parts = load_pictures(str(tmp_path), (8, 8), show_progress=False)
    assert {name: (len(part), part.classes) for name, part in parts.items()} == dict.fromkeys(
        ("train", "val", "test"), (2, ["cat", "dog"]))


def test_a_class_may_be_called_train(tmp_path):
    lay_out(tmp_path, "train", "bus", "test")
    assert load_pictures(str(tmp_path), (8, 8), 0.0, show_progress=False)["train"].classes == ["bus", "test", "train"]


def test_a_part_may_lack_a_class_and_its_labels_stay(tmp_path):
    lay_out(tmp_path, "train/cat", "train/dog", "train/emu", "test/dog", "test/emu")
    parts = load_pictures(str(tmp_path), (8, 8), 0.0, show_progress=False)
    assert parts["test"].labels.tolist() == [1, 2] and parts["test"].classes == ["cat", "dog", "emu"]
    assert describe(parts).splitlines() == ["train: cat 1, dog 1, emu 1", "test: cat 0, dog 1, emu 1; none of cat"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [(("validation/cat", "validation/dog"), "holds folders, and no pictures of a class validation"),
     (("train/cat", "train/dog", "Training/cat"), "both for train: rename one of them"),
     (("train/cat", "train/dog", "bird"), "bird with pictures: move bird into one of them or away"),
     (("train/cat",), "has one class, cat")],
)  # fmt: skip
def test_parts_that_are_not_clear(tmp_path, refuses, folders, message):
    lay_out(tmp_path, *folders)
    with refuses(ValueError, str(tmp_path), message):
        load_pictures(str(tmp_path), (8, 8), show_progress=False)


def test_of_many_classes_the_first_ten_are_told(tmp_path):
    lay_out(tmp_path, *map(str, range(12)))
    told = describe(load_pictures(str(tmp_path), (8, 8), 0.0, show_progress=False))
    assert told.startswith("train: 0 1, 1 1, 2 1,") and told.endswith("9 1 and 2 classes more")


def test_what_lies_beside_the_parts_may_hold_other_files(tmp_path):
    lay_out(tmp_path, "train/cat", "train/dog", "val/cat")
    for name in ("annotations/cat.xml", "models/.DS_Store", "train/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("of a program")
    assert list(load_pictures(str(tmp_path), (8, 8), show_progress=False)) == ["train", "val"]


def test_a_mac_makes_no_class_of_a_year(tmp_path, refuses):
    lay_out(tmp_path, "2020/cat", "2020/dog", "2021/cat")
    for year in ("2020", "2021"):
        (tmp_path / year / ".DS_Store").write_text("of a program")
    with refuses(ValueError, "2020 holds folders, and no pictures"):
        load_pictures(str(tmp_path), (8, 8), show_progress=False)


def test_a_part_without_pictures_is_refused(tmp_path, refuses):
    lay_out(tmp_path, "train/cat", "train/dog")
    (tmp_path / "val" / "cat").mkdir(parents=True)
    with refuses(FileNotFoundError, str(tmp_path / "val"), "no picture"):
        load_pictures(str(tmp_path), (8, 8), show_progress=False)
