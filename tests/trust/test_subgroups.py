"""Groups: each row is the whole function on that group; corrections; effect sizes by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control, skew
from scipy.stats.contingency import association

from duokit.metrics.scores import score
from duokit.trust import agreement, agreement_by_confidence, agreement_by_group, cramers_v, skewsize
from tests.cascade.samples import make_pair

SAME = ("label_agreement", "right_to_wrong", "wrong_to_right", "kl")


@pytest.fixture(scope="module")
def pair():
    return make_pair(400, 5, seed=2)


@pytest.mark.parametrize("named", [False, True])
def test_a_row_is_the_agreement_within_the_group(pair, named):
    large, small, labels = pair
    groups = np.array(list("abcab"))[labels] if named else None
    found = agreement_by_group(large, small, labels, groups, swaps=99)
    given = labels if groups is None else groups
    assert found.index.tolist() == sorted(set(given.tolist()))
    for name in found.index:
        at = given == name
        whole = agreement(large[at], small[at], labels[at], resamples=0)
        row = found.loc[name]
        assert row["images"] == at.sum()
        assert row[list(SAME)].tolist() == pytest.approx(whole.measures.loc[list(SAME), "value"])
        assert row["accuracy_large"] == pytest.approx(whole.accuracy_large)
        assert row["accuracy_small"] == pytest.approx(whole.accuracy_small)
        assert row["mcnemar"] == whole.tests.loc["McNemar", "p_value"]
        same = round(row["label_agreement"] * at.sum())
        exact = binomtest(same, int(at.sum())).proportion_ci(0.95, method="exact")
        assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high))


def test_p_values_are_corrected_over_all_groups(pair):
    found = agreement_by_group(*pair, swaps=99)
    for name in ("mcnemar", "answers"):
        p = found[name].to_numpy()
        np.testing.assert_allclose(found[f"{name}_bh"], false_discovery_control(p))
        assert found[f"{name}_holm"].min() == pytest.approx(min(1, 5 * p.min()))
    assert (found["mcnemar"] != found["answers"]).any()


def test_a_class_whose_answers_moved_is_found_and_no_other():
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 20)
    large = 6 * np.eye(60)[labels] + draw.normal(size=(1200, 60))
    small = large.copy()
    moved = (labels == 7) & (draw.random(1200) < 0.8)
    small[moved, 8] += 20
    found = agreement_by_group(large, small, labels)
    for name in ("mcnemar_holm", "answers_holm"):  # 999 swaps could not do it for 60 groups
        assert found.index[found[name] <= 0.05].tolist() == [7]


def test_order_of_images_does_not_matter(pair):
    order = np.random.default_rng(0).permutation(400)
    columns = [*SAME, "images", "mcnemar_holm"]
    one, other = (agreement_by_group(*x, swaps=9) for x in (pair, [a[order] for a in pair]))
    np.testing.assert_allclose(one[columns], other[columns])
    one, other = (agreement_by_confidence(*x) for x in (pair, [a[order] for a in pair]))
    np.testing.assert_allclose(one, other)


def test_parts_of_confidence_by_a_slow_loop(pair):
    large, small, labels = pair
    found = agreement_by_confidence(large, small, labels, parts=8)
    scores = score(large, labels)
    order = np.argsort(-scores.uncertainty)
    assert found["images"].tolist() == [50] * 8
    for part, at in enumerate(np.split(order, 8), start=1):
        row = found.loc[part]
        assert row["confidence_low"] == pytest.approx(scores.confidence[at].min())
        assert row["confidence_high"] == pytest.approx(scores.confidence[at].max())
        assert row["label_agreement"] == np.mean(large[at].argmax(1) == small[at].argmax(1))
        assert row["accuracy_large"] == np.mean(large[at].argmax(1) == labels[at])
        assert row["accuracy_small"] == np.mean(small[at].argmax(1) == labels[at])
    assert found["confidence_low"].is_monotonic_increasing


def test_equal_confidences_stay_together():
    large = np.eye(3)[[0, 1, 2, 0, 1, 2]] * np.array([1, 1, 1, 1, 5, 5])[:, None]
    found = agreement_by_confidence(large, large, np.zeros(6, dtype=int), parts=3)
    assert found["images"].tolist() == [4, 2]
    one = agreement_by_confidence(large, large, np.zeros(6, dtype=int), parts=1)
    assert one["images"].tolist() == [6]


# --------------------------------------------------------------------------------------- SkewSize


def by_hand(one, other):
    """Bergsma's V, kind by kind, in loops."""
    kinds = [sorted(set(a)) for a in (one, other)]
    n, (r, c) = len(one), (len(k) for k in kinds)
    phi2 = 0.0
    for x in kinds[0]:
        for y in kinds[1]:
            seen = sum(a == x and b == y for a, b in zip(one, other, strict=True))
            expected = sum(a == x for a in one) * sum(b == y for b in other) / n
            phi2 += (seen - expected) ** 2 / expected / n
    phi2 = max(0, phi2 - (r - 1) * (c - 1) / (n - 1))
    r, c = (size - (size - 1) ** 2 / (n - 1) for size in (r, c))
    return (phi2 / min(r - 1, c - 1)) ** 0.5


