"""Yours beside the authors': the same numbers from a reader's logits, with a verdict each.

    there = find_pair("logits", "imagenet", "ConvNeXt_Base", "EfficientNet_B2")
    beside_published("imagenet", there["val"], there["test"], large=..., small=...)

Without logits: what the authors found (`published_pair`, `mean_gains`, `where_it_harms`), what
logits would cost (`estimated_cost`), and what this book recomputed instead (`live_gains`).
"""

from duokit.reproduction.compare import (
    PREDICTORS,
    TOLERANCES,
    beside_published,
    gains_beside_published,
)
from duokit.reproduction.costs import estimated_cost
from duokit.reproduction.live import beside_similar, live_gains, share_of_the_way
from duokit.reproduction.overview import (
    mean_gains,
    published_pair,
    where_it_harms,
    worst_pairs,
)
from duokit.reproduction.pairs import SHORT_NAMES, check_pair, find_pair, split_faults, usable_pair

__all__ = [
    "PREDICTORS",
    "SHORT_NAMES",
    "TOLERANCES",
    "beside_published",
    "beside_similar",
    "check_pair",
    "estimated_cost",
    "find_pair",
    "gains_beside_published",
    "live_gains",
    "mean_gains",
    "published_pair",
    "share_of_the_way",
    "split_faults",
    "usable_pair",
    "where_it_harms",
    "worst_pairs",
]
