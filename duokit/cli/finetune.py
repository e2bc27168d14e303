"""`duokit finetune`: from pictures and settings to the logits of a fine-tuned network."""

from __future__ import annotations

import argparse
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.probe import kept_splits, report
from duokit.images import NAMES, load

if TYPE_CHECKING:
    from duokit.models.settings import FineTune


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "finetune",
        help="make logits: fine-tune a network on a GPU or CPU",
        description="Fits a linear probe, fine-tunes all weights, and writes the logits of every "
        "part but training to OUT/MODEL-PIXELS-finetuned-SEED/PART.safetensors. A run that was "
        "stopped goes on where it was; records that exist are kept, never replaced. Several GPUs: "
        "accelerate launch -m duokit finetune ...",
    )
    parser.add_argument("settings", type=Path, nargs="?", help="TOML file: name = value, a line")
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="NAME=VALUE",
        help='a setting, before those of the file: model="tf_efficientnet_lite0", lr=3e-5',
    )  # fmt: skip
    parser.add_argument("--data", required=True, choices=NAMES, help="name of the data set")
    parser.add_argument("--root", type=Path, help="folder or archive with the pictures")
    parser.add_argument("--download", action="store_true", help="fetch pictures if not found")
    parser.add_argument("--splits", type=Path, help="splits to use instead of drawing them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/finetune"),
        help="folder for checkpoints and weights (default: runs/finetune)",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/pixels"),
        help="folder that keeps decoded pictures (default: runs/pixels)",
    )  # fmt: skip
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing and printing what they hold."""
    from duokit.logits import load as load_record
    from duokit.logits import save
    from duokit.models.transforms import preprocessing
    from duokit.models.tuned import tuned_records

    settings = _settings(arguments)
    size = preprocessing(settings.model, settings.resolution, pretrained=settings.source).resolution
    settings = settings.replace(resolution=size)
    image_set = load(arguments.data, arguments.root, download=arguments.download)
    arguments.seed = settings.split_seed
    splits = kept_splits(image_set, arguments)
    bare = settings.model.replace(":", "-").replace("/", "-")
    name = f"{bare}-{size}-finetuned-{settings.seed}"
    parts = [part for part in splits.parts if part != "train"]
    paths = {part: arguments.out / name / f"{part}.safetensors" for part in parts}
    kept = {part: load_record(path) for part, path in paths.items() if path.is_file()}
    for part, record in kept.items():
        if (record.config.get("settings"), record.split_checksum) != (
            settings.as_dict(),
            splits.checksum,
        ):
            raise ValueError(
                f"{paths[part]} was made with other settings or splits: choose another --out, "
                "or remove the file"
            )
    made = {}
    if len(kept) < len(parts):
        made = tuned_records(
            image_set,
            splits,
            settings,
            arguments.runs / f"{image_set.name}-{name}",
            cache=arguments.cache,
            dtype=arguments.dtype,
            command=command(arguments, settings),
            device=arguments.device,
            progress=not arguments.quiet,
        )
    for part in parts:
        if part not in kept:
            save(made[part], paths[part])
        report(paths[part], kept.get(part) or made[part])
    return 0


def command(arguments: argparse.Namespace, settings: FineTune) -> str:
    """Returns the command that makes these records, with DATA and OUT in place of folders."""
    from duokit.models.settings import FineTune

    plain = FineTune(settings.model).as_dict()
    words = ["duokit", "finetune", "--data", arguments.data]
    words += ["--root", "DATA"] if arguments.root is not None else []
    words += ["--splits", "SPLITS"] if arguments.splits is not None else []
    for name, value in settings.as_dict().items():
        if name == "model" or value != plain[name]:
            words += ["--set", f"{name}={_toml(value)}"]
    words += ["--out", "OUT"]
    words += ["--dtype", arguments.dtype] if arguments.dtype != "float16" else []
    return shlex.join(words)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _settings(arguments: argparse.Namespace) -> FineTune:
    """Returns the settings of the file, changed by those of the command line."""
    from duokit.models.settings import from_dict, read_settings

    changes: dict[str, Any] = {}
    for text in arguments.changes:
        name, _, value = text.partition("=")
        try:
            changes |= tomllib.loads(f"{name.strip()} = {value}")
        except tomllib.TOMLDecodeError:
            changes[name.strip()] = value  # a word without quotes: the shell took them
    if arguments.settings is None:
        return from_dict(changes)
    return read_settings(arguments.settings, **changes)
