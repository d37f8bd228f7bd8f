"""Train lesson 06's model over several seeds; print the time and the accuracies, per seed and on average."""

import argparse
import statistics

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from vit_from_scratch.config import CONFIGS
from vit_from_scratch.data import load_emoji, make_loaders
from vit_from_scratch.emoji_vit import EMOJI_RECIPE
from vit_from_scratch.evaluation import ShiftTTA, best_device, evaluate
from vit_from_scratch.model import ViTModel
from vit_from_scratch.training import augment, train


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default: 3)")
    parser.add_argument("--epochs", type=int, default=EMOJI_RECIPE.epochs, help="(default: the lesson's)")
    arguments = parser.parse_args()
    if arguments.seeds < 1 or arguments.epochs < 1:
        parser.error("--seeds and --epochs must be at least 1")
    try:
        recipe = EMOJI_RECIPE.replace(epochs=arguments.epochs)
    except ValueError as error:
        parser.error(str(error))
    train_loader, val_loader = make_loaders(load_emoji("train"), load_emoji("val"), batch_size=64)
    tests = {split: DataLoader(load_emoji(split), batch_size=256) for split in ("val", "test_seen", "test_unseen")}
    print(f"{recipe.epochs} epochs on {best_device()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':15s}{'one view':^39s}{'shift TTA':^39s}")
    print(f"{'seed':>6s} {'minutes':>8s}" + "".join(f"{split:>13s}" for split in [*tests, *tests]))
    cutmix = v2.RandomApply([v2.CutMix(num_classes=8)], p=0.5)  # as in the lesson
    rows = []
    for seed in range(arguments.seeds):
        torch.manual_seed(seed)
        model = ViTModel(CONFIGS["ViT-Mini/4"])
        history = train(model, train_loader, val_loader, recipe.replace(seed=seed), augment=augment, mix=cutmix)
        answers = [evaluate(view, loader) for view in (model, ShiftTTA(model)) for loader in tests.values()]
        rows.append([history.epochs[-1]["minutes"], *(100 * answer.accuracy for answer in answers)])
        print(f"{seed:6d} {rows[-1][0]:8.2f}" + "".join(f"{value:12.1f}%" for value in rows[-1][1:]), flush=True)
    minutes, *accuracies = map(statistics.mean, zip(*rows, strict=True))
    print(f"{'mean':>6s} {minutes:8.2f}" + "".join(f"{value:12.1f}%" for value in accuracies))


if __name__ == "__main__":
    main()
