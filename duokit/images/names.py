"""Names of pictures and classes: which can be kept in a record, and how any can be shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from duokit.printable import shown

# Line breaks of all kinds, other control characters, and bytes of names that are not UTF-8.
UNKEPT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MOST = 100  # bytes of the name of a data set, which goes into names of files


def require_plain(names: Iterable[str], whose: str) -> None:
    """Returns nothing if each name is one line of UTF-8 without control characters.

    Records keep names as lines, and terminals obey control characters, so others are refused
    before anything is computed.

    Args:
        names: of pictures or classes.
        whose: what has them, such as "pets", for the error.

    Raises:
        ValueError: a name that is not, shown with escapes, with a command that renames it.
    """
    wrong = [name for name in names if UNKEPT.search(name)]
    if not wrong:
        return
    name = next((part for part in wrong[0].split("/") if UNKEPT.search(part)), wrong[0])
    broken = any("\ud800" <= each <= "\udfff" for each in name)
    why = "is not UTF-8 text" if broken else "holds a line break or another control character"
    more = f" ({len(wrong):,} such names)" if len(wrong) > 1 else ""
    every = "; convmv -f latin1 -t utf8 -r --notest FOLDER renames all of them" if broken else ""
    raise ValueError(
        f"{whose}: the name {shown(wrong[0])} {why}, which no record can keep{more}: rename it, in "
        f"its folder by mv -- {in_bash(name)} NEW_NAME{every}"
    )


def set_name(root: str | Path, base: Path) -> str:
    """Returns the name of a data set of one's own: that of its folder, or of its archive.

    Args:
        root: what was given, a folder or an archive.
        base: folder in which the pictures are.

    Raises:
        ValueError: a name that no record can keep, or one of more than 100 bytes.
    """
    name = Path(root).name.split(".")[0] if Path(root).is_file() else base.name
    name = base.resolve().name if name in ("", "..") else name
    require_plain([name], "the folder of pictures")
    if len(name.encode()) > MOST:
        raise ValueError(
            f"the folder of pictures has a name of {len(name.encode())} bytes ({name[:40]}...), "
            f"and files are called by it; at most {MOST} can be: rename it"
        )
    return name


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Returns the groups of names that differ in capitals or in how accents are written alone."""
    ordered = sorted(names, key=lambda name: (_folded(name), name))
    groups = (tuple(group) for _, group in groupby(ordered, key=_folded))
    return [group for group in groups if len(group) > 1]


def look_the_same(names: Sequence[str]) -> bool:
    """Returns whether two of the names differ in how their accents are written alone."""
    return len({unicodedata.normalize("NFC", name) for name in names}) < len(names)


def in_bash(name: str) -> str:
    """Returns a name as bash takes it, with the quotation marks that it needs."""
    return "$'" + shown(re.sub(r"[\\']", r"\\\g<0>", name)) + "'"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())
