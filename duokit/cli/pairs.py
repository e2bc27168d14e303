"""`duokit pairs`: every model of a folder as the sidekick of every dearer one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pandas as pd

from duokit.cli.members import add_mismatch
from duokit.cli.options import add_bootstrap, real
from duokit.cli.tables import csv_text


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "pairs",
        help="fit and measure every pair of a folder's models",
        description="Fits every pair of a dearer and a cheaper model on val, measures it on --part "
        "and compares it with the dearer model at its own temperature: paired differences with "
        "intervals, p-values corrected for the number of pairs. Each pair is written to a journal "
        "beside --out as it is done; the same command started again goes on from there.",
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER",
        help="holds a folder a model with val.safetensors and PART.safetensors",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.csv",
        help="file for all rows, one a pair and metric; the journal is FILE.jsonl",
    )  # fmt: skip
    for option, what in (("--large", "large models"), ("--small", "sidekicks")):
        parser.add_argument(
            option, nargs="+", metavar="NAME", help=f"names of the {what} (default: all)"
        )
    parser.add_argument(
        "--part", default="test", help="part that is measured, such as shifted-1 (default: test)"
    )
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME", help="metrics (default: seven common ones)"
    )
    parser.add_argument(
        "--equal", action="store_true",
        help="pair models of equal FLOPs too, such as two initialisations (default: no)",
    )  # fmt: skip
    add_bootstrap(parser)
    add_mismatch(parser)
    parser.add_argument(
        "--alpha", type=real(0, 1), default=0.05, metavar="P",
        help="largest corrected p-value that counts in the printed table (default: 0.05)",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true",
        help="replace the file of --out where no journal says that this command made it",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 after the last pair, with all rows in --out and a short table printed."""
    from tqdm import tqdm

    from duokit.ablations import pairs, summary
    from duokit.ablations.pairs import DEFAULT
    from duokit.logits.files import starts_with, write_whole
    from duokit.models.backbones import BACKBONES

    if given.out.suffix != ".csv":
        raise ValueError(f"--out {given.out} does not end in .csv")
    journal = given.out.with_suffix(".jsonl")
    ours = journal.exists() and starts_with(given.out, b"large,small,relation,")
    if os.path.lexists(given.out) and not ours and not given.overwrite:
        raise FileExistsError(f"{given.out} exists; take another name, or --overwrite it")
    with tqdm(unit="pair", disable=None) as bar:

        def report(done: int, every: int, name: str) -> None:
            bar.total, bar.n = every, done
            bar.set_description(name)

        table = pairs(
            given.folder,
            large=given.large,
            small=given.small,
            part=given.part,
            metrics=given.metrics or DEFAULT,
            equal=given.equal,
            families={each.model: each.family for each in BACKBONES},
            resamples=given.resamples,
            level=given.level,
            seed=given.seed,
            journal=journal,
            report=report,
            allow_mismatch=given.allow_mismatch,
        )
        bar.update((bar.total or 0) - bar.n)
    write_whole(given.out, csv_text(table).encode(), overwrite=True)
    print(_told(table, given.alpha, summary(table, alpha=given.alpha)))
    if "allowed" in table:
        print(*table["allowed"].dropna().unique(), sep="\n")
    print(f"written: {given.out}")
    return 0


def _told(table: pd.DataFrame, alpha: float, counts: pd.DataFrame) -> str:
    """Returns the table of verdicts, with what its words mean."""
    models = len({*table["large"], *table["small"]})
    every = len(table[["large", "small"]].drop_duplicates())
    failed = table.loc[table["status"] == "failed", ["large", "small"]].drop_duplicates()
    left = f"\npairs that could not be fitted: {len(failed)}; the column reason says why"
    shown = counts.to_string(float_format="{:.4f}".format, na_rep="-")
    return (
        f"models: {models}, pairs: {every}. gain: mean share of the way from the large model to "
        f"perfect. better, worse: p <= {alpha:g}\nafter Benjamini and Hochberg; open: neither; "
        f"sure: better or worse after Holm as well\n\n{shown}{left if len(failed) else ''}"
    )
