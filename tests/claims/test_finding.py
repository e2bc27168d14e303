"""From numbers to words: intervals, verdicts, conditions."""

import numpy as np
import pytest

from duokit.claims.finding import (
    CONDITION,
    FAILS,
    HOLDS,
    UNCHECKED,
    Finding,
    above,
    below,
    condition,
    verdict,
    within,
)


def said(*words, group=""):
    return [Finding("data", "measure", 0.0, 0.0, 0.0, 1, word, group) for word in words]


@pytest.mark.parametrize(
    ("low", "high", "bound", "says"),
    [
        (0.1, 0.3, 0.0, "holds"),
        (-0.3, -0.1, 0.0, "fails"),
        (-0.1, 0.1, 0.0, "open"),
        (0.0, 0.0, 0.0, "open"),  # no difference at all
        (0.1, 0.3, 0.2, "open"),
        (0.1, 0.2, 0.3, "fails"),
    ],
)
def test_an_interval_speaks_for_against_or_not_at_all(low, high, bound, says):
    middle = (low + high) / 2
    assert above(middle, low, high, bound) == says
    assert below(-middle, -high, -low, -bound) == says


def test_a_value_without_an_interval_speaks_for_itself():
    assert above(0.1, np.nan, np.nan) == "holds"
    assert above(0.1, np.nan, np.nan, 0.2) == "fails"
    assert below(0.1, np.nan, np.nan, 0.2) == "holds"


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(-0.1, 0.1, "holds"), (0.3, 0.4, "fails"), (-0.4, -0.3, "fails"), (0.1, 0.3, "open")],
)
def test_within_a_bound_on_both_sides(low, high, says):
    assert within(low, high, 0.2) == says


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], UNCHECKED),
        (["holds", "holds", "open"], HOLDS),
        (["holds", "open"], CONDITION),
        (["holds", "open", "open"], CONDITION),
        (["holds", "holds", "fails"], CONDITION),
        (["holds", "fails"], CONDITION),
        (["holds", "fails", "fails"], FAILS),
        (["open", "open"], FAILS),
        (["fails"], FAILS),
    ],
)
def test_findings_add_up_to_a_verdict(words, expected):
    assert verdict(said(*words)) == expected
    assert verdict(said(*reversed(words))) == expected


def test_a_condition_names_the_groups_that_are_not_all_for_the_claim():
    found = said("holds", "holds", group="NLL") + said("holds", "fails", "open", group="ECE")
    assert condition(found) == "ECE: 1 holds, 1 fails, 1 open"
    assert condition(found[:2]) == ""
