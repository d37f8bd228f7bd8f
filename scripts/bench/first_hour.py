"""Run training recipes side by side on equal parts of the CPU, stop them after an hour, and compare accuracies.

Each run is the training command's own, with a checkpoint every few minutes. These are kept, and at the end each is
measured on the same validation pictures: a line of the CSV has the recipe, minutes of training, the training pictures
seen, and the accuracy. Ctrl-C stops the runs and measures what is there. Options that are not listed here are given to
the training command, such as --precision float32, --data or --val-fraction (here 0.1 unless it is given).
"""

import argparse
import contextlib
import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from vit_from_scratch.checkpoint import load_checkpoint, read_checkpoint
from vit_from_scratch.data import normalize
from vit_from_scratch.evaluation import evaluate
from vit_from_scratch.paths import CACHE
from vit_from_scratch.pictures import Pictures, load_pictures
from vit_from_scratch.recipe import Recipe, read_recipe
from vit_from_scratch.train_command import build_parser

ROOT = Path(__file__).resolve().parents[2]


def keep_snapshot(output: Path) -> None:
    """Keep the last checkpoint of a run, if it is a new one."""
    with contextlib.suppress(FileNotFoundError):  # there is none yet
        snapshot = output / f"at_{(output / 'last.pt').stat().st_mtime_ns}.pt"
        if not snapshot.exists():
            shutil.copyfile(output / "last.pt", snapshot)


def measure(recipe: str, snapshots: list[Path], pictures: Pictures) -> list[dict]:
    """A line for each snapshot of a run, the earliest first."""
    lines = []
    loader = DataLoader(TensorDataset(normalize(pictures.images), pictures.labels), batch_size=100)
    for snapshot in tqdm(snapshots, desc=f"measuring {recipe}", file=sys.stdout):
        state = read_checkpoint(snapshot)
        count, batch_size = state["data"]["train"], state["recipe"]["batch_size"]
        epoch, step = divmod(len(state["history"]["losses"]), -(-count // batch_size))
        accuracy = evaluate(load_checkpoint(snapshot), loader).accuracy
        lines.append({"recipe": recipe, "minutes": round(state["minutes"], 2),
                      "pictures_seen": epoch * count + step * batch_size, "val_accuracy": accuracy})
        print("{recipe:20s} {minutes:6.1f} min {pictures_seen:10,d} pictures seen  "
              "validation {val_accuracy:.1%}".format(**lines[-1]))
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["cifar10-best", "cifar10-reference"],
                        help="default: cifar10-best cifar10-reference")
    parser.add_argument("--minutes", type=float, default=60.0, help="default: 60")
    parser.add_argument("--every", type=float, default=5.0, help="minutes between two checkpoints (default: 5)")
    parser.add_argument("--pictures", type=int, default=2000, help="validation pictures, at most (default: 2000)")
    parser.add_argument("--root", type=Path, default=CACHE, help="folder of CIFAR-10 (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "first_hour", help="default: build/first_hour")
    asked, passed_on = parser.parse_known_args()
    if not 0 < asked.minutes < 1e6 or not 0 < asked.every < 1e6 or asked.pictures < 1:
        parser.error("--minutes and --every must be above 0, and --pictures at least 1")
    try:
        recipes = [Recipe(**read_recipe(recipe)) for recipe in asked.recipes]
    except (OSError, TypeError, ValueError) as error:
        parser.error(str(error))
    if asked.output.exists():
        parser.error(f"{asked.output} is there already: move it away, or choose another --output")
    options = ["--data", recipes[0].data, "--val-fraction", "0.1", "--device", "cpu", "--save-minutes",
               str(asked.every), "--root", str(asked.root), *passed_on]
    build_parser().parse_args(options)  # says what is wrong before anything is made
    asked.output.mkdir(parents=True)
    outputs = {recipe: asked.output / Path(recipe).stem for recipe in asked.recipes}
    threads, runs = str(max(1, torch.get_num_threads() // len(outputs))), {}
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    for recipe, output in outputs.items():
        command = [sys.executable, "-m", "vit_from_scratch.train_command", *options, "--recipe", recipe]
        with open(output.with_suffix(".txt"), "w", encoding="utf-8") as text:  # what it says
            runs[recipe] = subprocess.Popen([*command, "--output", str(output)], env=environment, stdout=text,
                                            stderr=subprocess.STDOUT)
    try:
        for _ in tqdm(range(round(60 * asked.minutes)), unit=" s", desc="training", file=sys.stdout):
            time.sleep(1)
            for output in outputs.values():
                keep_snapshot(output)
            if all(run.poll() is not None for run in runs.values()):
                break
    except KeyboardInterrupt:
        print("stopping")
    finally:  # no run goes on alone
        for run in runs.values():
            run.terminate()
    snapshots = {}
    for recipe, output in outputs.items():
        runs[recipe].wait()
        keep_snapshot(output)
        snapshots[recipe] = sorted(output.glob("at_*.pt"))
        if not snapshots[recipe]:
            said = output.with_suffix(".txt").read_text(encoding="utf-8")
            parser.exit(1, f"{recipe} left no checkpoint:\n{said}\n")
    run = Recipe(**read_checkpoint(snapshots[asked.recipes[0]][0])["recipe"])
    val = load_pictures(run.data, run.vit_config(1).image_size, run.val_fraction, root=asked.root)["val"]
    chosen = val.part(torch.randperm(len(val), generator=torch.Generator().manual_seed(0))[: asked.pictures])
    lines = [line for recipe, found in snapshots.items() for line in measure(recipe, found, chosen)]
    with open(asked.output / "first_hour.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(lines)


if __name__ == "__main__":
    main()
