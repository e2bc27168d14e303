"""Small records made of random scores, for the tests of the store."""

import numpy as np

from duokit.logits import Record


def scores(n=6, k=4, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, k)).astype(dtype) * 3


def record(**changes):
    n, k = changes.get("logits", scores()).shape[:2]
    given = {
        "logits": scores(n, k),
        "labels": np.arange(n) % k,
        "ids": tuple(f"cat/{row}.jpg" for row in range(n)),
        "model": "net",
        "weights": "imagenet",
        "resolution": 96,
        "dataset": "pets",
        "split": "val",
    }
    return Record(**(given | changes))


NOT_ARRAYS = [name for name in Record.__dataclass_fields__ if name not in ("logits", "labels")]


def assert_equal(one, two):
    assert one.logits.dtype == two.logits.dtype
    assert np.array_equal(one.logits, two.logits)
    assert np.array_equal(one.labels, two.labels)
    for name in NOT_ARRAYS:
        assert getattr(one, name) == getattr(two, name), name


def full(**changes):
    return record(
        flops=123_456_789_012, parameters=5, seed=3, class_names="wxyz", split_checksum="ab12",
        versions={"torch": "2"}, config={"command": "make x", "deep": {"checksum": "0" * 64}},
        **changes,
    )  # fmt: skip
