"""The promise of the series: a core that reads in one sitting, and modules that stand on each other in one order."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vit_from_scratch"
CORE = ["patches", "embeddings", "attention", "encoder", "config", "model"]
ORDER = ["paths", "plots", "preprocessing", "data", *CORE, "evaluation", "checkpoint", "training", "emoji_vit",
         "commands", "predict_command", "inspection", "pretrained", "transfer", "export_command", "scenes", "tokenizer",
         "gpt", "scene_gpt", "generation", "gpt2", "captions", "vlm", "captioner", "caption_command", "contrastive",
         "pictures", "recipe", "distributed", "train_command"]  # fmt: skip
LIMIT = 320
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Lines that hold more than blanks, comments and docstrings."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_counter_counts():
    source = '"""Doc."""\n\n# comment\nx = (1,  # more\n     2)\n'
    source += 'def f():\n    """Doc,\n    longer."""\n    return """a\n\nb"""\n'
    assert lines_of_code(source) == 6  # two of x, one of def, three of return


def test_the_core_is_small():
    counts = {name: lines_of_code((PACKAGE / f"{name}.py").read_text(encoding="utf-8")) for name in CORE}
    assert min(counts.values()) > 5
    assert sum(counts.values()) <= LIMIT, counts


FORWARD = {("model", "checkpoint")}  # `ViTModel.save` and `load`, when they are called


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:  # from .x import y; from . import x
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {f"vit_from_scratch.{name}" for name in names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            if node.module == "vit_from_scratch":
                found |= {f"vit_from_scratch.{alias.name}" for alias in node.names}
    return found


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def test_every_module_has_its_place():
    assert set(CORE) <= set(modules()) == set(ORDER)


def test_there_is_one_training_loop():
    """All lessons train with lesson 06's: no other place computes gradients, or takes an optimizer's step."""
    sources = {name: (PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in modules()}
    for call in (".backward()", "optimizer.step()"):
        assert {name: source.count(call) for name, source in sources.items() if call in source} == {"training": 1}


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_from_those_above_it(name):
    own = {full.split(".")[1] for full in imports_of(PACKAGE / f"{name}.py") if full.startswith("vit_from_scratch.")}
    above = set(ORDER[: ORDER.index(name)])
    own -= {later for earlier, later in FORWARD if earlier == name}
    assert own <= above, f"{name} imports {own - above}"
    if name in CORE:
        assert "data" not in own, f"{name} is of the core, and must not know where pictures come from"


@pytest.mark.parametrize("name", [*modules(), "__init__"])
def test_the_package_knows_nothing_of_scripts_and_tests(name):
    roots = {full.split(".")[0] for full in imports_of(PACKAGE / f"{name}.py")}
    others = {"scripts", "tests", "notebooks", "classroom", "conftest", "export", "build_emoji", "run_series", "nbdev"}
    assert not roots & others
