"""What the checks of arrays let through, and where they stop."""

import numpy as np
import pandas as pd
import pytest

from duokit.metrics.arrays import check_classes, check_confidence, check_groups, check_share

HIGHEST = np.iinfo(np.int64).max


def test_confidences_end_at_0_and_1():
    assert check_confidence([0.0, 1.0]).tolist() == [0, 1]
    for value in (-0.01, 1.01, 1.5):
        with pytest.raises(ValueError, match=rf"confidence\[1\] is {value}, outside 0 ... 1"):
            check_confidence([0.5, value])


def test_shares_end_above_0_and_at_1():
    assert check_share(1, "coverage") == 1
    for value in (0, 1.01, 2):
        with pytest.raises(ValueError, match=rf"coverage must be a fraction .* not {value}"):
            check_share(value, "coverage")


def test_class_numbers_fit_into_int64():
    assert check_classes(np.array([0, HIGHEST], np.uint64), "labels").tolist() == [0, HIGHEST]
    with pytest.raises(ValueError, match=rf"labels\[1\] is {HIGHEST + 1}, which is no class"):
        check_classes(np.array([0, HIGHEST + 1], np.uint64), "labels")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([1, 2], "i"), ([0.5, 1.5], "f"), ([True, False], "b"), (["a", "b"], "U"),
        (np.array(["a", "b"], object), "U"), (pd.Series(["a", "b"], dtype="category"), "U"),
        (pd.Series([3, 4], dtype="category"), "i"),
    ],
)  # fmt: skip
def test_groups_are_numbers_or_texts(given, kind):
    found = check_groups(given, "groups", 2)
    assert (found.tolist(), found.dtype.kind) == (list(given), kind)


@pytest.mark.parametrize("given", [np.array(["a", 1], object), [1j, 2j]])
def test_other_groups_are_refused(given):
    with pytest.raises(TypeError, match="groups must be numbers or texts"):
        check_groups(given, "groups")


@pytest.mark.parametrize(
    ("given", "rows", "wanted"), [([[1, 2]], None, "images"), ([], None, "images"), ([1, 2], 3, 3)]
)
def test_another_number_of_groups_is_refused(given, rows, wanted):
    with pytest.raises(ValueError, match=rf"groups must have shape \({wanted},\), one per image"):
        check_groups(given, "groups", rows)
