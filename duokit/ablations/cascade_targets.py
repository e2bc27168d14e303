"""Do thresholds chosen on val keep their promises on other images?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from duokit.ablations.cascades import UNTUNED, Runs
from duokit.cascade.intervals import Outcome
from duokit.cascade.thresholds import (
    Threshold,
    check_threshold,
    threshold_for_accuracy,
    threshold_for_flops,
    threshold_for_ratio,
)


def target_table(
    runs: Runs,
    targets: Mapping[str, float],
    *,
    variant: str = UNTUNED,
    answer: str = "cascaded duo",
    certainties: Sequence[float | None] = (None, 0.95),
    parts: Sequence[str] = ("test",),
) -> pd.DataFrame:
    """Return how each threshold, chosen on val, does on other parts.

    Args:
        runs: From `duokit.ablations.cascades.cascade_runs`.
        targets: What is asked for -> how much: "accuracy", below the large model's own accuracy on
            val by this much; "flops", mean FLOPs an image in units of the large model's; "ratio",
            share deferred.
        variant: Form of the small model.
        answer: Who answers deferred images: "cascade" or "cascaded duo".
        certainties: Each target is chosen with each; None for no guarantee.
        parts: Where the thresholds are checked.

    Returns:
        One row a part, target, certainty and run: part, target, certainty (nan for none), run,
        asked, promised (whether val let the target be promised), ratio (share deferred on the
        part), accuracy, kept (whether the target holds on the part).

    Raises:
        ValueError: An unknown target, and as the functions of `duokit.cascade.thresholds`.
    """
    rows = []
    for run, each in runs.items():
        val = each.outcomes(variant, "val")
        level = float(np.asarray(val["large"].small_correct).mean())
        for target, asked in targets.items():
            for certainty in certainties:
                wanted = level - asked if target == "accuracy" else asked
                chosen = _choose(target, wanted, val[answer], certainty)
                for part in parts:
                    found = check_threshold(chosen, *each.outcomes(variant, part)[answer][:3])
                    rows.append(
                        {
                            "part": part,
                            "target": target,
                            "certainty": np.nan if certainty is None else certainty,
                            "run": run,
                            "asked": chosen.asked,
                            "promised": chosen.met,
                            "ratio": found.ratio,
                            "accuracy": found.accuracy,
                            "kept": found.met,
                        }
                    )
    return pd.DataFrame(rows)


def _choose(target: str, asked: float, val: Outcome, certainty: float | None) -> Threshold:
    gate, small, deferred, flops = val
    if target == "accuracy":
        return threshold_for_accuracy(gate, small, deferred, asked, certainty=certainty)
    if target == "ratio":
        return threshold_for_ratio(gate, asked, certainty=certainty)
    if target == "flops" and flops is not None:
        return threshold_for_flops(gate, asked, small=flops[0], large=flops[1], certainty=certainty)
    raise ValueError(f"target is {target!r}; expected accuracy, flops or ratio")
