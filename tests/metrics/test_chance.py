"""Limits of a share, tests of a difference, corrections: SciPy, slow loops and values by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from duokit.metrics.chance import corrected, lower_limit, mcnemar, share_interval, spread_test


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


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_fraction(level):
    with pytest.raises(ValueError, match=r"95 % is 0\.95"):
        share_interval(1, 2, level=level)


def test_what_cannot_be_corrected_is_refused():
    with pytest.raises(ValueError, match="no column 'p_value'; give one that has p-values"):
        corrected(pd.DataFrame({"metric": ["a"]}))
    with pytest.raises(ValueError, match=r"holds 1\.5; a p-value lies in \[0, 1\]"):
        corrected(pd.DataFrame({"metric": ["a"], "p_value": [1.5]}))
