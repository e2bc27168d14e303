"""Checks of the paper's claims on Tables 1 to 4, as printed."""

from __future__ import annotations

import numpy as np

from duokit import published
from duokit.claims.finding import Finding, above

# Of the printed tables: metric -> column, whether higher is better.
PRINTED = {
    "accuracy": ("accuracy_percent", "accuracy_sd", 1),
    "Brier": ("brier_per_class_x1e4", "brier_sd", -1),
    "NLL": ("nll_x100", "nll_sd", -1),
    "ECE": ("ece_percent", "ece_sd", -1),
    "AUROC": ("auroc_percent", "auroc_sd", 1),
    "AURC": ("aurc_x100", "aurc_sd", -1),
}


def printed_against(table: int, duo: str, rival: str) -> list[Finding]:
    """Return the printed differences of a duo to a rival, signed so that above 0 is better.

    The interval is twice the two printed spreads, combined; a row without one counts as exact.

    Args:
        table: Number of the paper's table.
        duo: Part of the name of the duo's row.
        rival: Part of the name of the rival's row.

    Raises:
        ValueError: Not exactly one row with such a name.
    """
    rows = published.paper_tables()
    rows = rows[rows["paper_table"] == table]
    picked = []
    for part in (duo, rival):
        found = rows[rows["method"].str.contains(part, regex=False)]
        if len(found) != 1:
            raise ValueError(f"Table {table} has {len(found)} rows with {part!r}; expected one")
        picked.append(found.iloc[0])
    ours, theirs = picked
    findings = []
    for metric, (column, spread, sign) in PRINTED.items():
        value = sign * (ours[column] - theirs[column])
        sds = [float(np.nan_to_num(row[spread])) for row in picked]
        half = 2 * float(np.hypot(sds[0], sds[1]))
        low, high = value - half, value + half
        words = f"{ours['method']} against {theirs['method']}: {metric}, printed units"
        says = above(value, low, high) if half else above(value, np.nan, np.nan)
        findings.append(
            Finding(f"Table {table}", words, value, low, high, 1, says, theirs["method"])
        )
    return findings


def table_1(duo: str) -> list[Finding]:
    """Return a row of Table 1 against the ensembles of 2 and of 5."""
    return [f for m in (2, 5) for f in printed_against(1, duo, f"ensemble m={m}")]


def table_2() -> list[Finding]:
    """Return the rows of Table 2 against the ensemble of like FLOPs."""
    pairs = (("1-2 ResNet50s", "m=2"), ("4-5 ResNet50s", "m=5"), ("7-8 ResNet50s", "m=8"))
    return [f for duo, rival in pairs for f in printed_against(2, duo, rival)]


def table_3() -> list[Finding]:
    """Return Table 3: duos of up to two ResNet50s against IVON."""
    rivals = ("IVON deterministic", "IVON 2 samples", "IVON 8 samples", "IVON 32 samples")
    return [f for rival in rivals for f in printed_against(3, "duos with", rival)]


def table_4() -> list[Finding]:
    """Return Table 4: duos against temperature scaling and last-layer Laplace."""
    rivals = ("+ temperature", "Laplace")
    return [f for rival in rivals for f in printed_against(4, "duos with", rival)]
