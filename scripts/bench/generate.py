"""Time `generate` per token as the text grows, with the KV cache and without, in turn in one process.

The model is random: what it says does not matter here.
"""

import argparse
import itertools
import time
from statistics import median

import torch

from vit_from_scratch.evaluation import best_device
from vit_from_scratch.generation import generate
from vit_from_scratch.gpt import GPTConfig, GPTModel

LENGTHS = (16, 32, 64, 128, 256)
WINDOW = 8  # tokens on either side of a length whose times count
CONFIG = GPTConfig(vocab_size=1000, context_length=512, emb_dim=256, num_layers=4, num_heads=4)


def times_per_token(model: GPTModel, count: int, use_cache: bool) -> list[float]:
    """Milliseconds that each of `count` tokens took, from a prompt of one token."""
    clock = []

    def note(*_) -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        clock.append(1000 * time.perf_counter())

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
    rounds = {True: [], False: []}
    for use_cache in rounds:
        times_per_token(model, 20, use_cache)  # warm up
    for _ in range(arguments.rounds):
        for use_cache, found in rounds.items():
            found.append(times_per_token(model, LENGTHS[-1] + WINDOW, use_cache))
    print(f"median of {arguments.rounds} rounds, ms per token\ntokens so far      cached    uncached")
    table = []
    for length in LENGTHS:
        window = slice(length - WINDOW, length + WINDOW)
        table.append([median(median(times[window]) for times in found) for found in rounds.values()])
        print(f"{length:13d}" + "".join(f"{milliseconds:12.2f}" for milliseconds in table[-1]))
    ratios = "".join(f"{last / first:11.2f}x" for first, last in zip(table[0], table[-1], strict=True))
    print(f"{LENGTHS[-1]} : {LENGTHS[0]}".rjust(13) + ratios)


if __name__ == "__main__":
    main()
