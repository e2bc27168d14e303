"""Which sidekick should I take? Decided on the validation split alone, under a FLOPs budget.

    judged = judge_candidates(large, candidates)      once, whatever the budget
    choose(judged, budget=0.2)                        ranks those that cost at most a fifth
    select_sidekick(large, candidates, budget=0.2)    both at once

Weights that are judged on the images they were fitted on look a little too good, and the more
candidates there are, the more of that luck the best of them has. So each image is answered with
weights fitted on other images (cross-fitting).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from duokit.checks import Array
from duokit.fusion.combine import weighted
from duokit.fusion.sidekick import sidekick_test
from duokit.fusion.weights import fit_weights
from duokit.logits.record import Record, same_images
from duokit.metrics.intervals import resampled
from duokit.metrics.scores import Scores, score
from duokit.metrics.table import evaluate
from duokit.metrics.weighted import Weighted

By = Literal["nll", "augrc"]
BY: tuple[By, ...] = get_args(By)
RESAMPLES = 200  # behind the standard error of a difference in AUGRC


def select_sidekick(
    large: Record,
    candidates: Mapping[str, Record],
    *,
    budget: float,
    by: By = "nll",
    folds: int = 5,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the candidates, best first, with the one to take under a FLOPs budget.

    Args:
        large: Validation record of the large model, with its FLOPs.
        candidates: Name -> validation record of the same images, with its FLOPs.
        budget: Largest FLOPs balance allowed, > 0: .2 lets the sidekick cost a fifth of the large
            model.
        by: What ranks them, cross-fitted on val: "nll" or "augrc"; lower is better.
        folds: Of the cross-fitting, 2 or more.
        alpha: Candidates whose score test has a larger p-value are not fitted and not taken.
        seed: Of the folds and of the bootstrap.

    Returns:
        As `choose`. No candidate may be chosen: then the large model alone is the answer.

    Raises:
        ValueError: As `judge_candidates` and `choose`.
    """
    judged = judge_candidates(large, candidates, folds=folds, alpha=alpha, seed=seed)
    return choose(judged, budget=budget, by=by)


