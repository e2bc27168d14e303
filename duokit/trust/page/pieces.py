"""The few pieces of HTML that a report is made of, and how its numbers are written."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from duokit.printable import shown

NONE = "–"
PERCENT = "\N{NO-BREAK SPACE}%"
Measure = TypeVar("Measure", bound=Hashable)


def escaped(text: object) -> str:
    """Return text that is safe between tags and in attributes; the unseen is shown by number.

    Args:
        text: Anything; what `str` makes of it.
    """
    return html.escape(shown(str(text)))


def at(table: pd.DataFrame, *names: str) -> Any:
    """Return the row, or the rows, that stand under these names of the index.

    Args:
        table: Whose index has as many levels as names are given, or more.
        names: The first levels.
    """
    key: Any = names if len(names) > 1 else names[0]
    return table.loc[key]


def label(text: object) -> str:
    """Return a name that may be broken after its - and _ where there is little room.

    Args:
        text: Anything; what `str` makes of it.
    """
    return re.sub("[-_/]", r"\g<0><wbr>", escaped(text))


def listed(names: Sequence[str]) -> str:
    """Return names as "a, b and c".

    Args:
        names: One or more.
    """
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def items(lines: Iterable[str]) -> str:
    """Return a list of plain lines.

    Args:
        lines: Plain text each.
    """
    return "<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in lines) + "</ul>"


def heading(name: str, meaning: str = "") -> str:
    """Return the inside of a table's heading: a name, and below it what it means.

    Args:
        name: Plain text.
        meaning: Plain text.
    """
    return escaped(name) + (f" <small>{escaped(meaning)}</small>" if meaning else "")


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in a box of its own that scrolls; the first cell of a row is its heading.

    Args:
        caption: Plain text above it.
        head: One piece of HTML a column.
        rows: As many pieces of HTML each.
    """
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>\n'
        for first, *rest in rows
    )
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{escaped(caption)}"><table>'
        f"<caption>{escaped(caption)}</caption>\n<thead><tr>{top}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table></div>"
    )


def measures_table(
    caption: str,
    measures: Mapping[Measure, tuple[str, str]],
    names: Sequence[str],
    cell: Callable[[str, Measure], str],
    *,
    first: str = "Measure",
) -> str:
    """Return a table with a row a measure and a column a model.

    Args:
        caption: Plain text above it.
        measures: Measure -> its name and meaning, plain text.
        names: Of the models.
        cell: Makes the HTML of a model and a measure.
        first: Heading of the measures.
    """
    rows = [
        [heading(*told), *(cell(name, measure) for name in names)]
        for measure, told in measures.items()
    ]
    return table(caption, [first, *map(label, names)], rows)


def share(value: float, digits: int = 1, *, sign: bool = False) -> str:
    """Return a fraction in percent, or a difference of two in points.

    Args:
        value: Fraction; nan for none.
        digits: After the point.
        sign: Write + too, and no unit: for differences.
    """
    if np.isnan(value):
        return NONE
    return (
        minus(f"{100 * value:+.{digits}f}") if sign else minus(f"{100 * value:.{digits}f}{PERCENT}")
    )


def number(value: float, *, sign: bool = False) -> str:
    """Return a number with four decimals.

    Args:
        value: Any; nan for none.
        sign: Write + too.
    """
    return NONE if np.isnan(value) else minus(f"{value:{'+' if sign else ''}.4f}")


def p_value(p: float) -> str:
    """Return a p-value with the digits that mean something, as HTML.

    Args:
        p: In [0, 1]; nan for none.
    """
    if np.isnan(p):
        return NONE
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def with_ends(value: str, low: str, high: str) -> str:
    """Return a value and below it its interval, or the value alone if it has none.

    Args:
        value: As written.
        low: Lower end, as written.
        high: Upper end, as written.
    """
    known = NONE not in (low, high)
    low = low.removesuffix(PERCENT) if high.endswith(PERCENT) else low
    return value + (f" <small>{low} to {high}</small>" if known else "")


def ends(
    row: pd.Series,
    of: str = "value",
    *,
    shares: bool = True,
    signed: bool = False,
    bare: bool = False,
) -> str:
    """Return a number of a row with its interval below it.

    Args:
        row: Of a table of measures.
        of: Its column; the ends stand in of_low and of_high, those of "value" in low and high.
        shares: Write percent.
        signed: Write + too: for differences.
        bare: The ends stand in low and high.
    """
    names = ("low", "high") if bare or of == "value" else (f"{of}_low", f"{of}_high")
    write = share if shares else number
    return with_ends(*(write(row[name], sign=signed) for name in (of, *names)))


def minus(text: str) -> str:
    """Return the text of a number with a minus sign in place of the hyphen, and never -0.

    Args:
        text: As Python writes it.
    """
    zero = not any(digit in text for digit in "123456789")
    return text.replace("-", "" if zero else "−")
