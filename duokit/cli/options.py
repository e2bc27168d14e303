"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

MOST_SEED = (1 << 32) - 1  # what every generator of random numbers takes


def whole(least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """Returns the type of an option that takes a whole number in a range.

    Args:
        least: smallest value.
        most: largest value; none if not given.
    """
    words = f"of {least} or more" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {words}")
        return value

    return read


def real(low: float, high: float = math.inf, *, ends: str = "()") -> Callable[[str], float]:
    """Returns the type of an option that takes a number in a range; nan and inf are none.

    Args:
        low: lower end.
        high: upper end; none if not given.
        ends: which ends belong to it: "()", "[)", "(]" or "[]".
    """
    words = f"{'of' if ends[0] == '[' else 'above'} {low:g}{' or more' * (ends[0] == '[')}"
    if high < math.inf:
        words += f", {'up to' if ends[1] == ']' else 'below'} {high:g}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        inside = low < value < high or (ends[0] == "[" and value == low)
        if not (inside or (ends[1] == "]" and value == high)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {words}")
        return value

    return read


def seed(text: str) -> int:
    """Returns a seed: a whole number from 0 to 2^32 - 1."""
    return whole(0, MOST_SEED)(text)


def add_bootstrap(parser: argparse.ArgumentParser, *, least: int = 2, what: str = "") -> None:
    """Adds the options of bootstrap intervals: resamples, level and seed.

    Args:
        parser: of the command.
        least: smallest number of resamples.
        what: words after "bootstrap resamples" that say what they are for.
    """
    parser.add_argument(
        "--resamples", type=whole(least), default=1000, metavar="N",
        help=f"bootstrap resamples{what}, {least} or more (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--level", type=real(0, 1), default=0.95, metavar="P",
        help="coverage of the intervals, between 0 and 1 (default: 0.95)",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="seed of the bootstrap (default: 0)")


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
