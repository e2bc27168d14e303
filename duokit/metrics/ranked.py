"""Ranking metrics from running counts: every formula of selective classification, in one place.

Sort the images by uncertainty, surest first, and join those of equal uncertainty in one group. Two
running totals at the groups' ends then say everything: `accepted` (g,) how many images, and
`errors` (g,) how many of them are wrong, both whole numbers. Nothing else is needed, so whatever is
computed here is independent of the order of the images; and a bootstrap resample, in which an image
may appear three times or never, is the same two totals with other numbers in them.

A group whose total does not grow is empty and changes nothing.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np

from .arrays import Flags, Floats, Whole


def running_counts(uncertainty: Floats, correct: Flags) -> tuple[Whole, Whole, Floats]:
    """Return accepted, errors and the uncertainty itself at each distinct uncertainty."""
    order = np.argsort(uncertainty, kind="stable")
    threshold, wrong = uncertainty[order], ~correct[order]
    ends = group_ends(threshold)
    return ends + 1, np.cumsum(wrong, dtype=np.int64)[ends], threshold[ends]


def group_ends(values: Floats | Whole) -> Whole:
    """Return the index of the last member of each run of equal numbers in a sorted array."""
    return np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1).astype(np.int64)


def harmonic(n: int) -> Floats:
    """Return (n + 1,) the harmonic numbers H(0) = 0, H(j) = 1 + 1/2 + ... + 1/j."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])


def area(accepted: Whole, errors: Whole, numbers: Floats) -> float:
    """Return the mean risk over all n prefixes, expected over random orders within each group.

    The error at place j of the order counts in the prefixes j ... n, so it weighs
    H(n) - H(j - 1). Within a group an error may stand at any of its m places, so it weighs the mean
    over them; H(0) + ... + H(j - 1) = j H(j) - j gives that mean in closed form.

    Args:
        accepted: (g,) running number of images at the end of each group.
        errors: (g,) running number of wrong images.
        numbers: harmonic(n) or longer.
    """
    n = int(accepted[-1])
    sizes, wrong = np.diff(accepted, prepend=0), np.diff(errors, prepend=0)
    sums = accepted * numbers[accepted] - accepted
    before = np.diff(sums, prepend=0.0)
    share = wrong / np.maximum(sizes, 1)
    return float((errors[-1] * numbers[n] - share @ before) / n)


def best_area(n: int, errors: int, numbers: Floats) -> float:
    """Return the same mean when all errors come last: no order of n images has a smaller one.

    Prefix k > n - e holds k - (n - e) errors, so the mean is
    (e - (n - e) (H(n) - H(n - e))) / n. For large n and error rate r this is r + (1 - r) ln(1 - r).
    """
    right = n - errors
    return float((errors - right * (numbers[n] - numbers[right])) / n)


def misranked(accepted: Whole, errors: Whole) -> float:
    """Return how many (right, wrong) pairs have the wrong one surer; a tied pair counts half.

    Twice a group's mean place is the sum of the running totals at its two ends. Summed over the
    errors, places count right images (wanted) and errors (e^2 / 2 in all) that come before.
    """
    wrong = np.diff(errors, prepend=0)
    middle = (accepted + np.concatenate([[0], accepted[:-1]])) / 2
    e = int(errors[-1])
    right_before = float(wrong @ middle) - e * e / 2
    return e * (int(accepted[-1]) - e) - right_before


def auroc_of(accepted: Whole, errors: Whole) -> float:
    """Return the share of (right, wrong) pairs with the right one surer, nan without a pair."""
    e = int(errors[-1])
    pairs = e * (int(accepted[-1]) - e)
    return 1 - misranked(accepted, errors) / pairs if pairs else float("nan")


def augrc_of(accepted: Whole, errors: Whole) -> float:
    """Return misranked pairs / n^2 + (error rate)^2 / 2, the area under joint risk by coverage."""
    n, e = int(accepted[-1]), int(errors[-1])
    return (misranked(accepted, errors) + e * e / 2) / n**2


@cache
def exact(value: float) -> Fraction:
    """Return the decimal that was typed: 0.9 becomes 9/10, which the float is not."""
    return Fraction(repr(float(value)))


def coverages_of(accepted: Whole, errors: Whole, accuracies: Sequence[float]) -> list[float]:
    """Return for each accuracy the largest coverage that is at least so accurate, else 0.

    Only whole groups can be accepted. Compared in whole numbers, errors * q <= accepted * p with
    1 - accuracy = p / q: in floats 1 - 0.9 < 0.1, and one error in ten would be turned away.

    Args:
        accepted: (g,) running number of images at the end of each group.
        errors: (g,) running number of wrong images.
        accuracies: In rising order: what fits a higher one fits a lower one too, so the search goes
            on inside the prefix found last.
    """
    coverages, stop, n = [], len(accepted), int(accepted[-1])
    for accuracy in accuracies:
        allowed = 1 - exact(accuracy)
        p, q = allowed.numerator, allowed.denominator
        fits = np.flatnonzero(errors[:stop] * q <= accepted[:stop] * p)
        stop = int(fits[-1]) + 1 if len(fits) else 0
        coverages.append(float(accepted[stop - 1] / n) if stop else 0.0)
    return coverages


def risk_of(accepted: Whole, errors: Whole, coverage: float) -> float:
    """Return the expected error rate among the ceil(coverage * n) surest images."""
    share = exact(coverage) * int(accepted[-1])
    kept = -(-share.numerator // share.denominator)
    return float(interpolate(np.array([float(kept)]), accepted, errors)[0] / kept)


def interpolate(places: Floats, accepted: Whole, totals: Floats | Whole) -> Floats:
    """Return running totals at any places 0 ... n, a group's members sharing its total evenly.

    Args:
        places: (p,) places in the order, whole or not.
        accepted: (g,) running number of images at the end of each group.
        totals: (g,) running total of something at the same ends.
    """
    group = np.minimum(np.searchsorted(accepted, places), len(accepted) - 1)
    first = group == 0
    start = np.where(first, 0, accepted[group - 1])
    total = np.where(first, 0, totals[group - 1])
    part = (places - start) / np.maximum(accepted[group] - start, 1)
    return np.asarray(total + np.minimum(part, 1.0) * (totals[group] - total), dtype=np.float64)
