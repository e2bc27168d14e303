"""Every number of a report as one table, one number a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from duokit.trust.report import TrustReport

COLUMNS = ("measure", "model", "value", "low", "high", "of")
ALL = "all images"
FORMS = {"raw": "as it is", "tempered": "own temperature"}
Row = tuple[str, str, Any, Any, Any, str]


def tidy_rows(report: TrustReport) -> pd.DataFrame:
    """Return the rows of `TrustReport.tidy`.

    Args:
        report: what `trust_report` returned.
    """
    rows = [
        *((("own_weight", name, w, np.nan, np.nan, "val")) for name, w in report.weights.items()),
        *_duo(report),
        *_compared(report.scores, "difference to the large model"),
        *_compared(report.agreement, "difference to the small model"),
        *_tests(report),
        *_calibration(report),
        *_groups(report.classes, "class {}"),
        *_groups(report.confidence, "part {} by confidence, 1 the least sure"),
        *_reliance(report),
        *_alignment(report),
        *_images(report),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS[2:5], float))


def _rows(table: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    """Yields the names and the values of each row."""
    yield from table.iterrows()


def _duo(report: TrustReport) -> Iterator[Row]:
    if report.duo is not None:
        for member, weight in zip(report.duo.members, report.duo.weights, strict=True):
            yield "duo_weight", member, weight, np.nan, np.nan, "val"


def _compared(table: pd.DataFrame, against: str) -> Iterator[Row]:
    """Yields each measure with its interval, and its difference where there is one."""
    for (model, measure), row in _rows(table):
        yield measure, model, row["value"], row["low"], row["high"], ALL
        if not np.isnan(row.get("difference", np.nan)):
            ends = row["difference_low"], row["difference_high"]
            yield f"{measure}_difference", model, row["difference"], *ends, against


def _tests(report: TrustReport) -> Iterator[Row]:
    for (model, test), row in _rows(report.tests):
        for name in ("statistic", "p_value", "p_bh", "p_holm"):
            yield name, model, row[name], np.nan, np.nan, test


def _calibration(report: TrustReport) -> Iterator[Row]:
    for (model, form, measure), row in _rows(report.calibration):
        of = FORMS[form]
        yield measure, model, row["value"], row["low"], row["high"], of
        if model != report.large:
            ends = row["difference_low"], row["difference_high"]
            yield f"{measure}_difference", model, row["difference"], *ends, of
            for name in ("p_value", "p_bh", "p_holm"):
                yield f"{measure}_{name}", model, row[name], np.nan, np.nan, of


def _groups(table: pd.DataFrame, of: str) -> Iterator[Row]:
    for (model, group), row in _rows(table):
        told = of.format(group)
        yield "label_agreement", model, row["label_agreement"], row["low"], row["high"], told
        for name in table.columns.difference(["label_agreement", "low", "high"], sort=False):
            yield name, model, row[name], np.nan, np.nan, told


def _reliance(report: TrustReport) -> Iterator[Row]:
    target = f"accuracy {report.settings['target']:g}"
    for model, row in _rows(report.reliance):
        yield "ccrc", str(model), row["ccrc"], np.nan, np.nan, ALL
        for name in ("threshold", "kept"):
            yield f"usable_{name}", str(model), row[name], np.nan, np.nan, target
        yield "usable_accuracy", str(model), row["accuracy"], row["low"], np.nan, target


def _alignment(report: TrustReport) -> Iterator[Row]:
    for table, ending in ((report.alignment, ""), (report.alignment_gain, "_difference")):
        for _, row in _rows(table):
            of = f"maps by {row['explainer']}"
            of += "" if pd.isna(row["k"]) else f", {row['k']} regions"
            of += ", difference to the small model" if ending else ""
            value = row["difference"] if ending else row["value"]
            model = report.duo.name if ending and report.duo else row["model"]
            yield f"{row['measure']}{ending}", model, value, row["low"], row["high"], of


def _images(report: TrustReport) -> Iterator[Row]:
    for name, table in (("differing", report.differing), ("explained", report.explained)):
        for (model, _rank), row in _rows(table):
            of = f"image {row['id']}" + (", among those with maps" if name == "explained" else "")
            yield "jensen_shannon", model, row["jensen_shannon"], np.nan, np.nan, of
