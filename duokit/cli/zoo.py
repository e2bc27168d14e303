"""`duokit zoo`: the fine-tuned networks that the book wants, which exist, and making the others."""

from __future__ import annotations

import argparse
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.finetune import add_options, folder_name, make_records, settled
from duokit.cli.probe import kept_splits
from duokit.images import NAMES, load

if TYPE_CHECKING:
    import pandas as pd

    from duokit.models.tuning.settings import FineTune


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "zoo",
        help="list and make the book's fine-tuned networks",
        description="Lists the networks of a zoo file, whether their records are there, and what "
        "training each costs. With --make, makes the missing ones in the order of the file; a run "
        "that was stopped goes on where it was.",
    )
    parser.add_argument(
        "zoo", type=Path, nargs="?", default=Path("book/zoo.toml"),
        help="TOML file of [[network]] tables (default: book/zoo.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--artifacts", type=Path, default=Path("book/artifacts"),
        help="folder with one folder of records a data set (default: book/artifacts)",
    )  # fmt: skip
    parser.add_argument("--only", help="only names that hold this (default: all)")
    parser.add_argument("--make", action="store_true", help="make what is missing (default: no)")
    parser.add_argument(
        "--root", action="append", default=[], metavar="DATA=FOLDER",
        help="where the pictures of a data set are; once for each (default: the usual places)",
    )  # fmt: skip
    parser.add_argument("--download", action="store_true", help="fetch pictures (default: no)")
    parser.add_argument(
        "--budget-minutes", type=float, help="stop with a checkpoint after so long (default: never)"
    )
    add_options(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Wanted:
    """One network of a zoo.

    Attributes:
        data: name of the data set.
        settings: how it is fine-tuned, the resolution settled.
    """

    data: str
    settings: FineTune

    @property
    def folder(self) -> str:
        """Where the networks of the data set lie together, apart from its linear probes."""
        return f"{self.data}-finetuned"

    @property
    def name(self) -> str:
        """Folder of the records: caltech101-finetuned/MODEL-PIXELS-finetuned-SEED."""
        return f"{self.folder}/{folder_name(self.settings)}"

    def parts(self, artifacts: Path) -> list[str]:
        """Returns the names of the records that are there."""
        return sorted(path.stem for path in (artifacts / self.name).glob("*.safetensors"))

    def work(self) -> float:
        """Returns multiply-adds of training on one image, over all epochs.

        A backward pass costs two forward passes.
        """
        from duokit.models.cost import cost

        size = self.settings.resolution
        assert size is not None  # settled
        return 3.0 * cost(self.settings.model, size).flops * self.settings.epochs


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 when nothing is missing (any more), 1 when the budget ended before that."""
    wanted = [each for each in read_zoo(arguments.zoo) if (arguments.only or "") in each.name]
    if not wanted:
        raise ValueError(f"{arguments.zoo} has no network whose name contains {arguments.only!r}")
    if arguments.make:
        _make(wanted, arguments)
    print(table(wanted, arguments.artifacts).to_string(index=False))
    missing = [each for each in wanted if not each.parts(arguments.artifacts)]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} networks have their records")
    return 1 if missing and arguments.make else 0


def read_zoo(path: Path) -> list[Wanted]:
    """Returns the networks of a zoo file, one for each seed, in its order.

    Each [[network]] holds `data`, `seeds` (a list; [0] if not given) and settings of
    `duokit.models.tuning.settings.FineTune`; a [defaults] table holds settings for all of them.

    Args:
        path: TOML file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no TOML, an unknown data set or setting, or the same network twice.
        TypeError: a setting of another type.
    """
    from duokit.models.tuning.settings import from_dict

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f"{path}: {problem}") from problem
    wanted: list[Wanted] = []
    for number, table in enumerate(found.get("network", []), start=1):
        values = found.get("defaults", {}) | table
        data, seeds = values.pop("data", None), values.pop("seeds", [0])
        if data not in NAMES:
            raise ValueError(f"{path}: network {number} has data = {data!r}; expected {NAMES}")
        try:
            made = [settled(from_dict(values | {"seed": seed})) for seed in seeds]
        except (ValueError, TypeError) as problem:
            raise type(problem)(f"{path}: network {number}: {problem}") from problem
        wanted += [Wanted(data, settings) for settings in made]
    names = [each.name for each in wanted]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{path}: {twice} is there twice")
    return wanted


def table(wanted: list[Wanted], artifacts: Path) -> pd.DataFrame:
    """Returns one row a network: its records, its settings, what it costs.

    Args:
        wanted: networks.
        artifacts: folder of the records.
    """
    import pandas as pd

    rows = []
    for each in wanted:
        rows.append(
            {
                "network": each.name,
                "records": ", ".join(each.parts(artifacts)) or "-",
                "epochs": each.settings.epochs,
                "lr": f"{each.settings.lr:g}",
                "start": "probe" if each.settings.probe else each.settings.pretrained,
                "10^9 multiply-adds an image": f"{each.work() / 1e9:.1f}",
            }
        )
    return pd.DataFrame(rows)


def _make(wanted: list[Wanted], arguments: argparse.Namespace) -> None:
    """Makes what is missing until the budget ends."""
    minutes = arguments.budget_minutes
    until = None if minutes is None else time.monotonic() + 60 * minutes
    roots = {}
    for text in arguments.root:
        name, _, place = text.partition("=")
        if name not in NAMES or not place:
            raise ValueError(f"--root {text}: expected DATA=FOLDER with DATA one of {NAMES}")
        roots[name] = Path(place)
    sets: dict[str, Any] = {}
    for each in wanted:
        if each.parts(arguments.artifacts):
            continue
        print(f"{each.name}:", flush=True)
        if each.data not in sets:
            sets[each.data] = load(each.data, roots.get(each.data), download=arguments.download)
        given = argparse.Namespace(
            **vars(arguments) | {"data": each.data, "root": roots.get(each.data), "splits": None}
        )
        given.out, given.seed = arguments.artifacts / each.folder, each.settings.split_seed
        splits = kept_splits(sets[each.data], given)
        try:
            make_records(sets[each.data], splits, each.settings, given, until=until)
        except TimeoutError as stopped:
            print(f"{stopped}: type the command again to go on")
            return
