"""`duokit claims`: the paper's claims, checked."""

from __future__ import annotations

import argparse
from math import isnan
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "claims",
        help="check the paper's claims on the authors' tables and on committed logits",
        description="Prints, for each claim of the paper, what was measured and the verdict that "
        "the numbers add up to. Published: on the authors' own tables, which come with duokit. "
        "Live: computed from the logits in the folder of artifacts.",
    )
    parser.add_argument(
        "--artifacts", type=Path, default=Path("book/artifacts"),
        help="folder of the committed records",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", default=[], metavar="CLAIM",
        help="name of one claim, such as no-harm; may be given several times",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for findings.csv and ledger.csv")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 after printing verdicts and, for claims asked for by name, every number."""
    from duokit.claims import findings, ledger, save_ledger

    if not given.artifacts.is_dir():
        raise FileNotFoundError(
            f"no folder {given.artifacts}: run in the repository, or give --artifacts"
        )
    if given.out is not None and given.only:
        raise ValueError("--out writes the whole ledger: leave --only out")
    found = findings(given.artifacts, only=given.only)
    table = ledger(found)
    for name in given.only or table.index:
        row = table.loc[name]
        print(f"{name}: {row['text']} [{row['where']}]")
        print(f"  published: {row['published']}; live: {row['live']}")
        for more in (row["condition"], row["missing"]):
            if more:
                print(f"  {more}")
        for number in found[found["claim"] == name].itertuples() if given.only else ():
            ends = "" if isnan(number.low) else f"{number.low:.4g} to {number.high:.4g}, "
            print(
                f"    {number.source}, {number.data}, {number.measure}: {number.value:.4g} "
                f"({ends}n = {number.n}): {number.says}"
            )
    if given.out is not None:
        for path in save_ledger(found, given.out):
            print(f"wrote {path}")
    return 0
