"""Whom does a change of model hit? Agreement by class, by group and by confidence.

A mean over all images can hide a class whose answers were swapped. But of many groups some look bad
by luck alone, so the p-values are corrected for their number (see duokit.metrics.chance.corrected).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2_contingency

from duokit.checks import Array, check_labels, check_logits
from duokit.metrics.arrays import ArrayLike, Whole, check_groups
from duokit.metrics.chance import CORRECTIONS, corrected, share_interval
from duokit.metrics.scores import confidences, score
from duokit.trust.agreement import per_image
from duokit.trust.changes import change_tests

TESTS = {"McNemar": "mcnemar", "Stuart-Maxwell, swapped": "answers"}


@dataclass(frozen=True)
class SkewSize:
    """How unevenly over the classes a model's answers depend on an attribute.

    Attributes:
        effects: Index class, the effect size of each in [0, 1]; nan where all its images share one
            value of the attribute, or there is only one.
        skewness: Of the effects that are known; nan for fewer than three of them, or if all are
            equal.
    """

    effects: pd.Series
    skewness: float


def agreement_by_group(
    large: Array,
    small: Array,
    labels: Array,
    groups: Sequence[object] | npt.NDArray[np.generic] | None = None,
    *,
    level: float = 0.95,
    swaps: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how alike two models answer in each group of images, one row a group.

    Two tests a group: "mcnemar", are both right equally often, and "answers", the Stuart-Maxwell
    statistic with random swaps, since a group is small (see `change_tests`). Each is corrected over
    all groups, those without a changed image (p = 1) too: leaving them out would be a choice made
    by looking.

    Args:
        large: (n, k) logits of the large model.
        small: (n, k) logits of the other one, same images.
        labels: (n,) integers 0 ... k - 1.
        groups: (n,) the group of each image, numbers or texts; default: its true class.
        level: Of the Clopper-Pearson interval of the agreement, in (0, 1).
        swaps: Random swaps a group, 1 or more; default: 50 for each of the groups, at least 999, as
            a p-value can be no smaller than 1 / (swaps + 1) and has to survive the correction.
        seed: Of the swaps.

    Returns:
        Index group, in sorted order; columns images, accuracy_large, accuracy_small,
        label_agreement, low, high, right_to_wrong, wrong_to_right, kl (nats), and mcnemar and
        answers, each with _bh and _holm.

    Raises:
        TypeError, ValueError: As `agreement`; another number of groups.

    Source: Kamal and Talbert, arXiv 2510.06125, with tests for paired answers instead of theirs.
    """
    each = per_image(large, small, labels)
    one, other = (score(z, labels) for z in (large, small))
    given = one.labels if groups is None else check_groups(groups, "groups", len(each))
    names, group = np.unique(given, return_inverse=True)
    swaps = max(999, 50 * len(names)) if swaps is None else swaps
    each = each.assign(accuracy_large=one.correct, accuracy_small=other.correct).astype(float)
    means = each.groupby(group)
    columns = ["accuracy_large", "accuracy_small", "label_agreement"]
    found = means[columns].mean()
    found.insert(0, "images", means.size())
    same = means["label_agreement"].sum().to_numpy()
    found["low"], found["high"] = share_interval(same, found["images"].to_numpy(), level=level)
    rest = ["right_to_wrong", "wrong_to_right", "kl"]
    found[rest] = means[rest].mean()
    tested = []
    for place in range(len(names)):
        at = np.flatnonzero(group == place)
        answers = one.predictions[at], other.predictions[at]
        tests = change_tests(*answers, one.labels[at], swaps=swaps, seed=seed)
        tested.append(tests.loc[list(TESTS), "p_value"].to_numpy())
    found[list(TESTS.values())] = np.stack(tested)
    for name in TESTS.values():
        for way, p in corrected(found, by=(), p=name)[list(CORRECTIONS)].items():
            found[f"{name}{str(way).removeprefix('p')}"] = p
    return found.set_axis(pd.Index(names, name="group"))


