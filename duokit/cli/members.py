"""Logits from files of any kind: records of the store, .npz, .csv, or .npy with labels beside."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from duokit.logits import Record, load, make_record, read_csv, read_npz
from duokit.logits.agreement import names_model
from duokit.logits.bounded import read_npy
from duokit.logits.record import AFTER_FILE

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
        labels: .npy file with one whole number an image, for logits in .npy; labels that another
            file holds must be the same.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, labels that are missing or differ, or content that is
            refused.
    """
    match path.suffix.lower():
        case ".safetensors":
            record = load(path)
        case ".npz":
            record = read_npz(path, dtype="float32")
        case ".csv":
            record = read_csv(path)
        case ".npy":
            return _read_npy(path, labels)
        case _:
            raise ValueError(f"{path} is not {KINDS}")
    if labels is not None:
        _same_labels(record, path, labels)
    return record


def read_members(paths: Sequence[Path], labels: Path | None = None) -> list[Record]:
    """Returns the records in files, in their order; see `read_member`."""
    return [read_member(path, labels) for path in paths]


def titles(records: Sequence[Record], partners: Sequence[Record]) -> str:
    """Returns the names of fused records; one that knows no model is called as its partner.

    Args:
        records: one a member.
        partners: the same members on another split.
    """
    return " + ".join(
        (one if names_model(one) else replace(one, model=other.model)).title
        for one, other in zip(records, partners, strict=True)
    )


def add_mismatch(parser: argparse.ArgumentParser) -> None:
    """Adds the option that lets records pass which do not belong together."""
    parser.add_argument(
        "--allow-mismatch", action="store_true",
        help="go on with records that do not belong together (other data sets, splits, models or "
        "classes, images that fitted the weights), and say so (default: refuse)",
    )  # fmt: skip


def add_labels(parser: argparse.ArgumentParser, option: str, what: str) -> None:
    """Adds the option that names the labels of .npy logits."""
    parser.add_argument(
        option,
        type=Path,
        metavar="NPY",
        help=f"labels of {what}: a .npy of whole numbers, 0 for the first class "
        "(for logits in .npy; default: in the files, whose own labels must be the same)",
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
            config={"model": AFTER_FILE},
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _same_labels(record: Record, path: Path, labels: Path) -> None:
    given = read_npy(labels)
    if given.shape != record.labels.shape:
        where = f"has shape {given.shape}, the file {record.labels.shape}"
    elif (given != record.labels).any():
        row = int(np.argmax(given != record.labels))
        where = f"says {given[row]} in row {row}, the file {record.labels[row]}"
    else:
        return
    raise ValueError(
        f"{path} has labels of its own, and {labels} {where}: leave out the one that is wrong"
    )
