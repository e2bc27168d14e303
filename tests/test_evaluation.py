"""From records to scores: the same numbers as by hand; records that do not match are refused."""

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from duokit.evaluation import (
    TITLES,
    better_member,
    compare_sidekicks,
    fit_duo,
    pooled_answers,
    sidekicks,
)
from duokit.fusion import MODES, fit_weights
from duokit.logits import make_record
from duokit.logits.record import AFTER_FILE
from duokit.metrics import intervals, score
from tests.fusion.duos import make_duo


def make_records(split: str, seed: int, members: int = 2, n: int = 200):
    logits, labels = make_duo(
        n, 5, seed=seed, signal=(2.0, 1.2, 0.7)[:members], scale=(1.5, 0.7, 2.0)[:members]
    )
    return [
        make_record(
            z, labels, model=f"net{j}", dataset="made up", split=split, resolution=32, flops=10**j
        )
        for j, z in enumerate(logits, start=1)
    ]


def size(j):
    return {"resolution": 32, "flops": 10**j, "parameters": 5 * j}


@pytest.fixture
def val():
    return make_records("val", 1)


@pytest.fixture
def test_split():
    return make_records("test", 2)


def test_scores_are_those_of_the_weighted_logits(val, test_split):
    duo = fit_duo(val)
    found = duo.answers(test_split)
    fused = sum(w * r.logits for w, r in zip(duo.weights, test_split, strict=True))
    labels = test_split[0].labels
    assert list(found) == ["large_raw", "large", "small", "duo"]
    assert found["duo"].nll == pytest.approx(
        -log_softmax(fused, axis=1)[np.arange(len(labels)), labels], abs=1e-5
    )
    assert np.asarray(duo.logits(test_split)) == pytest.approx(fused, abs=1e-5)


def test_members_are_at_their_own_temperatures(val, test_split):
    duo = fit_duo(val)
    own = fit_weights([val[1].logits], val[1].labels).weights[0]
    labels = test_split[0].labels
    expected = -log_softmax(own * test_split[1].logits, axis=1)[np.arange(len(labels)), labels]
    assert duo.answers(test_split)["small"].nll == pytest.approx(expected, abs=1e-5)


def test_every_mode_has_a_title_and_scores(val, test_split):
    found = fit_duo(val).answers(test_split, modes=MODES)
    assert set(found) == set(TITLES)
    large = test_split[0].logits.argmax(1)
    assert (found["uq_only"].predictions == large).all()


def test_more_than_two_members():
    duo = fit_duo(make_records("val", 1, members=3))
    assert duo.test is None
    assert duo.flops_balance == pytest.approx((100 + 1000) / 10)
    assert list(duo.costs().index) == ["large", "small", "member 3", "duo"]
    assert "duo" in duo.answers(make_records("test", 2, members=3))


def test_costs(val):
    duo = fit_duo(val)
    assert duo.flops_balance == pytest.approx(10)
    assert duo.costs().loc["duo", "flops"] == 110
    unknown = [val[0], dataclasses.replace(val[1], flops=None)]
    assert fit_duo(unknown).flops_balance is None
    assert np.isnan(fit_duo(unknown).costs().loc["duo", "flops"])


def test_better_member(val, test_split):
    found = fit_duo(val).answers(test_split)
    assert better_member(found) == "large"
    assert better_member({"large": found["small"], "small": found["large"]}) == "small"


@pytest.mark.promise("weights")
def test_a_member_worse_than_guessing_keeps_its_answers(val, test_split):
    def wrong(records):
        return [records[0], dataclasses.replace(records[1], logits=-records[1].logits)]

    with pytest.warns(UserWarning, match="net2@32 .* is worse than guessing .* labels"):
        duo = fit_duo(wrong(val))
    assert duo.own[1].weights[0] == 0
    assert duo.own_weights[1] == 1e-6
    expected = (test_split[1].logits.argmin(1) == test_split[1].labels).mean()
    found = duo.answers(wrong(test_split), modes=MODES)
    assert found["small"].correct.mean() == expected
    assert found["small"].nll == pytest.approx(np.log(5), abs=1e-4)
    assert pooled_answers([duo], [wrong(test_split)])["small"].correct.mean() == expected
    with pytest.warns(UserWarning, match="net1@32 .* is worse"):
        both = fit_duo([dataclasses.replace(r, logits=-r.logits) for r in val])
    turned = [dataclasses.replace(r, logits=-r.logits) for r in test_split]
    assert both.weights.tolist() == [0, 0]
    assert (both.answers(turned)["duo"].predictions == turned[0].logits.argmax(1)).all()
    pooled = pooled_answers([both], [turned])["duo"]
    assert (pooled.predictions == turned[0].logits.argmax(1)).all()


@pytest.mark.promise("any-records")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_images_give_a_duo_without_a_test(n):
    duo = fit_duo(make_records("val", 1, n=n))
    assert duo.test is None
    assert np.isfinite(duo.weights).all()


def test_refusals(val, test_split):
    with pytest.raises(ValueError, match="at least two records"):
        fit_duo(val[:1])
    duo = fit_duo(val)
    with pytest.raises(ValueError, match="fitted for net1@32"):
        duo.answers(test_split[::-1])
    with pytest.raises(ValueError, match="1 records given; the duo has 2"):
        duo.answers(test_split[:1])
    with pytest.raises(ValueError, match="row-0"):
        duo.answers([test_split[0], test_split[1].rows(test_split[1].ids[::-1])])
    with pytest.raises(ValueError, match="mode is 'nonsense'"):
        duo.answers(test_split, modes=("nonsense",))


