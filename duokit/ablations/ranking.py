"""What temperatures do to the ranking of images by confidence.

One temperature moves all logits of an image alike, but not all images alike: with three classes or
more the largest probability depends on all the others, and images change places.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, rankdata

from duokit.checks import Array
from duokit.evaluation import fit_duo
from duokit.fusion.combine import weighted
from duokit.fusion.weights import fit_weights
from duokit.logits.record import Record
from duokit.metrics.scores import score
from duokit.metrics.table import evaluate

RANKED = ("auroc", "aurc")


def rank_changes(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return how two uncertainties of the same images rank them differently.

    Args:
        before: (n,) one number an image, 2 images or more.
        after: (n,) the other.

    Returns:
        moved: share of images whose rank differs (ties have their mean rank); swapped: share of all
        pairs of images that stand in the opposite order, ties in either left out of these.

    Raises:
        ValueError: Other shapes, fewer than two images, or a nan.
    """
    a, b = (np.asarray(each, dtype=float) for each in (before, after))
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2 or np.isnan(a + b).any():
        raise ValueError(
            f"expected two rows of as many numbers, 2 or more, no nan; got {a.shape} and {b.shape}"
        )
    pairs = len(a) * (len(a) - 1) / 2
    ties = [_tied_pairs(each) for each in (a[:, None], b[:, None], np.stack([a, b], axis=1))]
    agree = kendalltau(a, b).statistic  # nan where all are tied: no pair is in any order
    surplus = 0.0 if np.isnan(agree) else agree * np.sqrt((pairs - ties[0]) * (pairs - ties[1]))
    swapped = (pairs - ties[0] - ties[1] + ties[2] - surplus) / 2
    moved = float((rankdata(a) != rankdata(b)).mean())
    return {"moved": moved, "swapped": max(0.0, float(np.rint(swapped))) / pairs}


def ranking_by_temperature(
    logits: Array, labels: Array, *, factors: Sequence[float]
) -> pd.DataFrame:
    """Return how one model's ranking changes with a factor on its logits.

    Args:
        logits: (n, k), such as logits at the model's own temperature.
        labels: (n,) class numbers.
        factors: What the logits are multiplied by, > 0; the reference is 1.

    Returns:
        Index factor; columns nll, auroc, aurc, and moved and swapped against factor 1.

    Raises:
        ValueError: No factor, or one that is not above 0.
    """
    if not len(factors) or not all(factor > 0 for factor in factors):
        raise ValueError(f"factors must be numbers above 0, not {list(factors)}")
    reference = score(logits, labels).uncertainty
    rows = {}
    for factor in factors:
        found = score(weighted([logits], [factor]), labels)
        changes = rank_changes(reference, found.uncertainty)
        rows[float(factor)] = evaluate(found, ("nll", *RANKED)) | changes
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("factor")


def ranking_by_trust(
    val: Sequence[Record], test: Sequence[Record], *, shares: Sequence[float]
) -> pd.DataFrame:
    """Return how a duo's answers and ranking change with the ratio of its two weights.

    For each share s the logits are (1 - s) times the large model's and s times the sidekick's, each
    at its own temperature; then one scale is fitted on val. So only the ratio is forced.

    Args:
        val: Validation records of the large model and the sidekick.
        test: The same of the images that judge.
        shares: The sidekick's shares of the trust, in [0, 1].

    Returns:
        Index trust_small; columns scale, val_nll, nll, accuracy, auroc, aurc, and moved and swapped
        against the joint fit.

    Raises:
        ValueError: No share, or one outside [0, 1]; as `fit_duo`.
    """
    if not len(shares) or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares must lie in [0, 1], not {list(shares)}")
    duo = fit_duo(val)
    reference = score(duo.logits(test), test[0].labels).uncertainty
    rows = {}
    for share in shares:
        weights = np.array([1 - share, share]) * duo.own_weights
        here, there = (weighted([r.logits for r in some], weights) for some in (val, test))
        fit = fit_weights([here], val[0].labels)
        found = score(weighted([there], fit.weights), test[0].labels)
        rows[float(share)] = {
            "scale": float(fit.weights[0]),
            "val_nll": fit.nll,
            **evaluate(found, ("nll", "accuracy", *RANKED)),
            **rank_changes(reference, found.uncertainty),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trust_small")


def _tied_pairs(rows: np.ndarray) -> float:
    """Return how many pairs of rows are equal."""
    counts = np.unique(rows, axis=0, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1) / 2).sum())
