"""The logits store: one safetensors file a record, verified when read, never half-written.

A file holds three tensors and one piece of metadata, so that any safetensors reader can open it:

- `logits` (n, k) float16 or float32; `labels` (n,) int64; `ids` uint8, the ids joined by line
  breaks, in UTF-8, compressed by zlib;
- `__metadata__["duokit"]`, a JSON text with `checksum`, `format` (1) and the fields of the record.

The checksum is the SHA-256 of the whole file with the 64 digits of the checksum itself read as
zeros, so a change of any byte is found. Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as pack_tensors

from duokit.logits.bounded import LONGEST_TEXT, packed_ids, parsed, unpacked_ids
from duokit.logits.files import write_whole
from duokit.logits.record import Record
from duokit.logits.validation import valid_count

SUFFIX = ".safetensors"
FORMAT = 1
ZEROS = b"0" * 64
CHECKSUM_KEY = b'{\\"checksum\\": \\"'  # as it stands inside the JSON of the file's header
TENSORS = ("logits", "labels", "ids")
LARGEST_HEADER = LONGEST_TEXT  # bytes; the limit of the safetensors format
COLUMNS = (
    "path", "dataset", "split", "model", "weights", "resolution", "flops", "n", "k", "MB", "problem"
)  # fmt: skip


class StoreError(ValueError):
    """A file is not a duokit record, or is damaged, or was made by a newer duokit."""


def save(record: Record, path: str | Path, *, overwrite: bool = False) -> Path:
    """Returns the path of the file that now holds the record, written whole or not at all.

    Args:
        record: what to keep.
        path: file name; ".safetensors" is added if it has no suffix.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        ValueError: the name has another suffix, or the ids more than 1,024 bytes on average.
    """
    path = Path(path)
    path = path.with_name(path.name + SUFFIX) if not path.suffix else path
    if path.suffix != SUFFIX:
        raise ValueError(f"{path} does not end in {SUFFIX}; write_csv and write_npz export records")
    return write_whole(path, _pack(_tensors(record), _metadata(record)), overwrite=overwrite)


def load(path: str | Path, *, mapped: bool = False) -> Record:
    """Returns the record in a file after verifying every byte of it.

    Args:
        path: file that `save` wrote.
        mapped: leave the arrays in the file, mapped into memory and read-only: the system reads
            them when they are used and may drop them again, so that many large records can be
            open at once. The file must stay as it is meanwhile.

    Raises:
        FileNotFoundError: no such file.
        StoreError: cut short, damaged, not a record, or of another format version.
    """
    path = Path(path)
    raw = _mapped(path) if mapped else path.read_bytes()
    size = min(int.from_bytes(raw[:8], "little"), LARGEST_HEADER)
    header = _header(raw[:8], raw[8 : 8 + size], path)
    metadata = _described(header, path)
    place = raw.find(CHECKSUM_KEY) + len(CHECKSUM_KEY)
    digest = _digest(raw, place)
    if metadata["checksum"] != digest:
        raise StoreError(
            f"{path} is damaged: its checksum is {digest[:12]}..., the file says "
            f"{str(metadata['checksum'])[:12]}...; make it again or fetch another copy"
        )
    try:
        tensors = read_tensors(raw) if isinstance(raw, bytes) else _views(raw, header, 8 + size)
        names = {item.name for item in fields(Record)} - set(TENSORS)
        given = {name: metadata[name] for name in names}
        given |= {name: tensors[name] for name in ("logits", "labels")}
        given["ids"] = unpacked_ids(tensors["ids"].tobytes(), len(tensors["labels"]))
        return Record(**given)
    except KeyError as error:
        raise StoreError(f"{path} lacks {error}; it is not a whole record") from error
    except (SafetensorError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(f"{path} holds no valid record: {error}") from error


def load_parts(folder: str | Path, *parts: str) -> dict[str, Record]:
    """Returns the records of one model's folder by part, such as "val" and "test".

    Args:
        folder: holds PART.safetensors for each.
        *parts: which ones; all that are there if none is named.

    Raises:
        FileNotFoundError: no such folder, none of its parts, or one that is missing.
        StoreError: as `load`.
    """
    folder = Path(folder)
    there = sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))
    missing = [part for part in parts if part not in there]
    if missing or not there:
        raise FileNotFoundError(
            f"{folder} has no record of {missing[0] if missing else 'anything'}; "
            f"it has {', '.join(there) or 'none'}"
        )
    return {part: load(folder / f"{part}{SUFFIX}") for part in parts or there}


def load_folds(
    folder: str | Path, names: Sequence[str], folds: int
) -> list[list[dict[str, Record]]]:
    """Returns the records of a cross-validation: for each fold one part -> record a model.

    Args:
        folder: holds fold-0, fold-1 and so on, each with a folder a model; a folder of models
            itself is taken for the only fold.
        names: the models' folders.
        folds: how many at most; those that are not there are left out.

    Raises:
        FileNotFoundError: a model that has no folder of records.
        StoreError: as `load`.
    """
    places = [Path(folder, f"fold-{number}") for number in range(folds)]
    there = [place for place in places if place.is_dir()] or [Path(folder)]
    return [[load_parts(place / name) for name in names] for place in there]


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Returns all fields of a record but its arrays, with n, k and dtype; reads the header alone.

    The header is checked for its form; the checksum is verified only by `load`.

    Raises:
        FileNotFoundError: no such file.
        StoreError: not a safetensors file, or not a record of this format version.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(8)
        size = min(int.from_bytes(start, "little"), LARGEST_HEADER)
        header = _header(start, file.read(size), path)
    metadata = _described(header, path)
    try:
        shape, dtype = header["logits"]["shape"], header["logits"]["dtype"]
        metadata["n"], metadata["k"] = (valid_count(size, "shape") for size in shape)
        metadata["dtype"] = {"F16": "float16", "F32": "float32"}[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} has no tensor of logits of shape (n, k): {error!r}") from error
    return metadata


def listing(folder: str | Path) -> pd.DataFrame:
    """Returns a table of the records under a folder, one row a file, sorted by path.

    Columns: path (relative to the folder), dataset, split, model, weights, resolution (pixels),
    flops (multiply-adds for one image), n (images), k (classes), MB (10^6 bytes), problem (empty,
    or why the file is no record). Only headers are read, so a folder of any size is quick.

    Raises:
        NotADirectoryError: the folder does not exist or is a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*" + SUFFIX)):
        row, size, problem = {}, math.nan, ""
        try:
            if not path.is_file():  # a folder, a pipe, a link to nowhere
                raise StoreError(f"{path} is no file")
            size = path.stat().st_size / 1e6
            row = _listed(read_metadata(path), path)
        except (StoreError, OSError) as error:
            problem = str(error)
        own = {"path": path.relative_to(folder).as_posix(), "MB": size, "problem": problem}
        rows.append({name: row.get(name) for name in COLUMNS} | own)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = dict.fromkeys(("resolution", "flops", "n", "k"), "Int64")
    return table.astype(whole)


