"""Notebooks as programs: typed parameters in, a clean executed notebook out.

In a notebook, `say` writes a sentence whose numbers were computed and `glue` keeps a number for
other pages. Outside, `parameters`, `validate` and `execute` run it with other values, and
`python -m duokit.notebooks` is what the Makefile calls.

Importing this module needs nothing but Python, so that a notebook can use it anywhere;
executing needs the extra `book`.
"""

from duokit.notebooks.display import fill, glue, glue_figure, glued, say, share
from duokit.notebooks.files import problems, read
from duokit.notebooks.parameters import Parameter, parameters, validate
from duokit.notebooks.running import NotebookError, execute
from duokit.notebooks.tidy import normalise

__all__ = [
    "say",
    "fill",
    "glue",
    "glue_figure",
    "glued",
    "share",
    "Parameter",
    "parameters",
    "validate",
    "execute",
    "NotebookError",
    "read",
    "normalise",
    "problems",
]
