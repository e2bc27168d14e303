"""Staging the book, and the check that a rendered site loads nothing from the network."""

import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import offline, stage

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tree(tmp_path):
    """A book of one page and one notebook, and the folder of its executed notebooks."""
    files = {
        "source/_config.yml": "title: x",
        "source/_toc.yml": "root: book/intro",
        "source/README.md": "# Read",
        "source/book/intro.md": "# Intro",
        "source/book/notebooks/a.ipynb": "{}",
        "source/book/notebooks/.ipynb_checkpoints/a.ipynb": "{}",
        "source/duokit/code.py": "",
        "executed/book/notebooks/a.ipynb": '{"executed": 1}',
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_staging_copies_what_the_book_is_made_of(tree):
    stage.stage(tree / "source", tree / "staged")
    assert sorted(contents(tree / "staged")) == [
        "README.md",
        "_config.yml",
        "_toc.yml",
        "book/intro.md",
        "book/notebooks/a.ipynb",
    ]


def test_executed_notebooks_stand_in_and_the_sources_stay(tree):
    before = contents(tree / "source")
    stage.stage(tree / "source", tree / "staged", tree / "executed")
    assert contents(tree / "staged")["book/notebooks/a.ipynb"] == '{"executed": 1}'
    stage.stage(tree / "source", tree / "staged")
    assert contents(tree / "staged")["book/notebooks/a.ipynb"] == "{}"
    assert contents(tree / "source") == before


def test_kept_figures_become_files_and_leave_with_their_notebook(tree):
    output = {
        "data": {stage.FIGURE: base64.b64encode(b"PNG").decode()},
        "metadata": {"scrapbook": {"name": "fig_one"}},
    }
    notebook = tree / "source/book/notebooks/a.ipynb"
    before = notebook.read_text()
    notebook.write_text(json.dumps({"cells": [{"outputs": [output]}, {}]}))
    stage.stage(tree / "source", tree / "staged")
    assert (tree / "staged/book/figures/fig_one.png").read_bytes() == b"PNG"
    notebook.write_text(before)
    stage.stage(tree / "source", tree / "staged")
    assert not (tree / "staged/book/figures/fig_one.png").exists()


def test_a_notebook_that_was_not_executed_is_named(tree):
    (tree / "executed/book/notebooks/a.ipynb").unlink()
    with pytest.raises(SystemExit, match=r"a\.ipynb is missing"):
        stage.stage(tree / "source", tree / "staged", tree / "executed")


def test_staging_again_touches_only_what_changed(tree):
    assert stage.stage(tree / "source", tree / "staged")
    assert not stage.stage(tree / "source", tree / "staged")
    times = {path: path.stat().st_mtime_ns for path in (tree / "staged").rglob("*.*")}
    (tree / "source/book/intro.md").write_text("# Changed")
    assert stage.stage(tree / "source", tree / "staged")
    (tree / "source/README.md").unlink()
    assert stage.stage(tree / "source", tree / "staged")
    now = {path: path.stat().st_mtime_ns for path in (tree / "staged").rglob("*.*")}
    assert set(times) - set(now) == {tree / "staged/README.md"}
    assert [path.name for path in now if now[path] != times[path]] == ["intro.md"]


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<script src='//cdn.example/x.js'></script>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img alt="x" src="http://example/x.png">',
        '<iframe src="https://example"></iframe>',
        '<p style="background: url(https://example/x.png)">x</p>',
    ],
)
def test_a_page_that_loads_from_outside_is_seen(tmp_path, page):
    (tmp_path / "a.html").write_text(page)
    assert offline.loads(tmp_path / "a.html")
    with pytest.raises(SystemExit, match=r"a\.html"):
        offline.main(tmp_path)


def test_a_style_that_loads_from_outside_is_seen(tmp_path):
    (tmp_path / "a.css").write_text("@import 'https://example/b.css'; p { color: red }")
    assert offline.loads(tmp_path / "a.css") == ["https://example/b.css"]


@pytest.mark.parametrize(
    "page",
    [
        '<a href="https://example">a link to click</a>',
        '<link rel="canonical" href="https://example">',
        '<script src="_static/x.js"></script>',
        '<img alt="x" src="data:image/png;base64,aGk=">',
    ],
)
def test_a_page_that_stays_inside_passes(tmp_path, page):
    (tmp_path / "a.html").write_text(page)
    assert offline.loads(tmp_path / "a.html") == []
    offline.main(tmp_path)


def test_a_site_without_pages_is_no_success(tmp_path):
    with pytest.raises(SystemExit, match="holds no page"):
        offline.main(tmp_path)


@pytest.mark.parametrize("tool", ["address.py", "pins.py", "stage.py"])
def test_a_wrong_call_says_how(tool):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / tool], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "usage" in done.stderr


@pytest.fixture
def plain_docstrings():
    """The extension of the book that lets docstrings be plain text."""
    path = ROOT / "book" / "_ext" / "plain_docstrings.py"
    spec = importlib.util.spec_from_file_location("plain_docstrings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bars_of_a_docstring_are_bars(plain_docstrings):
    text = ["The penalty |w|^2, an int | None, and ``|as it is|``.", "", "::", "", "    |code|"]
    lines = list(text)
    plain_docstrings.process(None, "", "", None, None, lines)
    assert lines == [r"The penalty \|w\|^2, an int | None, and ``|as it is|``.", *text[1:]]


def test_a_table_of_a_docstring_becomes_a_table(plain_docstrings):
    lines = ["Text.", "", "  | a | b |", "  |---|---|", "  | 1 | 2 |", "", "More."]
    plain_docstrings.process(None, "", "", None, None, lines)
    assert [line for line in lines if line] == [
        "Text.",
        "  .. list-table::",
        "     :header-rows: 1",
        "     * - a",
        "       - b",
        "     * - 1",
        "       - 2",
        "More.",
    ]
