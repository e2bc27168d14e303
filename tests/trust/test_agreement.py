"""Agreement: values by hand, slow loops, SciPy, tests whose luck is counted, symmetry."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, chi2_contingency, entropy

from duokit.metrics.chance import paired_interval, share_interval
from duokit.trust import agreement, change_tests, divergences, log_probs, per_image
from duokit.trust.changes import stuart_maxwell
from tests.cascade.samples import make_pair


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def pair():
    return make_pair(300, 5, seed=1)


def test_four_images_by_hand():
    a, b, c = 4.0 * np.eye(3)
    large, small = np.stack([a, a, b, c]), np.stack([a, b, a, b])
    labels = np.array([0, 0, 0, 0])  # right right | right wrong | wrong right | wrong other wrong
    found = agreement(large, small, labels, resamples=0)
    value = found.measures["value"]
    expected = {
        "label_agreement": 1 / 4,
        "right_to_wrong": 1 / 4,
        "wrong_to_right": 1 / 4,
        "changes": 3 / 4,
        "flips": 1 / 2,
        "direction": 1 / 2,
        "accuracy_change": 0,
    }
    assert value[list(expected)].to_dict() == pytest.approx(expected)
    assert (found.images, found.accuracy_large, found.accuracy_small) == (4, 0.5, 0.5)
    assert found.measures[["low", "high"]].isna().all(axis=None)


def test_divergences_are_scipys(pair):
    large, small, labels = pair
    p, q = softmax(large.astype(float)), softmax(small.astype(float))
    kl, js = divergences(large, small)
    np.testing.assert_allclose(kl, entropy(p, q, axis=1), rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(js), jensenshannon(p, q, axis=1, base=2), rtol=1e-7)
    value = agreement(large, small, labels, resamples=0).measures["value"]
    loyalty = 1 - np.mean([jensenshannon(p[i], q[i], base=2) for i in range(len(p))])
    assert value["probability_loyalty"] == pytest.approx(loyalty)
    assert value["kl"] == pytest.approx(entropy(p, q, axis=1).mean())
    assert value["jensen_shannon"] == pytest.approx(js.mean())


def test_kl_has_a_direction_and_jensen_shannon_has_none(pair):
    large, small, _ = pair
    there, back = divergences(large, small), divergences(small, large)
    assert not np.allclose(there[0], back[0])
    np.testing.assert_allclose(there[1], back[1], atol=1e-12)


def test_opposite_certainties_stay_finite():
    large, small = np.array([[2000.0, 0.0]]), np.array([[0.0, 2000.0]])
    kl, js = divergences(large, small)
    assert kl[0] == pytest.approx(2000)
    assert js[0] == pytest.approx(1)
    loyalty = per_image(large, small, np.array([0]))["probability_loyalty"][0]
    assert loyalty == pytest.approx(0, abs=1e-7)


def test_volume_and_direction_make_the_change_of_accuracy(pair):
    large, small, labels = pair
    found = agreement(large, small, labels, resamples=0)
    value = found.measures["value"]
    change = found.accuracy_small - found.accuracy_large
    assert value["accuracy_change"] == pytest.approx(change)
    assert value["flips"] * (2 * value["direction"] - 1) == pytest.approx(change)
    assert value["flips"] < value["changes"]


def test_intervals_are_those_of_slow_resampling(pair):
    large, small, labels = pair
    found = agreement(large, small, labels, baseline=large[::-1].copy(), resamples=60, seed=3)
    draws = []
    for row in range(60):
        child = np.random.SeedSequence(3, spawn_key=(row,))
        at = np.random.default_rng(child).integers(0, len(labels), len(labels))
        values = [
            agreement(large[at], other[at], labels[at], resamples=0).measures["value"]
            for other in (small, large[::-1])
        ]
        draws.append([values[0], values[0] - values[1]])
    ends = np.quantile(np.array(draws), [0.025, 0.975], axis=0)
    flags = []
    for other in (small, large[::-1]):
        answers = [z.argmax(1) for z in (large, other)]
        same, right = answers[0] == answers[1], [a == labels for a in answers]
        flips = [right[0] & ~right[1], ~right[0] & right[1]]
        flags.append(np.array([same, *flips, ~same, flips[0] | flips[1]]))
    n, shares = len(labels), [0, 1, 2, 6, 7]
    ends[:, 0, shares] = share_interval(flags[0].sum(1), n)
    ends[:, 0, 8] = share_interval(flags[0][2].sum(), flags[0][4].sum())
    ends[:, 0, 9] = paired_interval(flags[0][2].sum(), flags[0][1].sum(), n)
    more, fewer = ((a & ~b).sum(1) for a, b in (flags, flags[::-1]))
    ends[:, 1, shares] = paired_interval(more, fewer, n)
    right = [other.argmax(1) == labels for other in (small, large[::-1])]
    ends[:, 1, 9] = paired_interval((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum(), n)
    np.testing.assert_allclose(found.measures[["low", "high"]].to_numpy().T, ends[:, 0])
    columns = ["difference_low", "difference_high"]
    np.testing.assert_allclose(found.measures[columns].to_numpy().T, ends[:, 1])
    gap = found.measures["value"] - found.measures["baseline"]
    assert found.measures["difference"].tolist() == gap.tolist()


@pytest.mark.promise("intervals")
@pytest.mark.parametrize("flips", [9, 10])
def test_a_difference_of_directions_needs_ten_flips_of_each_kind(flips):
    labels = np.zeros(200, int)
    large = np.tile([1.0, 0.0], (200, 1))
    large[:30] = 0.0, 1.0  # wrong
    small, other = large.copy(), large.copy()
    small[:12], small[30:42] = [1.0, 0.0], [0.0, 1.0]
    other[:20], other[30 : 30 + flips] = [1.0, 0.0], [0.0, 1.0]
    found = agreement(large, small, labels, baseline=other, resamples=50).measures
    ends = found.loc["direction", ["difference_low", "difference_high"]]
    assert ends.notna().all() == (flips >= 10)


def test_a_model_agrees_with_itself_and_nothing_flips(pair):
    large, _, labels = pair
    found = agreement(large, large, labels, resamples=20)
    value = found.measures["value"]
    assert value[["label_agreement", "probability_loyalty"]].tolist() == [1, 1]
    assert (
        value[["kl", "jensen_shannon", "changes", "flips", "accuracy_change"]].tolist() == [0] * 5
    )
    assert math.isnan(value["direction"])
    assert found.tests["p_value"].tolist() == [1] * 4
    assert found.row()["p (McNemar)"] == 1
    assert found.row()["images"] == len(labels)


def test_order_of_images_names_of_classes_and_constants_do_not_matter(pair):
    large, small, labels = pair
    plain = agreement(large, small, labels, resamples=0)
    order = np.random.default_rng(0).permutation(len(labels))
    name = np.array([3, 1, 4, 0, 2])
    back = np.argsort(name)
    for other in (
        agreement(large[order], small[order], labels[order], resamples=0),
        agreement(large[:, back], small[:, back], name[labels], resamples=0),
        agreement(large + 7, small - 3, labels, resamples=0),
        agreement(*(torch.from_numpy(x) for x in pair), resamples=0),
    ):
        np.testing.assert_allclose(other.measures["value"], plain.measures["value"], atol=1e-6)
        tests = ["McNemar", "Stuart-Maxwell", "Pearson"]
        np.testing.assert_allclose(other.tests.loc[tests], plain.tests.loc[tests], atol=1e-9)


def test_swapped_models_swap_the_flips(pair):
    large, small, labels = pair
    there = agreement(large, small, labels, resamples=0).measures["value"]
    back = agreement(small, large, labels, resamples=0).measures["value"]
    assert there["right_to_wrong"] == back["wrong_to_right"]
    assert there["accuracy_change"] == pytest.approx(-back["accuracy_change"])
    assert there["direction"] == pytest.approx(1 - back["direction"])


def test_probabilities_come_in_as_logarithms():
    probs = np.array([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(softmax(log_probs(probs)), probs, atol=1e-300)
    assert np.isfinite(log_probs(probs)).all()
    with pytest.raises(ValueError, match=r"probs\[1\].*sum 3.*Logits need no logarithm"):
        log_probs([[0.5, 0.5], [1.0, 2.0]])
    with pytest.raises(ValueError, match=r"\(images, classes\)"):
        log_probs([0.5, 0.5])


# -------------------------------------------------------------------------------------- the tests


def slow_stuart_maxwell(large, small, k):
    """The textbook form: leave the last class out and invert. All k classes must be linked."""
    n = np.zeros((k, k))
    for i, j in zip(large, small, strict=True):
        n[i, j] += 1
    d = (n.sum(1) - n.sum(0))[:-1]
    v = -(n + n.T)
    for i in range(k):
        v[i, i] = n[i].sum() + n[:, i].sum() - 2 * n[i, i]
    return float(d @ np.linalg.solve(v[:-1, :-1], d)), k - 1


def test_stuart_maxwell_is_the_textbooks():
    draw = np.random.default_rng(2)
    large = draw.integers(0, 4, 200)
    small = np.where(draw.random(200) < 0.4, draw.integers(0, 4, 200), large)
    expected, dof = slow_stuart_maxwell(large, small, 4)
    found = change_tests(large, small, large)
    row = found.loc["Stuart-Maxwell"]
    assert (row["statistic"], row["dof"]) == pytest.approx((expected, dof))
    assert row["p_value"] == pytest.approx(chi2.sf(expected, dof))


def test_classes_that_are_not_linked_are_tested_apart():
    one = np.array([0] * 9 + [1] * 3), np.array([1] * 9 + [0] * 3)
    other = one[0] + 5, one[1] + 5  # the same among classes 5 and 6
    statistic, dof, _ = stuart_maxwell(*(np.concatenate(x) for x in zip(one, other, strict=True)))
    assert dof == 2
    assert statistic == pytest.approx(2 * (9 - 3) ** 2 / 12)


def test_with_two_classes_it_is_mcnemars_chi_squared():
    large, small = np.array([0] * 9 + [1] * 4 + [1]), np.array([1] * 9 + [0] * 4 + [1])
    found = change_tests(large, small, np.ones(14, dtype=int))
    assert found.loc["Stuart-Maxwell", "statistic"] == pytest.approx((9 - 4) ** 2 / 13)
    assert found.loc["McNemar", "statistic"] == 9
    # exact: 2 * P(4 or fewer of 13)
    tail = sum(math.comb(13, i) for i in range(5)) / 2**13
    assert found.loc["McNemar", "p_value"] == pytest.approx(2 * tail)


def test_swaps_count_what_all_swaps_would():
    large, small = np.array([0, 0, 0, 0, 1, 2]), np.array([1, 1, 1, 2, 2, 0])
    value = stuart_maxwell(large, small)[0]
    as_large = 0
    for code in range(2**6):
        swap = np.array([code >> i & 1 for i in range(6)], dtype=bool)
        found = stuart_maxwell(np.where(swap, small, large), np.where(swap, large, small))[0]
        as_large += found >= value - 1e-9
    assert stuart_maxwell(large, small, swaps=20_000)[2] == pytest.approx(as_large / 64, abs=0.01)


def test_no_number_of_swaps_proves_a_change():
    large, small = np.zeros(40, dtype=int), np.ones(40, dtype=int)
    assert stuart_maxwell(large, small, swaps=19)[2] == 1 / 20


def test_pearsons_statistic_is_scipys(pair):
    large, small = (z.argmax(1) for z in pair[:2])
    table = np.stack([np.bincount(a, minlength=5) for a in (large, small)])
    expected = chi2_contingency(table, correction=False)
    row = change_tests(large, small, pair[2]).loc["Pearson"]
    assert row["statistic"] == pytest.approx(expected.statistic)
    assert (row["dof"], row["p_value"]) == pytest.approx((expected.dof, expected.pvalue))


def test_pearson_overlooks_what_the_paired_tests_keep_the_level_of():
    draw = np.random.default_rng(4)
    rejected = {"Stuart-Maxwell": 0, "Stuart-Maxwell, swapped": 0, "Pearson": 0}
    for _ in range(300):
        large = draw.integers(0, 3, 400)
        one, other = (
            np.where(draw.random(400) < 0.05, draw.integers(0, 3, 400), large) for _ in "ab"
        )
        p = change_tests(one, other, large, swaps=99)["p_value"]
        for test in rejected:
            rejected[test] += p[test] <= 0.05
    assert 5 <= rejected["Stuart-Maxwell"] <= 27  # 15 of 300 expected
    assert 5 <= rejected["Stuart-Maxwell, swapped"] <= 27
    assert rejected["Pearson"] == 0
    shifted = np.where((large == 0) & (draw.random(400) < 0.15), 1, large)
    p = change_tests(large, shifted, large)["p_value"]
    assert p["Stuart-Maxwell"] < 0.001
    assert p["Pearson"] > 0.05


def test_seeds_decide_the_swaps_alone():
    large, small, labels = make_pair(100, 4, seed=5)
    large, small = large.argmax(1), small.argmax(1)
    same = [change_tests(large, small, labels, seed=7) for _ in range(2)]
    assert same[0].equals(same[1])


def test_errors_say_what_to_do(pair):
    large, small, labels = pair
    with pytest.raises(ValueError, match="same images, classes"):
        agreement(large, small[:9], labels)
    with pytest.raises(ValueError, match="resamples must be a whole number, 0 or more, not -1"):
        agreement(large, small, labels, resamples=-1)
    with pytest.raises(ValueError, match=r"95 % is 0\.95"):
        agreement(large, small, labels, level=95)
    with pytest.raises(
        ValueError, match=r"small must have shape \(2,\), one per image, not \(3,\)"
    ):
        change_tests([0, 1], [0, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="swaps must be 1 or more, not 0"):
        change_tests([0, 1], [0, 1], [0, 1], swaps=0)
