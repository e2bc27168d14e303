"""What a long sweep found so far, one line a pair: it is read again when the sweep starts anew."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Journal:
    """A file of JSON lines: the settings first, then the rows of each pair as it is done.

    Each line is flushed to the disk when written. A last line that was cut short, because the
    computer stopped, is taken away and its pair done again. Pairs whose logits are no longer
    the same are done again as well.

    Args:
        path: File; made with its folder if missing.
        settings: What every row depends on, JSON values.

    Raises:
        ValueError: The file was written under other settings, or by something else.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.done: dict[tuple[str, ...], list[Row]] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text("utf-8") if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            os.truncate(self.path, len(whole.encode()))
        lines = whole.splitlines()
        if not lines:
            self._write({"settings": settings})
            return
        self._check(lines[0], settings)
        for line in lines[1:]:
            told = json.loads(line)
            rows = [
                {k: math.nan if v is None else v for k, v in row.items()} for row in told["rows"]
            ]
            self.done[tuple(told["pair"])] = rows

    def add(self, pair: Sequence[str], rows: Sequence[Row]) -> None:
        """Write the rows of a pair; nan becomes null.

        Args:
            pair: Names and checksums of both members.
            rows: One a metric, JSON values.
        """
        self.done[tuple(pair)] = list(rows)
        plain = [{k: None if v != v else v for k, v in row.items()} for row in rows]
        self._write({"pair": list(pair), "rows": plain})

    def _check(self, line: str, settings: Mapping[str, Any]) -> None:
        try:
            written = json.loads(line)["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} is no journal of pairs: give another file, or move it away"
            ) from error
        for name, value in settings.items():
            if written.get(name) != value:
                raise ValueError(
                    f"{self.path} was begun with {name} {written.get(name)!r}, now it is "
                    f"{value!r}: keep the settings, or write to another file"
                )

    def _write(self, told: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
