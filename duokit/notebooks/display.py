"""What a notebook shows and keeps: sentences with computed numbers, and values for other pages."""

from __future__ import annotations

import ast
import base64
import io
import math
import re
from collections.abc import Mapping
from numbers import Real
from string import Formatter
from types import NoneType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GLUE_PREFIX = "application/papermill.record/"  # the mime prefix MyST looks for
GLUE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
UNKNOWN = "unknown"  # in a sentence, for a number that these records do not give


class _Told(Formatter):
    """Fills in fields as str.format, with a word for numbers that there are not."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        first = re.split(r"[.\[]", field_name)[0]
        if kwargs[first] is None:  # nothing has no parts: {test.t} of no test is not known
            return None, first
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> str:
        return UNKNOWN if _missing(value) else super().format_field(value, format_spec)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and math.isnan(value))


def say(template: str, **values: Any) -> None:
    """Displays the template as Markdown, its fields filled with computed values.

    Prose in the book holds no number typed by hand; `say("AURC {aurc:.4f}", aurc=...)` writes it.

    Args:
        template: Markdown with fields as for `fill`.
        **values: one for each field, by name.

    Raises:
        ValueError: as `fill`.
    """
    from IPython.display import display

    text = fill(template, **values)
    display({"text/markdown": text, "text/plain": text}, raw=True)


def fill(template: str, **values: Any) -> str:
    """Returns the template with its fields filled.

    None, a part of None, and NaN are written as "unknown": FLOPs that a record does not say, the
    AUROC where no answer is wrong.

    Args:
        template: text with fields as in str.format; braces of formulas are doubled.
        **values: one for each field, by name.

    Raises:
        ValueError: a field without a value, a value without a field, or a format that does not
            suit its value.
    """
    try:
        used = {
            re.split(r"[.\[]", name)[0] for _, name, _, _ in Formatter().parse(template) if name
        }
        missing, unused = sorted(used - set(values)), sorted(set(values) - used)
        if missing or unused:
            raise ValueError(
                f"fields without a value: {', '.join(missing) or 'none'}; "
                f"values without a field: {', '.join(unused) or 'none'}"
            )
        return _Told().format(template, **values)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"cannot fill {template!r}: {error}") from error


def glue(name: str, value: Any) -> None:
    """Stores a value under a name in the cell's outputs; the reader of the notebook sees nothing.

    Any page shows it by the MyST role {glue:text}`name:.3f`, and a run's metrics.json lists it.

    Args:
        name: letters, digits, "_" and "-", a letter first; each name once a notebook.
        value: a finite number, a str or a bool (a NumPy or torch scalar too). Six significant
            digits of a real number are kept: the others differ from machine to machine. NaN is
            kept as None, which metrics.json writes as null and no page can format.

    Raises:
        TypeError: another type.
        ValueError: another form of name, or an infinite number.
    """
    from IPython.display import display

    if not isinstance(name, str) or not GLUE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for glue: letters, digits, _ and -, a letter first")
    value = value.item() if hasattr(value, "item") else value
    value = None if _missing(value) else value
    if not isinstance(value, (bool, int, float, str, NoneType)):
        raise TypeError(
            f"glue({name!r}) was given a {type(value).__name__}; it keeps a number, str or bool"
        )
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"glue({name!r}) was given {value}; a page cannot show that as a result")
    value = float(f"{value:.6g}") if isinstance(value, float) else value
    display(
        {GLUE_PREFIX + "text/plain": repr(value)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": GLUE_PREFIX}},
    )


def glue_figure(name: str, drawn: Axes | Figure) -> None:
    """Stores a figure under a name in the cell's outputs; other pages show figures/NAME.png.

    Staging the book (tools/stage.py) writes the picture there.

    Args:
        name: letters, digits, "_" and "-", a letter first; each name once a notebook.
        drawn: a matplotlib figure, or axes of it; as a PNG at the figure's own resolution.

    Raises:
        ValueError: another form of name.
    """
    from IPython.display import display

    if not isinstance(name, str) or not GLUE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for glue: letters, digits, _ and -, a letter first")
    png = io.BytesIO()
    root: Any = drawn.figure  # of axes, or of a part of a figure, the whole figure
    root.savefig(png, format="png", bbox_inches="tight", metadata={"Software": None})
    display(
        {GLUE_PREFIX + "image/png": base64.b64encode(png.getvalue()).decode()},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": GLUE_PREFIX}},
    )


def share(part: float, whole: float) -> float | None:
    """Returns part / whole, or None, which `say` writes as "unknown", where the whole is 0.

    Args:
        part: a number, or a NumPy scalar.
        whole: of the same.
    """
    return float(part / whole) if whole else None


def glued(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Returns name -> value of all that the cells of an executed notebook glued, in their order.

    Args:
        notebook: the notebook, as its JSON reads.

    Raises:
        ValueError: a name that was glued twice.
    """
    found: dict[str, Any] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            scrap = output.get("metadata", {}).get("scrapbook")
            text = output.get("data", {}).get(GLUE_PREFIX + "text/plain")
            if scrap is None or text is None:
                continue
            if scrap["name"] in found:
                raise ValueError(f"{scrap['name']!r} is glued twice; names must differ")
            found[scrap["name"]] = ast.literal_eval("".join(text))
    return found
