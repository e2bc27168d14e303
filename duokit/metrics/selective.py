"""Selective classification: is the model wrong where it is unsure?

Accept the surest images first. coverage is the share accepted, risk the error rate among them.
Every function takes one uncertainty per image (any real score, lower = surer) and whether the
prediction was right, and depends on the order of the uncertainties alone. Images of equal
uncertainty are treated together, so the order of the file never matters.

convention="paper" repeats the released code of Asymmetric Duos (arXiv 2505.18636) instead: sort,
ties in the order of the file (its sort was not even stable; here it is), compare in floats.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .arrays import (
    ArrayLike,
    Flags,
    Floats,
    check_convention,
    check_correct,
    check_scores,
    check_share,
)
from .ranked import (
    Order,
    area,
    augrc_of,
    auroc_of,
    best_area,
    coverages_of,
    order_of,
    risks_of,
    running_counts,
    sums,
)

Convention = Literal["standard", "paper"]


@dataclass(frozen=True)
class RiskCoverageCurve:
    """Risk at each coverage that a threshold can reach: one point per distinct uncertainty.

    Attributes:
        coverage: (g,) share of images accepted, rising to 1.
        risk: (g,) error rate among them, in [0, 1].
        threshold: (g,) accept an image when its uncertainty is at most this.
    """

    coverage: Floats
    risk: Floats
    threshold: Floats


def risk_coverage_curve(uncertainty: ArrayLike, correct: ArrayLike) -> RiskCoverageCurve:
    """Return risk and threshold at every coverage that accepting by uncertainty can reach.

    Convention: no point stands inside a group of equal uncertainties, since no threshold splits it,
    and none at coverage 0, where risk has no value. torch-uncertainty and the released duo code
    give one point per image in sort order.

    Args:
        uncertainty: (n,) real numbers, lower = surer, infinity allowed.
        correct: (n,) bool, True where the prediction is right.

    Raises:
        ValueError: Other shapes, no image, NaN, or flags that are neither 0 nor 1.
    """
    accepted, errors, threshold = running_counts(*_checked(uncertainty, correct))
    return RiskCoverageCurve(accepted / accepted[-1], errors / accepted, threshold)


def aurc(
    uncertainty: ArrayLike, correct: ArrayLike, *, convention: Convention = "standard"
) -> float:
    """Return the area under the risk-coverage curve: mean risk over the prefixes 1 ... n.

    Convention: ties are averaged over all their orders (exact, in closed form). Others: the
    released duo code takes the same mean in one arbitrary order; torch-uncertainty the trapezoid
    from 1/n to 1 divided by 1 - 1/n, ties in sort order. Without ties the differences shrink with
    n; with ties the order-dependent ones can differ by any amount.

    Args:
        uncertainty: (n,) real numbers, lower = surer, infinity allowed.
        correct: (n,) bool, True where the prediction is right.
        convention: "standard", or "paper" for ties in file order.

    Returns:
        A number in [0, 1], 0 = no error, lower is better.

    Raises:
        ValueError: Other shapes, no image, NaN, or flags that are neither 0 nor 1.

    Source: Geifman and El-Yaniv, arXiv 1705.08500; estimator discussed in arXiv 2410.15361.
    """
    if check_convention(convention):
        return float(paper_risks(uncertainty, correct).mean())
    order = _order(uncertainty, correct)
    return float(area(order, sums(order.n)))


def e_aurc(
    uncertainty: ArrayLike, correct: ArrayLike, *, convention: Convention = "standard"
) -> float:
    """Return the excess AURC: AURC minus that of the perfect order, in which all errors come last.

    Convention: the perfect order of these n images, exactly. The paper that named it
    subtracts r + (1 - r) ln(1 - r), its limit for large n at error rate r. The released duo code
    subtracts the exact one, as here.

    Args:
        uncertainty: (n,) real numbers, lower = surer, infinity allowed.
        correct: (n,) bool, True where the prediction is right.
        convention: "standard", or "paper" for ties in file order.

    Returns:
        A number in [0, 1], 0 = perfect order, lower is better.

    Raises:
        ValueError: Other shapes, no image, NaN, or flags that are neither 0 nor 1.

    Source: Geifman, Uziel and El-Yaniv, arXiv 1805.08206.
    """
    order = _order(uncertainty, correct)
    found = aurc(uncertainty, correct, convention=convention)
    return max(0.0, found - float(best_area(order.n, order.errors, sums(order.n))))


def augrc(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the generalized risk-coverage curve.

    Generalized risk is the share of all n images that are accepted and wrong, so the area is the
    mean risk of an undetected error. With accuracy a it equals
    (1 - AUROC) a (1 - a) + (1 - a)^2 / 2: accuracy and ranking, and nothing else.

    Convention: the trapezoid with (0, 0), ties joined by a straight line, as its authors define
    it. Others: the mean over prefixes is (1 - a) / (2 n) larger;
    torch-uncertainty takes the trapezoid from 1/n to 1 divided by 1 - 1/n.

    Args:
        uncertainty: (n,) real numbers, lower = surer, infinity allowed.
        correct: (n,) bool, True where the prediction is right.

    Returns:
        A number in [0, 1/2], lower is better; (1 - a)^2 / 2 at the perfect order.

    Raises:
        ValueError: Other shapes, no image, NaN, or flags that are neither 0 nor 1.

    Source: Traub et al., arXiv 2407.01032.
    """
    return float(augrc_of(_order(uncertainty, correct)))


