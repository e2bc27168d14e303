"""Does a sidekick, a duo or a compressed model deserve the trust that the large model has earned?

Equal accuracy is not enough. Here is asked whether both answer the same images alike
(`agreement`, by group and by confidence), and whether their probabilities mean the same
(`calibration_similarity`), and whether they lean on the same parts of a picture or a text
(`explain`, `alignment`). `trust_report` asks all of it at once, and `trust_page` writes it down.

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
from duokit.trust.alignment import (
    alignment,
    alignment_difference,
    chance_jaccard,
    chance_levels,
    jaccard,
    spearman,
    top_parts,
)
from duokit.trust.attribution import explain
from duokit.trust.calibration import (
    calibration_similarity,
    own_weights,
    published_measures,
    reliability_bins,
)
from duokit.trust.changes import change_tests
from duokit.trust.confidence import UsableRegion, ccrc, usable_region
from duokit.trust.explainers import Explainer, attribute
from duokit.trust.maps import AttributionMaps, duo_maps, load_maps, save_maps
from duokit.trust.page.whole import trust_page
from duokit.trust.regions import View, base_pictures, grid_regions
from duokit.trust.report import TrustReport, trust_report
from duokit.trust.subgroups import (
    SkewSize,
    agreement_by_confidence,
    agreement_by_group,
    cramers_v,
    skewsize,
)
from duokit.trust.text import Corpus, TextMaps, docstring_corpus, explain_texts
from duokit.trust.without_labels import mano, nuclear_norm, relate

__all__ = [
    "Agreement",
    "AttributionMaps",
    "Corpus",
    "Explainer",
    "SkewSize",
    "TextMaps",
    "TrustReport",
    "UsableRegion",
    "View",
    "agreement",
    "agreement_by_confidence",
    "agreement_by_group",
    "alignment",
    "alignment_difference",
    "attribute",
    "base_pictures",
    "calibration_similarity",
    "ccrc",
    "chance_jaccard",
    "chance_levels",
    "change_tests",
    "cramers_v",
    "divergences",
    "docstring_corpus",
    "duo_maps",
    "explain",
    "explain_texts",
    "grid_regions",
    "jaccard",
    "load_maps",
    "log_probs",
    "mano",
    "nuclear_norm",
    "own_weights",
    "per_image",
    "published_measures",
    "relate",
    "reliability_bins",
    "save_maps",
    "skewsize",
    "spearman",
    "top_parts",
    "trust_page",
    "trust_report",
    "usable_region",
]
