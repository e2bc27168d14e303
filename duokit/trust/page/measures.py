"""Accuracy, agreement, tests and calibration on a report's page: number, interval, meaning."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from duokit.trust.page.pieces import (
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
from duokit.trust.report_rows import FORMS

AGREEMENT = {
    "label_agreement": ("Same answer", "share of images that both answer alike, right or wrong"),
    "right_to_wrong": ("Lost", "share that only the large model answers right"),
    "wrong_to_right": ("Gained", "share that only this model answers right"),
    "flips": ("Flips", "lost and gained together: how much changed, even if accuracy did not"),
    "direction": ("Flips for the better", "share of the flips that are gains; 50 % is a draw"),
    "kl": ("KL divergence, nats", "0 for the same probabilities; weighs what large is sure of"),
    "jensen_shannon": ("Jensen-Shannon, bits", "0 for the same probabilities, 1 for no overlap"),
    "probability_loyalty": ("Probability loyalty", "1 for the same probabilities, 0 for none"),
}
SHARES = tuple(AGREEMENT)[:5]
TESTS = {
    "McNemar": "are both right equally often?",
    "Stuart-Maxwell": "do both give each class equally often? For many changed answers",
    "Stuart-Maxwell, swapped": "the same, by random swaps: for few changed answers",
    "Pearson": "shown because it is published; it takes the same images for different ones, so it "
    "does not apply",
}
CALIBRATION = {
    "ece": ("ECE", "mean gap between confidence and accuracy, 0 is best"),
    "mce": ("MCE", "largest such gap in ten bins, 0 is best; jumps"),
    "brier": ("Brier score", "squared distance to the truth, 0 to 2, lower is better"),
    "log_loss": ("Log loss, nats", "surprise at the true class, lower is better"),
}


def short(report: TrustReport) -> str:
    """Return the main numbers in sentences, one paragraph a model.

    Args:
        report: What `trust_report` found.
    """
    large = at(report.scores, report.large, "accuracy")
    text = (
        f"<p><strong>{escaped(report.large)}</strong>, the large model, is right on "
        f"{share(large['value'])} of the images.</p>"
    )
    for name in report.others:
        row, alike = at(report.scores, name, "accuracy"), at(report.agreement, name)
        p = at(report.tests, name, "McNemar")["p_value"]
        text += (
            f"<p><strong>{escaped(name)}</strong> is right on {share(row['value'])}: "
            f"{_verdict(row)} than the large model ({share(row['difference'], sign=True)} points, "
            f"interval {share(row['difference_low'], sign=True)} to "
            f"{share(row['difference_high'], sign=True)}; McNemar p {_equals(p)}). Both give the "
            f"same answer to {share(alike.loc['label_agreement', 'value'])} of the images; "
            f"{share(alike.loc['right_to_wrong', 'value'])} are lost and "
            f"{share(alike.loc['wrong_to_right', 'value'])} gained. {_calibrated(report, name)}"
            f"{_closer(report, name)}</p>"
        )
    return text


def _verdict(row: pd.Series) -> str:
    if row["difference_low"] > 0:
        return "more often"
    return "less often" if row["difference_high"] < 0 else "not clearly more or less often"


def _calibrated(report: TrustReport, name: str) -> str:
    """Return what the calibration error is, as it is and at the own temperature."""
    raw, tempered = (at(report.calibration, name, form, "ece") for form in FORMS)
    return (
        f"Its calibration error is {number(raw['value'])} as it is and "
        f"{number(tempered['value'])} at its own temperature; the difference to the large model is "
        f"{number(tempered['difference'], sign=True)} then (interval "
        f"{number(tempered['difference_low'], sign=True)} to "
        f"{number(tempered['difference_high'], sign=True)})."
    )


def _closer(report: TrustReport, name: str) -> str:
    """Return whether the duo is nearer to the large model than the small one is."""
    if report.duo is None or name != report.duo.name:
        return ""
    row = at(report.agreement, name, "jensen_shannon")
    words = "is not clearly nearer to or farther from"
    words = "is farther from" if row["difference_low"] > 0 else words
    words = "is nearer to" if row["difference_high"] < 0 else words
    return (
        f" By its probabilities the duo {words} the large model than "
        f"{escaped(report.duo.members[1])} is: Jensen-Shannon {number(row['value'])} against "
        f"{number(row['baseline'])} bits."
    )


def accuracy_part(report: TrustReport) -> str:
    """Return the table of accuracies.

    Args:
        report: What `trust_report` found.
    """
    rows = []
    for name in report.models:
        row = at(report.scores, name, "accuracy")
        p = np.nan if name == report.large else at(report.tests, name, "McNemar")["p_value"]
        rows.append([label(name), ends(row), ends(row, "difference", signed=True), p_value(p)])
    head = [
        "Model",
        heading("Accuracy", "share of images answered right"),
        heading("Difference, points", "to the large model, paired"),
        heading("McNemar p", "how often chance alone would give such a difference or more"),
    ]
    return table("Accuracy, with intervals", head, rows)


def agreement_part(report: TrustReport) -> str:
    """Return the tables of answers and probabilities beside the large model's.

    Args:
        report: What `trust_report` found.
    """

    def cell(name: str, measure: str) -> str:
        return ends(at(report.agreement, name, measure), shares=measure in SHARES)

    text = (
        "<p>Two models can be equally accurate and yet err on different images. Probabilities are "
        "compared with each model at its own temperature.</p>"
    ) + measures_table(
        "Answers and probabilities beside the large model's", AGREEMENT, report.others, cell
    )
    if report.duo is None:
        return text
    small = report.duo.members[1]
    rows = []
    for m in AGREEMENT:
        row, shares = at(report.agreement, report.duo.name, m), m in SHARES
        written = (share if shares else number)(row["baseline"])
        change = ends(row, "difference", shares=shares, signed=True)
        rows.append([heading(AGREEMENT[m][0]), written, ends(row, shares=shares), change])
    head = [
        "Measure",
        label(small),
        label(report.duo.name),
        heading("Difference", "paired; shares in points"),
    ]
    return (
        text
        + f"<h3>Is the duo closer to the large model than {escaped(small)} is?</h3>"
        + table("The duo against the small model", head, rows)
    )


def tests_part(report: TrustReport) -> str:
    """Return the table of tests.

    Args:
        report: What `trust_report` found.
    """

    def cell(name: str, test: str) -> str:
        return _test(at(report.tests, name, test))

    told = {test: (test, meaning) for test, meaning in TESTS.items()}
    return (
        "<p>A small p says that chance alone would hardly change the answers so. The more tests, "
        "the more small p by luck: Holm's holds the chance of any false alarm among those up to "
        "0.05 at 5 %, Benjamini and Hochberg's lets about one in twenty of them be one. Both count "
        "all tests of this table but Pearson's.</p>"
    ) + measures_table("Tests of changed answers", told, report.others, cell, first="Test")


def _test(row: pd.Series) -> str:
    """Returns a p-value, corrected ones and the statistic that it comes from."""
    dof = "" if np.isnan(row["dof"]) else f", {row['dof']:.0f} degrees of freedom"
    corrected = ""
    if not np.isnan(row["p_holm"]):
        told = f"Holm {p_value(row['p_holm'])}, B.-H. {p_value(row['p_bh'])}"
        corrected = f" <small>{told}</small>"
    small = f"<small>statistic {row['statistic']:.1f}{dof}</small>"
    return f"p {_equals(row['p_value'])}{corrected} {small}"


def calibration_part(report: TrustReport) -> str:
    """Return the table of calibration.

    Args:
        report: What `trust_report` found.
    """
    told = {
        (form, measure): (f"{name}, {own}", meaning)
        for (form, own), (measure, (name, meaning)) in product(FORMS.items(), CALIBRATION.items())
    }

    def value(name: str, measure: tuple[str, str]) -> str:
        return ends(at(report.calibration, name, *measure), shares=False)

    def change(name: str, measure: tuple[str, str]) -> str:
        return _change(at(report.calibration, name, *measure))

    return (
        (
            "<p>When both say 80 %, do both mean it? Much of a difference may be one number: the "
            "temperature, fitted on other images. What is left at the own temperature is more than "
            "scale. Errors of calibration come out too high by noise, in all models.</p>"
        )
        + measures_table("Calibration", told, list(report.models), value)
        + "<p>Differences are paired, on the same images; below 0 this model is the better "
        "calibrated. p by Holm counts all rows of the table.</p>"
        + measures_table("Difference to the large model", told, report.others, change)
    )


def _change(row: pd.Series) -> str:
    told = f"p {_equals(row['p_value'])}, Holm {p_value(row['p_holm'])}"
    return f"{ends(row, 'difference', shares=False, signed=True)} <small>{told}</small>"


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("&lt;") else f"= {text}"
