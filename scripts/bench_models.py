"""Time our ViT against other people's at equal shapes, and against the time of its matrix products alone.

Forward passes and training steps, eager and compiled, each with its peak memory; then how ours grows with image size,
depth and batch. Everything is float32 and random. All contenders run in one process, in turn: every round runs each
of them once, in a new order, so a ratio is taken round by round and the median counts. The results are written to
build/bench_models.json as they come, and Ctrl-C still prints the table.
"""

import argparse
import gc
import importlib.util
import json
import math
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from vit_from_scratch.config import CONFIGS, ViTConfig
from vit_from_scratch.model import ViTModel

ROOT = Path(__file__).resolve().parents[1]
ADAMW = {"lr": 1e-4, "weight_decay": 0.05}
AT_LEAST = 0.05  # seconds that a timing lasts: quicker calls are repeated


# ---- the shapes ----


class Shape(NamedTuple):
    """What is measured: a model's config and how many pictures it gets at once."""

    config: ViTConfig
    batch: int

    def __str__(self) -> str:
        c = self.config
        side, patch = ("x".join(map(str, dict.fromkeys(pair))) for pair in (c.image_size, c.patch_size))
        return (f"side {side}, patch {patch}, width {c.emb_dim}, depth {c.num_layers}, {c.num_heads} heads, "
                f"{c.num_classes} classes, batch {self.batch}")


SMALL = ViTConfig(image_size=32, patch_size=4, emb_dim=192, num_layers=6, num_heads=3, num_classes=10)
TINY = ViTConfig(image_size=16, patch_size=4, emb_dim=64, num_layers=2, num_heads=2, num_classes=10)
SHAPES = {
    "32x32/4": Shape(SMALL, 64),
    "ViT-Ti/16": Shape(CONFIGS["ViT-Ti/16"], 8),
    "ViT-S/16": Shape(CONFIGS["ViT-S/16"], 8),
}
GROWTH = {  # what grows, and what it grows through
    "image side": {side: Shape(SMALL.replace(image_size=side), 4) for side in (32, 64, 96, 128)},
    "depth": {depth: Shape(SMALL.replace(num_layers=depth), 16) for depth in (3, 6, 12, 24)},
    "batch": {batch: Shape(SMALL, batch) for batch in (1, 4, 16, 64)},
}
QUICK_SHAPES = {"quick": Shape(TINY, 4)}
QUICK_GROWTH = {
    "image side": {side: Shape(TINY.replace(image_size=side), 4) for side in (16, 32)},
    "depth": {depth: Shape(TINY.replace(num_layers=depth), 4) for depth in (1, 2)},
    "batch": {batch: Shape(TINY, batch) for batch in (1, 4)},
}


def brief(problem: Exception | str) -> str:
    """The first line of an error, without folders."""
    text = problem if isinstance(problem, str) else str(problem).strip() or type(problem).__name__
    return re.sub(r"[^\s'\"]*[/\\](?=\S)", "", text.partition("\n")[0])[:150]


# ---- the contenders ----


def build_timm(c: ViTConfig) -> nn.Module:
    """timm's, without dropout as all of them."""
    from timm.models import VisionTransformer

    return VisionTransformer(img_size=c.image_size, patch_size=c.patch_size, embed_dim=c.emb_dim, depth=c.num_layers,
                             num_heads=c.num_heads, num_classes=c.num_classes)


