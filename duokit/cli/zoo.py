"""`duokit zoo`: the networks that the book wants, which exist, and making the others."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.finetune import add_curves, add_options, make_records, run_folder
from duokit.cli.keeping import report
from duokit.cli.options import real
from duokit.cli.probe import kept_splits
from duokit.images import NAMES, ImageSet, default_splits, load, load_splits

if TYPE_CHECKING:
    import pandas as pd

    from duokit.images import Splits
    from duokit.logits import Record
    from duokit.models.tuning.settings import FineTune
    from duokit.models.tuning.zoo import Wanted


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "zoo",
        help="list and make the book's trained networks",
        description="Lists the records that a zoo file wants: which are there, where and how long "
        "their networks were trained, and what the missing ones cost. With --make, makes the "
        "missing ones in the order of the file; a run that was stopped goes on where it was.",
    )
    parser.add_argument(
        "zoo", type=Path, nargs="?", default=Path("book/zoo.toml"),
        help="TOML file of [[network]] tables (default: book/zoo.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--artifacts", type=Path, default=Path("book/artifacts"),
        help="folder with one folder of records a data set (default: book/artifacts)",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", metavar="TEXT",
        help="only names that hold this; may be given several times (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--time", action="store_true",
        help="time a training step of each missing network on this machine, and say in minutes "
        "what it costs (default: multiply-adds)",
    )  # fmt: skip
    parser.add_argument("--make", action="store_true", help="make what is missing (default: no)")
    parser.add_argument(
        "--root", action="append", default=[], metavar="DATA=FOLDER",
        help="where the pictures of a data set are; once for each (default: the usual places)",
    )  # fmt: skip
    parser.add_argument("--download", action="store_true", help="fetch pictures (default: no)")
    parser.add_argument(
        "--budget-minutes",
        type=real(0, ends="[)"),
        help="stop with a checkpoint after so long (default: never)",
    )
    add_options(parser)
    add_curves(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 when nothing is missing (any more), 1 when the budget ended before that."""
    from duokit.models.tuning.zoo import read_zoo

    only = arguments.only or [""]
    every = read_zoo(arguments.zoo)
    wanted = [each for each in every if any(text in each.name for text in only)]
    if not wanted:
        raise ValueError(f"{arguments.zoo} wants no record whose name contains {' or '.join(only)}")
    pictures = _Pictures(arguments)
    if arguments.make:
        _make(wanted, pictures, arguments)
    print(table(wanted, pictures, arguments).to_string(index=False))
    missing = [each for each in wanted if not each.parts(arguments.artifacts)]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} have their records")
    return 1 if missing and arguments.make else 0


