"""A trained ViT as a graph: any batch size, the same answers, and the command that writes it.

What needs onnx, onnxscript and onnxruntime, from scripts/bench/requirements.txt, is slow.
"""

import importlib.util
import json
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from vit_from_scratch import export_command
from vit_from_scratch.checkpoint import save_checkpoint
from vit_from_scratch.config import ViTConfig
from vit_from_scratch.export_command import export_model, main
from vit_from_scratch.gpt import GPTConfig, GPTModel
from vit_from_scratch.model import ViTModel

SHAPES = {
    "plain": {},
    "grey": {"num_channels": 1},
    "not square": {"image_size": (8, 12), "patch_size": (4, 2)},
    "layer_scale": {"layer_scale": 0.3},
    "no classes": {"num_classes": 0},
    "no bias, one block": {"qkv_bias": False, "num_layers": 1, "mlp_ratio": 15 / 16},
    "all of it": {"num_channels": 1, "image_size": (8, 12), "layer_scale": 0.3, "num_classes": 0, "drop_rate": 0.5},
}
BATCHES = (1, 3, 17)
every_shape = pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)


@torch.no_grad()
def randomised(config: ViTConfig) -> ViTModel:
    """In training mode, with no zeros and ones left."""
    model = ViTModel(config)
    for parameter in model.parameters():
        parameter.normal_(std=0.5)
    return model


def pictures(config: ViTConfig, count: int) -> torch.Tensor:
    return torch.randn(count, config.num_channels, *config.image_size)


def assert_the_same(graph, model: ViTModel) -> None:
    """For every size of batch, within 1e-5, and not a constant."""
    for count in BATCHES:
        images = pictures(model.config, count)
        with torch.no_grad():
            expected, out = model.eval()(images), graph(images)
        assert out.shape == expected.shape == (count, model.config.num_classes or model.config.emb_dim)
        assert expected.std() > 0.1
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


def read_pt2(path) -> tuple:
    notes = dict.fromkeys(("config", "classes", "preprocessing"), "")
    graph = torch.export.load(str(path), extra_files=notes).module()
    return graph, {name: json.loads(text) for name, text in notes.items()}


def read_onnx(path) -> tuple:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    notes = session.get_modelmeta().custom_metadata_map
    return (lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
            {name: json.loads(text) for name, text in notes.items()})


# ---- nothing nails the batch ----


@every_shape
def test_torch_export_leaves_the_batch_free(tiny, changes):
    model = randomised(tiny.replace(**changes)).eval()
    program = torch.export.export(model, (pictures(model.config, 2),), strict=False,
                                  dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert_the_same(program.module(), model)


@every_shape
@pytest.mark.filterwarnings("ignore")  # the tracer says that it doesn't follow the checks of shapes
def test_a_trace_leaves_the_batch_free(tiny, changes):
    model = randomised(tiny.replace(**changes)).eval()
    if hasattr(torch.jit, "trace"):
        assert_the_same(torch.jit.trace(model, pictures(model.config, 2)), model)


def test_forward_features_leaves_the_batch_free(tiny):
    class Features(ViTModel):
        def forward(self, images):
            return self.forward_features(images)

    model = Features(tiny).eval()
    program = torch.export.export(model, (pictures(tiny, 2),), strict=False,
                                  dynamic_shapes=({0: torch.export.Dim("batch")},))
    for count in BATCHES:
        images = pictures(tiny, count)
        torch.testing.assert_close(program.module()(images), model(images), rtol=0, atol=1e-5)


def test_the_graph_knows_nothing_of_this_machine(tiny):
    """No operation of one kind of CPU, and the same with another way to compute."""
    def operations() -> list[str]:
        program = torch.export.export(ViTModel(tiny).eval(), (pictures(tiny, 2),), strict=False,
                                      dynamic_shapes=({0: torch.export.Dim("batch")},))
        return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]

    here = operations()
    with torch.backends.mkldnn.flags(enabled=False), nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        assert operations() == here
    assert len(here) > 20 and not [name for name in here if "mkldnn" in name or "_for_cpu" in name or "flash" in name]


@pytest.mark.filterwarnings("ignore")
@every_shape
def test_quantization_reaches_every_linear_layer(tiny, changes):
    quantization = pytest.importorskip("torch.ao.quantization")
    model = ViTModel(tiny.replace(**changes)).eval()
    small = quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert not [name for name, module in small.named_modules() if type(module) is nn.Linear]
    replaced = [module for module in small.modules() if isinstance(module, torch.ao.nn.quantized.dynamic.Linear)]
    assert len(replaced) == 4 * model.config.num_layers + (model.config.num_classes > 0)
    images = pictures(model.config, 17)
    with torch.no_grad():
        expected, out = model(images), small(images)
    assert 0 < (out - expected).abs().max() < 0.1 * expected.abs().max()


# ---- export_model ----


