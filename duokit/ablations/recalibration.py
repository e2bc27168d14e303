"""Other ways to come to the weights: on shifted images, or by calibrating each model first."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from duokit.ablations.select import cross_fitted
from duokit.ablations.temperatures import trust_small
from duokit.evaluation import fit_duo
from duokit.fusion.combine import combine, weighted
from duokit.fusion.weights import fit_weights
from duokit.logits.record import Record
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import Scores, score
from duokit.metrics.table import evaluate

# Way to the weights -> how many numbers are fitted on val.
ORDERS: dict[str, int] = {
    "joint fit": 2,
    "calibrate each, average": 2,
    "calibrate each, average, rescale": 3,
    "average, rescale": 1,
    "average": 0,
}


def refit_under_shift(
    val: Sequence[Record],
    shifted: Sequence[Record],
    *,
    metric: str = "nll",
    resamples: int = 500,
    seed: int = 0,
) -> pd.Series:
    """Return how good weights from val are on shifted images, and how good weights could be there.

    The bound: weights fitted on one half of the shifted images answer the other half, and the other
    way round. Labels of shifted images are what a user does not have, so this bounds what better
    weights could bring; the networks stay as they are.

    Args:
        val: Validation records of the large model and the sidekick.
        shifted: Records of both on the shifted images.
        metric: Name from `duokit.metrics.METRICS`.
        resamples: Behind the interval.
        seed: Of the halves and of the bootstrap.

    Returns:
        large, duo (weights from val), large_refitted, duo_refitted (weights from the other half),
        duo_rescaled (the ratio of the weights from val, one scale from the other half): the metric
        on all shifted images; lost (duo less duo_refitted) with low and high, its paired
        95 % interval; weight_large, weight_small, trust_small from val, and the same with _refitted
        from all shifted images.

    Raises:
        ValueError: As `fit_duo` and `intervals`.
    """
    duo = fit_duo(val)
    found = duo.answers(shifted)
    members, labels = [r.logits for r in shifted], shifted[0].labels
    refitted = {
        name: score(cross_fitted(some, labels, folds=2, seed=seed), labels)
        for name, some in (
            ("large", members[:1]),
            ("duo", members),
            ("rescaled", [duo.logits(shifted)]),
        )
    }
    how = {"metrics": [metric], "resamples": resamples, "seed": seed}
    lost = intervals(found["duo"], refitted["duo"], **how).loc[metric]  # type: ignore[arg-type]
    large = intervals(found["large"], refitted["large"], **how).loc[metric]  # type: ignore[arg-type]
    row = {"large": large["value"], "duo": lost["value"]}
    row |= {"large_refitted": large["baseline"], "duo_refitted": lost["baseline"]}
    row["duo_rescaled"] = evaluate(refitted["rescaled"], [metric])[metric]
    row["lost"] = lost["difference"]
    row["low"], row["high"] = lost["difference_low"], lost["difference_high"]
    there = fit_duo(shifted)
    for end, fitted in (("", duo), ("_refitted", there)):
        row[f"weight_large{end}"], row[f"weight_small{end}"] = fitted.weights
        row[f"trust_small{end}"] = trust_small(fitted.weights, fitted.own_weights)
    return pd.Series(row, dtype=float)


def calibration_orders(
    val: Sequence[Record], test: Sequence[Record], *, allow_mismatch: bool = False
) -> dict[str, Scores]:
    """Return the scores of each way to calibrate two models and their sum, fitted on val.

    Calibrating each model and then fitting both weights jointly is not among them: the joint fit
    undoes whatever scale the models come with, so it is the joint fit.

    Args:
        val: Validation records, the large model's first.
        test: Records of the same models on the images that judge.
        allow_mismatch: As `Duo.answers`.

    Returns:
        "large" (at its own temperature), then one a way of ORDERS. "calibrate each, average" is
        the mode "unweighted", "average" is "raw_mean"; "rescale" fits one weight of the average.

    Raises:
        ValueError: As `fit_duo`.
    """
    duo = fit_duo(val)
    found = {"large": duo.answers(test, allow_mismatch=allow_mismatch)["large"]}
    labels = test[0].labels
    fused = {"joint fit": duo.logits(test)}
    for name, mode in (("calibrate each, average", "unweighted"), ("average", "raw_mean")):
        here, there = (
            combine(mode, [r.logits for r in some], own_weights=duo.own_weights).logits  # type: ignore[arg-type]
            for some in (val, test)
        )
        scale = fit_weights([here], val[0].labels).weights
        fused[name], fused[f"{name}, rescale"] = there, weighted([there], scale)
    return found | {name: score(np.asarray(fused[name]), labels) for name in ORDERS}
