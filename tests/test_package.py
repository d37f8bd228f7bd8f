"""The front door: what `import vit_from_scratch` gives and costs, where things are kept, and the package as a wheel."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import platformdirs
import pytest
import torch
from test_core_size import ORDER
from test_vlm import build  # the tiny captioner

import vit_from_scratch
from vit_from_scratch import paths
from vit_from_scratch.checkpoint import save_checkpoint
from vit_from_scratch.model import ViTModel

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python(*arguments, **options) -> str:
    """What a new Python prints."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- names ----


def test_the_names_are_those_of_their_homes():
    names = vit_from_scratch.__all__
    assert 15 <= len(names) == len(set(names)) <= 25
    for name in names:
        value = getattr(vit_from_scratch, name)
        home = import_module(f"vit_from_scratch.{vit_from_scratch._HOMES[name]}")
        assert name in home.__all__ and getattr(home, name) is value
        assert getattr(value, "__module__", home.__name__) == home.__name__  # made there, not passed on
    assert set(names) <= set(dir(vit_from_scratch))


def test_no_name_is_a_module_too():
    """It would be one or the other, depending on what was imported before."""
    assert not set(vit_from_scratch.__all__) & set(ORDER)


def test_an_unknown_name_is_refused(refuses):
    with refuses(AttributeError, "vit_from_scratch has no ViTModle", "help(vit_from_scratch)"):
        _ = vit_from_scratch.ViTModle
    assert not hasattr(vit_from_scratch, "__wrapped__")


def test_the_docstring_is_the_map_of_the_modules():
    lines = [line.split(maxsplit=2) for line in vit_from_scratch.__doc__.splitlines() if line.startswith("    ")]
    assert [name for _, name, _ in lines] == ORDER
    assert [number for number, _, _ in lines] == sorted(number for number, _, _ in lines)
    for _, name, purpose in lines:
        assert import_module(f"vit_from_scratch.{name}").__doc__ == purpose and purpose.endswith(".")
        assert len(purpose) <= 100 and "Written by" not in purpose


@pytest.mark.slow
def test_an_import_loads_no_more_than_it_needs():
    code = """
import sys
loaded = lambda *names: [name for name in names if name in sys.modules]
import vit_from_scratch
print(loaded("torch", "numpy", "matplotlib", "PIL", "torchvision", "safetensors", "tqdm", "nbdev"))
from vit_from_scratch import GPTConfig, GPTModel, Tokenizer, generate, ViTModel, CONFIGS
print(loaded("torch", "matplotlib", "PIL", "torchvision", "safetensors"))
from vit_from_scratch import load_emoji
print(loaded("PIL", "matplotlib", "safetensors"))
"""
    assert python("-c", code, cwd=ROOT).splitlines() == ["[]", "['torch']", "['PIL']"]


def test_a_checkout_that_is_not_installed_has_a_version_too():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import vit_from_scratch as v; print(v.__version__)"
    assert python("-I", "-S", "-c", code) == "0+unknown"  # -S: without site-packages
    assert vit_from_scratch.__version__ == PROJECT["version"]


# ---- paths ----


def test_a_checkout_keeps_everything_in_its_folder():
    assert paths.find_folders(ROOT / "vit_from_scratch") == (ROOT / "data", ROOT / "build", ROOT / ".cache")
    assert paths.PACKAGE == ROOT / "vit_from_scratch" and ROOT / "data" == paths.DATA_DIR
    assert (paths.RECIPES / "emoji.toml").is_file()


def test_an_installed_package_keeps_nothing_beside_itself(tmp_path):
    (tmp_path / "vit_from_scratch" / "embedded").mkdir(parents=True)
    data, build_folder, cache = paths.find_folders(tmp_path / "vit_from_scratch")
    assert data == tmp_path / "vit_from_scratch" / "embedded"
    assert build_folder == cache == platformdirs.user_cache_path("vit-from-scratch", appauthor=False)


@pytest.mark.parametrize("installed", [False, True])
def test_a_variable_names_another_folder(tmp_path, monkeypatch, installed):
    package = tmp_path / "vit_from_scratch"
    (package / "embedded" if installed else package).mkdir(parents=True)
    data = package / "embedded" if installed else tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    for chosen, folder in (("~/own", Path.home() / "own"), ("own", tmp_path / "own"), (str(tmp_path), tmp_path)):
        assert paths.find_folders(package, chosen) == (data, folder, folder)


def test_the_variable_is_read(tmp_path):
    code = "from vit_from_scratch.paths import *; print(DATA_DIR, BUILD, CACHE, sep='\\n')"
    environment = os.environ | {"VIT_FROM_SCRATCH_CACHE": str(tmp_path)}
    assert python("-c", code, cwd=ROOT, env=environment).splitlines() == [str(ROOT / "data"), *2 * [str(tmp_path)]]


