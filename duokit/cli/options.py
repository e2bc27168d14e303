"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any


def add_bootstrap(parser: argparse.ArgumentParser, *, least: int = 2, what: str = "") -> None:
    """Adds the options of bootstrap intervals: resamples, level and seed.

    Args:
        parser: of the command.
        least: smallest number of resamples.
        what: words after "bootstrap resamples" that say what they are for.
    """
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N",
        help=f"bootstrap resamples{what}, {least} or more (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--level", type=float, default=0.95, metavar="P",
        help="coverage of the intervals, between 0 and 1 (default: 0.95)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where the pictures of --data are.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--root", type=Path, help="folder or archive with its pictures (default: the usual places)"
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch pictures if not found (default: no)"
    )


def add_making(parser: argparse.ArgumentParser, *, pictures: str = "decoded pictures") -> None:
    """Adds the options of making records: cache, dtype, device and quiet.

    Args:
        parser: of the command.
        pictures: which ones the cache keeps.
    """
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/pixels"),
        help=f"folder that keeps {pictures} (default: runs/pixels)",
    )  # fmt: skip
    add_dtype(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar (default: show it)")


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says how logits are kept.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--dtype", default="float16", choices=("float16", "float32"),
        help="how logits are kept (default: float16)",
    )  # fmt: skip


def own_options(
    arguments: argparse.Namespace, names: Sequence[str], known: Collection[str], way: str
) -> dict[str, Any]:
    """Returns those options that are given, name -> value, where each way has its own.

    Args:
        arguments: of the command line; an option that is not given is None.
        names: of the options of all ways.
        known: of the options of this way.
        way: its name.

    Raises:
        ValueError: an option of another way.
    """
    given = {name: getattr(arguments, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    foreign = [name for name in given if name not in known]
    if foreign:
        option = f"no-{foreign[0]}" if given[foreign[0]] is False else foreign[0]
        raise ValueError(f"--{option} is no option of {way}: leave it out")
    return given
