"""The parameters cell of a notebook: what may be changed, to what, and whether a value fits.

One cell carries the tag `parameters`; each of its lines is

    name: type = default  # meaning [low..high]
    name: type = default  # meaning {one, two, three}

The type is int, float, str, bool, list[...] of one of these, or any of them with `| None`;
without it the default's type counts. The range (ends included, either may be left out: [0..]) or
the choices end the comment and are optional; for a list they bind every item.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

TAG = "parameters"
SCALARS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
TYPE = re.compile(r"(?:list\[(?P<item>\w+)\]|(?P<plain>\w+))(?P<optional>\s*\|\s*None)?")
ITEM = re.compile(
    r"""\s*(?:(?P<mark>["'])(?P<quoted>(?:(?!(?P=mark)).|(?P=mark){2})*)(?P=mark)\s*"""
    r"""|(?P<bare>(?!["'])[^,]*))(?=,|$)""",
    re.DOTALL,
)
RANGE = re.compile(r"(?P<text>.*?)\s*\[(?P<low>[^\[\]{}]*?)\.\.(?P<high>[^\[\]{}]*?)\]")
CHOICES = re.compile(r"(?P<text>.*?)\s*\{(?P<choices>[^{}]+)\}")


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell.

    Attributes:
        name: as in the cell.
        type: "int", "float", "str", "bool", "list[...]" of one, perhaps with " | None".
        default: the value in the cell.
        comment: its meaning, without the range or choices.
        low: smallest value allowed, or None.
        high: largest value allowed, or None.
        choices: the only values allowed, or None.
    """

    name: str
    type: str
    default: Any
    comment: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None

    @property
    def allowed(self) -> str:
        """What values it takes, in words for people, such as "int in [1..100]"."""
        if self.choices is not None:
            return f"{self.type}, one of {', '.join(map(str, self.choices))}"
        if self.low is None and self.high is None:
            return self.type
        low, high = ("" if end is None else f"{end:.15g}" for end in (self.low, self.high))
        return f"{self.type} in [{low}..{high}]"

    def convert(self, value: Any) -> Any:
        """Returns the value in the parameter's type; text is read as it would stand in a cell.

        Raises:
            ValueError: the value does not fit; names the parameter, the value and what fits.
        """
        match = TYPE.fullmatch(self.type)
        assert match is not None  # parameters() lets no other type pass
        try:
            if match["optional"] and (value is None or str(value).lower() in ("none", "null")):
                return None
            if match["item"]:
                return [self._one(item, match["item"]) for item in _items(value)]
            return self._one(value, match["plain"])
        except ValueError as error:
            why = f" ({error})" if str(error) else ""
            raise ValueError(
                f"parameter {self.name} cannot be {value!r}{why}; it is {self.allowed}, "
                f"by default {self.default!r}"
            ) from None

    def _one(self, value: Any, kind: str) -> Any:
        found = _scalar(value, kind)
        if self.choices is not None and found not in self.choices:
            close = get_close_matches(str(found), list(map(str, self.choices)), n=1)
            raise ValueError(f"did you mean {close[0]}?" if close else "")
        if self.low is not None and found < self.low:
            raise ValueError("too small")
        if self.high is not None and found > self.high:
            raise ValueError("too large")
        return found


def parameters(path: str | Path) -> list[Parameter]:
    """Returns the parameters of a notebook in the order of the cell; none if it has no such cell.

    The cell is read, never executed.

    Raises:
        FileNotFoundError: no such notebook.
        ValueError: not a notebook, two cells with the tag, a line of another form, a type that is
            not known, or a default outside its own range.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if TAG in cell["metadata"].get("tags", [])]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a notebook: {error!r}") from error
    if len(tagged) > 1:
        raise ValueError(f"{path} has {len(tagged)} cells tagged {TAG!r}; one is right")
    try:
        return _read("".join(tagged[0]["source"])) if tagged else []
    except ValueError as error:
        raise ValueError(f"{path}, cell tagged {TAG!r}: {error}") from error


def validate(known: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values in the types of their parameters, after checking names and ranges.

    Args:
        known: what `parameters` returned.
        values: name -> value, or its text.

    Raises:
        ValueError: an unknown name (with the nearest known one) or a value that does not fit.
    """
    by_name = {parameter.name: parameter for parameter in known}
    found = {}
    for name, value in values.items():
        if name not in by_name:
            close = get_close_matches(name, list(by_name), n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ValueError(
                f"no parameter {name!r}: {hint}there are {', '.join(by_name) or 'none'}"
            )
        found[name] = by_name[name].convert(value)
    return found


def _read(source: str) -> list[Parameter]:
    """Returns the parameters that a cell's source defines."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from error
    comments = {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: list[Parameter] = []
    for line in tree.body:
        parameter = _parameter(line, comments.get(line.end_lineno or line.lineno, ""))
        if parameter.name in {other.name for other in found}:
            raise ValueError(f"line {line.lineno}: {parameter.name} is set twice")
        found.append(parameter)
    return found


def _parameter(line: ast.stmt, comment: str) -> Parameter:
    """Returns the parameter of one line `name: type = default  # comment`."""
    match line:
        case ast.AnnAssign(
            target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value
        ):
            kind = ast.unparse(annotation)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            kind = ""
        case _:
            raise ValueError(f"line {line.lineno} is not `name: type = default  # meaning`")
    try:
        default = ast.literal_eval(value)
    except ValueError:
        raise ValueError(
            f"line {line.lineno}: the default of {name} is not a plain value: {ast.unparse(value)}"
        ) from None
    kind = kind or _kind_of(default, name)
    form = TYPE.fullmatch(kind)
    scalar = form and (form["item"] or form["plain"])
    if form is None or scalar not in SCALARS:
        raise ValueError(
            f"{name} has the type {kind}; known are {', '.join(SCALARS)}, list[...], ... | None"
        )
    parameter = Parameter(name, kind, default, **_limits(comment, scalar, name))
    if parameter.convert(default) != default:  # raises for one outside its own range
        raise ValueError(f"{name} is {kind}, its default is {default!r}")
    return parameter


def _kind_of(default: Any, name: str) -> str:
    if isinstance(default, list) and default:
        return f"list[{type(default[0]).__name__}]"
    if type(default).__name__ not in SCALARS:
        raise ValueError(f"{name} = {default!r} needs a type: `{name}: type = {default!r}`")
    return type(default).__name__


def _limits(comment: str, scalar: str, name: str) -> dict[str, Any]:
    """Returns comment, low, high and choices from `text [low..high]` or `text {one, two}`."""
    if match := RANGE.fullmatch(comment):
        if scalar not in ("int", "float"):
            raise ValueError(f"{name} is {scalar} and cannot have a range: {comment}")
        try:
            low, high = (float(end) if end.strip() else None for end in match.group("low", "high"))
        except ValueError:
            raise ValueError(f"the range of {name} is not of numbers: {comment}") from None
        return {"comment": match["text"], "low": low, "high": high}
    if match := CHOICES.fullmatch(comment):
        texts = [text.strip() for text in match["choices"].split(",")]
        choices = tuple(_scalar(text, scalar) for text in texts)
        return {"comment": match["text"], "choices": choices}
    return {"comment": comment}


def _scalar(value: Any, kind: str) -> Any:
    """Returns a value as int, float, str or bool, refusing every conversion that would lose."""
    if isinstance(value, str) and kind != "str":
        return _from_text(value.strip(), kind)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not SCALARS[kind]:
        raise ValueError(f"a {type(value).__name__} is no {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _from_text(text: str, kind: str) -> Any:
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError("write true or false")
        return text.lower() == "true"
    try:
        value = int(text) if kind == "int" else float(text)
    except ValueError:
        raise ValueError(f"not a number of type {kind}") from None
    return _scalar(value, kind)


def _items(value: Any) -> list[Any]:
    """Returns the items of a list, or of a text like "[a, b]" or "a, b".

    An item in quotation marks, single or double, may hold commas: `"a, b", c` has two items. The
    mark itself stands twice inside.
    """
    if isinstance(value, str):
        inner = value.strip()
        inner = inner[1:-1].strip() if inner[:1] == "[" and inner[-1:] == "]" else inner
        return _split(inner) if inner else []
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError("not a list")


def _split(text: str) -> list[str]:
    """Returns the items of a text, which commas part."""
    found, place = [], 0
    while place <= len(text):
        match = ITEM.match(text, place)
        if match is None:
            raise ValueError(
                f"{text[place:].strip()!r}: a quotation mark without its partner, or text after it"
            )
        mark, quoted, bare = match.group("mark", "quoted", "bare")
        found.append(bare.strip() if mark is None else quoted.replace(mark * 2, mark))
        place = match.end() + 1
    return found
