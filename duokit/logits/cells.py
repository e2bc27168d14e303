"""Texts in CSV cells: a spreadsheet takes one that begins with = + - @ for a formula and runs it.

Such a text is written with an apostrophe before it, which spreadsheets take for "this is text" and
`unguarded` takes away again.
"""

from __future__ import annotations

import re

FORMULA = re.compile("'*[=+\\-@\t\r\n]")
GUARDED = re.compile("'+[=+\\-@\t\r\n]")


def guarded(text: str) -> str:
    """Returns the text as it stands in a cell."""
    return f"'{text}" if FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """Returns the text that `guarded` put into a cell."""
    return cell[1:] if GUARDED.match(cell) else cell
