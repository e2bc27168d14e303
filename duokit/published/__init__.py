"""The authors' own numbers: their result tables as data, with a loader.

Nothing here was computed by duokit. The tables come from the authors' public development
repository (github.com/TimothyZG/deep-duo-paper, commit 29a2261, July 2025, the state of arXiv v1)
and from Tables 1 to 4 of the paper (arXiv 2505.18636 v2), with columns renamed.

    published.duos("imagenet")                 every pair, weights fitted: one row each
    published.single_models("imagenet")        every model at its own temperature
    published.gains("imagenet")                what each sidekick changed, towards perfect
"""

from duokit.published.gains import METRICS, gains
from duokit.published.tables import (
    BENCHMARKS,
    COMMIT,
    LARGE,
    SOURCE,
    Benchmark,
    deep_ensembles,
    duos,
    own_class_duos,
    paper_tables,
    single_models,
    temperatures,
    throughput,
    trios,
)

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "COMMIT",
    "LARGE",
    "METRICS",
    "SOURCE",
    "deep_ensembles",
    "duos",
    "gains",
    "own_class_duos",
    "paper_tables",
    "single_models",
    "temperatures",
    "throughput",
    "trios",
]
