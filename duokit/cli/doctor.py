"""`duokit doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EXTRAS = {"": "core"} | {
    name: name for name in ("models", "train", "tune", "tensorboard", "export", "laplace", "book")
}
SPACE = 6.0  # GB that an environment with a CUDA build of torch takes, about
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        area: "python", "packages", "accelerator", "data", "weights" or "space".
        name: what was looked for.
        ok: whether it is there.
        needed: whether duokit cannot do without.
        found: version, place or amount.
        advice: how to get it; empty if it is there.
    """

    area: str
    name: str
    ok: bool
    needed: bool
    found: str
    advice: str = ""


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what this machine has, what is missing, and how to get it",
        description="Looks for Python, packages, an accelerator, data sets, pip-shipped weights "
        "and disk space (GB = 10^9 bytes). Nothing is changed, loaded from a network or unpacked. "
        "Exit code 1 if something is missing that duokit cannot do without.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (default: text)")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 if all that duokit needs is there, else 1, after printing the findings."""
    found = [*python(), *packages(), *accelerator(), *data(), *weights(), *space()]
    if given.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        _print(found)
    return int(any(one.needed and not one.ok for one in found))


def python() -> Iterator[Finding]:
    """Yields the Python version."""
    ok = sys.version_info[:2] >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    advice = "" if ok else f"make an environment with Python {oldest} or newer"
    found = f"{platform.python_version()} in {sys.prefix}"
    yield Finding("python", f"Python >= {oldest}", ok, True, found, advice)


def requirements() -> list[str]:
    """Returns duokit's own requirements, from its metadata or the pyproject.toml beside it."""
    try:
        found = importlib.metadata.requires("duokit")
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found is not None:
        return found
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.is_file():
        return []
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return project["dependencies"] + [
        f'{line} ; extra == "{extra}"' for extra, lines in extras for line in lines
    ]


def packages() -> Iterator[Finding]:
    """Yields one finding a package that duokit or one of its extras asks for."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requirements()]
    if not wanted:
        yield Finding("packages", "duokit", False, True, "", "install it: pip install -e .")
    for extra, title in EXTRAS.items():
        for one in wanted:
            plain = one.marker is None or one.marker.evaluate({"extra": ""})
            with_extra = one.marker is None or one.marker.evaluate({"extra": extra})
            if with_extra and plain == (extra == ""):
                yield _package(one, extra, title)


def _package(wanted: Any, extra: str, title: str) -> Finding:
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    ok = bool(version) and wanted.specifier.contains(version, prereleases=True)
    target = f'"duokit[{extra}]"' if extra else "duokit"
    advice = "" if ok else f"pip install {target} (wants {wanted.name}{wanted.specifier})"
    name = f"{wanted.name} ({title})"
    return Finding("packages", name, ok, extra == "", version or "missing", advice)


def accelerator() -> Iterator[Finding]:
    """Yields what torch can compute on; nothing here is needed."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            size = f"{about.total_memory / 1e9:.0f} GB"
            yield Finding("accelerator", f"cuda:{index}", True, False, f"{about.name}, {size}")
        return
    mps = torch.backends.mps.is_available()
    found = "Apple GPU" if mps else f"none; torch {torch.__version__} computes on the CPU"
    yield Finding("accelerator", "mps" if mps else "GPU", mps, False, found)


def data() -> Iterator[Finding]:
    """Yields one finding a data set; an archive that is there is not unpacked for this."""
    try:
        from duokit.images import NAMES
    except ImportError as error:
        yield Finding("data", "pictures", False, False, str(error), 'pip install "duokit[models]"')
        return
    for name in NAMES:
        if name != "folder":  # that one is wherever its owner says
            yield _data_set(name)


def _data_set(name: str) -> Finding:
    from duokit.images import load
    from duokit.images.places import ARCHIVES, data_folder

    places = getattr(importlib.import_module(f"duokit.images.{name}"), "PLACES", ())
    archives = (data_folder() / (place + suffix) for place in places for suffix in ARCHIVES)
    archive = next((path for path in archives if path.is_file()), None)
    if archive is not None:
        return Finding("data", name, True, False, f"{archive}, unpacked when first used")
    try:
        found = load(name)
    except (OSError, ImportError, ValueError) as error:
        return Finding("data", name, False, False, "not found", str(error))
    text = f"{len(found.ids)} images, {len(found.class_names)} classes"
    folder = getattr(found.read, "folder", None)
    return Finding("data", name, True, False, f"{text} in {folder}" if folder else text)


def weights() -> Iterator[Finding]:
    """Yields one finding a network whose ImageNet weights come by pip."""
    from duokit.models.pip_weights import SHIPPED, weights_file

    for name in SHIPPED:
        try:
            path = weights_file(name)
        except FileNotFoundError as error:
            yield Finding("weights", name, False, False, "missing", str(error))
        else:
            yield Finding("weights", name, True, False, str(path))


def space() -> Iterator[Finding]:
    """Yields the free space where one works and where data go."""
    for folder in dict.fromkeys([Path.cwd(), Path.home()]):
        try:
            free = shutil.disk_usage(folder).free / 1e9
        except OSError as error:
            advice = "make the folder, or set HOME to one that is there"
            yield Finding("space", str(folder), False, False, error.strerror or "none", advice)
            continue
        advice = "" if free >= SPACE else f"an environment takes up to {SPACE:.0f} GB"
        yield Finding("space", str(folder), free >= SPACE, False, f"{free:.1f} GB free", advice)


def _print(found: list[Finding]) -> None:
    for area in dict.fromkeys(one.area for one in found):
        print(area)
        for one in found:
            if one.area == area:
                mark = "ok" if one.ok else ("MISSING" if one.needed else "-")
                print(f"  {mark:8}{one.name}: {one.found}")
                if one.advice:
                    print(f"          {one.advice}")
    missing = [one.name for one in found if one.needed and not one.ok]
    print(f"missing: {', '.join(missing)}" if missing else "all that duokit needs is here")
