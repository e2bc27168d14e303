"""What the book's extension makes of docstrings, which are plain text."""

import importlib.util
import inspect

import docutils.core
import docutils.nodes
import pytest

from duokit.fusion.weights import fit_weights
from tests.book_pages import BOOK

SPEC = importlib.util.spec_from_file_location("docstring_code", BOOK / "_ext/docstring_code.py")
MODULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)


def translated(text: str) -> str:
    return "\n".join(MODULE.translate(text.splitlines()))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("what `fit` found", "what ``fit`` found"),
        ("a `| None` type", "a ``| None`` type"),
        ("what ``fit`` found", "what ``fit`` found"),
        ("a :py:class:`X` and a `link`_", "a :py:class:`X` and a `link`_"),
        (":ivar low, high: ends, of `x`", ":ivar low,high: ends, of ``x``"),
    ],
)
def test_names_in_a_line(written, shown):
    assert translated(written) == shown


def test_an_indented_block_after_text_is_code():
    text = "The problem is\n\n    minimise `w`\n\n    over w\n\nby `Newton`."
    wanted = "The problem is\n\n::\n\n    minimise `w`\n\n    over w\n\nby ``Newton``."
    assert translated(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "- an item\n\n    of two paragraphs",
        ".. attribute:: x\n\n    text",
        ":param x: one\n    two",
        "a paragraph\n    and its second line",
    ],
)
def test_what_belongs_to_something_else_is_left_alone(text):
    assert translated(text) == text


def test_the_formula_of_a_real_docstring_becomes_a_literal_block():
    doc = inspect.getdoc(fit_weights).split("\nArgs:")[0]
    kinds = []
    for text in (doc, translated(doc)):
        tree = docutils.core.publish_doctree(text, settings_overrides={"report_level": 5})
        found = (docutils.nodes.block_quote, docutils.nodes.literal_block)
        kinds.append([len(list(tree.findall(kind))) for kind in found])
    assert kinds == [[1, 0], [0, 1]]
