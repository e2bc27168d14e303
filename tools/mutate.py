"""Break the code on purpose, one small change at a time: do the tests of that folder notice?

Each mutant swaps one comparison, sign, operator or constant, or returns nothing. The tests of the
same folder run against it in a forked process; a mutant under which they all pass has survived.
Left alone is what only says how much is done at a time (AMOUNTS), and what only a GPU would run.

    python tools/mutate.py fusion                      all mutants of duokit/fusion
    python tools/mutate.py metrics/ranked.py --show    one file; name the survivors as they come
    python tools/mutate.py fusion metrics cascade logits --out benchmarks
    python tools/mutate.py fusion --again --out benchmarks    only those of survivors.csv

--out writes mutants.csv (one row a file) and keeps survivors.csv (one row a survivor) up to date:
its column `reason` is written by hand and says why no test could tell, or why none should. The
exit code is 1 if a survivor has no reason.
"""

import argparse
import ast
import contextlib
import csv
import functools
import importlib
import importlib.machinery
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COMPARE = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
OPERATE = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
AMOUNTS = {"BLOCK", "BLOCK_ENTRIES", "CHUNK", "CPU_ENTRIES", "MEMORY", "MOST_BYTES",
           "blocks", "chunk", "entries", "most", "needed"}  # fmt: skip
COUNTS = ("file", "mutants", "tried", "survived")
SURVIVORS = ("file", "place", "change", "reason")


class Mutant(NamedTuple):
    """One change: `tree` is the whole module with it."""

    file: str
    place: str
    change: str
    tree: ast.Module


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a file; the same tree is changed and put back."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    file = path.relative_to(ROOT / "duokit").as_posix()
    for place, line, holder, name, index, other in _changes(tree, "", tree):
        before, old = ast.unparse(line).splitlines(), getattr(holder, name)
        _put(holder, name, index, other)
        after = ast.unparse(line).splitlines()
        there = next(n for n, text in enumerate(after) if n >= len(before) or text != before[n])
        yield Mutant(file, place, f"{before[there].strip()} -> {after[there].strip()}", tree)
        setattr(holder, name, old)


def _put(holder: ast.AST, name: str, index: int | None, value: object) -> None:
    if index is not None:
        values = list(getattr(holder, name))
        values[index] = value
        value = values
    setattr(holder, name, value)


def _changes(node: ast.AST, place: str, line: ast.AST) -> Iterator[tuple]:
    """Yield (place, statement, holder, field, index or None, other value), for all below a node."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        place = f"{place}.{node.name}".lstrip(".")
    line = node if isinstance(node, ast.stmt) else line
    yield from ((place, line, node, *change) for change in _own_changes(node))
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _aside(child):
                yield from _changes(child, place, line)


def _aside(node: ast.AST) -> bool:
    """Return whether a node changes no result: words, doubts, amounts, devices, type checkers."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.ImportFrom | ast.Import):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.keyword) and node.arg in {"strict", *AMOUNTS}:
        return True
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in AMOUNTS:
        return True
    if isinstance(node, ast.Compare) and "'cuda'" in ast.unparse(node):
        return True
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "warnings.warn"


def _own_changes(node: ast.AST) -> Iterator[tuple[str, int | None, object]]:
    match node:
        case ast.Compare():
            for index, op in enumerate(node.ops):
                for other in COMPARE[type(op)]:
                    yield "ops", index, other()
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in OPERATE:
            yield "op", None, OPERATE[type(node.op)]()
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield "operand", None, ast.UnaryOp(node.op, node.operand)  # twice is not at all
        case ast.Constant(value=bool(value)):
            yield "value", None, not value
        case ast.Constant(value=int() | float() as value):
            yield "value", None, value + 1 if isinstance(value, int) else 2 * value + 1
        case ast.Return(value=value) if value is not None and ast.unparse(value) != "None":
            yield "value", None, ast.Constant(None)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads the module from the changed tree in place of its file."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self.tree = tree

    def get_code(self, _fullname: str):
        return compile(ast.fix_missing_locations(self.tree), self.path, "exec")


class _Finder:
    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name: str, _path=None, _target=None):
        if name != self.name:
            return None
        loader = _Loader(name, str(self.path), self.tree)
        package = self.path.name == "__init__.py"
        return importlib.machinery.ModuleSpec(
            name, loader, origin=str(self.path), is_package=package
        )


def tests_of(file: str) -> list[str]:
    """Return the tests of the file's folder, those named after the file first."""
    folder, own = ROOT / "tests" / Path(file).parent, f"test_{Path(file).stem}.py"
    found = sorted(folder.glob("test_*.py"), key=lambda path: (path.name != own, path.name))
    return [str(path) for path in found]


