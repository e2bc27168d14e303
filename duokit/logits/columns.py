"""The columns of a table of logits, in the order of their classes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

NUMBERED = re.compile(r"(.*?)(\d+)")
SCORES = re.compile(r"(logits?|scores?|outputs?|prob(a|s|abilit(y|ies))?)?[\W_]*", re.IGNORECASE)
UNNAMED = "logit_"  # what comes before the number where the classes have no names


def class_order(names: Sequence[str], where: str) -> tuple[list[int], tuple[str, ...] | None]:
    """Returns the place of each class's column, and the names of the classes in that order.

    Columns that are numbered from 0 or 1, with one text before each number, are put in the order of
    their numbers, with a warning: a tool that sorts names writes logit_0, logit_1, logit_10, ...

    Args:
        names: of the columns, two or more.
        where: the file or table, for errors.

    Returns:
        Places, and names: None where they are `logit_` and a number.

    Raises:
        ValueError: a column without a name; scores whose numbers leave a gap or that stand beside
            other columns; plain numbers in an order that is neither theirs nor that of texts.
    """
    if "" in names:
        raise ValueError(
            f"{where} has a column without a name: an index? write it with index=False"
        )
    natural = list(range(len(names)))
    found = [NUMBERED.fullmatch(name) for name in names]
    stems = {each[1] for each in found if each}
    scores = len(stems) == 1 and SCORES.fullmatch(min(stems)) is not None
    if None in found or len(stems) > 1:
        strays = [name for name, each in zip(names, found, strict=True) if each is None]
        if scores and min(stems) and len(strays) < len(names) - 1:
            raise ValueError(
                f"{where}: the column {strays[0]!r} is no class like the others ({names[0]!r}, "
                "...): leave it out"
            )
        return natural, tuple(names)
    stem, numbers = min(stems), [int(each[2]) for each in found if each]
    kept = None if stem == UNNAMED else names
    order = sorted(natural, key=numbers.__getitem__)
    counted = [numbers[place] for place in order]
    if counted != [place + counted[0] for place in natural] or counted[0] > 1:
        if scores and stem:
            raise ValueError(
                f"{where}: the columns {stem}... are numbered {_short(counted)}, not 0 to "
                f"{len(names) - 1}: is one missing?"
            )
        return natural, tuple(names)
    if order != natural:
        if not stem and list(names) != sorted(names):
            raise ValueError(
                f"{where}: the columns are numbered, but stand as {_short(names)}: name them "
                "logit_0, logit_1, ... where the number is the class"
            )
        warnings.warn(
            f"{where}: the columns stood as {_short(names)} and are put in the order of their "
            "numbers",
            stacklevel=4,
        )
    return order, None if kept is None else tuple(names[place] for place in order)


def _short(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