class _Pictures:
    """The data sets of the zoo, each opened once, and their splits."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.roots: dict[str, Path] = {}
        self.opened: dict[str, ImageSet] = {}
        for text in arguments.root:
            name, _, place = text.partition("=")
            if name not in NAMES or not place:
                raise ValueError(f"--root {text}: expected DATA=FOLDER with DATA one of {NAMES}")
            self.roots[name] = Path(place)

    def of(self, data: str) -> ImageSet:
        """Returns a data set."""
        if data not in self.opened:
            download = self.arguments.download
            self.opened[data] = load(data, self.roots.get(data), download=download)
        return self.opened[data]

    def classes_and_images(self, each: Wanted) -> tuple[int, int] | None:
        """Returns the numbers of classes and of training images; None without the pictures."""
        kept = self.arguments.artifacts / each.folder / "splits.json"
        try:
            image_set = self.of(each.data)
        except FileNotFoundError:
            return None
        seed, fold = each.settings.split_seed, each.settings.fold
        if kept.is_file():
            splits = load_splits(kept)
        else:
            splits = default_splits(image_set, seed=seed, fold=fold)
        return image_set.classes, len(splits.parts["train"])


def table(wanted: list[Wanted], pictures: _Pictures, arguments: argparse.Namespace) -> pd.DataFrame:
    """Returns one row a folder of records: what is there, or what it costs."""
    import pandas as pd

    timed = "minutes here" if arguments.time else "10^6 multiply-adds an image"
    rows = []
    for each in wanted:
        parts = each.parts(arguments.artifacts)
        row = {
            "records": each.name,
            "parts": ", ".join(parts) or "-",
            "epochs": each.settings.epochs,
            "lr": f"{each.settings.lr:g}" if each.search is None else "drawn",
            "trained": _machine(each, arguments.artifacts) if parts else "-",
            timed: "-" if parts else _cost(each, pictures, arguments),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _machine(each: Wanted, artifacts: Path) -> str:
    """Returns where and how long the network of some records was trained; of soups, of how many."""
    from duokit.logits import read_metadata

    path = artifacts / each.name / f"{each.parts(artifacts)[0]}.safetensors"
    config = read_metadata(path)["config"]
    words = [config["machine"]]
    if "seconds" in config:
        words.append(f"{config['seconds'] / 60:.1f} min")
    if each.search is not None:
        words.append(f"{len(config['ingredients'])} of {each.search.trials} trials")
    return ", ".join(words)


def _cost(each: Wanted, pictures: _Pictures, arguments: argparse.Namespace) -> str:
    """Returns what training costs, in the unit that was asked for."""
    if not each.runs:
        return "with the above"
    if not arguments.time:
        return f"{each.work() / 1e6:,.0f}"
    from duokit.models.tuning.footprint import measure_step

    known = pictures.classes_and_images(each)
    if known is None:
        return "no pictures here"
    classes, images = known
    step = measure_step(each.settings, classes=classes, device=arguments.device)
    seconds = step.training_seconds * images * each.settings.epochs * each.runs
    return f"{seconds / 60:.2f}"


def _make(wanted: list[Wanted], pictures: _Pictures, arguments: argparse.Namespace) -> None:
    """Makes what is missing until the budget ends."""
    minutes = arguments.budget_minutes
    until = None if minutes is None else time.monotonic() + 60 * minutes
    for each in wanted:
        if each.parts(arguments.artifacts):
            continue
        print(f"{each.name}:", flush=True)
        given = argparse.Namespace(
            **vars(arguments)
            | {"data": each.data, "root": pictures.roots.get(each.data), "splits": None}
            | {"out": arguments.artifacts / each.folder}
            | {"seed": each.settings.split_seed, "fold": each.settings.fold}
        )
        image_set = pictures.of(each.data)
        splits = kept_splits(image_set, given)
        try:
            _make_one(each, image_set, splits, given, until)
        except TimeoutError as stopped:
            print(f"{stopped}: type the command again to go on")
            return


def _make_one(
    each: Wanted,
    image_set: ImageSet,
    splits: Splits,
    given: argparse.Namespace,
    until: float | None,
) -> None:
    """Writes the records of one folder and prints what they hold."""
    from duokit.logits import save

    if each.method is None and each.search is None:
        first = None
        if each.first is not None:
            first = _finished(image_set, splits, each.first, given, until)
        make_records(
            image_set, splits, each.settings, given, builds_on=first, keep=each.keep, until=until
        )
        return
    make = _soup if each.method is None else _asked
    for part, record in make(each, image_set, splits, given, until).items():
        path = given.artifacts / each.name / f"{part}.safetensors"
        report(save(record, path), record)


def _asked(
    each: Wanted,
    image_set: ImageSet,
    splits: Splits,
    given: argparse.Namespace,
    until: float | None,
) -> dict[str, Record]:
    """Returns what the trained network says when asked by a method; it is trained if need be."""
    from duokit.models.tuning.predict import predict_records
    from duokit.models.tuning.run import load_run

    assert each.method is not None
    run = load_run(_finished(image_set, splits, each.settings, given, until))
    how = {"cache": given.cache, "device": given.device, "progress": not given.quiet}
    return predict_records(
        run, image_set, splits, method=each.method, command=_command(each), **how
    )  # fmt: skip


def _finished(
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    given: argparse.Namespace,
    until: float | None,
) -> Path:
    """Returns the folder of a finished run, which is trained if its records came from elsewhere."""
    from duokit.models.tuning.tuned import tuned_records

    folder = run_folder(given.runs, image_set, settings)
    if not (folder / "run.json").is_file():
        how = {"cache": given.cache, "device": given.device, "progress": not given.quiet}
        tuned_records(image_set, splits, settings, folder, until=until, **how)
    return folder


def _soup(
    each: Wanted,
    image_set: ImageSet,
    splits: Splits,
    given: argparse.Namespace,
    until: float | None,
) -> dict[str, Record]:
    """Returns the best run of a sweep, or a soup of its runs, which are made if need be."""
    from duokit.models.tuning.souped import soup_records
    from duokit.models.tuning.sweep import sweep
    from duokit.models.tuning.tuned import prepare

    where = {"device": given.device, "progress": not given.quiet}
    folder = run_folder(given.runs, image_set, each.settings, "sweep")
    start = prepare(image_set, splits, each.settings, cache=given.cache, **where)
    sweep(
        start, image_set, splits, each.settings, folder, search=each.search,
        command=_command(each), until=until, **where,
    )  # fmt: skip
    return soup_records(
        start, image_set, splits, each.settings, folder, kind=each.what, command=_command(each),
        **where,
    )  # fmt: skip


def _command(each: Wanted) -> str:
    """Returns the command that makes these records."""
    return f"duokit zoo --make --only {each.name}"
