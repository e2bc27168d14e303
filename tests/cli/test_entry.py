"""Errors are one line, help says units and defaults, and the module runs as a program."""

import argparse
import re
import subprocess
import sys

import pytest

import duokit as package
from duokit.cli import entry, main


def test_python_m_duokit(tmp_path):
    """The program as users start it: version, an error of one line, an error of usage."""

    def call(*words):
        command = [sys.executable, "-m", "duokit", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    shown = call("--version")
    assert (shown.returncode, shown.stdout) == (0, f"duokit {package.__version__}\n")
    wrong = call("list", "nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr == "duokit list: nowhere is not a folder\n"
    assert call("lost").returncode == 2


def test_debug_shows_the_traceback(tmp_path):
    assert main(["list", str(tmp_path / "nowhere")]) == 2
    with pytest.raises(NotADirectoryError):
        main(["list", str(tmp_path / "nowhere"), "--debug"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "two lines"),
        (KeyError("x"), "KeyError: 'x'"),
        (FileNotFoundError(2, "No such file", "a.csv"), "No such file: a.csv"),
        (FileExistsError("a exists; choose"), "a exists; choose"),
        (ModuleNotFoundError("No module named 'yaml'"), "No module named 'yaml'; install what"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_any_error_is_one_line(monkeypatch, capsys, error, line):
    def fail(given):
        raise error

    monkeypatch.setattr("duokit.cli.records.run", fail)
    assert main(["list"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"duokit list: {line}")
    assert err.count("\n") == 1


def test_interruption(monkeypatch, capsys):
    def stop(given):
        raise KeyboardInterrupt

    monkeypatch.setattr("duokit.cli.records.run", stop)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "duokit list: stopped\n"


def commands():
    (found,) = (a for a in entry._parser()._actions if isinstance(a, argparse._SubParsersAction))
    return found.choices


COMMANDS = (
    "run", "fit", "evaluate", "finetune", "sweep", "soup", "predict", "ensemble", "zoo", "list",
    "compress", "explain", "trust", "data", "import-official", "doctor",
)  # fmt: skip


def test_every_command_is_there():
    training = {"probe", "finetune", "sweep", "soup", "predict", "ensemble", "zoo"}
    rest = {"run", "fit", "evaluate", "list", "data", "import-official", "doctor"}
    rest |= {"claims", "pairs", "compress", "explain", "trust"}
    assert set(commands()) == training | rest


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is_and_its_default(command):
    for action in commands()[command]._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        assert action.help, action
        if action.option_strings and not action.required:
            assert "default" in action.help, action.option_strings
            if isinstance(action.default, (int, float, str)) and action.default is not False:
                assert re.search(rf"default: {action.default}\)", action.help), action


@pytest.mark.parametrize("command", ["run", "fit", "evaluate", "probe", "list", "data", "doctor"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: duokit {command}" in capsys.readouterr().out
