"""Rivals of a duo: each is what it says it is, and none learns from noise."""

from pathlib import Path

import numpy as np
import pytest

from duokit.ablations.baselines import (
    Rival,
    cost_points,
    max_logit_pnorm,
    rival_table,
    rivals,
)
from duokit.ablations.cases import live_rivals
from duokit.ablations.corrections import dynamic, stacking, vector_scaling
from duokit.evaluation import fit_duo
from duokit.fusion.weights import fit_weights
from duokit.metrics.scores import score
from duokit.metrics.table import evaluate
from tests.ablations.samples import record as make_record


def made(n, seed, *, bias=0.0, noise=(1.2, 2.0), names=("large", "small"), flops=(100, 10)):
    """Return records of two members with errors of their own; bias is added to class 0."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    records = []
    for name, spread, cost in zip(names, noise, flops, strict=True):
        logits = 2.0 * np.eye(3)[labels] + random.normal(0, spread, (n, 3))
        logits[:, 0] += bias
        records.append(make_record(logits, labels, model=name, flops=cost))
    return records


@pytest.fixture(scope="module")
def val():
    return made(600, 0)


@pytest.fixture(scope="module")
def held():
    return made(800, 1)


def test_a_rival_says_what_it_runs(val, held):
    others = {"views": (val[0], held[0]), "alone": (val[1], held[1])}
    groups = {"both": (val, held)}
    twice = ("large-32", "large-32")
    found = rivals(val, held, others=others, groups=groups, runs={"views": twice})
    one, two = f"large-{val[0].resolution}", f"small-{val[1].resolution}"
    assert found["views"].runs == twice
    assert found["alone"].runs == (two,)
    for name in ("large", "large, as it is", "large, vector scaling", "large, MaxLogit-pNorm"):
        assert found[name].runs == (one,)
    for name in ("duo", "unweighted", "stacking", "input-dependent weights", "both"):
        assert found[name].runs == (one, two)


def nll(logits, record):
    return float(score(logits, record.labels).nll.mean())


def test_rivals_that_the_evaluation_knows_are_the_same(val, held):
    found = rivals(val, held)
    answers = fit_duo(val).answers(held, modes=("weighted", "probability_average"))
    for name, other in (
        ("large", "large"),
        ("duo", "duo"),
        ("probability average", "probability_average"),
    ):
        assert found[name].scores.nll.mean() == pytest.approx(answers[other].nll.mean())
    assert found["large"].flops == 100
    assert found["duo"].flops == found["stacking"].flops == 110


def test_without_a_bias_no_class_gets_its_own_scale(val, held):
    plain = fit_weights([val[0].logits], val[0].labels).weights[0]
    one = vector_scaling(val, held)
    base = nll(plain * held[0].logits, held[0])
    assert nll(one.logits, held[0]) == pytest.approx(base, abs=0.01)


def test_a_bias_of_a_class_is_taken_out():
    val, test = made(600, 2, bias=2.0), made(800, 3, bias=2.0)
    plain = fit_weights([val[0].logits], val[0].labels).weights[0]
    mended = vector_scaling(val, test)
    assert nll(mended.logits, test[0]) < nll(plain * test[0].logits, test[0]) - 0.05
    assert mended.parameters == 7
    duo = fit_duo(val)
    both = stacking(val, test)
    assert nll(both.logits, test[0]) < nll(duo.logits(test), test[0]) - 0.05
    assert both.parameters == 2 + 6 * 3 + 3


def test_no_change_is_the_duo_itself(val, held, monkeypatch):
    monkeypatch.setattr("duokit.ablations.corrections.RIDGES", (np.inf,))
    duo = fit_duo(val).logits(held)
    for way in (stacking, dynamic):
        made = way(val, held)
        assert made.parameters == 2
        assert made.logits == pytest.approx(np.asarray(duo), abs=1e-5)


def test_weights_follow_the_image_where_they_should():
    """A sidekick that is right exactly where the large model is unsure."""
    random = np.random.default_rng(4)

    def records(n):
        labels = random.integers(0, 3, n)
        unsure = random.random(n) < 0.5
        strength = np.where(unsure, 0.0, 5.0)[:, None]
        large = strength * np.eye(3)[labels] + random.normal(0, 0.3, (n, 3))
        small = (3.0 - 0.6 * strength) * np.eye(3)[labels] + random.normal(0, 1.5, (n, 3))
        return [make_record(z, labels, model=m, flops=1) for z, m in ((large, "a"), (small, "b"))]

    val, test = records(800), records(800)
    plain = nll(fit_duo(val).logits(test), test[0])
    assert nll(dynamic(val, test).logits, test[0]) < plain - 0.005


def test_two_members_are_needed(val, held):
    with pytest.raises(ValueError, match="made for two"):
        dynamic(val[:1], held[:1])
    with pytest.raises(ValueError, match="expected large and sidekick"):
        rivals(val[:1], held[:1])


def test_pnorm_is_a_matter_of_order_alone():
    """Logits of twenty classes, each image's scaled at random: the norm takes the scale out."""
    random = np.random.default_rng(5)
    hot = []
    for _ in range(2):
        labels = random.integers(0, 20, 600)
        logits = 3.0 * np.eye(20)[labels] + random.normal(0, 1.2, (600, 20))
        scaled = logits * random.uniform(0.2, 5, (600, 1))
        hot.append(make_record(scaled, labels, model="a", flops=1))
    plain = score(hot[1].logits, hot[1].labels)
    ranked, note = max_logit_pnorm(hot[0], hot[1], plain)
    assert note.startswith("p = ")
    assert (ranked.correct == plain.correct).all()
    assert evaluate(ranked, ["auroc"])["auroc"] > evaluate(plain, ["auroc"])["auroc"] + 0.02
    assert ranked.uncertainty.min() == 0
    assert ranked.uncertainty.max() == 1
    centred = hot[1].logits - hot[1].logits.mean(1, keepdims=True)
    p = float(note.split("= ")[1])
    slow = [
        max(row) / sum(abs(row) ** p) ** (1 / p) if p < np.inf else max(row) / max(abs(row))
        for row in centred
    ]
    order = np.argsort(-np.array(slow), kind="stable")
    assert (np.diff(ranked.uncertainty[order]) > 0).all()


