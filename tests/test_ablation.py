"""The ablation: its variants can be trained, its log goes on where it was, and lesson 06 quotes it."""

import csv
import json
import statistics
import sys

import pytest
import torch
from bench import ablation
from conftest import ROOT

from vit_from_scratch.emoji_vit import EMOJI_RECIPE

COLUMNS = ["variant", "seed", "minutes", *ablation.SPLITS]


def command(monkeypatch, *words) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation.py", *map(str, words)])
    ablation.main()


def test_the_cnn_is_that_of_the_lesson():
    torch.manual_seed(0)
    cnn = ablation.lesson_cnn(8)
    assert cnn(torch.zeros(2, 3, 32, 32)).shape == (2, 8)
    assert sum(isinstance(module, torch.nn.Conv2d) for module in cnn.modules()) == 6


def test_every_variant_makes_a_recipe():
    for changes in ablation.VARIANTS.values():
        fields = {name: value for name, value in changes.items() if name in EMOJI_RECIPE.to_dict()}
        assert EMOJI_RECIPE.replace(**fields) and set(changes) - set(fields) <= {"augment", "mix", "cnn", "share"}


def test_runs_that_are_done_are_not_run_again(tmp_path, monkeypatch, capsys):
    asked = []

    def run(variant: str, seed: int, epochs: int) -> dict:
        asked.append((variant, seed))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return dict(zip(COLUMNS, (variant, seed, 0.1, 80.0 + seed, 70.0, 60.0), strict=True))

    monkeypatch.setattr(ablation, "run", run)
    words = ["--csv", tmp_path / "log.csv", "--seeds", 0, 1, "--variants", "the recipe", "AdamW"]
    with pytest.raises(KeyboardInterrupt):
        command(monkeypatch, *words)
    command(monkeypatch, *words)
    assert asked == [("the recipe", 0), ("AdamW", 0), ("the recipe", 1), ("the recipe", 1), ("AdamW", 1)]
    assert "2 runs    80.5%    70.0%    60.0%" in capsys.readouterr().out
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize("words", [["--seeds", "-1"], ["--epochs", "2"], ["--csv", "."], ["--variants", "none"]])
def test_bad_options_are_refused(monkeypatch, capsys, words):
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, *words)
    assert end.value.code == 2 and capsys.readouterr().err


def test_the_tables_of_lesson_06_are_those_of_the_log():
    """Means and standard deviations over the seeds."""
    with open(ablation.CSV, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = json.loads((ROOT / "notebooks" / "06_training.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert {row["variant"] for row in rows} == set(ablation.VARIANTS)
    for variant in ablation.VARIANTS:
        found = [row for row in rows if row["variant"] == variant]
        assert sorted(row["seed"] for row in found) == ["0", "1", "2"]
        values = [[float(row[split]) for row in found] for split in ablation.SPLITS]
        line = [variant, *(f"{statistics.mean(value):.1f} ({statistics.stdev(value):.1f})" for value in values)]
        assert f"| {' | '.join(line)} |" in text
