"""`duokit finetune`: from pictures and settings to the logits of a fine-tuned network."""

from __future__ import annotations

import argparse
import os
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.keeping import found_records, write_missing
from duokit.cli.options import add_making, add_pictures, real
from duokit.cli.probe import kept_splits
from duokit.images import NAMES, load

if TYPE_CHECKING:
    from duokit.images import ImageSet, Splits
    from duokit.logits import Record
    from duokit.models.tuning.settings import FineTune


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "finetune",
        help="make logits: fine-tune a network on a GPU or CPU",
        description="Fits a linear probe, fine-tunes all weights, and writes the logits of every "
        "part but training to OUT/MODEL-PIXELS-finetuned-SEED/PART.safetensors. Or does something "
        "with the network of a finished run (--stage and --from). A run that was "
        "stopped goes on where it was; records that exist are kept, never replaced. Several GPUs: "
        "accelerate launch -m duokit finetune ...",
    )
    add_settings(parser)
    parser.add_argument(
        "--stage", choices=("plain", "gatekeeper", "continued", "distilled"),
        help="what is done with the network of --from: tuned by the Gatekeeper loss, trained "
        "further by cross-entropy, or learned from as a teacher (default: plain, no such run)",
    )  # fmt: skip
    parser.add_argument(
        "--alpha", type=real(0, 1), metavar="A",
        help="of the Gatekeeper loss, above 0 and below 1: smaller gives up more accuracy for a "
        "clearer confidence (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="builds_on", type=Path, metavar="RUN",
        help="folder of a finished run, whose settings count but for those that are given, and "
        "for select, which is last with gatekeeper (default: none)",
    )  # fmt: skip
    add_options(parser)
    add_curves(parser)
    parser.set_defaults(run=run)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds what says which network is trained, how, on which pictures, and where records go."""
    parser.add_argument("settings", type=Path, nargs="?", help="TOML file: name = value, a line")
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="NAME=VALUE",
        help='a setting, before those of the file, such as lr=3e-5 (default: none)',
    )  # fmt: skip
    parser.add_argument("--data", required=True, choices=NAMES, help="name of the data set")
    add_pictures(parser)
    parser.add_argument(
        "--splits", type=Path, help="file of splits to use (default: those in OUT, or new ones)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a run that do not change its result."""
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/finetune"),
        help="folder for checkpoints and weights (default: runs/finetune)",
    )  # fmt: skip
    add_making(parser)


