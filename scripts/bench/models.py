"""Time our ViT against other people's at equal shapes, and against the time of its matrix products alone.

Forward passes and training steps, eager and compiled, each with its peak memory: float32, random, without dropout. All
contenders run in one process, in turn: every round runs each of them, in a new order. Each table is printed and written
once it is finished. For how times grow: --contenders ours --shapes 32x32/4 --no-compile --change image_size=64.

ms           median of all times; +-%: half of the middle half of them
ours : it    a time over another: median of the rounds' ratios; below 1 ours is the quicker; both run the same way
it : limit   the limit is our matrix products alone, by torch, one after the other
GFLOP        a model's own multiplications and additions
MB           the most that torch allocates beyond what there was before: activations and, for a step, gradients
step         zero_grad, forward, cross-entropy, backward, AdamW (which is never compiled)
compiled     by torch.compile; frozen: with the weights as constants, packed before
"""

import argparse
import json
import os
import platform
import random
import re
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import collect_env
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Measurement, Timer
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from tqdm import tqdm

from vit_from_scratch.config import CONFIGS, ViTConfig
from vit_from_scratch.evaluation import best_device
from vit_from_scratch.model import ViTModel

ROOT = Path(__file__).resolve().parents[2]


class Shape(NamedTuple):
    """What is measured: a model's config and how many pictures it gets at once."""

    config: ViTConfig
    batch: int

SMALL = ViTConfig(image_size=32, patch_size=4, emb_dim=192, num_layers=6, num_heads=3, num_classes=10)
TINY = ViTConfig(image_size=16, patch_size=4, emb_dim=64, num_layers=2, num_heads=2, num_classes=10)
SHAPES = {"32x32/4": Shape(SMALL, 64), "ViT-Ti/16": Shape(CONFIGS["ViT-Ti/16"], 8),
          "ViT-S/16": Shape(CONFIGS["ViT-S/16"], 8), "tiny": Shape(TINY, 4)}
PACKAGES = {"timm": "timm", "torchvision": "torchvision", "vit-pytorch": "vit-pytorch", "huggingface": "transformers"}
FROZEN = "compiled, frozen"
HOWS = {"eager": None, "compiled": {}, FROZEN: {"freezing": True}}  # options of torch.compile
LIMIT = "matrix products alone"


