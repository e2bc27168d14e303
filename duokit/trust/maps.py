"""Attribution maps as records: what a model was found to lean on, and how that was found out.

A file holds two tensors, `values` (n, parts) float32 and `targets` (n,) int64, and all else as JSON
in `__metadata__["duokit_maps"]`, with the SHA-256 of everything. It is written whole or not at all,
and refused when a byte has changed. Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as pack_tensors

from duokit.logits.files import write_whole
from duokit.logits.record import versions
from duokit.logits.validation import plain, valid_ids

SUFFIX = ".safetensors"
KEY = "duokit_maps"
FORMAT = 1
LINEAR = ("centred", "logits")  # outputs of a duo that are the weighted sums of its members'


@dataclass(frozen=True, eq=False)
class AttributionMaps:
    """The maps of one model by one explainer over one set of images, checked when made.

    Attributes:
        values: (n, parts) float32, one number a region; NaN where an image lacks a region.
        targets: (n,) int64, the class that was asked about.
        ids: n different names of the images.
        model: name of the network or duo, resolution included.
        dataset: name of the data set.
        explainer: "explainer", its name, and its options.
        seed: of the explainer.
        regions: what the parts are, such as {"grid": 7, "side": 224, "crop": 0.89}; maps are
            compared only where all of this is equal.
        question: what was asked: "output", "baseline", "target".
        checkpoints: SHA-256 of each network's file of weights, the large one's first.
        weights: of a duo, the large one's first; () for one network.
        versions: package -> version.
        config: what else is needed to make them again, JSON values.

    Raises:
        TypeError: fields of another type.
        ValueError: shapes that disagree, infinite values, an image without any value, repeated ids.
    """

    values: np.ndarray
    targets: np.ndarray
    ids: tuple[str, ...]
    model: str
    dataset: str
    explainer: dict[str, Any]
    seed: int
    regions: dict[str, Any]
    question: dict[str, Any] = field(default_factory=dict)
    checkpoints: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    versions: dict[str, str] = field(default_factory=versions)
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values, targets = np.asarray(self.values), np.asarray(self.targets)
        if values.dtype != np.float32 or targets.dtype.kind not in "iu":
            raise TypeError(
                f"values are {values.dtype} and targets {targets.dtype}; expected float32 and "
                "whole numbers"
            )
        if values.ndim != 2 or not values.size or targets.shape != (len(values),):
            raise ValueError(
                f"values have shape {values.shape} and targets {targets.shape}; expected "
                "(images, parts) and one target an image"
            )
        if np.isinf(values).any() or np.isnan(values).all(axis=1).any():
            raise ValueError("values are infinite, or an image has none: did the model diverge?")
        clean = {
            "values": values,
            "targets": targets.astype(np.int64),
            "ids": valid_ids(self.ids, len(values)),
            "checkpoints": tuple(str(each) for each in self.checkpoints),
            "weights": tuple(float(each) for each in self.weights),
        }
        for name in ("explainer", "regions", "question", "versions", "config"):
            clean[name] = plain(getattr(self, name), name)
        for name, value in clean.items():
            object.__setattr__(self, name, value)

    @property
    def drawn(self) -> bool:
        """Whether the images are a random sample, so that averages over them mean something.

        False only if they were picked by name (`duokit explain --ids`).
        """
        return self.config.get("images_seed", 0) is not None

    def rows(self, ids: Sequence[str]) -> AttributionMaps:
        """Returns the maps of these images alone, in this order.

        Args:
            ids: of images that are there.

        Raises:
            ValueError: an id that is not there.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in place]
        if missing:
            raise ValueError(f"the maps of {self.model} hold no image {missing[0]!r}")
        order = [place[name] for name in ids]
        return replace(self, values=self.values[order], targets=self.targets[order], ids=tuple(ids))


def save_maps(maps: AttributionMaps, path: str | Path, *, overwrite: bool = False) -> Path:
    """Returns the path of the file that now holds the maps, whole or not at all.

    Args:
        maps: what to keep.
        path: file name; ".safetensors" is added if it has no suffix.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        ValueError: another suffix.
    """
    path = maps_path(path)
    tensors = {"values": maps.values, "targets": maps.targets}
    about: dict[str, Any] = {"format": FORMAT}
    about |= {item.name: getattr(maps, item.name) for item in fields(maps)} | {
        "ids": list(maps.ids)
    }
    for name in tensors:
        del about[name]
    about["sha256"] = _digest(about, tensors)
    contiguous = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    raw = pack_tensors(contiguous, metadata={KEY: json.dumps(about, allow_nan=False)})
    return write_whole(path, raw, overwrite=overwrite)


