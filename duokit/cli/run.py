"""`duokit run`: a notebook with other parameters, in a folder of its own."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.options import whole

if TYPE_CHECKING:
    from duokit.notebooks import Parameter

CHAPTERS = Path("book/notebooks")


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "run",
        help="execute a notebook with other parameters, in a folder of its own",
        description="Checks the parameters against the notebook's own list (names, types, ranges), "
        "executes the notebook in its folder, and writes to OUT/NOTEBOOK-TIME: the executed "
        "notebook, parameters.yaml (to be used again with -f), metrics.json (the values that the "
        "notebook glued) and run.json (versions, seed, duration, machine). Sources and earlier "
        "runs are never touched.",
    )
    parser.add_argument(
        "notebook",
        metavar="NOTEBOOK",
        help=f"path of an .ipynb, or name of a chapter in {CHAPTERS}",
    )
    parser.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE",
        help="value of one parameter, lists as a,b (an item with a comma in quotation marks: "
        "'\"a,b\",c'), paths from the notebook's folder (may be repeated; wins over -f; "
        "default: the notebook's)",
    )  # fmt: skip
    parser.add_argument(
        "-f", "--file", action="append", default=[], type=Path, metavar="YAML",
        help="file with name: value lines (may be repeated, the last one wins; default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), help="folder for the runs (default: runs)"
    )
    parser.add_argument(
        "--timeout", type=whole(), metavar="SECONDS",
        help="for one cell, 1 or more (default: no limit)",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="check and print the parameters, execute nothing (default: no)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 after a run to the end; a cell that fails is an error."""
    from duokit.notebooks import parameters, validate

    source = find_notebook(given.notebook)
    known = parameters(source)
    chosen = validate(known, read_values(given.file, given.parameter))
    values = {parameter.name: parameter.default for parameter in known} | chosen
    if given.dry_run:
        _print_parameters(source, known, values)
        return 0
    folder = own_folder(given.out, source.stem)
    print(f"running {source} into {folder}", flush=True)
    _execute(source, folder, values, given.timeout)
    return 0


def find_notebook(name: str) -> Path:
    """Returns the path of a notebook given by path, or by name of a chapter of the book.

    Chapters are looked for from the current folder upward, then beside the package.

    Raises:
        FileNotFoundError: neither; lists the chapters there are.
    """
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    here = Path.cwd()
    bases = [here, *here.parents, Path(__file__).resolve().parents[2]]
    books = [base / CHAPTERS for base in bases if (base / CHAPTERS).is_dir()]
    for book in books:
        chapter = book / f"{name.removesuffix('.ipynb')}.ipynb"
        if chapter.is_file():
            return chapter
    there = sorted(path.stem for path in books[0].glob("*.ipynb")) if books else []
    raise FileNotFoundError(
        f"no notebook {name}: give the path of an .ipynb"
        + (f", or a chapter: {', '.join(there)}" if there else "")
    )


def read_values(files: Sequence[Path], pairs: Sequence[str]) -> dict[str, Any]:
    """Returns name -> value from YAML files and from NAME=VALUE texts, which win.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a mapping in YAML, or a text without "=".
    """
    values: dict[str, Any] = {}
    for file in files:
        values |= _from_yaml(file)
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise ValueError(f"-p {pair!r} is not NAME=VALUE")
        values[name.strip()] = value
    return values


def _from_yaml(file: Path) -> dict[str, Any]:
    """Returns name -> value from a YAML file; an empty one holds none."""
    import yaml

    try:
        text = file.read_text(encoding="utf-8-sig")
        if any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("an alias (*name), of which a short file makes a huge value")
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} is not YAML that can be read: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds {type(found).__name__}; expected lines `name: value`")
    for name, value in found.items():
        if not isinstance(name, str):
            raise ValueError(
                f"{file} has the key {name!r} (value {value!r}), which YAML takes for "
                f"{type(name).__name__}, not for a name: write it in quotes, if a parameter is "
                'called so, as in "on": 3'
            )
    return found


def own_folder(out: Path, stem: str) -> Path:
    """Returns a new folder out/stem-TIME, made here; a number is added where one exists."""
    name = f"{stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    out.mkdir(parents=True, exist_ok=True)
    folder, number = out / name, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = out / f"{name}-{number}"
        else:
            return folder


def _execute(source: Path, folder: Path, values: dict[str, Any], timeout: int | None) -> None:
    """Runs the notebook and writes what a run leaves behind, also when it fails."""
    import yaml

    from duokit.logits import versions
    from duokit.notebooks import execute, glued

    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else ""
    (folder / "parameters.yaml").write_text(text, encoding="utf-8")
    about = {
        "notebook": str(source),
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "parameters": values,
        "seed": values.get("seed"),
        "versions": versions(),
        "platform": platform.platform(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    started = time.monotonic()
    try:
        notebook = execute(source, folder / source.name, values, timeout=timeout)
        about["status"] = "done"
    except BaseException as error:
        about["status"] = f"failed: {type(error).__name__}: {error}"
        raise
    finally:
        about["duration_s"] = round(time.monotonic() - started, 3)
        _write_json(folder / "run.json", about)
    metrics = glued(notebook)
    _write_json(folder / "metrics.json", metrics)
    print(
        f"done in {about['duration_s']:.1f} s; {len(metrics)} values in {folder / 'metrics.json'}"
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _print_parameters(source: Path, known: Sequence[Parameter], values: dict[str, Any]) -> None:
    print(f"{source} would run with")
    for one in known:
        mark = "" if values[one.name] == one.default else f" (by default {one.default!r})"
        print(f"  {one.name} = {values[one.name]!r}{mark}  # {one.comment}; {one.allowed}")
