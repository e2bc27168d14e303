"""A record: what one model said about one set of images, and where the numbers came from."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Literal

import numpy as np

from duokit.conversion import as_array
from duokit.logits.validation import (
    plain,
    valid_class_names,
    valid_count,
    valid_ids,
    valid_kind,
    valid_labels,
    valid_logits,
)

Kind = Literal["logits", "log_probs"]
AFTER_FILE = "named after its file"  # config["model"] of a record whose file names no model
PACKAGES = ("duokit", "numpy", "torch", "torchvision", "timm", "scikit-learn", "safetensors")


@dataclass(frozen=True, eq=False)
class Record:
    """The logits of one model on one split, checked when made.

    Attributes:
        logits: (n, k) float16 or float32, scores before softmax (or log-probabilities, see kind).
        labels: (n,) int64, class 0..k-1, or -1 for an image that belongs to no class.
        ids: n different one-line texts that name the images.
        model: name of the network, as its library spells it.
        weights: tag of the weights it started from, such as "imagenet (pip)"; "" if not known.
        resolution: side of the square input in pixels; None if not known.
        dataset: name of the data set.
        split: "train", "val", "test", "shifted", "ood" or a name of your own.
        split_checksum: checksum of the splits the images were taken from; "" if not known.
        flops: multiply-adds for ONE image at this resolution; None if not known.
        parameters: number of parameters; None if not known.
        seed: seed of the run that made the model; None if not known.
        class_names: k names in the order of the columns; None if not known.
        kind: "logits", or "log_probs" for natural logarithms of probabilities.
        versions: package name -> version that made the logits.
        config: what else is needed to make them again, JSON values; "command" is the command.

    Raises:
        TypeError: a field of another type, float64 logits among them.
        ValueError: shapes that disagree, values that are not finite or out of range, repeated
            ids, or rows that are probabilities.
    """

    logits: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    model: str
    weights: str
    resolution: int | None
    dataset: str
    split: str
    split_checksum: str = ""
    flops: int | None = None
    parameters: int | None = None
    seed: int | None = None
    class_names: tuple[str, ...] | None = None
    kind: Kind = "logits"
    versions: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        logits = valid_logits(self.logits)
        n, k = logits.shape[0], logits.shape[1]
        for name in ("model", "weights", "dataset", "split", "split_checksum"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} is {getattr(self, name)!r}; expected a str")
        for name in ("versions", "config"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} is {getattr(self, name)!r}; expected a dict")
        clean = {
            "logits": logits,
            "labels": valid_labels(self.labels, n, k),
            "ids": valid_ids(self.ids, n),
            "kind": valid_kind(self.kind, logits),
            "resolution": valid_count(self.resolution, "resolution"),
            "flops": valid_count(self.flops, "flops"),
            "parameters": valid_count(self.parameters, "parameters"),
            "seed": valid_count(self.seed, "seed", least=0),
            "class_names": valid_class_names(self.class_names, k),
            "versions": plain(self.versions, "versions"),
            "config": plain(self.config, "config"),
        }
        for name, value in clean.items():
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.logits.shape[0])

    @property
    def k(self) -> int:
        """Number of classes."""
        return int(self.logits.shape[1])

    @property
    def gflops(self) -> float:
        """Billions of multiply-adds for one image; NaN if not known, cheaper than nothing."""
        return np.nan if self.flops is None else self.flops / 1e9

    @property
    def title(self) -> str:
        """Returns a short name for messages and tables: model@resolution, data set, split."""
        size = f"@{self.resolution}" if self.resolution else ""
        return f"{self.model}{size} ({self.dataset} {self.split})"

    def rows(self, ids: Iterable[str]) -> Record:
        """Returns the record of these images alone, in this order.

        Args:
            ids: ids that this record holds, none twice.

        Raises:
            ValueError: an id that the record does not hold, or one asked for twice.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        wanted = tuple(ids)
        missing = [name for name in wanted if name not in place]
        if missing:
            raise ValueError(
                f"{self.title} has no image {missing[0]!r} ({len(missing)} of {len(wanted)} "
                f"ids asked for are missing; its first id is {self.ids[0]!r})"
            )
        order = np.array([place[name] for name in wanted], dtype=np.int64)
        return replace(self, logits=self.logits[order], labels=self.labels[order], ids=wanted)


