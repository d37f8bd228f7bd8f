"""The benchmark: equal contenders, a limit that counts right, and a run from end to end on a tiny shape."""

import json
import re
import subprocess
import sys

import pytest
import torch
from bench import models as bench
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

from vit_from_scratch.model import ViTModel

pytestmark = pytest.mark.slow
TINY = bench.SHAPES["tiny"]


def test_the_contenders_are_equal():
    counts = bench.count_parameters(["ours", *bench.PACKAGES], TINY.config)
    assert counts["ours"] == counts["timm"] == counts["torchvision"] == counts["huggingface"]
    assert 0 < abs(counts["vit-pytorch"] - counts["ours"]) < 0.01 * counts["ours"]


@pytest.mark.parametrize("contender", ["ours", *bench.PACKAGES])
def test_a_contender_answers_with_logits(contender):
    images, _ = bench.make_batch(TINY, "cpu")
    assert bench.forward(bench.build(contender, TINY.config, "cpu"), images, None)().shape == (4, 10)


def test_unequal_contenders_are_refused(monkeypatch):
    def deeper(contender, config):
        return ViTModel(config.replace(num_layers=config.num_layers + (contender == "timm")))

    monkeypatch.setattr(bench, "new_model", deeper)
    with pytest.raises(ValueError, match=r"timm has [\d,]+ parameters, ours [\d,]+; expected within 1%"):
        bench.count_parameters(["ours", "timm"], TINY.config)


def operations_by_hand(mode: str) -> int:
    """Of a ViT whose last block works for every token, as the peers' do; 2 for a multiplication with its addition."""
    c, b = TINY.config, TINY.batch
    n, d = c.num_patches + 1, c.emb_dim
    patches = b * c.num_patches * c.num_channels * c.patch_size[0] ** 2 * d
    others = b * c.num_layers * (12 * n * d * d + 2 * n * n * d) + b * d * c.num_classes
    return 2 * (patches + others if mode == "forward" else 2 * patches + 3 * others)  # the pictures need no gradient


@pytest.mark.parametrize("mode", bench.MODES)
@pytest.mark.parametrize("contender", ["timm", "torchvision", "huggingface"])
def test_operations_are_counted_right(contender, mode):
    assert bench.matrix_products(contender, TINY, mode, "cpu")[1] == operations_by_hand(mode)


@pytest.mark.parametrize("mode", bench.MODES)
def test_the_limit_computes_all_of_them(mode):
    limit, operations = bench.matrix_products("ours", TINY, mode, "cpu")
    assert 0 < operations <= operations_by_hand(mode)
    with FlopCounterMode(display=False) as counter:
        limit()
    assert counter.get_total_flops() == operations


def test_the_peak_is_what_is_alive_at_once():
    def call():
        held = torch.ones(500_000)  # 2 MB, until the end
        for _ in range(3):
            torch.ones(250_000)  # 1 MB, given back at once
        return held.sum()

    assert 3 <= bench.peak_megabytes(call, "cpu") < 3.001


QUICK = ["--shapes", "tiny", "--rounds", "1", "--no-compile", "--device", "cpu", "--contenders", "timm", "--json"]


def test_a_run_from_end_to_end(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "models.py"), *QUICK, str(tmp_path / "found.json")]
    command += ["--change", "image_size=32", "batch=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert "processor" in found["machine"] and found["rounds"] == 1
    for mode in bench.MODES:
        rows = found["shapes"]["tiny"][mode]
        assert rows.keys() == {"ours", "timm", bench.LIMIT}
        assert all(row["median"] > 0 and len(row["times"]) == 1 for row in rows.values())
        assert rows["ours"]["over_fastest"] == {"timm": rows["timm"]["ours_over_it"]}
        assert rows["timm"]["ours_over_it"] == pytest.approx(rows["ours"]["times"][0] / rows["timm"]["times"][0])
        assert rows["ours"]["peak_MB"] > 0.1 and bench.LIMIT in done.stdout
    assert found["shapes"]["tiny"]["config"]["image_size"] == [32, 32] and found["shapes"]["tiny"]["batch"] == 2



def test_a_peer_that_is_not_there_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "timm.models", None)
    bench.main([*QUICK, str(tmp_path / "found.json")])
    assert re.search(r"timm is left out: .*timm.*; pip install -r scripts/bench/requirements", capsys.readouterr().err)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["shapes"]["tiny"]["forward"].keys() == {"ours", bench.LIMIT}


@pytest.mark.parametrize("words, message", [
    (["--rounds", "0"], "at least 1"), (["--device", "abacus"], "invalid choice"),
    (["--shapes", "ViT-X"], "invalid choice"), (["--contenders", "nobody"], "invalid choice"),
    (["--change", "depth=12"], "depth"), (["--change", "batch=many"], "many"), (["--change", "batch=0"], "at least 1"),
])  # fmt: skip
def test_wrong_arguments_are_refused(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        bench.ask(words)
    assert end.value.code == 2 and message in capsys.readouterr().err