def judge_candidates(
    large: Record,
    candidates: Mapping[str, Record],
    *,
    folds: int = 5,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Return what the validation split says of each candidate, before any budget.

    Args:
        large: As `select_sidekick`, like all that follow.
        candidates: Name -> validation record.
        folds: Of the cross-fitting.
        alpha: Largest p-value with which a candidate passes; 1 lets all pass.
        seed: Of the folds and of the bootstrap.

    Returns:
        Index candidate, in the order given. Columns flops_balance; t, p_value and promised (the
        gain in NLL, nats) of the score test; passed (p_value <= alpha); own_accuracy and own_nll
        of the candidate alone, at its own temperature, not cross-fitted. Then nll (cross-fitted, of
        the duo), gain_nll (of the large model, cross-fitted as well, less the duo's: above 0 is
        better) and se_nll, the standard error of that gain over images, which takes the weights as
        given; and augrc, gain_augrc, se_augrc. These six are nan where the test was not passed.

    Raises:
        ValueError: No candidate, records of other images, a record without FLOPs, `folds` outside
            2 ... images, or `alpha` outside (0, 1].
    """
    _check(large, candidates, folds, alpha)
    labels = large.labels
    alone = score(cross_fitted([large.logits], labels, folds=folds, seed=seed), labels)
    rows = {}
    for name, record in candidates.items():
        test = sidekick_test(large.logits, record.logits, labels)
        own = fit_weights([record.logits], labels)
        row: dict[str, float | bool] = {
            "flops_balance": _flops(record) / _flops(large),
            "t": test.t,
            "p_value": test.p_value,
            "promised": test.gain,
            "passed": test.p_value <= alpha,
            "own_accuracy": float((record.logits.argmax(1) == labels).mean()),
            "own_nll": own.nll,
        }
        if row["passed"]:
            members = [large.logits, record.logits]
            duo = score(cross_fitted(members, labels, folds=folds, seed=seed), labels)
            row |= _against(duo, alone, seed)
        rows[name] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("candidate")
    fitted = [f"{kind}{metric}" for metric in BY for kind in ("", "gain_", "se_")]
    return table.reindex(columns=[*rows[name], *(c for c in fitted if c not in rows[name])])


def choose(judged: pd.DataFrame, *, budget: float, by: By = "nll") -> pd.DataFrame:
    """Return the candidates, best first, with the one to take under this budget.

    Eligible is what costs at most the budget, passed the score test and gained something,
    cross-fitted. The first of them is chosen; of equally good ones the cheaper, then the earlier.

    Args:
        judged: From `judge_candidates`.
        budget: Largest FLOPs balance allowed, > 0.
        by: "nll" or "augrc".

    Returns:
        Index candidate, eligible ones first. Columns flops_balance, t, p_value, passed, value
        (cross-fitted, of `by`), gain, standard_error, on_front (no other candidate, and not the
        large model alone, is at least as good in both cost and value and better in one; whatever
        the budget), within_budget, rank (1, 2, ...; <NA> if not eligible), chosen.

    Raises:
        ValueError: A budget that is not above 0, or another `by`.
    """
    if not budget > 0:
        raise ValueError(f"budget must be a FLOPs balance above 0, such as 0.2, not {budget}")
    if by not in BY:
        raise ValueError(f"by is {by!r}; expected one of {', '.join(BY)}")
    found = judged[["flops_balance", "t", "p_value", "passed"]].copy()
    found["value"], found["gain"], found["standard_error"] = (
        judged[f"{kind}{by}"] for kind in ("", "gain_", "se_")
    )
    found["on_front"] = pareto_front(found["flops_balance"], found["value"]) & (found["gain"] > 0)
    found["within_budget"] = found["flops_balance"] <= budget
    eligible = found["within_budget"] & found["passed"] & (found["gain"] > 0)
    found["rank"] = pd.array([pd.NA] * len(found), dtype="Int64")
    order = found[eligible].sort_values(["value", "flops_balance"], kind="stable").index
    found.loc[order, "rank"] = range(1, len(order) + 1)
    found["chosen"] = found["rank"].eq(1).fillna(False).astype(bool)
    rest = found[~eligible].sort_values("value", kind="stable").index
    return found.loc[[*order, *rest]]


def pareto_front(cost: pd.Series, value: pd.Series) -> pd.Series:
    """Return which entries no other beats: none is as good in cost and value and better in one.

    Args:
        cost: Lower is better.
        value: Lower is better; nan is never on the front.
    """
    c, v = cost.to_numpy(dtype=float), value.to_numpy(dtype=float)
    known = ~np.isnan(v)
    as_good = (c[:, None] <= c) & (v[:, None] <= v)
    better = as_good & ((c[:, None] < c) | (v[:, None] < v))
    return pd.Series(known & ~better.any(0), index=cost.index)


def cross_fitted(
    members: Sequence[Array], labels: Array, *, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Return (n, k) fused logits, each image's by weights fitted on the other folds' images.

    Args:
        members: m arrays (n, k) of logits; one member is temperature scaling.
        labels: (n,) class numbers. A class may be missing in a fold: all share the weights.
        folds: Into how many parts the images are dealt, 2 ... n.
        seed: Of the dealing.

    Returns:
        float32.

    Raises:
        ValueError: `folds` outside 2 ... n; as `duokit.fusion.weights.fit_weights`.
    """
    n = len(labels)
    if not 2 <= folds <= n:
        raise ValueError(f"folds must be 2 ... {n}, the number of images, not {folds}")
    fold = np.random.default_rng(seed).permutation(n) % folds
    fused = np.empty(members[0].shape, dtype=np.float32)
    for number in range(folds):
        out = fold == number
        fit = fit_weights([z[~out] for z in members], labels[~out])
        fused[out] = weighted([z[out] for z in members], fit.weights)
    return fused


def _against(duo: Scores, alone: Scores, seed: int) -> dict[str, float]:
    """Return value, gain and standard error of both metrics."""
    ours, theirs = evaluate(duo, BY), evaluate(alone, BY)
    drawn = resampled(
        [Weighted(s, ["augrc"]) for s in (duo, alone)], ["augrc"], resamples=RESAMPLES, seed=seed
    )
    errors: dict[By, float] = {
        "nll": float((alone.nll - duo.nll).std(ddof=1) / np.sqrt(len(duo))),
        "augrc": float((drawn[1] - drawn[0]).std(ddof=1)),
    }
    found: dict[str, float] = {}
    for metric in BY:
        found[metric] = ours[metric]
        found[f"gain_{metric}"] = theirs[metric] - ours[metric]
        found[f"se_{metric}"] = errors[metric]
    return found


def _flops(record: Record) -> float:
    if not record.flops:
        raise ValueError(
            f"{record.title} has no FLOPs: count them (duokit.models.cost) and set Record.flops"
        )
    return float(record.flops)


def _check(large: Record, candidates: Mapping[str, Record], folds: int, alpha: float) -> None:
    if not candidates:
        raise ValueError("there is no candidate: give at least one sidekick's validation record")
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must lie in (0, 1], not {alpha}: 0.05 is 5 %")
    if not 2 <= folds <= large.n:
        raise ValueError(f"folds must be 2 ... {large.n}, the number of images, not {folds}")
    for record in (large, *candidates.values()):
        same_images(large, record)
        _flops(record)
