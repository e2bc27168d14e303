"""Checks on the committed records: against the metrics themselves, and for known answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from duokit.claims import on_live, released
from duokit.claims.live import LivePair, live_pairs
from duokit.metrics.scores import score
from duokit.metrics.table import evaluate

ARTIFACTS = Path(__file__).parents[2] / "book" / "artifacts"


@pytest.fixture(scope="module")
def pairs():
    return live_pairs(ARTIFACTS)


def test_the_pairs_are_those_of_the_chapters(pairs):
    assert [pair.data for pair in pairs] == [
        "Caltech-101, probes", "Caltech-101, fine-tuned", *["Fashion-MNIST"] * 5, "ELPV"
    ]  # fmt: skip
    assert all(0 < pair.balance < 1 for pair in pairs)
    assert len({pair.title for pair in pairs}) == 8
    assert set(pairs[-1].parts) == {"test", *(f"shifted-fold-{fold}" for fold in range(5))}
    assert len(pairs[-1].parts["shifted-fold-3"]["duo"]) == 1074
    assert len(pairs[-1].parts["test"]["duo"]) == 1550  # every polycrystalline cell once


def test_differences_are_signed_so_that_more_is_better(pairs):
    pair = pairs[0]
    found = {f.group: f for f in on_live.differences(pair, ["accuracy", "nll"])}
    duo, large = (evaluate(pair.parts["test"][name]) for name in ("duo", "large"))
    assert found["accuracy"].value == pytest.approx(duo["accuracy"] - large["accuracy"])
    assert found["NLL"].value == pytest.approx(large["nll"] - duo["nll"])
    assert all(f.low <= f.value <= f.high for f in found.values())


def test_members_the_wrong_way_round_turn_every_sign(pairs):
    scores = pairs[1].parts["test"]
    turned = replace(pairs[1], parts={"test": {"duo": scores["large"], "large": scores["duo"]}})
    for one, other in zip(
        on_live.differences(pairs[1], ["nll", "aurc"]),
        on_live.differences(turned, ["nll", "aurc"]),
        strict=True,
    ):
        assert other.value == pytest.approx(-one.value)
        assert {one.says, other.says} == {"holds", "fails"}


def test_harm_counts_pairs(monkeypatch, pairs):
    scores = pairs[2].parts["test"]
    bad = replace(pairs[2], parts={"test": {"duo": scores["small"], "large": scores["large"]}})
    monkeypatch.setattr(on_live, "probe_pairs", lambda _: (pairs[0],))
    monkeypatch.setattr(on_live, "live_pairs", lambda _: (*pairs[:2], pairs[3], bad))
    found = {(f.data, f.group): f for f in on_live.harm(ARTIFACTS)}
    accuracy = found["Fashion-MNIST", "accuracy"]
    assert (accuracy.value, accuracy.says, accuracy.n) == (0.5, "fails", 2)
    assert found["Caltech-101, probes", "NLL"].says == "holds"


def test_entropy_ranks_as_scikit_learn_says(pairs):
    duo = pairs[5].parts["test"]["duo"]
    found = on_live.by_entropy(duo)
    probs = np.exp(duo.logits.double().log_softmax(1).numpy())
    entropy = -(probs * np.log(probs)).sum(1)
    assert found.uncertainty == pytest.approx(entropy / np.log(10))
    assert evaluate(found, ["auroc"])["auroc"] == pytest.approx(
        roc_auc_score(duo.correct, -entropy)
    )


def test_a_shuffled_sidekick_gets_no_weight(pairs):
    found = on_live.useless_sidekick(ARTIFACTS)
    assert len(found) == 7
    assert all(f.says == "holds" for f in found)
    assert max(f.value for f in found) < 0.05 < min(p.duos[0].weights[1] for p in pairs[:2])


def test_all_val_images_keep_all_of_the_gain(monkeypatch, pairs):
    monkeypatch.setattr(on_live, "DRAWS", 2)
    images = pairs[0].duos[0].val[0].n
    found = on_live._kept(pairs[0], images)
    assert (found.low, found.value, found.high) == pytest.approx((1, 1, 1), abs=1e-6)
    few = on_live._kept(pairs[0], 20)
    assert few.low < few.high


def test_the_released_recipe_ends_above_the_optimum():
    table = released.fit_against_optimum(ARTIFACTS)
    assert len(table) == 7
    assert (table["end"] <= table["start"]).all()
    assert (table["excess"] > 0).all()
    assert (table["moved"] < 0.1).all()  # half a step of the grid


def test_conventions_agree_where_they_should():
    table = released.conventions(ARTIFACTS)["difference"].unstack("metric")
    assert table[["NLL", "Brier", "ECE"]].abs().max(axis=None) < 1e-5
    assert (table["AUROC"] < 0).all()


def test_a_ratio_without_a_sidekick_is_infinite(pairs):
    class Fitted:
        weights, own_weights = np.array([1.0, 0.0]), np.array([1.0, 2.0])

    alone = LivePair("data", "a", "b", (Fitted(),), {})
    assert alone.ratio == np.inf
    assert pairs[0].ratio == pytest.approx(
        pairs[0].duos[0].weights[0] / pairs[0].duos[0].own_weights[0]
        / (pairs[0].duos[0].weights[1] / pairs[0].duos[0].own_weights[1])
    )  # fmt: skip


def test_scores_of_the_live_duo_are_those_of_its_logits(pairs):
    pair = pairs[0]
    again = score(pair.duos[0].logits(pair.records["test"]), pair.records["test"][0].labels)
    assert again.nll.mean() == pytest.approx(pair.parts["test"]["duo"].nll.mean())


def test_without_an_interval_a_finding_is_open():
    nan = float("nan")
    assert on_live._above(1.0, nan, nan) == "open"
    assert on_live._above(1.0, 0.5, 1.5) == "holds"
    assert on_live._above(1.0, 0.5, 1.5, 2.0) == "fails"
