"""The house rules of the book's notebooks, on each of them, and on pages that break one rule."""

import ast
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "book" / "notebooks").glob("*.ipynb"))
LINES = 8
METADATA_OF_A_RUN = {"papermill", "execution", "widgets"}
FIGURES = ("image/png", "image/svg+xml", "image/jpeg")
# A path of somebody's machine: this checkout, a home folder, a drive, or a file URL.
ABSOLUTE = re.compile(
    rf"(?:{re.escape(str(ROOT))}|/home/|/Users/|/root/|/tmp/|/content/|[A-Z]:\\\\?[A-Za-z]|file://)"
)


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags", [])


def python(text: str) -> str:
    """Return the code without the lines that only IPython understands."""
    return re.sub(r"^(\s*)[!%].*$", r"\1pass", text, flags=re.M)


def check_length(notebook: dict[str, Any]) -> list[str]:
    """Cells are short; the parameters may be as many as they are."""
    return [
        f"{len(source(cell).splitlines())} lines: {source(cell)[:60]}"
        for cell in code_cells(notebook)
        if "parameters" not in tags(cell) and len(source(cell).splitlines()) > LINES
    ]


def check_no_definitions(notebook: dict[str, Any]) -> list[str]:
    """What needs a function or a class belongs into duokit."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [
        f"{type(node).__name__}: {source(cell)[:60]}"
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(python(source(cell))))
        if isinstance(node, kinds)
    ]


def check_parameters(notebook: dict[str, Any]) -> list[str]:
    """One parameters cell: every line a name with a type, a value and a comment."""
    cells = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    if len(cells) != 1:
        return [f"{len(cells)} cells are tagged parameters"]
    pattern = re.compile(r"\w+: [\w\[\], |]+ = .+  # \S.*")
    return [line for line in source(cells[0]).splitlines() if not pattern.fullmatch(line)]


def check_outputs(notebook: dict[str, Any]) -> list[str]:
    """Executed from top to bottom, nothing failed, nothing was said on stderr."""
    counts = [cell["execution_count"] for cell in code_cells(notebook) if source(cell).strip()]
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    found = [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts {counts}"]
    found += [] if outputs else ["no outputs"]
    for output in outputs:
        if output["output_type"] == "error":
            found.append(f"error: {output['ename']}")
        if output.get("name") == "stderr":
            found.append(f"stderr: {''.join(output['text'])[:80]}")
    return found


def check_figures(notebook: dict[str, Any]) -> list[str]:
    """Every figure has a caption and a text for those who do not see it."""
    found = []
    for cell in code_cells(notebook):
        kinds = [kind for output in cell["outputs"] for kind in output.get("data", {})]
        if not set(kinds) & set(FIGURES):
            continue
        told = cell["metadata"].get("mystnb", {})
        if not told.get("figure", {}).get("caption", "").strip():
            found.append(f"no caption: {source(cell)[:60]}")
        if not told.get("image", {}).get("alt", "").strip():
            found.append(f"no alt text: {source(cell)[:60]}")
    return found


def check_metadata(notebook: dict[str, Any]) -> list[str]:
    """A kernel is named; no trace of a particular run."""
    found = []
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("no kernelspec python3")
    places = [notebook["metadata"], *(cell["metadata"] for cell in notebook["cells"])]
    found += [key for place in places for key in METADATA_OF_A_RUN & set(place)]
    if notebook["nbformat"] != 4 or not all(cell.get("id") for cell in notebook["cells"]):
        found.append("cells without ids")
    return found


def check_paths(notebook: dict[str, Any]) -> list[str]:
    """No path of one machine, in code, text or text outputs."""
    texts = [source(cell) for cell in notebook["cells"]]
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            texts.append("".join(output.get("text", "")))
            data = output.get("data", {})
            texts += ["".join(value) for kind, value in data.items() if kind.startswith("text/")]
    return [found[0] for text in texts if (found := ABSOLUTE.search(text))]


def check_title(notebook: dict[str, Any]) -> list[str]:
    """The first cell is Markdown and starts with the one title."""
    first = notebook["cells"][0]
    titled = first["cell_type"] == "markdown" and source(first).startswith("# ")
    return [] if titled else ["no title"]


CHECKS = [value for name, value in sorted(globals().items()) if name.startswith("check_")]


def test_the_book_has_its_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {
        "duo_in_five_minutes",
        "measuring_uncertainty",
        "caltech101",
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_notebooks_follow_the_rules(path, check):
    assert check(json.loads(path.read_text(encoding="utf-8"))) == [], check.__doc__


GOOD: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title\n", "Text."]},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {"tags": ["parameters"]},
            "execution_count": 1,
            "source": ["seed: int = 0  # of everything random [0..9]"],
            "outputs": [],
        },
        {
            "cell_type": "code",
            "id": "c",
            "metadata": {"mystnb": {"figure": {"caption": "Two bars."}, "image": {"alt": "Bars"}}},
            "execution_count": 2,
            "source": ["%matplotlib inline\n", "plt.bar([1], [2])"],
            "outputs": [
                {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": ["x"]}}
            ],
        },
    ],
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_notebook_passes(check):
    assert check(GOOD) == []


def broken(**changes: Any) -> dict[str, Any]:
    """Return the good notebook with its last cell changed."""
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][-1].update(changes)
    return notebook


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        (check_length, {"source": ["a = 1\n"] * (LINES + 1)}),
        (check_no_definitions, {"source": ["def f():\n", "    return 1"]}),
        (check_no_definitions, {"source": ["if x:\n", "    class A: pass"]}),
        (check_parameters, {"metadata": {"tags": ["parameters"]}}),
        (check_outputs, {"execution_count": None}),
        (check_outputs, {"execution_count": 7}),
        (check_outputs, {"outputs": []}),
        (check_outputs, {"outputs": [{"output_type": "error", "ename": "ValueError"}]}),
        (check_outputs, {"outputs": [{"output_type": "stream", "name": "stderr", "text": "oh"}]}),
        (check_figures, {"metadata": {}}),
        (check_figures, {"metadata": {"mystnb": {"figure": {"caption": "x"}}}}),
        (check_figures, {"metadata": {"mystnb": {"image": {"alt": "x"}}}}),
        (check_metadata, {"metadata": {"papermill": {"duration": 1}}}),
        (check_metadata, {"metadata": {"execution": {}}}),
        (check_metadata, {"id": ""}),
        (check_paths, {"source": ["load('/home/me/x.npz')"]}),
        (check_paths, {"source": ["load('C:\\\\data')"]}),
        (check_paths, {"outputs": [{"output_type": "stream", "text": ["/tmp/abc"]}]}),
    ],
)
def test_a_broken_rule_is_seen(check, changes):
    assert check(broken(**changes))


@pytest.mark.parametrize("line", ["seed = 0  # no type", "seed: int = 0", "seed: int  # no value"])
def test_a_parameter_must_have_type_value_and_comment(line):
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][1]["source"] = [line]
    assert check_parameters(notebook) == [line]


def test_the_first_cell_must_be_the_title():
    notebook = copy.deepcopy(GOOD)
    notebook["cells"].pop(0)
    assert check_title(notebook)
