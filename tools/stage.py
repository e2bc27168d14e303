"""Stage the book: copy its sources to a folder where executed notebooks may stand in for them.

`python tools/stage.py _build/source [--executed _build/executed]`. The renderer reads the copy, so
the sources are never touched. A figure that a notebook kept (duokit.notebooks.glue_figure) becomes
book/figures/NAME.png in the copy, for any page to show. Whenever the copy changes, the stamp beside
it (_build/source.stamp)
gets the present time. Standard library only.
"""

import argparse
import base64
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Pages include the top-level texts; the table of contents decides what becomes a page.
PATTERNS = ("_config.yml", "_toc.yml", "*.md", "CITATION.cff", "LICENSE*", "book/**/*")
FIGURE = "application/papermill.record/image/png"


def sources(root: Path) -> dict[Path, Path]:
    """Return the files the book is made of: path inside the tree -> the file."""
    found = sorted(path for pattern in PATTERNS for path in root.glob(pattern) if path.is_file())
    inside = {path.relative_to(root): path for path in found}
    return {name: path for name, path in inside.items() if not hidden(name)}


def hidden(name: Path) -> bool:
    """Return whether a part of the path is a checkpoint, a cache or another tool's own folder."""
    return any(part.startswith(".") or part == "__pycache__" for part in name.parts)


def figures(notebook: bytes) -> dict[Path, bytes]:
    """Return the figures that an executed notebook kept: path inside the tree -> PNG."""
    cells = json.loads(notebook).get("cells", [])
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    kept = [output for output in outputs if FIGURE in output.get("data", {})]
    return {
        Path("book/figures", f"{output['metadata']['scrapbook']['name']}.png"): base64.b64decode(
            "".join(output["data"][FIGURE])
        )
        for output in kept
    }


def stage(root: Path, target: Path, executed: Path | None = None) -> bool:
    """Make `target` hold the sources, notebooks as executed if asked for; return if it changed."""
    found = sources(root)
    notebooks = [name for name in found if name.suffix == ".ipynb"]
    if executed is not None:
        found.update({name: executed / name for name in notebooks})
    for missing in [path for path in found.values() if not path.is_file()]:
        raise SystemExit(f"{missing} is missing: `make book` executes the notebooks first")
    wanted = {name: path.read_bytes() for name, path in found.items()}
    for name in notebooks:
        wanted.update(figures(wanted[name]))
    changed = False
    for name, content in wanted.items():
        copy = target / name
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
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
