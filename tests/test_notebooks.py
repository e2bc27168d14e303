"""Parameters are checked, sources stay untouched, and two executions give the same bytes."""

import configparser
import json
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from duokit.notebooks import (
    NotebookError,
    Parameter,
    execute,
    glue,
    glue_figure,
    glued,
    normalise,
    parameters,
    problems,
    read,
    say,
    share,
    validate,
)
from duokit.notebooks.__main__ import main
from duokit.notebooks.files import text_of

PARAMETERS = """\
# what a reader may change
n: int = 3  # rows [1..1000000]
scale: float = 1  # factor [0.5..]
mode: str = "weighted"  # how to combine {weighted, raw_mean}
names: list[str] = ["a", "b"]  # folders
sizes: list[int] = [64, 96]  # pixels [32..260]
quick: bool = False
limit: int | None = None  # images, all without it [..1000]
seed = 0  # of everything
"""
TABLE = """\
import pandas as pd
from duokit.notebooks import glue, say
glue("total", n * scale)
say("{n} rows of `{mode}`", n=n, mode=mode)
pd.DataFrame({"x": range(n)}, index=range(n))"""
FIGURE = """\
import matplotlib.pyplot as plt
plt.figure(figsize=(1, 1))
plt.plot([1, 2])
plt.show()"""
STREAMS = """\
import os, sys
print(os.getcwd() == folder, file=sys.stdout)
print("one"); print("two", flush=True); print("three")"""


def code(source, *tags):
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})