def new_model(contender: str, c: ViTConfig) -> nn.Module:
    """A model. The one of vit-pytorch has no bias in queries, keys and values, but two more norms."""
    if contender == "timm":
        from timm.models import VisionTransformer

        return VisionTransformer(img_size=c.image_size, patch_size=c.patch_size, embed_dim=c.emb_dim,
                                 depth=c.num_layers, num_heads=c.num_heads, num_classes=c.num_classes)
    if contender == "torchvision":
        from torchvision.models import VisionTransformer

        return VisionTransformer(c.image_size[0], c.patch_size[0], c.num_layers, c.num_heads, c.emb_dim, 4 * c.emb_dim,
                                 num_classes=c.num_classes)
    if contender == "vit-pytorch":
        from vit_pytorch import ViT

        return ViT(image_size=c.image_size, patch_size=c.patch_size, num_classes=c.num_classes, dim=c.emb_dim,
                   depth=c.num_layers, heads=c.num_heads, dim_head=c.emb_dim // c.num_heads, mlp_dim=4 * c.emb_dim)
    if contender == "huggingface":
        from transformers import ViTConfig, ViTForImageClassification

        return ViTForImageClassification(ViTConfig(
            image_size=c.image_size, patch_size=c.patch_size, hidden_size=c.emb_dim, num_hidden_layers=c.num_layers,
            num_attention_heads=c.num_heads, intermediate_size=4 * c.emb_dim, num_labels=c.num_classes))
    return ViTModel(c)


def build(contender: str, config: ViTConfig, device: str, how: str = "eager") -> nn.Module:
    """A model on its device, compiled in place if it shall be (torch does it at the first call)."""
    torch.manual_seed(0)
    model = new_model(contender, config).to(device)
    if HOWS[how] is not None:
        model.compile(dynamic=False, options=HOWS[how])
    return model


def count_parameters(contenders: list[str], config: ViTConfig) -> dict[str, int]:
    """How many numbers each learns; a ValueError where one has over 1% more or fewer than ours."""
    counts = {name: sum(p.numel() for p in new_model(name, config).parameters()) for name in contenders}
    for name, count in counts.items():
        if abs(count / counts["ours"] - 1) > 0.01:
            raise ValueError(f"{name} has {count:,} parameters, ours {counts['ours']:,}; expected within 1%")
    return counts


def make_batch(shape: Shape, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pictures and labels."""
    config = shape.config
    images = torch.randn(shape.batch, config.num_channels, *config.image_size, device=device)
    return images, torch.randint(config.num_classes, (shape.batch,), device=device)


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """A model's answer; Hugging Face's wraps it."""
    return getattr(answer := model(images), "logits", answer)


def forward(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable:
    """A call that is a forward pass, as for answers."""
    return torch.no_grad()(partial(logits, model.eval(), images))


def training_step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable:
    """A call that is a whole step of training. Not even a compiled model's AdamW is compiled."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, weight_decay=0.05)

    def call() -> None:
        optimizer.zero_grad()
        F.cross_entropy(logits(model, images), labels).backward()
        optimizer.step()

    return call


MODES = {"forward": forward, "step": training_step}


class MatrixProducts(TorchDispatchMode):
    """Notes every matrix product that torch does, so that a call can do them all again, and nothing else."""

    def __init__(self):
        super().__init__()
        self.in_turn, self.known = [], {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result, product = function(*args, **(kwargs or {})), function.overloadpacket
        if product in flop_registry:
            key = str((product, [(a.shape, a.stride()) if isinstance(a, torch.Tensor) else a for a in args]))
            out = {} if "convolution" in str(product) else {"out": result.detach()}  # as it has no quick one
            known = self.known.setdefault(key, partial(product, *args, **(kwargs or {}), **out))  # layers share theirs
            self.in_turn.append(known)
        return result

    @torch.no_grad()
    def __call__(self) -> None:
        for product in self.in_turn:
            product()


def matrix_products(contender: str, shape: Shape, mode: str, device: str) -> tuple[MatrixProducts, int]:
    """A model's matrix products, as a call, and how many multiplications and additions these are."""
    model, (images, labels) = build(contender, shape.config, device).train(), make_batch(shape, device)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), MatrixProducts() as products:
        answer = logits(model, images)  # in training mode: else torchvision's has a fused way that is not counted
        if mode == "step":
            F.cross_entropy(answer, labels).backward()
    return products, counter.get_total_flops()


def time_in_turn(title: str, calls: dict[str, Callable], rounds: int) -> dict[str, list[Measurement]]:
    """Each call's times, a measurement for every round; what can't be compiled is said and left out."""
    found, timers = {}, {}
    for name, call in tqdm(calls.items(), desc=f"{title}: warm-up", leave=False):
        try:
            call()
        except Exception as error:
            if "compiled" not in name:
                raise
            tqdm.write(f"{name} can't be compiled: {str(error).partition(chr(10))[0]}")
            continue
        found[name] = []
        timers[name] = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    for number in tqdm(range(rounds), desc=title, leave=False):
        for name in random.Random(number).sample(list(timers), len(timers)):
            found[name].append(timers[name].blocked_autorange(min_run_time=0.05))
    return found


def peak_megabytes(call: Callable, device: str) -> float | None:
    """The most that torch allocates in a call beyond those there before; None where its profiler doesn't tell."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler prints a line whenever it starts
    with torch.profiler.profile(profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event for event in events if event.device_type().name.lower() == device]
    changes.sort(key=lambda event: event.start_ns())
    return max(accumulate(change.nbytes() / 1e6 for change in changes), default=None)


def over(one: list[Measurement], other: list[Measurement]) -> float:
    """A time over another: the median of the rounds' ratios, as a machine is not equally quick in all."""
    return statistics.median(a.median / b.median for a, b in zip(one, other, strict=True))


def compare(title: str, shape: Shape, mode: str, contenders: list[str], asked: argparse.Namespace) -> dict[str, dict]:
    """A row of numbers for every contender in every way, and for the limit."""
    torch.compiler.reset()  # it compiles one function only so often
    jobs = {contender if how == "eager" else f"{contender}, {how}": (contender, how)
            for how in (HOWS if asked.compile else ["eager"]) for contender in contenders
            if how != FROZEN or (contender == "ours" and mode == "forward")}  # its weights are packed beforehand
    models = {row: build(contender, shape.config, asked.device, how) for row, (contender, how) in jobs.items()}
    calls = {row: MODES[mode](model, *make_batch(shape, asked.device)) for row, model in models.items()}
    counts = {name: matrix_products(name, shape, mode, asked.device)[1] for name in contenders}
    calls[LIMIT] = matrix_products("ours", shape, mode, asked.device)[0]
    times, rows = time_in_turn(f"{title}, {mode}", calls, asked.rounds), {}
    for row, found in times.items():
        whole = Measurement.merge(found)[0]
        rows[row] = {"times": [one.median for one in found], "median": whole.median, "iqr": whole.iqr,
                     "over_limit": over(found, times[LIMIT]), "operations": counts["ours"]}
        if row in jobs:
            contender, how = jobs[row]
            models[row].zero_grad()
            rows[row] |= {"contender": contender, "how": how, "peak_MB": peak_megabytes(calls[row], asked.device),
                          "operations": counts[contender]}
    for row, found in rows.items():
        contender = found.get("contender")
        if contender in PACKAGES and (ours := row.replace(contender, "ours", 1)) in rows:
            found["ours_over_it"] = over(times[ours], times[row])
        for how in HOWS if contender == "ours" else ():
            peers = [peer for peer in rows if rows[peer].get("contender") in PACKAGES and rows[peer]["how"] == how]
            for fastest in sorted(peers, key=lambda peer: rows[peer]["median"])[:1]:
                found.setdefault("over_fastest", {})[fastest] = over(times[row], times[fastest])
    return rows


def print_comparison(mode: str, rows: dict[str, dict]) -> None:
    """One mode at one shape; empty where there is no number."""
    titles = ("ms", "+-%", "ours : it", "it : limit", "GFLOP", "GFLOP/s", "MB")
    print(f"  {mode:24s}" + "".join(f"{title:>12s}" for title in titles))
    for name, row in rows.items():
        numbers = (1e3 * row["median"], 50 * row["iqr"] / row["median"], row.get("ours_over_it"), row["over_limit"],
                   row["operations"] / 1e9, row["operations"] / row["median"] / 1e9, row.get("peak_MB"))
        print(f"  {name:24s}" + "".join(" " * 12 if n is None else f"{n:12,.3f}" for n in numbers))
    for name, row in rows.items():
        for peer, ratio in row.get("over_fastest", {}).items():
            print(f"  {name}, over the fastest peer, {peer}: {ratio:.3f}")
    print(flush=True)


def ask(arguments: list[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, metavar="SHAPE", default=[*SHAPES][:3],
                        help=f"of {', '.join(SHAPES)} (default: all but tiny, which is to see that it runs)")
    parser.add_argument("--contenders", nargs="+", choices=["ours", *PACKAGES], metavar="NAME", default=[*PACKAGES],
                        help=f"of {', '.join(PACKAGES)} (default: all); ours always takes part")
    parser.add_argument("--rounds", type=int, default=9, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="also compiled")
    parser.add_argument("--change", nargs="+", metavar="NAME=NUMBER", default=[],
                        help="in every shape: its batch, or a field of its config, such as num_layers=12")
    parser.add_argument("--device", choices=["cpu", "cuda", "mps"], default=best_device().type, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", default=ROOT / "build" / "bench" / "models.json",
                        help="the results (default: build/bench/models.json)")
    asked = parser.parse_args(arguments)
    try:
        changes = {name: int(number) for name, _, number in (change.partition("=") for change in asked.change)}
        batch = changes.pop("batch", None)
        asked.shapes = {name: Shape(config.replace(**changes), usual if batch is None else batch)
                        for name, (config, usual) in SHAPES.items() if name in asked.shapes}
    except (TypeError, ValueError) as error:
        parser.error(f"--change {' '.join(asked.change)}: {error}")
    if asked.rounds < 1 or min(shape.batch for shape in asked.shapes.values()) < 1:
        parser.error("--rounds and a batch must be at least 1")
    return asked


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    asked = ask(arguments)
    names = []
    for name in ["ours", *(name for name in PACKAGES if name in asked.contenders)]:
        try:
            new_model(name, TINY)
            names.append(name)
        except ImportError as error:
            print(f"{name} is left out: {error}; pip install -r scripts/bench/requirements.txt", file=sys.stderr)
    about_cpu = collect_env.get_cpu_info(collect_env.run) or ""
    named = re.search(r"(?:Model name|Name): +(.+)", about_cpu)  # of Linux and Windows; a Mac gives the name alone
    machine = {
        "device": torch.cuda.get_device_name() if asked.device == "cuda" else asked.device,
        "processor": f"{named[1] if named else about_cpu}, {torch.backends.cpu.get_cpu_capability()}, "
                     f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", *filter(None, map(PACKAGES.get, names)))),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    results = {"machine": machine, "rounds": asked.rounds, "shapes": {}}
    print(*(f"{key}: {value}" for key, value in machine.items()), f"rounds: {asked.rounds}\n", sep="\n")
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    for name, shape in asked.shapes.items():
        print(f"{name}, batch {shape.batch}: {shape.config}\n")
        found = {"config": shape.config.to_dict(), "batch": shape.batch,
                 "parameters": count_parameters(names, shape.config)}
        results["shapes"][name] = found
        for mode in MODES:
            found[mode] = compare(name, shape, mode, names, asked)
            print_comparison(mode, found[mode])
            asked.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"{__doc__}\nwritten to {asked.json}")


if __name__ == "__main__":
    main()
