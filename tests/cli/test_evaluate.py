"""`duokit evaluate`: the table of compare_table, in three formats."""

import json

import pandas as pd
import pytest

from duokit import fit_duo, load
from duokit.fusion import MODES
from duokit.logits import write_csv, write_npz
from duokit.metrics import METRICS, compare_table, ends, intervals


@pytest.fixture
def words(records):
    return (
        "evaluate", "--val", records["large", "val"], records["small", "val"],
        "--test", records["large", "test"], records["small", "test"],
    )  # fmt: skip


@pytest.fixture
def expected(records):
    """Scores computed without the command line."""
    duo = fit_duo([load(records["large", "val"]), load(records["small", "val"])])
    test = [load(records["large", "test"]), load(records["small", "test"])]
    return duo.answers(test, modes=MODES)


def test_table(words, duokit, expected, tmp_path):
    code, text, err = duokit(*words, "--out", tmp_path / "t.csv")
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "t.csv", index_col="predictor")
    pd.testing.assert_frame_equal(table, compare_table(expected))
    assert list(table.columns) == list(METRICS)
    assert list(table.index) == [
        "large_raw", "large", "small", "duo", *[mode for mode in MODES if mode != "weighted"],
    ]  # fmt: skip
    assert "net-large@96 (toy test) + net-small@96 (toy test)" in text
    assert f"{table.loc['duo', 'nll']:.4f}" in text


def test_formats_agree(words, duokit, expected, tmp_path):
    chosen = ("--modes", "weighted", "--metrics", "accuracy", "nll")
    for suffix in ("csv", "json", "md"):
        assert duokit(*words, *chosen, "--out", tmp_path / f"t.{suffix}")[0] == 0
    rows = json.loads((tmp_path / "t.json").read_text())
    duo = compare_table({"duo": expected["duo"]}).loc["duo"]
    assert rows[3] == {"predictor": "duo", "accuracy": duo.accuracy, "nll": duo.nll}
    assert len(rows) == 4
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[:2] == ["| predictor | accuracy | nll |", "| --- | --- | --- |"]
    assert lines[5] == f"| duo | {duo.accuracy:.4f} | {duo.nll:.4f} |"
    code, _, err = duokit(*words, *chosen, "--out", tmp_path / "t.md")
    assert code == 2
    assert "t.md exists" in err
    assert duokit(*words, *chosen, "--out", tmp_path / "t.md", "--overwrite")[0] == 0


def test_intervals(words, duokit, expected, tmp_path):
    options = (
        "--intervals", "--metrics", "nll", "aurc", "--resamples", "50", "--seed", "3",
        "--level", "0.8", "--modes", "weighted", "raw_mean",
    )  # fmt: skip
    code, text, err = duokit(*words, *options, "--out", tmp_path / "t.csv")
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "t.csv", index_col=["predictor", "metric"])
    wanted = intervals(
        expected["duo"], expected["large"], metrics=["nll", "aurc"], resamples=50, seed=3, level=0.8
    )
    assert table.pop("no_interval").isna().all()
    pd.testing.assert_frame_equal(table.loc["duo"], wanted)
    assert table.loc["large", "difference"].isna().all()  # the baseline itself
    assert "difference_low" in text
    assert duokit(*words, *options, "--out", tmp_path / "t.json")[0] == 0
    rows = json.loads((tmp_path / "t.json").read_text())
    assert {row["difference"] for row in rows if row["predictor"] == "large"} == {None}
    assert duokit(*words, *options, "--out", tmp_path / "t.md")[0] == 0
    assert "| large | nll |" in (tmp_path / "t.md").read_text()
    assert "| - |" in (tmp_path / "t.md").read_text()


@pytest.mark.promise("intervals")
def test_no_interval_comes_with_its_reason(words, duokit, tmp_path):
    given = ("--intervals", "--metrics", "nll", "mce", "ece_class", "--resamples", "20")
    code, text, _ = duokit(*words, *given, "--out", tmp_path / "t.json")
    assert code == 0
    assert f"no interval for mce: {ends.MAXIMUM}" in text
    assert f"no interval for ece_class: {ends.MANY}" in text
    assert "no interval for nll" not in text
    rows = json.loads((tmp_path / "t.json").read_text())
    assert {row["no_interval"] for row in rows if row["metric"] == "mce"} == {ends.MAXIMUM}
    assert {row["no_interval"] for row in rows if row["metric"] == "nll"} == {""}


def test_files_without_a_name_are_paired_by_order(records, duokit, tmp_path, expected):
    """A csv of a model's test logits goes with whatever stands in its place on val."""
    files = {}
    for (role, split), path in records.items():
        write = write_csv if role == "large" else write_npz
        suffix = "csv" if role == "large" else "npz"
        files[role, split] = write(load(path), tmp_path / f"{role}-{split}.{suffix}")
    code, _, err = duokit(
        "evaluate", "--val", records["large", "val"], files["small", "val"],
        "--test", files["large", "test"], files["small", "test"], "--out", tmp_path / "t.csv",
    )  # fmt: skip
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "t.csv", index_col="predictor")
    pd.testing.assert_frame_equal(table, compare_table(expected))


def test_evaluate_refusals(words, records, duokit, tmp_path):
    def error(*given):
        code, out, err = duokit(*given)
        assert (code, out) == (2, "")
        return err

    assert "does not end in .csv, .json, .md" in error(*words, "--out", "t.txt")
    assert "--val has 2 files, --test 3" in error(*words, records["small", "test"])
    assert "metric 'nll' is asked for twice" in error(*words, "--metrics", "nll", "nll")
    assert "unknown metric" in error(*words, "--metrics", "acuracy")
    swapped = (*words[:5], *reversed(words[5:]))
    assert "in the same order, the large model first" in error(*swapped)
    with pytest.raises(SystemExit):
        error(*words, "--modes", "magic")