def write(path, *cells):
    """A notebook as an editor leaves it: random ids, no kernel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)
    return path


@pytest.fixture
def chapter(tmp_path):
    return write(
        tmp_path / "book" / "chapter.ipynb",
        nbformat.v4.new_markdown_cell("# A chapter"),
        code(PARAMETERS, "parameters"),
        code(TABLE),
        code(f"folder = {str(tmp_path / 'book')!r}\n" + STREAMS),
        code(FIGURE, "hide-input"),
        code(""),
    )


# ------------------------------------------------------------------------------------- parameters


def test_parameters_are_read_from_the_cell(chapter):
    found = {parameter.name: parameter for parameter in parameters(chapter)}
    assert list(found) == ["n", "scale", "mode", "names", "sizes", "quick", "limit", "seed"]
    assert found["n"] == Parameter("n", "int", 3, "rows", 1, 1000000)
    assert found["scale"] == Parameter("scale", "float", 1, "factor", 0.5, None)
    assert found["mode"] == Parameter(
        "mode", "str", "weighted", "how to combine", choices=("weighted", "raw_mean")
    )
    assert found["names"] == Parameter("names", "list[str]", ["a", "b"], "folders")
    assert found["limit"] == Parameter("limit", "int | None", None, "images, all without it",
                                       None, 1000)  # fmt: skip
    assert found["quick"] == Parameter("quick", "bool", False)
    assert found["seed"].type == "int"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("n", "int in [1..1000000]"),
        ("scale", "float in [0.5..]"),
        ("limit", "int | None in [..1000]"),
        ("mode", "str, one of weighted, raw_mean"),
        ("names", "list[str]"),
    ],
)
def test_allowed_says_it_in_words(chapter, name, words):
    assert {p.name: p.allowed for p in parameters(chapter)}[name] == words


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("n: int = 0  # rows [1..9]", "parameter n cannot be 0 .too small.; it is int in .1..9."),
        ("n: int = 10  # rows [1..9]", "parameter n cannot be 10 .too large"),
        ("n: int = '5'", "n is int, its default is '5'"),
        ("n: int = 1.5", "a float is no int"),
        ("n: complex = 1", "n has the type complex; known are int, float, str, bool, list"),
        ("n = None", "n = None needs a type"),
        ("n = []", "needs a type"),
        ("n = len('x')", r"line 1: the default of n is not a plain value: len\('x'\)"),
        ("n: int", "line 1 is not `name: type = default"),
        ("import os", "line 1 is not `name"),
        ("a = b = 1", "line 1 is not `name"),
        ("a.b = 1", "line 1 is not `name"),
        ("n = 1\nn = 2", "line 2: n is set twice"),
        ("n: = 1", "line 1: invalid syntax"),
        ("s: str = ''  # x [1..2]", "s is str and cannot have a range"),
        ("n: int = 1  # x [a..b]", "the range of n is not of numbers"),
        ("m: str = 'c'  # x {a, b}", "m cannot be 'c'; it is str, one of a, b"),
    ],
)
def test_cells_that_are_refused(tmp_path, source, message):
    path = write(tmp_path / "x.ipynb", code(source, "parameters"))
    with pytest.raises(ValueError, match=r"x\.ipynb, cell tagged 'parameters': .*" + message):
        parameters(path)


def test_notebooks_without_one_parameters_cell(tmp_path):
    assert parameters(write(tmp_path / "none.ipynb", code("x = 1"))) == []
    two = write(tmp_path / "two.ipynb", code("x = 1", "parameters"), code("y = 1", "parameters"))
    with pytest.raises(ValueError, match="2 cells tagged"):
        parameters(two)
    (tmp_path / "text.ipynb").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.ipynb is not a notebook"):
        parameters(tmp_path / "text.ipynb")
    with pytest.raises(FileNotFoundError):
        parameters(tmp_path / "nowhere.ipynb")


def test_validate_converts_text_and_values(chapter):
    known = parameters(chapter)
    text = {
        "n": "7", "scale": "2", "mode": "raw_mean", "names": "[x, 'y']", "sizes": "64,128",
        "quick": "True", "limit": "none", "seed": " 1 ",
    }  # fmt: skip
    assert validate(known, text) == {
        "n": 7, "scale": 2.0, "mode": "raw_mean", "names": ["x", "y"], "sizes": [64, 128],
        "quick": True, "limit": None, "seed": 1,
    }  # fmt: skip
    assert validate(known, {"scale": "1e3", "limit": 10, "names": ()}) == {
        "scale": 1000.0, "limit": 10, "names": []
    }  # fmt: skip
    assert validate(known, {"n": 5.0, "names": "[]"}) == {"n": 5, "names": []}
    for ends in ({"n": 1, "scale": 0.5}, {"n": 1000000, "limit": 1000}):
        assert validate(known, ends) == ends
    assert validate(known, {}) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nn": 1}, "no parameter 'nn': did you mean n"),
        ({"node": "raw_mean"}, "no parameter 'node': did you mean mode"),
        ({"zzzzz": 1}, "no parameter 'zzzzz': there are n, scale, mode"),
        (
            {"n": 0},
            r"parameter n cannot be 0 \(too small\); it is int in \[1..1000000\], by default 3",
        ),
        ({"n": "1000001"}, r"parameter n cannot be '1000001' \(too large\)"),
        ({"n": "1.5"}, "not a number of type int"),
        ({"n": 1.5}, "a float is no int"),
        ({"n": True}, "a bool is no int"),
        ({"n": None}, "a NoneType is no int"),
        ({"scale": "much"}, "not a number of type float"),
        ({"scale": float("inf")}, "not finite"),
        ({"scale": "nan"}, "not finite"),
        ({"scale": True}, "a bool is no float"),
        ({"mode": "raw-mean"}, r"'raw-mean' \(did you mean raw_mean\?\); it is str, one of weight"),
        ({"mode": "zzz"}, "cannot be 'zzz'; it is str, one of"),
        ({"mode": 3}, "a int is no str"),
        ({"quick": "yes"}, "write true or false"),
        ({"quick": 1}, "a int is no bool"),
        ({"sizes": [64, 16]}, r"parameter sizes cannot be \[64, 16\] \(too small\)"),
        ({"sizes": 64}, "not a list"),
        ({"limit": 1001}, "too large"),
    ],
)
def test_validate_refuses(chapter, values, message):
    with pytest.raises(ValueError, match=message):
        validate(parameters(chapter), values)


# ---------------------------------------------------------------------------------------- display


@pytest.fixture
def shown(monkeypatch):
    """Calls a function and returns the one output that a kernel would be sent."""
    sent = []
    monkeypatch.setattr(
        "IPython.display.display", lambda *args, **options: sent.append((args, options))
    )

    def call(function, *args, **values):
        sent.clear()
        function(*args, **values)
        (((data,), options),) = sent
        assert options["raw"]
        return data, options.get("metadata", {})

    return call


def test_say_fills_in_numbers(shown):
    data, _ = shown(
        say, "AURC **{aurc:.3f}** of {n} ($x_{{1}}$, {row[0]})", aurc=1 / 3, n=5, row=[9]
    )
    assert data["text/markdown"] == "AURC **0.333** of 5 ($x_{1}$, 9)"
    assert data["text/plain"] == data["text/markdown"]


@pytest.mark.promise("any-records")
@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan")])
def test_say_has_a_word_for_what_is_not_known(shown, missing):
    data, _ = shown(say, "{a:.1%} of {b[0]:+.2f}, {a}", a=missing, b=[missing])
    assert data["text/markdown"] == "unknown of unknown, unknown"


@pytest.mark.parametrize(
    ("template", "values", "message"),
    [
        ("{a} {b}", {"a": 1}, "fields without a value: b"),
        ("{a}", {"a": 1, "b": 2}, "values without a field: b"),
        ("{a:.2f}", {"a": "x"}, "cannot fill '{a:.2f}'"),
        ("{", {}, "cannot fill"),
        ("{}", {}, "cannot fill"),
        ("{a.b}", {"a": 1}, "cannot fill"),
    ],
)
def test_say_refuses(template, values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        say(template, **values)


def test_glue_is_what_myst_reads(shown):
    from myst_nb.core.variables import format_plain_text
    from myst_nb.ext.glue import extract_glue_data_cell

    data, metadata = shown(glue, "auroc", 0.91872)
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    cell = nbformat.v4.new_code_cell(outputs=[output])
    ((key, result),) = extract_glue_data_cell(cell)
    assert key == "auroc"
    assert format_plain_text(result["data"]["text/plain"], ".3f") == "0.919"
    assert cell["outputs"] == []  # the reader of the notebook sees nothing


@pytest.mark.promise("any-records")
@pytest.mark.parametrize("missing", [None, float("nan"), np.float64("nan")])
def test_glue_keeps_none_for_what_is_not_known(shown, missing):
    from myst_nb.core.variables import format_plain_text

    data, metadata = shown(glue, "auroc", missing)
    output = {"output_type": "display_data", "data": data, "metadata": metadata}
    assert glued({"cells": [{"cell_type": "code", "outputs": [output]}]}) == {"auroc": None}
    with pytest.raises(TypeError, match="NoneType"):  # the book's own pages notice
        format_plain_text(data["application/papermill.record/text/plain"], ".3f")


@pytest.mark.parametrize(("part", "whole", "found"), [(1, 4, 0.25), (0, 2, 0), (1, 0, None)])
def test_a_share_of_nothing_is_none(part, whole, found):
    assert share(np.int64(part), np.int64(whole)) == share(part, whole) == found


def test_glue_takes_scalars_of_any_library(shown):
    import torch

    values = [1, True, "it's", np.float32(0.5), np.int64(3), torch.tensor(2.5), np.array(1.5)]
    outputs = []
    for place, value in enumerate(values):
        data, metadata = shown(glue, f"v-{place}", value)
        outputs.append({"output_type": "display_data", "data": data, "metadata": metadata})
    notebook = {"cells": [{"cell_type": "code", "outputs": outputs}, {"cell_type": "markdown"}]}
    found = glued(notebook)
    plain = [1, True, "it's", 0.5, 3, 2.5, 1.5]
    assert found == {f"v-{place}": value for place, value in enumerate(plain)}
    assert type(found["v-1"]) is bool
    notebook["cells"].append(notebook["cells"][0])
    with pytest.raises(ValueError, match="'v-0' is glued twice"):
        glued(notebook)


def test_glue_figure_stores_the_same_png_each_time(shown):
    import base64

    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    axes = figure.subplots()
    axes.plot([1, 2])
    first, metadata = shown(glue_figure, "fig-a", axes)
    second, _ = shown(glue_figure, "fig-a", figure)
    assert first == second
    assert base64.b64decode(first["application/papermill.record/image/png"])[:4] == b"\x89PNG"
    assert metadata["scrapbook"]["name"] == "fig-a"
    output = {"output_type": "display_data", "data": first, "metadata": metadata}
    assert glued({"cells": [{"cell_type": "code", "outputs": [output]}]}) == {}
    with pytest.raises(ValueError, match="is no name for glue"):
        glue_figure("a b", figure)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("a b", 1, ValueError),
        ("1a", 1, ValueError),
        ("a:b", 1, ValueError),
        (3, 1, ValueError),
        ("a", float("inf"), ValueError),
        ("a", [1], TypeError),
    ],
)
def test_glue_refuses(name, value, error):
    with pytest.raises(error):
        glue(name, value)


# ------------------------------------------------------------------------------------------- tidy


def untidy():
    return {
        "nbformat": 4, "nbformat_minor": 4,
        "metadata": {
            "papermill": {"duration": 3.2}, "widgets": {"state": {}}, "title": "Kept",
            "kernelspec": {"name": "my-env", "display_name": "mine"},
            "language_info": {"name": "python", "version": "3.11.2"},
        },
        "cells": [
            {"cell_type": "markdown", "source": ["# A\n", "b"], "metadata": {"tags": []}},
            {
                "cell_type": "code", "id": "f00", "source": "x", "execution_count": 17,
                "metadata": {
                    "tags": ["hide-input"], "papermill": {}, "execution": {"iopub.status": "t"},
                    "collapsed": True, "mystnb": {"image": {"alt": "a"}},
                },
                "outputs": [
                    {"output_type": "stream", "name": "stderr", "text": "e1\n"},
                    {"output_type": "stream", "name": "stdout", "text": ["o1\n", "o2\n"]},
                    {"output_type": "stream", "name": "stderr", "text": "e2\n"},
                    {"output_type": "execute_result", "execution_count": 17, "metadata": {},
                     "data": {"text/plain": "<X at 0x7f00>",
                              "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}},
                    {"output_type": "stream", "name": "stdout", "text": "o3\n"},
                ],
            },
            {"cell_type": "code", "source": "x", "metadata": {}, "outputs": [],
             "execution_count": None},
            {"cell_type": "code", "source": "x", "metadata": {}, "outputs": [],
             "execution_count": 23},
        ],
    }  # fmt: skip


def test_normalise_by_hand():
    before = untidy()
    found = normalise(before)
    assert before == untidy()  # its argument is left alone
    assert found["metadata"] == {
        "title": "Kept",
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    text, first, second, third = found["cells"]
    assert text["metadata"] == {}
    assert text["source"] == "# A\nb"
    assert first["metadata"] == {"tags": ["hide-input"], "mystnb": {"image": {"alt": "a"}}}
    assert [c["execution_count"] for c in (first, second, third)] == [1, None, 2]
    out, err, result, last = first["outputs"]
    assert (out["name"], out["text"]) == ("stdout", "o1\no2\n")
    assert (err["name"], err["text"]) == ("stderr", "e1\ne2\n")
    assert last["text"] == "o3\n"
    assert result["data"] == {"text/plain": "<X at 0x7f00>"}  # addresses are not touched
    assert result["execution_count"] == 1


def test_ids_follow_the_source():
    found = [cell["id"] for cell in normalise(untidy())["cells"]]
    assert len(set(found)) == 4
    assert found[2:] == [found[1] + "-2", found[1] + "-3"]
    more = untidy()
    more["cells"].insert(0, {"cell_type": "code", "source": "new", "metadata": {}, "outputs": []})
    assert [cell["id"] for cell in normalise(more)["cells"]][1:] == found
    nbformat.validate(nbformat.from_dict(normalise(more)))


def test_normalise_twice_is_normalise_once(chapter):
    once = normalise(read(chapter))
    assert text_of(normalise(once)) == text_of(once)


# ---------------------------------------------------------------------------------------- running


def test_execution_is_whole_clean_and_repeatable(chapter, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")  # would keep the figure out of the outputs
    before = chapter.read_bytes()
    environment = dict(os.environ)
    notebook = execute(chapter, tmp_path / "out" / "chapter.ipynb")
    path = tmp_path / "out" / "chapter.ipynb"
    assert read(path) == notebook
    assert chapter.read_bytes() == before
    assert os.environ == environment
    assert sorted(p.name for p in tmp_path.rglob("*.ipynb*")) == ["chapter.ipynb"] * 2
    assert list(chapter.parent.iterdir()) == [chapter]
    table, streams, figure, _ = notebook["cells"][2:]
    kept, sentence, frame = table["outputs"]
    assert glued(notebook) == {"total": 3}
    assert kept["data"].keys() == {"application/papermill.record/text/plain"}
    assert sentence["data"]["text/markdown"] == "3 rows of `weighted`"
    assert "text/html" in frame["data"]
    assert [o["text"] for o in streams["outputs"]] == ["True\none\ntwo\nthree\n"]
    assert "image/png" in figure["outputs"][0]["data"]
    assert [c["execution_count"] for c in notebook["cells"][1:]] == [1, 2, 3, 4, None]
    assert not any("injected" in str(cell["metadata"]) for cell in notebook["cells"])
    assert problems(path) == []
    text = path.read_text()
    assert not re.search(r"papermill\"|start_time|duration|\"version\"", text)
    assert "TCP" not in capfd.readouterr().err

    execute(path, tmp_path / "again" / "chapter.ipynb", {"n": 3}, cwd=chapter.parent)
    assert (tmp_path / "again" / "chapter.ipynb").read_bytes() == path.read_bytes()


def test_other_values_are_injected(tmp_path):
    path = write(
        tmp_path / "{x}" / "a.ipynb",  # braces mean something to papermill
        code("n: int = 3\nsizes: list[int] = [1]", "parameters"),
        code("print(n, sizes)"),
        code("from pathlib import Path\nprint(Path('here').exists())"),
    )
    (tmp_path / "here").touch()
    target = tmp_path / "{out}" / "a.ipynb"
    notebook = execute(path, target, {"n": "4", "sizes": [1]}, cwd=tmp_path)
    injected = notebook["cells"][1]
    assert injected["metadata"]["tags"] == ["injected-parameters"]
    assert injected["source"] == "# Parameters\nn = 4"
    assert notebook["cells"][2]["outputs"][0]["text"] == "4 [1]\n"
    assert notebook["cells"][3]["outputs"][0]["text"] == "True\n"
    assert "holds the parameters of a run (cell 2)" in problems(target)
    # run again from the result: the injected cell goes
    again = execute(target, tmp_path / "b" / "a.ipynb")
    assert again["cells"][1]["outputs"][0]["text"] == "3 [1]\n"


def test_a_failing_cell_is_named(tmp_path):
    path = write(
        tmp_path / "src" / "bad.ipynb",
        nbformat.v4.new_markdown_cell("# Title"),
        code("n: int = 3", "parameters"),
        code("print('reached')"),
        code("\ntop = n / 0\nprint('never')"),
        code("print('not reached')"),
    )
    before = path.read_bytes()
    target = tmp_path / "out" / "bad.ipynb"
    message = (
        r"src/bad\.ipynb, cell 4 \(top = n / 0\): ZeroDivisionError: division by zero; "
        r"what was reached is in .*out/bad\.partial\.ipynb"
    )
    for values in ({}, {"n": 5}):
        with pytest.raises(NotebookError, match=message):
            execute(path, target, values)
    assert path.read_bytes() == before
    assert not target.exists()
    partial = read(tmp_path / "out" / "bad.partial.ipynb")
    text = json.dumps(partial)
    assert "reached\\n" in text
    assert "ZeroDivisionError" in text
    assert "not reached\\n" not in text


def test_a_failure_before_the_parameters_is_counted_right(tmp_path):
    path = write(tmp_path / "src" / "bad.ipynb", code("1 / 0"), code("n: int = 3", "parameters"))
    with pytest.raises(NotebookError, match=r"cell 1 \(1 / 0\)"):
        execute(path, tmp_path / "out" / "bad.ipynb", {"n": 4})


@pytest.mark.parametrize(
    ("source", "timeout", "message"),
    [
        ("import os\nos._exit(3)", None, "DeadKernelError: Kernel died"),
        ("import time\ntime.sleep(60)", 1, "CellTimeoutError"),
    ],
)
def test_a_kernel_that_stops(tmp_path, source, timeout, message):
    path = write(tmp_path / "src" / "bad.ipynb", code(source))
    with pytest.raises(NotebookError, match=r"src/bad\.ipynb.*" + message):
        execute(path, tmp_path / "out" / "bad.ipynb", timeout=timeout)
    assert not (tmp_path / "out" / "bad.ipynb").exists()


@pytest.mark.promise("errors")
@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('"a,b",c', ["a,b", "c"]), ("['a,b', 'c']", ["a,b", "c"]), ("a, b", ["a", "b"]),
        ('"a ""x"" b",c', ['a "x" b', "c"]), ("it's,b", ["it's", "b"]), ("", []), ("[]", []),
        ("a,", ["a", ""]), ('"",a', ["", "a"]),
    ],
)  # fmt: skip
def test_a_list_in_words(text, items):
    names = Parameter("names", "list[str]", [])
    assert names.convert(text) == items
    for wrong in ('"a', 'a,"b', "'a' b,c"):
        with pytest.raises(ValueError, match=r"names cannot be .*without its partner"):
            names.convert(wrong)


def test_execute_refuses_before_any_kernel_starts(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr("duokit.notebooks.running._run", lambda *args: pytest.fail("ran"))
    with pytest.raises(ValueError, match="folder of its source"):
        execute(chapter, chapter.with_name("other.ipynb"))
    with pytest.raises(ValueError, match="no parameter 'm'"):
        execute(chapter, tmp_path / "x.ipynb", {"m": 1})
    with pytest.raises(FileNotFoundError):
        execute(tmp_path / "book" / "none.ipynb", tmp_path / "x.ipynb")
    (tmp_path / "x.ipynb").touch()
    with pytest.raises(FileExistsError):
        execute(chapter, tmp_path / "x.ipynb", overwrite=False)
    (tmp_path / "y.partial.ipynb").write_text("mine")
    with pytest.raises(FileExistsError, match=r"y\.partial\.ipynb is not of an earlier run"):
        execute(chapter, tmp_path / "y.ipynb")
    assert (tmp_path / "y.partial.ipynb").read_text() == "mine"


def test_read_refuses_what_is_no_notebook(tmp_path):
    for text in ("", "{}", '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}'):
        (tmp_path / "x.ipynb").write_text(text)
        with pytest.raises(ValueError, match=r"x\.ipynb is not a notebook"):
            read(tmp_path / "x.ipynb")


# ----------------------------------------------------------------------------------- command line


def test_command_execute(chapter, tmp_path, capsys):
    bad = write(tmp_path / "book" / "bad.ipynb", code("1 / 0"))
    assert main(["execute", "--out", str(tmp_path / "built"), str(bad), str(chapter)]) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(r"\S+bad\.ipynb, cell 1 \(1 / 0\): ZeroDivisionError: .*\n", err)
    assert re.match(r"\S+chapter\.ipynb: executed into \S+built/chapter\.ipynb \(\d", out)
    assert (tmp_path / "built" / "chapter.ipynb").exists()  # one failure does not stop the rest


def test_command_update_normalise_check(tmp_path, capsys):
    path = write(tmp_path / "book" / "a.ipynb", code("x = 1\nx"))
    assert main(["check", str(path)]) == 1
    err = capsys.readouterr().err
    assert "a.ipynb is not normalised" in err
    assert "did not make its outputs" in err
    assert "was not executed (cell 1)" in err

    assert main(["normalise", str(path)]) == 0
    assert "updated" in capsys.readouterr().out
    assert main(["check", str(path)]) == 1
    assert "not normalised" not in capsys.readouterr().err

    assert main(["update", str(path)]) == 0
    assert "updated" in capsys.readouterr().out
    assert main(["check", str(path)]) == 0
    assert "fit to be committed" in capsys.readouterr().out
    assert main(["update", str(path)]) == 0
    assert "unchanged" in capsys.readouterr().out

    path.write_text(path.read_text().replace("x = 1", "x = 2"))
    assert main(["normalise", str(path)]) == 0
    assert main(["check", str(path)]) == 1
    assert "code that did not make its outputs" in capsys.readouterr().err


def test_command_update_leaves_a_failing_notebook_alone(tmp_path, capsys):
    path = write(tmp_path / "book" / "a.ipynb", code("1 / 0"))
    before = path.read_bytes()
    assert main(["update", str(path)]) == 1
    assert path.read_bytes() == before
    partial = Path(capsys.readouterr().err.strip().split("what was reached is in ")[1])
    assert partial.exists()


def test_problems_name_errors_and_warnings(tmp_path):
    warn = code("import sys\nprint('careful', file=sys.stderr)")
    path = write(tmp_path / "book" / "a.ipynb", warn)
    target = tmp_path / "out" / "a.ipynb"
    execute(path, target)
    assert problems(target) == ["shows a warning, 'careful' (cell 1)"]
    notebook = read(target)
    error = {"output_type": "error", "ename": "E", "evalue": "why", "traceback": []}
    notebook["cells"][0]["outputs"] = [error]
    target.write_text(text_of(notebook))
    assert problems(target) == ["shows an error, E: why (cell 1)"]


def test_usage_errors_exit_with_2():
    with pytest.raises(SystemExit) as caught:
        main(["execute", "x.ipynb"])
    assert caught.value.code == 2


# ------------------------------------------------------------------------------------------ nbval


def test_sanitizer_hides_addresses_and_nothing_else():
    config = configparser.RawConfigParser()
    config.read(Path(__file__).with_name("nbval_sanitize.cfg"))
    rules = [(config[s]["regex"], config[s]["replace"]) for s in config.sections()]

    def clean(text):
        for regex, replacement in rules:
            text = re.sub(regex, replacement, text)
        return text

    assert clean("<X at 0x7f3a1c00beef>") == "<X at ADDRESS>"
    assert clean("/tmp/ipykernel_4711/123.py:1: Warning") == "/tmp/CELL:1: Warning"
    for kept in ("0.9187", "NLL 0.2164", "12.5 s", "2026-11-02", "100%", "0x1F"):
        assert clean(kept) == kept
