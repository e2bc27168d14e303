"""`duokit run`: a folder for each run, nothing overwritten, nothing run with a wrong value."""

import hashlib
import json
from pathlib import Path

import nbformat
import pytest
import yaml

from duokit.cli import run as command
from duokit.notebooks import read

CELLS = {
    "parameters": "n: int = 3  # rows [1..9]\nseed: int = 7\nnames: list[str] = ['a']",
    "": "from IPython.display import display\n"
    "meta = {'scrapbook': {'name': 'double', 'mime_prefix': 'application/papermill.record/'}}\n"
    "display({'application/papermill.record/text/plain': repr(2 * n)}, raw=True, metadata=meta)\n"
    "top = 1 / (n - 9)",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository with one chapter, as the current folder."""
    monkeypatch.chdir(tmp_path)
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": [tag] if tag else []})
        for tag, source in CELLS.items()
    ]
    (tmp_path / "book" / "notebooks").mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "book/notebooks/toy.ipynb")
    return tmp_path


def folders(place):
    return sorted((place / "runs").glob("*")) if (place / "runs").exists() else []


def test_run(place, duokit):
    source = place / "book" / "notebooks" / "toy.ipynb"
    before = source.read_bytes()
    (place / "mine.yaml").write_text("n: 5\nnames: [x, y]\n")
    code, text, err = duokit("run", "toy", "-f", "mine.yaml", "-p", "n=6", "-p", "seed=1")
    assert (code, err) == (0, "")
    (folder,) = folders(place)
    assert folder.name.startswith("toy-2")
    assert f"into {Path('runs') / folder.name}" in text
    assert "1 values in" in text
    values = {"n": 6, "seed": 1, "names": ["x", "y"]}
    assert yaml.safe_load((folder / "parameters.yaml").read_text()) == values
    assert json.loads((folder / "metrics.json").read_text()) == {"double": 12}
    about = json.loads((folder / "run.json").read_text())
    assert about["parameters"] == values
    assert (about["seed"], about["status"]) == (1, "done")
    assert about["sha256"] == hashlib.sha256(before).hexdigest()
    assert about["duration_s"] > 0
    assert "numpy" in about["versions"]
    assert read(folder / "toy.ipynb")["cells"][1]["source"].startswith("# Parameters\nn = 6")
    assert source.read_bytes() == before

    # the same again from what the run wrote, into another folder
    words = ("run", source, "-f", folder / "parameters.yaml", "--out", "elsewhere")
    assert duokit(*words)[0] == 0
    (again,) = (place / "elsewhere").iterdir()
    assert (again / "toy.ipynb").read_bytes() == (folder / "toy.ipynb").read_bytes()


def test_a_run_that_fails_says_where_and_keeps_what_it_has(place, duokit):
    code, _, err = duokit("run", "toy", "-p", "n=9")
    assert code == 2
    assert err.startswith("duokit run: ")
    assert "toy.ipynb, cell 2 " in err
    assert "ZeroDivisionError" in err
    assert err.count("\n") == 1
    (folder,) = folders(place)
    assert json.loads((folder / "run.json").read_text())["status"].startswith("failed: Notebook")
    assert {path.name for path in folder.iterdir()} == {
        "parameters.yaml", "run.json", "toy.partial.ipynb",
    }  # fmt: skip


def test_dry_run(place, duokit):
    code, text, err = duokit("run", "toy.ipynb", "-p", "names=u, v", "--dry-run")
    assert (code, err) == (0, "")
    assert "n = 3  # rows; int in [1..9]" in text
    assert "names = ['u', 'v'] (by default ['a'])" in text
    assert not folders(place)


def test_chapters_are_found_from_below_the_repository(place, duokit, monkeypatch):
    (place / "book" / "deep").mkdir()
    monkeypatch.chdir(place / "book" / "deep")
    assert duokit("run", "toy", "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toi"], "no notebook toi: give the path of an .ipynb, or a chapter: toy"),
        (["book/notebooks/none.ipynb"], "no notebook book/notebooks/none.ipynb"),
        (["toy", "-p", "n=10"], "parameter n cannot be '10' (too large); it is int in [1..9]"),
        (["toy", "-p", "nn=1"], "no parameter 'nn': did you mean n"),
        (["toy", "-p", "n"], "-p 'n' is not NAME=VALUE"),
        (["toy", "-p", "=1"], "-p '=1' is not NAME=VALUE"),
        (["toy", "-f", "none.yaml"], "No such file or directory: none.yaml"),
        (["toy", "-f", "list.yaml"], "list.yaml holds list; expected lines"),
        (["toy", "-f", "bad.yaml"], "bad.yaml is not YAML"),
        (["toy", "-f", "key.yaml"], "key.yaml has the key True (value 3), which YAML takes for"),
        (["toy", "-f", "alias.yaml"], "alias.yaml is not YAML that can be read: an alias"),
        (["toy", "-f", "deep.yaml"], "deep.yaml is not YAML"),
        (["toy", "-f", "utf16.yaml"], "utf16.yaml is not YAML"),
        (["toy", "-f", "."], "Is a directory"),
    ],
)
def test_wrong_words_run_nothing(place, duokit, words, message):
    (place / "list.yaml").write_text("- 1\n- 2\n")
    (place / "bad.yaml").write_text("a: [1\n")
    (place / "key.yaml").write_text("on: 3\n")
    (place / "alias.yaml").write_text("a: &a [x]\nn: [*a, *a]\n")
    (place / "deep.yaml").write_text("[" * 1200)
    (place / "utf16.yaml").write_bytes("n: 3\n".encode("utf-16"))
    code, out, err = duokit("run", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert not folders(place)


def test_no_book_anywhere(place, duokit, monkeypatch):
    monkeypatch.setattr(command, "CHAPTERS", Path("no/such/folder"))
    code, _, err = duokit("run", "toy")
    assert (code, err) == (2, "duokit run: no notebook toy: give the path of an .ipynb\n")


def test_two_runs_in_one_second_have_two_folders(tmp_path):
    names = {command.own_folder(tmp_path / "runs", "toy").name for _ in range(5)}
    assert len(names) == 5


def test_a_notebook_without_parameters(tmp_path, duokit, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    path = tmp_path / "src" / "plain.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), path)
    assert duokit("run", path)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "parameters.yaml").read_text() == ""
    assert json.loads((folder / "metrics.json").read_text()) == {}
    code, _, err = duokit("run", path, "-f", folder / "parameters.yaml")
    assert (code, err) == (0, "")
