"""What smaller networks weigh and keep: by hand on made-up records."""

from dataclasses import replace

import numpy as np
import pytest

from duokit.ablations import compression_table
from duokit.logits import make_record


def record(noise, **more):
    random = np.random.default_rng(3)
    labels = random.integers(0, 4, 200)
    logits = 3 * np.eye(4)[labels] + noise * random.normal(size=(200, 4))
    plain = {"model": "net", "resolution": 32, "dataset": "toys", "split": "test",
             "flops": 1000, "parameters": 500, "dtype": "float32"}  # fmt: skip
    return make_record(logits, labels, [f"{i}.png" for i in range(200)], **(plain | more))


def test_bytes_multiply_adds_and_accuracy():
    large = record(1.0)
    pruned = {"size": {"bytes": 900, "nonzero_flops": 400}}
    smaller = {"pruned": record(1.5, config=pruned), "little": record(2.0, flops=100)}
    table = compression_table(large, smaller, resamples=50)
    assert list(table.index) == ["large", "pruned", "little"]
    assert table["MB"].tolist() == [0.002, 0.0009, 0.002]
    assert table["size"].tolist() == [1, 0.45, 1]
    assert table["flops"].tolist() == [1, 1, 0.1]
    assert table["flops left"].tolist() == [1, 0.4, 0.1]
    right = {"large": large, **smaller}
    for name, each in right.items():
        answers = each.logits.argmax(1)
        assert table.loc[name, "accuracy"] == pytest.approx((answers == each.labels).mean())
        assert table.loc[name, "answers"] == (answers == large.logits.argmax(1)).mean()
    change = table["accuracy"] - table["accuracy"]["large"]
    assert table["difference"][1:].to_numpy() == pytest.approx(change[1:].to_numpy())
    assert (table["low"] <= table["difference"])[1:].all()
    assert (table["difference"] <= table["high"])[1:].all()
    assert table.loc["large", ["difference", "low", "high"]].isna().all()


@pytest.mark.parametrize(
    ("smaller", "text"),
    [
        ({}, "nothing"),
        ({"large": record(1.0)}, "expected other names"),
        ({"other": replace(record(1.0), flops=None)}, "does not say its FLOPs"),
    ],
)
def test_wrong_records_are_refused(smaller, text):
    with pytest.raises(ValueError, match=text):
        compression_table(record(1.0), smaller)
