"""What a long sweep found so far, one line a pair: it is read again when the sweep starts anew."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duokit.logits.files import starts_with, write_whole

Row = dict[str, Any]


HEADS = (b'{"journal": "duokit pairs", ', b'{"settings": ')  # the second: without a version
VERSION = 1


class Journal:
    """A file of JSON lines: the settings first, then the rows of each pair as it is done.

    Each line is flushed to the disk when written. A last line that was cut short, because the
    computer stopped, is taken away and its pair done again. Pairs whose logits are no longer
    the same are done again as well. Any other file is left as it is.

    Args:
        path: File; made with its folder if missing.
        settings: What every row depends on, JSON values.

    Raises:
        FileExistsError: The file was written by something else.
        ValueError: It was written under other settings, by a newer duokit, or is damaged.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.done: dict[tuple[str, ...], list[Row]] = {}
        if not os.path.lexists(self.path):
            head = {"journal": "duokit pairs", "version": VERSION, "settings": settings}
            write_whole(self.path, _line(head))
            return
        if not any(starts_with(self.path, head) for head in HEADS):
            raise self._foreign()
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = whole.splitlines()
        self._check(lines[0] if lines else b"", settings)
        for number, line in enumerate(lines[1:], start=2):
            self._read(line, number)
        if whole != raw:  # only now is it known to be ours
            os.truncate(self.path, len(whole))

    def add(self, pair: Sequence[str], rows: Sequence[Row]) -> None:
        """Write the rows of a pair; nan becomes null.

        Args:
            pair: Names and checksums of both members.
            rows: One a metric, JSON values.
        """
        self.done[tuple(pair)] = list(rows)
        plain = [{k: None if v != v else v for k, v in row.items()} for row in rows]
        self._write({"pair": list(pair), "rows": plain})

    def _foreign(self) -> FileExistsError:
        return FileExistsError(
            f"{self.path} is no journal of pairs, and stays as it is: give another file, or move "
            "it away"
        )

    def _check(self, line: bytes, settings: Mapping[str, Any]) -> None:
        try:
            head = json.loads(line)
            written, version = head["settings"], head.get("version", VERSION)
            if not isinstance(written, dict) or not written.keys() & settings.keys():
                raise TypeError("no settings of pairs")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._foreign() from error
        if version != VERSION:
            raise ValueError(
                f"{self.path} is a journal of version {version!r}, this duokit reads {VERSION}: "
                "update duokit, or write to another file"
            )
        for name, value in settings.items():
            if written.get(name) != value:
                raise ValueError(
                    f"{self.path} was begun with {name} {written.get(name)!r}, now it is "
                    f"{value!r}: keep the settings, or write to another file"
                )

    def _read(self, line: bytes, number: int) -> None:
        try:
            told = json.loads(line)
            pair = tuple(map(str, told["pair"]))
            rows = [
                {k: math.nan if v is None else v for k, v in row.items()} for row in told["rows"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{self.path}, line {number}: not the rows of a pair ({error!r}); remove this "
                "line to have its pair done again, or move the file away to start anew"
            ) from error
        self.done[pair] = rows

    def _write(self, told: Mapping[str, Any]) -> None:
        """Appends a line in one piece; if the disk is full, what was there stays whole."""
        with self.path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(line := _line(told)) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(before)
                why = f"{error.strerror}, so a pair was not added (the others are safe)"
                raise OSError(error.errno, why, str(self.path)) from error


def _line(told: Mapping[str, Any]) -> bytes:
    return (json.dumps(told, allow_nan=False) + "\n").encode()
