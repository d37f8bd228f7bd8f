#!/usr/bin/env python3
"""Build the embedded data set: emoji drawn by eight artists, 32x32 pixels each, on white.

The drawings come from pinned npm packages. The steps, in the order of this file:

1. fetch the packages and check them against the hashes written here;
2. find each emoji's drawing in each artist's package (by code point, by name, or by a table);
3. rasterise it to 32x32 pixels, and check that something was drawn;
4. give it a class, by its Unicode subgroup;
5. find near-duplicates, and choose splits that keep them together;
6. write one sprite sheet per artist and one table for all.

Two runs on the same versions of resvg-py and Pillow give the same bytes. Run with --help for the options.
"""

from __future__ import annotations

import argparse
import base64
import csv
import functools
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

try:
    import resvg_py
except ImportError:  # reported by main(): --help and --stats work without it
    resvg_py = None

ROOT = Path(__file__).resolve().parent.parent
CELL = 32  # side of a picture, in pixels
COLUMNS = 40  # pictures in a row of a sheet
SHADES = 32  # per colour channel: the eye sees no difference to 256, and the files are a third smaller
OVERSAMPLING = 4  # drawn at 128x128, then averaged down to 32x32
SEED = 0

# --------------------------------------------------------------------------------------------------------------------
# What is built from what
# --------------------------------------------------------------------------------------------------------------------