def preload(what: Sequence[str]) -> None:
    """Import what the code and its tests take from others: once, for all processes."""
    files = [ROOT / "duokit" / file for file in _files(what)]
    files += [path for folder in {Path(w).parts[0] for w in what}
              for path in (ROOT / "tests" / folder).glob("*.py")]  # fmt: skip
    names = {"pytest", "torch"}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
                names.add(ast.literal_eval(node.args[0]))
    for name in sorted(names):
        if name.split(".")[0] not in ("duokit", "tests", "tools", "benchmarks"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)


def start(mutant: Mutant | None, file: str, seconds: float) -> int:
    """Return the process that runs the tests against a mutant; it ends with 0 if all pass."""
    process = os.fork()
    if process:
        return process
    status = 3
    try:
        signal.alarm(int(seconds))  # a mutant that runs for ever is noticed too
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        if mutant is not None:
            path = ROOT / "duokit" / file
            name = ".".join(["duokit", *Path(file).with_suffix("").parts])
            name = name.removesuffix(".__init__")
            sys.meta_path.insert(0, _Finder(name, path, mutant.tree))
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
        options += ["-p", "no:nbval", "--no-header"]
        with contextlib.suppress(SystemExit):
            status = int(pytest.main([*options, *tests_of(file)]))
    finally:
        os._exit(status)


@functools.cache
def unchanged(folder: str) -> float:
    """Return the seconds that the tests of a folder take while nothing is changed."""
    begun = time.monotonic()
    _, status = os.waitpid(start(None, f"{folder}/any.py", 600), 0)
    if status:
        raise SystemExit(f"the tests of {folder} fail without any change: mend them first")
    return time.monotonic() - begun


def run(
    file: str, *, workers: int, share: float, seed: int, show: bool, only: set | None = None
) -> tuple[int, int, list[Mutant], float]:
    """Return how many mutants a file has, how many were tried, those that survived, seconds."""
    plain, begun = unchanged(Path(file).parent.as_posix()), time.monotonic()
    draw = random.Random(seed)
    running: dict[int, Mutant] = {}
    every, tried, survived = 0, 0, []

    def finish() -> None:
        process, status = os.wait()
        mutant = running.pop(process)
        if status == 0:
            survived.append(mutant)
            if show:
                print(f"    survived  {mutant.place}: {mutant.change}", flush=True)

    for mutant in mutants(ROOT / "duokit" / file):
        every += 1
        if draw.random() >= share or (only is not None and mutant[:3] not in only):
            continue
        tried += 1
        running[start(mutant, file, 10 + 6 * plain)] = mutant._replace(tree=ast.Module([], []))
        while len(running) >= workers:
            finish()
    while running:
        finish()
    return every, tried, survived, time.monotonic() - begun


def main() -> int:
    """Return 1 if a survivor has no reason in survivors.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", help="folders or files of duokit")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default: 0)")
    parser.add_argument("--again", action="store_true", help="only what survived before")
    parser.add_argument("--show", action="store_true", help="print survivors as they come")
    parser.add_argument("--out", type=Path, help="folder of mutants.csv and survivors.csv")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    preload(given.what)
    known = _read((given.out or ROOT / "benchmarks") / "survivors.csv")
    counts = {row["file"]: row for row in _read((given.out or ROOT) / "mutants.csv")}
    unexplained = 0
    for file in _files(given.what):
        only = {tuple(row.values())[:3] for row in known if row["file"] == file}
        if given.again and not only:
            continue
        every, tried, survived, seconds = run(
            file, workers=given.workers, share=given.share, seed=given.seed, show=given.show,
            only=only if given.again else None,
        )  # fmt: skip
        if not tried:
            continue
        if given.again:
            tried = int(counts[file]["tried"])
        reasons = {(row["file"], row["place"], row["change"]): row["reason"] for row in known}
        rows = [
            dict(zip(SURVIVORS, (*m[:3], reasons.get(m[:3], "")), strict=True)) for m in survived
        ]
        unexplained += sum(not row["reason"] for row in rows)
        counts[file] = dict(zip(COUNTS, (file, every, tried, len(survived)), strict=True))
        known = [row for row in known if row["file"] != file] + rows
        print(f"{file}: {len(survived)} of {tried} survive, {seconds:.0f} s", flush=True)
        if given.out:
            order = sorted(counts.values(), key=lambda row: row["file"])
            _write(given.out / "mutants.csv", COUNTS, order)
            _write(given.out / "survivors.csv", SURVIVORS, sorted(known, key=lambda r: r["file"]))
    print(f"{unexplained} survivors without a reason in survivors.csv")
    return int(unexplained > 0)


def _files(what: Sequence[str]) -> list[str]:
    package = ROOT / "duokit"
    paths: list[Path] = []
    for name in what:
        path = package / name
        paths += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path.relative_to(package).as_posix() for path in paths]


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
