"""Yours beside theirs: the released code's numbers, and a verdict for each kind of benchmark."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from duokit import published
from duokit.evaluation import fit_duo
from duokit.fusion import combine
from duokit.metrics import score
from duokit.metrics.paper import paper_row
from duokit.reproduction import (
    PREDICTORS,
    TOLERANCES,
    beside_published,
    compare,
    gains_beside_published,
    share_of_the_way,
)
from tests.reproduction.samples import LARGE, SMALL, make_pair

PAIR = {"large": LARGE, "small": SMALL}
SMALL_SET = {"any_split": True, "resamples": 20, **PAIR}


@pytest.fixture(scope="module")
def records():
    return {
        part: make_pair(part, n=n, k=20, dataset="imagenet", seed=seed)
        for part, n, seed in (("val", 300, 1), ("test", 400, 2))
    }


@pytest.fixture(scope="module")
def table(records):
    return beside_published("imagenet", records["val"], records["test"], **SMALL_SET)


def per_class(row):
    """Return a row of the released code's metrics under the names of the comparison."""
    labels = {"brier": "brier_per_class"}
    return {labels.get(name, name): row[name] for name in compare.NAMES}


def yours(table, predictor):
    return table[table["predictor"] == predictor].set_index("metric")["yours"]


def test_a_duo_is_sure_of_the_large_models_class_and_an_unweighted_one_of_its_own(table, records):
    duo, test = fit_duo(records["val"]), records["test"]
    labels, at_large = test[0].labels, test[0].logits.argmax(1)
    z = [record.logits.astype(np.float32) for record in test]
    fused = combine("weighted", z, weights=duo.weights).logits
    mean = combine("unweighted", z, own_weights=duo.own_weights).logits
    wanted = {
        "duo": paper_row(fused, labels, confidence_class=at_large),
        "uq_only": paper_row(fused, labels, predictions=at_large, confidence_class=at_large),
        "unweighted": paper_row(mean, labels),
        "large_raw": paper_row(z[0], labels),
        "small": paper_row(np.float32(duo.own_weights[1]) * z[1], labels),
    }
    for name, row in wanted.items():
        assert yours(table, name).to_dict() == pytest.approx(per_class(row))
    assert yours(table, "uq_only")["accuracy"] == yours(table, "large_raw")["accuracy"]
    assert yours(table, "duo")["sac98"] == yours(table, "uq_only")["sac98"]


def test_published_values_are_the_authors_rows(table):
    rows = table.set_index(["predictor", "metric"])["published"]
    alone = published.single_models("imagenet")
    raw = published.single_models("imagenet", calibrated=False)
    pairs = published.duos("imagenet").set_index(["large", "small"])
    assert rows["large", "nll"] == rows["large_authors", "nll"] == alone.loc[LARGE, "nll"]
    assert rows["small_raw", "ece"] == raw.loc[SMALL, "ece"]
    assert rows["duo", "brier_per_class"] == pairs.loc[(LARGE, SMALL), "brier_per_class"]
    assert (table["difference"] == table["yours"] - table["published"]).all()
    assert set(table["verdict"]) == {"other images"}
    assert list(table["predictor"].unique()) == list(PREDICTORS)


def test_the_authors_weights_are_used_as_they_are(table, records):
    given = published.temperatures("imagenet").set_index(["large", "small"]).loc[(LARGE, SMALL)]
    z = [record.logits.astype(np.float32) for record in records["test"]]
    fused = given["weight_large"] * z[0] + given["weight_small"] * z[1]
    labels, at_large = records["test"][0].labels, z[0].argmax(1)
    wanted = paper_row(fused, labels, confidence_class=at_large)
    assert yours(table, "duo_authors")["nll"] == pytest.approx(wanted["nll"], rel=1e-5)
    alone = paper_row(z[0] / np.float32(given["divisor_single_large"]), labels)
    assert yours(table, "large_authors")["nll"] == pytest.approx(alone["nll"], rel=1e-5)


def test_the_shifted_sets_take_the_weights_of_their_val_split(records):
    found = beside_published("imagenet_v2", records["val"], records["test"], **SMALL_SET)
    assert yours(found, "duo_authors")["nll"] > 0


@pytest.fixture
def same(monkeypatch, records, table):
    """Make the authors' rows those of the records, so that all agrees but for what a test moves."""
    own = {name: yours(table, name) for name in PREDICTORS}

    def alone(_benchmark, *, calibrated=True, **_):
        names = {LARGE: "large", SMALL: "small"}
        end = "_authors" if calibrated else "_raw"
        return pd.DataFrame({model: own[name + end] for model, name in names.items()}).T

    def pairs(_benchmark, *, mode="weighted", **_):
        name = {"weighted": "duo_authors"}.get(mode, mode)
        return pd.DataFrame([{"large": LARGE, "small": SMALL, **own[name]}])

    monkeypatch.setattr(compare, "single_models", alone)
    monkeypatch.setattr(compare, "duos", pairs)
    monkeypatch.setattr(compare, "split_faults", lambda *_: [])
    return own


def run(records, benchmark="imagenet"):
    found = beside_published(benchmark, records["val"], records["test"], resamples=50, **PAIR)
    return found.set_index(["predictor", "metric"])


def test_the_same_networks_agree(same, records):
    verdicts = run(records)["verdict"]
    for name in ("large_raw", "small_raw", "large_authors", "small_authors", "duo_authors"):
        assert (verdicts[name].drop("sac98") == "agrees").all()
        assert verdicts[name, "sac98"] == "unknown"  # fewer than ten errors decide it here
    # fitted on val, so it cannot be worse there; on these images the authors' weights are far off
    assert verdicts["duo", "nll"] == "better"
    assert (verdicts["uq_only"].drop("sac98") == "agrees").all()


