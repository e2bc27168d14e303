"""One form for every notebook, so that a difference under git is a difference in content."""

from __future__ import annotations

import copy
import hashlib
from itertools import groupby
from typing import Any

INJECTED = "injected-parameters"  # papermill's tag for the cell with the values of a run
NOTEBOOK_METADATA = ("authors", "duokit", "jupytext", "mystnb", "title")
CELL_METADATA = (
    "deletable", "editable", "format", "jupyter", "mystnb", "raw_mimetype", "slideshow", "tags"
)  # fmt: skip
WIDGETS = "application/vnd.jupyter.widget"
STAMP = "code"  # notebook.metadata.duokit.code: hash of the code that made the outputs


def normalise(notebook: dict[str, Any]) -> dict[str, Any]:
    """Returns the notebook without what changes from run to run or from editor to editor.

    Kept: sources, outputs, tags, figure and slide metadata. Removed: times, papermill's and other
    tools' metadata, widget state, empty tags. Fixed: the kernel is python3, a cell's id is a hash
    of its source, executed cells count from 1, streams that follow one another are one.

    Args:
        notebook: its JSON, format 4; it is not changed.
    """
    found = copy.deepcopy(notebook)
    kept = {key: found["metadata"][key] for key in NOTEBOOK_METADATA if key in found["metadata"]}
    found["metadata"] = kept | {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    found["nbformat"], found["nbformat_minor"] = 4, 5
    count = 0
    ids: set[str] = set()
    for cell in found["cells"]:
        cell["source"] = "".join(cell["source"]).rstrip("\n")
        cell["metadata"] = {
            key: cell["metadata"][key] for key in CELL_METADATA if cell["metadata"].get(key)
        }
        cell["id"] = _identity(cell, ids)
        ids.add(cell["id"])
        if cell["cell_type"] == "code":
            executed = cell.get("execution_count") is not None
            count += executed
            cell["execution_count"] = count if executed else None
            cell["outputs"] = _outputs(cell.get("outputs", []), cell["execution_count"])
    return found


def code_hash(notebook: dict[str, Any]) -> str:
    """Returns a hash of all code, which tells whether the outputs belong to it."""
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def without_outputs(notebook: dict[str, Any]) -> dict[str, Any]:
    """Returns the normalised notebook as before its first run: no outputs, no injected cell."""
    found = normalise(notebook)
    found["cells"] = [c for c in found["cells"] if INJECTED not in c["metadata"].get("tags", [])]
    for cell in found["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return found


def stamped(notebook: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of a notebook just executed that remembers which code made its outputs."""
    own = notebook["metadata"].get("duokit", {}) | {STAMP: code_hash(notebook)}
    return notebook | {"metadata": notebook["metadata"] | {"duokit": own}}


def _identity(cell: dict[str, Any], taken: set[str]) -> str:
    """Returns an id that stays when cells are added or moved; equal cells are told by number."""
    text = f"{cell['cell_type']}\n{cell['source']}"
    base = hashlib.sha256(text.encode()).hexdigest()[:8]
    number = 1
    while (name := base if number == 1 else f"{base}-{number}") in taken:
        number += 1
    return name


def _outputs(outputs: list[dict[str, Any]], count: int | None) -> list[dict[str, Any]]:
    """Returns outputs with neighbouring streams merged and widgets reduced to their text."""
    found: list[dict[str, Any]] = []
    for kind, group in groupby(outputs, key=lambda output: output["output_type"]):
        if kind != "stream":
            found.extend(group)
            continue
        # stdout and stderr arrive on separate threads: their interleaving is chance
        texts: dict[str, str] = {}
        for output in group:
            name = output["name"]
            texts[name] = texts.get(name, "") + "".join(output["text"])
        found.extend(
            {"name": name, "output_type": "stream", "text": texts[name]}
            for name in sorted(texts, reverse=True)  # stdout before stderr
        )
    for output in found:
        if "data" in output:
            output["data"] = {m: v for m, v in output["data"].items() if not m.startswith(WIDGETS)}
        if output["output_type"] == "execute_result":
            output["execution_count"] = count
    return found
