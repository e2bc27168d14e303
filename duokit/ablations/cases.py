"""The rivals of the book's duos: which committed records stand beside each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from duokit.ablations.baselines import Rival, rivals
from duokit.fusion.combine import probability_average
from duokit.logits.record import Record
from duokit.logits.store import load

LITE2, LITE0 = "tf_efficientnet_lite2-192", "tf_efficientnet_lite0-96"
TINY = "tf_efficientnet_lite2-72"  # the large network's weights, shown pictures of 72 pixels
HEADS, VARIANCES = "29 more heads", "Laplace's variances"  # what is done after a network
# Sizes of the linear layers that cost the same: 30 dropout masks; A's eigenvectors, classes, G's.
LAYERS = {HEADS: (1280, 29 * 101), VARIANCES: (1280, 1280, 101, 101)}


def live_rivals(artifacts: str | Path, *, seed: int = 0) -> dict[str, dict[str, Rival]]:
    """Return the rivals of three live duos, by data set.

    "Caltech-101, fine-tuned" has views, dropout masks and a Laplace approximation of the large
    network, further seeds of the sidekick, and deep ensembles of these; "192 + 72 px" is the large
    network over two sizes of each picture, which costs about what the duo does. In "Caltech-101,
    ensembles" the small network is the large model of a duo, beside deep ensembles of its seeds,
    pooled as logits and then calibrated. "Caltech-101, probes" has single networks from the duo's
    price (lite2-200) to twice that; "Fashion-MNIST" a larger val set.

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
    again = _single(artifacts / "caltech101-compressed", f"{TINY}-resolution-0")
    sizes = [*zip(_single(tuned, large), again, strict=True)]  # (192, 72) on val, on test
    single["large, 192 + 72 px"] = _pool(sizes[0]), _pool(sizes[1])
    ensembles = {f"ensemble of {n}": _ensemble(tuned, small[:n]) for n in range(2, len(small) + 1)}
    single |= {f"small, {name}": pooled for name, pooled in ensembles.items()}
    weak = _single(probes, "tf_efficientnet_lite0-64")
    seed_0 = _single(tuned, small[0])
    more = {f"large + {n}": _both(tuned, [large, *small[:n]]) for n in (2, 3)}
    more["192 + 72 px, weighted"] = [*sizes[0]], [*sizes[1]]
    bigger = {
        name: _single(probes, f"tf_efficientnet_{name}")
        for name in ("lite2-200", "lite1-240", "lite2-260")
    }
    runs: dict[str, tuple[str, ...]] = {"large, two views": (LITE2, LITE2)}
    runs["large, 192 + 72 px"] = (LITE2, TINY)
    runs |= {"large, MC dropout": (LITE2, HEADS), "large, Laplace": (LITE2, VARIANCES)}
    runs |= {f"small, ensemble of {n}": (LITE0,) * n for n in range(2, len(small) + 1)}
    trio = {"large + 2": _both(probes, [LITE2, LITE0, "tf_efficientnet_lite0-64"])}
    nets = [f"{name}-28-scratch-0" for name in ("resnet18", "test_resnet", "test_efficientnet")]
    return {
        "Caltech-101, fine-tuned": rivals(
            *_both(tuned, [large, small[0]]), others=single, groups=more, runs=runs, seed=seed
        ),
        "Caltech-101, ensembles": rivals(
            [seed_0[0], weak[0]],
            [seed_0[1], weak[1]],
            others=ensembles,
            seed=seed,
            runs={name: (LITE0,) * int(name.split()[-1]) for name in ensembles},
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


def _pool(records: Sequence[Record]) -> Record:
    """Return the log of the mean probabilities of some networks, at the cost of all."""
    members = [record.logits.astype(np.float32) for record in records]
    logits = np.asarray(probability_average(members, [1.0] * len(members)))
    cost = sum(record.flops or 0 for record in records)
    return replace(records[0], logits=logits, flops=cost, kind="log_probs")


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
