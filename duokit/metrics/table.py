"""All metrics of one predictor in one row, and what each of them means."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ..checks import Array
from .arrays import check_convention
from .classwise import class_error
from .paper import paper_row
from .scores import Scores, score
from .weighted import NAMES, RISK, SAC, Weighted


@dataclass(frozen=True)
class Metric:
    """What a number in a table is.

    Attributes:
        name: Key in tables.
        title: Short label for plots and table heads.
        better: "higher" or "lower".
        low: Least value it can take.
        high: Greatest value it can take.
        text: What it measures and by which convention, in a sentence or two.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    low: float
    high: float
    text: str


def _metrics() -> dict[str, Metric]:
    inf = float("inf")
    listed = [
        Metric("accuracy", "Accuracy", "higher", 0, 1, "Share of images answered right."),
        Metric(
            *("macro_f1", "Macro-F1", "higher", 0, 1),
            "Mean F1 over the classes found among labels or predictions; every class counts alike.",
        ),
        Metric(
            *("nll", "NLL", "lower", 0, inf),
            "Mean negative log-likelihood of the label, in nats, from logits, never clipped.",
        ),
        Metric(
            *("brier", "Brier", "lower", 0, 2),
            "Mean squared distance of the probabilities to the one-hot label, summed over classes.",
        ),
        Metric(
            *("ece", "ECE", "lower", 0, 1),
            "Mean |confidence - accuracy| over 15 bins of equal width, (lo, hi].",
        ),
        Metric(
            *("ece_mass", "ECE, equal mass", "lower", 0, 1),
            "Mean |confidence - accuracy| over 15 bins that hold equally many images.",
        ),
        Metric(
            *("ece_class", "ECE, class-wise", "lower", 0, 1),
            "Mean over classes of the 15-bin error of that class's probability over all images.",
        ),
        Metric(
            *("ece_debiased", "ECE, debiased", "lower", 0, 1),
            "Root mean squared gap over 15 bins of equal mass, less its expected noise.",
        ),
        Metric(
            *("ece_smooth", "ECE, smooth", "lower", 0, 1),
            "Gaussian-smoothed gap at the width that equals the error itself; no bins.",
        ),
        Metric(
            *("mce", "MCE", "lower", 0, 1),
            "Largest |confidence - accuracy| of the 15 bins of equal width, empty ones left out.",
        ),
        Metric(
            *("auroc", "AUROC", "higher", 0, 1),
            "Chance that a right image is surer than a wrong one, ties half; nan without a pair.",
        ),
        Metric(
            *("aurc", "AURC", "lower", 0, 1),
            "Mean error rate over all prefixes of the images, surest first, ties averaged.",
        ),
        Metric(
            *("e_aurc", "E-AURC", "lower", 0, 1),
            "AURC less that of the perfect order of the same images.",
        ),
        Metric(
            *("augrc", "AUGRC", "lower", 0, 0.5),
            "Area under (accepted and wrong) / n by coverage: mean risk of an undetected error.",
        ),
    ]
    listed += [
        Metric(
            *(name, f"SAC@{100 * share:.0f}", "higher", 0, 1),
            f"Largest coverage whose accuracy is at least {share:g}; ties accepted whole or not.",
        )
        for name, share in SAC.items()
    ]
    listed += [
        Metric(
            *(name, f"Risk@{100 * share:.0f}", "lower", 0, 1),
            f"Error rate among the surest {share:g} of the images, ties averaged.",
        )
        for name, share in RISK.items()
    ]
    return {metric.name: metric for metric in listed}


METRICS: dict[str, Metric] = _metrics()


def table_row(
    logits: Array,
    labels: Array,
    *,
    predictions: Array | None = None,
    confidence_class: Array | None = None,
    convention: Literal["standard", "paper"] = "standard",
) -> pd.Series:
    """Return every metric of one predictor.

    Args:
        logits: (n, k) finite, NumPy or torch.
        labels: (n,) integers 0 ... k - 1.
        predictions: (n,) the classes answered with; default: the largest logit. See `score`.
        confidence_class: (n,) the class whose probability is the confidence; default: the largest.
        convention: "standard": all of METRICS. "paper": those that the released code of Asymmetric
            Duos computes, as it computes them (see duokit.metrics.paper).

    Returns:
        Index metric, values as fractions.

    Raises:
        TypeError, ValueError: As `score`; an unknown convention.
    """
    if check_convention(convention):
        found = paper_row(
            logits, labels, predictions=predictions, confidence_class=confidence_class
        )
    else:
        found = evaluate(
            score(logits, labels, predictions=predictions, confidence_class=confidence_class)
        )
    return pd.Series(found, name="value").rename_axis("metric")


def compare_table(
    predictors: Mapping[str, Scores], metrics: Collection[str] | None = None
) -> pd.DataFrame:
    """Return one row of metrics per predictor.

    Args:
        predictors: Scores by name, usually of the same images.
        metrics: Names from METRICS; default: all.

    Returns:
        Index predictor, columns metrics, values as fractions.

    Raises:
        ValueError: No predictor, an unknown metric, or one named twice.
        TypeError: Something other than Scores.
    """
    if not predictors:
        raise ValueError("no predictor to compare: give at least one name and its scores")
    rows = {name: evaluate(scores, metrics) for name, scores in predictors.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")


def evaluate(scores: Scores, metrics: Collection[str] | None = None) -> dict[str, float]:
    """Return the metrics asked for, all of METRICS by default, in the order asked.

    Raises:
        ValueError: An unknown metric, or one named twice.
        TypeError: Something other than Scores.
    """
    if not isinstance(scores, Scores):
        raise TypeError(f"expected Scores, not {type(scores).__name__}: call score(logits, labels)")
    names = list(METRICS if metrics is None else metrics)
    check_names(names)
    rest = set(names) - {"ece_class"}
    once = np.ones((1, len(scores)), dtype=np.int64)
    found = {name: float(value[0]) for name, value in Weighted(scores, rest).metrics(once).items()}
    if "ece_class" in names:  # known from the one pass over the logits
        found["ece_class"] = class_error(scores)
    return {name: found[name] for name in names}


def check_names(metrics: Collection[str]) -> None:
    """Raise ValueError for a name that is no metric, or stands twice."""
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or isinstance(metrics, str):
        raise ValueError(f"unknown metric {unknown or metrics}: choose from {', '.join(NAMES)}")
    refuse_repeats(metrics)


def refuse_repeats(metrics: Iterable[str]) -> None:
    """Raise ValueError for a metric that is named twice: corrections would count it twice."""
    seen: set[str] = set()
    for name in metrics:
        if name in seen:
            raise ValueError(f"metric {name!r} is asked for twice: name each metric once")
        seen.add(name)
