"""`duokit predict`: the logits of a finished run by any method, or of a pretrained network."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli import pretrained
from duokit.cli.keeping import asked_parts, found_records, write_missing
from duokit.cli.options import add_making, add_pictures, own_options, real, whole
from duokit.images import NAMES, Splits, default_splits, load, load_splits
from duokit.images.loose import load_loose

if TYPE_CHECKING:
    from duokit.images import ImageSet
    from duokit.logits import Record
    from duokit.models.tuning.methods import Method
    from duokit.models.tuning.run import Run

METHODS = ("plain", "mc_dropout", "views", "laplace")
OPTIONS = ("samples", "rate", "shift", "flip")


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "predict",
        help="make logits: ask a fine-tuned network about any pictures, or a pretrained one",
        description="Takes the folder of a run of `duokit finetune` that came to its end and "
        "writes OUT/MODEL-PIXELS-METHOD-SEED/PART.safetensors. Where probabilities are averaged "
        "(all methods but plain), records hold log-probabilities. With --model NAME instead of a "
        "run it asks a pretrained network, with its own 1,000-class head, about pictures of "
        "ImageNet's classes, and writes OUT/MODEL-PIXELS/PART.safetensors, each part when it is "
        "done. Records that exist are kept, never replaced.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="RUN",
        help="folder of the run (default: none, with --model)",
    )  # fmt: skip
    parser.add_argument(
        "--data", choices=NAMES,
        help="name of the data set; with --pictures and laplace, that of the run (default: none)",
    )  # fmt: skip
    add_pictures(parser)
    parser.add_argument(
        "--splits", type=Path,
        help="file of splits to use (default: the run's; for another data set, drawn anew)",
    )  # fmt: skip
    parser.add_argument("--parts", help="such as val,test (default: all but train)")
    parser.add_argument(
        "--pictures", type=Path,
        help="folder of pictures without labels, instead of a data set (default: none)",
    )  # fmt: skip
    _add_method(parser)
    pretrained.add_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    add_making(parser, pictures="decoded pictures of data sets")
    parser.set_defaults(run=run)


def _add_method(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method", choices=METHODS, default="plain",
        help="how the network is asked: plain logits, mean over dropout masks, mean over views, "
        "last-layer Laplace (default: plain)",
    )  # fmt: skip
    parser.add_argument("--samples", type=whole(), help="mc_dropout: masks (default: 30)")
    parser.add_argument(
        "--rate", type=real(0, 1),
        help="mc_dropout: share of the features that is dropped before the head "
        "(default: the network's own dropout layers)",
    )  # fmt: skip
    parser.add_argument(
        "--shift", type=whole(),
        help="views: pixels that four further views are moved by (default: no such views)",
    )  # fmt: skip
    parser.add_argument(
        "--no-flip", dest="flip", action="store_false", default=None,
        help="views: no mirrored ones (default: mirrored ones)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing and printing what they hold."""
    from duokit.models.tuning.predict import predict_records
    from duokit.models.tuning.run import load_run

    if arguments.model is not None:
        return pretrained.run(arguments)
    if arguments.folder is None:
        raise ValueError("which network? Give the folder of a run, or --model NAME")
    pretrained.refuse_own(arguments)
    method = _method(arguments)
    trained = load_run(arguments.folder)
    settings = trained.settings.replace(resolution=trained.preprocessing.resolution)
    data, image_set, splits = _pictures(arguments, trained)
    parts = asked_parts(arguments, splits)
    out = arguments.out / settings.folder(method.name)
    paths = {part: out / f"{part}.safetensors" for part in parts}
    found = found_records(
        paths,
        splits.checksum,
        checkpoint_sha256=trained.config["checkpoint_sha256"],
        prediction=method.as_dict(),
    )
    made: dict[str, Record] = {}
    missing = [part for part in parts if part not in found]
    if missing:
        made = predict_records(
            trained,
            image_set,
            splits,
            method=method,
            parts=missing,
            training=data,
            cache=None if arguments.pictures else arguments.cache,  # other pictures, same names?
            dtype=arguments.dtype,
            command=command(arguments),
            device=arguments.device,
            progress=not arguments.quiet,
        )
    write_missing(paths, found, made)
    return 0


def command(arguments: argparse.Namespace) -> str:
    """Returns the command that makes these records, with RUN, DATA, OUT ... in place of paths."""
    words = ["duokit", "predict", "RUN"]
    words += ["--data", arguments.data] if arguments.data else []
    for name in ("root", "splits", "pictures"):
        place = "DATA" if name == "root" else name.upper()
        words += [f"--{name}", place] if getattr(arguments, name) is not None else []
    words += ["--parts", arguments.parts] if arguments.parts else []
    words += ["--method", arguments.method]
    for name in ("samples", "rate", "shift"):
        value = getattr(arguments, name)
        words += [f"--{name}", str(value)] if value is not None else []
    words += ["--no-flip"] if arguments.flip is False else []
    words += ["--out", "OUT"]
    words += ["--dtype", arguments.dtype] if arguments.dtype != "float16" else []
    return shlex.join(words)


def _method(arguments: argparse.Namespace) -> Method:
    """Returns the method that the words name; an option of another method is an error."""
    from duokit.models.tuning.methods import OPTIONS as KNOWN
    from duokit.models.tuning.methods import Method

    method = arguments.method
    return Method(method, **own_options(arguments, OPTIONS, KNOWN[method], f"the method {method}"))


def _pictures(
    arguments: argparse.Namespace, trained: Run
) -> tuple[ImageSet | None, ImageSet, Splits]:
    """Returns the data set, if one is named; the pictures that are asked about; their parts."""
    data = None
    if arguments.data:
        data = load(arguments.data, arguments.root, download=arguments.download)
    if arguments.pictures is None:
        if data is None:
            raise ValueError("which pictures? Give --data NAME or --pictures FOLDER")
        if arguments.splits is not None:
            return data, data, load_splits(arguments.splits)
        if data.name == trained.dataset:
            return data, data, trained.splits
        settings = trained.settings
        return data, data, default_splits(data, seed=settings.split_seed, fold=settings.fold)
    if arguments.splits is not None or arguments.parts:
        raise ValueError("--pictures takes a whole folder: leave --splits and --parts out")
    if data is None and arguments.method == "laplace":
        raise ValueError("laplace needs the pictures the run was trained on: give --data too")
    loose = load_loose(arguments.pictures, trained.class_names)
    splits = Splits(loose.name, "all pictures of a folder", 0, {loose.name: loose.ids})
    return data, loose, splits
