"""Time `generate` per token as the text grows, with the KV cache and without, in turn in one process.

The model is random: what it says does not matter here.
"""

import argparse
import itertools
import statistics
import time

import torch

from vit_from_scratch.evaluation import best_device
from vit_from_scratch.generation import generate
from vit_from_scratch.gpt import GPTConfig, GPTModel

LENGTHS = (16, 32, 64, 128, 256)
WINDOW = 8  # tokens on either side of a length whose times count
CONFIG = GPTConfig(vocab_size=1000, context_length=512, emb_dim=256, num_layers=4, num_heads=4)


def times_per_token(model: GPTModel, count: int, use_cache: bool) -> list[float]:
    """Seconds that each of `count` tokens took, from a prompt of one token."""
    clock = []

    def note(*_) -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        clock.append(time.perf_counter())

    hook = model.register_forward_hook(note)
    generate(model, torch.zeros(1, 1, dtype=torch.int64), count + 1, use_cache=use_cache)
    hook.remove()
    return [after - before for before, after in itertools.pairwise(clock)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how many, of which the median counts (default: 7)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}; it must be at least 1")
    torch.manual_seed(0)
    model = GPTModel(CONFIG).to(best_device())
    where = f"{best_device()} with {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"GPT of {CONFIG.emb_dim} x {CONFIG.num_layers} layers, context {CONFIG.context_length}, on {where}")
    rounds = {"cached": [], "uncached": []}
    for use_cache in (True, False):
        times_per_token(model, 20, use_cache)  # warm up
    for _ in range(arguments.rounds):
        for name, found in rounds.items():
            found.append(times_per_token(model, LENGTHS[-1] + WINDOW, name == "cached"))
    print(f"median of {arguments.rounds} rounds, ms per token")
    print(f"{'tokens so far':>13s}" + "".join(f"{name:>12s}" for name in rounds))
    table = {}
    for length in LENGTHS:
        window = slice(length - WINDOW, length + WINDOW)
        table[length] = {
            name: 1000 * statistics.median(statistics.median(times[window]) for times in found)
            for name, found in rounds.items()
        }
        print(f"{length:13d}" + "".join(f"{value:12.2f}" for value in table[length].values()), flush=True)
    ratio = {name: table[LENGTHS[-1]][name] / table[LENGTHS[0]][name] for name in rounds}
    print(f"{'256 : 16':>13s}" + "".join(f"{value:11.2f}x" for value in ratio.values()))


if __name__ == "__main__":
    main()
