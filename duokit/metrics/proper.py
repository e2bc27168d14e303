"""Right or wrong, and the two proper scores: what a table of models starts with."""

from typing import Literal

import numpy as np

from ..checks import Array
from .arrays import ArrayLike, Floats, Whole, check_classes, check_convention
from .scores import score


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of images whose prediction is the label.

    Args:
        predictions: (n,) integers.
        labels: (n,) integers.

    Returns:
        A number in [0, 1], higher is better.

    Raises:
        ValueError: Different lengths, or no image.
    """
    found, true = _pair(predictions, labels)
    return float((found == true).mean())


def macro_f1(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over classes of F1 = 2 TP / (images of the class + predictions of the class).

    Convention: the mean runs over the classes found among labels or predictions, as scikit-learn's
    f1_score(average="macro"), torchmetrics' average="macro" and the released duo code. The mean of
    torchmetrics' average="none" runs over all k, absent ones as 0: another number.

    Args:
        predictions: (n,) integers >= 0.
        labels: (n,) integers >= 0.

    Returns:
        A number in [0, 1], higher is better.

    Raises:
        ValueError: Different lengths, no image, or a negative class.
    """
    found, true = _pair(predictions, labels)
    present, at = np.unique(np.concatenate([found, true]), return_inverse=True)
    seen = np.bincount(at)
    hits = np.bincount(at[: len(found)][found == true], minlength=len(present))
    return float(f1_of(hits.astype(np.float64), seen.astype(np.float64)))


def f1_of(hits: Floats, seen: Floats) -> Floats:
    """Return (...) macro F1 from true positives, and labels plus predictions, (..., k) by class."""
    present = seen > 0
    shares = 2 * hits / np.where(present, seen, 1)
    return np.asarray(shares.sum(-1) / present.sum(-1))


def nll(logits: Array, labels: Array) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    Convention: log-sum-exp(z) - z_label, from logits, never clipped. scikit-learn's log_loss clips
    probabilities at the float's epsilon (1.2e-7 in float32: no image costs more than 15.9 nats)
    and leaves the clipped rows as they are; the released duo code inherits that.

    Args:
        logits: (n, k) finite.
        labels: (n,) integers 0 ... k - 1.

    Returns:
        A number >= 0, lower is better.

    Raises:
        TypeError, ValueError: As `score`.
    """
    return float(score(logits, labels).nll.mean())


def brier(
    logits: Array,
    labels: Array,
    *,
    convention: Literal["standard", "paper"] = "standard",
) -> float:
    """Return the mean squared distance of the probabilities to the one-hot label.

    Convention: summed over classes, so in [0, 2], as Brier 1950, torch-uncertainty and
    scikit-learn's brier_score_loss for several classes. "paper" is the mean over all n k entries,
    1/k of it, which the released duo code gets from flattened arrays (its tables show it times
    10,000). For two classes scikit-learn's default is half of the sum.

    Args:
        logits: (n, k) finite.
        labels: (n,) integers 0 ... k - 1.
        convention: "standard" for the sum over classes, "paper" for their mean.

    Returns:
        A number in [0, 2], lower is better; in [0, 2 / k] with "paper".

    Raises:
        TypeError, ValueError: As `score`; an unknown convention.

    Source: Brier 1950; arXiv 2505.18636 for "paper".
    """
    share = check_convention(convention)
    scores = score(logits, labels)
    return float(scores.brier.mean() / (scores.classes if share else 1))


def _pair(predictions: ArrayLike, labels: ArrayLike) -> tuple[Whole, Whole]:
    true = check_classes(labels, "labels")
    return check_classes(predictions, "predictions", len(true)), true
