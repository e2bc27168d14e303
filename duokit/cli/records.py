"""`duokit list`: the records under a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "list",
        help="list the logits records under a folder",
        description="Prints one line a file: path, data set, split, model, weights, resolution in "
        "pixels, FLOPs (multiply-adds) of one image, n images, k classes, MB (10^6 bytes). Headers "
        "alone are read; a file that is no record is listed with what is wrong with it.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), help="folder to look through (default: .)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 after printing the table."""
    from duokit.logits import listing

    table = listing(given.folder)
    if table.empty:
        print(f"no records (.safetensors) under {given.folder}")
        return 0
    bad = table[table["problem"] != ""]
    good = table[table["problem"] == ""].drop(columns="problem")
    if not good.empty:
        print(good.to_string(index=False, na_rep="-", float_format="{:.2f}".format))
    for row in bad.itertuples():
        print(f"{row.path}: no record: {row.problem}")
    print(f"{len(good)} records, {good['MB'].sum():.2f} MB")
    return 0
