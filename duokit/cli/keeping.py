"""Records of a command: those that are there are kept, those that are missing are written."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duokit.images import Splits
    from duokit.logits import Record


def asked_parts(arguments: argparse.Namespace, splits: Splits) -> list[str]:
    """Returns the names of the parts to make: those of --parts, or all but "train".

    Args:
        arguments: with `parts`.
        splits: parts of the set.
    """
    if arguments.parts:
        return list(arguments.parts.split(","))
    return [part for part in splits.parts if part != "train"]


def found_records(paths: dict[str, Path], checksum: str, **config: Any) -> dict[str, Record]:
    """Returns the records that are there, after checking that they are those asked for.

    Args:
        paths: name of a part -> its file.
        checksum: of the splits.
        **config: values that the config of each must have, as JSON has them.

    Raises:
        ValueError: a record of other splits, or with another value in its config.
    """
    from duokit.logits import load as load_record

    found = {part: load_record(path) for part, path in paths.items() if path.is_file()}
    for part, record in found.items():
        other = [name for name, value in config.items() if _differs(record.config.get(name), value)]
        other += ["splits"] if record.split_checksum != checksum else []
        if other:
            raise ValueError(
                f"{paths[part]} was made with other {' and '.join(other)}: choose another --out, "
                "or remove the file"
            )
    return found


def write_missing(
    paths: Mapping[str, Path], found: Mapping[str, Record], made: Mapping[str, Record]
) -> dict[str, Record]:
    """Writes the records that are missing, prints what all hold, and returns all by part.

    Args:
        paths: name of a part -> its file.
        found: records that are there.
        made: those that are not; of a part that is there, the one there counts.
    """
    from duokit.logits import save

    for part, path in paths.items():
        if part not in found:
            save(made[part], path)
    records = {part: (found if part in found else made)[part] for part in paths}
    for part, record in records.items():
        report(paths[part], record)
    return records


def report(path: Path, record: Record) -> None:
    """Prints what a record holds, in one line."""
    from duokit.metrics import score

    known = record.labels >= 0
    line = f"{path}: {record.n} images"
    if known.any():
        scores = score(record.logits[known].astype("float32"), record.labels[known])
        line += f", accuracy {scores.correct.mean():.4f}, NLL {scores.nll.mean():.4f}"
    print(line)


def _differs(known: Any, value: Any) -> bool:
    """Returns whether a value in a record is another; younger names have their default."""
    if isinstance(known, dict) and isinstance(value, dict):
        return _plain(value) | known != value
    return bool(known != value)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Returns what names that a record does not have stood for when it was made."""
    from duokit.models.tuning.settings import before_its_time

    plain = before_its_time({})
    return {name: plain.get(name) for name in values}
