"""The ledger of trust: findings against the tables they come from, and verdicts that can change."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from duokit.claims.finding import UNCHECKED
from duokit.claims.on_trust import TRUST_CLAIMS, findings_table, trust_findings, trust_ledger
from duokit.logits import make_record
from duokit.trust import AttributionMaps, trust_report

NOISE = {"large": 0.9, "small": 1.3, "again": 1.3, "int8": 0.92, "pruned": 1.8}


def made(split, n, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, n)
    common = random.normal(size=(n, 4))
    found = {}
    for row, (name, noise) in enumerate(NOISE.items()):
        own = random.normal(size=(n, 4)) * (0.05 if name == "int8" else 1)
        logits = 3 * np.eye(4)[labels] + noise * (common + own) / 1.4
        scale = 3.0 if name == "small" else 1.0  # overconfident until it has its temperature
        found[name] = make_record(
            logits * scale, labels, [f"{split}/{i}.png" for i in range(n)], model=f"net{row}",
            resolution=32, dataset="toys", split=split, dtype="float32",
        )  # fmt: skip
    return found


def maps(test, spread=1.0):
    """Of large, small and again, which agree the less the larger the spread is."""
    random = np.random.default_rng(7)
    shared, found = random.normal(size=(30, 16)), []
    for row, (name, noise) in enumerate((("large", spread), ("small", 0.1), ("again", 0.1))):
        values = (shared + noise * random.normal(size=(30, 16))).astype(np.float32)
        found.append(
            AttributionMaps(
                values=values, targets=np.zeros(30, np.int64), ids=test[name].ids[:30],
                model=f"net{row}@32", dataset="toys", explainer={"explainer": "occlusion"}, seed=0,
                regions={"grid": 4, "side": 64, "crop": 1.0}, question={"output": "centred"},
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def records():
    return made("val", 300, 0), made("test", 900, 1)


@pytest.fixture(scope="module")
def report(records):
    return trust_report(*records, maps=maps(records[1]), resamples=100, k=4)


@pytest.fixture(scope="module")
def found(report):
    return trust_findings(report, second="again", pairs=[("int8", "pruned")], near=0.05)


def said(found, claim):
    return {each.says for each in found[claim]}


def test_every_claim_has_a_row_and_only_what_was_measured_a_verdict(found, report):
    ledger = trust_ledger(found)
    assert list(ledger.index) == list(TRUST_CLAIMS)
    unmeasured = {"nuclear norm", "MaNo", "Pearson"}  # no class is given more often here
    assert set(ledger.index[ledger["verdict"] == UNCHECKED]) == unmeasured
    assert (ledger.loc[list(unmeasured), "findings"] == "none").all()
    table = findings_table(found)
    assert len(table) == sum(map(len, found.values()))
    alone = trust_findings(replace(report, maps={}, alignment_gain=pd.DataFrame()))
    for claim in ("maps", "maps, chance", "inherited", "quantised"):
        assert alone[claim] == []


def test_numbers_are_those_of_the_report(found, report):
    flips = report.agreement["value"].unstack("measure")
    near = [each.data for each in found["flips"]]
    assert "again" not in near
    assert "pruned" not in near
    assert "int8" in near
    for each in found["flips"]:
        row = flips.loc[each.data]
        assert each.value == pytest.approx(row["flips"] - abs(row["accuracy_change"]))
    (closer, *_) = found["closer"]
    assert closer.value == report.agreement.loc[("duo", "label_agreement"), "difference"]
    (quantised,) = found["quantised"]
    same = flips["label_agreement"]
    assert quantised.value == pytest.approx(same["int8"] - same["pruned"])
    calibration = report.calibration.loc[("int8", "raw", "ece"), "difference"]
    assert found["calibration"][0 if near[0] == "int8" else 4].value == calibration
    chance = report.alignment.set_index(["model", "measure"]).loc[("small", "adjusted"), "value"]
    assert found["maps, chance"][0].value == chance


def test_the_second_training_and_the_duo_are_not_among_the_nearly_equal(report):
    wide = trust_findings(report, second="again", near=1.0)
    assert [each.data for each in wide["flips"]] == ["small", "int8", "pruned"]
    assert {each.data for each in wide["classes"]} == {"small", "int8", "pruned"}


def test_pearsons_test_speaks_where_answers_changed(report):
    tests = report.tests.copy()
    swapped, pearson = "Stuart-Maxwell, swapped", "Pearson"
    tests["p_value"] = 0.5
    tests.loc[("small", swapped), "p_value"] = tests.loc[("int8", swapped), "p_value"] = 0.01
    tests.loc[("int8", pearson), "p_value"] = 0.02
    found = trust_findings(replace(report, tests=tests))["Pearson"]
    assert {each.data: each.says for each in found} == {"small": "fails", "int8": "holds"}


def test_verdicts_follow_the_data(records, found):
    assert said(found, "maps") == said(found, "inherited") == {"holds"}
    assert said(found, "closer") == said(found, "quantised") == {"holds"}
    val, test = records
    # All three maps alike: the large model looks where two trainings of the small one do.
    alike = trust_report(val, test, maps=maps(test, 0.1), resamples=100, k=4)
    assert "holds" not in said(trust_findings(alike, second="again"), "maps")
    swapped = trust_findings(alike, pairs=[("pruned", "int8")])
    assert said(swapped, "quantised") == {"fails"}


def test_one_temperature_is_told_apart(records):
    val, test = ({n: r for n, r in part.items() if n != "again"} for part in records)
    report = trust_report(val, test, resamples=100)
    found = trust_findings(report, near=0.2)
    raw, tempered = (
        {e.data: e for e in found[claim] if e.group == "ece"}
        for claim in ("calibration", "calibration, tempered")
    )
    assert raw["small"].says == "holds"
    assert tempered["int8"].says == "open"
    assert abs(tempered["small"].value) < abs(raw["small"].value) / 4


def test_scores_without_labels_against_the_mean(report):
    accuracy = np.array([0.9, 0.8, 0.7, 0.5])
    follows = pd.DataFrame({"accuracy": accuracy, "nuclear_norm": accuracy / 2, "mano": accuracy})
    blind = follows.assign(nuclear_norm=[0.1, 0.9, 0.2, 0.8])
    found = trust_findings(report, shifts={"net": follows, "other": blind})
    assert [each.says for each in found["nuclear norm"]] == ["holds", "fails"]
    assert found["nuclear norm"][0].value == pytest.approx(
        np.mean([abs(a - np.delete(accuracy, i).mean()) for i, a in enumerate(accuracy)])
    )
    assert said(found, "MaNo") == {"holds"}


def test_wrong_names_are_refused(records, report):
    with pytest.raises(ValueError, match="no model 'third'"):
        trust_findings(report, second="third")
    with pytest.raises(ValueError, match="no model 'int4'"):
        trust_findings(report, pairs=[("int4", "pruned")])
    alone = trust_report(*records, duo=False, resamples=10)
    with pytest.raises(ValueError, match="has no duo"):
        trust_findings(alone)
