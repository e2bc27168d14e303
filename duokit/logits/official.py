"""The logits that the paper's released code writes as text, read into records.

Its layout, one folder a data set:

    y-prediction/DATASET/val|test|ood_test/raw/MODEL.csv        logits, header 0 ... k-1, no ids
    y-prediction/DATASET/val|test|ood_test/point_prediction.csv target, then a column a model

A row is known by its place alone, and labels ("target") were stored once, by the first model. If
the pictures were listed in another order for a later one, nothing in the files says so. What can be
checked is checked: the number of rows, the class that each model named for each row (its column in
point_prediction.csv), and whether the model is right more often than by chance.

Its scripts for Laplace and IVON write probabilities into the same folder of logits. Such files are
recognised, and kept as log-probabilities, which is what the record then says of itself.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from duokit.logits.probabilities import Probabilities, probabilities_in
from duokit.logits.record import Record, make_record
from duokit.logits.rounding import rounded

PARTS = {"val": "val", "test": "test", "ood_test": "shifted"}
ROOT, RAW, LABELS = "y-prediction", "raw", "point_prediction.csv"
ROWS_AT_ONCE = 1024  # lines read together: 8 MB of float64 for 1,000 classes
LEAST = float(np.finfo(np.float32).tiny)  # what a probability of 0 is taken for, 1.2e-38
AGAIN = "1_single_model_prediction.py"


@dataclass(frozen=True)
class OfficialFile:
    """A file of one model's logits, where the released code puts it.

    Attributes:
        path: the .csv file.
        dataset: name of the data set, as its folder has it.
        split: as its folder has it: "val", "test" or "ood_test".
        model: name of the model, as the file has it.
    """

    path: Path
    dataset: str
    split: str
    model: str

    @property
    def part(self) -> str:
        """Part of the data set that it is of ("val", "test" or "shifted")."""
        return PARTS[self.split]

    @property
    def labels(self) -> Path:
        """The file with the labels of all models."""
        return self.path.parent.parent / LABELS

    @property
    def place(self) -> str:
        """Where it lies below the folder of all data sets, for a record."""
        return f"{ROOT}/{self.dataset}/{self.split}/{RAW}/{self.path.name}"

    def sha256(self) -> str:
        """Returns the digest of its bytes, by which a record knows the file it was made from."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def find_official(folder: str | Path) -> tuple[OfficialFile, ...]:
    """Returns the files of logits in a folder, sorted by data set, split and model.

    Features, temperatures and everything else that the released code writes are left alone.

    Args:
        folder: y-prediction, the folder that holds it, or that of one data set in it.

    Raises:
        FileNotFoundError: no such folder, or no file of logits in it.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    outer = folder / ROOT if (folder / ROOT).is_dir() else folder
    inner = sorted(path for path in outer.iterdir() if path.is_dir())
    found = tuple(file for dataset in (*inner, folder) for file in _files(dataset))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no logits of the released code: expected "
            f"{ROOT}/DATASET/{'|'.join(PARTS)}/{RAW}/MODEL.csv"
        )
    return found


def read_official(
    file: OfficialFile,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    command: str = "",
    **fields: Any,
) -> Record:
    """Returns the record in a file of the released code; ids are positions, "row-00000" on.

    The file is read a thousand lines at a time: in memory is what the record keeps, and little
    more. Rows that are probabilities, in percent too, become their natural logarithms, normalised,
    with 0 taken for 1.2e-38, or for half of the last decimal where they were rounded; the kind of
    the record is then "log_probs".

    Args:
        file: what `find_official` returned.
        dtype: how logits are kept.
        command: the command to put into the record.
        **fields: what the file does not say: weights, resolution, flops, parameters, class_names.

    Raises:
        FileNotFoundError: no file of labels beside it.
        ValueError: a header, a cell or a number of rows that is not as the released code writes
            it; rows that do not name the classes they named when the file was written.
    """
    labels, named = _labels(file)
    values, probabilities = _values(file, labels, named, dtype)
    config = {
        "command": command,
        "method": "imported from the files of the paper's released code",
        "source": file.place,
        "source_sha256": file.sha256(),
        "ids": "positions in the file, which holds no names of images",
        "order": f"as in the model's column of {LABELS}" if named is not None else "not checked",
    }
    if probabilities is not None:
        percent = " in percent" if probabilities.total == 100 else ""
        digits = probabilities.decimals
        config["probabilities"] = (
            f"the file holds probabilities{percent} (Laplace, IVON); these are their natural "
            f"logarithms, with 0 taken for {probabilities.floor or LEAST:.2g}"
            + ("" if digits is None else f", half of the last of {digits} decimals")
        )
    config |= fields.pop("config", {})
    _warn_of_chance(file, values, labels)
    try:
        return make_record(
            values,
            labels,
            [f"row-{row:05d}" for row in range(len(labels))],
            model=file.model,
            dataset=file.dataset,
            split=file.part,
            kind="logits" if probabilities is None else "log_probs",
            versions={},  # of the machine that wrote the file, not of this one
            config=config,
            **fields,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file.path}: {error}") from error


def _files(dataset: Path) -> Iterator[OfficialFile]:
    """Yields the files of logits of one data set."""
    for split in PARTS:
        for path in sorted((dataset / split / RAW).glob("*.csv")):
            if not path.name.startswith("."):
                yield OfficialFile(path, dataset.name, split, path.stem)


def _labels(file: OfficialFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the labels (n,) and the classes the model named (n,), None if they are not there."""
    path = file.labels
    if not path.is_file():
        raise FileNotFoundError(
            f"no labels for {file.path}: {path} is missing; {AGAIN} writes it beside {RAW}/"
        )
    try:
        table = pd.read_csv(path, usecols=lambda name: name in ("target", file.model))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if "target" not in table:
        raise ValueError(
            f"{path} has no column 'target' with the labels: {AGAIN} writes it first; remove the "
            "file and the logits beside it, and run the script again"
        )
    for name, column in table.items():
        if column.dtype.kind not in "iu":
            raise ValueError(f"{path}, column {name!r}: expected whole numbers, without a gap")
    named = table[file.model].to_numpy() if file.model in table else None
    return table["target"].to_numpy(np.int64), named


