"""Logits to and from .npz and .csv, so that people bring their own and take ours elsewhere.

.npz: arrays `logits` (n, k), `labels` (n,), and optionally `ids` (n,) and `class_names` (k,), both
text. Arrays of Python objects are refused, never unpickled.

.csv: UTF-8, comma-separated, one header line: `id`, `label`, then one column a class, named
`logit_0`, `logit_1`, ... or by the class names. One line an image. Labels are whole numbers,
0 for the first class column, -1 for an image of no class, or names of class columns. Numbered
columns are put in the order of their numbers.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from duokit.logits.bounded import parsed, read_arrays
from duokit.logits.cells import guarded, unguarded
from duokit.logits.columns import UNNAMED, class_order
from duokit.logits.files import write_whole
from duokit.logits.record import AFTER_FILE, Record, make_record

Dtype = Literal["float16", "float32"]
ARRAYS = ("logits", "labels", "ids")
UNREAD = ("", "id", "label")  # headings that are no class


def read_npz(path: str | Path, *, dtype: Dtype | None = None, **fields: Any) -> Record:
    """Returns a record from an .npz file with the arrays logits, labels and optionally ids.

    Without ids the images are named by position (row-0, row-1, ...): two such files fuse if both
    were written in the same order, which nothing can check.

    Args:
        path: the file.
        dtype: "float32" or "float16" to convert the logits, None to keep theirs (float64 is then
            refused).
        **fields: what the file does not say: model (default: the file's name), dataset, split,
            resolution, flops, kind="log_probs", class_names... Given here they win.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an .npz file, a missing array, an array of objects, or what Record refuses.
    """
    path = Path(path)
    try:
        found, there = read_arrays(path, (*ARRAYS, "class_names", "record"))
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as .npz without unpickling ({error}); save plain arrays: "
            "np.savez(path, logits=..., labels=..., ids=np.array(ids, dtype=str))"
        ) from error
    for name in ("logits", "labels"):
        if name not in found:
            raise ValueError(f"{path} has no array {name!r}; it has {', '.join(there) or 'none'}")
    for name in {"ids", "class_names"} & found.keys():
        if found[name].dtype.kind != "U":
            raise ValueError(
                f"{path}: {name} have dtype {found[name].dtype}; expected text, array.astype(str)"
            )
    ids = found.get("ids")
    given = _described(path, found["record"]) if "record" in found else {}
    if "class_names" in found:
        given.setdefault("class_names", tuple(found["class_names"].tolist()))
    return _record(
        path, found["logits"], found["labels"], None if ids is None else ids.tolist(),
        dtype=dtype, **(given | fields),
    )  # fmt: skip


def write_npz(record: Record, path: str | Path, *, overwrite: bool = False) -> Path:
    """Returns the path of an .npz file with logits, labels, ids and `record`, the rest as JSON.

    Raises:
        FileExistsError: the file exists and overwrite is False.
    """
    names = [
        item.name for item in fields_of(Record) if item.name not in ("logits", "labels", "ids")
    ]
    rest = json.dumps({name: getattr(record, name) for name in names})
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        logits=record.logits,
        labels=record.labels,
        ids=np.array(record.ids, dtype=str),
        record=np.array(rest),
    )
    return write_whole(path, buffer.getvalue(), overwrite=overwrite)


def read_csv(path: str | Path, *, dtype: Dtype = "float32", **fields: Any) -> Record:
    """Returns a record from a .csv file with the columns id, label and one a class.

    Args:
        path: the file.
        dtype: how the record keeps the numbers, "float32" or "float16".
        **fields: what the file does not say: model (default: the file's name), dataset, split,
            resolution, flops, kind="log_probs"...

    Raises:
        FileNotFoundError: no such file.
        ValueError: a missing or repeated column, a line of another length, a cell that is no
            number (line and column are named), or what Record refuses.
    """
    path = Path(path)
    with _readable(path) as file:
        lines = csv.reader(file, strict=True)
        header = [name.strip() for name in next(lines, [])]
        places = _places(header, path)
        columns = [header[place] for place in places]
        order, names = class_order([unguarded(name) for name in columns[2:]], str(path))
        number = {name: place for place, name in enumerate(names or ())}
        ids: list[str] = []
        labels: list[int] = []
        rows: list[np.ndarray] = []
        for line, cells in _filled(lines):
            if len(cells) != len(columns):
                raise ValueError(
                    f"{path}, line {line}: {len(cells)} cells, the header has {len(columns)}"
                )
            cells = [cells[place] for place in places]
            ids.append(unguarded(cells[0]))
            labels.append(_label(cells[1], number, line, path))
            rows.append(_numbers(cells, columns, line, path)[order])
    if not rows:
        raise ValueError(f"{path} has a header but no images")
    if names is not None:
        fields.setdefault("class_names", names)
    return _record(path, np.array(rows), np.array(labels), ids, dtype=dtype, **fields)


def write_csv(record: Record, path: str | Path, *, overwrite: bool = False) -> Path:
    """Returns the path of a .csv file with id, label and one column a class.

    Each number is the shortest text that gives the same float again. Of the rest of the record
    only the class names are kept. An id or a name that a spreadsheet would run as a formula has an
    apostrophe before it, which `read_csv` takes away again.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        ValueError: the name of a class is empty, "id" or "label", begins or ends with a space of
            any kind, or holds a carriage return: `read_csv` would read another name.
    """
    names = record.class_names or tuple(f"{UNNAMED}{index}" for index in range(record.k))
    lost = [name for name in names if name != name.strip() or name in UNREAD or "\r" in name]
    if lost:
        raise ValueError(
            f"a class is called {lost[0]!r}, which no heading of a CSV column can say: write_npz "
            "can hold it"
        )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "label", *map(guarded, names)])
    for name, label, row in zip(record.ids, record.labels, record.logits, strict=True):
        writer.writerow([guarded(name), label, *row.astype(str)])
    return write_whole(path, text.getvalue().encode(), overwrite=overwrite)


def _described(path: Path, text: np.ndarray) -> dict[str, Any]:
    """Returns the fields of a record that `write_npz` wrote as JSON."""
    try:
        given = parsed(str(text))
        if not isinstance(given, dict) or set(given) & set(ARRAYS):
            raise ValueError(f"it holds {type(given).__name__}, not the fields of a record")
    except ValueError as error:
        raise ValueError(
            f"{path}: the array record is not the JSON that write_npz writes ({error}); leave it "
            "out, logits, labels and ids are enough"
        ) from error
    return given


def _record(path: Path, logits: Any, labels: Any, ids: Any, **fields: Any) -> Record:
    """Returns the record, with the file named in any error."""
    own = {"model": path.stem, "dataset": "unknown", "split": "unknown", "versions": {}}
    if "model" not in fields:
        fields["config"] = {"model": AFTER_FILE, **fields.get("config", {})}
    try:
        return make_record(logits, labels, ids, **(own | fields))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def _readable(path: Path) -> Iterator[TextIO]:
    """Yields an open CSV file; what goes wrong while it is read names the file and a remedy.

    Raises:
        ValueError: not UTF-8, or quotation marks that do not match.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            kind = "UTF-16" if error.start == 0 and error.object[:1] in b"\xff\xfe" else "Latin-1"
            raise ValueError(
                f"{path} is not in UTF-8 ({error.reason} at byte {error.start}; {kind}, perhaps): "
                'save it again as UTF-8 (spreadsheets call it "CSV UTF-8")'
            ) from error
        except csv.Error as error:
            raise ValueError(
                f"{path} is no CSV ({error}): is there a quotation mark without its partner, or "
                "a cell of more than 100,000 characters?"
            ) from error


def _places(header: list[str], path: Path) -> list[int]:
    """Returns where the columns stand: id, label, then the classes as in the file."""
    if not {"id", "label"} <= {*header} or len(header) < 4:
        shown = ",".join(header[:4]) or "nothing"
        hint = "; use commas, not semicolons" if ";" in shown else ""
        raise ValueError(
            f"{path} starts with {shown!r}; expected the columns id,label and two or more classes, "
            f"such as id,label,logit_0,logit_1{hint}"
        )
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise ValueError(f"{path} has the column {min(twice)!r} more than once")
    first = [header.index("id"), header.index("label")]
    return [*first, *(place for place in range(len(header)) if place not in first)]


def _filled(lines: Any) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells, without the empty lines that spreadsheets leave at the end."""
    for cells in lines:
        if cells:
            yield lines.line_num, cells


def _label(cell: str, number: dict[str, int], line: int, path: Path) -> int:
    """Returns the class of a cell that holds its number, or its name as a column has it."""
    try:
        return int(cell)
    except ValueError:
        if cell.strip() in number:
            return number[cell.strip()]
        raise ValueError(
            f"{path}, line {line}, column label: {cell!r} is not a whole number; labels are class "
            "numbers, 0 for the first class column, or the name of a class column"
        ) from None


def _numbers(cells: list[str], columns: list[str], line: int, path: Path) -> np.ndarray:
    values = np.empty(len(cells) - 2)
    for index, cell in enumerate(cells[2:]):
        try:
            values[index] = float(cell)
        except ValueError:
            values[index] = np.nan
        if not np.isfinite(values[index]):
            raise ValueError(
                f"{path}, line {line}, column {columns[index + 2]}: {cell!r} is not a finite number"
            )
    return values
