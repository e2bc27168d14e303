"""The models of a benchmark: what their records say, and the records when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from numpy import inf, nan, nan_to_num

from duokit.logits.record import Record
from duokit.logits.store import SUFFIX, load, read_metadata

Given = str | Path | Mapping[str, Mapping[str, Record]]


@dataclass(frozen=True)
class Member:
    """One model of a benchmark, its logits not read yet.

    Attributes:
        name: Name of its folder, or its key.
        model: Name of the network, as its library spells it.
        resolution: Pixels; None if not known.
        seed: Of the run that made it; None if not known.
        flops: Multiply-adds an image; NaN if not known.
        read: Part -> record.
        checksum: Returns a text that changes when any logit of the parts does.
    """

    name: str
    model: str
    resolution: int | None
    seed: int | None
    flops: float
    read: Callable[[str], Record]
    checksum: Callable[[], str]


def members(
    given: Given,
    parts: Sequence[str],
    *,
    only: Sequence[str] | None = None,
    any_records: bool = False,
) -> dict[str, Member]:
    """Return the models by name, the cheapest first.

    Args:
        given: Folder that holds a folder a model with val.safetensors and further parts, or
            name -> part -> record. Of a folder only headers are read.
        parts: Parts that each model must have, such as ("val", "test").
        only: Names that are wanted; default: all.
        any_records: Leave out models that lack a part, and take those of unknown FLOPs (last).

    Raises:
        FileNotFoundError: No such folder, or no model in it.
        ValueError: A name that is not there; unless any_records, a part that a model lacks, or
            unknown FLOPs.
    """
    found = _records(given, parts) if isinstance(given, Mapping) else _folder(Path(given), parts)
    unknown = [name for name in only or () if name not in found]
    if unknown:
        raise ValueError(f"there is no model {unknown[0]!r}; expected some of {', '.join(found)}")
    chosen = {}
    for name, (fields, lacking, make) in found.items():
        if (only is not None and name not in only) or (lacking and any_records):
            continue
        if lacking:
            raise ValueError(
                f"{name} has no part {lacking[0]!r}: add the record, or name the models to compare"
            )
        if not fields["flops"] and not any_records:
            raise ValueError(
                f"the record of {name} says no FLOPs, so no one knows which member costs more: "
                "count them (duokit.models.cost) and write them into the record"
            )
        chosen[name] = make()
    return dict(
        sorted(chosen.items(), key=lambda item: (nan_to_num(item[1].flops, nan=inf), item[0]))
    )


# fields of the val record, parts that are lacking, how to make the member
_Found = dict[str, tuple[Mapping[str, Any], list[str], Callable[[], Member]]]


def _folder(folder: Path, parts: Sequence[str]) -> _Found:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give one with a folder a model")
    found: _Found = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        there = {part: place / f"{part}{SUFFIX}" for part in parts}
        lacking = [part for part, path in there.items() if not path.is_file()]
        if len(lacking) == len(parts):
            continue
        first = next(path for part, path in there.items() if part not in lacking)
        fields = read_metadata(first)
        found[place.name] = fields, lacking, partial(_from_files, place.name, fields, there)
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no model: expected MODEL/{parts[0]}{SUFFIX} and "
            f"MODEL/{parts[-1]}{SUFFIX} in it"
        )
    return found


def _from_files(name: str, fields: Mapping[str, Any], there: Mapping[str, Path]) -> Member:
    def read(part: str) -> Record:
        return load(there[part], mapped=True)

    @cache  # asked for once a pair
    def checksum() -> str:
        return " ".join(read_metadata(path)["checksum"] for path in there.values())

    return _member(name, fields, read, checksum)


def _records(given: Mapping[str, Mapping[str, Record]], parts: Sequence[str]) -> _Found:
    if not given:
        raise ValueError("no models given; expected name -> part -> record")
    found: _Found = {}
    for name, records in given.items():
        lacking = [part for part in parts if part not in records]
        fields = vars(next(iter(records.values()))) if records else {"flops": None}
        found[name] = fields, lacking, partial(_from_records, name, fields, records, parts)
    return found


def _from_records(
    name: str, fields: Mapping[str, Any], records: Mapping[str, Record], parts: Sequence[str]
) -> Member:
    @cache  # asked for once a pair
    def checksum() -> str:
        digest = hashlib.sha256()
        for part in parts:
            digest.update(records[part].logits.tobytes() + records[part].labels.tobytes())
            digest.update("\n".join(records[part].ids).encode())
        return digest.hexdigest()

    return _member(name, fields, records.__getitem__, checksum)


def _member(
    name: str,
    fields: Mapping[str, Any],
    read: Callable[[str], Record],
    checksum: Callable[[], str],
) -> Member:
    known = {key: fields[key] for key in ("model", "resolution", "seed")}
    return Member(name, flops=fields["flops"] or nan, read=read, checksum=checksum, **known)
