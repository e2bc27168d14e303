"""Is a sidekick worth having? One number from cached logits, before any fitting of weights."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm
from scipy.stats import t as student

from duokit.checks import Array, check_labelled
from duokit.fusion.masks import extent, masked
from duokit.fusion.moments import moments
from duokit.fusion.weights import WeightFit, fit_weights

LEAST_IMAGES = 3  # the mean, the large model's weight, and one degree of freedom
ROUGH_IMAGES = 30  # below it, the error rate depends on the logits
FEW_IMAGES = 100  # up to here Student's law; above, it is the normal one but for the third digit


@dataclass(frozen=True)
class SidekickTest:
    """What `sidekick_test` found.

    Attributes:
        score: Slope of the mean log-likelihood (nats per unit of the small model's weight) where
            the sidekick enters; above 0 means that some of it helps.
        t: The score in units of its standard error. If the sidekick knows nothing, its law is
            Student's with n - 2 degrees of freedom up to 100 images, the normal one above.
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

    @property
    def rough(self) -> bool:
        """Whether the images are too few (below 30) to trust the p-value to more than its order."""
        return self.images < ROUGH_IMAGES


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

    The spread of u over the images is not known but estimated, after the large model's weight was
    estimated from the same images. So with few images (up to 100) t has Student's law with n - 2
    degrees of freedom, as the slope of a regression with two coefficients has, and p is no lower
    than 2^-n, the chance that n coins agree: all images may score alike by chance. Below 30 images
    even this is rough, because u is far from normal (see `SidekickTest.rough`).

    Args:
        large: (n, k) logits of the large model on the validation images.
        small: (n, k) logits of the small model, same images in the same order.
        labels: (n,) class numbers 0 ... k - 1.
        alone: `fit_weights([large], labels)`, if it is at hand already; it is fitted otherwise,
            and where the small model masks classes out.

    Raises:
        TypeError, ValueError: As `duokit.fusion.weights.fit_weights`; fewer than three images.

    Source: a score (Lagrange multiplier) test of the model of arXiv 2505.18636, with the
    variance of the efficient score; the paper itself has no such test.
    """
    members, target = check_labelled([large, small], labels)
    n = len(target)
    if n < LEAST_IMAGES:
        raise ValueError(
            f"{n} images are too few for a test of the sidekick: it needs {LEAST_IMAGES} or more, "
            "some hundreds to say much. Give more validation images, or fit the weights untested"
        )
    depths = [extent(z).depth for z in members]
    never = masked(members, depths) if np.isfinite(depths[1]) else None
    if never is not None:  # the large model answers with the classes that are left
        lowest = torch.finfo(torch.float64).min
        alone = fit_weights([members[0].double().masked_fill_(never, lowest)], target)
    elif alone is None:
        alone = fit_weights(members[:1], target)
    weight = float(alone.weights[0])
    at = moments(members, target, np.array([weight, 0.0]), depths=depths)
    (own, cross), (_, curvature) = at.hessian
    slope = cross / own if own > 0 and weight > 0 else 0.0
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
        return SidekickTest(0.0, 0.0, 0.5, 0.0, weight, n)
    few = n <= FEW_IMAGES
    deviation = np.sqrt(max(variance, 1e-32) / (n - 2 if few else n))  # 0 if all score alike
    t = float(min(score / deviation, student.isf(0.5**n, n - 2)) if few else score / deviation)
    p_value = float(student.sf(t, n - 2) if few else norm.sf(t))
    gain = float(max(score, 0.0) ** 2 / (2 * spread))
    return SidekickTest(score, t, p_value, gain, weight, n)
