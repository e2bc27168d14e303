"""Notebooks as files: reading, their one text form, what keeps one from being committed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from duokit.notebooks.tidy import INJECTED, STAMP, code_hash, normalise


def read(path: str | Path) -> dict[str, Any]:
    """Returns a notebook's JSON in format 4.5, each source and text as one str.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a notebook.
    """
    import nbformat

    text = Path(path).read_text(encoding="utf-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing or repeated ids, which normalise sets
            notebook = nbformat.reads(text, as_version=4)
            nbformat.validate(notebook)
    except Exception as error:  # nbformat raises errors of many kinds
        first = next(iter(str(error).splitlines()), "")
        raise ValueError(f"{path} is not a notebook: {type(error).__name__}: {first}") from error
    return dict(json.loads(json.dumps(notebook)))


def text_of(notebook: dict[str, Any]) -> str:
    """Returns the text of a notebook's file: keys sorted, one line of source a line."""
    import nbformat

    return str(nbformat.writes(nbformat.from_dict(notebook), version=4)).rstrip("\n") + "\n"


def problems(path: str | Path) -> list[str]:
    """Returns what keeps a notebook from being committed, in words; nothing if it may be.

    Looked for: another form than `normalise` gives, cells that were not executed, code that was
    edited after its outputs were made, errors and warnings among the outputs, a leftover cell of
    injected parameters. Nothing is executed.

    Raises:
        FileNotFoundError, ValueError: as `read`.
    """
    notebook = read(path)
    found = []
    if text_of(normalise(notebook)) != Path(path).read_text(encoding="utf-8"):
        found.append("is not normalised (python -m duokit.notebooks normalise)")
    if notebook["metadata"].get("duokit", {}).get(STAMP) != code_hash(notebook):
        found.append("has code that did not make its outputs (make notebooks)")
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] == "code":
            found += [f"{what} (cell {number})" for what in _problems_of_cell(cell)]
    return found


def _problems_of_cell(cell: dict[str, Any]) -> list[str]:
    found = []
    if INJECTED in cell["metadata"].get("tags", []):
        found.append("holds the parameters of a run")
    if cell["source"].strip() and cell["execution_count"] is None:
        found.append("was not executed")
    for output in cell["outputs"]:
        if output["output_type"] == "error":
            found.append(f"shows an error, {output['ename']}: {output['evalue']}")
        if output.get("name") == "stderr":
            found.append(f"shows a warning, {output['text'].strip()[-100:]!r}")
    return found
