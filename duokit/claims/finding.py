"""One measured number that speaks for or against a claim, and how several add up to a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Says = Literal["holds", "fails", "open"]
HOLDS = "holds"
CONDITION = "holds with a condition"
FAILS = "does not hold here"
UNCHECKED = "cannot be checked here"
VERDICTS = (HOLDS, CONDITION, FAILS, UNCHECKED)


@dataclass(frozen=True)
class Finding:
    """One number.

    Attributes:
        data: What it was computed from, such as "ImageNet" or "Caltech-101, fine-tuned".
        measure: What it is, with its unit where it is no fraction.
        value: The number.
        low: Lower end of its 95 % interval; nan without one.
        high: Upper end.
        n: What it was computed over: pairs on published tables, images on live ones.
        says: "holds" (for the claim), "fails" (against it) or "open" (the interval cannot tell).
        group: What it has in common with others, such as a metric: conditions are named by it.
    """

    data: str
    measure: str
    value: float
    low: float
    high: float
    n: int
    says: Says
    group: str = ""


def above(value: float, low: float, high: float, bound: float = 0.0) -> Says:
    """Return what an interval says of "more than the bound".

    Args:
        value: The estimate; decides where low and high are nan.
        low: Lower end of its interval.
        high: Upper end.
        bound: What it should be above.
    """
    if np.isnan(low) or np.isnan(high):
        return "holds" if value > bound else "fails"
    if low > bound:
        return "holds"
    return "fails" if high < bound else "open"


def below(value: float, low: float, high: float, bound: float = 0.0) -> Says:
    """Return what an interval says of "less than the bound"; arguments as `above`."""
    return above(-value, -high, -low, -bound)


def within(low: float, high: float, bound: float) -> Says:
    """Return what an interval says of "no further from 0 than the bound"."""
    if -bound <= low and high <= bound:
        return "holds"
    return "fails" if low > bound or high < -bound else "open"


def verdict(findings: Sequence[Finding]) -> str:
    """Return the verdict that findings of one claim add up to, one of VERDICTS.

    "holds" if none is against the claim and most are for it; "does not hold here" if none is for
    it, or those against are more than those for it; else "holds with a condition".
    """
    if not findings:
        return UNCHECKED
    held, failed, undecided = (
        sum(f.says == s for f in findings) for s in ("holds", "fails", "open")
    )
    if not failed and held > undecided:
        return HOLDS
    return CONDITION if held and held >= failed else FAILS


def condition(findings: Sequence[Finding]) -> str:
    """Return in words which groups of findings are not all for the claim; "" if all are."""
    names = list(dict.fromkeys(finding.group for finding in findings))
    words = []
    for name in names:
        mine = [finding.says for finding in findings if finding.group == name]
        if set(mine) != {"holds"}:
            counts = {says: mine.count(says) for says in ("holds", "fails", "open") if says in mine}
            told = ", ".join(f"{count} {says}" for says, count in counts.items())
            words.append(f"{name}: {told}")
    return "; ".join(words)
