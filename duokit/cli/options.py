"""Options that several commands share."""

from __future__ import annotations

import argparse


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
