"""How long a training step takes when OpenMP's idle threads wait in one way or another, quiet and on a busy machine.

Each setting gets a process of its own, for torch reads it only once; the settings take turns, several rounds. Wanted:
on a quiet machine at most 1.1 times the default's time, and beside a busy program at most twice the fair share's, which
is the default's quiet time, times (cores + busy programs) / cores. The Makefile sets what is best. Close all programs.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median

from tqdm import tqdm

SETTINGS = ["", "OMP_WAIT_POLICY=PASSIVE", "GOMP_SPINCOUNT=100", "GOMP_SPINCOUNT=1000", "GOMP_SPINCOUNT=10000",
            "GOMP_SPINCOUNT=100000", "OMP_NUM_THREADS=1"]  # fmt: skip


def vit_step(steps: int, pictures: int) -> float:
    """The median time in ms of a training step of ViT-Mini/4 in this process."""
    import torch
    from torch.nn.functional import cross_entropy

    from vit_from_scratch.config import CONFIGS
    from vit_from_scratch.model import ViTModel

    torch.manual_seed(0)
    model = ViTModel(CONFIGS["ViT-Mini/4"])
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.rand(pictures, 3, *model.config.image_size)
    labels = torch.randint(model.config.num_classes, (pictures,))

    times = []
    for _ in range(steps + 2):  # the first two warm up
        start = time.perf_counter()
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - start))
    return median(times[2:])


def captioner_step(steps: int, pictures: int) -> float:
    """The mean time in ms of a step of lesson 10's training, which also paints its scenes, after as many to warm up."""
    from vit_from_scratch.captioner import CAPTIONER_RECIPE, fit_captioner, new_captioner

    recipe = CAPTIONER_RECIPE.replace(epochs=2)
    history = fit_captioner(new_captioner(), recipe, batch_size=pictures, steps=steps, progress=False)
    return 1000 / history.epochs[-1]["batches_per_second"]


MODELS = {"vit": vit_step, "captioner": captioner_step}


def measure_apart(setting: str, busy: int, asked: argparse.Namespace) -> float:
    """The same in a process with `setting` in its environment, beside so many programs that do nothing but count."""
    names = {name.partition("=")[0] for name in SETTINGS}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= dict([setting.split("=")]) if setting else {}
    command = [sys.executable, __file__, "--measure", "--model", asked.model, "--steps", str(asked.steps),
               "--pictures", str(asked.pictures)]
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.split()[-1])
    finally:
        for other in others:
            other.kill()
            other.wait()


def print_table(times: dict[tuple[str, int], list[float]], asked: argparse.Namespace) -> None:
    """A line for each setting: the medians over the rounds, and their ratios to what is wanted."""
    found, cores = {key: median(values) for key, values in times.items()}, os.cpu_count() or 1
    quiet = found["", 0]
    fair = quiet * (cores + asked.busy) / cores
    print(f"\n{asked.model}, {cores} cores, {asked.pictures} pictures a step, {asked.rounds} rounds, "
          f"fair share {fair:.0f} ms")
    print(f"{'setting':26s} {'quiet':>9s} {'/ default':>10s} {f'{asked.busy} busy':>9s} {'/ fair':>7s}")
    for setting in asked.settings:
        alone, beside = found[setting, 0], found[setting, asked.busy]
        print(f"{setting or 'default':26s} {alone:6.0f} ms {alone / quiet:10.2f} {beside:6.0f} ms {beside / fair:7.2f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="vit",
                        help="lesson 06's model, or lesson 10's training, which needs the checkpoints of 06 and 09")
    parser.add_argument("--settings", nargs="+", default=SETTINGS[1:], metavar="NAME=VALUE",
                        help=f"beside the default (default: {' '.join(SETTINGS[1:])})")
    parser.add_argument("--busy", type=int, default=1, help="busy programs beside it (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each setting has its turn (default: 5)")
    parser.add_argument("--steps", type=int, default=20, help="training steps a turn (default: 20)")
    parser.add_argument("--pictures", type=int, default=64, help="pictures a step (default: 64)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # what each process is started with
    asked = parser.parse_args()
    if min(asked.busy, asked.rounds, asked.steps, asked.pictures) < 1 or any("=" not in s for s in asked.settings):
        parser.error("--busy, --rounds, --steps and --pictures are at least 1, and a setting reads NAME=VALUE")
    if asked.measure:
        print(MODELS[asked.model](asked.steps, asked.pictures))
        return
    asked.settings, times = ["", *asked.settings], defaultdict(list)
    turns = [(busy, setting) for _ in range(asked.rounds) for busy in (0, asked.busy) for setting in asked.settings]
    for busy, setting in tqdm(turns, unit=" turns"):
        times[setting, busy].append(measure_apart(setting, busy, asked))
        tqdm.write(f"{setting or 'default'}, {busy} busy: {times[setting, busy][-1]:.1f} ms")
    print_table(times, asked)


if __name__ == "__main__":
    main()
