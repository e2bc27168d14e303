"""Weights: the share of the trust, live and published, their errors, and few validation images."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from duokit import published
from duokit.ablations.temperatures import (
    bootstrap_weights,
    compare_errors,
    published_weights,
    summarise_sizes,
    trust_small,
    weights_by_val_size,
    weights_of_pairs,
)
from duokit.claims.on_published import relative_weights
from duokit.fusion.weights import fit_weights
from tests import oracles
from tests.ablations.samples import record, records, split


def pair(n=300, **options):
    found = records(n, **options)
    return found["large"], found["a"]


def test_the_share_of_the_trust():
    assert trust_small([1, 1], [1, 1]) == 0.5
    assert trust_small([2, 0], [1, 1]) == 0
    assert trust_small([0, 2], [1, 1]) == 1
    assert trust_small([3, 2], [1, 2]) == pytest.approx(1 / 4)
    assert trust_small([1, 0], [1, 0]) == 0  # useless, alone and together
    assert trust_small([0, 1], [0, 1]) == 1
    assert math.isnan(trust_small([0, 0], [1, 1]))
    assert math.isnan(trust_small([1, 1], [1, 0]))


@pytest.mark.parametrize(
    ("weights", "own"), [([1], [1, 1]), ([1, -1], [1, 1]), ([1, 1], [-1, 1]), ([1, 1], [1, 1, 1])]
)
def test_what_is_no_pair_of_weights_is_refused(weights, own):
    with pytest.raises(ValueError, match="expected two weights and two own weights, all >= 0"):
        trust_small(weights, own)


def test_the_share_does_not_depend_on_the_scale_of_logits():
    large, small = pair()
    louder = record(3 * small.logits, small.labels)
    table = weights_of_pairs({"as it is": (large, small), "louder": (large, louder)})
    assert table["trust_small"].iloc[0] == pytest.approx(table["trust_small"].iloc[1], rel=1e-5)
    assert table["weight_small"].iloc[0] == pytest.approx(
        3 * table["weight_small"].iloc[1], rel=1e-5
    )


def test_weights_of_pairs_are_those_of_an_optimiser():
    large, small = pair()
    row = weights_of_pairs({"one": (large, small)}).loc["one"]
    y = large.labels.tolist()

    def slow(members):
        stack = [z.astype(float) for z in members]
        found = minimize(
            lambda w: oracles.nll(sum(a * z for a, z in zip(w, stack, strict=True)).tolist(), y),
            np.full(len(stack), 0.5),
            bounds=[(0, None)] * len(stack),
        )
        return found.x

    joint = slow([large.logits, small.logits])
    own = np.r_[slow([large.logits]), slow([small.logits])]
    np.testing.assert_allclose(
        row[["weight_large", "weight_small"]].astype(float), joint, atol=1e-3
    )
    np.testing.assert_allclose(row[["own_large", "own_small"]].astype(float), own, atol=1e-3)
    a, b = joint / own
    assert row["trust_small"] == pytest.approx(b / (a + b), abs=1e-3)
    right = [sum(z.argmax() == c for z, c in zip(r.logits, y, strict=True)) for r in (large, small)]
    assert row["accuracy_gap"] == pytest.approx((right[0] - right[1]) / len(y))
    assert row["flops_balance"] == 0.5


def test_a_useless_sidekick_has_no_trust():
    large, useless = pair(600, knows=(1.5, 0.0), seed=4)
    row = weights_of_pairs({"one": (large, useless)}).loc["one"]
    assert row["trust_small"] == 0
    assert math.isnan(row["se_small"])
    with pytest.raises(ValueError, match="there is no pair"):
        weights_of_pairs({})


@pytest.mark.parametrize("benchmark", ["imagenet", "iwildcam", "caltech256"])
def test_published_shares_are_the_ratios_of_the_claims(benchmark):
    table = published_weights(benchmark).set_index(["large", "small"])
    ratio = relative_weights(benchmark).set_index(["large", "small"])["ratio"]
    np.testing.assert_allclose(
        table["trust_small"], 1 / (1 + ratio[table.index]), rtol=1e-4
    )  # the tables round weights and divisors
    alone = published.single_models(benchmark)["accuracy"]
    (large, small), row = next(table.iterrows())
    assert row["accuracy_gap"] == alone[large] - alone[small]
    assert not any(name.endswith("_greedy") for name, _ in table.index)


def test_bootstrap_draws_are_fits_of_drawn_rows():
    large, small = pair(80)
    members = [large.logits, small.logits]
    drawn = bootstrap_weights(members, large.labels, draws=3, seed=5)
    rng = np.random.default_rng(5)
    for row in drawn.to_numpy():
        places = rng.integers(0, 80, 80)
        fit = fit_weights([z[places] for z in members], large.labels[places])
        np.testing.assert_array_equal(row, fit.weights)
    assert list(drawn.columns) == ["large", "small"]
    three = bootstrap_weights([*members, large.logits[::-1]], large.labels, draws=2)
    assert list(three.columns) == ["large", "small", "member 3"]


def test_standard_errors_agree_with_the_bootstrap_on_many_images():
    large, small = pair(4000)
    members = [large.logits, small.logits]
    table = compare_errors(
        fit_weights(members, large.labels), bootstrap_weights(members, large.labels, draws=150)
    )
    np.testing.assert_allclose(table["standard_error"], table["bootstrap"], rtol=0.2)
    assert (table["low"] < table["weight"]).all()
    assert (table["weight"] < table["high"]).all()


def test_the_comparison_of_errors_holds_what_it_says():
    large, small = pair(100)
    fit = fit_weights([large.logits, small.logits], large.labels)
    drawn = pd.DataFrame({"large": [1.0, 2.0, 3.0], "small": [0.0, 0.0, 3.0]})
    table = compare_errors(fit, drawn)
    assert table["bootstrap"].tolist() == pytest.approx([1.0, math.sqrt(3)])
    assert table.loc["large", ["low", "high"]].tolist() == pytest.approx([1.05, 2.95])
    with pytest.raises(ValueError, match="the fit has 2 weights, the draws 1"):
        compare_errors(fit, drawn[["large"]])
    with pytest.raises(ValueError, match="draws must be 2 or more, not 1"):
        bootstrap_weights([large.logits], large.labels, draws=1)


@pytest.fixture(scope="module")
def halves():
    val, test = split(dict(zip(("large", "a"), pair(700), strict=True)), 300)
    return list(val.values()), list(test.values())


def test_each_size_is_fitted_on_as_many_images_and_judged_on_test(halves):
    val, test = halves
    table = weights_by_val_size(val, test, sizes=[40, 300], draws=3, seed=2)
    assert table["size"].tolist() == [40, 40, 40, 300]
    rows = np.random.default_rng(2).choice(300, 40, replace=False)
    fit = fit_weights([r.logits[rows] for r in val], val[0].labels[rows])
    alone = fit_weights([val[0].logits[rows]], val[0].labels[rows])
    first = table.iloc[0]
    assert [first["weight_large"], first["weight_small"]] == list(fit.weights)
    for column, some, weights in (
        ("nll", test, fit.weights),
        ("nll_large", test[:1], alone.weights),
    ):
        fused = sum(w * r.logits.astype(float) for w, r in zip(weights, some, strict=True))
        slow = oracles.nll(fused.tolist(), test[0].labels.tolist())
        assert first[column] == pytest.approx(slow, rel=1e-5)
    every = fit_weights([r.logits for r in val], val[0].labels).weights
    np.testing.assert_allclose(table.iloc[-1][["weight_large", "weight_small"]].tolist(), every)


def test_few_images_that_can_all_be_right_are_told_in_the_status(halves, recwarn):
    table = weights_by_val_size(*halves, sizes=[1], draws=8)
    assert (table["status"] != "optimal").any()
    assert not recwarn.list
    assert np.isfinite(table[["nll", "nll_large"]]).all(axis=None)


def test_sizes_are_summarised_by_quantiles():
    table = pd.DataFrame(
        {
            "size": [10] * 11 + [20],
            "nll": [*np.arange(11.0), 1.0],
            "nll_large": [9 - 1e-8] * 11 + [2.0],  # 9 is no worse, but for rounding
            "status": ["separable"] + ["optimal"] * 11,
        }
    )
    found = summarise_sizes(table)
    assert found.loc[10, ["value", "low", "high"]].tolist() == [5, 1, 9]
    assert found["draws"].tolist() == [11, 1]
    assert found["worse"].tolist() == pytest.approx([1 / 11, 0])
    assert found["optimal"].tolist() == pytest.approx([10 / 11, 1])


@pytest.mark.parametrize("size", [0, 301])
def test_sizes_that_cannot_be_drawn_are_refused(halves, size):
    with pytest.raises(ValueError, match=f"val has 300 images: a size of {size} cannot"):
        weights_by_val_size(*halves, sizes=[10, size])
