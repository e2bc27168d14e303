"""Stage the book: copy its sources to a folder where executed notebooks may stand in for them.

`python tools/stage.py _build/source [--executed _build/executed]`. The renderer reads the copy, so
the sources are never touched. Whenever the copy changes, the stamp beside it (_build/source.stamp)
gets the present time. Standard library only.
"""

import argparse
import filecmp
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Pages include the top-level texts; the table of contents decides what becomes a page.
PATTERNS = ("_config.yml", "_toc.yml", "*.md", "CITATION.cff", "LICENSE*", "book/**/*")


def sources(root: Path) -> dict[Path, Path]:
    """Return the files the book is made of: path inside the tree -> the file."""
    found = sorted(path for pattern in PATTERNS for path in root.glob(pattern) if path.is_file())
    inside = {path.relative_to(root): path for path in found}
    return {name: path for name, path in inside.items() if not hidden(name)}


def hidden(name: Path) -> bool:
    """Return whether a part of the path is a checkpoint, a cache or another tool's own folder."""
    return any(part.startswith(".") or part == "__pycache__" for part in name.parts)


def stage(root: Path, target: Path, executed: Path | None = None) -> bool:
    """Make `target` hold the sources, notebooks as executed if asked for; return if it changed."""
    changed = False
    wanted = sources(root)
    if executed is not None:
        for name in [name for name in wanted if name.suffix == ".ipynb"]:
            wanted[name] = executed / name
    for name, source in wanted.items():
        copy = target / name
        if not source.is_file():
            raise SystemExit(f"{source} is missing: `make book` executes the notebooks first")
        if not copy.is_file() or not filecmp.cmp(source, copy, shallow=False):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            changed = True
    for path in sorted(target.rglob("*")):
        if path.is_file() and path.relative_to(target) not in wanted:
            path.unlink()
            changed = True
    return changed


def main() -> None:
    """Parse the command line and stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--executed", type=Path, help="folder of executed notebooks")
    options = parser.parse_args()
    stamp = options.target.with_name(f"{options.target.name}.stamp")
    if stage(ROOT, options.target, options.executed) or not stamp.exists():
        stamp.touch()


if __name__ == "__main__":
    main()
