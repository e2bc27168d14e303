"""Records as a stranger brings them, and a chapter of the book that runs on them without a kernel."""

import ast
import contextlib
import io
import os
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from duokit.logits import make_record, save
from duokit.notebooks.files import read
from duokit.notebooks.parameters import parameters, validate

NOTEBOOKS = Path(__file__).resolve().parent.parent / "book" / "notebooks"
MAGIC = re.compile(r"^(\s*)[!%].*$", flags=re.M)


@dataclass(frozen=True)
class Model:
    """One model of a stranger: how far its logits point to the label, and what is known of it."""

    signal: float = 1.5
    fields: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Strange:
    """Record sets: name -> model, parts -> images, and what is odd about them."""

    models: Mapping[str, Model]
    parts: Mapping[str, int]
    classes: int = 5
    absent: bool = False


KNOWN = {"parameters": 10, "resolution": 224, "split_checksum": "0" * 64}
BOTH = {"my-large": Model(2.0), "my-small": Model(1.5)}
PARTS = {"val": 40, "test": 60}


def cost(flops: int, signal: float) -> Model:
    return Model(signal, {**KNOWN, "flops": flops, "config": {"command": f"mine {flops}"}})


COSTS = {"my-large": cost(10, 2.0), "my-small": cost(1, 1.5), "my-other": cost(4, 1.8)}
FULL = Strange(
    COSTS, {**PARTS, "ood": 30, "shifted": 30, **{f"shifted-{s}": 30 for s in range(1, 6)}}
)
BARE = Strange(BOTH, PARTS)
SETS: dict[str, Strange] = {
    "full": FULL,
    "bare": BARE,
    "no command": replace(
        FULL, models={"my-large": Model(2.0, {"flops": 10}), "my-small": Model(1.5, {"flops": 1})}
    ),
    "one cost": replace(
        FULL, models={"my-large": Model(2.0, {"flops": 10}), "my-small": Model(1.5)}
    ),
    "dearest small": replace(FULL, models={"my-large": cost(1, 2.0), "my-small": cost(10, 1.5)}),
    "equal costs": replace(FULL, models={"my-large": cost(5, 2.0), "my-small": cost(5, 1.5)}),
    "useless sidekick": replace(
        FULL, models={"my-large": cost(10, 2.0), "my-small": cost(1, -0.6)}
    ),
    "useless large": replace(FULL, models={"my-large": cost(10, -0.6), "my-small": cost(1, 2.0)}),
    "both useless": replace(BARE, models={"my-large": Model(-0.6), "my-small": Model(-0.6)}),
    "perfect": replace(FULL, models={"my-large": cost(10, 60), "my-small": cost(1, 50)}),
    "perfect large": replace(FULL, models={"my-large": cost(10, 60), "my-small": cost(1, 1)}),
    "two classes": replace(FULL, classes=2),
    "many classes": replace(BARE, classes=21841, parts={"val": 12, "test": 12}),
    "three images": replace(BARE, parts={"val": 3, "test": 3}),
    "one image": replace(BARE, parts={"val": 1, "test": 1}),
    "absent class": replace(FULL, absent=True),
    "one model": replace(BARE, models={"my-large": Model(2.0)}),
    "constant": replace(BARE, models={"my-large": Model(2.0), "my-small": Model(np.nan)}),
}
"""Each oddity that a chapter must live with."""


def write(
    root: Path, given: Strange, *, dataset: str = "mine", names: Mapping[str, str] = {}
) -> None:
    """Write the records of a set as root/MODEL/PART.safetensors."""
    rng = np.random.default_rng(0)
    k = given.classes
    for part, n in given.parts.items():
        labels = np.full(n, -1) if part == "ood" else rng.integers(0, k - given.absent, n)
        labels = (labels + (part == "test")) % k if given.absent and part != "ood" else labels
        ids = [f"{part}{i}" for i in range(n)]
        for name, model in given.models.items():
            z = rng.normal(size=(n, k))
            if part != "ood":
                z[np.arange(n), labels] += model.signal
            z = np.zeros((n, k)) if np.isnan(model.signal) else z
            record = make_record(
                z,
                labels,
                ids,
                model=names.get(name, name),
                dataset=dataset,
                split=part.split("-")[0] if part.startswith("shifted") else part,
                dtype="float32",
                **(model.fields or {}),
            )
            save(record, root / name / f"{part}.safetensors")


def run_cells(chapter: str, values: Mapping[str, Any]) -> list[str]:
    """Run a chapter's cells in this process and return all that it shows as text."""
    path = NOTEBOOKS / f"{chapter}.ipynb"
    known = parameters(path)
    given = {one.name: one.default for one in known} | validate(known, values)
    shown: list[str] = []
    namespace: dict[str, Any] = {"__name__": "__main__", "display": partial_display(shown)}
    with contextlib.chdir(NOTEBOOKS), patch("IPython.display.display", namespace["display"]):
        for number, cell in enumerate(read(path)["cells"]):
            tags = cell["metadata"].get("tags", [])
            if cell["cell_type"] != "code" or "setup" in tags:
                continue
            if "parameters" in tags:
                namespace |= given
                continue
            _cell("".join(cell["source"]), namespace, f"{chapter}[{number}]", shown)
    return shown


def partial_display(shown: list[str]) -> Any:
    def display(*values: Any, raw: bool = False, **_: Any) -> None:
        for value in values:
            if raw:
                shown.append(str(value.get("text/plain", next(iter(value.values())))))
            else:
                shown.append(repr(value))
                getattr(value, "_repr_html_", str)()

    return display


def _cell(source: str, namespace: dict[str, Any], name: str, shown: list[str]) -> None:
    tree = ast.parse(MAGIC.sub(r"\1pass", source), name)
    last = (
        tree.body.pop()
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";")
        else None
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(tree, name, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
            if value is not None:
                namespace["display"](value)
    shown.append(out.getvalue())
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")
