"""How long a training step takes when OpenMP's idle threads wait in one way or another, quiet and on a busy machine.

Each setting gets a process of its own, as it is read only once; the settings take turns, several rounds. Wanted:
on a quiet machine at most 1.1 times the default's time, and beside a busy program at most twice the fair share's, which
is the default's quiet time, times (cores + 1) / cores. The Makefile sets what is best. Close all programs.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from vit_from_scratch.captioner import CAPTIONER_RECIPE, fit_captioner, new_captioner
from vit_from_scratch.config import CONFIGS
from vit_from_scratch.model import ViTModel

SETTINGS = ["", "OMP_WAIT_POLICY=PASSIVE", "GOMP_SPINCOUNT=1000", "GOMP_SPINCOUNT=3000", "GOMP_SPINCOUNT=10000",
            "OMP_NUM_THREADS=1"]  # fmt: skip
PICTURES = 64  # in a step
COUNT = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(1_000_000))"  # it ends with us


def vit_step(steps: int) -> float:
    """The median time in ms of a training step of ViT-Mini/4 in this process."""
    torch.manual_seed(0)
    model = ViTModel(CONFIGS["ViT-Mini/4"])
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.rand(PICTURES, 3, *model.config.image_size)
    labels = torch.randint(model.config.num_classes, (PICTURES,))

    times = []
    for _ in range(steps + 2):  # the first two warm up
        start = time.perf_counter()
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - start))
    return median(times[2:])


def captioner_step(steps: int) -> float:
    """The mean time in ms of a step of lesson 10's training, which also paints its scenes, after as many to warm up."""
    recipe = CAPTIONER_RECIPE.replace(epochs=2)
    history = fit_captioner(new_captioner(), recipe, batch_size=PICTURES, steps=steps, progress=False)
    return 1000 / history.epochs[-1]["batches_per_second"]


MODELS = {"vit": vit_step, "captioner": captioner_step}


def measure_apart(setting: str, busy: bool, asked: argparse.Namespace) -> float:
    """The same in a process with `setting` in its environment; `busy`: beside a program that does nothing but count."""
    names = {name.partition("=")[0] for name in SETTINGS}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= dict([setting.split("=")]) if setting else {}
    command = [sys.executable, __file__, "--measure", "--model", asked.model, "--steps", str(asked.steps)]
    other = subprocess.Popen([sys.executable, "-c", COUNT]) if busy else None
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.split()[-1])
    finally:
        if other:
            other.kill()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="vit",
                        help="lesson 06's model, or lesson 10's training, which needs the checkpoints of 06 and 09")
    parser.add_argument("--settings", nargs="+", default=SETTINGS[1:], metavar="NAME=VALUE",
                        help=f"beside the default (default: {' '.join(SETTINGS[1:])})")
    parser.add_argument("--rounds", type=int, default=5, help="times that each setting has its turn (default: 5)")
    parser.add_argument("--steps", type=int, default=20, help="training steps a turn (default: 20)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # what each process is started with
    asked = parser.parse_args()
    if min(asked.rounds, asked.steps) < 1 or any("=" not in setting for setting in asked.settings):
        parser.error("--rounds and --steps are at least 1, and a setting reads NAME=VALUE")
    if asked.measure:
        print(MODELS[asked.model](asked.steps))
        return
    asked.settings, times = ["", *asked.settings], defaultdict(list)
    turns = [(busy, setting) for _ in range(asked.rounds) for busy in (False, True) for setting in asked.settings]
    for busy, setting in tqdm(turns, unit=" turns"):
        times[setting, busy].append(measure_apart(setting, busy, asked))
        tqdm.write(f"{setting or 'default'}, {'busy' if busy else 'quiet'}: {times[setting, busy][-1]:.1f} ms")
    found, cores = {key: median(values) for key, values in times.items()}, os.cpu_count() or 1
    quiet = found["", False]
    fair = quiet * (cores + 1) / cores
    print(f"\n{asked.model}, {cores} cores, {asked.rounds} rounds, fair share {fair:.0f} ms")
    print(f"{'setting':26s} {'quiet':>9s} {'/ default':>10s} {'busy':>9s} {'/ fair':>7s}")
    for setting in asked.settings:
        alone, beside = found[setting, False], found[setting, True]
        print(f"{setting or 'default':26s} {alone:6.0f} ms {alone / quiet:10.2f} {beside:6.0f} ms {beside / fair:7.2f}")


if __name__ == "__main__":
    main()
