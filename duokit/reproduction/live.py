"""What this book recomputes: the gains of its own duos, beside the authors' at a similar cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from duokit.evaluation import Duo, fit_duo, pooled_answers
from duokit.logits.record import Record
from duokit.logits.store import load_parts
from duokit.metrics.scores import Scores
from duokit.metrics.table import evaluate
from duokit.published.gains import METRICS, gains

HEADLINE = ("accuracy", "nll", "auroc", "aurc")


@dataclass(frozen=True)
class Live:
    """A duo of the committed records.

    Attributes:
        data: The data set's name in tables.
        networks: How they were made.
        large: Folder of the large model's records, below the artifacts; "{fold}" for folds.
        small: That of the sidekick.
        folds: Folds of a cross-validation, which are pooled; 0 if there are none.
    """

    data: str
    networks: str
    large: str
    small: str
    folds: int = 0


_PROBES, _TUNED = "caltech101/tf_efficientnet_lite", "caltech101-finetuned/tf_efficientnet_lite"
_FASHION = "fashion_mnist_c-finetuned/{}-28-scratch-0"
_ELPV = "elpv-finetuned/fold-{fold}/tf_efficientnet_lite"
LIVE = (
    Live("Caltech-101", "linear probes", f"{_PROBES}2-192", f"{_PROBES}0-96"),
    Live("Caltech-101", "fine-tuned", f"{_TUNED}2-192-finetuned-0", f"{_TUNED}0-96-finetuned-0"),
    *(
        Live("Fashion-MNIST", "from scratch", _FASHION.format("resnet18"), _FASHION.format(small))
        for small in (
            *("lcnet_035", "mobilenetv3_small_050", "lcnet_050"),
            *("test_efficientnet", "test_resnet"),
        )
    ),
    Live("ELPV", "fine-tuned", f"{_ELPV}2-128-finetuned-0", f"{_ELPV}0-64-finetuned-0", folds=5),
)


def live_gains(
    artifacts: str | Path, *, metrics: Sequence[str] = tuple(METRICS), part: str = "test"
) -> pd.DataFrame:
    """Return what each sidekick of the book changed, computed now from the committed records.

    Gains are the share of the way from the large model at its own temperature to perfect, as
    `duokit.published.gains`. The confidence is the probability of the duo's own class.

    Args:
        artifacts: The folder book/artifacts.
        metrics: Names from `duokit.published.METRICS`.
        part: "test", or the name of another part that all of them have.

    Returns:
        One row a duo; columns data, networks, large, small, images, flops_balance and the metrics.

    Raises:
        FileNotFoundError: A record that is missing.
        ValueError: A metric without a perfect value.
    """
    rows = []
    for each in LIVE:
        folds = [
            [
                load_parts(Path(artifacts) / name.format(fold=fold), "val", part)
                for name in (each.large, each.small)
            ]
            for fold in range(max(1, each.folds))
        ]
        duos = [fit_duo([member["val"] for member in pair]) for pair in folds]
        found = _answers(duos, [[member[part] for member in pair] for pair in folds])
        large, small = (member["val"] for member in folds[0])
        row: dict[str, Any] = {"data": each.data, "networks": each.networks}
        row |= {"large": _label(large), "small": _label(small), "images": len(found["duo"])}
        row |= {"flops_balance": duos[0].flops_balance}
        rows.append(row | share_of_the_way(found["duo"], found["large"], metrics=metrics))
    return pd.DataFrame(rows)


def share_of_the_way(
    duo: Scores, baseline: Scores, *, metrics: Sequence[str] = tuple(METRICS)
) -> dict[str, float]:
    """Return metric -> (duo - baseline) / (perfect - baseline), the unit of the paper's figures.

    Args:
        duo: Scores of the duo.
        baseline: Scores of the large model on the same images.
        metrics: Names from `duokit.published.METRICS`.

    Raises:
        ValueError: A metric without a perfect value.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise ValueError(f"no gain is known of {unknown[0]!r}; of {', '.join(METRICS)} it is")
    new, old = evaluate(duo, metrics), evaluate(baseline, metrics)
    return {m: (new[m] - old[m]) / (METRICS[m] - old[m]) for m in metrics}


def beside_similar(
    live: pd.DataFrame,
    benchmark: str,
    *,
    metrics: Sequence[str] = HEADLINE,
    factor: float = 1.5,
) -> pd.DataFrame:
    """Return each live duo's gains beside the authors' mean gain at a similar FLOPs balance.

    Other networks and other pictures: the two columns show a size, not a reproduction.

    Args:
        live: From `live_gains`.
        benchmark: One of `duokit.published.BENCHMARKS`.
        metrics: Columns of `live`.
        factor: Similar is a FLOPs balance (as charged) up to this many times larger or smaller.

    Returns:
        Columns data, networks, large, small, flops_balance, pairs (of the authors, how many) and
        for each metric "METRIC here" and "METRIC authors" (nan without a pair).

    Raises:
        ValueError: Another benchmark, or a factor of 1 or less.
    """
    if not factor > 1:
        raise ValueError(f"factor is {factor}; expected above 1")
    theirs = gains(benchmark)
    rows = []
    for _, row in live.iterrows():
        ratio = theirs["flops_balance"] / row["flops_balance"]
        near = theirs[(ratio >= 1 / factor) & (ratio <= factor)]
        told = {name: row[name] for name in ("data", "networks", "large", "small")}
        told |= {"flops_balance": row["flops_balance"], "pairs": len(near)}
        for metric in metrics:
            told[f"{metric} here"] = row[metric]
            told[f"{metric} authors"] = near[metric].mean()
        rows.append(told)
    return pd.DataFrame(rows)


def _answers(duos: Sequence[Duo], records: Sequence[Sequence[Record]]) -> dict[str, Scores]:
    return duos[0].answers(records[0]) if len(duos) == 1 else pooled_answers(duos, records)


def _label(record: Record) -> str:
    """Return "model@pixels" without the words that all networks of the book begin with."""
    return f"{record.model.removeprefix('tf_efficientnet_')}@{record.resolution}"
