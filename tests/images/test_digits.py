"""Digits: scikit-learn's pictures, stretched to 0..255."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from duokit.images import NAMES, default_splits, load


def test_they_are_scikit_learns():
    images, theirs = load("digits"), load_digits()
    assert len(images) == 1797
    assert images.labels.tolist() == theirs.target.tolist()
    assert images.class_names == tuple("0123456789")
    for row in (0, 700, 1796):
        grey = np.asarray(images.open(row))[:, :, 0]
        assert np.array_equal(np.rint(grey / 255 * 16), theirs.images[row])
    assert default_splits(images).sizes() == {"train": 898, "val": 359, "test": 540}


def test_they_lie_in_no_folder(tmp_path):
    with pytest.raises(ValueError, match="lie in no folder"):
        load("digits", tmp_path)


def test_another_name_lists_those_there_are():
    with pytest.raises(
        ValueError, match="no data set 'imagenet_r'; there are caltech101"
    ) as caught:
        load("imagenet_r")
    assert all(name in str(caught.value) for name in NAMES)
