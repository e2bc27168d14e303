"""Scores without labels: ends of their ranges, NumPy as oracle, and how well they are followed."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from duokit.trust import mano, nuclear_norm, relate
from tests.cascade.samples import make_pair

both = pytest.mark.parametrize("measure", [nuclear_norm, mano])


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize(("n", "k"), [(50, 6), (4, 9), (7, 7)])
def test_nuclear_norm_is_numpys(n, k):
    z = np.random.default_rng(0).normal(size=(n, k)) * 3
    expected = np.linalg.norm(softmax(z), "nuc") / np.sqrt(n * min(n, k))
    assert nuclear_norm(z) == pytest.approx(expected)


@pytest.mark.parametrize("order", [1, 2, 4, 7.5])
def test_mano_is_the_mean_power(order):
    z = np.random.default_rng(1).normal(size=(40, 5)) * 3
    assert mano(z, order=order) == pytest.approx((softmax(z) ** order).mean() ** (1 / order))


def test_mano_takes_the_fourth_power():
    z = make_pair(30, 4)[0]
    assert mano(z) == mano(z, order=4) != mano(z, order=3)


def test_sure_and_dispersed_answers_reach_the_top():
    sure = 500 * np.eye(4)[np.arange(40) % 4]
    assert nuclear_norm(sure) == pytest.approx(1)
    assert mano(sure) == pytest.approx(4 ** (-1 / 4))


def test_even_rows_and_one_class_for_all():
    even = np.zeros((40, 4))
    assert nuclear_norm(even) == pytest.approx(0.25)  # rank 1: sqrt(40 / 4) / sqrt(40 * 4)
    assert mano(even) == pytest.approx(1 / 4)
    alone = 500 * np.eye(4)[np.zeros(40, dtype=int)]
    assert nuclear_norm(alone) == pytest.approx(0.5)  # sure, but not dispersed
    assert mano(alone) == pytest.approx(4 ** (-1 / 4))  # which this one does not see


@both
def test_order_classes_constants_and_kind_of_array_do_not_matter(measure):
    z = make_pair(60, 5)[0]
    draw = np.random.default_rng(0)
    for other in (
        z[draw.permutation(60)],
        z[:, draw.permutation(5)],
        z + draw.normal(size=(60, 1)),
        torch.from_numpy(z),
        np.concatenate([z, z]),
    ):
        assert measure(other) == pytest.approx(measure(z), rel=1e-5)


@both
def test_a_clearer_set_scores_higher(measure):
    found = [measure(make_pair(300, 5, large=lift)[0]) for lift in (1.0, 3.0, 6.0)]
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_relate_is_scipy_and_scikit_learn():
    draw = np.random.default_rng(3)
    x = draw.random(12)
    y = 0.3 + 0.5 * x + 0.05 * draw.normal(size=12)
    found = relate(x, y)
    assert found["sets"] == 12
    assert found["spearman"] == pytest.approx(spearmanr(x, y).statistic)
    assert found["pearson"] == pytest.approx(pearsonr(x, y).statistic)
    assert found["slope"] == pytest.approx(np.polyfit(x, y, 1)[0])
    read = cross_val_predict(LinearRegression(), x[:, None], y, cv=LeaveOneOut())
    assert found["error"] == pytest.approx(np.abs(y - read).mean())
    means = [(y.sum() - value) / 11 for value in y]
    assert found["error_of_mean"] == pytest.approx(np.abs(y - means).mean())


def test_a_straight_line_is_read_without_error():
    found = relate([0.1, 0.2, 0.4, 0.9], [0.8, 0.7, 0.5, 0.0])
    assert found["error"] == pytest.approx(0, abs=1e-12)
    assert (found["spearman"], found["slope"]) == pytest.approx((-1, -1))


def test_constant_accuracy_correlates_with_nothing():
    found = relate([0.1, 0.2, 0.4], [0.5, 0.5, 0.5])
    assert found[["spearman", "pearson"]].isna().all()
    assert found[["error", "error_of_mean"]].tolist() == pytest.approx([0, 0])


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="2 scores and 2 accuracies; expected as many, 3 or more"):
        relate([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="3 scores and 4 accuracies"):
        relate([1, 2, 3], [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="equal but for one at most"):
        relate([1, 1, 2], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="order must be 1 or more, not 0"):
        mano(np.zeros((2, 2)), order=0)