@pytest.mark.parametrize("seed", range(4))
def test_cramers_v_by_hand_and_its_uncorrected_form(seed):
    draw = np.random.default_rng(seed)
    one = draw.integers(0, 3, 80)
    other = np.where(draw.random(80) < 0.5, one, draw.integers(0, 4, 80))
    found = cramers_v(one, other)
    assert found == pytest.approx(by_hand(one.tolist(), other.tolist()))
    assert found == pytest.approx(cramers_v(np.array(list("xyz"))[one], 9 - other))
    table = np.array([[((one == i) & (other == j)).sum() for j in range(4)] for i in range(3)])
    assert found < association(table, method="cramer")


def test_cramers_v_at_its_ends():
    kinds = np.arange(60) % 3
    assert cramers_v(kinds, kinds + 5) == pytest.approx(1)
    assert cramers_v(kinds, np.arange(60) // 3 % 4) == 0  # independent: less than its noise
    assert cramers_v(kinds, np.ones(60)) == 0
    assert np.isnan(cramers_v(np.ones(60), kinds))
    assert np.isnan(cramers_v(np.arange(5), np.arange(5)))


def test_independence_has_no_effect_on_average():
    draw = np.random.default_rng(1)
    found = [cramers_v(draw.integers(0, 4, 40), draw.integers(0, 5, 40)) ** 2 for _ in range(200)]
    plain = 12 / 40 / 3  # what the uncorrected V^2 would be on average
    assert np.mean(found) < plain / 2


def test_skewsize_is_the_skewness_of_the_effects():
    large, small, labels = make_pair(600, 6, seed=3)
    attribute = small.argmax(1) == large.argmax(1)
    found = skewsize(small, labels, attribute)
    assert found.effects.index.tolist() == list(range(6))
    for y, effect in found.effects.items():
        at = labels == y
        assert effect == cramers_v(attribute[at], small[at].argmax(1))
    assert found.skewness == pytest.approx(skew(found.effects.dropna()))


def test_one_class_that_is_hit_makes_the_skewness_large():
    labels = np.repeat(np.arange(8), 40)
    attribute = np.tile([0, 1], 160)
    answers = np.where((labels == 3) & (attribute == 1), 4, labels)
    found = skewsize(5.0 * np.eye(8)[answers], labels, attribute)
    assert found.effects.idxmax() == 3
    assert found.effects[3] == pytest.approx(1)
    assert found.skewness > 2


def test_classes_that_say_nothing_are_left_out():
    labels = np.repeat([0, 1, 2], 10)
    z = 5.0 * np.eye(3)[labels]
    everywhere = skewsize(z, labels, np.tile([0, 1], 15))
    assert everywhere.effects.tolist() == [0, 0, 0]
    assert np.isnan(everywhere.skewness)  # all equal
    apart = skewsize(z, labels, labels)
    assert apart.effects.isna().all()
    assert np.isnan(apart.skewness)


def test_errors_say_what_to_do(pair):
    large, small, labels = pair
    with pytest.raises(
        ValueError, match=r"groups must have shape \(400,\), one per image, not \(3,\)"
    ):
        agreement_by_group(large, small, labels, [1, 2, 3])
    with pytest.raises(ValueError, match="parts must be 1 or more, not 0"):
        agreement_by_confidence(large, small, labels, parts=0)
    with pytest.raises(ValueError, match=r"attribute must have shape \(400,\)"):
        skewsize(large, labels, [1, 2])
