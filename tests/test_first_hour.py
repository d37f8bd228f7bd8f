"""The comparison of recipes side by side: real runs of seconds."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "first_hour.py"


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=300)


def test_two_recipes_side_by_side(tmp_path):
    """They come to their end long before the time is up, however busy the machine."""
    mine = tmp_path / "mine.toml"
    mine.write_text('data = "emoji"\nemb_dim = 12\nnum_layers = 1\nbatch_size = 32\nepochs = 5\n')
    other = tmp_path / "other.toml"
    other.write_text(mine.read_text().replace("12", "24"))
    done = run("--recipes", mine, other, "--minutes", 4, "--every", 0.03, "--pictures", 50, "--augment", "none",
               "--output", tmp_path / "hour")
    assert done.returncode == 0, done.stdout + done.stderr
    with open(tmp_path / "hour" / "first_hour.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for path in (mine, other):
        found = [line for line in lines if line["recipe"] == str(path)]
        seen, minutes = ([float(line[name]) for line in found] for name in ("pictures_seen", "minutes"))
        assert len(found) >= 2 and seen == sorted(set(seen)) and minutes == sorted(minutes)
        assert all(0 <= float(line["val_accuracy"]) <= 1 for line in found)
    assert '"augment": "none"' in (tmp_path / "hour" / "mine" / "recipe.json").read_text()
    again = run("--recipes", mine, "--output", tmp_path / "hour")
    assert again.returncode == 2 and "is there already: move it away" in again.stderr


def test_a_run_that_fails_says_why(tmp_path):
    done = run("--recipes", "emoji", "--minutes", 4, "--output", tmp_path / "hour", "--num-heads", 7)
    assert done.returncode == 1 and "left no checkpoint" in done.stderr
    assert "not divisible by num_heads 7" in done.stderr
