"""`duokit evaluate`: logits in, one table of all metrics out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from duokit.cli.members import FORMATS, add_labels, add_mismatch, read_members, titles
from duokit.cli.options import add_bootstrap
from duokit.cli.tables import csv_text

if TYPE_CHECKING:
    from duokit.metrics import Scores

SUFFIXES = (".csv", ".json", ".md")
BASELINE = "large"
REASON = "no_interval"


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    from duokit.fusion import MODES

    parser = subparsers.add_parser(
        "evaluate",
        help="fit on val, measure on test, write a table",
        description="Fits the weights on --val and measures on --test: the large model as it is "
        "(large_raw), the large and the small model each at its own temperature (large, small), "
        "the duo, and the other ways to combine. All values are fractions, NLL is in nats.",
        epilog=FORMATS,
    )
    for option, what in (("--val", "to fit the weights on"), ("--test", "to report on")):
        parser.add_argument(
            option, type=Path, nargs="+", required=True, metavar="FILE",
            help=f"logits of the large model, the small one, and further ones if any, {what}",
        )  # fmt: skip
    add_labels(parser, "--val-labels", "--val")
    add_labels(parser, "--test-labels", "--test")
    add_mismatch(parser)
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE",
        help=f"ways to combine: {', '.join(MODES)} (default: all; weighted is the duo)",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME", help="metrics of the table (default: all)"
    )
    parser.add_argument(
        "--intervals", action="store_true",
        help="one row a predictor and metric, with a bootstrap interval and the difference to the "
        "large model at its own temperature with its paired interval (default: no)",
    )  # fmt: skip
    add_bootstrap(parser, least=1, what=" for --intervals")
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help=f"file for the table, {', '.join(SUFFIXES)} (default: only printed)",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file of --out (default: refuse)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 after printing the table and writing it to --out."""
    from duokit.evaluation import fit_duo
    from duokit.logits.files import write_whole
    from duokit.metrics import compare_table

    if given.out is not None and given.out.suffix not in SUFFIXES:
        raise ValueError(f"--out {given.out} does not end in {', '.join(SUFFIXES)}")
    if len(given.val) != len(given.test):
        raise ValueError(f"--val has {len(given.val)} files, --test {len(given.test)}: one a model")
    val = read_members(given.val, given.val_labels)
    test = read_members(given.test, given.test_labels)
    duo = fit_duo(val, allow_mismatch=given.allow_mismatch)
    scores = duo.answers(test, modes=given.modes, allow_mismatch=given.allow_mismatch)
    table = _intervals(scores, given) if given.intervals else compare_table(scores, given.metrics)
    weights = ", ".join(f"{weight:.4f}" for weight in duo.weights)
    print(f"{titles(test, val)}\nweights {weights}; {test[0].n} images\n")
    shown = table.drop(columns=REASON) if given.intervals else table.T
    print(shown.to_string(float_format="{:.4f}".format, na_rep="-"))
    for reason, rows in table[table[REASON] != ""].groupby(REASON) if given.intervals else ():
        names = dict.fromkeys(rows.index.get_level_values("metric"))
        print(f"\nno interval for {', '.join(names)}: {reason}", end="")
    allowed = [*duo.allowed, *map(str, duo.findings(test))]
    if allowed:
        print("", *allowed, sep="\n")
        table["allowed"] = "; ".join(allowed)
    if given.out is not None:
        text = _text(table, given.out.suffix)
        print(f"written: {write_whole(given.out, text.encode(), overwrite=given.overwrite)}")
    return 0


def _intervals(scores: dict[str, Scores], given: argparse.Namespace) -> pd.DataFrame:
    """Returns one row a predictor and metric; the baseline itself has no difference.

    The column REASON says why a value has no interval, or else its difference; "": both have one.
    """
    from duokit.metrics import intervals
    from duokit.metrics.ends import Measured, why_none

    tables = {
        name: intervals(
            own,
            None if name == BASELINE else scores[BASELINE],
            metrics=given.metrics,
            resamples=given.resamples,
            seed=given.seed,
            level=given.level,
        )
        for name, own in scores.items()
    }
    measured = {
        name: Measured(scores[name], {str(metric): v for metric, v in table["value"].items()})
        for name, table in tables.items()
    }
    for name, table in tables.items():
        pair = [measured[each] for each in dict.fromkeys((name, BASELINE))]
        table[REASON] = [
            why_none(metric, pair[0]) or why_none(metric, *pair) for metric in table.index
        ]
    return pd.concat(tables, names=["predictor"])


def _text(table: pd.DataFrame, suffix: str) -> str:
    """Returns the table as .csv (all digits), .json (a list of rows) or .md (four decimals)."""
    flat = table.reset_index()
    if suffix == ".csv":
        return csv_text(flat)
    if suffix == ".json":
        rows = [
            {name: None if pd.isna(value) else value for name, value in row.items()}
            for row in flat.to_dict("records")
        ]
        return json.dumps(rows, indent=2, allow_nan=False) + "\n"
    lines = [list(flat.columns), ["---"] * flat.shape[1]]
    lines += [[_cell(value) for value in row] for row in flat.itertuples(index=False)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "-" if pd.isna(value) else f"{value:.4f}"
