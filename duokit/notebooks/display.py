"""What a notebook shows and keeps: sentences with computed numbers, and values for other pages."""

from __future__ import annotations

import ast
import base64
import io
import math
import re
from collections.abc import Mapping
from string import Formatter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GLUE_PREFIX = "application/papermill.record/"  # the mime prefix MyST looks for
GLUE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def say(template: str, **values: Any) -> None:
    """Displays the template as Markdown, its fields filled with computed values.

    Prose in the book holds no number typed by hand; `say("AURC {aurc:.4f}", aurc=...)` writes it.

    Args:
        template: Markdown with fields as in str.format; braces of formulas are doubled.
        **values: one for each field, by name.

    Raises:
        ValueError: a field without a value, a value without a field, or a format that does not
            suit its value.
    """
    from IPython.display import display

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
        text = template.format(**values)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"cannot fill {template!r}: {error}") from error
    display({"text/markdown": text, "text/plain": text}, raw=True)


def glue(name: str, value: Any) -> None:
    """Stores a value under a name in the cell's outputs; the reader of the notebook sees nothing.

    Any page shows it by the MyST role {glue:text}`name:.3f`, and a run's metrics.json lists it.

    Args:
        name: letters, digits, "_" and "-", a letter first; each name once a notebook.
        value: a finite number, a str or a bool (a NumPy or torch scalar too). Six significant
            digits of a real number are kept: the others differ from machine to machine.

    Raises:
        TypeError: another type.
        ValueError: another form of name, or a number that is not finite.
    """
    from IPython.display import display

    if not isinstance(name, str) or not GLUE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for glue: letters, digits, _ and -, a letter first")
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, (bool, int, float, str)):
        raise TypeError(
            f"glue({name!r}) was given a {type(value).__name__}; it keeps a number, str or bool"
        )
    if isinstance(value, float) and not math.isfinite(value):
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