def _values(
    file: OfficialFile,
    labels: np.ndarray,
    named: np.ndarray | None,
    dtype: Literal["float16", "float32"],
) -> tuple[np.ndarray, Probabilities | None]:
    """Returns logits or log-probabilities (n, k), and what probabilities the file holds."""
    n, k = len(labels), _classes(file.path)
    kept = np.empty((n, k), dtype=dtype)
    start, wrong, probabilities = 0, 0, None
    for block in _blocks(file.path, k):
        rows = slice(start, start + len(block))
        start += len(block)
        if start > n:
            continue  # only counted, for the error below
        if rows.start == 0:
            probabilities = probabilities_in(block)
        elif probabilities is not None and probabilities_in(block) is None:
            raise ValueError(
                f"{file.path}: the rows up to {rows.start} are probabilities, later ones are not"
            )
        if named is not None:
            wrong += _disagreeing(file, block, named[rows])
        try:
            kept[rows] = rounded(
                block if probabilities is None else _log(block, probabilities), dtype
            )
        except ValueError as error:
            raise ValueError(f"{file.path}: {error}") from error
    if start != n:
        raise ValueError(
            f"{file.path} has {start:,} rows, {file.labels} has {n:,} labels: one of them is of "
            f"other images, or cut short; remove both and run {AGAIN} again"
        )
    if wrong:
        raise ValueError(
            f"{file.path}: {wrong:,} of {n:,} rows do not name the class that the column "
            f"{file.model!r} of {file.labels} has for them, so rows and labels may stand in "
            f"different orders: remove the file and that column, and run {AGAIN} again for this "
            "model, on the same listing of the images"
        )
    return kept, probabilities


def _classes(path: Path) -> int:
    """Returns k, after checking that the header is 0 ... k-1."""
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            header = next(csv.reader(opened), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} is no CSV in UTF-8 ({error}): the released code writes no other; fetch it "
            "again, or save it as UTF-8"
        ) from error
    if len(header) < 2 or header != [str(column) for column in range(len(header))]:
        shown = ",".join(header[:4]) or "nothing"
        hint = " (an index column: write it with index=False)" if header[:1] == [""] else ""
        raise ValueError(
            f"{path} starts with {shown!r}{hint}; expected the header 0,1,...,k-1 and a line an "
            "image, as the released code writes logits. Other files: `duokit fit` reads .npz"
        )
    return len(header)


def _blocks(path: Path, k: int) -> Iterator[np.ndarray]:
    """Yields (m, k) float32, finite, block by block."""
    start = 0
    with pd.read_csv(path, chunksize=ROWS_AT_ONCE, dtype=np.float64, index_col=False) as reader:
        while True:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", pd.errors.ParserWarning)  # a line too long
                    block = next(reader).to_numpy()
            except StopIteration:
                return
            except (ValueError, pd.errors.ParserWarning) as error:
                raise ValueError(f"{path}, after row {start}: {error}") from error
            with np.errstate(over="ignore"):
                values = block.astype(np.float32)
            if not np.isfinite(values).all():
                row, column = np.argwhere(~np.isfinite(values))[0]
                raise ValueError(
                    f"{path}, row {start + row}, column {column} of {k}: {block[row, column]} is "
                    "no finite number; was the file cut short, or did the model diverge?"
                )
            yield values
            start += len(values)


def _disagreeing(file: OfficialFile, block: np.ndarray, named: np.ndarray) -> int:
    """Returns in how many rows the named class has not the largest value; ties are no matter."""
    if named.min() < 0 or named.max() >= block.shape[1]:
        raise ValueError(
            f"{file.labels}, column {file.model!r}, names classes from {named.min()} to "
            f"{named.max()}; {file.path} has {block.shape[1]}, 0 to {block.shape[1] - 1}"
        )
    return int((block[np.arange(len(block)), named] < block.max(axis=1)).sum())


def _log(values: np.ndarray, kind: Probabilities) -> np.ndarray:
    """Returns natural logarithms whose exponentials sum to 1 in each row, float32."""
    clipped = np.maximum(values.astype(np.float64) / kind.total, kind.floor or LEAST)
    logs: np.ndarray = np.log(clipped / clipped.sum(axis=1, keepdims=True))
    return logs.astype(np.float32)


def _warn_of_chance(file: OfficialFile, values: np.ndarray, labels: np.ndarray) -> None:
    """Warns where a model names the label no more often than by chance."""
    n, k = values.shape
    accuracy = float((values.argmax(axis=1) == labels).mean())
    if n >= 100 and k >= 10 and accuracy < 2 / k:
        warnings.warn(
            f"{file.path} names the label in {accuracy:.2%} of the rows, as by chance: the labels "
            f"in {file.labels} probably belong to another order of the images",
            stacklevel=3,
        )
