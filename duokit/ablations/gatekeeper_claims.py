"""What Gatekeeper is said to do, each as numbers of our runs that speak for it or against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from duokit.ablations.cascade_costs import Measured
from duokit.ablations.cascades import ALPHAS, CONTINUED, TEMPERATURE, UNTUNED


class Stated(NamedTuple):
    """One claim, as a difference and the sign it should have.

    Attributes:
        text: In words.
        metric: Name from `duokit.cascade.intervals.NAMES`.
        sign: 1 if the difference should be above 0, -1 if below.
        against: The form that each alpha is compared with; None: the next higher alpha.
        source: "paper" where the claim is the authors', "ours" for a question of this book.
    """

    text: str
    metric: str
    sign: int
    against: str | None
    source: str


CLAIMS = {
    "alpha and overlap": Stated("a lower alpha has a smaller overlap", "s_o", -1, None, "paper"),
    "alpha and deferral": Stated("a lower alpha has a larger s_d", "s_d", 1, None, "paper"),
    "alpha and accuracy": Stated(
        "a lower alpha costs the small model accuracy", "small", -1, None, "paper"
    ),
    "overlap": Stated("tuned, the overlap is smaller", "s_o", -1, UNTUNED, "paper"),
    "deferral": Stated("tuned, s_d is larger", "s_d", 1, UNTUNED, "paper"),
    "accuracy": Stated("tuned, the small model is less accurate", "small", -1, UNTUNED, "paper"),
    "joint answers": Stated(
        "tuned, the cascade answers more images rightly, over all ratios",
        "area", 1, UNTUNED, "ours",
    ),
    "not just training": Stated(
        "s_d is larger than after as many epochs of plain training", "s_d", 1, CONTINUED, "ours"
    ),
    "not just training, joint": Stated(
        "the area is larger than after as many epochs of plain training",
        "area", 1, CONTINUED, "ours",
    ),
    "not just a temperature": Stated(
        "s_d is larger than with the untuned model's temperature",
        "s_d", 1, UNTUNED + TEMPERATURE, "ours",
    ),
}  # fmt: skip


def forms_needed(alphas: Sequence[float] = ALPHAS) -> list[tuple[str, str]]:
    """Return the forms that `measure` must have measured for `gatekeeper_findings`.

    Args:
        alphas: Of the Gatekeeper forms.
    """
    plain = [UNTUNED, UNTUNED + TEMPERATURE, CONTINUED]
    return [(name, "cascade") for name in (*plain, *map(_tuned, alphas))]


def gatekeeper_findings(
    measured: Mapping[str, Measured], *, alphas: Sequence[float] = ALPHAS
) -> pd.DataFrame:
    """Return one row a claim, benchmark and alpha: the difference, its intervals, what they say.

    Convention: "holds" needs both intervals, over images and over runs, on the claim's side,
    "fails" both on the other; all else is "open".

    Args:
        measured: Benchmark -> numbers of `forms_needed`, all metrics.
        alphas: Of the Gatekeeper forms, two or more.

    Returns:
        Columns claim, benchmark, measure (what is compared), value, low, high (over images), t_low,
        t_high (over runs), runs, says.

    Raises:
        ValueError: A form that was not measured.

    Source: Rabanser et al., arXiv 2502.19335, as public reproductions state it; the tables of the
        paper could not be read.
    """
    rising = sorted(alphas)
    rows = []
    for name, claim in CLAIMS.items():
        for benchmark, numbers in measured.items():
            if claim.against is None:
                pairs = [(_tuned(a), _tuned(b)) for a, b in pairwise(rising)]
            else:
                pairs = [(_tuned(a), claim.against) for a in rising]
            for ours, theirs in pairs:
                table = numbers.compare((ours, "cascade"), (theirs, "cascade"))
                found = pd.Series(table.loc[claim.metric])
                rows.append(
                    {
                        "claim": name,
                        "benchmark": benchmark,
                        "measure": f"{claim.metric}, {ours} - {theirs}",
                        "value": found["difference"],
                        **found[["low", "high", "t_low", "t_high", "runs"]],
                        "says": _says(claim.sign, found),
                    }
                )
    return pd.DataFrame(rows)


def _says(sign: int, row: pd.Series) -> str:
    """Return what two intervals say of "sign times the difference is above 0"."""
    ends = sign * row[["low", "high", "t_low", "t_high"]].to_numpy(dtype=float)
    if np.isnan(ends).any():
        return "open"
    return "holds" if (ends > 0).all() else "fails" if (ends < 0).all() else "open"


def _tuned(alpha: float) -> str:
    return f"Gatekeeper {alpha:g}"
