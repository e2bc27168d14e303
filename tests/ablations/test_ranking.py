"""How temperatures reorder images: against double loops over pairs, ties among them."""

from itertools import combinations

import numpy as np
import pytest

from duokit.ablations.ranking import rank_changes, ranking_by_temperature, ranking_by_trust
from duokit.evaluation import fit_duo
from duokit.metrics.scores import score
from tests import oracles
from tests.ablations.samples import records, split


def slow_changes(a, b):
    """Return moved and swapped by looking at every pair."""

    def rank(values, i):
        return sum(v < values[i] for v in values) + (sum(v == values[i] for v in values) + 1) / 2

    pairs = list(combinations(range(len(a)), 2))
    swapped = sum((a[i] - a[j]) * (b[i] - b[j]) < 0 for i, j in pairs)
    moved = sum(rank(a, i) != rank(b, i) for i in range(len(a)))
    return {"moved": moved / len(a), "swapped": swapped / len(pairs)}


@pytest.mark.parametrize("values", [3, 8, 10**6])
def test_changes_are_those_of_a_loop_over_pairs(values):
    rng = np.random.default_rng(values)
    for n in (2, 3, 25):
        a, b = rng.integers(0, values, (2, n)).astype(float)
        assert rank_changes(a, b) == pytest.approx(slow_changes(a.tolist(), b.tolist()))


def test_the_ends_of_the_scale():
    a = np.arange(6.0)
    assert rank_changes(a, a**3) == {"moved": 0, "swapped": 0}
    assert rank_changes(a, -a) == {"moved": 1, "swapped": 1}
    assert rank_changes(np.ones(4), np.ones(4)) == {"moved": 0, "swapped": 0}
    assert rank_changes(np.ones(3), np.arange(3.0))["swapped"] == 0


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), ([1.0, np.nan], [1.0, 2.0])]
)
def test_what_cannot_be_ranked_is_refused(a, b):
    with pytest.raises(ValueError, match="expected two rows of as many numbers"):
        rank_changes(np.array(a), np.array(b))


def test_a_temperature_reorders_three_classes_and_never_two():
    for k, moves in ((2, False), (3, True)):
        large = records(200, k=k)["large"]
        table = ranking_by_temperature(large.logits, large.labels, factors=[0.5, 1, 2])
        assert table.loc[1.0, ["moved", "swapped"]].tolist() == [0, 0]
        assert (table.loc[[0.5, 2.0], "swapped"] > 0).all() == moves


def test_ranking_by_temperature_is_that_of_the_oracles():
    large = records(150)["large"]
    table = ranking_by_temperature(large.logits, large.labels, factors=[0.5, 3])
    y = large.labels.tolist()
    for factor, row in table.iterrows():
        z = factor * large.logits.astype(float)
        uncertainty = [1 - max(p) for p in oracles.softmax(z.tolist())]
        right = (z.argmax(1) == large.labels).tolist()
        assert row["nll"] == pytest.approx(oracles.nll(z.tolist(), y), rel=1e-5)
        assert row["auroc"] == pytest.approx(oracles.auroc(uncertainty, right), abs=1e-9)
        assert row["aurc"] == pytest.approx(oracles.aurc(uncertainty, right), abs=1e-9)
        before = [1 - max(p) for p in oracles.softmax(large.logits.tolist())]
        slow = slow_changes(before, uncertainty)
        assert row[["moved", "swapped"]].to_dict() == pytest.approx(slow, abs=1e-3)
    with pytest.raises(ValueError, match=r"factors must be numbers above 0, not \[0\]"):
        ranking_by_temperature(large.logits, large.labels, factors=[0])


@pytest.fixture(scope="module")
def halves():
    found = records(900)
    return [list(part.values()) for part in split({k: found[k] for k in ("large", "a")}, 400)]


def test_the_ends_of_the_trust_are_the_members(halves):
    val, test = halves
    table = ranking_by_trust(val, test, shares=[0, 1])
    found = fit_duo(val).answers(test)
    for share, name in ((0.0, "large"), (1.0, "small")):
        assert table.loc[share, "scale"] == pytest.approx(1, abs=1e-4)
        assert table.loc[share, "nll"] == pytest.approx(found[name].nll.mean(), rel=1e-5)
        assert table.loc[share, "accuracy"] == found[name].correct.mean()


def test_the_joint_fit_is_one_of_the_ratios(halves):
    val, test = halves
    duo = fit_duo(val)
    relative = duo.weights / duo.own_weights
    share = relative[1] / relative.sum()
    table = ranking_by_trust(val, test, shares=[share, 0.0])
    row = table.loc[share]
    assert row["scale"] == pytest.approx(relative.sum(), rel=1e-4)
    assert row["val_nll"] == pytest.approx(duo.fit.nll, abs=1e-7)
    assert row["swapped"] < 1e-4  # rounding may swap images that are all but equal
    large = score(np.float32(duo.own_weights[0]) * test[0].logits, test[0].labels).uncertainty
    joint = score(duo.logits(test), test[0].labels).uncertainty
    slow = slow_changes(joint.tolist(), large.tolist())
    assert table.loc[0.0, "swapped"] == pytest.approx(slow["swapped"], abs=1e-4)


def test_no_ratio_beats_the_joint_fit_on_val(halves):
    val, test = halves
    table = ranking_by_trust(val, test, shares=np.linspace(0, 1, 9))
    assert (table["val_nll"] >= fit_duo(val).fit.nll - 1e-7).all()
    for wrong in ([], [1.2]):
        with pytest.raises(ValueError, match=r"shares must lie in \[0, 1\]"):
            ranking_by_trust(val, test, shares=wrong)
