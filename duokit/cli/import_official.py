"""`duokit import-official`: the files of the paper's released code, as records."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.keeping import report
from duokit.cli.options import add_dtype

if TYPE_CHECKING:
    from duokit.logits import OfficialFile, Record

# What the released code adds to the name of a backbone: soups, and Laplace.
SUFFIX = re.compile(r"_(greedy|uniform|(kron|diag|full)_(last_layer|all)_LA)$")


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "import-official",
        help="make records of the files that the paper's released code writes",
        description="Reads y-prediction/DATASET/{val,test,ood_test}/raw/MODEL.csv with the labels "
        "and classes in point_prediction.csv, checks that they belong together, and writes "
        "OUT/DATASET/MODEL/PART.safetensors; ood_test becomes shifted. Probabilities (Laplace, "
        "IVON) are kept as log-probabilities. Records that exist are kept, never replaced. A file "
        "that is refused does not stop the others; the command then ends as an error.",
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR",
        help="y-prediction, the folder that holds it, or that of one data set in it",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    parser.add_argument("--data", help="data sets, such as imagenet,caltech256 (default: all)")
    parser.add_argument("--models", help="models, such as ConvNeXt_Base,ResNet50 (default: all)")
    add_dtype(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records that were missing; a file that is refused is an error."""
    from duokit.logits import find_official

    files = find_official(arguments.folder)
    files = _chosen(files, arguments.data, "dataset")
    files = _chosen(files, arguments.models, "model")
    refused: list[str] = []
    unchecked: list[str] = []
    for file in files:
        path = arguments.out / file.dataset / file.model / f"{file.part}.safetensors"
        try:
            record = _record(file, path, arguments)
        except (ValueError, FileNotFoundError) as error:
            print(f"not imported: {error}", flush=True)
            refused.append(file.place)
            continue
        report(path, record)
        if record.config["order"] == "not checked":
            unchecked.append(file.place)
    if unchecked:
        print(
            f"order of the rows not checked, as point_prediction.csv lacks their column: "
            f"{', '.join(unchecked)}"
        )
    print(f"{len(files) - len(refused)} of {len(files)} files are records in {arguments.out}")
    if refused:
        raise ValueError(
            f"{len(refused)} of {len(files)} files were not imported ({refused[0]}"
            f"{', ...' if len(refused) > 1 else ''}); the lines above say why"
        )
    return 0


def command(arguments: argparse.Namespace) -> str:
    """Returns the command that makes these records, with DIR and OUT in place of folders."""
    words = ["duokit", "import-official", "DIR"]
    for name in ("data", "models"):
        value = getattr(arguments, name)
        words += [f"--{name}", value] if value else []
    words += ["--out", "OUT"]
    words += ["--dtype", arguments.dtype] if arguments.dtype != "float16" else []
    return shlex.join(words)


def _chosen(
    files: tuple[OfficialFile, ...], names: str | None, what: str
) -> tuple[OfficialFile, ...]:
    """Returns the files of these data sets or models; a name that no file has is an error."""
    if names is None:
        return files
    wanted = names.split(",")
    known = {getattr(file, what): None for file in files}
    missing = [name for name in wanted if name not in known]
    if missing:
        kind = "data set" if what == "dataset" else what
        raise ValueError(f"no file of the {kind} {missing[0]!r}; there are {', '.join(known)}")
    return tuple(file for file in files if getattr(file, what) in wanted)


def _record(file: OfficialFile, path: Path, arguments: argparse.Namespace) -> Record:
    """Returns the record of a file: the one that is there, or a new one, saved."""
    from duokit.logits import load, read_official, save

    if path.is_file():
        record = load(path)
        same = record.config.get("source_sha256") == file.sha256()
        if not same or record.logits.dtype.name != arguments.dtype:
            other = "file" if not same else f"dtype ({record.logits.dtype})"
            raise ValueError(
                f"{path} was made of another {other} than {file.path}: choose another --out, or "
                "remove it"
            )
        return record
    record = read_official(
        file, dtype=arguments.dtype, command=command(arguments), **_facts(file.model)
    )
    save(record, path)
    return record


def _facts(model: str) -> dict[str, Any]:
    """Returns what the paper's table of backbones says of a model; nothing if it is none of them.

    FLOPs are those at the resolution of the authors' loader; what they charge is in the config.
    """
    from duokit.models.backbones import BACKBONES

    name = SUFFIX.sub("", model)
    known = {each.name: each for each in BACKBONES}.get(name)
    if known is None:
        return {}
    return {
        "weights": known.tag,
        "resolution": known.resolution,
        "flops": known.flops,
        "config": {
            "backbone": known.name,
            "charged_gflops": known.charged_gflops,
            "params_millions": known.params_millions,
        },
    }
