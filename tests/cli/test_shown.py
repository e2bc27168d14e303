"""Names of other people do nothing to a terminal or a spreadsheet; a closed pipe is no error."""

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from duokit.cli import entry, main
from duokit.cli.shown import Shown
from duokit.cli.tables import csv_text
from duokit.logits import make_record, save
from duokit.logits.cells import guarded, unguarded
from duokit.printable import printable, shown

NASTY = "\x1b]0;title\x07\x1b[31mred\x9b1m\u202eback\r\x08"


@pytest.mark.promise("hostile")
@pytest.mark.parametrize("mark", [*NASTY[:1], "\x07", "\x9b", "\r", "\x08", "\x7f", "\u202e", "\0"])
def test_what_moves_a_terminal_is_shown_by_its_number(mark):
    text = printable(f"a{mark}b")
    assert mark not in text
    assert text.startswith("a\\")
    assert text.encode("latin-1").decode("unicode_escape") == f"a{mark}b"  # nothing is lost


@pytest.mark.promise("hostile")
@pytest.mark.parametrize("text", ["plain", "ä 日本 😀", "two\nlines\tand a tab", "back\\slash", ""])
def test_everything_else_is_printed_as_it_is(text):
    assert printable(text) == text


@pytest.mark.promise("hostile")
def test_a_byte_that_is_no_text_is_shown_by_its_number():
    name = os.fsdecode(b"caf\xe9\n")
    assert printable(name) == "caf\\xe9\n"
    assert shown(name) == "caf\\xe9\\x0a"


@pytest.mark.promise("hostile")
def test_a_progress_bar_still_moves():
    stream = io.StringIO()
    Shown(stream, bars=True).write("\r50%\x1b[A\x1b[31m")
    assert stream.getvalue() == "\r50%\x1b[A\\x1b[31m"


@pytest.mark.promise("hostile")
def test_a_terminal_that_knows_no_umlauts_shows_numbers():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Shown(stream).write("ü")
    assert raw.getvalue() == b"\\xfc"


@pytest.mark.promise("hostile")
@pytest.mark.parametrize("command", ["list", "fit", "evaluate"])
def test_no_command_prints_what_a_record_holds_raw(duokit, tmp_path, command):
    logits = np.eye(4, dtype="f4")[np.arange(40) % 4] * 2
    logits += np.random.default_rng(0).normal(size=logits.shape).astype("f4")
    for part in ("val", "test"):
        for role in ("large", "small"):
            ids = [f"{part}{row}{NASTY[:5]}" for row in range(40)]
            made = make_record(
                logits * (1 + (part == "test")) + (role == "small") * logits[::-1],
                np.arange(40) % 4, ids,
                model=role + NASTY, dataset="d" + NASTY, split=part,
            )  # fmt: skip
            save(made, tmp_path / role / part)
    val, test = ([tmp_path / role / f"{part}.safetensors" for role in ("large", "small")]
                 for part in ("val", "test"))  # fmt: skip
    words = {"list": [tmp_path], "fit": val, "evaluate": ["--val", *val, "--test", *test]}[command]
    code, out, err = duokit(command, *words)
    assert code == 0
    for mark in "\x1b\x07\x9b\u202e\r\x08":
        assert mark not in out + err
    assert "\\x1b" in out


@pytest.mark.promise("hostile")
def test_errors_and_warnings_are_shown(monkeypatch, capsys):
    def fail(given):
        import warnings

        warnings.warn(f"look {NASTY}", stacklevel=1)
        raise ValueError(NASTY)

    monkeypatch.setattr("duokit.cli.records.run", fail)
    assert main(["list"]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\\x1b]0;title") == 2


# --- spreadsheets

FORMULAS = ["=1+1", "+1", "-1", "@A1", "\tx", "\rx", "'=1", "''=1", '=HYPERLINK("x")', "-0.5e3"]
TEXTS = ["a", "'a", "''", "row-1", "1", "", "a=1", "'"]


@pytest.mark.promise("hostile")
@pytest.mark.parametrize("text", FORMULAS + TEXTS)
def test_a_formula_is_text_and_comes_back(text):
    cell = guarded(text)
    assert unguarded(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert (cell == text) == (text in TEXTS)


@pytest.mark.promise("hostile")
def test_a_table_guards_its_texts_and_leaves_its_numbers():
    table = pd.DataFrame({"=x": ["=1", "b", None], "v": [-1.5, np.nan, 2.0], "n": [-1, 2, 3]})
    text = csv_text(table)
    assert text == "'=x,v,n\n'=1,-1.5,-1\nb,,2\n,2.0,3\n"
    assert list(table.columns) == ["=x", "v", "n"]  # the caller's table stays


# --- endings


@pytest.mark.promise("errors")
def test_a_stop_while_a_command_is_imported_is_one_line(monkeypatch, capsys):
    def stop(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "import_module", stop)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "duokit: stopped\n"


@pytest.mark.promise("errors")
def test_nothing_heavy_is_imported_before_a_stop_is_handled():
    """What the console script and `python -m duokit` import before `main` can be stopped."""
    code = "import sys, duokit.cli, duokit.__main__; print([m for m in sys.modules if m in %r])"
    heavy = ["numpy", "pandas", "torch", "safetensors", "scipy", "PIL"]
    told = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr


@pytest.mark.promise("errors")
def test_a_closed_pipe_is_quiet():
    code = (
        "import sys, duokit.cli.entry as e\n"
        "def run(given):\n"
        "    for row in range(100_000): print('a long line of a long table', row)\n"
        "def parser():\n"
        "    import argparse\n"
        "    p = argparse.ArgumentParser(); p.set_defaults(command='list', run=run); return p\n"
        "e._parser = parser\n"
        "sys.exit(e.main([]))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 128 + signal.SIGPIPE


@pytest.mark.promise("errors")
def test_the_command_line_speaks_of_its_own_options(monkeypatch, capsys, tmp_path):
    def fail(given):
        raise FileExistsError(f"{tmp_path} exists; pass overwrite=True to replace it")

    monkeypatch.setattr("duokit.cli.records.run", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == f"duokit list: {tmp_path} exists; move it away\n"
    monkeypatch.setattr("duokit.cli.pairs.run", fail)
    assert main(["pairs", os.fspath(tmp_path), "--out", "x.csv"]) == 2
    assert (
        capsys.readouterr().err
        == f"duokit pairs: {tmp_path} exists; give --overwrite to replace it\n"
    )
