"""An int8 graph answers nearly as the network does, and is a quarter of its size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from duokit.models import build
from duokit.models.compress.quantise import OnnxNetwork, float_graph, quantise
from duokit.models.inference import predict

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)


# Without these instructions onnxruntime adds products of bytes in 16 bits, which overflow.
CPU = Path("/proc/cpuinfo")
exact_int8 = pytest.mark.skipif(
    CPU.exists() and "vnni" not in CPU.read_text(), reason="a CPU without exact int8 products"
)


@pytest.fixture(scope="module")
def wide() -> nn.Module:
    """Returns a network whose weights are most of its file."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3)]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))
        for _ in range(3):
            model(torch.randn(16, 3, 8, 8))  # statistics of its own
        return model.to(memory_format=torch.channels_last)  # in training mode, as it stays


@pytest.fixture(scope="module")
def graph(wide) -> bytes:
    return float_graph(wide, 8)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def answers(model: nn.Module, pictures: torch.Tensor) -> np.ndarray:
    return predict(model, pictures, device="cpu", progress=False)


def kinds(raw: bytes) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load_from_string(raw).graph.node]


def test_a_float_graph_answers_as_the_network_and_leaves_it_alone(wide, graph, pictures):
    assert wide.training
    assert "BatchNormalization" not in kinds(graph)
    copy = nn.Sequential(*wide)
    np.testing.assert_allclose(
        answers(OnnxNetwork(graph), pictures), answers(copy, pictures), atol=1e-5
    )
    wide.train()


def test_a_graph_that_differs_is_refused(wide, monkeypatch):
    from duokit.models.compress import quantise as module

    class Wrong(OnnxNetwork):
        def forward(self, pictures):
            return super().forward(pictures) + 0.1

    monkeypatch.setattr(module, "OnnxNetwork", Wrong)
    with pytest.raises(ValueError, match=r"differs from it by 0\.1 in a logit"):
        float_graph(wide, 8)


@exact_int8
@pytest.mark.parametrize("static", [False, True])
def test_int8_is_close_and_a_quarter_of_the_size(graph, pictures, static):
    calibration = [pictures[:20].numpy(), pictures[20:].numpy()] if static else None
    small = quantise(graph, calibration=calibration)
    exact, found = (answers(OnnxNetwork(each), pictures) for each in (graph, small))
    error = np.abs(found - exact).max()
    assert 0 < error < 0.05 * np.abs(exact).max()
    assert "QLinearConv" in kinds(small) or {"ConvInteger", "DequantizeLinear"} & set(kinds(small))
    assert len(small) < 0.6 * len(graph)


@pytest.mark.parametrize("static", [False, True])
def test_each_channel_has_its_own_scale_if_static(static, pictures):
    """One channel is a thousand times larger: a common scale would round the others to nothing.

    That is what happens in a dynamic convolution, which has no other.
    """
    import onnx

    layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        layer[0].weight[0] *= 1000
    raw = quantise(float_graph(layer, 8), calibration=[pictures.numpy()] if static else None)
    held = {each.name: onnx.numpy_helper.to_array(each) for each in
            onnx.load_from_string(raw).graph.initializer}  # fmt: skip
    scales = [each for name, each in held.items() if "weight" in name and "scale" in name]
    if not static:
        assert [each.shape for each in scales] == [()]
        return
    assert [each.shape for each in scales] == [(8,)]
    assert scales[0][0] > 100 * scales[0][1:].max()


@exact_int8
def test_static_ranges_are_those_of_all_calibration_pictures(graph, pictures):
    narrow = [0.01 * pictures.numpy()]
    both = [*narrow, pictures.numpy()]
    exact = answers(OnnxNetwork(graph), pictures)
    errors = [
        np.abs(answers(OnnxNetwork(quantise(graph, calibration=each)), pictures) - exact).max()
        for each in (narrow, both, both[::-1])
    ]
    assert errors[0] > 5 * errors[1]  # clipped
    assert errors[1] == errors[2]  # order does not matter


def test_a_static_logit_does_not_depend_on_its_neighbours_a_dynamic_one_does(graph, pictures):
    static = OnnxNetwork(quantise(graph, calibration=[pictures.numpy()]))
    dynamic = OnnxNetwork(quantise(graph))
    loud = torch.cat([pictures[:1], 20 * pictures[1:2]])
    assert torch.equal(static(loud)[:1], static(pictures[:1]))
    assert not torch.equal(dynamic(loud)[:1], dynamic(pictures[:1]))


@pytest.mark.parametrize("nothing", [[], [np.zeros((0, 3, 8, 8), np.float32)]])
def test_calibration_needs_pictures(graph, nothing):
    with pytest.raises(ValueError, match="no pictures to calibrate"):
        quantise(graph, calibration=nothing)


def test_threads_are_those_of_torch_or_as_given(graph):
    assert OnnxNetwork(graph).threads == torch.get_num_threads()
    network = OnnxNetwork(graph, threads=1)
    assert network.session.get_session_options().intra_op_num_threads == 1


def test_a_network_of_timm_is_exported():
    model = build("test_efficientnet", classes=3, pretrained=None)
    some = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    raw = float_graph(model, 32)
    np.testing.assert_allclose(answers(OnnxNetwork(raw), some), answers(model, some), atol=1e-4)
