"""The committed ledger is what the checks say today, and its words follow its numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from duokit.claims import CLAIMS, VERDICTS, describe, findings, ledger, save_ledger
from duokit.claims.ledger import COLUMNS
from duokit.cli import main

ARTIFACTS = Path(__file__).parents[2] / "book" / "artifacts"
COMMITTED = ARTIFACTS / "claims"
AGAIN = "duokit claims --out book/artifacts/claims"


@pytest.fixture(scope="module")
def found():
    return pd.read_csv(COMMITTED / "findings.csv", keep_default_na=False, na_values=[""])


@pytest.mark.parametrize("claim", ["uq-only", "throughput", "better-than-both"])
def test_committed_numbers_are_computed_again(found, claim):
    """Three claims here; the chapter `claims` computes all, and nbval compares its outputs."""
    kept = found[found["claim"] == claim].reset_index(drop=True)
    again = findings(ARTIFACTS, only=[claim])
    words = ["claim", "source", "data", "measure", "n", "group"]
    pd.testing.assert_frame_equal(kept[words], again[words], check_dtype=False)
    for column in ("value", "low", "high"):
        near = np.isclose(kept[column], again[column], rtol=1e-3, atol=1e-5, equal_nan=True)
        assert near.all(), f"{kept[~near].iloc[0].to_dict()}: run {AGAIN}"


def test_committed_verdicts_follow_from_them(found):
    kept = pd.read_csv(COMMITTED / "ledger.csv", index_col="claim", keep_default_na=False)
    pd.testing.assert_frame_equal(kept, ledger(found), check_dtype=False)


def test_each_claim_has_checks_or_a_reason():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.text.endswith(".")
        assert claim.where
        assert claim.published or claim.live or claim.missing


def test_a_changed_number_changes_the_verdict(found):
    table = ledger(found)
    assert set(table["published"]) | set(table["live"]) <= set(VERDICTS)
    changed = found.assign(says=found["says"].mask(found["claim"] == "uq-only", "fails"))
    before, after = table.loc["uq-only"], ledger(changed).loc["uq-only"]
    assert before["published"] == "holds" != after["published"] == "does not hold here"
    assert "fails" in after["condition"]
    rest = table.drop(index="uq-only")
    pd.testing.assert_frame_equal(rest, ledger(changed).drop(index="uq-only"))


def test_what_was_not_measured_cannot_be_checked(found):
    table = ledger(found.iloc[:0])
    assert (table[["published", "live"]] == "cannot be checked here").all(axis=None)


def test_a_claim_is_described_with_all_that_was_found(found):
    text = describe(ledger(found).loc["useless-sidekick"])
    assert text.startswith("**useless-sidekick**: A useless sidekick can be left out")
    for part in (
        "- published: **does not hold here**",
        "- live: **holds**",
        "left out: 3 fails",
        "--only useless",
    ):
        assert part in text
    assert "not all for it" not in describe(ledger(found).loc["throughput"])


def test_one_claim_alone_and_an_unknown_one():
    some = findings(ARTIFACTS, only=["throughput"])
    assert list(some.columns) == list(COLUMNS)
    assert set(some["claim"]) == {"throughput"}
    with pytest.raises(ValueError, match=r"no claim 'harmless'; there are ten-to-twenty.*no-harm"):
        findings(ARTIFACTS, only=["harmless"])


def test_saved_tables_are_read_back(found, tmp_path):
    paths = save_ledger(found, tmp_path / "new")
    assert [path.name for path in paths] == ["findings.csv", "ledger.csv"]
    assert len(pd.read_csv(paths[0])) == len(found)
    assert paths[0].read_bytes().count(b"\r") == 0
    assert save_ledger(found, tmp_path / "new") == paths
    paths[1].write_text("mine")
    with pytest.raises(FileExistsError, match=r"ledger\.csv is no ledger of claims"):
        save_ledger(found, tmp_path / "new")
    assert paths[1].read_text() == "mine"


def test_the_command_prints_verdict_and_numbers(capsys):
    assert main(["claims", "--artifacts", str(ARTIFACTS), "--only", "throughput"]) == 0
    printed = capsys.readouterr().out
    assert "throughput: FLOPs predict" in printed
    assert "published: holds; live: cannot be checked here" in printed
    assert printed.count("R squared") == 3
    assert "nan" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--artifacts", "nowhere"], "no folder nowhere: run in the repository"),
        (["--artifacts", str(ARTIFACTS), "--only", "x"], "no claim 'x'"),
        (["--artifacts", str(ARTIFACTS), "--only", "x", "--out", "y"], "leave --only out"),
    ],
)
def test_what_the_command_cannot_do_is_said(capsys, arguments, message):
    assert main(["claims", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_command_writes_the_whole_ledger(capsys, tmp_path, monkeypatch, found):
    monkeypatch.setattr("duokit.claims.findings", lambda *_args, **_options: found)
    assert main(["claims", "--artifacts", str(ARTIFACTS), "--out", str(tmp_path)]) == 0
    assert "no-harm" in capsys.readouterr().out
    assert (tmp_path / "ledger.csv").read_bytes() == (COMMITTED / "ledger.csv").read_bytes()
