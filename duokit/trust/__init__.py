"""Does a sidekick, a duo or a compressed model deserve the trust that the large model has earned?

Equal accuracy is not enough. Here is asked whether both answer the same images alike
(`agreement`, by group and by confidence), and whether their probabilities mean the same
(`calibration_similarity`).

Source: Rai et al., arXiv 2508.13533, for the question and the two sides of trust; each function
names its own.
"""

from duokit.trust.agreement import (
    Agreement,
    agreement,
    divergences,
    log_probs,
    per_image,
)
from duokit.trust.calibration import (
    calibration_similarity,
    own_weights,
    published_measures,
    reliability_bins,
)
from duokit.trust.changes import change_tests
from duokit.trust.confidence import UsableRegion, ccrc, usable_region
from duokit.trust.subgroups import (
    SkewSize,
    agreement_by_confidence,
    agreement_by_group,
    cramers_v,
    skewsize,
)
from duokit.trust.without_labels import mano, nuclear_norm, relate

__all__ = [
    "Agreement",
    "SkewSize",
    "UsableRegion",
    "agreement",
    "agreement_by_confidence",
    "agreement_by_group",
    "calibration_similarity",
    "ccrc",
    "change_tests",
    "cramers_v",
    "divergences",
    "log_probs",
    "mano",
    "nuclear_norm",
    "own_weights",
    "per_image",
    "published_measures",
    "relate",
    "reliability_bins",
    "skewsize",
    "usable_region",
]
