"""Alignment of maps: slow loops, scipy, what chance gives, and what must not change."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from duokit.trust.alignment import (
    alignment,
    alignment_difference,
    chance_jaccard,
    chance_levels,
    jaccard,
    spearman,
    top_parts,
)
from duokit.trust.maps import AttributionMaps

N, PARTS = 40, 12


@pytest.fixture
def maps():
    draw = np.random.default_rng(0)
    large = draw.normal(size=(N, PARTS))
    return {
        "large": large,
        "duo": large + 0.5 * draw.normal(size=(N, PARTS)),
        "small": large + 2.0 * draw.normal(size=(N, PARTS)),
    }


def top_set(row, k):
    """The k places of largest absolute value, by a loop."""
    places = [p for p in range(len(row)) if not np.isnan(row[p]) and row[p] != 0]
    return set(sorted(places, key=lambda p: -abs(row[p]))[:k])


@pytest.mark.parametrize("k", [1, 3, 11, 12, 50])
def test_jaccard_by_a_loop(maps, k):
    maps["small"][0, 3:] = 0
    maps["large"][1, 9:] = maps["small"][1, 9:] = np.nan
    found = jaccard(maps["large"], maps["small"], k=k)
    for row, value in enumerate(found):
        one, other = (top_set(maps[name][row], k) for name in ("large", "small"))
        assert value == pytest.approx(len(one & other) / len(one | other))


def test_sets_by_hand():
    values = np.array([[3.0, -4.0, 0.0, 1.0], [0, 0, 0, 2.0], [np.nan, 1.0, -5.0, np.nan]])
    assert top_parts(values, 2).tolist() == [
        [True, True, False, False], [False, False, False, True], [False, True, True, False],
    ]  # fmt: skip
    nothing = np.zeros((1, 4))
    assert jaccard(nothing, nothing, k=2).tolist() == [0.0]  # as published: an empty union


def test_jaccard_does_not_know_sign_scale_or_order(maps):
    one, other = maps["large"], maps["small"]
    found = jaccard(one, other, k=4)
    assert np.array_equal(jaccard(-3 * one, other, k=4), found)
    assert np.array_equal(jaccard(other, one, k=4), found)
    order = np.random.default_rng(1).permutation(PARTS)
    assert np.array_equal(jaccard(one[:, order], other[:, order], k=4), found)
    assert (jaccard(one, one, k=4) == 1).all()


@pytest.mark.parametrize(("parts", "k", "other"), [(6, 2, 2), (6, 3, 2), (7, 7, 3), (5, 0, 2)])
def test_chance_by_all_pairs_of_sets(parts, k, other):
    values = []
    for one in combinations(range(parts), k):
        for two in combinations(range(parts), other):
            values.append(len({*one} & {*two}) / len({*one} | {*two}))
    assert chance_jaccard(parts, k, other) == pytest.approx(np.mean(values))
    assert chance_jaccard(parts, other, k) == pytest.approx(np.mean(values))


def test_chance_at_the_sizes_of_the_paper():
    """The short form k / (2 parts - k) is near for small k, and above: it is no expectation."""
    for parts, k, short in [(196, 10, 0.026), (196, 30, 0.083), (49, 10, 0.114)]:
        assert k / (2 * parts - k) == pytest.approx(short, abs=5e-4)
        assert chance_jaccard(parts, k) == pytest.approx(short, rel=0.06)
    assert chance_jaccard(9, 9) == 1
    assert chance_jaccard(9, 0) == 0
    with pytest.raises(ValueError, match="cannot be drawn from 4"):
        chance_jaccard(4, 5)


def test_chance_is_what_random_maps_give():
    draw = np.random.default_rng(2)
    one, other = draw.normal(size=(2, 4000, 20))
    one[:, 15:] = other[:, 15:] = np.nan
    found = chance_levels(one, other, k=5)
    assert (found == chance_jaccard(15, 5)).all()
    assert jaccard(one, other, k=5).mean() == pytest.approx(found[0], abs=0.01)


def test_chance_counts_the_sets_that_there_are():
    one, other = np.zeros((2, 1, 6))
    one[0, :2] = 1
    other[0, :4] = 1
    assert chance_levels(one, other, k=3).tolist() == [chance_jaccard(6, 2, 3)]


def test_spearman_against_scipy(maps):
    maps["small"][2] = np.round(maps["small"][2])  # ties
    maps["large"][3, 5:] = maps["small"][3, 5:] = np.nan
    maps["small"][4] = 1
    maps["large"][5, 1:] = maps["small"][5, 1:] = np.nan
    found = spearman(maps["large"], maps["small"])
    for row in range(N):
        if row in (4, 5):  # all equal; one part alone
            assert np.isnan(found[row])
            continue
        known = ~np.isnan(maps["large"][row])
        pair = (maps[name][row][known] for name in ("large", "small"))
        assert found[row] == pytest.approx(spearmanr(*pair).statistic)


def test_the_table(maps):
    table = alignment(maps, k=[3, 5], resamples=50)
    assert list(table.columns) == [
        "first", "second", "measure", "k", "value", "low", "high", "images",
    ]  # fmt: skip
    assert len(table) == 3 * (2 * 3 + 1)
    rows = table.set_index(["first", "second", "measure", "k"]).sort_index()
    one, other = maps["large"], maps["small"]
    raw, chance = jaccard(one, other, k=5).mean(), chance_jaccard(PARTS, 5)
    pair = rows.loc["large", "small"]
    assert pair.loc[("jaccard", 5), "value"] == pytest.approx(raw)
    assert pair.loc[("chance", 5), "value"] == pytest.approx(chance)
    assert pair.loc[("adjusted", 5), "value"] == pytest.approx((raw - chance) / (1 - chance))
    spread = table[table["measure"] == "spearman"]
    assert spread["k"].isna().all()
    assert (spread["value"].to_numpy()[0] > spread["value"].to_numpy()[1]).all()
    assert (table["low"] <= table["value"] + 1e-12).all()
    assert (table["high"] >= table["value"] - 1e-12).all()
    assert (table["images"] == N).all()


def test_intervals_by_a_loop_and_the_same_resamples_for_all(maps):
    from duokit.metrics.intervals import resample_counts

    table = alignment(maps, k=3, resamples=200, seed=7, pairs=[("large", "small")], level=0.9)
    values = jaccard(maps["large"], maps["small"], k=3)
    means = []
    for counts in resample_counts(N, 200, seed=7):
        drawn = np.repeat(values, counts)
        assert len(drawn) == N
        means.append(drawn.mean())
    row = table[table["measure"] == "jaccard"].iloc[0]
    assert row["low"] == pytest.approx(np.quantile(means, 0.05))
    assert row["high"] == pytest.approx(np.quantile(means, 0.95))


def test_an_image_that_says_nothing_is_left_out(maps):
    for each in maps.values():
        each[0, 3:] = np.nan  # three parts: the top three are all of them
    table = alignment(maps, k=3, resamples=20, pairs=[("large", "small")]).set_index("measure")
    assert table.loc["jaccard", "images"] == N
    assert table.loc["adjusted", "images"] == N - 1
    raw = jaccard(maps["large"], maps["small"], k=3)[1:].mean()
    chance = chance_jaccard(PARTS, 3)
    assert table.loc["adjusted", "value"] == pytest.approx((raw - chance) / (1 - chance))


def test_order_of_images_changes_no_value(maps):
    order = np.random.default_rng(1).permutation(N)
    turned = {name: each[order] for name, each in maps.items()}
    one, other = (alignment(each, k=3, resamples=10)["value"] for each in (maps, turned))
    assert one.to_numpy() == pytest.approx(other.to_numpy())


def test_differences_are_paired(maps):
    table = alignment_difference(
        maps, ("large", "duo"), ("large", "small"), k=4, resamples=300, seed=1
    ).set_index("measure")
    near, far = (jaccard(maps["large"], maps[name], k=4) for name in ("duo", "small"))
    row = table.loc["jaccard"]
    assert row["value"] == pytest.approx(near.mean())
    assert row["other"] == pytest.approx(far.mean())
    assert row["difference"] == pytest.approx((near - far).mean())
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert table.loc["chance", "difference"] == 0
    same = alignment_difference(maps, ("large", "duo"), ("duo", "large"), k=4, resamples=9)
    assert (same[["difference", "low", "high"]] == 0).all(axis=None)


def test_records_are_compared_after_a_look_at_what_they_are(maps):
    about = {
        "targets": np.zeros(N, dtype=np.int64), "ids": tuple(f"{i}" for i in range(N)),
        "model": "net", "dataset": "toy", "explainer": {"explainer": "lime"}, "seed": 0,
        "regions": {"grid": 3},
    }  # fmt: skip
    kept = {n: AttributionMaps(values=v.astype(np.float32), **about) for n, v in maps.items()}
    plain = {name: each.values for name, each in kept.items()}
    assert alignment(kept, resamples=9).equals(alignment(plain, resamples=9))
    other = about | {"regions": {"grid": 4}}
    kept["small"] = AttributionMaps(values=kept["small"].values, **other)
    with pytest.raises(ValueError, match="'large' and 'small' differ in regions"):
        alignment(kept)


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        ({"small": np.ones((N, 3))}, {}, r"maps\['large'\] and maps\['small'\].*same parts"),
        ({"small": np.full((N, PARTS), np.nan)}, {}, "not of the same parts"),
        ({"small": np.full((N, PARTS), np.inf)}, {}, "finite or NaN"),
        ({"small": np.ones(PARTS)}, {}, "expected \\(images, parts\\)"),
        ({}, {"k": 0}, "k is 0"),
        ({}, {"pairs": [("large", "tiny")]}, "is no two of large, duo, small"),
    ],
)
def test_what_cannot_be_compared_is_refused(maps, change, options, text):
    with pytest.raises(ValueError, match=text):
        alignment(maps | change, resamples=3, **options)
    with pytest.raises(ValueError, match="needs two or more"):
        alignment({"large": maps["large"]})
