"""Limits of a share, tests of a difference, corrections: SciPy, slow loops and values by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from duokit.metrics.chance import (
    corrected,
    lower_limit,
    mcnemar,
    paired_interval,
    share_interval,
    spread_test,
)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_of_a_share_are_scipys(level):
    counts, images = np.array([0, 1, 7, 30, 40]), np.array([5, 9, 7, 40, 41])
    low, high = share_interval(counts, images, level=level)
    for found in zip(counts.tolist(), images.tolist(), low, high, strict=True):
        exact = stats.binomtest(*found[:2]).proportion_ci(level, method="exact")
        assert found[2:] == pytest.approx((exact.low, exact.high))


def test_the_lower_limit_leaves_so_much_luck():
    assert lower_limit([0, 7], 7, 0.95).tolist() == pytest.approx([0, 0.05 ** (1 / 7)])
    assert stats.binom.sf(29, 40, lower_limit(30, 40, 0.95)) == pytest.approx(0.05)


@pytest.mark.promise("intervals")
@pytest.mark.parametrize("n", [1, 2, 3, 20, 50, 200])
def test_the_interval_of_a_share_holds_it_as_often_as_it_says(n):
    """Exact: every number of right answers, weighed by how likely it is."""
    right = np.arange(n + 1)
    low, high = share_interval(right, n)
    for share in (0.001, 0.02, 0.3, 0.5, 0.9, 0.98, 0.99, 0.999):
        holds = (low <= share) & (share <= high)
        assert stats.binom.pmf(right[holds], n, share).sum() >= 0.95, share
    assert (low <= right / n).all()
    assert (right / n <= high).all()


def trinomial(n, gained, lost):
    """Return every (gained, lost) of n images and how likely it is, by two binomials."""
    more, fewer = (each.ravel() for each in np.indices((n + 1, n + 1)))
    more, fewer = more[more + fewer <= n], fewer[more + fewer <= n]
    rest = lost / (1 - gained)
    return (
        more,
        fewer,
        stats.binom.pmf(more, n, gained) * stats.binom.pmf(fewer, n - more, rest),
    )


@pytest.mark.promise("intervals")
@pytest.mark.parametrize("n", [1, 2, 3, 20, 50, 100])
def test_the_interval_of_a_paired_difference_holds_it_as_often_as_it_says(n):
    shares = [(0.001, 0.001), (0.01, 0.01), (0.02, 0.0), (0.03, 0.01), (0.1, 0.05), (0.3, 0.0)]
    for gained, lost in [*shares, (0.2, 0.05), (0.5, 0.2), (0.05, 0.1), (0.0, 0.02)]:
        more, fewer, chance = trinomial(n, gained, lost)
        assert chance.sum() == pytest.approx(1)
        low, high = paired_interval(more, fewer, n)
        true = gained - lost
        holds = (low <= true + 1e-12) & (true - 1e-12 <= high)
        assert chance[holds].sum() > 0.94, (gained, lost)


def test_the_interval_of_a_paired_difference_by_hand():
    low, high = paired_interval(36, 6, 100)  # (37 - 7) / 102 and 44 / 102
    middle, half = 30 / 102, 1.959964 * ((44 / 102 - (30 / 102) ** 2) / 102) ** 0.5
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert paired_interval(6, 36, 100) == pytest.approx((-high, -low))
    low, high = paired_interval(0, 0, [10, 1000])
    assert high.tolist() == pytest.approx([1.959964 * 2**0.5 / 12, 1.959964 * 2**0.5 / 1002])
    assert (low == -high).all()
    assert paired_interval(1, 0, 1)[1] == 1
    assert paired_interval(0, 1, 1)[0] == -1


@pytest.mark.parametrize("level", [0.1, 0.5, 0.95])
def test_the_interval_of_a_paired_difference_holds_the_difference(level):
    for n in (1, 3, 40):
        more, fewer, _ = trinomial(n, 0.1, 0.1)
        low, high = paired_interval(more, fewer, n, level=level)
        assert (low <= (more - fewer) / n).all()
        assert ((more - fewer) / n <= high).all()
        assert (low >= -1).all()
        assert (high <= 1).all()


def test_where_mcnemar_is_sure_so_is_the_interval():
    more, fewer, _ = trinomial(40, 0.1, 0.1)
    low, high = paired_interval(more, fewer, 40)
    sure = np.array([mcnemar(*pair) for pair in zip(more, fewer, strict=True)]) <= 0.05
    parted = (low > 0) | (high < 0)
    assert parted[sure].all()
    assert (parted & ~sure).mean() < 0.05


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1
    assert mcnemar(3, 3) == 1
    assert mcnemar(0, 5) == mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 64)


def test_the_spread_of_resamples():
    drawn = np.array([0.1, np.nan, 0.3, 0.2])
    assert spread_test(0.2, drawn) == pytest.approx(2 * stats.norm.sf(2.0))
    assert spread_test(-0.2, drawn) == pytest.approx(spread_test(0.2, drawn))
    assert np.isnan(spread_test(np.nan, drawn))
    assert np.isnan(spread_test(0.1, drawn[:2]))
    assert spread_test(0.1, np.array([0.0, 0.2, np.nan])) > 0
    assert spread_test(0.0, np.zeros(3)) == 1
    assert spread_test(0.1, np.full(3, 0.5)) == 0


def holm_by_hand(p):
    found, largest = {}, 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, (len(p) - rank) * p[place])
        found[place] = min(1.0, largest)
    return [found[place] for place in range(len(p))]


def test_corrections_within_each_metric():
    random = np.random.default_rng(2)
    table = pd.DataFrame(
        {"metric": list("abab") * 5 + ["a"], "p_value": random.uniform(size=21) ** 3}
    )
    table.loc[4, "p_value"] = np.nan
    found = corrected(table.sample(frac=1, random_state=0)).sort_index()
    for metric in "ab":
        mine = found[(found["metric"] == metric) & found["p_value"].notna()]
        p = mine["p_value"].to_numpy()
        np.testing.assert_allclose(mine["p_bh"], stats.false_discovery_control(p))
        np.testing.assert_allclose(mine["p_holm"], holm_by_hand(p))
        assert (mine["p_holm"] >= mine["p_bh"]).all()
        assert (mine["p_bh"] >= mine["p_value"]).all()
    assert np.isnan(found.loc[4, ["p_bh", "p_holm"]].to_numpy(float)).all()


def test_all_rows_can_be_one_family():
    table = pd.DataFrame({"metric": list("ab"), "p_value": [0.01, 0.04]})
    found = corrected(table, by=())
    assert found["p_holm"].tolist() == pytest.approx([0.02, 0.04])
    assert corrected(table)["p_holm"].tolist() == [0.01, 0.04]


@pytest.mark.promise("inputs")
@pytest.mark.parametrize(
    "index", [[0, 1, 0, 1, 0], [7, 7, 7, 7, 7], list("vwxyz"), [(0, 1)] * 5], ids=str
)
def test_the_index_may_repeat(index):
    """pd.concat of two tables leaves one: the families are told apart by the columns alone."""
    plain = pd.DataFrame({"metric": list("abaab"), "p_value": [0.001, 0.5, 0.04, np.nan, 0.02]})
    expected = corrected(plain)
    found = corrected(plain.set_axis(pd.Index(index, tupleize_cols=False)))
    assert found["p_bh"].tolist()[:3] == [0.002, 0.5, 0.04]
    assert found.index.tolist() == index
    for name in ("p_bh", "p_holm"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.promise("inputs")
@pytest.mark.parametrize(
    "keys",
    [
        [10.0, np.nan, 10.0, np.nan],
        pd.array([10, None, 10, None], dtype="Int64"),
        ["x", None, "x", None],
        pd.Categorical(["x", None, "x", None], categories=["w", "x"]),
    ],
    ids=["nan", "NA", "None", "category"],
)
def test_a_missing_key_is_a_family_of_its_own(keys):
    table = pd.DataFrame({"k": keys, "p_value": [0.01, 0.01, 0.02, 0.03]})
    found = corrected(table, by=["k"])
    assert found["p_holm"].tolist() == [0.02, 0.02, 0.02, 0.03]
    assert found["p_bh"].tolist() == [0.02, 0.02, 0.02, 0.03]
    pd.testing.assert_frame_equal(corrected(table, by="k"), found)


@pytest.mark.promise("inputs")
def test_nullable_p_values():
    table = pd.DataFrame({"metric": "a", "p_value": pd.array([0.01, None, 0.03], dtype="Float64")})
    found = corrected(table)
    np.testing.assert_array_equal(found["p_holm"], [0.02, np.nan, 0.03])
    assert "p_bh" not in table  # what was given stays as it is
    assert corrected(table.iloc[:0])["p_holm"].tolist() == []
    twice = corrected(found.assign(p_bh=7.0))
    np.testing.assert_array_equal(twice["p_bh"], found["p_bh"])


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_fraction(level):
    with pytest.raises(ValueError, match=r"95 % is 0\.95"):
        share_interval(1, 2, level=level)
    with pytest.raises(ValueError, match=r"95 % is 0\.95"):
        paired_interval(1, 0, 2, level=level)


def test_what_cannot_be_corrected_is_refused():
    with pytest.raises(ValueError, match="no column 'p_value'; give one that has p-values"):
        corrected(pd.DataFrame({"metric": ["a"]}))
    with pytest.raises(ValueError, match=r"holds 1\.5; a p-value lies in \[0, 1\]"):
        corrected(pd.DataFrame({"metric": ["a"], "p_value": [1.5]}))