def test_files_that_do_not_name_their_model(val, test_split):
    unnamed = {"resolution": None, "config": {"model": AFTER_FILE}}
    plain = [dataclasses.replace(r, model="some file", **unnamed) for r in test_split]
    expected = fit_duo(val).answers(test_split)["duo"].nll
    assert (fit_duo(val).answers(plain)["duo"].nll == expected).all()


def test_sidekicks_are_compared_one_by_one(val, test_split):
    large, small = ({"val": v, "test": t} for v, t in zip(val, test_split, strict=True))
    other = make_records("val", 5)[1], make_records("test", 6)[1]
    useless = {
        part: dataclasses.replace(small[part], logits=record.logits)
        for part, record in zip(("val", "test"), other, strict=True)
    }
    table = compare_sidekicks(large, {"good": small, "useless": useless}, resamples=200, seed=3)
    duo = fit_duo(val)
    found = duo.answers(test_split)
    expected = intervals(
        found["duo"], found["large"], metrics=["accuracy", "nll", "aurc"], resamples=200, seed=3
    )
    row = table.loc["good"]
    assert row[["accuracy", "nll", "aurc"]].tolist() == expected["difference"].tolist()
    assert row["low"] == expected.loc["nll", "difference_low"]
    assert row["high"] == expected.loc["nll", "difference_high"]
    assert row["flops_balance"] == 10
    assert row["alone"] == found["small"].correct.mean()
    assert row[["weight_large", "weight_small"]].tolist() == pytest.approx(duo.weights.tolist())
    assert table.index.tolist() == ["good", "useless"]
    assert row["nll"] < table.loc["useless", "nll"]
    with pytest.raises(ValueError, match="interval is 'ece'; expected one of accuracy, nll, aurc"):
        compare_sidekicks(large, {"good": small}, interval="ece")


def test_folds_are_scored_together(val, test_split):
    again = make_records("val", 7), make_records("test", 8)
    duos, tests = [fit_duo(val), fit_duo(again[0])], [test_split, again[1]]
    found = pooled_answers(duos, tests)
    labels = np.concatenate([records[0].labels for records in tests])
    assert list(found) == ["large", "small", "duo"]
    for name, scores in found.items():
        each = [duo.answers(records)[name] for duo, records in zip(duos, tests, strict=True)]
        assert scores.nll == pytest.approx(np.concatenate([one.nll for one in each]), abs=1e-6)
        assert len(scores) == len(labels)
    fused = np.concatenate([np.asarray(d.logits(r)) for d, r in zip(duos, tests, strict=True)])
    assert (found["duo"].confidence == score(fused, labels).confidence).all()
    with pytest.raises(ValueError, match="zip"):
        pooled_answers(duos, tests[:1])


@pytest.mark.promise("any-records")
def test_sidekicks_cost_less_or_were_chosen(val):
    costs = {"a": 10, "b": None, "c": 5, "d": 20, "e": 10}
    models = {name: dataclasses.replace(val[0], flops=cost) for name, cost in costs.items()}
    assert sidekicks(models, "a", "c") == ["c"]
    assert sidekicks(models, "a", "d") == ["c", "d"]
    assert sidekicks(models, "d", "b") == ["a", "b", "c", "e"]
    assert sidekicks(models, "b", "b") == ["b"]
    assert models["a"].gflops == 1e-8
    assert np.isnan(models["b"].gflops)


@pytest.mark.promise("any-records")
@pytest.mark.filterwarnings("error")
def test_confidences_of_classes_masked_by_the_lowest_number(val, test_split):
    """A weight above 1 must not push a mask to minus infinity; nothing else changes."""
    duo = fit_duo(val)
    assert duo.own_weights.max() > 1
    lowest = np.finfo(np.float32).min
    masked = []
    for record in test_split:
        logits = record.logits.astype(np.float32)
        logits[:, 4] = lowest
        masked.append(dataclasses.replace(record, logits=logits, labels=np.full(record.n, -1)))
    sure = duo.confidences(masked)
    for name, record, weight in zip(("large", "small"), test_split, duo.own_weights, strict=True):
        by_hand = softmax(weight * record.logits[:, :4].astype(float), axis=1).max(1)
        np.testing.assert_allclose(sure[name].confidence, by_hand, atol=1e-6)


@pytest.mark.promise("any-records")
def test_confidences_need_no_labels(val, test_split):
    duo, found = fit_duo(val), fit_duo(val).answers(test_split, modes=["weighted", "uq_only"])
    ood = [dataclasses.replace(r, labels=np.full(r.n, -1)) for r in test_split]
    sure = duo.confidences(ood)
    assert set(sure) == {"large", "small", "duo"}
    for name, got in sure.items():
        np.testing.assert_allclose(got.confidence, found[name].confidence, atol=1e-6)
    assert (duo.confidences(ood, mode="raw_mean")["duo"].confidence != sure["duo"].confidence).any()
    with pytest.raises(ValueError, match="2 members"):
        duo.confidences(ood[:1])
    assert duo.t == duo.test.t
    assert duo.p_value == duo.test.p_value
    assert np.isnan(dataclasses.replace(duo, test=None).t)
    assert np.isnan(dataclasses.replace(duo, test=None).p_value)
