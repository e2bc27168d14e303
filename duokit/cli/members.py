"""Logits from files of any kind: records of the store, .npz, .csv, or .npy with labels beside."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from duokit.logits import Record, load, make_record, read_csv, read_npz
from duokit.logits.bounded import read_npy

KINDS = "a record (.safetensors), .npz, .csv or .npy"
FORMATS = (
    f"A file of logits is {KINDS}. .npz: arrays logits (images, classes), labels, and ids if "
    "possible; .csv: columns id, label, then one a class; .npy: the logits alone, with the labels "
    "in another .npy. Logits are scores before softmax; probabilities are refused."
)


def read_member(path: Path, labels: Path | None = None) -> Record:
    """Returns the record in a file of logits; float64 is rounded to float32.

    Args:
        path: .safetensors, .npz, .csv, or .npy.
        labels: .npy file with one whole number an image, for logits in .npy.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, labels that are missing, or content that is refused.
    """
    match path.suffix.lower():
        case ".safetensors":
            return load(path)
        case ".npz":
            return read_npz(path, dtype="float32")
        case ".csv":
            return read_csv(path)
        case ".npy":
            return _read_npy(path, labels)
    raise ValueError(f"{path} is not {KINDS}")


def read_members(paths: Sequence[Path], labels: Path | None = None) -> list[Record]:
    """Returns the records in files, in their order; see `read_member`."""
    return [read_member(path, labels) for path in paths]


def named_alike(
    test: Sequence[Record], val: Sequence[Record], files: Sequence[Path]
) -> list[Record]:
    """Returns the test records, those of unnamed models called as their partner on val.

    A record of the store knows its model, so a mix-up is found. Other files are called after
    themselves; there the order on the command line says which belong together.

    Args:
        test: records to rename where needed.
        val: their partners.
        files: where the test records came from.
    """
    return [
        replace(one, model=other.model, resolution=other.resolution)
        if path.suffix.lower() != ".safetensors" and one.model == path.stem
        else one
        for one, other, path in zip(test, val, files, strict=True)
    ]


def add_labels(parser: argparse.ArgumentParser, option: str, what: str) -> None:
    """Adds the option that names the labels of .npy logits."""
    parser.add_argument(
        option,
        type=Path,
        metavar="NPY",
        help=f"labels of {what}: a .npy of whole numbers, 0 for the first class "
        "(only for logits in .npy; default: in the files)",
    )


def _read_npy(path: Path, labels: Path | None) -> Record:
    if labels is None:
        raise ValueError(f"{path} holds no labels: name a .npy with them (see --help), or use .npz")
    values, classes = read_npy(path), read_npy(labels)
    try:
        return make_record(
            values,
            classes,
            model=path.stem,
            dataset="unknown",
            split="unknown",
            dtype="float32",
            versions={},
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
