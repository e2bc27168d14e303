"""The sweep, against one pair in three steps; what must not change it; starting again."""

import dataclasses
import errno
import os
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from duokit.ablations.comparing import summary, verdicts
from duokit.ablations.journal import Journal
from duokit.ablations.pairs import Sweep, pairs
from duokit.evaluation import fit_duo
from duokit.logits import make_record, save
from duokit.metrics.intervals import intervals
from duokit.metrics.table import METRICS
from duokit.published.gains import METRICS as PERFECT
from tests.fusion.duos import make_duo

NAMES = ("nano", "mini", "midi", "maxi")
SOME = ["accuracy", "nll", "aurc"]
RESAMPLES = 60


def made(part, *, n=250, seed=0):
    strengths = (0.9, 1.3, 1.7, 2.0)
    logits, labels = make_duo(n, 4, seed=seed, signal=strengths, scale=(1.4, 0.8, 1.1, 0.7))
    return {
        name: make_record(
            z, labels, [f"{part}/{row}" for row in range(n)], model=f"net{place}_{name}",
            dataset="made up", split=part, resolution=32, flops=10**place, seed=0, dtype="float16",
        )
        for place, (name, z) in enumerate(zip(NAMES, logits, strict=True), start=1)
    }  # fmt: skip


@pytest.fixture(scope="module")
def records():
    val, test = made("val", seed=1), made("test", seed=2)
    return {name: {"val": val[name], "test": test[name]} for name in NAMES}


@pytest.fixture(scope="module")
def table(records):
    return pairs(records, resamples=RESAMPLES, seed=3)


@pytest.fixture
def folder(records, tmp_path):
    for name, parts in records.items():
        for part, record in parts.items():
            save(record, tmp_path / "logits" / name / part)
    return tmp_path / "logits"


def test_every_cheaper_model_is_tried_with_every_dearer_one(table):
    each = table[["large", "small"]].drop_duplicates()
    expected = [(NAMES[j], NAMES[i]) for j in range(4) for i in range(j)]
    assert list(each.itertuples(index=False, name=None)) == expected
    assert (table["flops_balance"] == table["flops_small"] / table["flops_large"]).all()
    assert (table["flops_balance"] < 1).all()


@pytest.mark.parametrize(("large", "small"), [("maxi", "nano"), ("midi", "mini")])
def test_a_pair_is_what_fit_duo_and_intervals_say(records, table, large, small):
    both = [records[name] for name in (large, small)]
    duo = fit_duo([r["val"] for r in both])
    found = duo.answers([r["test"] for r in both])
    mine = table[(table["large"] == large) & (table["small"] == small)].set_index("metric")
    told = intervals(
        found["duo"], found["large"], metrics=list(mine.index), resamples=RESAMPLES, seed=3
    )
    first = mine.iloc[0]
    assert first[["weight_large", "weight_small"]].tolist() == duo.weights.tolist()
    assert first[["error_large", "error_small"]].tolist() == duo.fit.standard_errors.tolist()
    assert (first["score_t"], first["score_p_value"]) == (duo.test.t, duo.test.p_value)
    assert first["flops_balance"] == duo.flops_balance
    for ours, theirs in {
        "value": "value", "baseline": "baseline", "difference": "difference",
        "low": "difference_low", "high": "difference_high",
    }.items():  # fmt: skip
        np.testing.assert_array_equal(mine[ours], told[theirs], err_msg=ours)
    assert mine.loc["accuracy", "sidekick"] == found["small"].correct.mean()


def test_gains_are_the_share_of_the_way_to_perfect(table):
    for metric, rows in table.groupby("metric"):
        expected = rows["difference"] / (PERFECT[metric] - rows["baseline"])
        np.testing.assert_allclose(rows["gain"], expected, rtol=1e-9)
        sign = 1 if METRICS[metric].better == "higher" else -1
        assert (np.sign(rows["gain"]) == sign * np.sign(rows["difference"])).all()
    known = table[table["gain_low"].notna()]
    assert (known["gain_low"] <= known["gain_high"]).all()
    assert len(known) > len(table) / 2
    # none where accepted images or errors are too few
    assert (table["low"].isna() <= table["gain_low"].isna()).all()


