"""Ranking metrics from places: every formula of selective classification, written once.

Sort the images by uncertainty, surest first, and join those of equal uncertainty in one group. All
that matters of the order is where the errors stand: for each group that holds an error, how many
images come before it, how many once it is in, and how many of its own are wrong. So what is
computed here does not depend on the order of the images; and a bootstrap resample, in which an
image may appear three times or never, is the same groups with other numbers.

A group that no image is left in has before = after and wrong = 0, and changes nothing.

Arrays may have leading dimensions, one entry a sample of n images: written (..., g) below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .arrays import Flags, Floats, Whole


@dataclass(frozen=True)
class Order:
    """Where the errors stand among n images, surest first.

    Attributes:
        n: How many images.
        before: (..., g) for each group with errors, how many images are surer; whole numbers.
        after: (..., g) how many images there are up to its end.
        wrong: (..., g) how many errors it holds.
    """

    n: int
    before: Floats
    after: Floats
    wrong: Floats

    @cached_property
    def running(self) -> Floats:
        """(..., g) errors up to the end of each group."""
        return running(self.wrong)

    @cached_property
    def errors(self) -> Floats:
        """(...) all errors."""
        return np.asarray(self.wrong.sum(-1))

    @cached_property
    def misranked(self) -> Floats:
        """(...) how many (right, wrong) pairs have the wrong one surer; a tied pair counts half.

        The images before the middle of an error's group are right ones, which we want, and errors:
        over all errors these make e^2 / 2.
        """
        e = self.errors
        right_before = (self.wrong * (self.before + self.after)).sum(-1) / 2 - e * e / 2
        return np.asarray(e * (self.n - e) - right_before)


class Sums(NamedTuple):
    """Tables for `area`: the harmonic numbers H(j) = 1 + ... + 1/j, and H(0) + ... + H(j - 1)."""

    harmonic: Floats  # (n + 1,)
    below: Floats  # (n + 1,)


def order_of(uncertainty: Floats, correct: Flags) -> Order:
    """Return where the errors stand when images are sorted by uncertainty."""
    accepted, errors, _ = running_counts(uncertainty, correct)
    wrong = np.diff(errors, prepend=0)
    before = np.concatenate([[0], accepted[:-1]])
    parts = (part[wrong > 0].astype(np.float64) for part in (before, accepted, wrong))
    return Order(len(uncertainty), *parts)


def running_counts(uncertainty: Floats, correct: Flags) -> tuple[Whole, Whole, Floats]:
    """Return images, errors and the uncertainty itself up to each distinct uncertainty."""
    order = np.argsort(uncertainty, kind="stable")
    values, wrong = uncertainty[order], ~correct[order]
    ends = group_ends(values)
    return ends + 1, np.cumsum(wrong, dtype=np.int64)[ends], values[ends]


def group_ends(values: Floats | Whole) -> Whole:
    """Return the index of the last member of each run of equal numbers in a sorted array."""
    return np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1).astype(np.int64)


def sums(n: int) -> Sums:
    """Return the tables for n images; H(0) + ... + H(j - 1) = j H(j) - j."""
    places = np.arange(n + 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / places[1:])])
    return Sums(harmonic, places * harmonic - places)


def area(order: Order, tables: Sums) -> Floats:
    """Return (...) the mean risk over all n prefixes, expected over orders within each group.

    An error at place j counts in the prefixes j ... n, so it weighs 1/j + ... + 1/n =
    H(n) - H(j - 1). Within a group it may stand at any place from before + 1 to after, so it weighs
    the mean over them.
    """
    share = order.wrong / np.maximum(order.after - order.before, 1)
    below_before, below_after = (
        tables.below.take(places.astype(np.int64)) for places in (order.before, order.after)
    )
    lost = (share * (below_after - below_before)).sum(-1)
    return np.asarray((order.errors * tables.harmonic[order.n] - lost) / order.n)


def best_area(n: int, errors: Floats, tables: Sums) -> Floats:
    """Return (...) the same mean when all errors come last: no order of n images has a smaller one.

    Prefix k > n - e holds k - (n - e) errors, so the mean is
    (e - (n - e) (H(n) - H(n - e))) / n. For large n and error rate r this is r + (1 - r) ln(1 - r).
    """
    right = n - errors
    after = tables.harmonic[n] - tables.harmonic.take(np.asarray(right, dtype=np.int64))
    return np.asarray((errors - right * after) / n)


def auroc_of(order: Order) -> Floats:
    """Return (...) the share of (right, wrong) pairs with the right one surer, nan without any."""
    pairs = order.errors * (order.n - order.errors)
    return np.asarray(1 - order.misranked / np.where(pairs > 0, pairs, np.nan))


def augrc_of(order: Order) -> Floats:
    """Return (...) misranked pairs / n^2 + (error rate)^2 / 2, the area under joint risk."""
    return np.asarray((order.misranked + order.errors**2 / 2) / order.n**2)


@cache
def exact(value: float) -> Fraction:
    """Return the decimal that was typed: 0.9 becomes 9/10, which the float is not."""
    return Fraction(repr(float(value)))


@cache
def allowed_risk(accuracy: float) -> float:
    """Return 1 - accuracy of the decimal, rounded once; in floats 1 - 0.9 is less than 0.1."""
    return float(1 - exact(accuracy))


def coverages_of(order: Order, accuracies: Sequence[float]) -> Floats:
    """Return (..., a) for each accuracy the largest coverage that is at least so accurate, else 0.

    Only whole groups can be accepted, and a prefix that stops short of the next error only gains by
    going on: so the candidates are the prefixes before each group with errors, and all images.
    Division and allowed risk are both rounded once, so errors / images equals it where it should.
    """
    edge = np.zeros((*order.before.shape[:-1], 1))
    images = np.concatenate([order.before, edge + order.n], axis=-1)
    risk = np.concatenate([edge, order.running], axis=-1) / np.maximum(images, 1)
    backward = np.minimum.accumulate(risk[..., ::-1], axis=-1)
    least = backward[..., ::-1].copy()  # the smallest risk from each candidate on: it rises
    allowed = [allowed_risk(accuracy) for accuracy in accuracies]
    last = places(least, allowed, side="right") - 1
    return picked(images, last) / order.n


def risks_of(order: Order, coverages: Sequence[float]) -> Floats:
    """Return (..., c) for each coverage the expected error rate of the ceil(coverage * n) surest.

    Where the cut falls inside a group, its members share the group's errors evenly.
    """
    shares = [exact(coverage) * order.n for coverage in coverages]
    kept = np.array([float(-(-share.numerator // share.denominator)) for share in shares])
    last = places(order.before, kept) - 1  # the last group that begins earlier
    start, end, wrong, errors = (
        picked(values, last) for values in (order.before, order.after, order.wrong, order.running)
    )
    part = np.minimum(1.0, (kept - start) / np.maximum(end - start, 1.0))
    return np.asarray((errors - wrong * (1 - part)) / kept)


def running(values: Floats) -> Floats:
    """Return the running total; PyTorch's is about three times as fast as NumPy's."""
    return torch.from_numpy(values).cumsum(-1).numpy()


def places(rising: Floats, values: npt.ArrayLike, *, side: str = "left") -> Whole:
    """Return (..., v) where each value belongs in each rising sequence, as np.searchsorted.

    Args:
        rising: (..., g) sequences.
        values: (v,) or (..., v) what to place.
        side: "left" of equal numbers or "right" of them.
    """
    wanted = np.broadcast_to(values, (*rising.shape[:-1], np.shape(values)[-1]))
    found = torch.searchsorted(*map(torch.from_numpy, (rising, wanted.copy())), side=side)
    return found.numpy()


def picked(values: Floats, at: Whole) -> Floats:
    """Return (..., p) the values (..., g) at these places (..., p), 0 at place -1."""
    if values.shape[-1] == 0:
        return np.zeros(at.shape)
    return np.where(at >= 0, np.take_along_axis(values, np.maximum(at, 0), axis=-1), 0.0)


def between(at: Floats, images: Floats, totals: Floats, last: Whole, previous: Whole) -> Floats:
    """Return (..., p) running totals at places between two ends each, on the straight line.

    Args:
        at: (..., p) places in the order.
        images: (..., g) running number of images at each end.
        totals: (..., g) running total of something there.
        last: (..., p) the end at or after each place.
        previous: (..., p) the end before it, -1 for the start of the order.
    """
    start, total = picked(images, previous), picked(totals, previous)
    part = (at - start) / np.maximum(picked(images, last) - start, 1)
    return np.asarray(total + part * (picked(totals, last) - total))
