"""The rivals of the book's duos: which committed records stand beside each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from duokit.ablations.baselines import Rival, rivals
from duokit.logits.record import Record
from duokit.logits.store import load

LITE2, LITE0 = "tf_efficientnet_lite2-192", "tf_efficientnet_lite0-96"


def live_rivals(artifacts: str | Path, *, seed: int = 0) -> dict[str, dict[str, Rival]]:
    """Return the rivals of three live duos, by data set.

    "Caltech-101, fine-tuned" has views, dropout masks and a Laplace approximation of the large
    network and further seeds of the sidekick; "Caltech-101, ensembles" the small network as the
    large model of a duo, with deep ensembles of its seeds, pooled as logits and then calibrated;
    "Caltech-101, probes" bigger single networks; "Fashion-MNIST" a larger val set.

    Args:
        artifacts: Folder of the committed records, book/artifacts.
        seed: Of the folds.

    Raises:
        FileNotFoundError: A record is not there.
    """
    artifacts = Path(artifacts)
    tuned, probes = artifacts / "caltech101-finetuned", artifacts / "caltech101"
    fashion = artifacts / "fashion_mnist_c-finetuned"
    large = f"{LITE2}-finetuned-0"
    small = sorted(path.name for path in tuned.glob(f"{LITE0}-finetuned-*"))
    single = {
        f"large, {way}": _single(tuned, f"{LITE2}-{name}-0")
        for way, name in (
            ("two views", "views"),
            ("MC dropout", "mc_dropout"),
            ("Laplace", "laplace"),
        )
    }
    ensembles = {f"ensemble of {n}": _ensemble(tuned, small[:n]) for n in range(2, len(small) + 1)}
    weak = _single(probes, "tf_efficientnet_lite0-64")
    seed_0 = _single(tuned, small[0])
    more = {f"large + {n}": _both(tuned, [large, *small[:n]]) for n in (2, 3)}
    bigger = {
        name: _single(probes, f"tf_efficientnet_{name}") for name in ("lite1-240", "lite2-260")
    }
    trio = {"large + 2": _both(probes, [LITE2, LITE0, "tf_efficientnet_lite0-64"])}
    nets = [f"{name}-28-scratch-0" for name in ("resnet18", "test_resnet", "test_efficientnet")]
    return {
        "Caltech-101, fine-tuned": rivals(
            *_both(tuned, [large, small[0]]), others=single, groups=more, seed=seed
        ),
        "Caltech-101, ensembles": rivals(
            [seed_0[0], weak[0]], [seed_0[1], weak[1]], others=ensembles, seed=seed
        ),
        "Caltech-101, probes": rivals(
            *_both(probes, [LITE2, LITE0]), others=bigger, groups=trio, seed=seed
        ),
        "Fashion-MNIST": rivals(
            *_both(fashion, nets[:2]), groups={"large + 2": _both(fashion, nets)}, seed=seed
        ),
    }


def _both(folder: Path, names: Sequence[str]) -> tuple[list[Record], list[Record]]:
    val, test = (
        [load(folder / name / f"{part}.safetensors") for name in names] for part in ("val", "test")
    )
    return val, test


def _ensemble(folder: Path, names: Sequence[str]) -> tuple[Record, Record]:
    """Return the mean logits of some runs, at the cost of all."""
    val, test = (
        replace(
            records[0],
            logits=np.mean([record.logits.astype(np.float32) for record in records], axis=0),
            flops=sum(record.flops or 0 for record in records),
        )
        for records in _both(folder, names)
    )
    return val, test


def _single(folder: Path, name: str) -> tuple[Record, Record]:
    (val,), (test,) = _both(folder, [name])
    return val, test
