"""An image set refuses what would corrupt labels silently."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from duokit.images import ImageSet


def make(**changes) -> ImageSet:
    fields = {
        "name": "some",
        "ids": ("a/1", "a/2", "b/1"),
        "labels": [0, 0, 1],
        "class_names": ("a", "b"),
        "read": lambda row: Image.new("RGB", (row + 1, 1)),
    }
    return ImageSet(**fields | changes)


def test_it_holds_what_it_was_given_and_opens_by_row():
    images = make()
    assert len(images) == 3
    assert images.classes == 2
    assert images.labels.dtype == np.int64
    assert [images.open(row).width for row in range(3)] == [1, 2, 3]
    assert list(images.columns.index) == list(images.ids)


def test_rows_follow_the_ids_asked_for():
    assert make().rows(["b/1", "a/1"]).tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"no image 'c/1' \(1 of 2 ids"):
        make().rows(["a/1", "c/1"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": ("a/1", "a/1", "b/1")}, "'a/1' names two images"),
        ({"labels": [0, 0]}, "3 ids and labels of shape"),
        ({"labels": [0, 0, 2]}, "from 0 to 2; expected -1"),
        ({"labels": [0, -2, 1]}, "from -2 to 1"),
        ({"ids": (), "labels": []}, "at least one image"),
        ({"columns": pd.DataFrame({"x": [1, 2, 3]}, index=["a/1", "b/1", "a/2"])}, "in order"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)


def test_an_image_may_belong_to_no_class():
    assert make(labels=[0, -1, 1]).labels.tolist() == [0, -1, 1]