def add_curves(parser: argparse.ArgumentParser) -> None:
    """Adds the option of a run that draws curves while it trains."""
    parser.add_argument(
        "--tensorboard", action="store_true",
        help="curves for TensorBoard in the folder of --runs (default: metrics.jsonl alone)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing and printing what they hold."""
    settings, image_set, splits = task(arguments)
    make_records(image_set, splits, settings, arguments, builds_on=arguments.builds_on)
    return 0


def task(arguments: argparse.Namespace) -> tuple[FineTune, ImageSet, Splits]:
    """Returns the settings, settled, the pictures and their parts that the words name."""
    settings = _settings(arguments).settled()
    image_set = load(arguments.data, arguments.root, download=arguments.download)
    arguments.seed, arguments.fold = settings.split_seed, settings.fold
    return settings, image_set, kept_splits(image_set, arguments)


def run_folder(
    runs: Path, image_set: ImageSet, settings: FineTune, what: str | None = None
) -> Path:
    """Returns where a run, or a sweep, keeps its weights: RUNS/DATA[-foldN]-MODEL-PIXELS-WHAT-SEED.

    Args:
        runs: folder of all runs.
        image_set: pictures and labels.
        settings: how to fine-tune, settled.
        what: "sweep", or what `FineTune.folder` takes.
    """
    fold = "" if settings.fold is None else f"-fold{settings.fold}"
    return runs / f"{image_set.name}{fold}-{settings.folder(what)}"


def make_records(
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    arguments: argparse.Namespace,
    *,
    builds_on: Path | None = None,
    keep: Sequence[str] | None = None,
    until: float | None = None,
) -> None:
    """Writes the records that are missing and prints what all of them hold.

    Args:
        image_set: pictures and labels.
        splits: parts of the set.
        settings: how to fine-tune, settled.
        arguments: with `data`, `root`, `out`, `runs`, `cache`, `dtype`, `device`, `quiet`,
            `tensorboard`.
        builds_on: folder of the finished run that a stage other than "plain" needs.
        keep: names of the parts whose records are written; all but "train" if not given.
        until: when to stop with a checkpoint, as for `duokit.models.tuning.finetune.fine_tune`.

    Raises:
        ValueError: records that are there were made with other settings or splits, or a part to
            keep that the splits lack.
    """
    from duokit.models.tuning.run import load_run
    from duokit.models.tuning.tuned import on_top_of, tuned_records

    first = None if builds_on is None else load_run(builds_on)
    settings = on_top_of(first, settings, image_set, splits)
    name = settings.folder()
    parts = list(keep or [part for part in splits.parts if part != "train"])
    unknown = set(parts) - set(splits.parts)
    if unknown:
        raise ValueError(f"the splits have no part {sorted(unknown)[0]!r} to keep")
    paths = {part: arguments.out / name / f"{part}.safetensors" for part in parts}
    found = found_records(paths, splits.checksum, settings=settings.as_dict())
    made: dict[str, Record] = {}
    if len(found) < len(parts):
        made = tuned_records(
            image_set,
            splits,
            settings,
            run_folder(arguments.runs, image_set, settings),
            cache=arguments.cache,
            builds_on=builds_on,
            dtype=arguments.dtype,
            command=command(arguments, settings),
            device=arguments.device,
            until=until,
            progress=not arguments.quiet,
            tensorboard=arguments.tensorboard,
        )
        if os.environ.get("RANK", "0") != "0":
            return  # one of several processes (accelerate launch): the first one writes
    for record in list(write_missing(paths, found, made).values())[:1]:
        if record.config.get("below_start"):
            print(record.config["below_start"])


def command(arguments: argparse.Namespace, settings: FineTune, name: str = "finetune") -> str:
    """Returns the command that makes these records, with DATA and OUT in place of folders."""
    from duokit.models.tuning.settings import FineTune

    plain = FineTune(settings.model).as_dict()
    words = ["duokit", name, "--data", arguments.data]
    words += ["--root", "DATA"] if arguments.root is not None else []
    words += ["--splits", "SPLITS"] if getattr(arguments, "splits", None) is not None else []
    words += ["--from", "RUN"] if settings.builds_on is not None else []
    for name, value in settings.as_dict().items():
        if name == "model" or (value != plain[name] and name != "builds_on"):
            words += ["--set", f"{name}={_toml(value)}"]
    words += ["--out", "OUT"]
    words += ["--dtype", arguments.dtype] if arguments.dtype != "float16" else []
    return shlex.join(words)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _settings(arguments: argparse.Namespace) -> FineTune:
    """Returns the settings of the file, or of the run, changed by those of the command line."""
    from duokit.models.tuning.run import load_run
    from duokit.models.tuning.settings import from_dict, read_settings

    changes: dict[str, Any] = {}
    for name in ("stage", "alpha"):
        if getattr(arguments, name, None) is not None:
            changes[name] = getattr(arguments, name)
    for text in arguments.changes:
        name, _, value = text.partition("=")
        try:
            changes |= tomllib.loads(f"{name.strip()} = {value}")
        except tomllib.TOMLDecodeError:
            changes[name.strip()] = value  # a word without quotes: the shell took them
    if arguments.settings is None:
        builds_on = getattr(arguments, "builds_on", None)
        if builds_on is not None and "model" not in changes:
            select = {"select": "last"} if changes.get("stage") == "gatekeeper" else {}
            changes = load_run(builds_on).settings.as_dict() | select | changes
        return from_dict(changes)
    return read_settings(arguments.settings, **changes)
