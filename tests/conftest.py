"""What several test files share: tiny configs, tiny loaders, and one way to check an error message."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models this small only lose by more, here and in programs under test

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from vit_from_scratch.config import ViTConfig
from vit_from_scratch.data import EmojiDataset, load_emoji

ROOT = Path(__file__).resolve().parents[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with Ctrl-C ignored


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m "not slow"` imports no file that is slow as a whole: it may need what only `make test` installs."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return True if "\npytestmark = pytest.mark.slow\n" in collection_path.read_text(encoding="utf-8") else None


def same(one, other) -> bool:
    """Equal to the last bit: tensors, and lists and dicts of them."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers, whichever tests run before it."""
    torch.manual_seed(0)


@pytest.fixture
def tiny() -> ViTConfig:
    """The smallest config that has everything: several patches, blocks and heads."""
    return ViTConfig(image_size=8, patch_size=4, emb_dim=16, num_layers=2, num_heads=4, num_classes=3)


@pytest.fixture
def loaders() -> tuple[DataLoader, DataLoader]:
    """Random 8x8 pictures of three classes: 22 to train on (the last batch is smaller), 10 to validate on."""
    images, labels = torch.rand(32, 3, 8, 8) * 2 - 1, torch.arange(32) % 3
    train, val = TensorDataset(images[:22], labels[:22]), TensorDataset(images[22:], labels[22:])
    return DataLoader(train, batch_size=8, shuffle=True), DataLoader(val, batch_size=4)


@pytest.fixture
def folder(tmp_path):
    """A folder with 12 pictures for each of two classes."""
    for name, grey in (("cat", 60), ("dog", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (20 + i, 24), (grey, grey + i, 0)).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


@pytest.fixture(scope="session")
def emoji() -> EmojiDataset:
    """Every committed picture, those of no class too."""
    return load_emoji(root=ROOT / "data" / "emoji")


@pytest.fixture
def refuses():
    """`with refuses(ValueError, "emb_dim", "30"):` the block raises just that, in one line that says all of it."""

    @contextmanager
    def check(kind: type[Exception], *parts: str):
        with pytest.raises(kind) as caught:
            yield
        message = str(caught.value)
        assert caught.type is kind, f"{caught.type.__name__}: {message}"
        assert len(message.splitlines()) == 1, message
        for part in parts:
            assert part in message, f"{part!r} is not in: {message}"

    return check
