"""One parser for all commands, and errors as one line."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any, TextIO, cast

from duokit.cli.shown import OutputClosedError, Shown, drop_output
from duokit.printable import printable

# Modules of duokit.cli.
COMMANDS = (
    "run", "fit", "evaluate", "probe", "finetune", "sweep", "predict", "ensemble", "zoo",
    "compress", "explain", "trust", "records",
    "data", "claims", "pairs", "import_official", "doctor",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code of a command: 0 done, 1 the answer is no, 2 an error.

    What goes wrong stands on stderr in one line; with --debug as a traceback.

    Args:
        arguments: the words after `duokit`; by default those of the command line.
    """
    given = argparse.Namespace(command="")
    try:
        given = _parser().parse_args(arguments, given)
        with _clean_output(), _short_warnings(given.command):
            code: int = given.run(given)
            sys.stdout.flush()
    except KeyboardInterrupt:
        _complain(given, "stopped")
        return 130
    except OutputClosedError:
        drop_output(sys.stdout)
        return 141  # as a program that ends by SIGPIPE
    except Exception as error:
        if getattr(given, "debug", False):
            raise
        _complain(given, _one_line(error, given))
        return 2
    return code


def _complain(given: argparse.Namespace, text: str) -> None:
    print(printable(f"duokit {given.command}".rstrip() + f": {text}"), file=sys.stderr)


@contextmanager
def _clean_output() -> Iterator[None]:
    """Prints names from files so that they do nothing to the terminal (see `printable`)."""
    out, err = cast(TextIO, Shown(sys.stdout)), cast(TextIO, Shown(sys.stderr, bars=True))
    with redirect_stdout(out), redirect_stderr(err):
        yield


@contextmanager
def _short_warnings(command: str) -> Iterator[None]:
    """Shows warnings as one line on stderr, without the place in our code."""

    def show(message: Warning | str, *_place: Any, **_more: Any) -> None:
        text = printable(" ".join(str(message).split()))
        print(f"duokit {command}: warning: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _one_line(error: Exception, given: argparse.Namespace) -> str:
    """Returns the message of an error; errors that we did not write are named by their type."""
    text = " ".join(str(error).split())
    if "overwrite=True" in text:  # the library's word, which is an option here, or none
        option = "give --overwrite to replace it" if hasattr(given, "overwrite") else "move it away"
        text = re.sub(r"(pass )?overwrite=True( to replace (it|them))?", option, text)
    if isinstance(error, ModuleNotFoundError):
        return f"{text}; install what is missing (duokit doctor says how)"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if type(error) in (ValueError, TypeError, RuntimeError) or type(error).__module__ != "builtins":
        return text
    return f"{type(error).__name__}: {text}" if not isinstance(error, OSError) else text


def _parser() -> argparse.ArgumentParser:
    from duokit import __version__

    parser = argparse.ArgumentParser(
        prog="duokit",
        description="Learn, check and apply Asymmetric Duos: a large classifier with a small "
        "sidekick, joined by two weights.",
        epilog="Exit codes: 0 done, 1 the answer is no (doctor, data) or the time is over (zoo, "
        "sweep), 2 an error.",
    )
    parser.add_argument("--version", action="version", version=f"duokit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f"duokit.cli.{name}").register(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--debug", action="store_true", help="show the traceback of an error (default: no)"
        )
    return parser
