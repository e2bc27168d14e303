"""Check a rendered site: no page may load anything from the network.

`python tools/offline.py _build/html` names every script, style, picture, font or frame with an
address outside the site. Links that a reader follows by a click are allowed. Standard library only.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

OUTSIDE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "video": ("src", "poster"),
}
# A link element with one of these names a page, it fetches nothing.
POINTERS = {
    "alternate",
    "author",
    "canonical",
    "help",
    "index",
    "license",
    "next",
    "prev",
    "search",
}
IN_STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^'\")\s;]+)", re.IGNORECASE)


class Loads(HTMLParser):
    """Collects the outside addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        given = {name: value or "" for name, value in attrs}
        self.found += IN_STYLE.findall(given.get("style", ""))
        if tag == "link" and set(given.get("rel", "").lower().split()) <= POINTERS:
            return
        for name in LOADING.get(tag, ()):
            if OUTSIDE.match(given.get(name, "")):
                self.found.append(f"<{tag} {name}={given[name]}>")


def loads(path: Path) -> list[str]:
    """Return what a page or a style sheet loads from outside its site."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".css":
        return IN_STYLE.findall(text)
    parser = Loads()
    parser.feed(text)
    return parser.found


def main(folder: Path) -> None:
    """Name every outside address under the folder and fail if there is one."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".html", ".css"))
    if not paths:
        raise SystemExit(f"{folder} holds no page: render the book first")
    found = [f"{path.relative_to(folder)}: {what}" for path in paths for what in loads(path)]
    if found:
        raise SystemExit("the site loads from the network:\n" + "\n".join(found))
    print(f"{len(paths)} pages and style sheets load nothing from the network")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
