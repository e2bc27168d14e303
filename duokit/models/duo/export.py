"""A duo for other programs: torch.export and ONNX, kept only if they answer as the duo does.

export_onnx(duo, "duo.onnx").difference
export_torch(duo, "duo.pt2")
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duokit.logits.files import write_whole
from duokit.models.duo.file import metadata, with_suffix
from duokit.models.duo.module import AsymmetricDuo

NAMES = ("large_inputs", "small_inputs")
OUTPUT = "logits"
TRACED = 2  # pictures while tracing; torch takes 0 and 1 for sizes that never change
BATCHES = (1, 2, 5)  # pictures in each check, so that a size frozen in the graph is found
LARGEST = 2**31 - 2**20  # bytes; an ONNX file is a protobuf message, which must stay below 2 GiB

Graph = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how well what it holds agreed with the duo.

    Attributes:
        path: the file.
        difference: largest absolute difference of a logit from the duo's.
        scale: largest absolute logit of the duo in the check.
        tolerance: what difference / scale was allowed to be.
        batches: numbers of pictures that were tried.
    """

    path: Path
    difference: float
    scale: float
    tolerance: float
    batches: tuple[int, ...] = BATCHES


def export_torch(
    duo: AsymmetricDuo, path: str | Path, *, tolerance: float = 1e-4, overwrite: bool = False
) -> Exported:
    """Returns what the check found, after writing the duo's `forward` by torch.export (.pt2).

    The program takes (large_inputs, small_inputs), any number of prepared pictures, and returns the
    duo's logits in float32; `torch.export.load(path).module()` gives it back. Before anything is
    written, the bytes are loaded again and compared with the duo on `AsymmetricDuo.example_inputs`.
    The duo itself stays as it is: a float32 copy on the CPU is exported.

    Args:
        duo: what to export.
        path: file to write; ".pt2" is added if it has no suffix.
        tolerance: largest difference of a logit allowed, as a share of the largest logit.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        ValueError: another suffix, or a program that differs from the duo by more than the
            tolerance.
    """
    path, plain = with_suffix(path, ".pt2"), _plain(duo)
    inputs = plain.example_inputs(TRACED)
    buffer = io.BytesIO()
    with torch.no_grad():
        program = torch.export.export(plain, inputs, dynamic_shapes=_free())
    torch.export.save(program, buffer)
    raw = buffer.getvalue()
    found = _compare(plain, torch.export.load(io.BytesIO(raw)).module(), path, tolerance)
    write_whole(path, raw, overwrite=overwrite)
    return found


def export_onnx(
    duo: AsymmetricDuo, path: str | Path, *, tolerance: float = 1e-4, overwrite: bool = False
) -> Exported:
    """Returns what the check found, after writing the duo's `forward` as one ONNX file.

    The graph takes `large_inputs` and `small_inputs`, any number of prepared pictures, and returns
    `logits`, float32. The file's metadata "duokit" says in JSON how each member's pictures are
    prepared, and the names of the classes. Before anything is written, onnxruntime runs the very
    bytes on the CPU; otherwise as `export_torch`.

    Args:
        duo: what to export.
        path: file to write; ".onnx" is added if it has no suffix.
        tolerance: as for `export_torch`.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is missing.
        ValueError: as `export_torch`, or the duo has 2 GiB or more, which no ONNX file can hold.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _package(package)
    path, plain = with_suffix(path, ".onnx"), _plain(duo)
    size = sum(values.nbytes for values in plain.state_dict().values())
    if size > LARGEST:
        raise ValueError(
            f"the duo has {size / 2**30:.1f} GiB, and an ONNX file must stay below 2: "
            "use export_torch"
        )
    with torch.no_grad():
        program = torch.onnx.export(
            plain,
            plain.example_inputs(TRACED),
            dynamo=True,
            dynamic_shapes=_free(),
            input_names=list(NAMES),
            output_names=[OUTPUT],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program; is torch 2.6 or newer?")
    program.model.metadata_props["duokit"] = json.dumps(metadata(plain))
    raw = program.model_proto.SerializeToString()
    found = _compare(plain, _onnx_graph(raw), path, tolerance)
    write_whole(path, raw, overwrite=overwrite)
    return found


def _plain(duo: AsymmetricDuo) -> AsymmetricDuo:
    """Returns a copy in float32, on the CPU, in eval mode."""
    return copy.deepcopy(duo).cpu().float().eval()


def _free() -> dict[str, Any]:
    """Returns that the number of pictures is free, and the same in both inputs."""
    number = torch.export.Dim("pictures", min=1)
    return {name: {0: number} for name in NAMES}


def _onnx_graph(raw: bytes) -> Graph:
    """Returns the function that runs an ONNX file in onnxruntime, on the CPU."""
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    known = {each.name for each in session.get_inputs()}  # a member of weight 0 may have none

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        given = {name: each.numpy() for name, each in zip(NAMES, inputs, strict=True)}
        asked = {name: values for name, values in given.items() if name in known}
        return torch.from_numpy(session.run([OUTPUT], asked)[0])

    return run


def _compare(duo: AsymmetricDuo, graph: Graph, path: Path, tolerance: float) -> Exported:
    """Returns how far the graph's answers lie from the duo's; raises if too far."""
    difference = scale = 0.0
    with torch.inference_mode():
        for number in BATCHES:
            inputs = duo.example_inputs(number, seed=number)
            expected, found = duo(*inputs), graph(*inputs)
            if found.shape != expected.shape or found.dtype != expected.dtype:
                raise ValueError(
                    f"{path} was not written: for {number} pictures the exported graph gives "
                    f"{found.dtype} {tuple(found.shape)}, the duo "
                    f"{expected.dtype} {tuple(expected.shape)}"
                )
            gap = float((found - expected).abs().max())
            difference = float(np.maximum(difference, gap))  # keeps what is not a number
            scale = max(scale, float(expected.abs().max()))
    if not difference <= tolerance * scale:  # also where it is not a number
        raise ValueError(
            f"{path} was not written: the exported graph differs from the duo by {difference:.3g} "
            f"in a logit, where logits reach {scale:.3g} and {tolerance * scale:.3g} is allowed"
        )
    return Exported(path, difference, scale, tolerance)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"export_onnx needs {name}: pip install 'duokit[export]'", name=error.name
        ) from error