def agreement_by_confidence(
    large: Array, small: Array, labels: Array, *, parts: int = 10, level: float = 0.95
) -> pd.DataFrame:
    """Return how alike two models answer where the large one is unsure, and where it is sure.

    Convention: the images, least sure first, are cut into parts of equal size; images of equal
    confidence stay together, so that parts may differ in size and fewer than asked remain.

    Args:
        large: (n, k) logits of the large model.
        small: (n, k) logits of the other one, same images.
        labels: (n,) integers 0 ... k - 1.
        parts: How many, 1 or more; 10 for deciles.
        level: Of the Clopper-Pearson interval of the agreement, in (0, 1).

    Returns:
        Index part, 1 for the least sure; columns images, confidence_low and confidence_high (least
        and greatest of the large model), label_agreement, low, high, accuracy_large,
        accuracy_small, kl (nats).

    Raises:
        TypeError, ValueError: As `agreement`; parts below 1.
    """
    if parts < 1:
        raise ValueError(f"parts must be 1 or more, not {parts}")
    each = per_image(large, small, labels)
    one, other = (score(z, labels) for z in (large, small))
    # Minus the uncertainty ranks as the confidence does, without rounding near 1.
    rank = -one.uncertainty
    edges = np.quantile(rank, np.arange(1, parts) / parts, method="inverted_cdf")
    part = np.searchsorted(np.unique(edges), rank, side="left")
    each = each.assign(
        accuracy_large=one.correct, accuracy_small=other.correct, confidence=one.confidence
    ).astype(float)
    means = each.groupby(part)
    found = pd.DataFrame({"images": means.size()})
    found["confidence_low"] = means["confidence"].min()
    found["confidence_high"] = means["confidence"].max()
    found["label_agreement"] = means["label_agreement"].mean()
    same = means["label_agreement"].sum().to_numpy()
    found["low"], found["high"] = share_interval(same, found["images"].to_numpy(), level=level)
    rest = ["accuracy_large", "accuracy_small", "kl"]
    found[rest] = means[rest].mean()
    return found.set_axis(pd.RangeIndex(1, len(found) + 1, name="part"))


def skewsize(
    logits: Array, labels: Array, attribute: Sequence[object] | npt.NDArray[np.generic]
) -> SkewSize:
    """Return how unevenly over classes a model's answers depend on an attribute of the image.

    Among the images of one class the answer should not depend on the attribute. Cramer's V of the
    table attribute x answer says how much it does, class by class; then the Fisher-Pearson skewness
    over the classes, m3 / m2^1.5. Far above 0: most classes are spared and a few are hit.

    The attribute may be anything known of the images before they were answered, such as a slice, a
    corruption, or "the sidekick disagrees with the large model".

    Convention: V is bias-corrected after Bergsma (see `cramers_v`). The paper corrects for bias as
    well; its exact formula could not be checked, so values may differ from its own.

    Args:
        logits: (n, k).
        labels: (n,) integers 0 ... k - 1.
        attribute: (n,) numbers or texts.

    Raises:
        TypeError, ValueError: As `confidences`; another number of attributes.

    Source: Albuquerque et al., arXiv 2407.10633; Bergsma 2013.
    """
    z = check_logits(logits)
    answers = confidences(z).predictions
    true = check_labels(labels, *z.shape).cpu().numpy()
    given = check_groups(attribute, "attribute", len(true))
    effects = {int(y): cramers_v(given[true == y], answers[true == y]) for y in np.unique(true)}
    found = pd.Series(effects, name="effect").rename_axis("class")
    known = found.dropna().to_numpy()
    if len(known) < 3 or np.ptp(known) == 0:
        return SkewSize(found, float("nan"))
    d = known - known.mean()
    return SkewSize(found, float((d**3).mean() / (d**2).mean() ** 1.5))


def cramers_v(one: ArrayLike, other: ArrayLike) -> float:
    """Return the bias-corrected Cramer's V of two ways to sort the same images.

    With r and c kinds, n images and phi^2 = chi^2 / n: less its expectation under independence,
    max(0, phi^2 - (r - 1)(c - 1) / (n - 1)), over the smaller of r' - 1 and c' - 1, where
    r' = r - (r - 1)^2 / (n - 1) and c' likewise; then the root.

    Args:
        one: (n,) numbers or texts.
        other: (n,) numbers or texts.

    Returns:
        A number in [0, 1], 0 for no association; 0 if `other` is the same for all images; nan if
        `one` is, or if each image is a kind of its own.

    Source: Bergsma 2013, "A bias-correction for Cramer's V and Tschuprow's T".
    """
    first = check_groups(one, "one")
    table = _counts(first, check_groups(other, "other", len(first)))
    n, (r, c) = table.sum(), table.shape
    if r < 2:
        return float("nan")
    if c < 2:
        return 0.0
    phi2 = chi2_contingency(table, correction=False).statistic / n
    least = min(size - 1 - (size - 1) ** 2 / (n - 1) for size in (r, c))
    if least <= 0:
        return float("nan")
    return float(np.sqrt(min(1.0, max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1)) / least)))


def _counts(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> Whole:
    (rows, i), (columns, j) = (np.unique(a, return_inverse=True) for a in (one, other))
    flat = np.bincount(i * len(columns) + j, minlength=len(rows) * len(columns))
    return flat.reshape(len(rows), len(columns))
