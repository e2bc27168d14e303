"""One parser for all commands, and errors as one line."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

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
    given = _parser().parse_args(arguments)
    try:
        with _short_warnings(given.command):
            code: int = given.run(given)
    except KeyboardInterrupt:
        print(f"duokit {given.command}: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if getattr(given, "debug", False):
            raise
        print(f"duokit {given.command}: {_one_line(error)}", file=sys.stderr)
        return 2
    return code


@contextmanager
def _short_warnings(command: str) -> Iterator[None]:
    """Shows warnings as one line on stderr, without the place in our code."""

    def show(message: Warning | str, *_place: Any, **_more: Any) -> None:
        print(f"duokit {command}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _one_line(error: Exception) -> str:
    """Returns the message of an error; errors that we did not write are named by their type."""
    text = " ".join(str(error).split())
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
