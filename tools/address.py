"""The public address of the repository: read from pyproject.toml, carried to every other file.

`python tools/address.py https://github.com/me/fork` replaces the present address wherever it
stands: launch buttons, badges, the citation, the set-up cells of the notebooks. An address is
recognised by the site before it, so a word that merely looks like the owner is left alone.
Standard library only.
"""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What stands before owner/name: the repository itself, Colab, Binder, single files, Codespaces.
SITES = r"github\.com[/:]|colab\.research\.google\.com/github/|mybinder\.org/v2/gh/"
SITES += r"|raw\.githubusercontent\.com/|codespaces\.new/"
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
OWNER = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
REPOSITORY = re.compile(rf"(?P<site>{SITES})(?P<owner>{OWNER})/(?P<name>{NAME})")
PAGES = re.compile(rf"(?<![A-Za-z0-9])(?P<owner>{OWNER})(?P<site>\.github\.io/)(?P<name>{NAME})")


@dataclass(frozen=True)
class Address:
    """A repository on GitHub."""

    owner: str
    name: str

    @property
    def url(self) -> str:
        """The address as a browser takes it."""
        return f"https://github.com/{self.owner}/{self.name}"


def parse(url: str) -> Address:
    """Return the repository that a GitHub address names; `.git` and a last slash are dropped."""
    pattern = rf"(?:https://github\.com/|git@github\.com:)({OWNER})/({NAME})/?"
    found = re.fullmatch(pattern, url.strip())
    if found is None:
        raise ValueError(
            f"not the address of a GitHub repository: {url!r}; write https://github.com/me/fork "
            "(Colab's launch button knows no other site)"
        )
    return Address(found[1], found[2].removesuffix(".git"))


def current(root: Path = ROOT) -> Address:
    """Return the address that pyproject.toml gives, the one place where it is written."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return parse(project["urls"]["Repository"])


def text_files(root: Path = ROOT) -> list[Path]:
    """Return the files under version control (or to be added) that are text and ours."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    paths = [root / name for name in sorted(set(listed.split("\0"))) if name]
    return [path for path in paths if path.is_file() and is_text(path) and not foreign(path, root)]


def is_text(path: Path) -> bool:
    """Return whether the file's bytes are UTF-8 without a zero byte."""
    content = path.read_bytes()
    try:
        return b"\0" not in content and content.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False


def foreign(path: Path, root: Path) -> bool:
    """Return whether the file's addresses are not ours: examples of a test, or vendored."""
    mathjax = root / "book" / "_static" / "mathjax"
    return path.is_relative_to(mathjax) or path == root / "tests" / "test_address.py"


def mentions(text: str) -> list[Address]:
    """Return every repository that the text links to, in order, each site's own part removed."""
    found = [*REPOSITORY.finditer(text), *PAGES.finditer(text)]
    found.sort(key=lambda match: match.start())
    return [Address(match["owner"], match["name"].removesuffix(".git")) for match in found]


def replaced(text: str, old: Address, new: Address) -> str:
    """Return the text with every link to `old` turned into one to `new`, all else unchanged."""

    def turn(match: re.Match[str]) -> str:
        tail = ".git" if match["name"].endswith(".git") else ""
        if (match["owner"], match["name"].removesuffix(".git")) != (old.owner, old.name):
            return match[0]
        if match.re is PAGES:
            return f"{new.owner}{match['site']}{new.name}{tail}"
        return f"{match['site']}{new.owner}/{new.name}{tail}"

    return PAGES.sub(turn, REPOSITORY.sub(turn, text))


def set_address(new: Address, root: Path = ROOT) -> list[Path]:
    """Carry the new address to every file that holds the present one; return those files."""
    old = current(root)
    changed = []
    for path in text_files(root):
        # Bytes, not text: line ends stay what they are.
        text = path.read_bytes().decode("utf-8")
        result = replaced(text, old, new)
        if result != text:
            path.write_bytes(result.encode("utf-8"))
            changed.append(path)
    return changed


def main(arguments: list[str]) -> None:
    """Set the address given, or say how."""
    if len(arguments) != 1 or not arguments[0]:
        raise SystemExit("usage: make set-repo URL=https://github.com/me/fork")
    try:
        new = parse(arguments[0])
    except ValueError as error:
        raise SystemExit(f"set-repo: {error}") from None
    old = current()
    changed = set_address(new)
    for path in changed:
        print(path.relative_to(ROOT))
    print(f"{old.url} -> {new.url}: {len(changed)} files changed")


if __name__ == "__main__":
    main(sys.argv[1:])
