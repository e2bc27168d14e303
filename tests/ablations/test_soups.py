"""Soups and ensembles beside a sidekick: against slow loops, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from duokit import published
from duokit.ablations.soups import (
    KINDS,
    PAPER_SOUP,
    compare_groups,
    ingredients,
    members_to_match,
    published_soup_duos,
    published_soups,
)
from duokit.evaluation import fit_duo
from duokit.metrics.intervals import intervals, resample_counts
from tests import oracles
from tests.ablations.samples import records, split

RESAMPLES = 40
HOW = {"metrics": ["accuracy", "nll"], "resamples": RESAMPLES}


@pytest.fixture(scope="module")
def parts():
    """Return large, a, b and c by name, each with its val and test."""
    val, test = split(records(400), 150)
    return {name: {"val": val[name], "test": test[name]} for name in val}


@pytest.fixture(scope="module")
def compared(parts):
    groups = {
        "a": [parts["a"]],
        "b": [parts["b"]],
        "c": [parts["c"]],
        "duo": [parts["large"], parts["a"]],
    }
    return compare_groups(groups, {"c": ["a", "b"], "duo": ["a"]}, **HOW)


def test_values_are_those_of_a_duo_and_of_a_model_at_its_own_temperature(parts, compared):
    duo = fit_duo([parts["large"]["val"], parts["a"]["val"]])
    answers = duo.answers([parts["large"]["test"], parts["a"]["test"]])
    for group, scores in (("duo", answers["duo"]), ("a", answers["small"])):
        nll = oracles.nll(scores.logits.tolist(), parts["a"]["test"].labels.tolist())
        assert compared.loc[(group, "nll"), "value"] == pytest.approx(nll, abs=1e-5)
        assert compared.loc[(group, "accuracy"), "value"] == pytest.approx(scores.correct.mean())


def test_against_one_rival_the_interval_is_that_of_intervals(parts, compared):
    duo = fit_duo([parts["large"]["val"], parts["a"]["val"]])
    found = duo.answers([parts["large"]["test"], parts["a"]["test"]])
    wanted = intervals(found["duo"], found["small"], **HOW)
    for column in ("value", "low", "high", "baseline", "difference", "difference_low"):
        np.testing.assert_allclose(compared.loc["duo"][column], wanted[column], atol=1e-6)


def test_against_several_the_metrics_are_averaged_not_the_answers(parts, compared):
    nll = compared.xs("nll", level="metric")
    assert nll["baseline"]["c"] == pytest.approx((nll["value"]["a"] + nll["value"]["b"]) / 2)
    each = {}
    for name in "abc":
        duo = fit_duo([parts["large"]["val"], parts[name]["val"]])
        scores = duo.answers([parts["large"]["test"], parts[name]["test"]])["small"]
        each[name] = scores.nll
    counts = resample_counts(250, RESAMPLES, seed=0).astype(float)
    less = each["c"] - (each["a"] + each["b"]) / 2
    drawn = sorted(sum(c * d for c, d in zip(row, less, strict=True)) / 250 for row in counts)
    wanted = np.quantile(drawn, [0.025, 0.975])
    ends = nll.loc["c", ["difference_low", "difference_high"]].to_numpy(dtype=float)
    np.testing.assert_allclose(ends, wanted, atol=1e-6)


def test_flops_are_added_and_unknown_ones_stay_unknown(parts, compared):
    assert set(compared.loc["duo", "flops"]) == {1500.0}
    none = {part: replace(record, flops=None) for part, record in parts["a"].items()}
    table = compare_groups({"duo": [parts["large"], none]}, {}, **HOW)
    assert table["flops"].isna().all()


def test_says_knows_which_way_is_better(compared):
    assert set(compared.loc["a", "says"]) == {""}
    assert compared.loc["a", ["baseline", "difference", "difference_low"]].isna().all(axis=None)
    assert list(compared.loc["duo", "says"]) == ["better", "better"]
    assert list(compared.loc["c", "says"]) == ["worse", "worse"]


def test_a_group_against_itself_differs_by_nothing_and_is_open(parts):
    groups = {"a": [parts["a"]], "again": [parts["a"]]}
    table = compare_groups(groups, {"again": ["a"]}, **HOW).loc["again"]
    assert (table[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    assert set(table["says"]) == {"open"}


def test_the_order_of_groups_changes_nothing(parts, compared):
    groups = {"duo": [parts["large"], parts["a"]], "a": [parts["a"]]}
    table = compare_groups(groups, {"duo": ["a"]}, **HOW)
    pd.testing.assert_frame_equal(table.loc[["duo"]], compared.loc[["duo"]])


@pytest.mark.parametrize(
    ("groups", "against", "options", "error", "words"),
    [
        ({}, {}, {}, ValueError, "groups is empty"),
        ({"a": []}, {}, {}, ValueError, "group 'a' is empty"),
        ({"a": ["a"]}, {"a": ["x"]}, {}, KeyError, "'x' is no group"),
        ({"a": ["a"]}, {"x": ["a"]}, {}, KeyError, "'x' is no group"),
        ({"a": ["a"]}, {}, {"metrics": ["nll", "nll"]}, ValueError, "'nll' is asked for twice"),
        ({"a": ["a"]}, {}, {"metrics": ["speed"]}, ValueError, "unknown metric"),
        ({"a": ["a"]}, {}, {"part": "shifted"}, KeyError, "shifted"),
    ],
)
def test_what_cannot_be_compared_is_refused(parts, groups, against, options, error, words):
    groups = {name: [parts[member] for member in members] for name, members in groups.items()}
    with pytest.raises(error, match=words):
        compare_groups(groups, against, **{**HOW, **options})


def test_other_images_are_refused_even_between_groups(parts):
    other = {part: record.rows(record.ids[::-1]) for part, record in parts["b"].items()}
    with pytest.raises(ValueError, match="image"):
        compare_groups({"a": [parts["a"]], "b": [other]}, {}, **HOW)


TRIED = [
    {"trial": 1, "lr": 0.1, "weight_decay": 0, "val_score": 0.9, "accepted": True, "change": 0},
    {"trial": 0, "lr": 0.2, "weight_decay": 0, "val_score": 0.8, "accepted": False, "change": None},
]


def test_ingredients_are_as_the_record_has_them(parts):
    listed = [
        entry | {"soup_score": score} for entry, score in zip(TRIED, (0.9, None), strict=True)
    ]
    table = ingredients(replace(parts["a"]["val"], config={"ingredients": listed}))
    assert list(table.index) == [1, 0]
    assert list(table["accepted"]) == [True, False]
    assert table["soup_score"][1] == 0.9
    assert math.isnan(table["soup_score"][0])


def test_a_record_without_ingredients_is_refused(parts):
    with pytest.raises(ValueError, match="names no ingredients"):
        ingredients(parts["a"]["val"])


def test_published_soups_are_the_authors_rows():
    table = published_soups(["accuracy", "nll"])
    alone = published.single_models("caltech256")
    for model, kind in table.index:
        assert table.loc[(model, kind), "nll"] == alone.loc[model + KINDS[kind], "nll"]
    assert len(table) == 6
    assert 1 < PAPER_SOUP["kept"] < PAPER_SOUP["tried"]


def test_gains_over_soups_are_those_of_a_loop():
    table = published_soup_duos(["accuracy", "nll"]).set_index(["metric", "small"])
    alone = published.single_models("caltech256")
    ours = published.gains("caltech256", soups=True).set_index(["large", "small"])
    duos = published.duos("caltech256").set_index(["large", "small"])
    for (metric, small), row in table.iterrows():
        value = duos.loc[("ConvNeXt_Base", small), metric]
        soup = alone.loc["ConvNeXt_Base_greedy", metric]
        assert row["instead"] == pytest.approx((value - soup) / ((metric == "accuracy") - soup))
        for kind, large in (("regular", "ConvNeXt_Base"), ("greedy", "ConvNeXt_Base_greedy")):
            assert row[kind] == duos.loc[(large, small), metric]
            assert row[f"gain_{kind}"] == pytest.approx(ours.loc[(large, small), metric])
    assert table.loc["nll", "flops_balance"].is_monotonic_increasing


def test_members_are_counted_as_a_loop_counts_them():
    table = members_to_match(["accuracy", "aurc"])
    every = published.deep_ensembles()
    every = every[every["uncertainty"] == "softmax_response"]
    duos = published.duos("caltech256").set_index(["large", "small"]).loc["ConvNeXt_Base"]
    for small, row in table.iterrows():
        for metric, sign in (("accuracy", 1), ("aurc", -1)):
            first = math.nan
            for _, ensemble in every.sort_values("members").iterrows():
                if sign * ensemble[metric] >= sign * duos.loc[small, metric]:
                    first = ensemble["members"]
                    break
            assert row[metric] == first or (math.isnan(row[metric]) and math.isnan(first))
    assert table["flops_balance"].is_monotonic_increasing


@pytest.mark.parametrize("ask", [published_soups, published_soup_duos, members_to_match])
def test_an_unknown_or_missing_metric_is_refused(ask):
    with pytest.raises(ValueError, match="unknown metric 'speed'"):
        ask(["speed"])
    with pytest.raises(ValueError, match="no metric"):
        ask([])
