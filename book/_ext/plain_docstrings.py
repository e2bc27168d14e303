"""Let docstrings be plain text: bars are bars, and a table drawn with bars becomes a table.

In reStructuredText |x| is a substitution and a line that starts with a bar a line of verse.
"""

import re
from typing import Any

from sphinx.application import Sphinx

RULE = re.compile(r"[|\s:-]+")
LITERAL = re.compile(r"(``.*?``)")


def cells(line: str) -> list[str]:
    """Return the cells of one line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(rows: list[str], indent: str) -> list[str]:
    """Return a list-table of the rows, the first of which is the head."""
    result = ["", f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
    for row in rows:
        first, *rest = cells(row)
        result += [f"{indent}   * - {first}", *(f"{indent}     - {cell}" for cell in rest)]
    return [*result, ""]


def escaped(line: str) -> str:
    """Return the line with each bar that would open a substitution escaped, but literals."""
    parts = LITERAL.split(line)
    return "".join(
        part if LITERAL.fullmatch(part) else re.sub(r"(?<!\\)\|(?=\S)", r"\\|", part)
        for part in parts
    )


def process(
    _app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Rewrite the lines of one docstring in place, as autodoc wants it."""
    result: list[str] = []
    rows: list[str] = []
    code = False
    for line in [*lines, ""]:
        if line[:1].strip():
            code = line.endswith("::")
        if not code and re.fullmatch(r"\s*\|.*\|\s*", line):
            rows += [] if RULE.fullmatch(line) else [line]
            continue
        if rows:
            result += table(rows, rows[0][: len(rows[0]) - len(rows[0].lstrip())])
            rows = []
        result.append(line if code else escaped(line))
    lines[:] = result[:-1]


def setup(app: Sphinx) -> dict[str, bool]:
    """Come after napoleon and docstring_code: sections are read, code is marked by then."""
    app.connect("autodoc-process-docstring", process, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