def build_torchvision(c: ViTConfig) -> nn.Module:
    """torchvision's."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(c.image_size[0], c.patch_size[0], c.num_layers, c.num_heads, c.emb_dim, 4 * c.emb_dim,
                             num_classes=c.num_classes)


def build_vit_pytorch(c: ViTConfig) -> nn.Module:
    """lucidrains's: no bias on queries, keys and values, and two more norms around the patch embedding."""
    from vit_pytorch import ViT

    return ViT(image_size=c.image_size, patch_size=c.patch_size, num_classes=c.num_classes, dim=c.emb_dim,
               depth=c.num_layers, heads=c.num_heads, dim_head=c.emb_dim // c.num_heads, mlp_dim=4 * c.emb_dim)


class Logits(nn.Module):
    """One of Hugging Face's models, giving the logits alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> (b, num_classes)."""
        return self.model(images).logits


def build_huggingface(c: ViTConfig) -> nn.Module:
    """Hugging Face's."""
    import transformers

    config = transformers.ViTConfig(
        image_size=c.image_size, patch_size=c.patch_size, hidden_size=c.emb_dim, num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_heads, intermediate_size=4 * c.emb_dim, num_labels=c.num_classes,
    )
    return Logits(transformers.ViTForImageClassification(config))


CONTENDERS = {
    "ours": ViTModel,
    "timm": build_timm,
    "torchvision": build_torchvision,
    "vit-pytorch": build_vit_pytorch,
    "huggingface": build_huggingface,
}
PACKAGES = {"timm": "timm", "torchvision": "torchvision", "vit-pytorch": "vit-pytorch", "huggingface": "transformers"}
AS_IT_IS = {"layout_optimization": False}  # for all alike; with it, torch rearranges what goes into our `Linear`
HOWS = {"eager": None, "compiled": AS_IT_IS, "compiled, frozen": AS_IT_IS | {"freezing": True}}


def build(contender: str, config: ViTConfig, device: str, how: str = "eager") -> nn.Module:
    """A model on its device, compiled in place if it shall be (torch does it at the first call)."""
    torch.manual_seed(0)
    model = CONTENDERS[contender](config).to(device)
    if HOWS[how] is not None:
        model.compile(dynamic=False, options=HOWS[how])
    return model


def count_parameters(model: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def check_equal(contenders: list[str], config: ViTConfig) -> dict[str, int]:
    """Each contender's number of parameters.

    Raises:
        ValueError: one has over 1% more or fewer than ours, or gives something else than one logit per class.
    """
    counts = {}
    for contender in contenders:
        model = build(contender, config, "cpu").eval()
        counts[contender] = count_parameters(model)
        shape = tuple(model(torch.randn(2, config.num_channels, *config.image_size)).shape)
        if shape != (2, config.num_classes):
            raise ValueError(f"{contender} answers two pictures with {shape}; expected {(2, config.num_classes)}")
        if abs(counts[contender] / counts["ours"] - 1) > 0.01:
            raise ValueError(f"{contender} has {counts[contender]:,} parameters, ours {counts['ours']:,}; "
                             "expected within 1%")
    return counts


def synchronize(device: str) -> None:
    """Wait until all that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def forward(model: nn.Module) -> Callable:
    """A forward pass, as for answers."""
    model.eval()

    @torch.no_grad()
    def call(images: torch.Tensor, labels: torch.Tensor) -> None:
        model(images)

    return call


def training_step(model: nn.Module) -> Callable:
    """A whole step of training. Not even a compiled model's AdamW is compiled."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), **ADAMW)

    def call(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return call


MODES = {"forward": forward, "step": training_step}


def make_batch(shape: Shape, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pictures and labels."""
    config = shape.config
    images = torch.randn(shape.batch, config.num_channels, *config.image_size, device=device)
    return images, torch.randint(config.num_classes, (shape.batch,), device=device)


# ---- the limit: the matrix products alone ----


class Product(NamedTuple):
    """`batch` matrix products of (rows, inner) and (inner, columns).

    Where the right one is a layer's weights it is the same for all of the batch, and is stored as (columns, inner).
    """

    batch: int
    rows: int
    inner: int
    columns: int
    is_layer: bool
    transposed: bool = True  # the right one is stored as (columns, inner): weights and keys are, values aren't
    of_images: bool = False  # the left one is the images, and these need no gradient

    def operations(self, mode: str) -> int:
        """Multiplications and additions; a step has the products for both gradients, too."""
        products = 1 if mode == "forward" else 2 if self.of_images else 3
        return products * 2 * self.batch * self.rows * self.inner * self.columns


def matrix_products(shape: Shape, num_outputs: int | None = 1) -> list[Product]:
    """All those of a forward pass, in its order.

    Our last block works for CLS alone; with a `num_outputs` of None it works for every patch, as the peers' does.
    """
    c, b = shape.config, shape.batch
    d, hidden, (ph, pw) = c.emb_dim, int(c.emb_dim * c.mlp_ratio), c.patch_size
    n, heads, d_head = c.num_patches + 1, b * c.num_heads, c.emb_dim // c.num_heads
    layer = partial(Product, is_layer=True)

    def block(answers: int) -> list[Product]:
        """One that works out the answers for so many tokens, which look at all of them."""
        return [
            layer(b, n, d, 3 * d),  # queries, keys and values
            Product(heads, answers, d_head, n, is_layer=False),  # queries and keys
            Product(heads, answers, n, d_head, is_layer=False, transposed=False),  # weights and values
            layer(b, answers, d, d),
            layer(b, answers, d, hidden),
            layer(b, answers, hidden, d),
        ]

    return [layer(b, n - 1, c.num_channels * ph * pw, d, of_images=True), *block(n) * (c.num_layers - 1),
            *block(num_outputs or n), layer(1, b, d, c.num_classes)]


def count_operations(shape: Shape, mode: str, num_outputs: int | None = 1) -> int:
    """Multiplications and additions of all the products."""
    return sum(product.operations(mode) for product in matrix_products(shape, num_outputs))


def attention_share(shape: Shape) -> float:
    """What part of these is quadratic in the number of tokens: queries with keys, and weights with values."""
    quadratic = [product.operations("forward") for product in matrix_products(shape)
                 if not product.is_layer and product.rows > 1]
    return sum(quadratic) / count_operations(shape, "forward")


def by_torch(product: Product, device: str) -> tuple[Callable, list[Callable]]:
    """The product, and those that give its gradients, by `torch.mm` and `torch.bmm` into tensors that are there."""
    b, rows, inner, columns, is_layer, transposed, of_images = product
    multiply, lead, rows = (torch.mm, (), b * rows) if is_layer else (torch.bmm, (b,), rows)
    left, grad = (torch.randn(*lead, rows, k, device=device) for k in (inner, columns))
    stored = torch.randn(*lead, *((columns, inner) if transposed else (inner, columns)), device=device)
    right = stored.mT if transposed else stored
    for_stored = (grad.mT, left) if transposed else (left.mT, grad)
    backward = [partial(multiply, *for_stored, out=torch.empty_like(stored))]
    if not of_images:
        backward.append(partial(multiply, grad, right.mT, out=torch.empty_like(left)))
    return partial(multiply, left, right, out=torch.empty_like(grad)), backward


def by_onednn(product: Product, device: str) -> tuple[Callable, list[Callable]]:
    """The same by oneDNN, as our `Linear` has it on AMD: a layer is a convolution with a kernel of one pixel."""
    if not product.is_layer:
        return by_torch(product, device)
    b, rows, inner, columns, *_ = product
    left, grad = (torch.randn(b, rows, k).unsqueeze(2).permute(0, 3, 1, 2) for k in (inner, columns))
    weight = torch.randn(columns, inner)[:, :, None, None]
    options = [1, 1], [0, 0], [1, 1], False, [0, 0], 1  # stride, padding, dilation, no transposed one, groups
    wanted = [not product.of_images, True, False]  # gradients of left, weight and bias
    backward = partial(torch.ops.aten.convolution_backward, grad, left, weight, None, *options, wanted)
    return partial(F.conv2d, left, weight), [backward]


def limits(device: str) -> dict[str, Callable]:
    """The ways to compute the products here; the quicker is the limit."""
    onednn = device == "cpu" and torch.backends.mkldnn.is_available()
    return {"products by torch.mm": by_torch} | ({"products by oneDNN": by_onednn} if onednn else {})


def all_products(shape: Shape, mode: str, way: Callable, device: str) -> Callable:
    """A call that computes them all in the model's order: forward, and for a step backward after that."""
    products = matrix_products(shape)
    calls = {product: way(product, device) for product in set(products)}  # the layers share theirs
    in_turn = [calls[product][0] for product in products]
    if mode == "step":
        in_turn += [call for product in reversed(products) for call in calls[product][1]]

    def call() -> None:
        for multiply in in_turn:
            multiply()

    return call


# ---- peak memory, each in a process of its own ----


def resident(field: str) -> int:
    """Bytes of this process by Linux's count: VmRSS now, VmHWM at most; 0 where it isn't counted."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return 1024 * int(found[1]) if found else 0


def highest_resident() -> int:
    """The most bytes that this process ever had; 0 where nobody counts them."""
    if sys.platform == "linux":
        return resident("VmHWM")  # getrusage's would be the parent's, if that had more
    try:
        import resource  # Windows has none
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def watch_memory(device: str, how: str) -> tuple[int, Callable] | None:
    """Bytes that are taken now, and a function that says the most from now on; None where the system doesn't tell."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated
    if device != "cpu":
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux counts VmHWM anew
        return resident("VmRSS"), partial(resident, "VmHWM")
    except OSError:  # it can only tell by how much the highest rises; compiling took more than any call will
        return (highest_resident(), highest_resident) if how == "eager" else None


def measure_peak(contender: str, how: str, mode: str, shape: Shape, device: str) -> int | None:
    """Bytes that three calls need beyond what was there before; None where the system doesn't tell."""
    model = build(contender, shape.config, device, how)
    call, (images, labels) = MODES[mode](model), make_batch(shape, device)
    some = slice(1 if how == "eager" else None)  # another batch size would be compiled anew
    for _ in range(2):
        call(images[some], labels[some])
    model.zero_grad()
    gc.collect()
    synchronize(device)
    watched = watch_memory(device, how)
    if watched is None:
        return None
    before, highest = watched
    for _ in range(3):
        call(images, labels)
    synchronize(device)
    needed = max(0, highest() - before)
    return None if not needed and highest is highest_resident else needed


def peak_in_a_process(threads: int, device: str, contender: str, how: str, mode: str, shape: Shape) -> dict:
    """`measure_peak` in a process that has measured nothing else; what to add to a row."""
    job = {"config": shape.config.to_dict(), "batch": shape.batch, "threads": threads, "device": device,
           "contender": contender, "how": how, "mode": mode}
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc's: freed tensors are given back at once
    done = subprocess.run([sys.executable, __file__, "--peak", json.dumps(job)], env=environment, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        return {"peak_problem": brief(done.stderr.strip().rpartition("\n")[2]) or f"exit status {done.returncode}"}
    return {"peak_bytes": json.loads(done.stdout.splitlines()[-1])}


def peak_job(job: str) -> None:
    """The other side of `peak_in_a_process`: the last line printed is the answer."""
    job = json.loads(job)
    torch.set_num_threads(job["threads"])
    shape = Shape(ViTConfig(**job["config"]), job["batch"])
    print(json.dumps(measure_peak(job["contender"], job["how"], job["mode"], shape, job["device"])))


# ---- the sums ----


def new_row(contender: str | None, how: str | None, parameters: int | None) -> dict:
    """A row without times yet; contender and how are None for the limit."""
    return {"contender": contender, "how": how, "parameters": parameters, "times": []}


def per_round(row: dict, other: dict) -> float:
    """A row's time over another's: the median of the rounds' ratios, as a machine is not equally quick in all."""
    return statistics.median(a / b for a, b in zip(row["times"], other["times"], strict=False))  # Ctrl-C in a round


def summarise(table: dict) -> None:
    """Add medians and ratios to the rows, and how ours compares with the fastest peer."""
    timed = [row for row in table["rows"].values() if row["times"]]
    for row in timed:
        row["median"] = statistics.median(row["times"])
        low, _, high = statistics.quantiles(row["times"] * 2, n=4, method="inclusive")  # * 2: needs two at least
        row["spread"] = (high - low) / 2 / row["median"]
    timed.sort(key=lambda row: row["median"])
    limit = next((row for row in timed if row["contender"] is None), None)
    if limit is None:  # growth has none
        return
    for row in timed:
        is_peer = row["contender"] in PACKAGES
        row["operations_per_second"] = table["operations_of_peers" if is_peer else "operations"] / row["median"]
        row["over_limit"] = per_round(row, limit)
        row["ours_over_it"] = {}
    table["ours_over_fastest_peer"] = {}
    for ours in [row for row in table["rows"].values() if row["contender"] == "ours" and row["times"]]:
        how = ours["how"]
        alike = how.partition(",")[0]  # ours frozen is compared with the peers compiled
        peers = [row for row in timed if row["contender"] in PACKAGES and row["how"] == alike]
        for peer in peers:
            peer["ours_over_it"][how] = per_round(ours, peer)
        if peers:
            fastest = peers[0]
            table["ours_over_fastest_peer"][how] = {"peer": fastest["contender"], "ratio": fastest["ours_over_it"][how]}


def distinct(growth: dict[str, dict[int, Shape]]) -> dict[str, Shape]:
    """The shapes of all series, by name: one that is in several is measured once."""
    return {str(shape): shape for series in growth.values() for shape in series.values()}


def begin_series(growth: dict[str, dict[int, Shape]]) -> dict[str, list[dict]]:
    """The points of each series, with all that is known without measuring."""
    return {
        what: [{
            "value": value,
            "shape": str(shape),
            "batch": shape.batch,
            "tokens": shape.config.num_patches + 1,
            "attention_share": attention_share(shape),
            "measured": {"operations": count_operations(shape, "forward")},
        } for value, shape in series.items()]
        for what, series in growth.items()
    }


def finish_series(growth: dict) -> None:
    """Add to the points what was measured, and the exponents between each and the one before it."""
    for what, points in growth["series"].items():
        along = "tokens" if what == "image side" else "value"
        for before, point in zip([None, *points], points, strict=False):
            row = {mode: growth[mode]["rows"].get(point["shape"], {}) for mode in MODES if mode in growth}
            point["measured"] |= {mode: row[mode].get("median") for mode in row}
            point["measured"]["peak"] = row.get("step", {}).get("peak_bytes")
            point["exponents"] = {
                name: math.log(value / before["measured"][name]) / math.log(point[along] / before[along])
                for name, value in point["measured"].items() if before and value and before["measured"].get(name)
            }


# ---- the measuring ----


def rows_of(contenders: list[str], hows: list[str], mode: str) -> list[tuple[str, str]]:
    """Who runs, and how. Frozen: ours alone, and for answers alone, as its weights are packed beforehand."""
    return [(contender, how) for how in hows for contender in contenders
            if not how.endswith("frozen") or (contender == "ours" and mode == "forward")]


class Bench:
    """One run: what was asked for, what has been found, and a bar that says where it is.

    Args:
        asked: the command line's.
        hows: which of `HOWS`.
        results: filled as they come; what the file holds.
    """

    def __init__(self, asked: argparse.Namespace, hows: list[str], results: dict):
        self.asked, self.hows, self.results, self.device = asked, hows, results, asked.device
        timings = asked.rounds + 1  # one is the warm-up
        rows = [len(rows_of(asked.contenders, hows, mode)) for mode in MODES]
        total = len(asked.shapes) * sum(timings * (row + len(limits(self.device))) + row for row in rows)
        total += len(distinct(asked.growth)) * (2 * timings + 1)
        self.bar = tqdm(total=total, dynamic_ncols=True)

    def save(self) -> None:
        """Write all that has been found, in one go, so that half a file is never there."""
        path = self.asked.json
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, path)

    def seconds(self, call: Callable, repeats: int = 1) -> float:
        """How long a call takes."""
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        synchronize(self.device)
        return (time.perf_counter() - start) / repeats

    def warm_up(self, row: dict, call: Callable) -> int:
        """How often a call must be repeated to last `AT_LEAST`; 0 for one that can't be compiled."""
        graphs = torch._dynamo.utils.counters["stats"]
        before = graphs["unique_graphs"]
        try:
            call()
        except Exception as error:
            if row["how"] in (None, "eager"):
                raise
            row["problem"] = brief(error)
            return 0
        row["graphs"] = graphs["unique_graphs"] - before
        return math.ceil(AT_LEAST / self.seconds(call))

    def time(self, title: str, table: dict, calls: dict[str, Callable]) -> None:
        """Fill in the rows' times: warm up, then rounds in which each is called once, in an order that changes."""
        rows, repeats = table["rows"], {}
        for name, call in calls.items():
            self.bar.set_description(f"{title}: {name}, warm-up")
            repeats[name] = self.warm_up(rows[name], call)
            self.bar.update(1 if repeats[name] else 1 + self.asked.rounds)
        running = [name for name in calls if repeats[name]]
        for number in range(self.asked.rounds):
            for name in random.Random(number).sample(running, len(running)):
                self.bar.set_description(f"{title}: {name}")
                rows[name]["times"].append(self.seconds(calls[name], repeats[name]))
                self.bar.update()
            summarise(table)
            self.save()

    def peaks(self, title: str, table: dict, jobs: dict[str, tuple]) -> None:
        """Fill in the rows' peaks, two processes at a time: how long they take doesn't matter."""
        self.bar.set_description(f"{title}: peak memory")
        can_run = {name: job for name, job in jobs.items() if "problem" not in table["rows"][name]}
        self.bar.update(len(jobs) - len(can_run))
        measure = partial(peak_in_a_process, torch.get_num_threads(), self.device)
        with ThreadPoolExecutor(2) as pool:
            for name, peak in zip(can_run, pool.map(lambda job: measure(*job), can_run.values()), strict=True):
                table["rows"][name] |= peak
                self.bar.update()
                self.save()

    def compare(self, name: str, shape: Shape) -> None:
        """One shape: every contender in every way, and the limit."""
        counts = check_equal(self.asked.contenders, shape.config)
        images, labels = make_batch(shape, self.device)
        found = self.results["shapes"][name] = {"shape": str(shape), "attention_share": attention_share(shape)}
        for mode, make in MODES.items():
            torch._dynamo.reset()  # it compiles one function only so often
            table = found[mode] = {"operations": count_operations(shape, mode), "rows": {},
                                   "operations_of_peers": count_operations(shape, mode, num_outputs=None)}
            calls, jobs = {}, {}
            for contender, how in rows_of(self.asked.contenders, self.hows, mode):
                row = contender if how == "eager" else f"{contender}, {how}"
                table["rows"][row] = new_row(contender, how, counts[contender])
                calls[row] = partial(make(build(contender, shape.config, self.device, how)), images, labels)
                jobs[row] = (contender, how, mode, shape)
            for row, way in limits(self.device).items():
                table["rows"][row] = new_row(None, None, None)
                calls[row] = all_products(shape, mode, way, self.device)
            self.time(f"{name}, {mode}", table, calls)
            del calls
            self.peaks(f"{name}, {mode}", table, jobs)

    def grow(self) -> None:
        """Ours alone, eager, at growing shapes."""
        found = self.results["growth"] = {"series": begin_series(self.asked.growth)}
        shapes = distinct(self.asked.growth)
        for mode, make in MODES.items():
            table = found[mode] = {"rows": {name: new_row("ours", "eager", None) for name in shapes}}
            calls = {name: partial(make(build("ours", shape.config, self.device)), *make_batch(shape, self.device))
                     for name, shape in shapes.items()}
            self.time(f"growth, {mode}", table, calls)
            del calls
        self.peaks("growth, step", table, {name: ("ours", "eager", "step", shape) for name, shape in shapes.items()})


# ---- what is printed ----

NOTES = """\
ms: median of the rounds; +-%: half of the middle half of them. ours : it, it : limit: medians of the rounds' ratios;
below 1 the first is the quicker; ours runs the same way as it. limit: the quicker way to compute our matrix products
alone. GFLOP/s: the products' operations over the time; the peers do more of them, for outputs that nobody reads.
compiled: torch.compile with layout_optimization off, for all; frozen: with the weights as constants, packed before.
step: zero_grad, forward, cross-entropy, backward, AdamW (never compiled). Everything is float32, without dropout.
MB: peak memory of three calls in a process of their own, less what was taken just before: the libraries, the model,
for a step AdamW's moments, the pictures, and what a warm-up left (on one picture; compiled: on all, or it would compile
again). So it is activations and, for a step, gradients. On a CPU: resident size, malloc giving back all above 64 kB."""


def cell(value: float | None, form: str, scale: float = 1.0) -> str:
    """A number of the table; a dash where it is missing."""
    return "-" if value is None else format(scale * value, form)


def peak_cell(row: dict, scale: float = 1e-6) -> str:
    """The peak memory in MB, or why it is not there."""
    if row.get("peak_bytes", 0) is None:
        return "not measured"  # this system doesn't tell
    return cell(row.get("peak_bytes"), ".1f", scale)


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + row[0].ljust(widths[0])
            + "".join(f"  {value:>{width}s}" for value, width in zip(row[1:], widths[1:], strict=True)) for row in rows]


def comparison_lines(mode: str, table: dict) -> list[str]:
    """One mode at one shape."""
    title = f"{mode}, {table['operations'] / 1e9:.2f} GFLOP"
    rows = [[title, "parameters", "ms", "+-%", "ours : it", "it : limit", "GFLOP/s", "MB"]]
    notes = []
    for name, row in table["rows"].items():
        is_peer, is_limit = row["contender"] in PACKAGES, row["contender"] is None
        rows.append([
            name,
            "" if is_limit else cell(row["parameters"], ",d", 1),
            cell(row.get("median"), ".2f", 1e3),
            cell(row.get("spread"), ".1f", 100),
            cell(row.get("ours_over_it", {}).get(row["how"]), ".3f") if is_peer else "",
            cell(row.get("over_limit"), ".3f"),
            cell(row.get("operations_per_second"), ".0f", 1e-9),
            "" if is_limit else peak_cell(row),
        ])
        if "problem" in row:
            notes.append(f"  {name}: can't be compiled: {row['problem']}")
        if "peak_problem" in row:
            notes.append(f"  {name}: no peak memory: {row['peak_problem']}")
        if row.get("graphs", 0) > 1:
            notes.append(f"  {name}: compiled in {row['graphs']} pieces, with plain Python between them")
    for how, against in table.get("ours_over_fastest_peer", {}).items():
        notes.append(f"  ours, {how}, over the fastest peer, {against['peer']}: {against['ratio']:.3f}")
    return [*aligned(rows), *notes]


def growth_lines(growth: dict) -> list[str]:
    """A table for each series."""
    start = next(iter(growth["series"].values()))[0]["shape"].rpartition(", batch")[0]
    lines = [f"growth of ours, eager, from {start}",
             "^: exponent since the line before: 1 is as the tokens (image side), depth or batch; 2 as the square"]
    for what, points in growth["series"].items():
        rows = [[what, "batch", "tokens", "quadratic part", "GFLOP/picture", "^", "forward, ms/picture", "^",
                 "step, ms/picture", "^", "step, MB/picture", "^"]]
        for point in points:
            found, exponents, each = point["measured"], point.get("exponents", {}), 1 / point["batch"]
            rows.append([
                str(point["value"]), str(point["batch"]), str(point["tokens"]), f"{point['attention_share']:.0%}",
                cell(found["operations"], ".2f", each / 1e9), cell(exponents.get("operations"), ".2f"),
                cell(found.get("forward"), ".2f", 1e3 * each), cell(exponents.get("forward"), ".2f"),
                cell(found.get("step"), ".2f", 1e3 * each), cell(exponents.get("step"), ".2f"),
                cell(found.get("peak"), ".2f", 1e-6 * each), cell(exponents.get("peak"), ".2f"),
            ])
        lines += ["", *aligned(rows)]
    return lines


def report(results: dict) -> str:
    """All that was found, to be read."""
    machine = results["machine"]
    lines = ["", *(f"{name}: {value}" for name, value in machine.items())]
    if results["quick"]:
        lines += ["", "QUICK: tiny shapes and hardly a round, to see that it runs. The numbers mean nothing."]
    if not results["finished"]:
        lines += ["", "NOT FINISHED: what is missing was not measured."]
    if results["compile_problem"]:
        lines += ["", results["compile_problem"]]
    for name, found in results["shapes"].items():
        lines += ["", f"{name}: {found['shape']}",
                  f"{found['attention_share']:.0%} of its operations are quadratic in the number of tokens"]
        for mode in MODES:
            lines += ["", *comparison_lines(mode, found[mode])] if mode in found else ["", f"  {mode}: not measured"]
    if "growth" in results:
        lines += ["", *growth_lines(results["growth"])]
    return "\n".join([*lines, "", f"rounds: {results['rounds']}. {NOTES}"])


def processor() -> str:
    """Its name."""
    if sys.platform == "linux":
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if found:
            return found[1]
    if sys.platform == "darwin":
        return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    return platform.processor() or platform.machine()


def describe_machine(device: str, contenders: list[str]) -> dict:
    """What the times depend on."""
    built = torch.__config__.show()
    libraries = {"MKL": r"Math Kernel Library Version (\S+)", "oneDNN": r"MKL-DNN v(\S+)"}
    versions = {package: version(package) for package in ["torch", *(PACKAGES[name] for name in contenders[1:])]}
    versions |= {name: found[1] for name, pattern in libraries.items() if (found := re.search(pattern, built))}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "processor": f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, "
                     f"{torch.get_num_threads()} threads used",
        "memory": f"{memory / 2**30:.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


# ---- the command line ----


def why_not_compile(device: str) -> str | None:
    """Try it on one sine; what to say where that fails."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception as error:
        return ("torch.compile does not work here, so everything is eager; on a CPU it needs a C++ compiler. "
                f"It says: {brief(error)}")
    return None


def ask(arguments: list[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
    from vit_from_scratch.training import best_device  # here, as the processes that measure memory don't need it

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, metavar="SHAPE", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME",
                        help=f"of {', '.join(CONTENDERS)}; ours always takes part")
    parser.add_argument("--rounds", type=int, help="how many, of which the median counts; at least 7 (default: 9)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="also compiled")
    parser.add_argument("--growth", action=argparse.BooleanOptionalAction, default=True,
                        help="also how ours grows with image size, depth and batch")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own)")
    parser.add_argument("--device", default=best_device().type, help="cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes and one round: see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="the results (default: build/bench_models.json; with --quick bench_models_quick.json)")
    asked = parser.parse_args(arguments)
    if asked.quick and asked.shapes:
        parser.error("--quick has a shape of its own: leave out --shapes")
    if asked.rounds is not None and asked.rounds < (1 if asked.quick else 7):
        parser.error(f"--rounds is {asked.rounds}; it must be at least 7, or with --quick at least 1")
    if asked.threads is not None and asked.threads < 1:
        parser.error(f"--threads is {asked.threads}; it must be at least 1")
    if asked.device not in ("cpu", "cuda", "mps"):
        parser.error(f"--device is {asked.device}; it must be cpu, cuda or mps")
    try:
        torch.empty(0, device=asked.device)
    except (AssertionError, RuntimeError) as error:
        parser.error(f"--device {asked.device} can't be used here: {brief(error)}")
    asked.contenders = [name for name in CONTENDERS if name == "ours" or name in asked.contenders]
    missing = [PACKAGES[name] for name in asked.contenders[1:]
               if not importlib.util.find_spec(PACKAGES[name].replace("-", "_"))]
    if missing:
        parser.error(f"{', '.join(missing)} not installed: pip install -r requirements-peers.txt, "
                     "or leave them out with --contenders")
    asked.rounds = asked.rounds or (1 if asked.quick else 9)
    asked.shapes = QUICK_SHAPES if asked.quick else {name: SHAPES[name] for name in asked.shapes or SHAPES}
    asked.growth = (QUICK_GROWTH if asked.quick else GROWTH) if asked.growth else {}
    asked.json = asked.json or ROOT / "build" / f"bench_models{'_quick' if asked.quick else ''}.json"
    return asked


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0, or 130 where Ctrl-C ended it."""
    asked = ask(arguments)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    problem = why_not_compile(asked.device) if asked.compile else None
    if problem:
        print(problem, file=sys.stderr)
    results = {
        "quick": asked.quick, "finished": False, "machine": describe_machine(asked.device, asked.contenders),
        "rounds": asked.rounds, "compile_problem": problem, "shapes": {},
    }
    hows = list(HOWS) if asked.compile and not problem else ["eager"]
    bench = Bench(asked, hows, results)
    try:
        for name, shape in asked.shapes.items():
            bench.compare(name, shape)
        if asked.growth:
            bench.grow()
        results["finished"] = True
    except KeyboardInterrupt:
        pass
    finally:
        bench.bar.close()
        if "growth" in results:
            finish_series(results["growth"])
        bench.save()
        print(report(results))
        print(f"\nwritten to {asked.json.relative_to(ROOT) if asked.json.is_relative_to(ROOT) else asked.json}")
    return 0 if results["finished"] else 130


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:  # how this script calls itself
        peak_job(sys.argv[2])
    else:
        sys.exit(main())
