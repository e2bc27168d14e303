"""Is a sidekick worth having? One number from cached logits, before any fitting of weights."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from duokit.checks import Array, check_labels, check_members
from duokit.fusion.moments import moments
from duokit.fusion.weights import WeightFit, fit_weights


@dataclass(frozen=True)
class SidekickTest:
    """What `sidekick_test` found.

    Attributes:
        score: Slope of the mean log-likelihood (nats per unit of the small model's weight) where
            the sidekick enters; above 0 means that some of it helps.
        t: The score in units of its standard error; standard normal if the sidekick knows nothing.
        p_value: Chance of a t at least this high from a sidekick that knows nothing (one-sided).
        gain: Decrease of the validation NLL, in nats, that a quadratic model promises for the
            best weights (0 if the score is not positive).
        large_weight: Weight of the large model on its own (1 / its temperature).
        images: n.
    """

    score: float
    t: float
    p_value: float
    gain: float
    large_weight: float
    images: int


def sidekick_test(
    large: Array,
    small: Array,
    labels: Array | Sequence[int],
    *,
    alone: WeightFit | None = None,
) -> SidekickTest:
    """Return the score test of "the best weight of the small model is above zero".

    With p the softmax of the large model's logits at its own best weight, each image scores

        u = small[label] - E_p[small] - b * (large[label] - E_p[large])

    where b regresses the first part on the second under p, so that the score does not move when
    the large model's weight does (it was estimated too). The NLL is convex in the two weights;
    so the small model's best weight is above zero exactly if the mean of u is. What counts is
    what the small model knows about the label beyond what the large one says already; its own
    accuracy does not enter. The scale of either model's logits does not matter to t.

    Args:
        large: (n, k) logits of the large model on the validation images.
        small: (n, k) logits of the small model, same images in the same order.
        labels: (n,) class numbers 0 ... k - 1.
        alone: `fit_weights([large], labels)`, if it is at hand already; it is fitted otherwise.

    Raises:
        TypeError, ValueError: As `duokit.fusion.weights.fit_weights`.

    Source: a score (Lagrange multiplier) test of the model of arXiv 2505.18636, with the
    variance of the efficient score; the paper itself has no such test.
    """
    members = check_members([large, small])
    target = check_labels(labels, *members[0].shape).to(members[0].device)
    alone = fit_weights(members[:1], target) if alone is None else alone
    at = moments(members, target, np.array([alone.weights[0], 0.0]))
    (own, cross), (_, curvature) = at.hessian
    slope = cross / own if own > 0 and alone.weights[0] > 0 else 0.0
    contrast = np.array([-slope, 1.0])
    score = float(-contrast @ at.gradient)
    variance = float(contrast @ at.outer @ contrast) - score**2
    spread = curvature - slope * cross  # curvature of the NLL once the large weight follows
    if spread <= 1e-10 * curvature:
        warnings.warn(
            "the small model's logits are constant or a multiple of the large model's: "
            "it says nothing new, so t is 0",
            stacklevel=2,
        )
        return SidekickTest(0.0, 0.0, 0.5, 0.0, float(alone.weights[0]), alone.images)
    deviation = np.sqrt(max(variance, 1e-32) / len(target))  # 0 if all images score alike
    t = score / deviation
    gain = float(max(score, 0.0) ** 2 / (2 * spread))
    return SidekickTest(
        score, float(t), float(norm.sf(t)), gain, float(alone.weights[0]), alone.images
    )