def maps_path(path: str | Path) -> Path:
    """Returns the file name of maps, ".safetensors" added if it has no suffix.

    Args:
        path: file name.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    path = path if path.suffix else path.with_name(path.name + SUFFIX)
    if path.suffix != SUFFIX:
        raise ValueError(f"{path} does not end in {SUFFIX}")
    return path


def load_maps(path: str | Path) -> AttributionMaps:
    """Returns the maps in a file after verifying every byte of them.

    Args:
        path: file that `save_maps` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: cut short, damaged, not maps, or of another format version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(path, framework="numpy") as file:
            found = (file.metadata() or {}).get(KEY)
            about = json.loads(found) if found else None
            if not isinstance(about, dict):
                raise ValueError("it holds no attribution maps (logits or weights, perhaps)")
            if about.get("format") != FORMAT:
                raise ValueError(f"its format is {about.get('format')}, not {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} cannot be loaded as attribution maps: {error}") from error
    stated, digest = about.pop("sha256", None), _digest(about, tensors)
    if stated != digest:
        raise ValueError(
            f"{path} is damaged: its checksum is {digest[:12]}..., the file says "
            f"{str(stated)[:12]}...; make it again or fetch another copy"
        )
    try:
        del about["format"]
        return AttributionMaps(**tensors, **about)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no valid attribution maps: {error}") from error


def same_parts(maps: Mapping[str, AttributionMaps]) -> None:
    """Returns nothing if all maps speak of the same regions of the same images, else raises.

    Args:
        maps: by name.

    Raises:
        ValueError: the first that differs, and in what.
    """
    start = next(iter(maps), "")
    for name, each in maps.items():
        for what in ("dataset", "ids", "regions"):
            here, there = getattr(maps[start], what), getattr(each, what)
            if here != there:
                raise ValueError(
                    f"{start!r} and {name!r} differ in {what}"
                    + ("" if what == "ids" else f" ({here} and {there})")
                    + ": explain the same images over the same regions (rows(ids) puts in order)"
                )


def duo_maps(
    large: AttributionMaps, small: AttributionMaps, weights: Sequence[float]
) -> AttributionMaps:
    """Returns the maps of a duo from those of its members, without running any network.

    All explainers are linear in the output, and changes are drawn by picture and seed alone. So of
    logits, centred or not, the duo's map is weights[0] * large + weights[1] * small: what
    explaining the duo itself gives, up to rounding.

    Args:
        large: maps of the large network.
        small: of the small one, by the same explainer and seed, of the same classes.
        weights: two finite numbers, not both 0, the large one's first.

    Raises:
        ValueError: other images, regions, classes, explainers, seeds or questions; an output that
            is not linear in the logits, such as probs; weights of another form.
    """
    same_parts({"large": large, "small": small})
    for what in ("explainer", "seed", "question"):
        if getattr(large, what) != getattr(small, what):
            raise ValueError(
                f"the members were explained with another {what}: {getattr(large, what)} and "
                f"{getattr(small, what)}"
            )
    if large.question.get("output") not in LINEAR:
        raise ValueError(
            f"the output is {large.question.get('output')!r}; a duo's maps are the weighted sums "
            f"of its members' for {' and '.join(LINEAR)} alone: explain the duo itself"
        )
    if not np.array_equal(large.targets, small.targets):
        raise ValueError("the members were asked about other classes: take --target label for both")
    one, other = (float(each) for each in weights)
    if not np.isfinite([one, other]).all() or not (one or other):
        raise ValueError(f"weights are {list(weights)}; expected two finite numbers, not both 0")
    values = one * large.values.astype(np.float64) + other * small.values
    kept = {name: large.config[name] for name in ("part", "images_seed") if name in large.config}
    return replace(
        large,
        values=values.astype(np.float32),
        model=f"{large.model} + {small.model}",
        checkpoints=large.checkpoints + small.checkpoints,
        weights=(one, other),
        config={"made": "the weighted sum of the members' maps"} | kept,
    )


def _digest(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the metadata and of every tensor with its name, type and shape."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
