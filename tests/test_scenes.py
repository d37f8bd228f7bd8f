"""The language about pictures: its grammar, what is held out, and that every thing can be drawn."""

import itertools
import random
from collections import Counter

import pytest

from vit_from_scratch.scenes import COUNTS, RELATIONS, THINGS, Scene, draw_scene, is_held_out

PAIRS = list(itertools.permutations(THINGS, 2))


def every_scene() -> list[Scene]:
    """All that can be said."""
    alone = [Scene(thing, count) for thing in THINGS for count in (1, 2, 3)]
    return alone + [Scene(thing, count, relation, landmark)
                    for thing, landmark in PAIRS for count in (1, 2, 3) for relation in RELATIONS]  # fmt: skip


def test_all_eight_artists_have_drawn_every_thing(emoji):
    drawn = {(row["artist"], row["name"]) for row in emoji.rows}
    artists = {artist for artist, _ in drawn}
    assert len(artists) == 8
    assert {(artist, thing) for artist in artists for thing in THINGS} <= drawn


def test_there_is_enough_to_say():
    assert len(THINGS) == len(set(THINGS.values())) == 48
    assert (COUNTS, len(RELATIONS)) == (("a", "two", "three"), 4)


@pytest.mark.parametrize(
    ("fields", "caption"),
    [
        (("cat",), "a cat"),
        (("elephant",), "an elephant"),
        (("octopus", 2), "two octopuses"),
        (("fish", 3), "three fish"),
        (("strawberry", 2, "below", "airplane"), "two strawberries below an airplane"),
        (("light bulb", 1, "to the left of", "top hat"), "a light bulb to the left of a top hat"),
    ],
)
def test_captions_are_english(fields, caption):
    assert Scene(*fields).caption == caption


def test_parse_is_the_inverse_of_caption_and_captions_are_unambiguous():
    scenes = every_scene()
    captions = [scene.caption for scene in scenes]
    assert len(set(captions)) == len(captions) == 144 + 12 * len(PAIRS)
    assert [Scene.parse(caption) for caption in captions] == scenes


@pytest.mark.parametrize(
    "text",
    [
        "", "cat", "a cats", "two cat", "a elephant", "an cat", "four cats", "a unicorn", " a cat", "a cat ", "a cat\n",
        "A cat", "a cat.", "a cat above", "a cat above two houses", "a cat above a cat", "a cat on a house",
        "a cat above an house", "a cat above a house above a dog", "two red apple", "an two cats",
        "a cat  above a house",
    ],
)  # fmt: skip
def test_parse_takes_nothing_else(text):
    assert Scene.parse(text) is None


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        (("unicorn",), ("'unicorn'", "THINGS")),
        (("cats",), ("'cats'", "THINGS")),
        (("cat", 1, "above", "moon"), ("'moon'", "THINGS")),
        (("cat", 0), ("count", "0", "1 to 3")),
        (("cat", 4), ("count", "4", "1 to 3")),
        (("cat", 2.0), ("count", "2.0")),
        (("cat", True), ("count", "True")),
        (("cat", 1, "above"), ("relation", "'above'", "landmark", "None")),
        (("cat", 1, None, "dog"), ("relation", "None", "landmark", "'dog'")),
        (("cat", 1, "behind", "dog"), ("relation", "'behind'", "to the left of")),
        (("cat", 1, "above", "cat"), ("landmark", "'cat'", "different")),
    ],
)
def test_a_scene_that_is_none_is_refused(refuses, fields, parts):
    with refuses(ValueError, *parts):
        Scene(*fields)


def test_a_tenth_of_the_pairs_is_held_out_and_no_thing_is_new_in_its_role():
    hidden = [pair for pair in PAIRS if is_held_out(*pair)]
    assert 0.09 < len(hidden) / len(PAIRS) < 0.11
    for role in (0, 1):
        assert {pair[role] for pair in hidden} == set(THINGS)  # each is asked about
        assert min(Counter(pair[role] for pair in PAIRS if pair not in hidden).values()) > 35  # and is learned
    assert any(is_held_out(*pair) and not is_held_out(*pair[::-1]) for pair in PAIRS)  # ordered pairs


def test_held_out_pairs_are_always_the_same():
    expected = ["frog", "pineapple", "palm tree", "trumpet", "star"]
    assert [thing for thing in THINGS if is_held_out("cat", thing)] == expected


@pytest.mark.parametrize("held_out", [False, True])
def test_no_scene_leaks(held_out):
    rng = random.Random(0)
    scenes = [draw_scene(rng, held_out=held_out) for _ in range(4000)]
    pairs = [(scene.thing, scene.landmark) for scene in scenes if scene.landmark]
    assert {is_held_out(*pair) for pair in pairs} == {held_out}
    assert (len(pairs) == len(scenes)) == held_out  # a thing alone is nothing new


def test_all_is_drawn_alike():
    rng = random.Random(0)
    scenes = [draw_scene(rng) for _ in range(12_000)]
    for field, values in (("count", 3), ("thing", 48), ("relation", 4), ("landmark", 48)):
        total = 12_000 if field in ("count", "thing") else 9_000
        counts = Counter(getattr(scene, field) for scene in scenes)
        alone = counts.pop(None, 0)
        assert len(counts) == values
        assert alone == 0 or 0.23 < alone / 12_000 < 0.27
        assert all(abs(count - total / values) < 5 * (total / values) ** 0.5 for count in counts.values())


def test_the_same_seed_draws_the_same_scenes():
    draws = [[draw_scene(rng) for _ in range(20)] for rng in (random.Random(7), random.Random(7), random.Random(8))]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("alone", [0.0, 1.0])
def test_alone_says_how_often(alone):
    rng = random.Random(0)
    assert {draw_scene(rng, alone=alone).relation is None for _ in range(50)} == {bool(alone)}


@pytest.mark.parametrize("alone", [-0.1, 1.5, float("nan")])
def test_alone_is_a_probability(refuses, alone):
    with refuses(ValueError, "alone", str(alone)):
        draw_scene(random.Random(0), alone=alone)
