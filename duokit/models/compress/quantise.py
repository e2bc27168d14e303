"""A network as an ONNX graph, in float32 and in int8, and a network that runs such a graph.

graph = float_graph(model, resolution=192)
OnnxNetwork(quantise(graph))(pictures)

onnxruntime does it, since torch.ao.quantization is deprecated in torch 2.12 (it warns that it will
be removed), and its successor torchao does not quantise convolutions on a CPU this way.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

INPUT, OUTPUT = "pictures", "logits"
TRACED = 2  # pictures while tracing; torch takes 0 and 1 for sizes that never change
CHECKED = (1, 3)  # pictures in each check, so that a size frozen in the graph is found
ONLY_ERRORS = 3


class OnnxNetwork(nn.Module):
    """A network that onnxruntime runs on the CPU, called like any other; it cannot be trained."""

    def __init__(self, graph: bytes, *, threads: int | None = None) -> None:
        """Makes the network.

        Args:
            graph: an ONNX file with one input, pictures, and one output, logits.
            threads: of the CPU; those that torch may use if not given.
        """
        super().__init__()
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads = threads or torch.get_num_threads()
        options.log_severity_level = ONLY_ERRORS
        self.session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns the logits, (n, k) float32, of prepared pictures (n, 3, height, width)."""
        given = {INPUT: pictures.contiguous().numpy()}
        return torch.from_numpy(self.session.run([OUTPUT], given)[0])


def float_graph(model: nn.Module, resolution: int, *, tolerance: float = 1e-4) -> bytes:
    """Returns the network as an ONNX file in float32, for any number of pictures.

    BatchNorm becomes part of the convolutions before it. The network stays as it is.

    Args:
        model: a network; a copy of it in eval mode is exported.
        resolution: side of the input in pixels.
        tolerance: largest difference of a logit allowed between the file and the network, on random
            pictures, as a share of the largest logit.

    Raises:
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is missing.
        ValueError: the file answers otherwise than the network.
    """
    plain = copy.deepcopy(model).cpu().float().eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    number = torch.export.Dim("pictures", min=1)
    with torch.no_grad():
        program = torch.onnx.export(
            plain, (_noise(TRACED, resolution),), dynamo=True, dynamic_shapes=({0: number},),
            input_names=[INPUT], output_names=[OUTPUT], verbose=False,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program; is torch 2.6 or newer?")
    graph: bytes = program.model_proto.SerializeToString()
    again = OnnxNetwork(graph)
    with torch.inference_mode():
        for many in CHECKED:
            expected = plain(_noise(many, resolution))
            gap = float((again(_noise(many, resolution)) - expected).abs().max())
            allowed = tolerance * float(expected.abs().max())
            if not gap <= allowed:
                raise ValueError(
                    f"the ONNX graph of {type(model).__name__} differs from it by {gap:.3g} in a "
                    f"logit, where {allowed:.3g} is allowed: it cannot stand for the network"
                )
    return graph


def quantise(graph: bytes, *, calibration: Iterable[np.ndarray] | None = None) -> bytes:
    """Returns the graph with int8 weights.

    - dynamic, without calibration: activations are rounded by the range that they have in the very
      batch, so a logit depends on its neighbours. Weights are unsigned: only then has onnxruntime a
      fast convolution for it on x86, and no sum of two products saturates. A convolution has one
      scale for all of its weights, which is coarse where channels differ: onnxruntime's dynamic
      convolution knows no other.
    - static, with calibration: ranges are the least and the largest value seen on these pictures,
      once and for all; weights are signed, with a scale for each output channel, activations
      unsigned.

    Args:
        graph: what `float_graph` returned.
        calibration: batches (n, 3, height, width) float32 of prepared training pictures.

    Raises:
        ModuleNotFoundError: onnx or onnxruntime is missing.
        ValueError: a calibration without pictures.

    Source: integer arithmetic for networks, arXiv 1712.05877; done by onnxruntime.quantization.
    """
    tools = import_module("onnxruntime.quantization")
    signed, unsigned = tools.QuantType.QInt8, tools.QuantType.QUInt8
    with tempfile.TemporaryDirectory() as place:
        raw, ready, done = (Path(place) / f"{name}.onnx" for name in ("raw", "ready", "done"))
        raw.write_bytes(graph)
        shapes = import_module("onnxruntime.quantization.shape_inference")
        shapes.quant_pre_process(str(raw), str(ready))
        if calibration is None:
            tools.quantize_dynamic(ready, done, per_channel=True, weight_type=unsigned)
            return done.read_bytes()
        batches = iter(calibration)
        first = next(batches, None)
        if first is None or not len(first):
            raise ValueError("there are no pictures to calibrate with: give 1 or more")
        tools.quantize_static(
            ready, done, _reader(first, batches), per_channel=True,
            weight_type=signed, activation_type=unsigned,
        )  # fmt: skip
        return done.read_bytes()


def _reader(first: np.ndarray, others: Iterator[np.ndarray]) -> Any:
    """Returns what onnxruntime takes calibration pictures from, batch by batch."""
    base = import_module("onnxruntime.quantization").CalibrationDataReader

    class Reader(base):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            self.coming: np.ndarray | None = first

        def get_next(self) -> dict[str, np.ndarray] | None:
            now, self.coming = self.coming, next(others, None)
            return None if now is None else {INPUT: now}

    return Reader()


def _noise(pictures: int, resolution: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(pictures)
    return torch.randn(pictures, 3, resolution, resolution, generator=generator)
