"""Groups, reliance and maps on a report's page: number, interval, meaning."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from duokit.trust.page.pieces import (
    NONE,
    PERCENT,
    at,
    ends,
    escaped,
    heading,
    label,
    measures_table,
    number,
    p_value,
    share,
    table,
)
from duokit.trust.report import TrustReport

WORST = 10
ALIGNMENT = {
    "jaccard": ("Jaccard", "regions in both top sets over regions in either, as published"),
    "chance": ("Chance", "what two random sets would give"),
    "adjusted": ("Jaccard above chance", "0 is chance, 1 the same regions"),
    "spearman": ("Rank correlation", "of all regions, signs included; 1 for the same order"),
}


def classes_part(report: TrustReport) -> str:
    """Return a table a model, of the classes that agree least.

    Args:
        report: What `trust_report` found.
    """
    text = (
        "<p>A mean can hide a class whose answers were swapped. Classes with few images look bad "
        "by luck: read the interval and the corrected p (McNemar, corrected for all classes).</p>"
    )
    for name in report.others:
        worst = at(report.classes, name).head(WORST)
        rows = [
            [escaped(group), f"{row['images']:.0f}", *_alike(row)]
            + [share(row[each]) for each in ("right_to_wrong", "wrong_to_right")]
            + [p_value(row["mcnemar_bh"]), p_value(row["mcnemar_holm"])]
            for group, row in worst.iterrows()
        ]
        head = [
            "Class", "Images", heading("Same answer", "share of its images"),
            "Accuracy, large model", "Accuracy, this model",
            "Lost", "Gained", "p, Benjamini-Hochberg", "p, Holm",
        ]  # fmt: skip
        caption = f"{name}: the {len(rows)} classes with the least agreement"
        text += table(caption, head, rows)
    return text


def confidence_part(report: TrustReport) -> str:
    """Return a table a model, by the large model's confidence.

    Args:
        report: What `trust_report` found.
    """
    text = (
        "<p>The images in parts of equal size, first those of which the large model is least "
        "sure. Disagreement where it is sure is the more surprising.</p>"
    )
    for name in report.others:
        rows = [
            [
                str(part),
                f"{row['images']:.0f}",
                f"{share(row['confidence_low'], 2)} to {share(row['confidence_high'], 2)}",
                *_alike(row),
                number(row["kl"]),
            ]
            for part, row in at(report.confidence, name).iterrows()
        ]
        head = [
            "Part", "Images", "Confidence, large model", "Same answer", "Accuracy, large model",
            "Accuracy, this model", "KL divergence, nats",
        ]  # fmt: skip
        text += table(f"{name}: agreement by the large model's confidence", head, rows)
    return text


def _alike(row: pd.Series) -> list[str]:
    """Returns the share of the same answers in a group, and both accuracies."""
    accuracies = [share(row[f"accuracy_{each}"]) for each in ("large", "small")]
    return [ends(row, "label_agreement", bare=True), *accuracies]


def reliance_part(report: TrustReport) -> str:
    """Return the table of AUROC, CCRC and usable regions.

    Args:
        report: What `trust_report` found.
    """
    rows = []
    for name in report.models:
        row, auroc = at(report.reliance, name), at(report.scores, name, "auroc")
        cells = [ends(auroc, shares=False), ends(auroc, "difference", shares=False, signed=True)]
        rows.append([label(name), *cells, number(row["ccrc"]), *_region(row)])
    head = [
        "Model",
        heading("AUROC", "chance that a right answer is surer than a wrong one; 0.5 is luck"),
        heading("Difference", "to the large model, paired"),
        heading("CCRC", "rank correlation of confidence and correctness; depends on accuracy"),
        heading("Usable from", f"least confidence that gives {share(report.settings['target'])} "
                "accuracy with certainty"),
        heading("Kept", "share of images at least so sure"),
        heading("Accuracy there", "and its lower limit"),
    ]  # fmt: skip
    return (
        "<p>Does confidence tell right answers from wrong ones, and from where on is it enough? "
        "Each model is at its own temperature.</p>"
    ) + table("Confidence to rely on", head, rows)


def _region(row: pd.Series) -> list[str]:
    if np.isinf(row["threshold"]):
        return ["nowhere", share(0.0), NONE]
    lower = f"{share(row['accuracy'])} <small>at least {share(row['low'])}</small>"
    start = f"{100 * row['threshold']:g}{PERCENT}" if row["threshold"] > 0 else "everywhere"
    return [start, share(row["kept"]), lower]


def alignment_part(report: TrustReport) -> str:
    """Return the tables of maps; nothing without maps.

    Args:
        report: What `trust_report` found.
    """
    if report.alignment.empty:
        return ""
    text = (
        "<p>Do both lean on the same regions of a picture? Maps are compared region by region. No "
        "model can be expected to agree with the large one better than a second run of the large "
        "one does (“seed”), if there is one.</p>"
    )
    for how, found in report.alignment.groupby("explainer", sort=False):
        caption = (
            f"Maps by {how} beside the large model's: {found['images'].max()} images, top "
            f"{report.settings['k']:g} regions"
        )
        text += measures_table(
            caption, ALIGNMENT, list(found["model"].unique()), partial(_aligned, found)
        )
    if report.alignment_gain.empty or report.duo is None:
        return text
    rows = [
        [
            heading(ALIGNMENT[str(row["measure"])][0]),
            label(row["explainer"]),
            number(row["other"]),
            number(row["value"]),
            ends(row, "difference", shares=False, signed=True, bare=True),
        ]
        for _, row in report.alignment_gain.iterrows()
        if row["measure"] != "chance"
    ]
    names = [label(report.duo.members[1]), label(report.duo.name)]
    head = ["Measure", "Explainer", *names, heading("Difference", "paired")]
    return (
        text
        + "<h3>Does the duo inherit the large model's explanations?</h3>"
        + table("The duo's maps against the small model's", head, rows)
    )


def _aligned(table: pd.DataFrame, model: str, measure: str) -> str:
    """Returns a cell of the table of maps; the level of chance has no interval to speak of."""
    row = table[(table["model"] == model) & (table["measure"] == measure)].iloc[0]
    return number(row["value"]) if measure == "chance" else ends(row, shares=False)
