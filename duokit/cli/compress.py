"""`duokit compress`: the logits of smaller versions of a fine-tuned network."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.finetune import add_options, run_folder
from duokit.cli.keeping import asked_parts, found_records, write_missing
from duokit.cli.options import add_pictures, own_options, real, seed, whole
from duokit.images import NAMES, load

if TYPE_CHECKING:
    from duokit.logits import Record
    from duokit.models.compress.compressed import Compression

WAYS = ("int8_dynamic", "int8_static", "pruned", "resolution")
NUMBERS = ("sparsity", "epochs", "lr", "pixels", "images", "seed")


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "compress",
        help="make logits: a fine-tuned network in int8, pruned, or shown smaller pictures",
        description="Takes the folder of a run of `duokit finetune` that came to its end and "
        "writes OUT/MODEL-PIXELS-HOW-SEED/PART.safetensors. int8 needs the extra export and runs "
        "on the CPU. What is fine-tuned after pruning becomes a run of its own in --runs, and goes "
        "on if stopped. FLOPs in a record are those of dense arithmetic; its config says how many "
        "bytes a file takes, and how many multiply-adds pruning leaves. Records that exist are "
        "kept, never replaced.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--data", required=True, choices=NAMES, help="the run's data set")
    add_pictures(parser)
    parser.add_argument(
        "--how", required=True, choices=WAYS,
        help="int8 with the activations' ranges from each batch, or from training pictures; "
        "small weights set to zero; smaller pictures",
    )  # fmt: skip
    parser.add_argument(
        "--sparsity", type=real(0, 1, ends="[)"), help="pruned: share of zeros (default: none)"
    )
    parser.add_argument(
        "--epochs", type=whole(0), help="pruned: of fine-tuning afterwards (default: 0)"
    )
    parser.add_argument("--lr", type=real(0), help="pruned: its learning rate (default: 1e-4)")
    parser.add_argument(
        "--pixels", type=whole(), help="resolution: side of the pictures (default: none)"
    )
    parser.add_argument(
        "--images", type=whole(), help="int8_static: training pictures to calibrate (default: 128)"
    )
    parser.add_argument("--seed", type=seed, help="int8_static: of their choice (default: 0)")
    parser.add_argument("--parts", help="such as val,test (default: all but train)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing and printing what they hold."""
    from duokit.models.compress.compressed import compressed
    from duokit.models.tuning.predict import check_parts, predict_records
    from duokit.models.tuning.run import load_run

    how = _compression(arguments)
    first = load_run(arguments.folder)
    image_set = load(arguments.data, arguments.root, download=arguments.download)
    parts = asked_parts(arguments, first.splits)
    check_parts(first, image_set, first.splits, parts)
    pixels = how.pixels if how.how == "resolution" else first.preprocessing.resolution
    settings = first.settings.replace(resolution=pixels)
    name = settings.folder(how.name)
    paths = {part: arguments.out / name / f"{part}.safetensors" for part in parts}
    found = found_records(
        paths,
        first.splits.checksum,
        compressed_from=first.config["checkpoint_sha256"],
        compression=how.as_dict(),
    )
    made: dict[str, Record] = {}
    missing = [part for part in parts if part not in found]
    if missing:
        device = "cpu" if how.how.startswith("int8") else arguments.device
        where = {"cache": arguments.cache, "device": device, "progress": not arguments.quiet}
        folder = run_folder(arguments.runs, image_set, settings, how.name)
        smaller = compressed(first, how, image_set, folder=folder, **where)
        made = predict_records(
            smaller, image_set, parts=missing, dtype=arguments.dtype, command=command(arguments),
            **where,
        )  # fmt: skip
    records = write_missing(paths, found, made)
    size = records[parts[-1]].config["size"]
    print(f"{size['bytes'] / 1e6:.2f} MB ({size['file']}), {size['bytes_before'] / 1e6:.2f} before")
    return 0


def command(arguments: argparse.Namespace) -> str:
    """Returns the command that makes these records, with RUN, DATA and OUT in place of folders."""
    words = ["duokit", "compress", "RUN", "--data", arguments.data]
    words += ["--root", "DATA"] if arguments.root is not None else []
    words += ["--how", arguments.how]
    for name in (*NUMBERS, "parts"):
        value = getattr(arguments, name)
        words += [f"--{name}", str(value)] if value is not None else []
    words += ["--out", "OUT"]
    words += ["--dtype", arguments.dtype] if arguments.dtype != "float16" else []
    return shlex.join(words)


def _compression(arguments: argparse.Namespace) -> Compression:
    """Returns the way that the words name; an option of another way is an error."""
    from duokit.models.compress.compressed import OPTIONS, Compression

    given = own_options(arguments, NUMBERS, OPTIONS[arguments.how], arguments.how)
    return Compression(arguments.how, **given)