def test_the_order_of_models_and_of_images_changes_nothing(records, table):
    turned = {}
    for name in reversed(NAMES):
        turned[name] = {}
        for part, record in records[name].items():
            order = np.random.default_rng(5).permutation(record.n)
            turned[name][part] = record.rows([record.ids[row] for row in order])
    again = pairs(turned, resamples=RESAMPLES, seed=3)
    assert again["large"].tolist() == table["large"].tolist()
    for column in ("weight_large", "weight_small", "value", "baseline", "gain", "score_t"):
        np.testing.assert_allclose(again[column], table[column], rtol=1e-6, err_msg=column)
    exact = table["p_test"] != "bootstrap z"
    np.testing.assert_allclose(again["p_value"][exact], table["p_value"][exact], rtol=1e-6)


def test_a_constant_added_to_all_logits_of_a_model_changes_nothing(records, table):
    moved = {name: dict(parts) for name, parts in records.items()}
    for part, record in records["midi"].items():
        logits = record.logits.astype(np.float32) + np.float32(4)
        moved["midi"][part] = dataclasses.replace(record, logits=logits)
    again = pairs(moved, resamples=RESAMPLES, seed=3, metrics=SOME)
    same = table[table["metric"].isin(SOME)]
    np.testing.assert_allclose(again["value"], same["value"], rtol=1e-5)


@pytest.mark.promise("weights")
@pytest.mark.filterwarnings("error:overflow")
def test_a_class_that_all_models_mask_changes_nothing(records, table):
    """Its logit is the lowest float32, which a weight above 1 would take out of range."""
    lowest, masked = np.finfo(np.float32).min, {}
    for name, parts in records.items():
        masked[name] = {
            part: dataclasses.replace(
                record,
                logits=np.pad(
                    record.logits.astype(np.float32), ((0, 0), (0, 1)), constant_values=lowest
                ),
            )
            for part, record in parts.items()
        }
    again = pairs(masked, resamples=RESAMPLES, seed=3, metrics=SOME)
    assert (again["weight_small"] > 1).any()
    same = table[table["metric"].isin(SOME)]
    np.testing.assert_allclose(again["value"], same["value"], rtol=1e-5)
    np.testing.assert_allclose(again["gain"], same["gain"], rtol=1e-4, atol=1e-8)


@pytest.mark.promise("any-records")
def test_a_pair_that_cannot_be_fitted_says_why_and_the_sweep_goes_on(records, tmp_path):
    bad = dict(records["midi"])
    logits = bad["val"].logits.astype(np.float32)
    logits[3, bad["val"].labels[3]] = -1e9  # the label itself is masked out
    bad["val"] = dataclasses.replace(bad["val"], logits=logits)
    given, journal = {**records, "midi": bad}, tmp_path / "sweep.jsonl"
    want = {"resamples": 9, "metrics": ["nll", "accuracy"]}
    table = pairs(given, journal=journal, **want)
    hit = (table["large"] == "midi") | (table["small"] == "midi")
    assert (table["status"] == "failed").equals(hit)
    assert table.loc[hit, "reason"].str.contains(r"labels\[3\] is .* masks out").all()
    assert (table.loc[~hit, "reason"] == "").all()
    assert table.loc[hit, ["value", "p_value", "p_bh", "weight_large"]].isna().all(axis=None)
    good = pairs({n: r for n, r in records.items() if n != "midi"}, **want)
    for column in ("value", "p_value", "p_bh"):
        np.testing.assert_array_equal(table.loc[~hit, column], good[column])
    pd.testing.assert_frame_equal(pairs(given, journal=journal, **want), table)
    assert summary(table)["pairs"].tolist() == [6, 6]


