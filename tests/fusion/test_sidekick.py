"""The score test: what it promises, its error rate, and its degenerate cases."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import kstest, norm
from scipy.stats import t as student

from duokit.fusion.sidekick import sidekick_test
from duokit.fusion.weights import fit_weights
from tests.fusion.duos import make_duo


def test_by_hand():
    # The large model is right once and wrong once, so its best weight is 0 and p is uniform.
    large = np.array([[0.5, 0.0], [0.5, 0.0], [0.0, 0.0], [0.0, 0.0]])
    small = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]])
    test = sidekick_test(large, small, [0, 1, 0, 1])
    u = np.array([0.5, 0.5, 1.5, 0.0])  # z_label - (z_0 + z_1) / 2
    assert test.large_weight == 0.0
    assert test.score == pytest.approx(u.mean())
    assert test.t == pytest.approx(u.mean() / np.sqrt(((u - u.mean()) ** 2).sum() / (4 * 2)))
    assert test.p_value == pytest.approx(student(2).sf(test.t))
    assert test.gain == pytest.approx(
        u.mean() ** 2 / (2 * (small[:, 0] - small[:, 1]) @ [0.25 / 4, -0.25 / 4, 3 * 0.25 / 4, 0.0])
    )
    assert (test.images, test.rough) == (4, True)


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


def null(n, k=10, *, seed):
    """Return p-values of sidekicks that know nothing beside a calibrated large model."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(120):
        z = 2 * rng.standard_normal((n, k))
        labels = (z + rng.gumbel(size=z.shape)).argmax(1)
        found.append(sidekick_test(z, 2 * rng.standard_normal((n, k)), labels).p_value)
    return np.array(found)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("n", [3, 5, 20])
def test_few_images_cause_no_more_false_alarms_than_promised(n):
    p = null(n, seed=n)
    for level in (0.05, 0.01):
        spread = np.sqrt(level * (1 - level) / len(p))
        assert (p <= level).mean() <= level + 3 * spread
    assert (p > 0.5).mean() > 0.3  # and they are no constants


def test_the_law_changes_at_100_images():
    (large, small), labels = make_duo(101, signal=(2.0, 0.3))
    few = sidekick_test(large[:100], small[:100], labels[:100])
    assert few.p_value == pytest.approx(student(98).sf(few.t))
    many = sidekick_test(large, small, labels)
    assert many.p_value == pytest.approx(norm.sf(many.t))
    assert 0 < few.t < 10
    assert not few.rough
    assert sidekick_test(large[:29], small[:29], labels[:29]).rough
    assert not sidekick_test(large[:30], small[:30], labels[:30]).rough


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("n", [3, 4, 10])
def test_images_that_all_score_alike_prove_little(n):
    large, labels = np.zeros((n, 2)), np.zeros(n, dtype=int)
    test = sidekick_test(large, np.tile([1.0, 0.0], (n, 1)), labels)
    assert test.p_value == pytest.approx(0.5**n)
    assert test.t < 10**n
    worse = sidekick_test(large, np.tile([0.0, 1.0], (n, 1)), labels)
    assert worse.p_value > 0.999


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_images_are_refused(n):
    (large, small), labels = make_duo(n)
    with pytest.raises(ValueError, match=f"{n} images are too few .* Give more validation images"):
        sidekick_test(large, small, labels)
