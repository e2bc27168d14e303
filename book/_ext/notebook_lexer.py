"""Colour code as IPython reads it: the set-up cells hold `!` and `%` lines, which Python lacks."""

from ipython_pygments_lexers import IPython3Lexer
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Let the IPython lexer, which knows all of Python, stand in for the Python one."""
    app.add_lexer("python", IPython3Lexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
