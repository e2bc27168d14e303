"""What the tests of the book read: pages, fences, labels, links, citations, API entries."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
FENCE = re.compile(
    r"^(?P<ticks>`{3,}|:{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=ticks)[ \t]*$", re.M | re.S
)
CODE = re.compile(r"`+[^`\n]+`+")


def sources(pattern: str) -> list[Path]:
    """Return the files of the book that become pages, without those that are served as they are."""
    found = sorted(BOOK.rglob(pattern))
    aside = {"_static", ".ipynb_checkpoints", "_build"}
    return [path for path in found if not aside & set(path.relative_to(BOOK).parts)]


def pages() -> dict[str, str]:
    """Return the text of each page by its path in the repository; a notebook's is its Markdown."""
    found = {p.relative_to(ROOT).as_posix(): p.read_text("utf-8") for p in sources("*.md")}
    for path in sources("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        found[path.relative_to(ROOT).as_posix()] = "\n\n".join(texts)
    return dict(sorted(found.items()))


def fences(text: str) -> list[tuple[str, str, str]]:
    """Return info string, body and the line before each fence of a page."""
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip("\n").rsplit("\n", 1)[-1]
        found.append((match["info"].strip(), match["body"], before))
    return found


def prose(text: str) -> str:
    """Return a page without its code: fences that are not directives, and code spans, are gone."""

    def keep(match: re.Match[str]) -> str:
        return match["body"] if match["info"].strip().startswith("{") else ""

    return CODE.sub("", FENCE.sub(keep, text))


def links(text: str) -> list[str]:
    """Return the targets of the Markdown links of a page, images included."""
    without = FENCE.sub(lambda m: m["body"] if m["info"].strip().startswith("{") else "", text)
    inline = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", without)
    return inline + re.findall(r"^\[[^\]^]+\]:\s+(\S+)", without, re.M)


def labels(text: str) -> set[str]:
    """Return the explicit targets of a page: (name)= lines and :name: options."""
    return set(re.findall(r"^\(([^)\s]+)\)=", text, re.M)) | set(
        re.findall(r"^:name:\s*(\S+)", text, re.M)
    )


def citations(text: str) -> set[str]:
    """Return the keys cited on a page."""
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    return {key.strip() for role in roles for key in role.split(",")}


def bibliography() -> set[str]:
    """Return the keys of references.bib."""
    return set(re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "references.bib").read_text("utf-8"), re.M))


def api_entries() -> set[str]:
    """Return the full names that the API pages document."""
    text = "\n".join(path.read_text("utf-8") for path in sorted((BOOK / "api").glob("*.md")))
    one = re.findall(r"^\.\. (?:auto\w+|py:\w+)::\s+([\w.]+)", text, re.M)
    return set(one)


def glossary() -> list[str]:
    """Return the terms of the glossary: the lines of its directive that are not indented."""
    body = next(
        b for info, b, _ in fences((BOOK / "glossary.md").read_text("utf-8")) if "glossary" in info
    )
    return [line.strip() for line in body.splitlines() if line.strip() and not line.startswith(" ")]


def tables(text: str) -> list[list[list[str]]]:
    """Return the Markdown tables of a page as lists of rows of stripped cells, heads included."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                rows.append(cells)
        elif rows:
            found.append(rows)
            rows = []
    return found