@every_shape
def test_a_pt2_file(tiny, changes, tmp_path):
    model = randomised(tiny.replace(**changes))
    model.classes = ["cat", "dog", "tree"] if model.config.num_classes else None
    assert export_model(model, tmp_path / "new" / "vit.pt2") < 1e-5
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    graph, notes = read_pt2(tmp_path / "new" / "vit.pt2")
    assert_the_same(graph, model)
    assert ViTConfig(**notes["config"]) == model.config and notes["classes"] == model.classes
    assert notes["preprocessing"] == json.loads(json.dumps(model.config.to_dict()["preprocessing"]))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["vit.pt2"]


def test_a_wrapped_model_is_unwrapped_and_keeps_its_classes(tiny, tmp_path):
    model = nn.DataParallel(ViTModel(tiny))
    model.module.classes = ("one", "two", "three")
    export_model(model, tmp_path / "vit.pt2")
    graph, notes = read_pt2(tmp_path / "vit.pt2")
    assert_the_same(graph, model.module)
    assert notes["classes"] == ["one", "two", "three"]


def test_a_model_with_another_part_is_exported_as_it_is(tiny, tmp_path):
    model = randomised(tiny)
    model.encoder.blocks[1].feed_forward.layers[1] = nn.ReLU()
    export_model(model, tmp_path / "vit.pt2")
    assert_the_same(read_pt2(tmp_path / "vit.pt2")[0], model)


@pytest.mark.slow
def test_the_graph_needs_nothing_of_ours(tiny, tmp_path):
    export_model(ViTModel(tiny), tmp_path / "vit.pt2")
    code = ("import sys, torch; graph = torch.export.load(sys.argv[1]).module(); "
            "print(*graph(torch.zeros(5, 3, 8, 8)).shape, [name for name in sys.modules if 'vit_from' in name])")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "vit.pt2")], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.stdout.strip() == "5 3 []", done.stderr


