"""`duokit ensemble`: one record of the records of several networks."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.keeping import found_records, write_missing
from duokit.cli.options import add_dtype

if TYPE_CHECKING:
    from duokit.logits import Record


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "ensemble",
        help="make logits: pool the records of several networks",
        description="Takes folders of records, one a member, and writes the record of their "
        "ensemble for each part to OUT. Members are pooled as they are; `duokit fit` calibrates "
        "the result. Records that exist are kept, never replaced.",
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER",
        help="folders with files of the same names, PART.safetensors",
    )  # fmt: skip
    parser.add_argument(
        "--pool", choices=("logits", "probs"), default="logits",
        help="what is averaged; probs gives log-probabilities (default: logits)",
    )  # fmt: skip
    parser.add_argument("--parts", help="such as val,test (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the records, new")
    add_dtype(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing and printing what they hold."""
    from duokit.models.ensemble import ensemble_records, member_list

    for part, records in _members(arguments).items():
        path = arguments.out / f"{part}.safetensors"
        made = ensemble_records(
            records, pool=arguments.pool, dtype=arguments.dtype, command=command(arguments)
        )
        found = found_records(
            {part: path}, made.split_checksum, pool=arguments.pool, members=member_list(records)
        )
        write_missing({part: path}, found, {part: made})
    return 0


def command(arguments: argparse.Namespace) -> str:
    """Returns the command that makes these records, folders by their names alone."""
    words = ["duokit", "ensemble", *(path.resolve().name for path in arguments.folders)]
    words += ["--pool", arguments.pool] if arguments.pool != "logits" else []
    words += ["--parts", arguments.parts] if arguments.parts else []
    words += ["--out", f"OUT/{arguments.out.resolve().name}"]
    words += ["--dtype", arguments.dtype] if arguments.dtype != "float16" else []
    return shlex.join(words)


def _members(arguments: argparse.Namespace) -> dict[str, list[Record]]:
    """Returns the members' records of each part.

    Raises:
        NotADirectoryError: no such folder.
        ValueError: a folder without records, or one that lacks a part of another.
    """
    from duokit.logits import load

    there = {}
    for folder in arguments.folders:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a folder")
        there[folder] = {path.stem for path in folder.glob("*.safetensors")}
    parts = set(arguments.parts.split(",")) if arguments.parts else set().union(*there.values())
    for folder, names in there.items():
        if not parts or parts - names:
            lacks = f"{min(parts - names)}.safetensors" if parts else "any record"
            raise ValueError(f"{folder} lacks {lacks}: make it, or name with --parts what all have")
    return {
        part: [load(folder / f"{part}.safetensors") for folder in arguments.folders]
        for part in sorted(parts)
    }
