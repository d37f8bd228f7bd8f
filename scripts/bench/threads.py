"""How long a training step takes when OpenMP's idle threads wait in one way or another, quiet and on a busy machine.

Each setting gets a process of its own, for torch reads it only once; the settings take turns, several rounds. Wanted:
on a quiet machine at most 1.1 times the default's time, and beside a busy program at most twice the fair share's, which
is the default's quiet time, times (cores + busy programs) / cores. The Makefile sets what is best. Close all programs.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ["", "OMP_WAIT_POLICY=PASSIVE", "GOMP_SPINCOUNT=100", "GOMP_SPINCOUNT=1000", "GOMP_SPINCOUNT=10000",
            "GOMP_SPINCOUNT=100000", "OMP_NUM_THREADS=1"]  # fmt: skip


def measure(steps: int, pictures: int) -> float:
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


def measure_apart(setting: str, busy: int, asked: argparse.Namespace) -> float:
    """The same in a process with `setting` in its environment, beside so many programs that do nothing but count."""
    names = {name.partition("=")[0] for name in SETTINGS}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= dict([setting.split("=")]) if setting else {}
    command = [sys.executable, __file__, "--measure", "--steps", str(asked.steps), "--pictures", str(asked.pictures)]
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    finally:
        for other in others:
            other.kill()
            other.wait()


def print_table(lines: list[dict], asked: argparse.Namespace) -> None:
    """A line for each setting: the medians over the rounds, and their ratios to what is wanted."""
    def milliseconds(setting: str, busy: int) -> float:
        return median(line["ms"] for line in lines if (line["setting"], line["busy"]) == (setting, busy))

    quiet, cores = milliseconds("", 0), os.cpu_count() or 1
    fair = quiet * (cores + asked.busy) / cores
    print(f"\n{cores} cores, {asked.pictures} pictures a step, {asked.rounds} rounds, fair share {fair:.0f} ms")
    print(f"{'setting':26s} {'quiet':>9s} {'/ default':>10s} {f'{asked.busy} busy':>9s} {'/ fair':>7s}")
    for setting in asked.settings:
        alone, beside = milliseconds(setting, 0), milliseconds(setting, asked.busy)
        print(f"{setting or 'default':26s} {alone:6.0f} ms {alone / quiet:10.2f} {beside:6.0f} ms {beside / fair:7.2f}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=SETTINGS[1:], metavar="NAME=VALUE",
                        help=f"beside the default (default: {' '.join(SETTINGS[1:])})")
    parser.add_argument("--busy", type=int, default=1, help="busy programs beside it (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each setting has its turn (default: 5)")
    parser.add_argument("--steps", type=int, default=20, help="training steps a turn (default: 20)")
    parser.add_argument("--pictures", type=int, default=64, help="pictures a step (default: 64)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "threads.csv",
                        help="every turn, a line each (default: build/bench/threads.csv)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # what each process is started with
    asked = parser.parse_args()
    if asked.measure:
        print(measure(asked.steps, asked.pictures))
        return 0
    if min(asked.busy, asked.rounds, asked.steps, asked.pictures) < 1 or any("=" not in s for s in asked.settings):
        parser.error("--busy, --rounds, --steps and --pictures are at least 1, and a setting reads NAME=VALUE")
    asked.settings = ["", *asked.settings]
    turns = [(number, busy, setting) for number in range(asked.rounds) for busy in (0, asked.busy)
             for setting in asked.settings]  # fmt: skip
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    with open(asked.output, "w", newline="", encoding="utf-8") as file:
        table, lines = csv.DictWriter(file, ["round", "busy", "setting", "ms"]), []
        table.writeheader()
        for number, busy, setting in tqdm(turns, unit=" turns"):
            milliseconds = measure_apart(setting, busy, asked)
            lines.append({"round": number, "busy": busy, "setting": setting, "ms": milliseconds})
            table.writerow(lines[-1])
            file.flush()
    print_table(lines, asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