def test_the_table_compares_with_the_duo(val, held):
    found = rivals(val, held, groups={"twice": (val, held)})
    table = rival_table(found, resamples=200)
    duo = table.loc["duo"]
    assert (duo["difference"], duo["low"], duo["high"]) == (0, 0, 0)
    assert table.loc["twice", "nll"] == pytest.approx(duo["nll"])
    assert table.loc["large", "cost"] == 1
    assert table.loc["duo", "cost"] == pytest.approx(1.1)
    pnorm, large = table.loc["large, MaxLogit-pNorm"], table.loc["large"]
    assert pnorm["ece"] == large["ece"]
    with pytest.raises(ValueError, match="against is 'trio'; expected one of large, as it is"):
        rival_table(found, against="trio")


def test_points_for_the_plot(val, held):
    found = rivals(val, held, others={"bigger": (val[0], held[0])})
    points = cost_points(found, resamples=100).set_index("name")
    assert points.loc["duo", "kind"] == "duo"
    assert (points["low"] <= points["value"]).all()
    assert points.loc["bigger", "value"] == pytest.approx(points.loc["large", "value"])
    assert isinstance(found["bigger"], Rival)


def test_the_rivals_of_the_book():
    found = live_rivals(Path(__file__).parents[2] / "book" / "artifacts")
    assert list(found) == [
        *(f"Caltech-101, {way}" for way in ("fine-tuned", "ensembles", "probes")), "Fashion-MNIST"
    ]  # fmt: skip
    for each in found.values():
        assert {"large", "duo", "stacking"} <= set(each)
        assert each["duo"].scores.nll.mean() < each["large"].scores.nll.mean()
        assert len({len(rival.scores) for rival in each.values()}) == 1
    views = found["Caltech-101, fine-tuned"]["large, two views"]
    assert views.flops == 2 * found["Caltech-101, fine-tuned"]["large"].flops
    pooled = found["Caltech-101, ensembles"]
    assert pooled["ensemble of 3"].flops == 3 * pooled["large"].flops
    assert pooled["ensemble of 3"].scores.nll.mean() < pooled["large"].scores.nll.mean()
