"""The benchmark: equal contenders, a limit that counts right, and a run from end to end on tiny shapes."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_from_scratch.model import ViTModel

sys.path.insert(0, str(ROOT / "scripts"))
import bench_models as bench

pytestmark = pytest.mark.slow
TINY = bench.QUICK_SHAPES["quick"]


def test_the_contenders_are_equal():
    counts = bench.check_equal(list(bench.CONTENDERS), TINY.config)
    assert counts["ours"] == counts["timm"] == counts["torchvision"] == counts["huggingface"]
    assert 0 < abs(counts["vit-pytorch"] - counts["ours"]) < 0.01 * counts["ours"]


def test_unequal_contenders_are_refused(monkeypatch):
    def deeper(config):
        return ViTModel(config.replace(num_layers=config.num_layers + 1))

    monkeypatch.setitem(bench.CONTENDERS, "timm", deeper)
    with pytest.raises(ValueError, match=r"timm has [\d,]+ parameters, ours [\d,]+; expected within 1%"):
        bench.check_equal(["ours", "timm"], TINY.config)


@pytest.mark.parametrize("mode", bench.MODES)
def test_the_products_are_those_of_the_model(mode):
    """As many operations as torch counts in our model, forward and backward."""
    model, (images, labels) = ViTModel(TINY.config), bench.make_batch(TINY, "cpu")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        bench.MODES[mode](model)(images, labels)
    assert counter.get_total_flops() == bench.count_operations(TINY, mode)


@pytest.mark.parametrize("contender", ["timm", "torchvision", "huggingface"])
def test_the_peers_compute_what_nobody_reads(contender):
    model, (images, _) = bench.build(contender, TINY.config, "cpu"), bench.make_batch(TINY, "cpu")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.train()(images)  # in eval mode torchvision's has a fast way that isn't counted
    assert counter.get_total_flops() == bench.count_operations(TINY, "forward", num_outputs=None)


@pytest.mark.parametrize("way", bench.limits("cpu").values())
def test_the_limit_computes_all_of_them(way):
    with FlopCounterMode(display=False) as counter:
        bench.all_products(TINY, "step", way, "cpu")()
    assert counter.get_total_flops() == bench.count_operations(TINY, "step")


def test_a_quick_run_from_end_to_end(tmp_path):
    words = ["--quick", "--no-compile", "--threads", "1", "--device", "cpu", "--json", str(tmp_path / "found.json")]
    command = [sys.executable, str(ROOT / "scripts" / "bench_models.py"), *words, "--contenders", "timm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["finished"] and found["quick"] and "processor" in found["machine"]
    for mode in bench.MODES:
        table = found["shapes"]["quick"][mode]
        assert {"ours", "timm", "products by torch.mm"} <= table["rows"].keys()
        assert all(row["median"] > 0 for row in table["rows"].values())
        assert table["ours_over_fastest_peer"]["eager"]["peer"] == "timm"
    assert found["growth"]["series"].keys() == {"image side", "depth", "batch"}
    assert "QUICK" in done.stdout and "growth of ours" in done.stdout and str(tmp_path) in done.stdout


@pytest.mark.parametrize("words, message", [
    (["--rounds", "6"], "at least 7"), (["--threads", "0"], "at least 1"), (["--device", "abacus"], "cpu, cuda or mps"),
    (["--shapes", "ViT-X"], "invalid choice"), (["--contenders", "nobody"], "invalid choice"),
    (["--quick", "--shapes", "ViT-Ti/16"], "leave out --shapes"),
])  # fmt: skip
def test_wrong_arguments_are_refused(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        bench.ask(words)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_a_missing_peer_is_named(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        bench.ask(["--contenders", "timm"])
    assert "timm not installed: pip install -r requirements-peers.txt" in capsys.readouterr().err
