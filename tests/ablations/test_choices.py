"""What rules chose and how it did: against loops over made-up records and the authors' tables."""

import numpy as np
import pandas as pd
import pytest

from duokit import published
from duokit.ablations.choices import (
    NONE,
    RANDOM,
    RULES,
    SIMPLE,
    captured_by_budget,
    evaluate_choices,
    published_choices,
    summarise_choices,
)
from duokit.evaluation import fit_duo
from duokit.metrics.intervals import intervals
from tests.ablations.samples import records, split


def live(**options):
    val, test = split(records(900, **options), 300)
    found = {name: {"val": val[name], "test": test[name]} for name in val}
    return found.pop("large"), found


@pytest.fixture(scope="module")
def table():
    return evaluate_choices(*live(), resamples=100)


def test_one_row_a_budget_and_rule(table):
    assert sorted(set(table["budget"])) == [0.2, 0.5]
    assert table.groupby("budget")["rule"].apply(list).tolist() == [list(RULES)] * 2
    assert table.groupby("budget")["candidates"].first().tolist() == [2, 3]


def test_outcomes_are_those_of_duos_fitted_one_by_one(table):
    large, small = live()
    scores = {
        name: fit_duo([large["val"], r["val"]]).answers([large["test"], r["test"]])
        for name, r in small.items()
    }
    duos = {name: found["duo"] for name, found in scores.items()} | {NONE: scores["a"]["large"]}
    nll = {name: s.nll.mean() for name, s in duos.items()}
    for row in table[table["rule"] != RANDOM].itertuples():
        options = [n for n in small if small[n]["val"].flops <= row.budget * 1000] + [NONE]
        assert row.best == min(options, key=nll.get)
        assert row.chosen in options
        assert row.value == pytest.approx(nll[row.chosen], abs=1e-12)
        assert row.difference == pytest.approx(nll[row.chosen] - nll[row.best], abs=1e-12)
        gain = (nll[NONE] - nll[row.chosen]) / (nll[NONE] - nll[row.best])
        assert row.captured == pytest.approx(gain)
        assert row.is_best == (row.chosen == row.best)
        if row.chosen != row.best:
            told = intervals(duos[row.chosen], duos[row.best], metrics=["nll"], resamples=100)
            assert (row.low, row.high) == tuple(
                told.loc["nll", ["difference_low", "difference_high"]]
            )
        assert row.within == (row.low <= 0)


def test_the_simple_rules_do_what_they_are_called(table):
    _, small = live()
    picked = table[table["budget"] == 0.5].set_index("rule")["chosen"]
    assert picked["cheapest"] == "c"
    assert picked["dearest"] == "a"
    accuracy = {n: (r["val"].logits.argmax(1) == r["val"].labels).mean() for n, r in small.items()}
    assert picked["most accurate alone"] == max(accuracy, key=accuracy.get)


def test_the_random_choice_is_the_mean_over_the_affordable(table):
    row = table[(table["budget"] == 0.2) & (table["rule"] == RANDOM)].iloc[0]
    each = table[(table["budget"] == 0.2) & table["rule"].isin(["dearest", "cheapest"])]
    assert row["value"] == pytest.approx(each["value"].mean())  # two are affordable: these
    assert row["is_best"] == each["is_best"].mean()
    assert np.isnan(row["low"])


def test_where_nothing_helps_the_large_model_alone_is_chosen():
    found = evaluate_choices(*live(knows=(1.5, 0.0, 0.0, 0.0), seed=5), resamples=20)
    chosen = found.groupby("rule")["chosen"].first()
    assert (chosen[list(RULES[:3])] == NONE).all()
    assert (found["difference"] >= 0).all()


def test_fewer_than_two_candidates_are_no_choice():
    large, small = live()
    with pytest.raises(ValueError, match="give two or more"):
        evaluate_choices(large, {"a": small["a"]})


@pytest.fixture(scope="module", params=["imagenet", "iwildcam_shifted"])
def theirs(request):
    return request.param, published_choices(request.param)


def test_the_authors_tables_are_judged_as_a_loop_would(theirs):
    benchmark, found = theirs
    alone, pairs = published.single_models(benchmark), published.duos(benchmark)
    for row in found.iloc[:: len(found) // 40].itertuples():
        some = pairs[(pairs["large"] == row.large) & (pairs["flops_balance"] <= row.budget)]
        nll = dict(zip(some["small"], some["nll"], strict=True))
        assert row.candidates == len(nll)
        base = alone.loc[row.large, "nll"]
        best = min(*nll.values(), base)
        assert row.best_value == best
        if row.rule == RANDOM:
            assert row.value == pytest.approx(np.mean(list(nll.values())))
            continue
        ask = {
            "lowest own NLL": lambda n: alone.loc[n, "nll"],
            "most accurate alone": lambda n: -alone.loc[n, "accuracy"],
            "dearest": lambda n: -alone.loc[n, "flops"],
            "cheapest": lambda n: alone.loc[n, "flops"],
        }[row.rule]
        assert ask(row.chosen) == min(ask(n) for n in nll)
        assert row.captured == pytest.approx((base - nll[row.chosen]) / (base - best))


def test_a_metric_that_is_better_when_higher_is_turned_round():
    found = published_choices("imagenet", metric="accuracy")
    assert (found["difference"] >= 0).all()
    top = published.duos("imagenet").groupby("large")["accuracy"].max()
    best = found.groupby("large")["best_value"].min()
    np.testing.assert_allclose(best[top.index], 1 - top)


def test_no_soup_is_a_large_model():
    assert not published_choices("caltech256")["large"].str.endswith("_greedy").any()


def test_summaries_are_means_over_cases(table):
    found = summarise_choices(table)
    assert list(found.index) == list(RULES)
    some = table[table["rule"] == "dearest"]
    assert found.loc["dearest", "cases"] == 2
    for column in ("is_best", "within", "captured", "difference"):
        assert found.loc["dearest", column] == pytest.approx(some[column].mean())
    assert found.loc["dearest", "worst"] == some["difference"].max()
    assert "within" not in summarise_choices(published_choices("imagenet"))


def test_budgets_fall_into_their_bins(table):
    found = captured_by_budget(table, [0, 0.2, 0.4, 1])
    assert list(found.columns) == [0.2, 0.4, 1]
    assert found[0.4].isna().all()
    row = table[(table["rule"] == "cheapest") & (table["budget"] == 0.2)]
    assert found.loc["cheapest", 0.2] == pytest.approx(row["captured"].item())


def test_what_cannot_be_done_is_said():
    with pytest.raises(ValueError, match="the table is empty"):
        summarise_choices(pd.DataFrame({"rule": []}))
    with pytest.raises(ValueError, match="metric is 'mce'; choose from accuracy"):
        published_choices("imagenet", metric="mce")
    assert list(SIMPLE) == list(RULES[3:-1])
