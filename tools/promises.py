"""Fill the tables of book/promises.md from what the tests and the longer trials counted.

A test is marked with its promise: `@pytest.mark.promise("weights")`. Each promise is a row of
benchmarks/promises.csv, its words written by hand; this runs the marked tests, writes how many
passed into the column `cases`, then fills every table that the page marks with its name.

    python tools/promises.py            run the tests, write the counts and the page
    python tools/promises.py --page     write the page from what benchmarks/ holds
"""

import argparse
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "promises.md"
BENCHMARKS = ROOT / "benchmarks"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def count(workers: int) -> Counter[str]:
    """Run the marked tests; return how many passed for each promise."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "promise", "-n", str(workers)]
        subprocess.run([*command, f"--junitxml={report}", "tests"], cwd=ROOT, check=True)
        passed = [c for c in ET.parse(report).iter("testcase") if c.find("skipped") is None]
    return Counter(p.get("value") for case in passed for p in case.iter("property"))


def page() -> str:
    """Return the page with its tables filled anew."""
    text = PAGE.read_text(encoding="utf-8")
    return BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def promises() -> str:
    """Return each promise, how it is tried, and how many cases passed."""
    table = _read("promises")
    rows = table[["promise", "tried", "cases"]].itertuples(index=False)
    return _table(
        ("promise", "tried with", "cases"), [*rows, ("Together", "", table["cases"].sum())]
    )


def fuzz() -> str:
    """Return how many inputs each reader was given, and how many broke the rule."""
    table = _read("fuzz")
    together = (
        "Together",
        table["seconds"].sum(),
        table["inputs"].sum(),
        "",
        table["faults"].sum(),
    )
    head = ("reader", "seconds", "inputs", "branches reached", "faults")
    return _table(head, [*table.itertuples(index=False), together])


def kills() -> str:
    """Return what became of the runs that were killed."""
    runs = _read("kills")
    head = ("runs killed", "steps of a run", "steps kept", "ended with the same bits")
    kept = f"{runs['kept'].min()} to {runs['kept'].max()}"
    return _table(head, [(len(runs), runs["steps"].max(), kept, runs["same"].sum())])


def intervals() -> str:
    """Return how often the intervals of each kind hold the truth."""
    table = _read("coverage")
    used = ~table["method"].str.contains("not used|none") & (table["given"] >= 0.2)
    rows = []
    for (of, method), some in table[used].groupby(["of", "method"], sort=False):
        seen = some["observed"].quantile([0.5, 0, 1])
        numbers = (f"{number:.3f}" for number in seen)
        rows.append((of, method, len(some), f"{some['nominal'].iloc[0]:.2f}", *numbers))
    return _table(("of a", "method", "cases", "should be", "median", "lowest", "highest"), rows)


def mutants() -> str:
    """Return how many changes of the code no test noticed."""
    table = _read("mutants")
    folders = table.assign(file=table["file"].str.split("/").str[0]).groupby("file").sum()
    rows = [
        (f"`{name}`", every, tried, survived, f"{100 * survived / tried:.1f} %")
        for name, every, tried, survived in folders.itertuples()
    ]
    return _table(("folder", "possible changes", "tried", "unnoticed", "share"), rows)


def survivors() -> str:
    """Return the changes that no test noticed, with the reasons."""
    rows = [
        (f"`{row.file}`, `{row.place}`", f"`{row.change}`".replace("|", "\\|"), row.reason)
        for row in _read("survivors").itertuples()
    ]
    return _table(("where", "change", "why it stays"), rows)


TABLES = {
    make.__name__: make for make in (promises, fuzz, kills, intervals, mutants, survivors)
}  # fmt: skip


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(BENCHMARKS / f"{name}.csv", keep_default_na=name == "coverage")


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    def word(cell: object) -> str:
        return f"{cell:,}" if isinstance(cell, Integral) else str(cell)

    lines = [head, ["---"] * len(head), *rows]
    cells = (map(word, line) for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def main() -> None:
    """Write the page, after the tests unless `--page` says otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="tests at a time (default: 2)")
    parser.add_argument("--page", action="store_true", help="run no tests")
    given = parser.parse_args()
    if not given.page:
        passed, table = count(given.workers), _read("promises")
        table["cases"] = [passed[name] for name in table["name"]]
        table.to_csv(BENCHMARKS / "promises.csv", index=False)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
