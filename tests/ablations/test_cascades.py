"""Cascades, tuned small models and duos from records, against slow loops and known cases."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import log_loss, roc_auc_score

from duokit.ablations import cascades
from duokit.ablations.cascade_costs import (
    Measured,
    cost_table,
    matched_answers,
    measure,
    sidekick_table,
)
from duokit.ablations.cascade_targets import target_table
from duokit.ablations.cascades import ANSWERS, CascadeRun, Place, cascade_runs, gate_table
from duokit.ablations.gatekeeper_claims import CLAIMS, forms_needed, gatekeeper_findings
from duokit.cascade.deferral import confidence_overlap, deferral_performance
from duokit.cascade.intervals import NAMES, Outcome, cascade_intervals
from duokit.evaluation import fit_duo
from duokit.fusion.weights import fit_weights
from duokit.logits.store import save
from duokit.metrics.scores import score
from duokit.metrics.selective import augrc
from tests.ablations.samples import record, records, split

ALPHAS = (0.1, 0.9)
FORMS = ("untuned", "continued", "Gatekeeper 0.1", "Gatekeeper 0.9")
N, VAL = 400, 150


def made(seed, labels_seed=0):
    """Return a run: the large model costs 10 times the small one; Gatekeeper 0.9 knows nothing."""
    labels = np.random.default_rng(labels_seed).integers(0, 5, N)
    knows = (1.6, 1.2, 1.3, 1.1, 0.0)
    found = records(N, seed=seed, knows=knows, flops=(1000, 100, 100, 100, 100), labels=labels)
    val, test = split(found, VAL)
    pairs = {name: {"val": val[name], "test": test[name]} for name in found}
    large = pairs.pop("large")
    return CascadeRun(large, dict(zip(FORMS, pairs.values(), strict=True)))


@pytest.fixture(scope="module")
def runs():
    return {seed: made(seed) for seed in (0, 1, 2)}


def right(records):
    return [int(z.argmax()) == int(y) for z, y in zip(records.logits, records.labels, strict=True)]


def unsure(logits, weight=1.0):
    """Return 1 - largest probability, image by image."""
    found = []
    for row in weight * logits.astype(float):
        powers = np.exp(row - row.max())
        found.append(1 - (powers / powers.sum()).max())
    return np.array(found)


# ----------------------------------------------------------------------------------------- records


@pytest.fixture
def artifacts(tmp_path, monkeypatch):
    place = Place("made", "big-0", "tiny", "scratch", (0, 1))
    monkeypatch.setattr(cascades, "PLACES", {"Made": place})
    for seed in (0, 1):
        run = made(seed)
        folders = [tmp_path / f"made-finetuned/tiny-scratch-{seed}"]
        names = ("continued", "gatekeeper0.1", "gatekeeper0.9")
        folders += [tmp_path / f"made-second/tiny-{name}-{seed}" for name in names]
        for folder, parts in zip(folders, run.small.values(), strict=True):
            for part, each in parts.items():
                save(each, folder / f"{part}.safetensors")
    for part, each in made(0).large.items():
        save(each, tmp_path / f"made-finetuned/big-0/{part}.safetensors")
    return tmp_path


def test_runs_are_read_from_their_folders(artifacts):
    found = cascade_runs(artifacts, "Made", alphas=ALPHAS)
    assert list(found) == [0, 1]
    for seed, run in found.items():
        assert tuple(run.small) == FORMS
        for name, parts in made(seed).small.items():
            assert np.array_equal(run.small[name]["test"].logits, parts["test"].logits)
        assert run.balance == 0.1


def test_a_missing_record_is_named(artifacts):
    (artifacts / "made-second/tiny-continued-1/test.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="tiny-continued-1 has no record of test"):
        cascade_runs(artifacts, "Made", alphas=ALPHAS)


def test_records_of_other_images_are_refused(artifacts):
    path = artifacts / "made-second/tiny-gatekeeper0.1-0/val.safetensors"
    parts = made(0).small["Gatekeeper 0.1"]
    save(parts["val"].rows(parts["val"].ids[::-1]), path, overwrite=True)
    with pytest.raises(ValueError, match="image"):
        cascade_runs(artifacts, "Made", alphas=ALPHAS)


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(ValueError, match=r"expected one of Fashion-MNIST, Caltech-101, ELPV"):
        cascade_runs("nowhere", "Food-101")


def test_folds_have_a_large_model_each():
    place = cascades.PLACES["ELPV"]
    assert place.folder(cascades.Path("a"), "second", 3).as_posix() == "a/elpv-second/fold-3"
    other = cascades.PLACES["Caltech-101"]
    assert other.folder(cascades.Path("a"), "finetuned", 3).as_posix() == "a/caltech101-finetuned"


# -------------------------------------------------------------------------------------------- runs


def test_a_temperature_is_a_weight_at_the_gate(runs):
    parts, weight = runs[0].form("untuned + temperature")
    val = parts["val"]
    assert parts is runs[0].small["untuned"]
    assert weight == fit_weights([val.logits], val.labels).weights[0] != 1
    assert runs[0].form("untuned")[1] == 1
    with pytest.raises(ValueError, match=r"variant is 'tuned'; there are untuned, continued"):
        runs[0].form("tuned")


def test_the_balance_needs_flops(runs):
    run = runs[0]
    large = {name: replace(each, flops=None) for name, each in run.large.items()}
    with pytest.raises(ValueError, match="lacks its FLOPs"):
        _ = CascadeRun(large, run.small).balance


@pytest.mark.parametrize("variant", ["untuned", "untuned + temperature"])
def test_outcomes_are_those_of_a_loop(runs, variant):
    run = runs[0]
    found = run.outcomes(variant)
    assert tuple(found) == ANSWERS
    val = [run.large["val"], run.small["untuned"]["val"]]
    test = [run.large["test"], run.small["untuned"]["test"]]
    weight = 1 if variant == "untuned" else fit_duo(val).own_weights[1]
    duo = record(fit_duo(val).logits(test), test[0].labels)
    large, small, both = (right(each) for each in (*test, duo))
    wanted = {
        "small": (small, small), "large": (large, large), "duo": (both, both),
        "cascade": (small, large), "cascaded duo": (small, both),
    }  # fmt: skip
    for name, (kept, passed) in wanted.items():
        assert found[name].small_correct.tolist() == kept
        assert found[name].deferred_correct.tolist() == passed
        assert found[name].flops == (0.1, 1.0)
        assert found[name].uncertainty == pytest.approx(unsure(test[1].logits, weight), abs=1e-6)


def test_a_budget_bounds_the_share_deferred_on_val(runs):
    run = runs[0]
    gate = np.sort(unsure(run.small["untuned"]["val"].logits))
    for budget, most in ((0.1, 0), (0.35, 37), (1.1, VAL)):  # 0.25 of 150 is 37.5
        cascade = run.cascade("untuned", budget=budget)
        assert cascade.val_ratio == most / VAL
        assert (gate > cascade.threshold).sum() == pytest.approx(most, abs=1)
    assert run.cascade("untuned").val_ratio == 0
    assert run.cascade("untuned").threshold == np.inf


def test_weights_of_deferred_images_are_fitted_on_them_if_asked(runs):
    run = runs[0]
    whole, hard = (run.cascade("untuned", budget=0.6, fitted_on=on) for on in ("val", "deferred"))
    assert whole.threshold == hard.threshold
    assert whole.duo_deferred.weights.tolist() == whole.duo.weights.tolist()
    val = [run.large["val"], run.small["untuned"]["val"]]
    some = hard.deferred(val[1].logits)
    assert abs(some.sum() - (unsure(val[1].logits) > hard.threshold).sum()) <= 1
    wanted = fit_weights([each.logits[some] for each in val], val[0].labels[some])
    assert hard.duo_deferred.weights == pytest.approx(wanted.weights)
    assert hard.duo.weights == pytest.approx(whole.duo.weights)


# ------------------------------------------------------------------------------------------- gates


def test_gate_table_is_that_of_separate_functions(runs):
    found = gate_table(runs, ["untuned", "Gatekeeper 0.1 + temperature"])
    assert list(found.index.get_level_values("run")) == [0, 1, 2, 0, 1, 2]
    for (variant, run), row in found.iterrows():
        parts, weight = runs[run].form(variant)
        val, test = parts["val"], parts["test"]
        gate, flags = unsure(test.logits, weight), np.array(right(test))
        curve = Outcome(gate, flags, right(runs[run].large["test"])).curve
        assert row["small"] == flags.mean()
        assert row["auroc"] == pytest.approx(roc_auc_score(~flags, gate), abs=1e-6)
        assert row["s_d"] == pytest.approx(deferral_performance(curve), abs=1e-6)
        assert row["area"] == pytest.approx(curve.line.area, abs=1e-6)
        assert row["s_o"] == pytest.approx(confidence_overlap(1 - gate, flags), abs=1e-4)
        own = fit_weights([val.logits], val.labels).weights[0]
        assert row["temperature"] == pytest.approx(1 / own)
        for name, w in (("nll", 1), ("nll_tempered", own)):
            powers = np.exp(w * test.logits.astype(float))
            probs = powers / powers.sum(1, keepdims=True)
            assert row[name] == pytest.approx(log_loss(test.labels, probs), rel=1e-5)


def test_the_deferred_answer_may_be_the_duo(runs):
    cascade, duo = (
        gate_table(runs, ["untuned"], answer=name) for name in ("cascade", "cascaded duo")
    )
    assert duo["small"].tolist() == cascade["small"].tolist()
    for run, value in duo["deferred"].groupby("run").first().items():
        assert value == np.mean(runs[run].outcomes("untuned")["duo"].small_correct)


# ----------------------------------------------------------------------------------------- measure

PAIR = (("Gatekeeper 0.1", "cascade"), ("untuned", "cascade"))


def test_one_run_is_compared_as_by_cascade_intervals(runs):
    how = {"metrics": NAMES, "budgets": (0.3, 0.7), "resamples": 50, "seed": 3}
    one = {0: runs[0]}
    found = measure(one, PAIR, **how).compare(*PAIR)
    ours, theirs = (runs[0].outcomes(form)[answer] for form, answer in PAIR)
    wanted = cascade_intervals(ours, theirs, points=cascades.POINTS, **how)
    assert list(found.index) == list(wanted.index)
    names = {"difference": "difference", "low": "difference_low", "high": "difference_high"}
    resampled = found.index.difference(["small", "deferred"])  # those are shares, for one run alone
    for name, theirs_name in names.items():
        mine, theirs = found.loc[resampled, name], wanted.loc[resampled, theirs_name]
        assert mine.to_numpy() == pytest.approx(theirs.to_numpy())
    assert found["t_low"].isna().all()


def test_means_and_t_intervals_are_over_runs(runs):
    found = measure(runs, PAIR, metrics=["area"], resamples=20).compare(*PAIR).loc["area"]
    apart = [
        run.outcomes("Gatekeeper 0.1")["cascade"].curve.line.area
        - run.outcomes("untuned")["cascade"].curve.line.area
        for run in runs.values()
    ]
    ends = ttest_1samp(apart, 0).confidence_interval(0.95)
    assert found["difference"] == pytest.approx(np.mean(apart))
    assert (found["t_low"], found["t_high"]) == pytest.approx((ends.low, ends.high))
    assert found["runs"] == 3
    assert found["wins"] == np.mean(np.array(apart) > 0)


def test_runs_that_share_images_are_drawn_together_and_folds_apart(runs):
    same = {0: runs[0], 1: runs[0]}
    kind = {"metrics": ["area"], "resamples": 200}
    one, twice = (measure(r, PAIR, **kind).compare(*PAIR).loc["area"] for r in ({0: runs[0]}, same))
    assert (twice["low"], twice["high"]) == (one["low"], one["high"])

    def renamed(parts):
        each = parts["test"]
        other = replace(each, ids=tuple(f"other-{name}" for name in each.ids))
        return {"val": parts["val"], "test": other}

    fold = CascadeRun(
        renamed(runs[0].large), {name: renamed(parts) for name, parts in runs[0].small.items()}
    )
    apart = measure({0: runs[0], 1: fold}, PAIR, **kind).compare(*PAIR).loc["area"]
    assert apart["difference"] == pytest.approx(one["difference"])
    narrower = (apart["high"] - apart["low"]) / (one["high"] - one["low"])
    assert 0.55 < narrower < 0.9  # 1 / sqrt(2), of other images


def test_a_run_without_a_number_leaves_the_mean_over_runs_undefined(runs):
    swapped = CascadeRun(runs[0].small["untuned"], {**runs[0].small, "untuned": runs[0].large})
    some = {0: runs[0], 1: swapped}  # here s_d has nothing to divide by
    found = measure(some, PAIR, metrics=["s_d", "area"], resamples=5).compare(*PAIR)
    assert found.loc["s_d", ["difference", "t_low", "runs"]].isna().all()
    assert found.loc["area", "runs"] == 2


def test_what_is_not_measured_is_refused(runs):
    measured = measure(runs, PAIR, metrics=["area"], resamples=2)
    with pytest.raises(ValueError, match="was not measured"):
        measured.compare(PAIR[0], ("untuned", "duo"))
    with pytest.raises(ValueError, match=r"unknown answers \['large model'\]"):
        measure(runs, [("untuned", "large model")])


# ------------------------------------------------------------------------------------------- costs


def test_cost_table_has_what_a_budget_pays_for(runs):
    budgets = (0.1, 0.5, 1.0, 1.1)
    found = cost_table(runs, budgets, resamples=30)
    there = {b: list(found.loc[b].index) for b in budgets}
    assert there[0.1] == there[0.5] == ["small", "cascade", "cascaded duo"]
    assert there[1.0] == ["small", "large", "cascade", "cascaded duo"]
    assert there[1.1] == list(ANSWERS)
    accuracy = found["accuracy"]
    assert accuracy[0.1, "cascade"] == accuracy[0.1, "small"]
    assert accuracy[1.1, "cascade"] == pytest.approx(accuracy[1.1, "large"])
    assert accuracy[1.1, "cascaded duo"] == pytest.approx(accuracy[1.1, "duo"])
    joint = [run.outcomes("untuned")["cascade"].curve.line.at(0.4) for run in runs.values()]
    assert accuracy[0.5, "cascade"] == pytest.approx(np.mean(joint))
    gap = found["accuracy"] - found["baseline"]
    assert found["lead"].to_numpy() == pytest.approx(gap.to_numpy())
    large = found.xs("large", level="answer")
    assert (large[["lead", "low", "high"]] == 0).all(axis=None)


def test_another_answer_can_be_led(runs):
    found = cost_table(runs, (1.1,), against="duo", resamples=10)
    assert found.loc[(1.1, "duo"), "lead"] == 0
    assert found.loc[(1.1, "cascaded duo"), "lead"] == pytest.approx(0)


def test_matched_answers_are_those_of_a_loop(runs):
    found = matched_answers(runs, (0.5,), metrics=["accuracy", "nll", "augrc"])
    assert len(found) == 3 * len(ANSWERS)
    run, rows = runs[1], found[found["run"] == 1].set_index("answer")
    large, small = run.large, run.small["untuned"]
    threshold = run.cascade("untuned", budget=0.5).threshold
    passed = unsure(small["test"].logits) > threshold
    own = [
        fit_weights([each["val"].logits], each["val"].labels).weights[0] for each in (large, small)
    ]
    z = np.where(passed[:, None], own[0] * large["test"].logits, own[1] * small["test"].logits)
    wanted = score(z, large["test"].labels)
    assert rows.loc["cascade", "accuracy"] == wanted.correct.mean()
    assert rows.loc["cascade", "nll"] == pytest.approx(wanted.nll.mean(), rel=1e-5)
    area = augrc(wanted.uncertainty, wanted.correct)
    assert rows.loc["cascade", "augrc"] == pytest.approx(area, rel=1e-5)
    assert rows.loc["cascade", "ratio"] == passed.mean()
    assert rows.loc["cascaded duo", "cost"] == pytest.approx(0.1 + passed.mean())
    assert rows.loc[["small", "large", "duo"], "cost"].tolist() == pytest.approx([0.1, 1, 1.1])
    assert rows.loc[["small", "large", "duo"], "ratio"].isna().all()


def test_on_val_a_budget_is_kept(runs):
    found = matched_answers(runs, (0.35, 0.8), part="val", metrics=["accuracy"])
    cascade = found[found["answer"] == "cascade"]
    assert (cascade["cost"] <= cascade["budget"]).all()
    assert (cascade["cost"] > cascade["budget"] - 1 / VAL).all()


# --------------------------------------------------------------------------------------- sidekicks


def test_a_form_that_knows_nothing_is_left_out_of_the_duo(runs):
    found = sidekick_table(runs, FORMS, resamples=20)
    assert list(found.index) == [(form, run) for form in FORMS for run in runs]
    useless, useful = (found.loc[name] for name in ("Gatekeeper 0.9", "untuned"))
    assert (useless["weight_small"] < 0.3 * useful["weight_small"]).all()
    assert (useless["nll_low"] > 0).all()
    assert (useful[["nll_difference", "nll_low", "nll_high"]] == 0).all(axis=None)
    for run, row in useful.iterrows():
        pair = [runs[run].large, runs[run].small["untuned"]]
        duo = fit_duo([each["val"] for each in pair])
        scores = duo.answers([each["test"] for each in pair])["duo"]
        assert row["accuracy"] == scores.correct.mean()
        assert row["nll"] == pytest.approx(scores.nll.mean())


def test_the_baseline_need_not_be_shown(runs):
    found = sidekick_table(runs, ["untuned"], baseline="continued", resamples=5)
    both = sidekick_table(runs, ["untuned", "continued"], resamples=5)
    gap = both.loc["untuned", "nll"] - both.loc["continued", "nll"]
    assert found["nll_difference"].to_numpy() == pytest.approx(gap.to_numpy())
    assert len(found) == 3


# ----------------------------------------------------------------------------------------- targets


def test_targets_are_kept_on_val_and_counted_on_test(runs):
    asked = {"accuracy": 0.05, "flops": 0.5, "ratio": 0.3}
    found = target_table(runs, asked, answer="cascade", parts=("val", "test"))
    assert len(found) == 2 * 3 * 2 * 3
    val = found[(found["part"] == "val") & found["promised"]]
    assert val["kept"].all()
    rows = found[(found["run"] == 2) & (found["part"] == "test")]
    outcome = runs[2].outcomes("untuned")["cascade"]
    large = np.mean(right(runs[2].large["val"]))
    for row in rows.itertuples():
        falling = [*np.sort(outcome.uncertainty)[::-1], -1]
        passed = outcome.uncertainty > falling[round(row.ratio * (N - VAL))]
        joint = np.where(passed, outcome.deferred_correct, outcome.small_correct).mean()
        assert passed.mean() == pytest.approx(row.ratio)
        assert joint == row.accuracy
        held = {
            "accuracy": joint >= large - 0.05,
            "flops": 0.1 + row.ratio <= 0.5 + 1e-9,
            "ratio": row.ratio <= 0.3,
        }
        assert row.kept == held[row.target]
        wanted = {"accuracy": large - 0.05, "flops": 0.5, "ratio": 0.3}
        assert row.asked == pytest.approx(wanted[row.target])
    certain = rows[(rows["target"] == "ratio") & (rows["certainty"] == 0.95)]
    plain = rows[(rows["target"] == "ratio") & rows["certainty"].isna()]
    assert certain["ratio"].item() < plain["ratio"].item()


def test_an_unknown_target_is_refused(runs):
    with pytest.raises(ValueError, match="target is 'coverage'; expected accuracy, flops or ratio"):
        target_table(runs, {"coverage": 0.5})


# ------------------------------------------------------------------------------------------ claims


def numbers(values):
    """Return measured numbers, every metric of a form the same, without noise over images."""
    own = {(name, "cascade"): np.array(v)[:, None] * np.ones(7) for name, v in values.items()}
    drawn = {form: np.repeat(v[:, None], 5, axis=1) for form, v in own.items()}
    return Measured(NAMES, own, drawn)


VALUES = {
    "untuned": [0.5, 0.5, 0.5],
    "untuned + temperature": [0.6, 0.6, 0.6],
    "continued": [0.7, 0.5, 0.9],
    "Gatekeeper 0.1": [0.7, 0.7, 0.71],
    "Gatekeeper 0.9": [0.4, 0.41, 0.4],
}


def test_findings_say_what_the_numbers_say():
    found = gatekeeper_findings({"A": numbers(VALUES)}, alphas=ALPHAS)
    said = {name: rows["says"].tolist() for name, rows in found.groupby("claim", sort=False)}
    assert list(said) == list(CLAIMS)
    assert said["alpha and deferral"] == ["holds"]
    assert said["alpha and overlap"] == said["alpha and accuracy"] == ["fails"]
    assert said["deferral"] == said["joint answers"] == ["holds", "fails"]
    assert said["overlap"] == said["accuracy"] == ["fails", "holds"]
    assert said["not just a temperature"] == ["holds", "fails"]
    assert said["not just training"] == ["open", "open"]  # the runs disagree
    row = found[found["claim"] == "deferral"].iloc[0]
    assert row["measure"] == "s_d, Gatekeeper 0.1 - untuned"
    assert row["value"] == pytest.approx(0.61 / 3)
    assert row["runs"] == 3


def test_one_run_leaves_all_open():
    one = {name: values[:1] for name, values in VALUES.items()}
    found = gatekeeper_findings({"A": numbers(one)}, alphas=ALPHAS)
    assert set(found["says"]) == {"open"}


def test_images_that_disagree_leave_a_finding_open():
    measured = numbers(VALUES)
    measured.drawn["Gatekeeper 0.1", "cascade"][:, ::2] = 0.45
    found = gatekeeper_findings({"A": measured}, alphas=ALPHAS).set_index("claim")
    assert found.loc["deferral", "says"].tolist() == ["open", "fails"]


def test_measured_runs_have_all_that_the_findings_need(runs):
    forms = forms_needed(ALPHAS)
    found = gatekeeper_findings({"made": measure(runs, forms, resamples=20)}, alphas=ALPHAS)
    expected = sum(1 if claim.against is None else 2 for claim in CLAIMS.values())
    assert len(found) == expected
    assert isinstance(found, pd.DataFrame)
    worse = found[found["measure"] == "small, Gatekeeper 0.9 - untuned"]
    assert worse["says"].tolist() == ["holds"]  # it costs accuracy: it knows nothing
