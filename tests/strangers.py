"""Records as a stranger brings them, and chapters of the book run on them without a kernel."""

import ast
import contextlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np

from duokit.logits import make_record, save
from duokit.notebooks.files import read
from duokit.notebooks.parameters import parameters, validate

NOTEBOOKS = Path(__file__).resolve().parent.parent / "book" / "notebooks"
MAGIC = re.compile(r"^(\s*)[!%].*$", flags=re.M)


@dataclass(frozen=True)
class Model:
    """One model: how far its logits point to the label (nan: all alike); what is known of it."""

    signal: float
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Strange:
    """A set of records: folder -> model, part -> number of images, and what is odd about them."""

    models: Mapping[str, Model]
    parts: Mapping[str, int]
    classes: int = 5
    absent: bool = False  # the last class has no val image, the first no test image
    pair: tuple[str, str] = ("my-large", "my-small")


def model(signal: float, flops: int | None = None, **fields: Any) -> Model:
    """Return a model of which all is known, or nothing."""
    known = {"parameters": 10, "resolution": 224, "split_checksum": "0" * 64}
    known |= {"flops": flops, "config": {"command": f"mine {flops}"}}
    return Model(signal, known | fields if flops else fields)


def pair(large: Model, small: Model, **others: Model) -> dict[str, Model]:
    return {"my-large": large, "my-small": small, **others}


SHIFTS = [f"shifted-{severity}" for severity in range(1, 6)]
BARE = Strange(pair(model(2), model(1.5)), {"val": 40, "test": 60})
FULL = Strange(
    pair(model(2, 10), model(1.5, 1), other=model(1.8, 4)),
    {"val": 40, "test": 60, **dict.fromkeys(["ood", "shifted", *SHIFTS], 30)},
)
# Each oddity that a chapter must live with.
SETS: dict[str, Strange] = {
    "full": FULL,
    "bare": BARE,
    "no command": replace(FULL, models=pair(model(2, 10, config={}), model(1.5, 1, config={}))),
    "one cost": replace(FULL, models=pair(model(2, 10), model(1.5), other=model(1.8, 4))),
    "large is the cheapest": replace(FULL, models=pair(model(2, 1), model(1.5, 10))),
    "equal costs": replace(FULL, models=pair(model(2, 5), model(1.5, 5))),
    "useless sidekick": replace(FULL, models=pair(model(2, 10), model(-0.6, 1))),
    "useless large": replace(FULL, models=pair(model(-0.6, 10), model(2, 1))),
    "both useless": replace(BARE, models=pair(model(-0.6), model(-0.6))),
    "no error": replace(FULL, models=pair(model(60, 10), model(50, 1))),
    "no error of large": replace(BARE, models=pair(model(60), model(1))),
    "two classes": replace(FULL, classes=2),
    "many classes": replace(BARE, classes=21841, parts={"val": 12, "test": 12}),
    "three images": replace(BARE, parts={"val": 3, "test": 3}),
    "one image": replace(BARE, parts={"val": 1, "test": 1}),
    "absent class": replace(FULL, absent=True),
    "given twice": replace(FULL, pair=("my-large", "my-large")),
    "one model": replace(BARE, models={"my-large": model(2)}, pair=("my-large", "my-large")),
    "constant sidekick": replace(BARE, models=pair(model(2), model(np.nan))),
    "constant": replace(BARE, models=pair(model(np.nan), model(np.nan))),
}


def write(
    root: Path, given: Strange, *, dataset: str = "mine", names: Mapping[str, str] | None = None
) -> None:
    """Write a set's records as root/MODEL/PART.safetensors, by `make_record` and `save` alone."""
    rng = np.random.default_rng(0)
    k = given.classes
    for part, n in given.parts.items():
        labels = rng.integers(0, k - given.absent, n) + (given.absent and part != "val")
        ids = [f"{part}/{i}" for i in range(n)]
        for name, one in given.models.items():
            z = rng.normal(size=(n, k)) * np.isfinite(one.signal)
            z[np.arange(n), labels] += np.nan_to_num(one.signal) * (part != "ood")
            said = labels if part != "ood" else np.full(n, -1)
            what = {"model": (names or {}).get(name, name), "dataset": dataset, "split": part}
            record = make_record(z, said, ids, **what, dtype="float32", **one.fields)
            save(record, root / name / f"{part}.safetensors")


def run_chapter(name: str, values: Mapping[str, Any]) -> list[str]:
    """Run the cells of a chapter in this process and return the texts that it shows.

    A figure is laid out as a kernel would draw it. Warnings other than the library's advice, such
    as those of NumPy, are errors: a reader would see them on the page.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    known = parameters(path)
    given = {one.name: one.default for one in known} | validate(known, values)
    shown: list[str] = []

    def display(*values: Any, raw: bool = False, **_: Any) -> None:
        for value in values:
            text = value.get("text/plain", "") if raw else repr(value)  # what is glued is not seen
            shown.append(text)
            getattr(value, "_repr_html_", str)()

    space: dict[str, Any] = {"__name__": "__main__", "display": display}
    with (
        contextlib.chdir(NOTEBOOKS),
        patch("IPython.display.display", display),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)  # the library's advice
        for number, cell in enumerate(read(path)["cells"]):
            tags = cell["metadata"].get("tags", [])
            if "parameters" in tags:
                space |= given
            elif cell["cell_type"] == "code" and "setup" not in tags:
                shown.append(_run(cell["source"], space, f"{name}[{number}]"))
    return shown


def _run(source: str, space: dict[str, Any], name: str) -> str:
    """Run one cell as IPython does and return what it prints."""
    tree = ast.parse(MAGIC.sub(r"\1pass", source), name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(tree, name, "exec"), space)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), space)
                if value is not None:
                    space["display"](value)
        for number in plt.get_fignums():
            plt.figure(number).draw_without_rendering()
    finally:
        plt.close("all")
    return printed.getvalue()
