"""From a finished run to the same run with a smaller network, ready for `predict_records`.

smaller = compressed(load_run(folder), Compression("int8_static"), images)
predict_records(smaller, images)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from duokit.images import ImageSet
from duokit.models.compress.prune import prune_weights, zeros_kept
from duokit.models.compress.quantise import OnnxNetwork, float_graph, quantise
from duokit.models.compress.size import dense_file, nonzero_flops, sparse_file, sparsity
from duokit.models.pixels import decode
from duokit.models.transforms import preprocessing
from duokit.models.tuning.finetune import fine_tune
from duokit.models.tuning.run import Run, config_of, keep_splits, write_run
from duokit.models.tuning.tuned import on_top_of

BATCH = 16  # calibration pictures at a time
OPTIONS: dict[str, tuple[str, ...]] = {
    "int8_dynamic": (),
    "int8_static": ("images", "seed"),
    "pruned": ("sparsity", "epochs", "lr"),
    "resolution": ("pixels",),
}


@dataclass(frozen=True)
class Compression:
    """How a network is made smaller; an option counts only for the way that has it.

    Attributes:
        how: "int8_dynamic" and "int8_static" (`quantise`), "pruned" (`prune_weights`), or
            "resolution": the same weights, smaller pictures.
        images: training pictures that calibrate int8_static.
        seed: of their choice.
        sparsity: share of the weights that becomes 0, at least 0, below 1.
        epochs: of fine-tuning after pruning, zeros kept; 0 for none.
        lr: its largest learning rate; the other settings are those of the run.
        pixels: side of the pictures for "resolution".

    Raises:
        ValueError: another way, or an option that is missing or out of range.
    """

    how: Literal["int8_dynamic", "int8_static", "pruned", "resolution"]
    images: int = 128
    seed: int = 0
    sparsity: float | None = None
    epochs: int = 0
    lr: float = 1e-4
    pixels: int | None = None

    def __post_init__(self) -> None:
        if self.how not in OPTIONS:
            raise ValueError(f"how is {self.how!r}; expected one of {', '.join(OPTIONS)}")
        if self.how == "pruned" and (self.sparsity is None or not 0 <= self.sparsity < 1):
            raise ValueError(f"sparsity is {self.sparsity}; expected 0 or more, below 1")
        if self.how == "resolution" and (self.pixels is None or self.pixels < 1):
            raise ValueError(f"pixels is {self.pixels}; expected the side of the pictures, 1 up")
        if self.images < 1 or self.epochs < 0:
            raise ValueError(
                f"images is {self.images}, epochs {self.epochs}; expected 1 or more, 0 or more"
            )

    @property
    def name(self) -> str:
        """The way, for pruning with its sparsity; the folder of its records is called after it.

        If pruned0.7_tuned, it was fine-tuned afterwards.
        """
        if self.how != "pruned":
            return self.how
        return f"pruned{self.sparsity:g}" + ("_tuned" if self.epochs else "")

    def as_dict(self) -> dict[str, Any]:
        """Returns the way and its own options for a record."""
        return {"how": self.how} | {name: getattr(self, name) for name in OPTIONS[self.how]}

    def words(self) -> str:
        """Returns what was done, for a reader."""
        if self.how == "resolution":
            return f"shown pictures of {self.pixels} px"
        if self.how == "pruned":
            after = f", then {self.epochs} epochs of fine-tuning" if self.epochs else ""
            return f"{self.sparsity:.0%} of the weights pruned by magnitude{after}"
        if self.how == "int8_dynamic":
            return "int8 weights, activations rounded by the range of each batch"
        return f"int8 weights and activations, ranges from {self.images} training pictures"


def compressed(
    run: Run,
    how: Compression,
    image_set: ImageSet | None = None,
    *,
    folder: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Run:
    """Returns the run with a smaller network; the run itself stays as it is.

    Its config says in "compression" how, in "compressed_from" from which weights (SHA-256), and in
    "size" how many bytes a file takes, of which kind, and the same kind of file before. Networks
    in int8 run on the CPU alone, with as many threads as torch has, which "runtime" states.

    Args:
        run: what `load_run` returned.
        how: the way.
        image_set: pictures and labels of the run, for int8_static and for fine-tuning.
        folder: where fine-tuning keeps its checkpoint, and afterwards a finished run of its own; a
            run found there goes on.
        cache: where decoded pictures are kept; in memory alone if not given.
        device: "auto", "cpu", "cuda", "mps": where it is fine-tuned.
        progress: whether to show progress bars (on the error stream).

    Raises:
        ValueError: no pictures, or no folder, where they are needed; as `float_graph`, `quantise`,
            `on_top_of` and `fine_tune`.
        ModuleNotFoundError: int8 without onnx, onnxscript or onnxruntime.
    """
    needs_pictures = how.how == "int8_static" or how.epochs > 0
    if needs_pictures and image_set is None:
        raise ValueError(f"{how.name} needs the pictures that the run was trained on: image_set")
    where: dict[str, Any] = {"cache": cache, "progress": progress}
    about = {
        "compression": how.as_dict(),
        "compressed_from": run.config["checkpoint_sha256"],
        "method": f"{run.config.get('method', '')}; {how.words()}",
    }
    run = replace(run, model=copy.deepcopy(run.model), config=run.config | about)
    if how.how == "resolution":
        return _shown_smaller(run, how)
    if how.how == "pruned":
        return _pruned(run, how, image_set, folder, device=device, **where)
    return _quantised(run, how, image_set, **where)


def _shown_smaller(run: Run, how: Compression) -> Run:
    size = {"file": "safetensors", "bytes": len(dense_file(run.model))}
    smaller = preprocessing(run.settings.model, how.pixels, pretrained=run.settings.source)
    config = run.config | {"size": size | {"bytes_before": size["bytes"]}}
    return replace(run, preprocessing=smaller, config=config)


def _quantised(run: Run, how: Compression, image_set: ImageSet | None, **where: Any) -> Run:
    graph = float_graph(run.model, run.preprocessing.resolution)
    batches = None
    if how.how == "int8_static":
        assert image_set is not None  # `compressed` has seen to it
        batches = _calibration(run, how, image_set, **where)
    small = quantise(graph, calibration=batches)
    model = OnnxNetwork(small)
    config = run.config | {
        "size": {"file": "ONNX", "bytes": len(small), "bytes_before": len(graph)},
        "runtime": {"onnxruntime": _version("onnxruntime"), "threads": model.threads},
    }
    return replace(run, model=model, config=config)


def _calibration(
    run: Run, how: Compression, image_set: ImageSet, *, cache: Path | None, progress: bool
) -> Iterator[np.ndarray]:
    """Yields prepared training pictures, (n, 3, side, side) float32, as many as `how` says."""
    train = run.splits.parts["train"]
    count = min(how.images, len(train))
    drawn = np.random.default_rng(how.seed).choice(len(train), count, replace=False)
    chosen = [train[place] for place in sorted(drawn)]
    # With a cache all parts are decoded, as in training, so that its file is found again.
    ids = chosen if cache is None else [name for part in run.splits.parts.values() for name in part]
    pixels = decode(image_set, run.preprocessing, ids=ids, folder=cache, progress=progress)
    for rows in pixels.rows(chosen).split(BATCH):
        yield pixels.normalised(pixels.batch(rows, torch.device("cpu"))).numpy()


def _pruned(
    run: Run,
    how: Compression,
    image_set: ImageSet | None,
    folder: Path | None,
    *,
    device: str,
    cache: Path | None,
    progress: bool,
) -> Run:
    assert how.sparsity is not None  # the compression has seen to it
    before = len(dense_file(run.model))
    prune_weights(run.model, how.sparsity)
    if how.epochs:
        if folder is None or image_set is None:
            raise ValueError("fine-tuning after pruning needs a folder for its checkpoint: folder")
        run = _tuned(run, how, image_set, folder, device=device, cache=cache, progress=progress)
    size = {
        "file": "safetensors, zeros as one bit",
        "bytes": len(sparse_file(run.model)),
        "bytes_before": before,
        "zeros": sparsity(run.model),
        "nonzero_flops": nonzero_flops(run.model, run.preprocessing.resolution),
    }
    return replace(run, config=run.config | {"size": size})


def _tuned(
    run: Run,
    how: Compression,
    image_set: ImageSet,
    folder: Path,
    *,
    device: str,
    cache: Path | None,
    progress: bool,
) -> Run:
    """Returns the pruned run trained further, its zeros kept, and finished in the folder."""
    settings = run.settings.replace(
        stage="continued", alpha=None, epochs=how.epochs, lr=how.lr, builds_on=None
    )
    settings = on_top_of(run, settings, image_set, run.splits)
    keep_splits(folder, run.splits)
    ids = tuple(name for part in run.splits.parts.values() for name in part)
    pixels = decode(image_set, run.preprocessing, ids=ids, folder=cache, progress=progress)
    train, val = (pixels.rows(run.splits.parts[part]) for part in ("train", "val"))
    with zeros_kept(run.model):
        done = fine_tune(
            run.model, pixels, settings, train=train, val=val, folder=folder, choice=run.choice,
            device=device, progress=progress,
        )  # fmt: skip
    run.model.cpu()
    made = config_of(folder, settings, done, command="")
    del made["command"], made["method"]  # those of the run that was compressed stay
    config = run.config | made
    write_run(folder, settings, run.preprocessing, image_set, run.splits, config)
    return replace(run, settings=settings, config=config)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
