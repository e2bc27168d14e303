"""What is exported answers as the duo does, for any number of pictures, or is not written."""

import json
import sys

import pytest
import torch

from duokit.models import Preprocessing
from duokit.models.duo import export as module
from duokit.models.duo.export import export_onnx, export_torch
from duokit.models.duo.member import Member
from duokit.models.duo.module import AsymmetricDuo

HALF = (0.5, 0.5, 0.5)


def make_duo(tiny, weights=(0.75, 0.3)):
    """Members of a few layers, at two sizes; their names serve the file's metadata alone."""
    generator = torch.Generator().manual_seed(1)
    small = type(tiny)()
    with torch.no_grad():
        for each in small.parameters():
            each.copy_(torch.randn(each.shape, generator=generator))
    members = tuple(
        Member("test_resnet", Preprocessing(side, 1.0, "bilinear", HALF, HALF)) for side in (12, 8)
    )
    return AsymmetricDuo(
        tiny, small, weights, members=members, classes=3, class_names=("top", "below", "none")
    )


def test_torch_export_answers_as_the_duo(tiny, tmp_path):
    duo = make_duo(tiny).train()
    found = export_torch(duo, tmp_path / "duo.pt2")
    assert found.difference <= found.tolerance * found.scale
    assert found.scale > 0.1
    assert duo.training  # the duo itself stays as it was
    run = torch.export.load(found.path).module()
    with torch.no_grad():
        inputs = duo.example_inputs(7, seed=7)  # a number that neither tracing nor the check used
        torch.testing.assert_close(run(*inputs), duo.eval()(*inputs))


def session_of(path):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("weights", [(0.75, 0.3), (0.0, 1.5)])
def test_onnx_answers_as_the_duo(tiny, tmp_path, weights):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    duo = make_duo(tiny, weights).eval()
    found = export_onnx(duo, tmp_path / "duo.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["duo.onnx"]
    assert found.difference <= found.tolerance * found.scale
    session = session_of(found.path)
    inputs = duo.example_inputs(7, seed=7)
    given = dict(zip(("large_inputs", "small_inputs"), inputs, strict=True))
    asked = {each.name: given[each.name].numpy() for each in session.get_inputs()}
    with torch.no_grad():
        answer = torch.from_numpy(session.run(["logits"], asked)[0])
        torch.testing.assert_close(answer, duo(*inputs), rtol=1e-4, atol=1e-5)
    about = json.loads(session.get_modelmeta().custom_metadata_map["duokit"])
    assert about["class_names"] == ["top", "below", "none"]
    assert about["members"][1]["preprocessing"]["resolution"] == 8


def test_what_differs_is_not_written(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"duo\.pt2 was not written: .* differs from the duo"):
        export_torch(make_duo(tiny), tmp_path / "duo.pt2", tolerance=-1.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda logits: logits + 0.01, "differs from the duo by"),
        (lambda logits: logits * float("nan"), "was not written"),
        (lambda logits: logits[:1], "pictures the exported graph gives"),
        (lambda logits: logits.double(), "torch.float64"),
    ],
    ids=["values", "nan", "number", "dtype"],
)
def test_the_check_sees_another_answer(tiny, tmp_path, change, words):
    duo = make_duo(tiny).eval()
    with pytest.raises(ValueError, match=words):
        module._compare(duo, lambda *inputs: change(duo(*inputs)), tmp_path, 1e-4)


def test_a_file_is_replaced_only_when_told(tiny, tmp_path):
    path = tmp_path / "duo.pt2"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"duo\.pt2 exists"):
        export_torch(make_duo(tiny), path)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(tiny, tmp_path, monkeypatch, package):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, torch)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{package}: pip install 'duokit\[export\]'"):
        export_onnx(make_duo(tiny), tmp_path / "duo.onnx")


def test_a_duo_too_large_for_onnx_is_refused(tiny, tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, torch)
    monkeypatch.setattr(module, "LARGEST", 100)
    with pytest.raises(ValueError, match="an ONNX file must stay below 2: use export_torch"):
        export_onnx(make_duo(tiny), tmp_path / "duo.onnx")
