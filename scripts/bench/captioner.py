"""Train lesson 10's captioner: over several seeds, or its four bridges for equal time; print time and scores.

Scores are in per cent: things named, counts, relations and exact captions, on 512 scenes of new combinations by the
artists that it learned from, and on 512 by the unseen artist. Time is that of training alone.
"""

import argparse
import csv
import random
from pathlib import Path

import torch

from vit_from_scratch.captioner import CAPTIONER_RECIPE, fit_captioner, new_captioner
from vit_from_scratch.captions import SEEN_ARTISTS, UNSEEN_ARTIST, ScenePainter, score_captions
from vit_from_scratch.evaluation import best_device
from vit_from_scratch.scenes import draw_scene
from vit_from_scratch.training import History
from vit_from_scratch.vlm import FUSIONS, VisionLanguageModel, caption

METRICS = ("things", "counts", "relations", "exact")
COLUMNS = ["model", "steps", "minutes", "loss",
           *(f"{test}_{metric}" for test in ("new_combinations", "unseen_artist") for metric in METRICS)]


def make_tests() -> list[tuple]:
    """Scenes and pictures: by seen artists, and by the unseen one; as in the lesson."""
    rng = random.Random("tests")
    tests = []
    for artists in (SEEN_ARTISTS, [UNSEEN_ARTIST]):
        scenes = [draw_scene(rng, held_out=True) for _ in range(512)]
        tests.append((scenes, ScenePainter(artists).paint(scenes, rng)))
    return tests


def report(name: str, model: VisionLanguageModel, tests: list[tuple], history: History) -> list:
    """Print a row of the table, and give it."""
    steps, losses = len(history.losses), history.losses[-100:]
    minutes = sum(steps / len(history.epochs) / speed / 60 for speed in history.column("batches_per_second"))
    scores = [score_captions(caption(model, images), scenes) for scenes, images in tests]
    values = [100 * score[metric] for score in scores for metric in METRICS]
    row = [name, steps, round(minutes, 2), round(sum(losses) / len(losses), 3), *(round(value, 1) for value in values)]
    print(f"{name:30s}{steps:6d}{minutes:9.2f}{row[3]:7.2f}" + "".join(f"{value:11.1f}" for value in values),
          flush=True)
    return row


def bridge(fusion: str, frozen: bool) -> VisionLanguageModel:
    """An untrained captioner whose encoder learns along, or does not."""
    model = new_captioner(fusion=fusion)
    model.vit.requires_grad_(not frozen)
    return model


def compare_bridges(minutes: float, tests: list[tuple]) -> list[list]:
    """Each of the four for so many minutes; rows of the table."""
    rows, once = [], CAPTIONER_RECIPE.replace(epochs=1, warmup_epochs=0.02)
    for fusion in FUSIONS:
        for frozen in (False, True):
            few = fit_captioner(bridge(fusion, frozen), once, steps=40, progress=False)
            model = bridge(fusion, frozen)
            history = fit_captioner(model, once, steps=int(60 * minutes * few.epochs[0]["batches_per_second"]))
            rows.append(report(f"{fusion}, {'frozen' if frozen else 'trained'}", model, tests, history))
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default: 3)")
    parser.add_argument("--steps", type=int, default=100, help="in each of the recipe's epochs (default: the lesson's)")
    parser.add_argument("--bridges", type=float, metavar="MINUTES",
                        help="instead: both fusions, encoder frozen or trained, so many minutes each, one seed")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table as CSV, too")
    arguments = parser.parse_args()
    if arguments.seeds < 1 or arguments.steps < 1 or (arguments.bridges or 1) <= 0:
        parser.error("--seeds, --steps and --bridges must be above 0")
    tests = make_tests()
    print(f"on {best_device()} with {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':52s}{'new combinations':^44s}{'unseen artist':^44s}")
    print(f"{'':30s}{'steps':>6s}{'minutes':>9s}{'loss':>7s}" + "".join(f"{metric:>11s}" for metric in METRICS * 2))
    rows = compare_bridges(arguments.bridges, tests) if arguments.bridges else []
    for seed in range(0 if arguments.bridges else arguments.seeds):
        model = new_captioner(seed)
        history = fit_captioner(model, CAPTIONER_RECIPE.replace(seed=seed), steps=arguments.steps, progress=False)
        rows.append(report(f"seed {seed}", model, tests, history))
    if not arguments.bridges:
        means = [sum(column) / len(rows) for column in list(zip(*rows, strict=True))[4:]]
        print(f"{'mean':52s}" + "".join(f"{value:11.1f}" for value in means))
    if arguments.output:
        with open(arguments.output, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