def make_record(
    logits: Any,
    labels: Any,
    ids: Sequence[str] | None = None,
    *,
    model: str,
    dataset: str,
    split: str,
    weights: str = "",
    resolution: int | None = None,
    dtype: Literal["float16", "float32"] | None = None,
    **fields: Any,
) -> Record:
    """Returns a Record from torch, NumPy, pandas or lists, with the versions in use.

    Values are rounded only if `dtype` says so: without it float64 logits are refused.

    Args:
        logits: (n, k) scores before softmax, on any device.
        labels: (n,) whole numbers, -1 for an image of no class.
        ids: n texts; None names the images by position ("row-0", "row-1", ...), which is right
            only for logits that are always written in the same order.
        model: name of the network.
        dataset: name of the data set.
        split: "train", "val", "test", "shifted", "ood" or a name of your own.
        weights: tag of the weights it started from.
        resolution: side of the input in pixels.
        dtype: "float16" or "float32" to convert, None to keep what is given.
        **fields: further fields of Record (flops, parameters, seed, class_names, kind, config...).

    Raises:
        TypeError, ValueError: as Record; also float16 that would overflow.
    """
    scores = as_array(logits, "logits")
    if dtype is not None:
        if dtype not in ("float16", "float32"):
            raise ValueError(f"dtype {dtype!r} is not float16 or float32")
        with np.errstate(over="ignore"):
            rounded = scores.astype(dtype)
        lost = np.isfinite(scores) & ~np.isfinite(rounded) if scores.dtype.kind == "f" else False
        if np.any(lost):
            raise ValueError(
                f"logits as large as {np.abs(scores[lost]).max():.6g} do not fit in {dtype}"
            )
        scores = rounded
    names = [f"row-{row}" for row in range(len(scores))] if ids is None else ids
    fields.setdefault("versions", versions())
    return Record(
        logits=scores,
        labels=as_array(labels, "labels"),
        ids=tuple(names),
        model=model,
        weights=weights,
        resolution=resolution,
        dataset=dataset,
        split=split,
        **fields,
    )


def versions() -> dict[str, str]:
    """Returns name -> version of Python and of the installed packages that shape logits."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # a package that is not installed had no part in the logits
    own = getattr(sys.modules.get("duokit"), "__version__", None)
    return found if own is None else {"duokit": own} | found  # also when run from its sources


def same_images(*records: Record) -> None:
    """Returns nothing if all records speak of the same images in the same order, else raises.

    Ids, labels, number of classes and (where both know them) class names must agree: two models
    whose columns stand in another order would fuse into nonsense without any error.

    Args:
        *records: two or more records; each is compared with the first.

    Raises:
        ValueError: the first record that differs, at which position, and both ids or labels.
    """
    if not records:
        raise ValueError("same_images needs at least one record")
    first = records[0]
    for number, other in enumerate(records[1:], start=2):
        who = f"record {number}, {other.title}, and record 1, {first.title}"
        if other.ids != first.ids:
            raise ValueError(f"{who}, hold other images: {_first_difference(first.ids, other.ids)}")
        if other.k != first.k:
            raise ValueError(f"{who}, have {other.k} and {first.k} classes")
        names, others = real_names(first), real_names(other)
        if names and others and names != others:
            where = _first_difference(names, others, "agreement.in_class_order")
            raise ValueError(f"{who}, have other class names: {where}")
        if not np.array_equal(other.labels, first.labels):
            row = int(np.argmax(other.labels != first.labels))
            raise ValueError(
                f"{who}, disagree on the label of image {first.ids[row]!r} (position {row}): "
                f"{other.labels[row]} and {first.labels[row]}"
            )


def real_names(record: Record) -> tuple[str, ...] | None:
    """Returns the names of the classes; None where they are not known, or only count the columns.

    Args:
        record: any; names such as "class_0", "class_1", ... in this order say no more than none.
    """
    names = record.class_names
    if names is None or names[0][-1:] not in ("0", "1"):
        return names
    stem, start = names[0].rstrip("0123456789"), int(names[0][-1])
    counted = all(
        name.startswith(stem) and name[len(stem) :].isdecimal() and int(name[len(stem) :]) == place
        for place, name in enumerate(names, start)
    )
    return None if counted else names


def _first_difference(
    first: Sequence[str], other: Sequence[str], remedy: str = "record.rows(ids)"
) -> str:
    """Returns where two lists of names part, with both names and what to do about it."""
    place = next(p for p, (a, b) in enumerate(zip_longest(first, other)) if a != b)
    there = repr(other[place]) if place < len(other) else "nothing more"
    here = repr(first[place]) if place < len(first) else "nothing more"
    common = len(set(first) & set(other))
    hint = (
        f"the same ones in another order; {remedy} puts a record in order"
        if common == len(first) == len(other)
        else f"{common} in common of {len(first)} and {len(other)}"
    )
    return f"at position {place}, {there} and {here} ({hint})"
