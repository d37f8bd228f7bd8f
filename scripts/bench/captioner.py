"""Train lesson 10's captioner: over several seeds, or its four bridges for equal time; print time and scores.

Scores are in per cent: things named, counts, relations and exact captions, on 512 scenes of new combinations by the
artists that it learned from, and on 512 by the unseen artist. Time is that of training alone.
"""

import argparse
import random
from itertools import product

import torch

from vit_from_scratch.captioner import CAPTIONER_RECIPE, fit_captioner, new_captioner
from vit_from_scratch.captions import SEEN_ARTISTS, UNSEEN_ARTIST, ScenePainter, score_captions
from vit_from_scratch.evaluation import best_device
from vit_from_scratch.scenes import draw_scene
from vit_from_scratch.training import History
from vit_from_scratch.vlm import FUSIONS, VisionLanguageModel, caption

METRICS = ("things", "counts", "relations", "exact")


def report(name: str, model: VisionLanguageModel, tests: list[tuple], history: History) -> list[float]:
    """Print a row of the table; gives its scores."""
    losses = history.losses[-100:]
    found = [score_captions(caption(model, images), scenes) for scenes, images in tests]
    scores = [100 * score[metric] for score in found for metric in METRICS]
    print(f"{name:30s}{len(history.losses):6d}{history.epochs[-1]['minutes']:9.2f}{sum(losses) / len(losses):7.2f}"
          + "".join(f"{score:11.1f}" for score in scores), flush=True)
    return scores


def bridge(fusion: str, frozen: bool) -> VisionLanguageModel:
    """An untrained captioner whose encoder learns along, or does not."""
    model = new_captioner(fusion=fusion)
    model.vit.requires_grad_(not frozen)
    return model


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default: 3)")
    parser.add_argument("--steps", type=int, default=100, help="in each of the recipe's epochs (default: the lesson's)")
    parser.add_argument("--bridges", type=float, metavar="MINUTES",
                        help="instead: both fusions, encoder frozen or trained, so many minutes each, one seed")
    arguments = parser.parse_args()
    minutes = 1.0 if arguments.bridges is None else arguments.bridges
    if arguments.seeds < 1 or arguments.steps < 1 or not 0 < minutes < 1e6:
        parser.error("--seeds, --steps and --bridges must be above 0")
    rng, tests = random.Random("tests"), []  # the lesson's own
    for artists in (SEEN_ARTISTS, [UNSEEN_ARTIST]):
        scenes = [draw_scene(rng, held_out=True) for _ in range(512)]
        tests.append((scenes, ScenePainter(artists).paint(scenes, rng)))
    print(f"on {best_device()} with {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':52s}{'new combinations':^44s}{'unseen artist':^44s}")
    print(f"{'':30s}{'steps':>6s}{'minutes':>9s}{'loss':>7s}" + "".join(f"{metric:>11s}" for metric in METRICS * 2))
    if arguments.bridges:
        once = CAPTIONER_RECIPE.replace(epochs=1, warmup_epochs=0.02)
        for fusion, frozen in product(FUSIONS, (False, True)):
            few = fit_captioner(bridge(fusion, frozen), once, steps=40, progress=False)  # to see how quick it is
            model, steps = bridge(fusion, frozen), int(60 * arguments.bridges * few.epochs[0]["batches_per_second"])
            history = fit_captioner(model, once, steps=steps)
            report(f"{fusion}, {'frozen' if frozen else 'trained'}", model, tests, history)
        return
    scores = []
    for seed in range(arguments.seeds):
        model = new_captioner(seed)
        history = fit_captioner(model, CAPTIONER_RECIPE.replace(seed=seed), steps=arguments.steps, progress=False)
        scores.append(report(f"seed {seed}", model, tests, history))
    means = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
    print(f"{'mean':52s}" + "".join(f"{mean:11.1f}" for mean in means))


if __name__ == "__main__":
    main()
