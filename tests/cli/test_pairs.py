"""The sweep from the command line."""

import pandas as pd
import pytest

from duokit.ablations.pairs import pairs


def test_all_rows_are_written_and_a_table_is_told(records, duokit, tmp_path):
    out = tmp_path / "found" / "pairs.csv"
    words = ("pairs", tmp_path, "--out", out, "--resamples", 20, "--metrics", "accuracy", "nll")
    code, told, _ = duokit(*words)
    assert code == 0
    assert "models: 2, pairs: 1" in told
    assert f"written: {out}" in told
    written = pd.read_csv(out)
    expected = pairs(tmp_path, metrics=["accuracy", "nll"], resamples=20)
    pd.testing.assert_frame_equal(
        written.drop(columns="reason"), expected.drop(columns="reason"), rtol=1e-12
    )
    assert "open" in told
    assert out.with_suffix(".jsonl").exists()
    assert duokit(*words)[0] == 0  # goes on, and replaces its own table


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("content", ["my precious notes", "a\nb\nc"])
def test_a_strangers_journal_stays(records, duokit, tmp_path, content):
    (tmp_path / "x.jsonl").write_text(content)
    words = ("pairs", tmp_path, "--out", tmp_path / "x.csv", "--resamples", 20, "--metrics", "nll")
    for more in ((), ("--overwrite",)):
        code, _, error = duokit(*words, *more)
        assert code == 2
        assert "x.jsonl is no journal of pairs" in error
        assert (tmp_path / "x.jsonl").read_text() == content
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.promise("whole-files")
def test_a_strangers_table_beside_our_journal_stays(records, duokit, tmp_path):
    out = tmp_path / "pairs.csv"
    words = ("pairs", tmp_path, "--out", out, "--resamples", 20, "--metrics", "nll")
    assert duokit(*words)[0] == 0
    out.write_text("mine\n")
    assert duokit(*words)[0] == 2
    assert out.read_text() == "mine\n"


def test_a_strangers_table_stays(records, duokit, tmp_path):
    out = tmp_path / "pairs.csv"
    out.write_text("mine\n")
    words = ("pairs", tmp_path, "--out", out, "--resamples", 20, "--metrics", "nll")
    code, _, error = duokit(*words)
    assert code == 2
    assert "exists; take another name, or --overwrite it" in error
    assert out.read_text() == "mine\n"
    assert duokit(*words, "--overwrite")[0] == 0
    assert out.read_text() != "mine\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "pairs.txt"], "does not end in .csv"),
        (["--out", "x.csv", "--metrics", "f2"], "unknown metric"),
        (["--out", "x.csv", "--part", "shifted"], "has no part 'shifted'"),
        (["--out", "x.csv", "--large", "tiny"], "no model 'tiny'"),
    ],
)
def test_errors_are_one_line(records, duokit, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = duokit("pairs", tmp_path, "--resamples", "5", *words)
    assert code == 2
    assert message in error
    assert not (tmp_path / "x.csv").exists()
