"""The score test: what it promises, its error rate, and its degenerate cases."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import kstest

from duokit.fusion.sidekick import sidekick_test
from duokit.fusion.weights import fit_weights
from tests.fusion.duos import make_duo


def test_by_hand():
    # One image of each class; the large model says nothing, the small one 1.0 for the label.
    large, small = np.array([[0.5, 0.0], [0.0, 0.5]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    large[1] = [0.5, 0.0]  # right once, wrong once: its best weight is 0, p is uniform
    test = sidekick_test(large, small, [0, 1])
    assert test.large_weight == 0.0
    assert test.score == pytest.approx(0.5)  # 1 - (1 + 0) / 2 for either image
    assert test.gain == pytest.approx(0.5**2 / (2 * 0.25))


def test_positive_exactly_when_the_fit_uses_the_sidekick():
    for seed in range(12):
        (large, small), labels = make_duo(80, 4, seed=seed, signal=(1.5, 0.15))
        assert (sidekick_test(large, small, labels).score > 0) == (
            fit_weights([large, small], labels).weights[1] > 0
        )


def test_gain_is_what_the_fit_gains():
    (large, small), labels = make_duo(4000, 5, signal=(2.0, 0.4))
    gained = fit_weights([large], labels).nll - fit_weights([large, small], labels).nll
    assert sidekick_test(large, small, labels).gain == pytest.approx(gained, rel=0.1)


def test_p_values_of_ignorant_sidekicks_are_uniform():
    rng = np.random.default_rng(5)
    p_values = []
    for seed in range(200):
        (large, _), labels = make_duo(300, 4, seed=seed)
        copy = large + rng.standard_normal(large.shape)  # knows only what the large model says
        p_values.append(sidekick_test(_posterior(large), copy, labels).p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01


def _posterior(logits):
    """The made-up large logits 1.5 (x + 2 [label]) as the exact log-posterior 2 x + const."""
    return logits / 1.5 * 2.0


def test_scale_does_not_matter():
    (large, small), labels = make_duo()
    one, other = sidekick_test(large, small, labels), sidekick_test(large / 3, small * 20, labels)
    assert other.t == pytest.approx(one.t, rel=1e-6)
    assert other.gain == pytest.approx(one.gain, rel=1e-5)
    assert other.score == pytest.approx(20 * one.score, rel=1e-5)


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_nothing_new(factor):
    (large, _), labels = make_duo()
    with pytest.warns(UserWarning, match="says nothing new"):
        test = sidekick_test(large, factor * large, labels)
    assert (test.t, test.p_value, test.gain) == (0.0, 0.5, 0.0)


def test_a_harmful_sidekick_has_a_negative_score():
    (large, small), labels = make_duo()
    test = sidekick_test(large, -small, labels)
    assert test.t < -5
    assert test.p_value > 0.999
    assert test.gain == 0.0


def test_a_fit_at_hand_is_used():
    (large, small), labels = make_duo()
    alone = fit_weights([large], labels)
    assert sidekick_test(large, small, labels, alone=alone) == sidekick_test(large, small, labels)
    other = dataclasses.replace(alone, weights=alone.weights * 2)
    assert sidekick_test(large, small, labels, alone=other).large_weight == other.weights[0]