def test_two_val_images_are_fitted_without_a_test(records):
    few = {
        n: {"val": r["val"].rows(r["val"].ids[:2]), "test": r["test"]} for n, r in records.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = pairs(few, resamples=9, metrics=["nll"])
    assert table["score_t"].isna().all()
    assert table["value"].notna().all()


def test_chosen_models_only(records):
    found = pairs(records, large=["maxi"], small=["nano", "midi"], metrics=["nll"], resamples=9)
    assert found["small"].tolist() == ["nano", "midi"]
    assert set(found["large"]) == {"maxi"}


def test_a_folder_gives_what_its_records_give(folder, table):
    pd.testing.assert_frame_equal(pairs(folder, resamples=RESAMPLES, seed=3), table)


def test_many_resamples_are_drawn_in_chunks(records, table, monkeypatch):
    monkeypatch.setattr(sys.modules[Sweep.__module__], "MOST_BYTES", 2**17)  # a few at a time
    again = pairs(records, resamples=RESAMPLES, seed=3)
    pd.testing.assert_frame_equal(again, table)


def test_equal_flops_are_paired_when_asked_for(records):
    twin = {
        part: dataclasses.replace(record, seed=1, logits=records["mini"][part].logits)
        for part, record in records["nano"].items()
    }
    both = {"nano": records["nano"], "twin": twin}
    with pytest.raises(ValueError, match="a sidekick must cost less than its large model"):
        pairs(both, metrics=["nll"], resamples=9)
    found = pairs(both, metrics=["nll"], resamples=9, equal=True)
    assert found["large"].tolist() == ["nano", "twin"]
    assert found["small"].tolist() == ["twin", "nano"]
    assert set(found["relation"]) == {"other initialisation"}
    assert found["value"].nunique() == 1  # one duo, two baselines
    assert found["baseline"].nunique() == 2


def test_a_sidekick_of_weight_zero_changes_nothing(records):
    against = {
        part: dataclasses.replace(record, logits=-record.logits)
        for part, record in records["nano"].items()
    }
    found = pairs(
        {"maxi": records["maxi"], "nano": against}, metrics=["accuracy", "nll", "auroc"],
        resamples=9,
    )  # fmt: skip
    assert (found["weight_small"] == 0).all()
    assert (found["difference"] == 0).all()
    assert (found["p_value"] == 1).all()
    assert (found[["low", "high", "gain"]] == 0).all(axis=None)


def test_a_sweep_goes_on_where_it_stopped(folder, table, tmp_path, monkeypatch):
    journal = tmp_path / "runs" / "pairs.jsonl"
    seen = []

    def stop(done, every, name):
        assert every == 6
        if done == 3:
            raise KeyboardInterrupt
        seen.append(name)

    options = {"resamples": RESAMPLES, "seed": 3, "journal": journal}
    with pytest.raises(KeyboardInterrupt):
        pairs(folder, **options, report=stop)
    with journal.open("a") as file:
        file.write('{"pair": ["maxi", "na')  # what a power cut leaves
    assert seen == ["mini + nano", "midi + nano", "midi + mini"]

    worked = []
    own = Sweep.pair
    monkeypatch.setattr(
        Sweep, "pair", lambda self, *both: worked.append(both[1].name) or own(self, *both)
    )
    pd.testing.assert_frame_equal(pairs(folder, **options), table)
    assert worked == ["nano", "mini", "midi"]
    worked.clear()
    pd.testing.assert_frame_equal(pairs(folder, **options), table)
    assert worked == []


def test_changed_logits_are_measured_again(folder, records, tmp_path, monkeypatch):
    options = {"resamples": 9, "metrics": ["nll"], "journal": tmp_path / "pairs.jsonl"}
    before = pairs(folder, **options)
    better = records["maxi"]["test"].logits * np.float16(2)
    changed = dataclasses.replace(records["maxi"]["test"], logits=better)
    save(changed, folder / "maxi" / "test", overwrite=True)
    after = pairs(folder, **options)
    differs = (after["value"] != before["value"]).to_numpy()
    assert (differs == (after["large"] == "maxi")).all()


@pytest.mark.filterwarnings("ignore:the small model's logits are constant")
def test_undefined_numbers_survive_the_journal(tmp_path):
    labels, noise = np.arange(40) % 4, np.random.default_rng(0).normal(size=(40, 4))
    sure = {"val": np.eye(4)[labels] * 3 + noise * 3, "test": np.eye(4)[labels] * 3}
    right = {
        part: make_record(
            logits, labels, [f"{part}{row}" for row in range(40)], model="net",
            dataset="made up", split=part, flops=3, dtype="float32",
        )
        for part, logits in sure.items()
    }  # fmt: skip
    other = {part: dataclasses.replace(r, model="less", flops=1) for part, r in right.items()}
    options = {"metrics": ["auroc", "accuracy"], "resamples": 9, "journal": tmp_path / "p.jsonl"}
    with pytest.warns(UserWarning, match="determine"):
        first = pairs({"a": right, "b": other}, **options)
    assert first.set_index("metric").loc["auroc", ["value", "p_value", "p_bh"]].isna().all()
    assert np.isnan(first.set_index("metric").loc["accuracy", "gain"])  # nothing left to gain
    pd.testing.assert_frame_equal(pairs({"a": right, "b": other}, **options), first)


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"resamples": 10}, {"metrics": ["accuracy"]}, {"level": 0.9}]
)
def test_a_journal_of_other_settings_is_refused(records, tmp_path, change):
    options = {"resamples": 9, "metrics": ["nll"], "journal": tmp_path / "pairs.jsonl"}
    pairs(records, **options)
    with pytest.raises(ValueError, match=rf"was begun with {next(iter(change))} .*now it is"):
        pairs(records, **(options | change))


