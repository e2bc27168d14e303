"""The command line behind the Makefile: python -m duokit.notebooks COMMAND NOTEBOOK...

execute --out DIR NB...   run each with its defaults; the sources are not touched
update NB...              run each and replace its outputs, if all its cells pass
normalise NB...           bring each into the committed form without running it
check NB...               say what keeps each from being committed, without running it
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from duokit.logits.files import write_whole
from duokit.notebooks.files import problems, read, text_of
from duokit.notebooks.running import NotebookError, execute
from duokit.notebooks.tidy import normalise


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if all is well, 1 if a notebook failed or is not fit.

    Every notebook is tried; what went wrong with each stands on stderr, one line a fault.
    """
    given = _parser().parse_args(arguments)
    command: Callable[[Path, argparse.Namespace], str] = given.command
    bad = False
    for path in given.notebooks:
        started = time.monotonic()
        try:
            text = command(path, given)
        except (NotebookError, OSError, ValueError) as error:
            sys.stderr.write(f"{error}\n")
            bad = True
        else:
            sys.stdout.write(f"{path}: {text} ({time.monotonic() - started:.1f} s)\n")
            sys.stdout.flush()
    return int(bad)


def _execute(path: Path, given: argparse.Namespace) -> str:
    target = given.out / path.name
    execute(path, target, timeout=given.timeout)
    return f"executed into {target}"


def _update(path: Path, given: argparse.Namespace) -> str:
    folder = Path(tempfile.mkdtemp(prefix="duokit-"))  # stays after a failure, to be looked at
    notebook = execute(path, folder / path.name, timeout=given.timeout)
    shutil.rmtree(folder)
    return _replace(path, text_of(notebook))


def _normalise(path: Path, _given: argparse.Namespace) -> str:
    return _replace(path, text_of(normalise(read(path))))


def _check(path: Path, _given: argparse.Namespace) -> str:
    found = problems(path)
    if found:
        raise ValueError("\n".join(f"{path} {problem}" for problem in found))
    return "fit to be committed"


def _replace(path: Path, text: str) -> str:
    if path.read_text(encoding="utf-8") == text:
        return "unchanged"
    write_whole(path, text.encode(), overwrite=True)
    return "updated"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m duokit.notebooks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("execute", _execute, "run with defaults into another folder"),
        ("update", _update, "run and replace the outputs"),
        ("normalise", _normalise, "bring into the committed form"),
        ("check", _check, "say what keeps a notebook from being committed"),
    ):
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        one.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK", help=".ipynb file")
        if name == "execute":
            one.add_argument("--out", type=Path, required=True, help="folder for the results")
        if name in ("execute", "update"):
            one.add_argument(
                "--timeout", type=int, metavar="SECONDS", help="for one cell (default: no limit)"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
