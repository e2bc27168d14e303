"""The choice of a sidekick: against slow loops, and where there is little or nothing to choose."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from duokit.ablations.select import (
    choose,
    cross_fitted,
    judge_candidates,
    pareto_front,
    select_sidekick,
)
from tests import oracles
from tests.ablations.samples import record, records


def parts(given):
    given = dict(given)
    return given.pop("large"), given


@pytest.fixture(scope="module")
def judged():
    return judge_candidates(*parts(records()), alpha=1.0)


def slow_nll(members, labels, weights):
    fused = sum(w * z.astype(float) for w, z in zip(weights, members, strict=True))
    return oracles.nll(fused.tolist(), labels.tolist())


def test_each_image_is_answered_with_weights_of_the_other_folds():
    given = records(60)
    members, labels = [given["large"].logits, given["a"].logits], given["large"].labels
    fused = cross_fitted(members, labels, folds=3, seed=7)
    fold = np.random.default_rng(7).permutation(60) % 3
    for number in range(3):
        rest = fold != number
        best = minimize(
            lambda w, rest=rest: slow_nll([z[rest] for z in members], labels[rest], w),
            [0.5, 0.5],
            bounds=[(0, None)] * 2,
        )
        wanted = sum(w * z[~rest] for w, z in zip(best.x, members, strict=True))
        np.testing.assert_allclose(fused[~rest], wanted, atol=2e-3)


def test_folds_are_of_equal_size_up_to_one_image():
    sizes = np.bincount(np.random.default_rng(0).permutation(11) % 3)
    assert set(sizes) == {3, 4}


def test_values_gains_and_errors_are_those_of_loops(judged):
    large, candidates = parts(records())
    y = large.labels
    alone = cross_fitted([large.logits], y)
    duo = cross_fitted([large.logits, candidates["a"].logits], y)
    nll = [
        [oracles.nll([row], [c]) for row, c in zip(z.tolist(), y, strict=True)]
        for z in (duo, alone)
    ]
    gains = [b - a for a, b in zip(*nll, strict=True)]
    mean = math.fsum(gains) / len(gains)
    spread = math.sqrt(math.fsum((g - mean) ** 2 for g in gains) / (len(gains) - 1))
    row = judged.loc["a"]
    assert row["nll"] == pytest.approx(math.fsum(nll[0]) / len(y), rel=1e-6)
    assert row["gain_nll"] == pytest.approx(mean, rel=1e-5)
    assert row["se_nll"] == pytest.approx(spread / math.sqrt(len(y)), rel=1e-5)
    probs = [max(p) for p in oracles.softmax(duo.tolist())]
    correct = (duo.argmax(1) == y).tolist()
    assert row["augrc"] == pytest.approx(oracles.augrc([1 - p for p in probs], correct), abs=1e-9)
    assert row["own_accuracy"] == np.mean(candidates["a"].logits.argmax(1) == y)
    assert row["flops_balance"] == 0.5


def test_the_error_of_an_augrc_gain_shrinks_with_the_root_of_n():
    errors = [judge_candidates(*parts(records(n)), alpha=1.0)["se_augrc"]["a"] for n in (200, 3200)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.35)


def test_the_best_affordable_candidate_is_chosen_and_ranked_first(judged):
    for budget, wanted in ((1.0, "a"), (0.5, "a"), (0.4, "b")):
        found = choose(judged, budget=budget)
        assert list(found.index[found["chosen"]]) == [wanted]
        assert found.index[0] == wanted
        assert found["rank"].iloc[0] == 1
        assert (found["within_budget"] == (found["flops_balance"] <= budget)).all()
        assert found[found["rank"].notna()]["value"].is_monotonic_increasing
    assert not found.loc["a", "chosen"]
    assert pd.isna(found.loc["a", "rank"])


def test_both_steps_at_once_are_the_same(judged):
    large, candidates = parts(records())
    found = select_sidekick(large, candidates, budget=0.5, by="augrc", alpha=1.0)
    pd.testing.assert_frame_equal(found, choose(judged, budget=0.5, by="augrc"))
    assert found["value"]["a"] == judged["augrc"]["a"]


def test_a_useless_sidekick_fails_the_test_and_is_not_fitted():
    large, candidates = parts(records())
    found = select_sidekick(large, candidates, budget=1.0)
    assert not found.loc["c", "passed"]
    assert np.isnan(found.loc["c", "value"])
    assert not found.loc["c", "on_front"]
    assert pd.isna(found.loc["c", "rank"])


def test_where_all_are_useless_none_is_chosen():
    large, candidates = parts(records(knows=(1.5, 0.0, 0.0), seed=4))
    for alpha in (0.05, 1.0):  # with the filter open the cross-fitted gain must say it
        found = select_sidekick(large, candidates, budget=1.0, alpha=alpha)
        assert not found["chosen"].any()
        assert not found["on_front"].any()


def test_a_budget_below_the_cheapest_leaves_the_large_model_alone(judged):
    found = choose(judged, budget=0.05)
    assert not found["within_budget"].any()
    assert not found["chosen"].any()
    assert found["on_front"].equals(choose(judged, budget=1)["on_front"].loc[found.index])


def test_of_identical_candidates_the_cheaper_then_the_earlier_is_taken():
    large, candidates = parts(records(knows=(1.5, 1.0), flops=(1000, 500)))
    twin = candidates["a"]
    both = {"x": twin, "y": twin, "cheap": replace(twin, flops=200), "z": twin}
    found = select_sidekick(large, both, budget=1.0)
    assert list(found.index) == ["cheap", "x", "y", "z"]
    assert found["rank"].tolist() == [1, 2, 3, 4]
    assert found["on_front"].tolist() == [True, False, False, False]


def test_a_copy_of_the_large_model_says_nothing_new():
    large, _ = parts(records())
    with pytest.warns(UserWarning, match="it says nothing new"):
        found = select_sidekick(large, {"copy": large}, budget=1.0)
    assert found.loc["copy", "t"] == 0
    assert not found["chosen"].any()


def test_a_class_with_one_image_is_no_problem():
    labels = np.r_[np.zeros(1, int), np.random.default_rng(1).integers(1, 5, 120)]
    large, candidates = parts(records(labels=labels))
    found = select_sidekick(large, candidates, budget=1.0)
    assert found["chosen"].sum() == 1
    assert np.isfinite(found.loc[found["chosen"], ["value", "gain", "standard_error"]]).all(
        axis=None
    )


def test_the_order_of_candidates_and_classes_changes_nothing():
    large, candidates = parts(records())
    found = select_sidekick(large, candidates, budget=0.5)
    swapped = dict(reversed(candidates.items()))
    pd.testing.assert_frame_equal(
        found.sort_index(), select_sidekick(large, swapped, budget=0.5).sort_index()
    )
    turned = {
        name: record((r.logits + 3)[:, ::-1], 4 - r.labels, flops=r.flops)
        for name, r in {"large": large, **candidates}.items()
    }
    other = select_sidekick(*parts(turned), budget=0.5)
    assert list(other.index) == list(found.index)
    np.testing.assert_allclose(other["value"], found["value"], rtol=1e-5)


def test_the_front_is_that_of_a_double_loop():
    rng = np.random.default_rng(0)
    for _ in range(30):
        cost, value = (pd.Series(rng.integers(0, 5, 8).astype(float)) for _ in range(2))
        value[rng.random(8) < 0.2] = np.nan
        front = pareto_front(cost, value)
        for i in range(8):
            beaten = any(
                cost[j] <= cost[i]
                and value[j] <= value[i]
                and (cost[j] < cost[i] or value[j] < value[i])
                for j in range(8)
            )
            assert front[i] == (not math.isnan(value[i]) and not beaten)


def test_the_seed_deals_the_folds():
    given = records(80)
    members, y = [given["large"].logits, given["a"].logits], given["large"].labels
    assert (cross_fitted(members, y, seed=1) == cross_fitted(members, y, seed=1)).all()
    assert (cross_fitted(members, y, seed=1) != cross_fitted(members, y, seed=2)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "budget must be a FLOPs balance above 0.*not 0"),
        ({"budget": math.nan}, "budget must be a FLOPs balance above 0"),
        ({"by": "ece"}, "by is 'ece'; expected one of nll, augrc"),
        ({"alpha": 0}, r"alpha must lie in \(0, 1\], not 0"),
        ({"folds": 1}, r"folds must be 2 \.\.\. 400.*not 1"),
        ({"folds": 401}, r"folds must be 2 \.\.\. 400.*not 401"),
    ],
)
def test_options_that_make_no_sense_are_refused(change, message):
    large, candidates = parts(records())
    with pytest.raises(ValueError, match=message):
        select_sidekick(large, candidates, **({"budget": 0.5} | change))


def test_records_that_cannot_be_compared_are_refused():
    large, candidates = parts(records())
    with pytest.raises(ValueError, match="there is no candidate"):
        judge_candidates(large, {})
    with pytest.raises(ValueError, match="has no FLOPs: count them"):
        judge_candidates(large, {"a": replace(candidates["a"], flops=None)})
    with pytest.raises(ValueError, match="hold other images"):
        judge_candidates(large, {"a": candidates["a"].rows(large.ids[:50])})
    with pytest.raises(ValueError, match=r"folds must be 2 \.\.\. 400"):
        cross_fitted([large.logits], large.labels, folds=1000)
