"""What a command prints: names from other people's files do nothing to a terminal.

How a name is shown is said in `duokit.printable`. Only what Python brings is imported here and
there: a command can be stopped from its first moment on.
"""

from __future__ import annotations

import os
import re
from typing import Any, TextIO

from duokit.printable import printable

BAR = re.compile("\r|\x1b\\[A")  # what a progress bar moves by


class OutputClosedError(Exception):
    """Nobody reads the output any more (`duokit list | head -1`)."""


class Shown:
    """A text stream that prints `printable` text.

    Args:
        stream: where it goes.
        bars: whether the movements of progress bars pass.
    """

    def __init__(self, stream: TextIO, *, bars: bool = False) -> None:
        self.stream, self.bars = stream, bars

    def write(self, text: str) -> int:
        """Writes the text; raises OutputClosedError where nobody reads it."""
        if self.bars:
            moves = BAR.findall(text)
            pieces = [printable(piece) for piece in BAR.split(text)]
            text = "".join(a + b for a, b in zip(pieces, [*moves, ""], strict=True))
        else:
            text = printable(text)
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:  # a terminal that cannot show it
            encoding = self.stream.encoding or "ascii"
            return self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except BrokenPipeError as error:
            raise OutputClosedError from error

    def flush(self) -> None:
        """Flushes; raises OutputClosedError where nobody reads any more."""
        try:
            self.stream.flush()
        except BrokenPipeError as error:
            raise OutputClosedError from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def drop_output(stream: TextIO) -> None:
    """Sends what is still to be printed to nowhere, so that Python's end is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