FOREIGN = [
    b"large,small\n", b"[1]\n", b"one line without an end", b"\xff\xfe\n\xff", b"", b"\n\n",
    b'{"settings": 1}\n', b'{"settings": {"lr": 0.1}}\n{"epoch": 1}\n{"epo', b'{"settings": {"se',
]  # fmt: skip


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("content", FOREIGN)
def test_another_file_is_no_journal(records, tmp_path, content):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    with pytest.raises(FileExistsError, match=r"pairs\.jsonl is no journal of pairs.*move it away"):
        pairs(records, resamples=9, metrics=["nll"], journal=path)
    assert path.read_bytes() == content


@pytest.mark.promise("errors")
@pytest.mark.parametrize("line", ['{"x": 1}', "[]", '{"pair": 1, "rows": 2}', "{", "[" * 9999])
def test_a_damaged_line_of_a_journal_is_named(records, tmp_path, line):
    path = tmp_path / "pairs.jsonl"
    options = {"resamples": 9, "metrics": ["nll"], "journal": path}
    pairs(records, **options)
    before = path.read_text() + line + "\n"
    path.write_text(before)
    with pytest.raises(ValueError, match=r"pairs\.jsonl, line \d+: .*remove this line"):
        pairs(records, **options)
    assert path.read_text() == before