# ---- commands ----


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_a_command_has_help(name, capsys, monkeypatch):
    module, function = PROJECT["scripts"][name].split(":")
    monkeypatch.setattr(sys, "argv", [f"/somewhere/bin/{name}", "--help"])
    with pytest.raises(SystemExit) as end:
        getattr(import_module(module), function)()
    assert end.value.code == 0 and capsys.readouterr().out.startswith(f"usage: {name} ")


# ---- as a wheel ----


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def elsewhere(wheel, tmp_path_factory):
    """Runs Python as if the wheel were installed and this checkout weren't there: in another folder."""
    site, here = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("here")
    python("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site, wheel)
    environment = os.environ | {"PYTHONPATH": str(site), "VIT_FROM_SCRATCH_CACHE": str(here / "kept")}

    def run(*arguments, **changes) -> str:
        return python(*arguments, cwd=here, env=environment | changes)

    run.site, run.here = site, here
    return run


def command(name: str) -> str:
    """Python code that does what the installed command does."""
    return (f"import sys; sys.argv[0] = '{name}'; from importlib.metadata import entry_points; "
            f"sys.exit(entry_points(group='console_scripts')['{name}'].load()())")  # fmt: skip


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_data(elsewhere):
    installed = elsewhere.site / "vit_from_scratch"
    for ours, theirs in ((ROOT / "vit_from_scratch", installed), (ROOT / "data", installed / "embedded")):
        files = {path.relative_to(ours) for path in ours.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert len(files) > 10
        for file in files:
            assert (theirs / file).read_bytes() == (ours / file).read_bytes()
    found = {path.name for path in elsewhere.site.iterdir()} - {"bin", "Scripts"}
    assert found == {"vit_from_scratch", f"vit_from_scratch-{PROJECT['version']}.dist-info"}


@pytest.mark.slow
def test_the_installed_package_finds_its_data(elsewhere):
    code = ("import json; from vit_from_scratch import __file__, __version__, load_emoji, paths; "
            "print(json.dumps([__file__, __version__, len(load_emoji('val')), str(paths.BUILD), str(paths.CACHE)]))")
    file, version, count, *kept = json.loads(elsewhere("-c", code, VIT_FROM_SCRATCH_CACHE=""))
    assert Path(file).parent == elsewhere.site / "vit_from_scratch" and version == PROJECT["version"]
    assert count == len(vit_from_scratch.load_emoji("val"))
    assert {Path(path) for path in kept} == {platformdirs.user_cache_path("vit-from-scratch", appauthor=False)}


@pytest.mark.slow
def test_the_installed_package_trains(elsewhere):
    options = "--emb-dim 12 --num-layers 1 --num-heads 2 --epochs 1 --warmup-epochs 0.5 --batch-size 512 --device cpu"
    said = elsewhere("-c", command("vit-train"), "--recipe", "emoji", *options.split())
    assert "train 4,708, val 455" in said and "best.pt" in said
    assert (elsewhere.here / "kept" / "runs" / "emoji" / "best.pt").is_file()
    assert [path.name for path in elsewhere.here.iterdir()] == ["kept"]


@pytest.mark.slow
def test_the_installed_package_says_what_is_in_a_picture(elsewhere, tmp_path):
    torch.manual_seed(0)
    model = build()
    save_checkpoint(tmp_path / "captioner.pt", model)
    photo = elsewhere.site / "vit_from_scratch" / "embedded" / "photo.png"
    said = elsewhere("-c", command("vit-caption"), "--image", photo, "--checkpoint", tmp_path / "captioner.pt")
    assert said == vit_from_scratch.caption(model, photo).strip()


@pytest.mark.slow
def test_the_installed_package_predicts_and_exports(elsewhere, tiny, tmp_path):
    torch.manual_seed(0)
    model = ViTModel(tiny)
    save_checkpoint(tmp_path / "vit.pt", model, classes=["cat", "dog", "tree"])
    photo = elsewhere.site / "vit_from_scratch" / "embedded" / "photo.png"
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    shutil.copy(photo, tmp_path / "pets" / "cat")
    said = elsewhere("-c", command("vit-predict"), "--checkpoint", tmp_path / "vit.pt", tmp_path / "pets")
    assert said.splitlines()[0].startswith(f"{tmp_path / 'pets' / 'cat' / 'photo.png'}: ")
    assert said.splitlines()[-1].split()[:2] == ["all", "1"]
    graph = tmp_path / "vit.pt2"
    said = elsewhere("-c", command("vit-export"), "--checkpoint", tmp_path / "vit.pt", "--output", graph)
    assert "within " in said
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(torch.export.load(graph).module()(images), model.eval()(images), atol=1e-5)