def test_networks_that_differ_are_seen(same, records):
    moved = dict.fromkeys(same["large_raw"].index, 0.0) | {"accuracy": 2 * TOLERANCES["accuracy"]}
    same["large_raw"] = same["large_raw"] + pd.Series(moved)
    verdicts = run(records)["verdict"]
    assert verdicts["large_raw", "accuracy"] == "differs"
    assert (verdicts["large_raw"].drop(["accuracy", "sac98"]) == "agrees").all()


def test_another_run_is_judged_by_the_draw_of_the_test_images(same, records):
    found = run(records, "caltech256")
    assert "duo_authors" not in found.index.get_level_values(0)
    row = found.loc["large_raw"]
    assert (row["verdict"].drop("sac98") == "within noise").all()
    n, share = len(records["test"][0].labels), row.loc["accuracy", "yours"]
    binomial = np.sqrt(2) * 1.96 * np.sqrt(share * (1 - share) / n)
    assert row.loc["accuracy", "tolerance"] == pytest.approx(binomial, rel=0.3)
    assert row.loc["brier_per_class", "tolerance"] < 0.1 / 20  # per class, as the value beside it
    same["large_raw"] = same["large_raw"] - pd.Series({"accuracy": 2 * binomial, "nll": -1.0})[
        ["accuracy", "nll"]
    ].reindex(same["large_raw"].index, fill_value=0.0)
    verdicts = run(records, "caltech256").loc["large_raw", "verdict"]
    assert verdicts["accuracy"] == "better"
    assert verdicts["nll"] == "better"


@pytest.mark.parametrize(
    ("metric", "difference", "weights", "final", "word"),
    [
        ("nll", -0.1, "fitted", True, "better"),
        ("nll", 0.1, "fitted", True, "worse"),
        ("accuracy", 0.1, "fitted", True, "better"),
        ("accuracy", -0.1, "none", True, "differs"),
        ("accuracy", 0.1, "authors", True, "differs"),
        ("accuracy", 0.1, "none", False, "better"),
        ("ece", 0.1, "fitted", False, "worse"),
        ("ece", 0.01, "fitted", False, "within noise"),
        ("ece", -0.01, "fitted", True, "agrees"),
    ],
)
def test_verdicts(metric, difference, weights, final, word):
    assert compare._verdict(metric, difference, 0.05, weights, final=final) == word


def test_other_pairs_and_other_pictures_are_refused(records):
    val, test = records["val"], records["test"]
    with pytest.raises(ValueError, match=r"no sidekick of ConvNeXt_Base 'EfficientNet_B9'; near"):
        beside_published("imagenet", val, test, large=LARGE, small="EfficientNet_B9")
    with pytest.raises(ValueError, match=r"300 images of 20 classes, the authors' 2,500 of 1,000"):
        beside_published("imagenet", val, test, **PAIR)
    with pytest.raises(ValueError, match="not the authors' images"):
        gains_beside_published("imagenet", val, test, **PAIR)
    with pytest.raises(ValueError, match="fitted for"):
        beside_published("imagenet", val, test[::-1], **SMALL_SET)


def test_gains_are_shares_of_the_way_with_an_interval(records):
    val, test = records["val"], records["test"]
    found = gains_beside_published("imagenet", val, test, **SMALL_SET | {"resamples": 300})
    duo, labels = fit_duo(val), test[0].labels
    z = [record.logits.astype(np.float32) for record in test]
    fused = combine("weighted", z, weights=duo.weights).logits
    scores = score(fused, labels, confidence_class=z[0].argmax(1))
    base = score(np.float32(duo.own_weights[0]) * z[0], labels)
    assert found["yours"].to_dict() == pytest.approx(share_of_the_way(scores, base))
    inside = found.drop(index=["ece", "sac98"])
    assert inside["yours"].between(inside["low"], inside["high"]).all()
    theirs = published.gains("imagenet").set_index(["large", "small"]).loc[(LARGE, SMALL)]
    assert found["published"].to_dict() == pytest.approx(theirs[list(found.index)].to_dict())
    assert set(found["verdict"]) == {"other images"}


def test_a_gain_agrees_where_the_published_one_lies_in_its_interval(same, records, monkeypatch):
    val, test = records["val"], records["test"]
    own = gains_beside_published("imagenet", val, test, resamples=50, **PAIR)
    theirs = own["yours"].to_dict() | {"nll": 0.99, "accuracy": -5.0}
    row = pd.DataFrame([PAIR | theirs])
    monkeypatch.setattr(compare, "published_gains", lambda *_, **__: row)
    found = gains_beside_published("imagenet", val, test, resamples=50, **PAIR)["verdict"]
    assert found["nll"] == "smaller"
    assert found["accuracy"] == "larger"
    assert found["auroc"] == "agrees"


def test_a_gain_of_few_errors_has_no_interval_and_no_verdict(same, records):
    val, test = records["val"], records["test"]
    right = [record.logits.astype(np.float32) for record in test]
    for logits in right:
        logits[np.arange(len(logits)), test[0].labels] += 20
    sure = [
        dataclasses.replace(record, logits=z.astype(np.float16))
        for record, z in zip(test, right, strict=True)
    ]
    found = gains_beside_published("imagenet", val, sure, resamples=50, **PAIR)
    assert found[["low", "high"]].isna().all(axis=None)
    assert set(found["verdict"]) == {"unknown"}
