"""What each published sidekick changed, in the paper's unit: the share of the way to perfect."""

from typing import Literal

import pandas as pd

from duokit.published.tables import BENCHMARKS, Mode, Uncertainty, duos, single_models

# Metric -> the value of a perfect model.
METRICS: dict[str, float] = {
    "accuracy": 1.0,
    "macro_f1": 1.0,
    "nll": 0.0,
    "brier": 0.0,
    "ece": 0.0,
    "auroc": 1.0,
    "aurc": 0.0,
    "sac98": 1.0,
}
Baseline = Literal["large", "large_raw", "better"]
BASELINES = ("large", "large_raw", "better")


def gains(
    benchmark: str,
    *,
    mode: Mode = "weighted",
    baseline: Baseline = "large",
    uncertainty: Uncertainty = "softmax_response",
    soups: bool = False,
    pairs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return, for each pair and metric, the share of the way from the baseline to perfect.

    (value - baseline) / (perfect - baseline): .1 means that a tenth of what the large model lacks
    was gained, -.1 that a tenth more is lacking. This is the unit of the paper's figures, there in
    per cent.

    Args:
        benchmark: One of BENCHMARKS.
        mode: As `duos`.
        baseline: "large" (at its own temperature), "large_raw" (as it is), or "better": whichever
            member is better in that metric, each at its own temperature.
        uncertainty: As `duos`; of duo and baseline.
        soups: Whether pairs whose large model is a soup are kept (Caltech-256 has some).
        pairs: Other metrics of pairs, in the form of `duos` (such as `own_class_duos`); default:
            `duos(benchmark, mode=mode)`.

    Returns:
        Columns large, small, flops_balance, flops_balance_run and one a metric of METRICS.

    Raises:
        ValueError: Another benchmark, mode, uncertainty or baseline; a pair of unknown models.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline is {baseline!r}; expected one of {', '.join(BASELINES)}")
    table = duos(benchmark, mode=mode, uncertainty=uncertainty) if pairs is None else pairs
    if not soups:
        table = table[~table["large"].str.endswith("_greedy")]
    alone = single_models(benchmark, calibrated=baseline != "large_raw", uncertainty=uncertainty)
    unknown = sorted({*table["large"], *table["small"]} - set(alone.index))
    if unknown:
        raise ValueError(
            f"{BENCHMARKS[benchmark].title} has no single model {unknown[0]!r} to compare with"
        )
    found = table[["large", "small", "flops_balance", "flops_balance_run"]].copy()
    for metric, perfect in METRICS.items():
        base = table["large"].map(alone[metric])
        if baseline == "better":
            other = table["small"].map(alone[metric])
            base = base.where((perfect - base).abs() <= (perfect - other).abs(), other)
        found[metric] = (table[metric] - base) / (perfect - base)
    return found.reset_index(drop=True)
