"""The page's table is what benchmarks/coverage.csv says, and its exact rows are counted again."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage import COLUMNS, SIZES, TABLE, exact, page
from duokit.metrics.table import METRICS
from tests.book_pages import BOOK

pytestmark = pytest.mark.promise("intervals")
MARKS = "<!-- made by `python benchmarks/coverage.py --page` -->\n", "<!-- end -->"


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(TABLE)


def test_the_page_shows_what_was_measured(table):
    text = (BOOK / "metrics_reference.md").read_text(encoding="utf-8")
    assert text.split(MARKS[0])[1].split(MARKS[1])[0] == page(table)


def test_exact_coverages_are_counted_again(table, monkeypatch):
    monkeypatch.setattr("benchmarks.coverage.SIZES", SIZES[:2])
    again = pd.DataFrame(exact(), columns=COLUMNS).round(4)
    told = table[table["quantity"].eq("accuracy") & table["n"].isin(SIZES[:2])]
    told = told[told["error"].eq(0) & told["of"].ne("p-value")].head(len(again))
    pd.testing.assert_frame_equal(
        told.reset_index(drop=True), again.astype(told.dtypes), check_dtype=False
    )


def test_every_interval_of_a_metric_was_measured(table):
    slow = {name for name in METRICS if name.startswith("sac")} - {
        "sac90",
        "sac95",
        "sac98",
        "sac99",
    }
    for of in ("value", "difference"):
        assert set(METRICS) - slow <= set(table.loc[table["of"] == of, "quantity"])
    assert table["observed"].dropna().between(0, 1).all()
    exact_ones = table[
        table["error"].eq(0) & table["method"].isin(["Clopper-Pearson", "Bonett-Price"])
    ]
    assert (exact_ones["observed"] >= 0.94).all()


def test_the_worst_case_is_the_one_shown():
    rows = [
        ("nll", "value", "a", 50, 0.95, 0.9, 0.01, 1.0, "percentiles"),
        ("nll", "value", "b", 50, 0.95, 0.8, 0.01, 0.2, "percentiles"),
        ("nll", "value", "c", 50, 0.95, 0.1, 0.01, 0.1, "percentiles"),  # hardly ever given
        ("nll", "value", "a", 200, 0.95, np.nan, np.nan, 0.0, "percentiles"),
        ("nll", "p-value", "a", 50, 0.05, 0.03, 0.01, 1.0, "paired t"),
        ("nll", "p-value", "b", 50, 0.05, 0.06, 0.01, 1.0, "paired t"),
    ]
    lines = page(pd.DataFrame(rows, columns=COLUMNS)).splitlines()
    assert lines[2] == "| `nll` | percentiles | 0.800 | none |  |"
    assert lines[3] == "| `nll`, p ≤ .05 | paired t | 0.060 |  |  |"