def _listed(metadata: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns the metadata, if what a table shows of it has the types that a record has."""
    texts = ("dataset", "split", "model", "weights")
    wrong = [name for name in texts if not isinstance(metadata.get(name), str)]
    for name in ("resolution", "flops", "n", "k"):
        value = metadata.get(name)
        if value is not None and (type(value) is not int or not 0 < value < 1 << 63):
            wrong.append(name)
    if wrong:
        raise StoreError(
            f"{path} holds no valid record: its {wrong[0]} is {metadata.get(wrong[0])!r}"
        )
    return metadata


def _tensors(record: Record) -> dict[str, np.ndarray]:
    ids = np.frombuffer(packed_ids(record.ids), dtype=np.uint8)
    return {"logits": record.logits, "labels": record.labels, "ids": ids}


def _metadata(record: Record) -> dict[str, Any]:
    names = sorted({item.name for item in fields(Record)} - set(TENSORS))
    return {"format": FORMAT} | {name: getattr(record, name) for name in names}


def _pack(tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> bytes:
    """Returns the bytes of a file. One metadata key: safetensors writes several in random order."""
    # The checksum is the first key, so that its place in the file is found without parsing.
    text = json.dumps({"checksum": ZEROS.decode()} | metadata, allow_nan=False)
    raw = pack_tensors(tensors, metadata={"duokit": text})
    place = raw.find(CHECKSUM_KEY) + len(CHECKSUM_KEY)
    digest = _digest(raw, place).encode()
    return raw[:place] + digest + raw[place + len(ZEROS) :]


def _mapped(path: Path) -> mmap.mmap:
    """Returns the bytes of a file, left on the disk."""
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file cannot be mapped
            raise StoreError(f"{path} is not a safetensors file, or is cut short") from error


def _views(raw: mmap.mmap, header: dict[str, Any], start: int) -> dict[str, np.ndarray]:
    """Returns the tensors of a verified file as arrays on its bytes, without a copy."""
    kinds = {"F16": "<f2", "F32": "<f4", "I64": "<i8", "U8": "u1"}
    found = {}
    for name in TENSORS:
        told = header[name]
        size, first = math.prod(told["shape"]), start + told["data_offsets"][0]
        flat = np.frombuffer(raw, kinds[told["dtype"]], size, first)
        found[name] = flat.reshape(told["shape"])
    return found


def _digest(raw: bytes | mmap.mmap, place: int) -> str:
    """Returns the SHA-256 of the bytes, with the 64 from `place` on read as zeros."""
    view = memoryview(raw)
    digest = hashlib.sha256(view[:place])
    digest.update(ZEROS)
    digest.update(view[place + len(ZEROS) :])
    return digest.hexdigest()


def _header(start: bytes, rest: bytes, path: Path) -> dict[str, Any]:
    """Returns the JSON header of a safetensors file: 8 bytes of length, then that many of JSON."""
    size = int.from_bytes(start, "little")
    if len(start) < 8 or size > LARGEST_HEADER or size > len(rest):
        raise StoreError(f"{path} is not a safetensors file, or is cut short")
    try:
        header = parsed(rest[:size])
    except ValueError as error:
        raise StoreError(f"{path} is damaged: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise StoreError(f"{path} is damaged: its header is not a JSON object")
    return header


def _described(header: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns the record's metadata from a header, refusing what another program wrote."""
    own = header.get("__metadata__")
    if not isinstance(own, dict) or "duokit" not in own:
        raise StoreError(
            f"{path} is a safetensors file but no duokit record (model weights, perhaps)"
        )
    try:
        metadata = parsed(own["duokit"])
        version, _ = metadata["format"], metadata["checksum"]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: its metadata cannot be read ({error!r})") from error
    if version != FORMAT:
        raise StoreError(
            f"{path} has format version {version!r}, this duokit reads {FORMAT}; "
            "update duokit, or write the record again"
        )
    return dict(metadata)