def auroc(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Return the probability that a right image is surer than a wrong one, a tie counting half.

    Convention: as scikit-learn's roc_auc_score(correct, -uncertainty). The papers call it failure
    AUROC, CP-AUROC or AUROC of correctness. It says nothing about accuracy.

    Args:
        uncertainty: (n,) real numbers, lower = surer, infinity allowed.
        correct: (n,) bool, True where the prediction is right.

    Returns:
        A number in [0, 1], higher is better, .5 = no information; nan when all images are right or
        all are wrong, since then there is no pair to compare (scikit-learn warns and gives nan
        too).

    Raises:
        ValueError: Other shapes, no image, NaN, or flags that are neither 0 nor 1.
    """
    return float(auroc_of(_order(uncertainty, correct)))


def coverage_at_accuracy(
    uncertainty: ArrayLike,
    correct: ArrayLike,
    accuracy: float,
    *,
    convention: Convention = "standard",
) -> float:
    """Return the largest coverage at which the accepted images are at least this accurate.

    sac98 is this at accuracy .98. The largest such prefix counts, although smaller ones may fail:
    accuracy need not fall steadily. The number jumps when the few surest images hold an error.

    Convention: a group of equal uncertainty is accepted whole or not at all; errors are compared in
    whole numbers. Others: the released duo code cuts through ties in file order and compares
    floats, so that one error in ten is refused at .90 (1 - .9 < .1); torch-uncertainty (CovAtxRisk,
    the risk 1 - accuracy given) takes the largest prefix too, and nan for none; first failure is
    also in use.

    Args:
        uncertainty: (n,) real numbers, lower = surer, infinity allowed.
        correct: (n,) bool, True where the prediction is right.
        accuracy: The selective accuracy asked for, in (0, 1]; read as the decimal that was typed.
        convention: "standard", or "paper" for ties in file order and floats.

    Returns:
        A coverage in [0, 1], higher is better; 0 where no prefix is accurate enough.

    Raises:
        ValueError: Other shapes, no image, NaN, flags that are neither 0 nor 1, or a share outside.
    """
    check_share(accuracy, "accuracy")
    if check_convention(convention):
        risks = paper_risks(uncertainty, correct)
        fits = np.flatnonzero(risks <= 1 - accuracy)
        return float((fits[-1] + 1) / len(risks)) if len(fits) else 0.0
    return float(coverages_of(_order(uncertainty, correct), [accuracy])[0])


def risk_at_coverage(uncertainty: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Return the error rate among the ceil(coverage * n) surest images.

    Convention: where the cut falls inside a group of equal uncertainty, its members share the
    group's errors evenly, which is the mean over their orders. torch-uncertainty (RiskAtxCov) cuts
    at the same place in sort order.

    Args:
        uncertainty: (n,) real numbers, lower = surer, infinity allowed.
        correct: (n,) bool, True where the prediction is right.
        coverage: The share to accept, in (0, 1]; read as the decimal that was typed.

    Returns:
        A risk in [0, 1], lower is better.

    Raises:
        ValueError: Other shapes, no image, NaN, flags that are neither 0 nor 1, or a share outside.
    """
    check_share(coverage, "coverage")
    return float(risks_of(_order(uncertainty, correct), [coverage])[0])


def paper_risks(uncertainty: ArrayLike, correct: ArrayLike) -> Floats:
    """Return (n,) the running error rate in sort order, ties in file order."""
    scores, right = _checked(uncertainty, correct)
    wrong = ~right[np.argsort(scores, kind="stable")]
    return np.asarray(np.cumsum(wrong.astype(np.float64)) / np.arange(1, len(wrong) + 1))


def _checked(uncertainty: ArrayLike, correct: ArrayLike) -> tuple[Floats, Flags]:
    scores = check_scores(uncertainty, "uncertainty")
    return scores, check_correct(correct, len(scores))


def _order(uncertainty: ArrayLike, correct: ArrayLike) -> Order:
    return order_of(*_checked(uncertainty, correct))
