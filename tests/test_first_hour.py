"""The comparison of recipes side by side: real runs of seconds."""

import csv
import sys
import time

import pytest
from bench import first_hour

pytestmark = pytest.mark.slow


@pytest.fixture
def run(monkeypatch):
    """Runs the script's command line, gives the exit status, and looks ten times a second for a new checkpoint."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 10))

    def command(*words) -> int | None:
        monkeypatch.setattr(sys, "argv", ["first_hour.py", *map(str, words)])
        try:
            return first_hour.main()
        except SystemExit as end:
            return end.code

    return command


def test_two_recipes_side_by_side(run, tmp_path, capsys):
    """They come to their end long before the time is up, however busy the machine."""
    mine = tmp_path / "mine.toml"
    mine.write_text('data = "emoji"\nemb_dim = 12\nnum_layers = 1\nepochs = 2\nwarmup_epochs = 0.5\n')
    other = tmp_path / "other.toml"
    other.write_text(mine.read_text().replace("12", "24"))
    assert run("--recipes", mine, other, "--minutes", 40, "--every", 0.003, "--pictures", 50, "--augment", "none",
               "--output", tmp_path / "hour") is None  # fmt: skip
    with open(tmp_path / "hour" / "first_hour.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for path in (mine, other):
        found = [line for line in lines if line["recipe"] == str(path)]
        seen, minutes = ([float(line[name]) for line in found] for name in ("pictures_seen", "minutes"))
        assert len(found) >= 2 and seen == sorted(set(seen)) and minutes == sorted(minutes)
        assert all(0 <= float(line["val_accuracy"]) <= 1 for line in found)
    assert '"augment": "none"' in (tmp_path / "hour" / "mine" / "recipe.json").read_text()
    capsys.readouterr()
    assert run("--recipes", mine, "--output", tmp_path / "hour") == 2
    assert "is there already: move it away" in capsys.readouterr().err


def test_a_run_that_fails_says_why(run, tmp_path, capsys):
    assert run("--recipes", "emoji", "--minutes", 40, "--output", tmp_path / "hour", "--num-heads", 7) == 1
    said = capsys.readouterr().err
    assert "left no checkpoint" in said and "not divisible by num_heads 7" in said
