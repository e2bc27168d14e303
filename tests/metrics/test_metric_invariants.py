"""What must not change: tried on samples that hypothesis thinks up.

Exactly unchanged when every image is doubled: all but aurc and e_aurc (their mean over prefixes has
an end effect of order 1 / n), ece_debiased (the variance it subtracts halves) and the risks at a
coverage (the cut is rounded up to a whole image).
"""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from duokit.metrics.scores import score
from duokit.metrics.selective import (
    augrc,
    aurc,
    auroc,
    coverage_at_accuracy,
    e_aurc,
    risk_at_coverage,
)
from duokit.metrics.table import METRICS, evaluate

MOVED_BY_DOUBLING = {"aurc", "e_aurc", "ece_debiased", "risk80", "risk90", "risk95"}


@st.composite
def samples(draw):
    """Return float64 logits, on a grid so that ties are common, and labels."""
    k, n = draw(st.integers(2, 6)), draw(st.integers(2, 25))
    grid = draw(arrays(np.int64, (n, k), elements=st.integers(-20, 20)))
    return grid / 4 + np.arange(k) / 64, draw(arrays(np.int64, n, elements=st.integers(0, k - 1)))


@st.composite
def rankings(draw):
    n = draw(st.integers(1, 30))
    uncertainty = draw(arrays(np.int64, n, elements=st.integers(-9, 9)))
    return uncertainty.astype(float), draw(arrays(np.bool_, n))


def close(found, expected, names=METRICS):
    for name in names:
        assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), name


def row(logits, labels):
    return evaluate(score(logits, labels))


@given(samples(), st.randoms(use_true_random=False))
def test_order_of_the_images(sample, random):
    logits, labels = sample
    order = list(range(len(labels)))
    random.shuffle(order)
    close(row(logits[order], labels[order]), row(logits, labels))


@given(samples(), st.randoms(use_true_random=False))
def test_names_of_the_classes(sample, random):
    logits, labels = sample
    new = list(range(logits.shape[1]))
    random.shuffle(new)
    renamed = np.empty_like(logits)
    renamed[:, new] = logits
    # equal largest logits would be told apart by their place
    if (np.sort(logits, 1)[:, -1] > np.sort(logits, 1)[:, -2]).all():
        close(row(renamed, np.array(new)[labels]), row(logits, labels))


@given(samples(), st.integers(-1000, 1000))
def test_a_constant_added_to_a_row(sample, constant):
    logits, labels = sample
    shift = constant * (1 + np.arange(len(labels)) % 3)[:, None]
    close(row(logits + shift, labels), row(logits, labels))


@given(samples())
def test_a_class_that_nobody_thinks_possible(sample):
    logits, labels = sample
    more = np.concatenate([logits, np.full((len(labels), 1), -1e4)], axis=1)
    close(row(more, labels), row(logits, labels), set(METRICS) - {"ece_class"})


@given(samples(), st.integers(2, 3))
def test_every_image_several_times(sample, times):
    logits, labels = sample
    once = row(logits, labels)
    again = row(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    close(again, once, set(METRICS) - MOVED_BY_DOUBLING)
    assert abs(again["aurc"] - once["aurc"]) <= 1 / len(labels)


def test_doubling_moves_the_others():
    logits, labels = np.array([[2.0, 0], [1, 0], [0.5, 0], [0.2, 0]]), np.array([0, 1, 0, 1])
    once, twice = row(logits, labels), row(np.tile(logits, (2, 1)), np.tile(labels, 2))
    assert once["aurc"] != pytest.approx(twice["aurc"])
    assert once["ece_debiased"] != pytest.approx(twice["ece_debiased"])
    assert once["risk80"] != pytest.approx(twice["risk80"])  # 4 of 4, then 7 of 8


@given(rankings())
def test_any_rising_function_of_the_uncertainty(ranking):
    uncertainty, correct = ranking
    for rising in (np.exp, lambda u: 3 * u - 7, lambda u: u**3, np.arctan):
        for function in (auroc, aurc, e_aurc, augrc):
            expected = function(uncertainty, correct)
            assert function(rising(uncertainty), correct) == pytest.approx(expected, nan_ok=True)
        for share in (0.5, 0.9, 1):
            for function in (coverage_at_accuracy, risk_at_coverage):
                assert function(rising(uncertainty), correct, share) == function(
                    uncertainty, correct, share
                )


@given(rankings())
def test_order_within_a_tie(ranking):
    uncertainty, correct = ranking
    for function in (auroc, aurc, e_aurc, augrc):
        backwards = function(uncertainty[::-1], correct[::-1])
        assert backwards == pytest.approx(function(uncertainty, correct), abs=1e-12, nan_ok=True)


@given(rankings())
def test_bounds_and_mirror(ranking):
    uncertainty, correct = ranking
    wrong = (~correct).mean()
    assert 0 <= e_aurc(uncertainty, correct) <= aurc(uncertainty, correct) <= 1
    assert wrong**2 / 2 - 1e-12 <= augrc(uncertainty, correct) <= wrong - wrong**2 / 2 + 1e-12
    if 0 < wrong < 1:
        forth, back = auroc(uncertainty, correct), auroc(-uncertainty, correct)
        assert forth + back == pytest.approx(1)
    kept = [
        risk_at_coverage(uncertainty, correct, c / 10) * np.ceil(c * len(correct) / 10)
        for c in range(1, 11)
    ]
    assert (np.diff(kept) >= -1e-9).all()  # accepting more images never loses an error
    falling = [coverage_at_accuracy(uncertainty, correct, a / 20) for a in range(1, 21)]
    assert (np.diff(falling) <= 0).all()
