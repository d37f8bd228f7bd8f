"""Train lesson 10's captioner: over several seeds, or its four bridges for equal time; print time and scores.

Scores are in per cent: things named, counts, relations and exact captions, on 512 scenes of new combinations by the
artists that it learned from, and on 512 by the unseen artist. With --every they are taken on the way, too: accuracy
against minutes (a schedule still under way scores less than one that has ended at that time).
"""

import argparse
import random
import time

import torch

from vit_from_scratch.captions import SEEN_ARTISTS, UNSEEN_ARTIST, ScenePainter, score_captions
from vit_from_scratch.scenes import draw_scene
from vit_from_scratch.training import best_device
from vit_from_scratch.vlm import STEPS, VisionLanguageModel, caption, fit_captioner, new_captioner

METRICS = ("things", "counts", "relations", "exact")


def make_tests() -> list[tuple]:
    """Scenes and pictures: by seen artists, and by the unseen one; as in the lesson."""
    rng = random.Random("tests")
    tests = []
    for artists in (SEEN_ARTISTS, [UNSEEN_ARTIST]):
        scenes = [draw_scene(rng, held_out=True) for _ in range(512)]
        tests.append((scenes, ScenePainter(artists).paint(scenes, rng)))
    return tests


def report(name: str, model: VisionLanguageModel, tests: list[tuple], steps: int, minutes: float) -> list[float]:
    """Print a row of the table; its scores."""
    scores = [score_captions(caption(model, images), scenes) for scenes, images in tests]
    values = [100 * score[metric] for score in scores for metric in METRICS]
    print(f"{name:22s}{steps:6d}{minutes:9.2f}" + "".join(f"{value:11.1f}" for value in values), flush=True)
    return values


def run(name: str, model: VisionLanguageModel, tests: list[tuple], steps: int, seed: int, every: int) -> list[float]:
    """Train, with scores on the way; the last scores. Time spent on scores doesn't count."""
    start = time.perf_counter()
    paused = 0.0

    def look(module, arguments) -> None:
        nonlocal paused, seen
        if module.training and every and seen and seen % every == 0:
            pause = time.perf_counter()
            report(name, model, tests, seen, (pause - start - paused) / 60)
            paused += time.perf_counter() - pause
        seen += module.training

    seen = 0
    handle = model.register_forward_pre_hook(look)
    fit_captioner(model, steps, seed=seed, progress=False)
    handle.remove()
    return report(name, model, tests, steps, (time.perf_counter() - start - paused) / 60)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default: 3)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the lesson's recipe (default: the lesson's)")
    parser.add_argument("--every", type=int, default=0, metavar="N", help="scores after every N steps, too")
    parser.add_argument("--bridges", type=float, metavar="MINUTES",
                        help="instead: both fusions, encoder frozen or not, so many minutes each, one seed")
    arguments = parser.parse_args()
    if arguments.seeds < 1 or arguments.steps < 1 or arguments.every < 0 or (arguments.bridges or 1) <= 0:
        parser.error("--seeds, --steps and --bridges must be above 0, --every at least 0")
    tests = make_tests()
    print(f"on {best_device()} with {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':37s}{'new combinations':^44s}{'unseen artist':^44s}")
    print(f"{'':22s}{'steps':>6s}{'minutes':>9s}" + "".join(f"{metric:>11s}" for metric in METRICS * 2))
    if arguments.bridges:
        for fusion in ("prefix", "cross_attention"):
            for frozen in (False, True):
                costs = []
                for few in (5, 35, None):  # the first two say what thirty steps cost here
                    model = new_captioner(fusion=fusion)
                    model.vit.requires_grad_(not frozen)
                    start = time.perf_counter()
                    if few:
                        fit_captioner(model, few, progress=False)
                        costs.append(time.perf_counter() - start)
                steps = int(60 * arguments.bridges * 30 / (costs[1] - costs[0]))
                run(f"{fusion}, {'frozen' if frozen else 'learns along'}", model, tests, steps, 0, arguments.every)
        return
    rows = [run(f"seed {seed}", new_captioner(seed), tests, arguments.steps, seed, arguments.every)
            for seed in range(arguments.seeds)]
    print(f"{'mean':37s}" + "".join(f"{sum(column) / len(rows):11.1f}" for column in zip(*rows, strict=True)))


if __name__ == "__main__":
    main()
