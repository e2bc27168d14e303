"""Show code in docstrings as code: they are plain text that reads well in a terminal.

In reStructuredText an indented block is a quotation and `name` in backquotes is emphasis; in a
docstring they are code or a formula, and a name. Attributes that share a line, as in
"low, high: ends of the interval", are one entry, not a type and a name.
"""

import re
from itertools import pairwise

from sphinx.application import Sphinx

CODE = re.compile(r"(?<![:`\w])`([^`\n]+)`(?![`_])")
FIELD = re.compile(r":ivar ([^:]+):")
NOT_TEXT = re.compile(r"[-*+:.|]|\d+\.")  # opens a list, a field, a directive, a line of a table


def translate(lines: list[str]) -> list[str]:
    """Return the lines of a docstring with its code marked."""
    found: list[str] = []
    last = ""  # line of words
    inside = False  # of a block of code
    for before, line in pairwise(["", *lines]):
        indented = line.startswith("    ")
        if line and not inside:
            opens = indented and not before and last[:1].strip() and not NOT_TEXT.match(last)
            inside = bool(opens)
            found += ["::", ""] if inside else []
        elif line and not line.startswith(" "):
            inside = False
        found.append(line if inside else mark(line))
        last = line or last
    return found


def mark(line: str) -> str:
    """Return a line of text with names in backquotes as code; roles and links stay."""
    shared = FIELD.sub(lambda field: field[0].replace(", ", ","), line)
    return CODE.sub(r"``\1``", shared)


def process(
    _app: Sphinx, _what: str, _name: str, _value: object, _how: object, lines: list[str]
) -> None:
    """Translate one docstring in place, as autodoc wants it."""
    lines[:] = translate(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Come after napoleon, which turns sections into fields at priority 500."""
    app.connect("autodoc-process-docstring", process, priority=550)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
