"""Names from other people's files, as they can be printed: none does anything to a reader's screen.

A name may hold any character. One that moves the cursor, colours the text, sets the window's title
or turns the direction of reading is shown by its number. Every other module may import this one,
and only what Python brings is imported here: a command can be stopped from its first moment on.
"""

import re

# Controls (C0, DEL, C1), line and paragraph breaks, marks that turn the text around, bytes of names
# that are not UTF-8.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str, *, kept: str = "\n\t") -> str:
    """Returns the text as it may be printed: what cannot be seen, as an escape that bash knows.

    Args:
        text: any.
        kept: what stays as it is.
    """
    return UNSEEN.sub(lambda found: found[0] if found[0] in kept else _escape(found[0]), text)


def shown(name: str) -> str:
    """Returns a name as it can be printed within a line: its line breaks and tabs are escapes too.

    Args:
        name: any.
    """
    return printable(name, kept="")


def _escape(each: str) -> str:
    number = ord(each)
    if "\udc80" <= each <= "\udcff":  # stands for a byte
        number -= 0xDC00
        return f"\\x{number:02x}"
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}"