# npm package -> (version, integrity), as `npm view PACKAGE@VERSION dist.integrity` prints it.
PACKAGES = {
    "@iconify-json/noto": (
        "1.2.9",
        "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    "@iconify-json/noto-v1": (
        "1.2.5",
        "sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
    ),
    "@iconify-json/twemoji": (
        "1.2.5",
        "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
    "@iconify-json/openmoji": (
        "1.2.29",
        "sha512-vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
    ),
    "@iconify-json/fluent-emoji-flat": (
        "1.2.6",
        "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    ),
    "@iconify-json/emojione": (
        "1.2.3",
        "sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
    "@iconify-json/emojione-v1": (
        "1.2.3",
        "sha512-UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
    ),
    "@iconify-json/fxemoji": (
        "1.2.2",
        "sha512-UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
    ),
    # Names, groups, subgroups, tags and order of all emoji. (Its drawings are taken from @iconify-json/openmoji.)
    "openmoji": (
        "17.0.0",
        "sha512-EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrPc5N9CzsyPnRTk0Vp4UaI9w==",
    ),
}

# Artist -> family. Two sets of one family are two versions of one studio's work, and share drawings.
ARTISTS = {
    "noto": "google",
    "noto-v1": "google",
    "twemoji": "twitter",
    "openmoji": "openmoji",
    "fluent-emoji-flat": "microsoft",
    "emojione": "emojione",
    "emojione-v1": "emojione",
    "fxemoji": "mozilla",
}
UNSEEN_ARTIST = "fluent-emoji-flat"  # no sister set, and the fewest near-duplicates with the others (--stats)

# Class -> (subgroups of Unicode's emoji list, names to add, names to leave out because the picture shows another thing)
CLASSES: dict[str, tuple[set[str], set[str], set[str]]] = {
    "face": (
        {
            "face-smiling",
            "face-affection",
            "face-tongue",
            "face-hand",
            "face-neutral-skeptical",
            "face-sleepy",
            "face-unwell",
            "face-hat",
            "face-glasses",
            "face-concerned",
            "face-negative",
        },
        {"clown face", "ogre", "goblin"},
        {"skull", "skull and crossbones"},
    ),
    "person": (
        {
            "person",
            "person-gesture",
            "person-role",
            "person-fantasy",
            "person-activity",
            "person-sport",
            "person-resting",
        },
        {  # of the subgroup "family"; the families themselves are white figures on a signboard in several sets
            "people holding hands",
            "women holding hands",
            "woman and man holding hands",
            "men holding hands",
            "kiss",
            "kiss: woman, man",
            "kiss: man, man",
            "kiss: woman, woman",
            "couple with heart",
            "couple with heart: woman, man",
            "couple with heart: man, man",
            "couple with heart: woman, woman",
        },
        {"person in bed", "person taking bath", "horse racing", "hairy creature"},  # furniture; animals
    ),
    "hand": (
        {
            "hand-fingers-open",
            "hand-fingers-partial",
            "hand-single-finger",
            "hand-fingers-closed",
            "hands",
            "hand-prop",
        },
        set(),
        {"nail polish", "selfie"},  # a bottle; a telephone
    ),
    "animal": (
        {
            "animal-mammal",
            "animal-bird",
            "animal-amphibian",
            "animal-reptile",
            "animal-marine",
            "animal-bug",
            "cat-face",
            "monkey-face",
        },
        set(),
        {"paw prints", "pig nose", "feather", "wing", "coral", "spiral shell", "oyster", "spider web", "microbe"},
    ),
    "food": (
        {"food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet", "drink"},
        set(),
        {"brown mushroom", "salt", "ice", "baby bottle"},
    ),
    "vehicle": (
        {"transport-ground", "transport-air", "transport-water"},
        set(),
        {
            "anchor",
            "bus stop",
            "construction",
            "fuel pump",
            "horizontal traffic light",
            "manual wheelchair",
            "motorized wheelchair",
            "motorway",
            "oil drum",
            "parachute",
            "police car light",
            "railway track",
            "ring buoy",
            "roller skate",
            "satellite",
            "seat",
            "skateboard",
            "station",
            "stop sign",
            "vertical traffic light",
            "wheel",
        },
    ),
    "flag": ({"country-flag", "subdivision-flag", "flag"}, set(), set()),
    "sign": (
        {"arrow", "transport-sign", "warning", "zodiac", "religion", "av-symbol", "alphanum", "keycap"},
        set(),
        set(),
    ),
}

# Mozilla's set has names of its own. CLDR name -> icon, for those that no rule finds and whose picture fits.
FXEMOJI_ICONS = {
    "grinning face": "grin",
    "grinning face with big eyes": "grinwide",
    "grinning face with smiling eyes": "grinwideeyes",
    "beaming face with smiling eyes": "grineyes",
    "grinning squinting face": "grinsquint",
    "grinning face with sweat": "grinsweat",
    "face with tears of joy": "grintears",
    "slightly smiling face": "smallsmile",
    "winking face": "winking",
    "smiling face with smiling eyes": "smileeyes",
    "smiling face with halo": "halo",
    "smiling face with heart-eyes": "hearteyes",
    "face blowing a kiss": "kissing",
    "kissing face with closed eyes": "kissclosedeyes",
    "kissing face with smiling eyes": "kisseyes",
    "face savoring food": "smiletongue",
    "face with tongue": "tongueout",
    "winking face with tongue": "tongueoutwink",
    "squinting face with tongue": "tongueoutwink2",
    "neutral face": "neutral",
    "expressionless face": "expressionless",
    "face without mouth": "nomouth",
    "smirking face": "smirk",
    "unamused face": "unamused",
    "grimacing face": "grimacing",
    "relieved face": "relieved",
    "pensive face": "pensive",
    "sleepy face": "sleepy",
    "sleeping face": "sleeping",
    "face with medical mask": "medicalmask",
    "confused face": "confused",
    "worried face": "worried",
    "slightly frowning face": "smallfrown",
    "face with open mouth": "openmouth",
    "hushed face": "hushed",
    "astonished face": "astonished",
    "flushed face": "flushed",
    "frowning face with open mouth": "frownmouth",
    "anguished face": "anguish",
    "fearful face": "fearful",
    "anxious face with sweat": "coldsweat",
    "sad but relieved face": "dissapointedrelief",
    "crying face": "crying",
    "loudly crying face": "loudlycrying",
    "face screaming in fear": "screamfear",
    "confounded face": "confounded",
    "persevering face": "perservere",
    "disappointed face": "disappointed",
    "downcast face with sweat": "sweat",
    "weary face": "weary",
    "tired face": "tired",
    "face with steam from nose": "triumph",
    "enraged face": "pouting",
    "angry face": "angry",
    "smiling face with horns": "devilhorns",
    "skull and crossbones": "blackskullcrossbones",
    "pile of poo": "poo",
    "goblin": "japaneseangrymask",
    "see-no-evil monkey": "monkeysee",
    "hear-no-evil monkey": "monkeyhear",
    "speak-no-evil monkey": "monkeyspeak",
    "heart with arrow": "heartarrow",
    "heart with ribbon": "heartribbon",
    "two hearts": "2hearts",
    "yellow heart": "heartyellow",
    "green heart": "heartgreen",
    "purple heart": "heartpurple",
    "anger symbol": "anger",
    "sweat droplets": "sweatsplash",
    "dashing away": "dash",
    "thought balloon": "thoughtbaloon",
    "waving hand": "waving",
    "hand with fingers splayed": "raisedhandsfingerssplayed",
    "raised hand": "hand",
    "vulcan salute": "raisedhandpartfingers",
    "ok hand": "aok",
    "backhand index pointing left": "left",
    "backhand index pointing right": "right",
    "backhand index pointing up": "up",
    "backhand index pointing down": "down",
    "middle finger": "reversehandmiddlefinger",
    "index pointing up": "index",
    "oncoming fist": "fistedhand",
    "clapping hands": "clap",
    "raising hands": "high5",
    "open hands": "hands",
    "folded hands": "pray",
    "writing hand": "leftwritinghand",
    "flexed biceps": "flexbicep",
    "mouth": "lips",
    "person: blond hair": "blonde",
    "old man": "gpa",
    "old woman": "gma",
    "person frowning": "frown",
    "person pouting": "pout",
    "person gesturing no": "nogesture",
    "person gesturing ok": "okgesture",
    "person tipping hand": "waitress",
    "person raising hand": "handup",
    "person bowing": "bowing",
    "police officer": "cop",
    "detective": "sleuthspy",
    "construction worker": "construct",
    "person wearing turban": "turban",
    "person with skullcap": "guapimao",
    "person with veil": "bride",
    "person getting massage": "headmassage",
    "person walking": "walking",
    "person running": "running",
    "people with bunny ears": "bunny-ears",
    "person swimming": "swimming",
    "women holding hands": "girlgirl",
    "woman and man holding hands": "girlguy",
    "men holding hands": "guyguy",
    "couple with heart": "couple",
    "kiss": "couplekiss",
    "bust in silhouette": "contact",
    "busts in silhouette": "contact2",
    "cat": "catside",
    "dog": "dogside",
    "leopard": "leopardside",
    "tiger": "tigerside",
    "pig": "pigside",
    "pig nose": "pigsnout",
    "mouse": "mouseside",
    "hamster": "hampster",
    "rabbit face": "bunny",
    "rabbit": "bunnyside",
    "front-facing baby chick": "frontfacingchick",
    "dragon face": "dragonhead",
    "dragon": "dragonside",
    "spouting whale": "spurtingwhale",
    "evergreen tree": "evergreen",
    "fallen leaf": "fallingleaf",
    "leaf fluttering in wind": "leaffluttering",
    "chestnut": "acorn",
    "hot pepper": "chilipepper",
    "fish cake with swirl": "fishcakeswirl",
    "fork and knife with plate": "forkknife",
    "globe showing europe-africa": "europeafricaglobe",
    "globe showing americas": "americasglobe",
    "globe showing asia-australia": "asiaaustraliaglobe",
    "globe with meridians": "meridianglobe",
    "map of japan": "silhouetteohjapan",
    "snow-capped mountain": "snowmountains",
    "beach with umbrella": "beachumbrella",
    "tokyo tower": "toykotower",
    "bullet train": "highspeedtrainbulletnose",
    "racing car": "racecar",
    "construction": "constructionsign",
    "hourglass not done": "hourglassflowingsand",
    "mantelpiece clock": "manltepiececlock",
    "twelve o’clock": "clock12oclock",
    "twelve-thirty": "clock12thirty",
    "one o’clock": "clock1oclock",
    "one-thirty": "clock1thirty",
    "two o’clock": "clock2oclock",
    "two-thirty": "clock2thirty",
    "three o’clock": "clock3oclock",
    "three-thirty": "clock3thirty",
    "four o’clock": "clock4oclock",
    "four-thirty": "clock4thirty",
    "five-thirty": "clock5thirty",
    "six o’clock": "clock6oclock",
    "six-thirty": "clock6thirty",
    "seven o’clock": "clock7oclock",
    "waning gibbous moon": "waningbibbousmoon",
    "sun": "sunrays",
    "cloud with lightning": "stormcloud",
    "cloud with rain": "raincloud",
    "cloud with snow": "snowcloud",
    "sun behind rain cloud": "sunraincloud",
    "sun behind small cloud": "whitesunsmallcloud",
    "high voltage": "bolt",
    "water wave": "wave",
    "confetti ball": "confetti",
    "ribbon": "bow",
    "wrapped gift": "present",
    "reminder ribbon": "reminder",
    "tennis": "tennisball",
    "mahjong red dragon": "mahjong",
    "gem stone": "gem",
    "necktie": "tie",
    "t-shirt": "mansshirt",
    "woman’s clothes": "womansshirt",
    "purse": "pinkwallet",
    "clutch bag": "makeupbag",
    "man’s shoe": "mensshoe",
    "running shoe": "mensrunner",
    "high-heeled shoe": "heels",
    "woman’s sandal": "sandals",
    "woman’s boot": "boot",
    "sunglasses": "darksunglasses",
    "muted speaker": "speakercancellation",
    "speaker medium volume": "speakeronesoundwave",
    "speaker high volume": "speaker3soundwaves",
    "bell with slash": "bellcancellation",
    "studio microphone": "studiomic",
    "control knobs": "controlknob",
    "mobile phone": "cellphone",
    "mobile phone with arrow": "phonerightarrowleft",
    "telephone receiver": "telephonereceiver2",
    "floppy disk": "floppydisk2",
    "video camera": "handheldvideocamera",
    "videocassette": "videocasette",
    "magnifying glass tilted left": "leftmagnifyingglass",
    "magnifying glass tilted right": "rightmagnifyingglass",
    "bookmark tabs": "bookmarktab",
    "dollar banknote": "banknotedollar",
    "euro banknote": "banknoteeuro",
    "pound banknote": "banknotepound",
    "yen banknote": "banknoteyen",
    "chart increasing": "chartupwardstrend",
    "chart decreasing": "chartdownwardstrend",
    "chart increasing with yen": "chartupwardstrendyen",
    "envelope with arrow": "envelopedownarrowabove",
    "outbox tray": "outbox",
    "closed mailbox with raised flag": "closedmailboxraised",
    "closed mailbox with lowered flag": "closedmailboxlowered",
    "open mailbox with raised flag": "openmailboxraised",
    "open mailbox with lowered flag": "openmailboxlowered",
    "ballot box with ballot": "ballottboxwithballott",
    "pen": "lowerleftpen",
    "pencil": "lowerleftpencil",
    "locked with key": "lockandkey",
    "potable water": "potablewatersystem",
    "no one under eighteen": "nooneunder18symbol",
    "right arrow curving up": "arrowrightwardsupwards",
    "right arrow curving down": "arrowrightwardsdownwards",
    "clockwise vertical arrows": "clockwisedownupcircledarrows",
    "counterclockwise arrows button": "anticlockwiseupwardsanddownwardsarrows",
    "back arrow": "backwithleftwardsarrow",
    "end arrow": "endwithleftwardsarrow",
    "on! arrow": "onarrowleftright",
    "soon arrow": "soonwithrightarrow",
    "top arrow": "topwithupwardsarrow",
    "latin cross": "heavylatincross",
    "dotted six-pointed star": "sixpointedstarwithdot",
    "sagittarius": "saggitarius",
    "repeat button": "clockwiserightwardsleftwardscirclearrows",
    "repeat single button": "clockwiserightwardsleftwardscirclearrowsone",
    "play button": "blackrightpointingarrow",
    "fast-forward button": "blackrightpointingdoublearrow",
    "reverse button": "blackleftpointingarrow",
    "fast reverse button": "blackleftpointingdoublearrow",
    "upwards button": "uppointingsmallredtrisngle",
    "fast up button": "blackuppointingdoublearrow",
    "downwards button": "downpointingsmallredtrisngle",
    "fast down button": "blackdownpointingdoublearrow",
    "dim button": "lowbrightness",
    "bright button": "highbrightness",
    "multiply": "heavymultiplicationsymbol",
    "double exclamation mark": "doubleexclaimationmark",
    "exclamation question mark": "exclaimationquestionmark",
    "white exclamation mark": "whiteexclaimationmark",
    "red exclamation mark": "heavyexclaimationmarksymbol",
    "eight-spoked asterisk": "eightspokedasterix",
    "keycap: 10": "ten",
    "keyboard": "wiredkeyboard",
    "laptop": "oldpersonalcomputer",
    "a button (blood type)": "negativesquaredlatincaptiala",
    "b button (blood type)": "negativesquaredlatincaptialb",
    "o button (blood type)": "negativesquaredlatincaptialo",
    "up! button": "squaredup",
    "diamond with a dot": "diamondshapewithdotinside",
    "black flag": "blackwaving",
    "flag: china": "chineseflag",
    "flag: france": "franceflag",
    "flag: united kingdom": "greatbritainflag",
    "flag: italy": "italianflag",
    "flag: japan": "japanflag",
    "flag: south korea": "koreaflag",
    "flag: russia": "russianflag",
    "flag: spain": "spanishflag",
}

# Icons that keep an older name, or whose fitting picture has another name. CLDR name -> {artist: icon}.
OTHER_ICONS = {
    "up! button": {"noto-v1": "up-exclamation-button", "emojione": "up-text-button", "emojione-v1": "up-text-button"},
    "keyboard": {"emojione-v1": "wired-keyboard"},
    "laptop": {"emojione-v1": "old-personal-computer"},
    "flag: türkiye": {"emojione": "flag-for-turkey", "emojione-v1": "turkey"},
    "flag: myanmar (burma)": {"emojione": "flag-for-myanmar", "emojione-v1": "flag-for-myanmar"},
    "flag: cocos (keeling) islands": {"emojione": "flag-for-cocos-islands"},
}

# Pictures that exist under the right name but show something else, or nothing: (artist, name) -> why.
EXCLUDED: dict[tuple[str, str], str] = {
    **{("noto-v1", f"white {shape}"): "white on white" for shape in ("question mark", "exclamation mark", "circle")},
    **{("noto-v1", f"white {size} square"): "white on white" for size in ("large", "medium", "medium-small", "small")},
    ("noto-v1", "check mark button"): "white on white",
    **{("twemoji", f"white {size} square"): "white on white" for size in ("large", "medium", "medium-small", "small")},
    ("twemoji", "white circle"): "white on white",
    ("twemoji", "white heart"): "white on white",
    ("fxemoji", "dove"): "white on white",
    ("fxemoji", "fog"): "white on white",
    ("fxemoji", "tram car"): "all black: its colours are lost in the package",
    ("fxemoji", "window"): "a window of a computer program",
    ("emojione-v1", "window"): "a window of a computer program",
    ("emojione-v1", "shield"): "a road sign",
    ("emojione-v1", "turkey"): "the flag of the country",
    ("noto-v1", "cricket"): "the game, not the insect",
    ("emojione", "cricket"): "the game, not the insect",
    ("emojione", "person in tuxedo"): "the very drawing of its man in tuxedo",
}

# --------------------------------------------------------------------------------------------------------------------
# 1. Fetch
# --------------------------------------------------------------------------------------------------------------------


class BuildError(RuntimeError):
    """Something the user can act on; printed as one line."""


def integrity_of(path: Path) -> str:
    """npm's integrity string of a file: its SHA-512 in base64."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def fetch(package: str, cache: Path) -> Path:
    """Return the path of the package's tarball in the cache, downloading it with npm where it is missing.

    Raises:
        BuildError: if npm is missing or fails, or if the file is not the pinned one.
    """
    version, integrity = PACKAGES[package]
    path = cache / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise BuildError("npm was not found; install Node.js (it brings npm), or put the .tgz files into --cache")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            command = [npm, "pack", "--silent", f"{package}@{version}"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            packed = list(Path(folder).glob("*.tgz"))
            if done.returncode != 0 or len(packed) != 1:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise BuildError(f"`{' '.join(command[1:])}` failed ({reason}); check npm's configuration and network")
            os.replace(packed[0], path)
    if integrity_of(path) != integrity:
        raise BuildError(f"{path} is not the pinned {package}@{version} (sha512 differs); delete it and run again")
    return path


def read_json(tarball: Path, member: str) -> dict | list:
    """Read one JSON file out of an npm tarball; an empty dict where the package has no such file."""
    with tarfile.open(tarball) as archive:
        try:
            return json.load(archive.extractfile(f"package/{member}"))
        except KeyError:
            return {}


# --------------------------------------------------------------------------------------------------------------------
# 2. Find the drawings
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Emoji:
    """One entry of the emoji list: what it is called, not how it is drawn."""

    char: str
    name: str
    group: str
    subgroup: str
    tags: str


@dataclass
class Picture:
    """One drawing of one emoji by one artist: a row of the table, and its pixels."""

    artist: str
    emoji: Emoji
    pixels: np.ndarray  # (32, 32, 3), uint8
    label: str = ""
    split: str = ""


def read_emoji(tarball: Path) -> list[Emoji]:
    """The base emoji (no skin-tone variants, no parts of emoji, none of OpenMoji's own extras), in OpenMoji's order."""
    result = []
    for entry in read_json(tarball, "data/openmoji.json"):
        if entry["skintone"] or entry["group"].startswith(("extras", "component")):
            continue
        tags = ";".join(tag.strip() for tag in entry["tags"].split(",") if tag.strip())
        name = entry["annotation"].lower()
        result.append(Emoji(entry["emoji"], name, entry["group"], entry["subgroups"], tags))
    return result


def slug(name: str) -> str:
    """A name as Iconify writes it: "woman’s hat" -> "womans-hat"."""
    name = name.replace("’", "").replace(".", "").replace("&", " and ").replace("#", "hash").replace("*", "asterisk")
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")


def code_points(text: str) -> str:
    """Code points in hexadecimal, joined by dashes, without the variation selector FE0F: "☀️" -> "2600"."""
    return "-".join(f"{ord(char):x}" for char in text if char != "\ufe0f")


class IconSet:
    """One artist's package: finds the SVG of an emoji.

    Args:
        artist: a key of ARTISTS.
        tarball: the npm package.
    """

    def __init__(self, artist: str, tarball: Path) -> None:
        self.artist = artist
        self.data = read_json(tarball, "icons.json")
        chars = read_json(tarball, "chars.json")
        self.by_code = {"-".join(p for p in key.split("-") if p != "fe0f"): icon for key, icon in chars.items()}
        self.aliases = self.data.get("aliases", {})

    def candidates(self, emoji: Emoji) -> Iterator[str]:
        """Names that this emoji's icon may have, the surest first."""
        if self.artist in OTHER_ICONS.get(emoji.name, {}):
            yield OTHER_ICONS[emoji.name][self.artist]
        if code_points(emoji.char) in self.by_code:
            yield self.by_code[code_points(emoji.char)]
        name = slug(emoji.name)
        if self.artist == "fxemoji":
            if emoji.name in FXEMOJI_ICONS:
                yield FXEMOJI_ICONS[emoji.name]
            yield name.replace("-", "")
        yield name
        yield f"flag-for-{name}"  # EmojiOne: "flag-for-flag-peru", "flag-for-black-flag"
        # The name in the Unicode character table is often older than the CLDR name, as these sets are.
        single = emoji.char.replace("\ufe0f", "")
        if len(single) == 1:
            yield slug(unicodedata.name(single, ""))
            if self.artist == "fxemoji":
                yield slug(unicodedata.name(single, "")).replace("-", "")

    def find(self, emoji: Emoji) -> str | None:
        """The name of the emoji's icon or alias in this set, or None."""
        if (self.artist, emoji.name) in EXCLUDED:
            return None
        return next((n for n in self.candidates(emoji) if n in self.data["icons"] or n in self.aliases), None)

    def svg(self, icon: str) -> str:
        """The SVG document of an icon, aliases resolved."""
        flipped = False
        while icon in self.aliases:
            flipped ^= self.aliases[icon].get("hFlip", False)
            icon = self.aliases[icon]["parent"]
        body, size = self.data["icons"][icon]["body"], {}
        for key in ("left", "top", "width", "height"):
            size[key] = self.data["icons"][icon].get(key, self.data.get(key, 0))
        if flipped:
            body = f'<g transform="translate({2 * size["left"] + size["width"]} 0) scale(-1 1)">{body}</g>'
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{size["left"]} {size["top"]} {size["width"]} {size["height"]}" '
            f'width="{size["width"]}" height="{size["height"]}">{body}</svg>'
        )


# --------------------------------------------------------------------------------------------------------------------
# 3. Rasterise
# --------------------------------------------------------------------------------------------------------------------


def rasterise(svg: str) -> np.ndarray:
    """Draw an SVG on white, aspect ratio kept, centred. Returns (32, 32, 3), uint8."""
    side = CELL * OVERSAMPLING
    width, height = map(float, re.search(r'width="([\d.]+)" height="([\d.]+)"', svg).groups())
    longer = {"width": side} if width >= height else {"height": side}
    png = resvg_py.svg_to_bytes(svg_string=svg, background="white", skip_system_fonts=True, **longer)
    drawing = Image.open(io.BytesIO(png)).convert("RGB")
    square = Image.new("RGB", (side, side), "white")
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    small = np.asarray(square.resize((CELL, CELL), Image.Resampling.BOX), dtype=np.float64)
    steps = SHADES - 1
    return np.rint(np.rint(small / 255 * steps) / steps * 255).astype(np.uint8)


def check_picture(picture: Picture) -> None:
    """Refuse a picture on which nothing, or next to nothing, was drawn.

    Raises:
        BuildError: if it is blank or nearly so.
    """
    drawn = int((picture.pixels.min(axis=2) < 224).sum())
    colours = len(np.unique(picture.pixels.reshape(-1, 3), axis=0))
    flat = picture.label in ("", "sign")  # "minus" is one flat bar; a thing has more colours
    if drawn < 20 or colours < (2 if flat else 3):
        raise BuildError(
            f"{picture.artist}: '{picture.emoji.name}' looks blank ({drawn} pixels drawn, {colours} colours); "
            "look at it, and add it to EXCLUDED in scripts/build_emoji.py if it is"
        )


# --------------------------------------------------------------------------------------------------------------------
# 4. Classes
# --------------------------------------------------------------------------------------------------------------------


def class_of(emoji: Emoji) -> str:
    """The class of an emoji, or an empty string."""
    for label, (subgroups, added, left_out) in CLASSES.items():
        if emoji.name in added or (emoji.subgroup in subgroups and emoji.name not in left_out):
            return label
    return ""


# --------------------------------------------------------------------------------------------------------------------
# 5. Near-duplicates and splits
# --------------------------------------------------------------------------------------------------------------------

# Two pictures are near-duplicates below this distance (see `distance`). Both were chosen by looking at pairs: two
# artists' drawings of one emoji, and drawings of two emoji, where all of an artist's faces share one yellow disc.
NEAR, NEAR_IF_OTHER_EMOJI = 20, 8
TEST_SHARE, VAL_SHARE = 0.10, 0.08


def shifted(pixels: np.ndarray) -> np.ndarray:
    """A picture moved by -1, 0 or 1 pixels in both directions: (32, 32, 3) -> (9, 32, 32, 3), int16."""
    padded = np.pad(pixels.astype(np.int16), ((1, 1), (1, 1), (0, 0)), constant_values=255)
    return np.stack([padded[y : y + CELL, x : x + CELL] for y in range(3) for x in range(3)])


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference (0 to 255) over the pixels that are not white in both, at the best shift of one pixel.

    White surroundings are left out: else all small or thin drawings would count as alike.
    """
    moved, fixed = shifted(one), other.astype(np.int16)
    drawn = ((moved.min(axis=3) < 250) | (fixed.min(axis=2) < 250)).sum(axis=(1, 2))
    return float((np.abs(moved - fixed).sum(axis=(1, 2, 3)) / 3 / np.maximum(drawn, 1)).min())


def near_duplicates(pictures: list[Picture]) -> list[tuple[int, int]]:
    """All pairs (i, j), i < j, of near-duplicates in a list of pictures.

    Averages over blocks of 8x8 pixels rule most pairs out first: they can't differ by more than the pixels do.
    """
    stack = np.stack([picture.pixels for picture in pictures])
    drawn = (stack.min(axis=3) < 250).sum(axis=(1, 2))
    blocks = np.stack([block_means(pixels[None])[0] for pixels in stack])
    pairs = []
    for i, pixels in enumerate(stack[:-1]):
        bound = np.abs(block_means(shifted(pixels))[:, None] - blocks[i + 1 :]).mean(axis=2).min(axis=0)
        limit = NEAR * np.minimum(drawn[i] + drawn[i + 1 :] + 4 * CELL, CELL * CELL) / CELL**2
        for j in np.flatnonzero(bound < limit) + i + 1:
            same = concept(pictures[i].emoji.name) == concept(pictures[j].emoji.name)
            if distance(pixels, stack[j]) < (NEAR if same else NEAR_IF_OTHER_EMOJI):
                pairs.append((i, int(j)))
    return pairs


def block_means(pixels: np.ndarray) -> np.ndarray:
    """Means over blocks of 8x8 pixels: (n, 32, 32, 3) -> (n, 48), float32."""
    return pixels.reshape(len(pixels), 4, 8, 4, 8, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(pixels), -1)


def concept(name: str) -> str:
    """A name without gender, direction and key: artists draw "astronaut" and "man astronaut" alike."""
    return re.sub(r"\b(men|women|people|man|woman|person)\b *|: facing right|(?<=keycap): .*", "", name)


def clusters(pictures: list[Picture]) -> list[list[Picture]]:
    """Group pictures that must not be divided between splits: near-duplicates, and sisters.

    Sisters are drawings of one concept by one family of artists. Linked pictures are joined, and so are their links.
    """
    parent = list(range(len(pictures)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    first_sister: dict[tuple[str, str], int] = {}
    links = near_duplicates(pictures)
    for i, picture in enumerate(pictures):
        links.append((first_sister.setdefault((ARTISTS[picture.artist], concept(picture.emoji.name)), i), i))
    for i, j in links:
        parent[root(j)] = root(i)
    groups = defaultdict(list)
    for i, picture in enumerate(pictures):
        groups[root(i)].append(picture)
    return list(groups.values())


def assign_splits(pictures: list[Picture]) -> None:
    """Fill in `split`, class by class, so that no near-duplicate of a val or test picture is left in train."""
    for label in tqdm(CLASSES, desc="splits", unit="class"):
        members = [picture for picture in pictures if picture.label == label]
        groups = clusters(members)
        random.Random(f"{SEED} {label}").shuffle(groups)
        seen = sum(picture.artist != UNSEEN_ARTIST for picture in members)
        room = {"test_seen": TEST_SHARE * seen, "val": VAL_SHARE * seen}
        # What looks like a picture of the unseen artist goes to the test first: train and val must not know it.
        groups.sort(key=lambda group: UNSEEN_ARTIST not in artists_of(group))
        for group in groups:
            touched = {UNSEEN_ARTIST} < artists_of(group)
            size = sum(picture.artist != UNSEEN_ARTIST for picture in group)
            split = next((name for name in room if touched or size <= room[name]), "train")
            if split in room:
                room[split] -= size
            for picture in group:
                picture.split = "test_unseen" if picture.artist == UNSEEN_ARTIST else split


def artists_of(group: Iterable[Picture]) -> set[str]:
    """The artists of some pictures."""
    return {picture.artist for picture in group}


# --------------------------------------------------------------------------------------------------------------------
# 6. Write, and read back
# --------------------------------------------------------------------------------------------------------------------

FIELDS = ["artist", "position", "emoji", "name", "group", "subgroup", "tags", "class", "split"]


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sheet_of(pictures: list[Picture]) -> Image.Image:
    """Put pictures side by side, 40 to a row, the rest of the last row white."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = np.full((rows * CELL, COLUMNS * CELL, 3), 255, np.uint8)
    for position, picture in enumerate(pictures):
        y, x = CELL * (position // COLUMNS), CELL * (position % COLUMNS)
        sheet[y : y + CELL, x : x + CELL] = picture.pixels
    return Image.fromarray(sheet)


def table_of(by_artist: dict[str, list[Picture]]) -> str:
    """The table as CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for artist, pictures in by_artist.items():
        for position, picture in enumerate(pictures):
            e = picture.emoji
            row = [artist, position, e.char, e.name, e.group, e.subgroup, e.tags, picture.label, picture.split]
            writer.writerow(row)
    return text.getvalue()


def write_data_set(by_artist: dict[str, list[Picture]], out: Path) -> None:
    """Write all sheets and the table."""
    for artist, pictures in by_artist.items():
        save = functools.partial(sheet_of(pictures).save, format="PNG", optimize=True)
        write_atomically(out / f"{artist}.png", save)
    table = table_of(by_artist)
    write_atomically(out / "emoji.csv", lambda path: path.write_bytes(table.encode("utf-8")))


def read_data_set(out: Path) -> list[Picture]:
    """Read sheets and table back."""
    if not (out / "emoji.csv").exists():
        raise BuildError(f"{out / 'emoji.csv'} is missing; run this script without --stats first")
    sheets = {artist: np.asarray(Image.open(out / f"{artist}.png")) for artist in ARTISTS}
    pictures = []
    with open(out / "emoji.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            y, x = (CELL * k for k in divmod(int(row["position"]), COLUMNS))
            emoji = Emoji(row["emoji"], row["name"], row["group"], row["subgroup"], row["tags"])
            pixels = sheets[row["artist"]][y : y + CELL, x : x + CELL]
            pictures.append(Picture(row["artist"], emoji, pixels, row["class"], row["split"]))
    return pictures


# --------------------------------------------------------------------------------------------------------------------
# Reports
# --------------------------------------------------------------------------------------------------------------------


def markdown(title: str, columns: list[str], rows: dict[str, list[int]], total: bool = True) -> str:
    """A Markdown table of numbers with a total below, numbers right-aligned."""
    if total:
        rows = {**rows, "**all**": [sum(column) for column in zip(*rows.values(), strict=True)]}
    lines = [f"| {title} | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{n:,}" for n in numbers) + " |" for name, numbers in rows.items()]
    return "\n".join(lines)


def stats(pictures: list[Picture]) -> str:
    """The tables of data/README.md."""
    labels, artists, splits = [*CLASSES, "(none)"], list(ARTISTS), ["train", "val", "test_seen", "test_unseen"]
    per_artist = Counter((p.label or "(none)", p.artist) for p in pictures)
    per_split = Counter((p.label, p.split) for p in pictures)
    counts = {c: [per_artist[c, a] for a in artists] for c in labels}
    parts = [
        markdown("class", [*artists, "**all**"], {c: [*row, sum(row)] for c, row in counts.items()}),
        markdown("class", splits, {c: [per_split[c, s] for s in splits] for c in CLASSES}),
    ]
    near = same_name_near_duplicates([p for p in pictures if p.label])
    pairs = Counter(frozenset((a.artist, b.artist)) for a, b in near)
    rows = {a: [pairs[frozenset((a, b))] if a != b else 0 for b in artists] for a in artists}
    rows = {a: [*row, sum(row)] for a, row in rows.items()}
    parts.append(markdown("near-duplicates", [*artists, "**all**"], rows, total=False))
    per_class = Counter((p.label, p.artist) for pair in near for p in pair)
    rows = {c: [per_class[c, a] for a in artists] for c in CLASSES}
    parts.append(markdown("near-duplicates", artists, rows))
    return "\n\n".join(parts)


def same_name_near_duplicates(pictures: list[Picture]) -> list[tuple[Picture, Picture]]:
    """Pairs of drawings of the same emoji by two artists that are near-duplicates."""
    by_name = defaultdict(list)
    for picture in pictures:
        by_name[picture.emoji.name].append(picture)
    pairs = [(a, b) for same in by_name.values() for k, a in enumerate(same) for b in same[k + 1 :]]
    return [pair for pair in tqdm(pairs, desc="pairs") if distance(pair[0].pixels, pair[1].pixels) < NEAR]


def report_missing(missing: dict[str, list[str]], verbose: bool) -> None:
    """Say how many emoji each artist lacks, and which if asked to."""
    print("Missing emoji per artist:")
    for artist, names in missing.items():
        print(f"  {artist}: {len(names)}" + (" " + "; ".join(names) if verbose else ""))


# --------------------------------------------------------------------------------------------------------------------
# The commands
# --------------------------------------------------------------------------------------------------------------------


def build(out: Path, cache: Path, verbose: bool) -> None:
    """Make the whole data set."""
    if resvg_py is None:
        raise BuildError("resvg-py was not found; install it with `pip install resvg-py==0.5.0`")
    with tqdm(PACKAGES, desc="packages") as bar:  # `with` ends the bar's line before an error is printed
        tarballs = {package: fetch(package, cache) for package in bar}
    emoji = read_emoji(tarballs["openmoji"])
    by_artist: dict[str, list[Picture]] = {}
    missing: dict[str, list[str]] = {}
    for artist in ARTISTS:
        icons = IconSet(artist, tarballs[f"@iconify-json/{artist}"])
        found = [(e, icons.find(e)) for e in emoji]
        missing[artist] = [e.name for e, icon in found if icon is None]
        by_artist[artist] = []
        with tqdm([pair for pair in found if pair[1]], desc=artist, unit="picture") as bar:
            for e, icon in bar:
                picture = Picture(artist, e, rasterise(icons.svg(icon)), class_of(e))
                check_picture(picture)
                by_artist[artist].append(picture)
    assign_splits([picture for pictures in by_artist.values() for picture in pictures])
    write_data_set(by_artist, out)
    report_missing(missing, verbose)
    print(f"Wrote {sum(map(len, by_artist.values())):,} pictures by {len(by_artist)} artists to {out}")


def build_photo(path: Path) -> None:
    """Cut the photograph of the lessons, 224x224, out of scikit-image's `chelsea` (a cat's face; CC0)."""
    try:
        from skimage import data
    except ImportError:
        raise BuildError("scikit-image was not found; install it with `pip install scikit-image`") from None
    left, top, side = 75, 0, 300
    square = Image.fromarray(data.chelsea()).crop((left, top, left + side, top + side))
    photo = square.resize((224, 224), Image.Resampling.LANCZOS)
    write_atomically(path, functools.partial(photo.save, format="PNG", optimize=True))
    print(f"Wrote {path}")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Build the emoji data set (sprite sheets and a table) from pinned npm packages.",
        epilog="Needs npm (to fetch) and resvg-py (to draw). The npm configuration decides where packages come from.",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "data" / "emoji", help="folder to write (default: data/emoji)"
    )
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".cache" / "npm", help="where packages are kept (default: .cache/npm)"
    )
    parser.add_argument("--verbose", action="store_true", help="name the emoji that each artist lacks")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stats", action="store_true", help="build nothing; print the tables of data/README.md")
    what.add_argument("--photo", action="store_true", help="make only photo.png, in the folder above --out")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_arguments(arguments)
    try:
        if options.stats:
            print(stats(read_data_set(options.out)))
        elif options.photo:
            build_photo(options.out.parent / "photo.png")
        else:
            build(options.out, options.cache, options.verbose)
    except (BuildError, OSError) as error:
        print(f"build_emoji: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