@pytest.mark.promise("errors")
def test_a_journal_of_another_version_is_named(records, tmp_path):
    options = {"resamples": 9, "metrics": ["nll"], "journal": tmp_path / "pairs.jsonl"}
    pairs(records, **options)
    text = options["journal"].read_text()
    options["journal"].write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(ValueError, match="journal of version 2, this duokit reads 1"):
        pairs(records, **options)
    options["journal"].write_text(text.replace('"journal": "duokit pairs", "version": 1, ', ""))
    pairs(records, **options)  # as it was written before there were versions


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("written", [0, 20])
def test_a_full_disk_leaves_a_whole_journal(records, tmp_path, monkeypatch, written):
    journal = Journal(tmp_path / "p.jsonl", {"seed": 0})
    journal.add(("a", "b"), [{"metric": "nll"}])
    before = journal.path.read_bytes()

    def full(descriptor):
        os.truncate(journal.path, len(before) + written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the others are safe") as told:
        journal.add(("a", "c"), [{"metric": "nll"}])
    assert told.value.filename == str(journal.path)
    assert journal.path.read_bytes() == before


def without(records, name, part):
    return {
        n: {p: r for p, r in parts.items() if (n, p) != (name, part)}
        for n, parts in records.items()
    }


def test_errors_say_what_to_do(records, folder, tmp_path):
    with pytest.raises(ValueError, match="mini has no part 'val': add the record"):
        pairs(without(records, "mini", "val"))
    with pytest.raises(ValueError, match="nano has no part 'shifted'"):
        pairs(records, part="shifted", large=["maxi"], small=["nano"])
    with pytest.raises(ValueError, match="no pair among 1 large and 1 small"):
        pairs({"maxi": records["maxi"]})
    with pytest.raises(ValueError, match="metric 'nll' is asked for twice"):
        pairs(records, metrics=["nll", "nll"])
    with pytest.raises(ValueError, match="unknown metric"):
        pairs(records, metrics=["nll", "f2"])
    with pytest.raises(ValueError, match="ece_class reads all logits again"):
        pairs(records, metrics=["ece_class"])
    with pytest.raises(ValueError, match="at least one metric"):
        pairs(records, metrics=[])
    with pytest.raises(ValueError, match="resamples must be a whole number, 2 or more, not 1"):
        pairs(records, resamples=1)
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\), not 95"):
        pairs(records, level=95)
    with pytest.raises(ValueError, match="no model 'tiny'; expected some of nano, mini"):
        pairs(records, large=["tiny"])
    with pytest.raises(ValueError, match="no model 'tiny'"):
        pairs(records, large=["tiny"], small=["nano"])
    with pytest.raises(ValueError, match="no models given"):
        pairs({})
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        pairs(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds no model: expected MODEL/val\.safetensors"):
        pairs(tmp_path)
    (folder / "midi" / "val.safetensors").unlink()
    with pytest.raises(ValueError, match="midi has no part 'val'"):
        pairs(folder)
    assert len(pairs(folder, large=["maxi"], small=["nano"], metrics=["nll"], resamples=9)) == 1


def test_records_of_other_images_are_refused(records):
    for part in ("val", "test"):
        record = records["nano"][part]
        strange = dataclasses.replace(record, ids=tuple(f"other/{i}" for i in range(record.n)))
        with pytest.raises(ValueError, match="hold other images"):
            pairs(records | {"nano": records["nano"] | {part: strange}}, resamples=9)


def costing(records, costs):
    return {
        name: {p: dataclasses.replace(r, flops=costs[name]) for p, r in records[name].items()}
        for name in costs
    }


@pytest.mark.promise("any-records")
def test_any_records_of_unknown_flops_are_paired_both_ways(records):
    quick = {"metrics": ["nll"], "resamples": 9, "any_records": True}
    found = pairs(costing(records, {"maxi": 9, "mini": 1, "nano": None}), **quick)
    both = [
        ("maxi", "mini"),
        ("maxi", "nano"),
        ("mini", "nano"),
        ("nano", "maxi"),
        ("nano", "mini"),
    ]
    assert sorted(zip(found.large, found.small, strict=True)) == both
    known = (found.large == "maxi") & (found.small == "mini")
    assert (found.flops_balance.notna() == known).all()
    assert len(pairs(costing(records, {"maxi": 5, "mini": 5}), **quick)) == 2  # equal costs
    assert len(pairs(costing(records, {"maxi": 5, "mini": 5, "nano": 1}), **quick)) == 2
    assert len(pairs(without(records, "mini", "test"), **quick)) == len(
        pairs({name: r for name, r in records.items() if name != "mini"}, **quick)
    )


@pytest.mark.promise("any-records")
def test_any_records_may_be_no_pair(records):
    none = pairs({"maxi": records["maxi"]}, any_records=True)
    assert none.empty
    whole = pairs(records, metrics=["nll"], resamples=9)
    assert list(none) == list(whole)
    assert summary(none).empty
    assert verdicts(none).empty


def test_unknown_flops_are_refused(records):
    nameless = {p: dataclasses.replace(r, flops=None) for p, r in records["mini"].items()}
    with pytest.raises(ValueError, match="record of mini says no FLOPs"):
        pairs(records | {"mini": nameless})
