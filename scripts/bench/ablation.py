"""What each part of lesson 06's recipe is worth: trained without it, over several seeds; and the lesson's CNN beside.

Every run goes to the CSV when it ends: variant, seed, minutes, and accuracies in per cent. Stop it whenever you like:
the same command goes on, and runs that are in the file already are not run again.
"""

import argparse
import csv
import math
import statistics
from pathlib import Path

import nbformat
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import v2

from vit_from_scratch.config import CONFIGS
from vit_from_scratch.data import load_emoji, make_loaders
from vit_from_scratch.emoji_vit import EMOJI_RECIPE
from vit_from_scratch.evaluation import evaluate
from vit_from_scratch.model import ViTModel
from vit_from_scratch.training import TrainingConfig, augment, train

ROOT = Path(__file__).resolve().parents[2]
CSV = ROOT / "data" / "recipes" / "ablation.csv"
SPLITS = ("val", "test_seen", "test_unseen")
ADAMW = {"optimizer": "adamw", "learning_rate": TrainingConfig.learning_rate}  # a CNN has no blocks for Muon
VARIANTS: dict[str, dict] = {  # what differs: fields of the recipe, and augment, mix, cnn, share (of the pictures)
    "the recipe": {}, "no augmentation": {"augment": None}, "no CutMix": {"mix": None},
    "no warm-up": {"warmup_epochs": 0}, "no label smoothing": {"label_smoothing": 0.0},
    "no gradient clipping": {"grad_clip": math.inf}, "AdamW": ADAMW, "CNN": ADAMW | {"cnn": True},
    "a quarter of the pictures": {"share": 4}, "CNN, a quarter of the pictures": ADAMW | {"cnn": True, "share": 4},
}  # fmt: skip


def lesson_cnn(num_classes: int) -> nn.Module:
    """The CNN of lesson 06, made by the lesson's own cell."""
    cells = nbformat.read(ROOT / "notebooks" / "06_training.ipynb", as_version=4).cells
    source = next(cell.source for cell in cells if "def small_cnn" in cell.source)
    names: dict = {"nn": nn}
    exec(source.partition("\n\n\ndef flops")[0], names)
    return names["small_cnn"](num_classes)


def run(variant: str, seed: int, epochs: int) -> dict:
    """Train one variant: a line of the CSV."""
    changes = dict(VARIANTS[variant])
    cutmix = v2.RandomApply([v2.CutMix(num_classes=8)], p=0.5)  # as in the lesson
    mixing, augmenting = changes.pop("mix", cutmix), changes.pop("augment", augment)
    is_cnn, share = changes.pop("cnn", False), changes.pop("share", 1)
    train_set = load_emoji("train")
    part = Subset(train_set, range(0, len(train_set), share))
    train_loader, val_loader = make_loaders(part, load_emoji("val"), batch_size=64)
    recipe = EMOJI_RECIPE.replace(epochs=share * epochs, seed=seed, **changes)  # the same number of steps
    torch.manual_seed(seed)
    model = lesson_cnn(8) if is_cnn else ViTModel(CONFIGS["ViT-Mini/4"])
    history = train(model, train_loader, val_loader, recipe, augment=augmenting, mix=mixing)
    row = {"variant": variant, "seed": seed, "minutes": round(history.epochs[-1]["minutes"], 2)}
    tests = {split: DataLoader(load_emoji(split), batch_size=256) for split in SPLITS}
    return row | {split: round(100 * evaluate(model, loader).accuracy, 1) for split, loader in tests.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, default=CSV, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS], help="(default: all)")
    parser.add_argument("--epochs", type=int, default=EMOJI_RECIPE.epochs, help="(default: the lesson's)")
    options = parser.parse_args()
    if min(options.seeds) < 0 or options.epochs <= EMOJI_RECIPE.warmup_epochs or options.csv.is_dir():
        parser.error("--seeds must be at least 0, --epochs above the warm-up, and --csv a file")
    rows = []
    if options.csv.exists():
        with open(options.csv, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    done = {(row["variant"], int(row["seed"])) for row in rows}
    for seed, variant in ((seed, variant) for seed in options.seeds for variant in options.variants):
        if (variant, seed) in done:
            continue
        print(f"{variant}, seed {seed}")
        row = run(variant, seed, options.epochs)
        with open(options.csv, "a", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, row, lineterminator="\n")
            if not file.tell():
                table.writeheader()
            table.writerow(row)
        rows.append(row)
    for variant in options.variants:
        found = [row for row in rows if row["variant"] == variant]
        means = [statistics.mean(float(row[split]) for row in found) for split in SPLITS]
        print(f"{variant:32s}{len(found)} runs" + "".join(f"{mean:8.1f}%" for mean in means))


if __name__ == "__main__":
    main()
