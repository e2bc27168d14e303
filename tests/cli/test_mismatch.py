"""Records that do not belong together: refused by each command, allowed by one option."""

import dataclasses
import json

import numpy as np
import pytest

from duokit import load, save

pytestmark = [
    pytest.mark.promise("records"),
    pytest.mark.filterwarnings("always:allowed:UserWarning"),
]


def test_fit_says_what_it_was_allowed(records, duokit, tmp_path):
    other = dataclasses.replace(load(records["small", "val"]), dataset="dogs")
    words = ("fit", records["large", "val"], save(other, tmp_path / "dogs"))
    code, out, err = duokit(*words)
    assert (code, out) == (2, "")
    assert "of two data sets, 'toy' and 'dogs'" in err
    assert "--allow-mismatch" in err
    code, out, err = duokit(*words, "--allow-mismatch", "--out", tmp_path / "fit.json")
    assert code == 0
    assert "warning: allowed: the members are of two data sets" in err
    assert "allowed: the members are of two data sets" in out
    (kept,) = json.loads((tmp_path / "fit.json").read_text())["allowed"]
    assert kept.startswith("allowed: the members are of two data sets")


def test_evaluate_on_the_images_that_fitted(records, duokit, tmp_path):
    val = records["large", "val"], records["small", "val"]
    words = ("evaluate", "--val", *val, "--test", *val, "--metrics", "nll", "--modes", "weighted")
    code, out, err = duokit(*words)
    assert (code, out) == (2, "")
    assert "300 images, such as 'val/0.png', are in" in err
    code, out, _ = duokit(*words, "--allow-mismatch", "--out", tmp_path / "t.json")
    assert code == 0
    assert "allowed: 300 images" in out
    rows = json.loads((tmp_path / "t.json").read_text())
    assert all("allowed: 300 images" in row["allowed"] for row in rows)


def test_labels_beside_a_file_that_has_its_own(records, duokit, tmp_path):
    val = records["large", "val"], records["small", "val"]
    labels = load(val[0]).labels
    np.save(tmp_path / "y.npy", labels)
    assert duokit("fit", *val, "--labels", tmp_path / "y.npy")[0] == 0
    labels[7] += 1 if labels[7] < 4 else -1
    np.save(tmp_path / "z.npy", labels)
    code, out, err = duokit("fit", *val, "--labels", tmp_path / "z.npy")
    assert (code, out) == (2, "")
    assert "has labels of its own" in err
    assert "in row 7" in err