@pytest.mark.parametrize("name", ["vit", "vit.pt", "vit.ONNX", "vit.onnx.gz", ".pt2"])
def test_another_suffix_is_refused(refuses, tiny, tmp_path, name):
    with refuses(ValueError, name, "expected a name that ends in .onnx or .pt2"):
        export_model(ViTModel(tiny), tmp_path / name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_refused_with_a_way_out(refuses, tiny, tmp_path, dtype):
    model = ViTModel(tiny).to(dtype)
    with refuses(ValueError, str(dtype), "expected float32", "model.float()"):
        export_model(model, tmp_path / "vit.pt2")
    assert export_model(model.float(), tmp_path / "vit.pt2") < 1e-5


@pytest.mark.parametrize("other", [nn.Linear(2, 2), "vit.pt", None])
def test_another_model_is_refused(refuses, tmp_path, other):
    with refuses(TypeError, type(other).__name__, "expected a ViTModel"):
        export_model(other, tmp_path / "vit.pt2")


def test_nothing_is_overwritten_unasked(refuses, tiny, tmp_path):
    path = tmp_path / "vit.pt2"
    path.write_text("dear")
    with refuses(FileExistsError, "is there already", "another name", "overwrite=True"):
        export_model(ViTModel(tiny), path)
    assert path.read_text() == "dear"
    model = randomised(tiny)
    export_model(model, path, overwrite=True)
    assert_the_same(read_pt2(path)[0], model)


@pytest.mark.parametrize("answer", [torch.zeros(3, 3), torch.full((3, 3), float("nan"))], ids=["zeros", "NaN"])
def test_a_graph_that_answers_otherwise_is_not_left(refuses, tiny, tmp_path, monkeypatch, answer):
    monkeypatch.setattr(export_command, "_reader", lambda file, kind: lambda images: answer[: len(images)])
    (tmp_path / "vit.pt2").write_text("dear")
    with refuses(ValueError, "differs from the model", "nothing was written"):
        export_model(randomised(tiny), tmp_path / "vit.pt2", overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["dear"]


def test_weights_beyond_what_onnx_holds_are_refused(refuses, tmp_path, monkeypatch):
    monkeypatch.setattr(export_command, "find_spec", lambda name: True)
    with torch.device("meta"):
        model = ViTModel(ViTConfig(image_size=32, patch_size=8, emb_dim=4096, num_layers=3, num_heads=8, num_classes=0))
    with refuses(ValueError, "2,4", "bytes", "2 GiB", "write a .pt2 file"):
        export_model(model, tmp_path / "vit.onnx")


# ---- the command ----


@pytest.fixture
def file(tmp_path, tiny) -> str:
    save_checkpoint(tmp_path / "vit.pt", ViTModel(tiny), classes=["cat", "dog", "tree"])
    return str(tmp_path / "vit.pt")


def test_the_command_writes_a_graph(file, tmp_path, capsys):
    path = str(tmp_path / "graph.pt2")
    assert main(["--checkpoint", file, "--output", path]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: images (batch, 3, 8, 8) in, within ") and len(said.splitlines()) == 1
    graph, notes = read_pt2(path)
    assert_the_same(graph, ViTModel.load(file))
    assert notes["classes"] == ["cat", "dog", "tree"]
    assert main(["--checkpoint", file, "--output", path]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["--checkpoint", file, "--output", path, "--overwrite"]) == 0


@pytest.mark.parametrize(("words", "message"), [
    (["--checkpoint", "none.pt", "--output", "a.pt2"], "no checkpoint at none.pt"),
    (["--checkpoint", "text.pt", "--output", "a.pt2"], "text.pt is no checkpoint, or is cut short"),
    (["--checkpoint", "gpt.pt", "--output", "a.pt2"], "no ViTModel but a GPTModel"),
    (["--checkpoint", "vit.pt", "--output", "a.pth"], "expected a name that ends in .onnx or .pt2"),
    (["--checkpoint", "vit.pt", "--output", "text.pt/a.pt2"], "text.pt"),
    (["--checkpoint", "vit.pt", "--output", "a.onnx"], "pip install onnx onnxscript onnxruntime"),
])  # fmt: skip
def test_a_mistake_ends_with_one_line_and_code_2(words, message, file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(export_command, "find_spec", lambda name: None if name.startswith("onnx") else find(name))
    (tmp_path / "text.pt").write_text("no checkpoint")
    save_checkpoint("gpt.pt", GPTModel(GPTConfig(vocab_size=9, context_length=4, emb_dim=8, num_layers=1, num_heads=2)))
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("vit-export: ") and message in said.err and len(said.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpt.pt", "text.pt", "vit.pt"]


@pytest.mark.parametrize("words", [[], ["--checkpoint", "vit.pt"], ["--output", "vit.pt2"]])
def test_a_command_that_lacks_something_says_how_it_is_used(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and "usage: vit-export" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and all(f"--{name}" in text for name in ("checkpoint", "output", "overwrite"))


# ---- ONNX ----


@pytest.mark.slow
@every_shape
def test_an_onnx_file(tiny, changes, tmp_path):
    import onnx

    model = randomised(tiny.replace(**changes))
    model.classes = ["cat", "dog", "träd"] if model.config.num_classes else None
    assert export_model(model, tmp_path / "vit.onnx") < 1e-5
    graph, notes = read_onnx(tmp_path / "vit.onnx")
    assert_the_same(graph, model)
    assert ViTConfig(**notes["config"]) == model.config and notes["classes"] == model.classes
    assert notes["preprocessing"] == json.loads(json.dumps(model.config.to_dict()["preprocessing"]))
    assert [path.name for path in tmp_path.iterdir()] == ["vit.onnx"]  # in one piece
    written = onnx.load(tmp_path / "vit.onnx")
    onnx.checker.check_model(written, full_check=True)
    (images,), (out,) = written.graph.input, written.graph.output
    assert (images.name, out.name) == ("images", "logits" if model.config.num_classes else "features")
    assert images.type.tensor_type.shape.dim[0].dim_param == out.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [opset.version for opset in written.opset_import if not opset.domain] == [18]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@every_shape
def test_the_older_exporter_of_torch_works_too(tiny, changes, tmp_path):
    model = randomised(tiny.replace(**changes)).eval()
    try:
        torch.onnx.export(model, (pictures(model.config, 2),), str(tmp_path / "vit.onnx"), dynamo=False,
                          input_names=["images"], output_names=["out"], dynamic_axes={"images": {0: "batch"}})
    except TypeError:
        pytest.skip("this torch has no TorchScript exporter")
    assert_the_same(read_onnx(tmp_path / "vit.onnx")[0], model)


@pytest.mark.slow
def test_the_onnx_graph_knows_nothing_of_this_machine(tiny, tmp_path):
    import onnx

    def nodes(name: str) -> list:
        export_model(ViTModel(tiny), tmp_path / name)
        return [(node.op_type, node.domain, len(node.input)) for node in onnx.load(tmp_path / name).graph.node]

    here = nodes("here.onnx")
    with torch.backends.mkldnn.flags(enabled=False), nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        assert nodes("there.onnx") == here
    assert {domain for _, domain, _ in here} == {""} and "Attention" not in {kind for kind, _, _ in here}


@pytest.mark.slow
def test_the_command_writes_onnx_and_says_if_it_was_not_compared(file, tmp_path, capsys, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert main(["--checkpoint", file, "--output", str(tmp_path / "a.onnx")]) == 0
    said = capsys.readouterr()
    assert "within " in said.out and len(said.out.splitlines()) == 1 and "Traceback" not in said.err
    find = importlib.util.find_spec
    monkeypatch.setattr(export_command, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert main(["--checkpoint", file, "--output", str(tmp_path / "b.onnx")]) == 0
    assert "not compared with the model: pip install onnxruntime" in capsys.readouterr().out
    for name in ("a.onnx", "b.onnx"):
        assert_the_same(read_onnx(tmp_path / name)[0], ViTModel.load(file))
