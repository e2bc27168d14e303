"""Probabilities are known from logits, exact, rounded or in percent; scores are let through."""

import numpy as np
import pytest
from scipy.special import softmax

from duokit.logits import make_record
from duokit.logits.probabilities import probabilities_in

pytestmark = pytest.mark.promise("records")


def probabilities(n, k, scale=3.0):
    return softmax(scale * np.random.default_rng(n + k).normal(size=(n, k)), axis=1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("n", "k"), [(3, 2), (40, 3), (40, 10), (300, 1000)])
def test_probabilities_are_known(n, k, dtype):
    p = probabilities(n, k)
    assert probabilities_in(p.astype(dtype)).total == 1
    assert probabilities_in((100 * p).astype(dtype)).total == 100
    for decimals in (2, 3):
        assert probabilities_in(np.round(p, decimals).astype(dtype)).total == 1
        found = probabilities_in(np.round(100 * p, decimals - 2).astype(dtype))
        assert found.total == 100
    assert probabilities_in(np.round(p, 3).astype(np.float32)).decimals == 3


def test_what_a_rounded_zero_stands_for():
    p = probabilities(300, 10)
    assert probabilities_in(np.round(p, 3).astype(np.float32)).floor == pytest.approx(0.0005)
    assert probabilities_in(np.round(100 * p, 1).astype(np.float32)).floor == pytest.approx(0.0005)
    assert probabilities_in(p.astype(np.float32)).floor is None


@pytest.mark.parametrize("decimals", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("scale", [0.3, 5, 40])
@pytest.mark.parametrize(("n", "k"), [(3, 2), (20, 10), (50, 100)])
def test_scores_that_are_never_negative_are_no_probabilities(n, k, scale, decimals):
    values = np.maximum(scale * np.random.default_rng(4).normal(size=(n, k)), 0)
    if decimals is not None:
        values = np.round(values, decimals)
    assert probabilities_in(values.astype(np.float32)) is None


@pytest.mark.parametrize(
    "rows",
    [
        [[0.2, 0.9], [0.8, 0.3]],
        [[0.5, 0.4], [1.0, 0.1]],
        [[0, 0], [0, 0]],
        [[100, 0, 0], [0, 100, 0]],
        [[5, 0], [0, 5]],
        [[-0.001, 1.001], [0.5, 0.5]],
    ],
)
def test_a_few_scores_by_hand(rows):
    assert probabilities_in(np.array(rows, dtype=np.float32)) is None


def test_certain_answers_are_probabilities():
    assert probabilities_in(np.eye(4, dtype=np.float32)).total == 1


@pytest.mark.parametrize("percent", [False, True])
def test_the_remedy_works_as_it_is_written(percent):
    rows = np.round(100 * probabilities(40, 5), 1) / (1 if percent else 100)
    given = {"model": "m", "dataset": "d", "split": "val", "dtype": "float32"}
    labels = np.zeros(40, int)
    word = "in percent, rounded to 1" if percent else "probabilities, rounded to 3"
    with pytest.raises(ValueError, match=f"{word} decimals .none negative") as refused:
        make_record(rows, labels, **given)
    text = str(refused.value)
    first, second = text.split("take p = ")[1].split(" with kind=")[0].split(" and give ")
    space = {"np": np, "rows": rows}
    space["p"] = eval(first, space)  # the sentence of the library itself
    logs = eval(second, space)
    made = make_record(logs, labels, kind="log_probs", **given)
    assert make_record(logs, labels, **given).kind == "logits"
    share = rows / (100 if percent else 1)
    assert np.exp(made.logits) == pytest.approx(share, abs=0.003)
