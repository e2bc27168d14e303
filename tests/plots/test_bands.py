"""Lines and bands lie where the tables say."""

import numpy as np
import pandas as pd
import pytest

from duokit.plots import bands

TABLE = pd.DataFrame(
    {"value": [0.3, 0.2, 0.25], "low": [0.1, 0.15, 0.2], "high": [0.5, 0.3, 0.4]},
    index=[50, 100, 1000],
)
WORDS = {"xlabel": "images", "ylabel": "NLL (nats)"}


def test_lines_and_bands_are_those_of_the_tables():
    ax = bands({"duo": TABLE, "large": TABLE[["value"]] + 1}, **WORDS)
    found = {line.get_label(): line.get_xydata() for line in ax.lines}
    np.testing.assert_allclose(found["duo"], [[50, 0.3], [100, 0.2], [1000, 0.25]])
    np.testing.assert_allclose(found["large"][:, 1], [1.3, 1.2, 1.25])
    (band,) = ax.collections  # the second has none
    corners = {tuple(p) for p in band.get_paths()[0].vertices.round(9)}
    assert {(50, 0.1), (50, 0.5), (1000, 0.2), (1000, 0.4)} <= corners
    assert ax.get_xlabel() == "images"
    assert ax.get_ylabel() == "NLL (nats)"


def test_a_logarithmic_axis_names_each_x():
    ax = bands({"duo": TABLE}, log=True, **WORDS)
    ax.figure.draw_without_rendering()
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["50", "100", "1000"]


def test_a_mark_stands_where_it_was_asked_for():
    ax = bands({"duo": TABLE}, mark=80, mark_label="the fit", **WORDS)
    assert list(ax.lines[-1].get_xdata()) == [80, 80]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["duo", "the fit"]


def test_lines_can_be_told_apart_without_colour():
    ax = bands(dict.fromkeys(("duo", "large", "other"), TABLE), **WORDS)
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 3


@pytest.mark.parametrize(
    ("series", "error", "message"),
    [
        ({}, ValueError, "series is empty"),
        ({"a": [1]}, TypeError, r"series\['a'\] must be a DataFrame, not list"),
        ({"a": TABLE[:0]}, ValueError, "must have rows and a column 'value'"),
        ({"a": TABLE[["low"]]}, ValueError, "must have rows and a column 'value'"),
        ({"a": TABLE[::-1]}, ValueError, "it must rise"),
    ],
)
def test_what_cannot_be_drawn_is_said(series, error, message):
    with pytest.raises(error, match=message):
        bands(series, **WORDS)
