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
from duokit.models.duo import AsymmetricDuo

NAMES = ("large_inputs", "small_inputs")
OUTPUT = "logits"
TRACED = 2  # pictures while tracing; torch takes 0 and 1 for sizes that never change
BATCHES = (1, 2, 5)  # pictures in each check, so that a size frozen in the graph is found
LARGEST = 2**31 - 2**20  # bytes; an ONNX file is a protobuf message, which must stay below 2 GiB

Pair = tuple[torch.Tensor, torch.Tensor]


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
    duo: AsymmetricDuo,
    path: str | Path,
    *,
    tolerance: float = 1e-4,
    seed: int = 0,
    overwrite: bool = False,
) -> Exported:
    """Returns what the check found, after writing the duo's `forward` by torch.export (.pt2).

    The program takes (large_inputs, small_inputs), any number of prepared pictures, and returns the
    duo's logits in float32; `torch.export.load(path).module()` gives it back. Before anything is
    written, the bytes are loaded again and compared with the duo on random pictures. The duo itself
    stays as it is: a float32 copy on the CPU is exported.

    Args:
        duo: what to export.
        path: file to write.
        tolerance: largest difference of a logit allowed, as a share of the largest logit.
        seed: of the random pictures of the check.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        ValueError: the program differs from the duo by more than the tolerance.
    """
    plain = _plain(duo)
    buffer = io.BytesIO()
    with torch.no_grad():
        program = torch.export.export(plain, _pictures(plain, TRACED, seed), dynamic_shapes=_free())
    torch.export.save(program, buffer)
    run = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    found = _compare(plain, lambda *inputs: run(*inputs), Path(path), tolerance, seed)
    write_whole(path, buffer.getvalue(), overwrite=overwrite)
    return found


def export_onnx(
    duo: AsymmetricDuo,
    path: str | Path,
    *,
    tolerance: float = 1e-4,
    seed: int = 0,
    overwrite: bool = False,
) -> Exported:
    """Returns what the check found, after writing the duo's `forward` as one ONNX file.

    The graph takes `large_inputs` and `small_inputs`, any number of prepared pictures, and returns
    `logits`, float32. The file's metadata "duokit" says in JSON how each member's pictures are
    prepared, and the names of the classes. Before anything is written, onnxruntime runs the very
    bytes on the CPU, and its answers are compared with the duo's on random pictures. The duo itself
    stays as it is: a float32 copy on the CPU is exported.

    Args:
        duo: what to export.
        path: file to write.
        tolerance: as for `export_torch`.
        seed: as for `export_torch`.
        overwrite: as for `export_torch`.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is missing.
        ValueError: the graph differs from the duo by more than the tolerance, or the duo has 2 GiB
            or more, which no ONNX file can hold.
    """
    for package in ("onnx", "onnxscript"):
        _package(package)
    runtime = _package("onnxruntime")
    plain = _plain(duo)
    size = sum(values.nbytes for values in plain.state_dict().values())
    if size > LARGEST:
        raise ValueError(
            f"the duo has {size / 2**30:.1f} GiB, and an ONNX file must stay below 2: "
            "use export_torch"
        )
    with torch.no_grad():
        program = torch.onnx.export(
            plain,
            _pictures(plain, TRACED, seed),
            dynamo=True,
            dynamic_shapes=_free(),
            input_names=list(NAMES),
            output_names=[OUTPUT],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program; is torch 2.6 or newer?")
    program.model.metadata_props["duokit"] = json.dumps(plain.metadata())
    raw = program.model_proto.SerializeToString()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    known = {each.name for each in session.get_inputs()}  # a member of weight 0 may have none

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        given = {name: values.numpy() for name, values in zip(NAMES, inputs, strict=True)}
        asked = {name: values for name, values in given.items() if name in known}
        return torch.from_numpy(session.run([OUTPUT], asked)[0])

    found = _compare(plain, run, Path(path), tolerance, seed)
    write_whole(path, raw, overwrite=overwrite)
    return found


def _plain(duo: AsymmetricDuo) -> AsymmetricDuo:
    """Returns a copy in float32, on the CPU, in eval mode."""
    return copy.deepcopy(duo).cpu().float().eval()


def _pictures(duo: AsymmetricDuo, number: int, seed: int) -> Pair:
    """Returns random inputs of both members, with about the values of normalised pictures."""
    generator = torch.Generator().manual_seed(seed)
    sides = [member.preprocessing.resolution for member in duo.members]
    large, small = (torch.randn(number, 3, side, side, generator=generator) for side in sides)
    return large, small


def _free() -> dict[str, Any]:
    """Returns that the number of pictures is free, and the same in both inputs."""
    number = torch.export.Dim("pictures", min=1)
    return {name: {0: number} for name in NAMES}


def _compare(
    duo: AsymmetricDuo,
    run: Callable[..., torch.Tensor],
    path: Path,
    tolerance: float,
    seed: int,
) -> Exported:
    """Returns how far the answers lie from the duo's; raises if too far."""
    difference = scale = 0.0
    with torch.inference_mode():
        for number in BATCHES:
            inputs = _pictures(duo, number, seed + number)
            expected, found = duo(*inputs), run(*inputs)
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
