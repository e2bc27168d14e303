"""The page of promises says what the tests counted, and each promise has tests."""

import re

import pandas as pd
import pytest

from tools import promises

MARK = re.compile(r"""mark\.promise\("([^"]+)"\)""")
COUNTED = pd.read_csv(promises.BENCHMARKS / "promises.csv")


def test_the_page_says_what_was_counted():
    assert promises.PAGE.read_text(encoding="utf-8") == promises.page(), "make promises"
    assert [name for _, name, _ in promises.BLOCK.findall(promises.page())] == [*promises.TABLES]


def test_each_promise_has_tests_and_each_mark_is_a_promise():
    sources = (
        path.read_text(encoding="utf-8") for path in promises.ROOT.glob("tests/**/test_*.py")
    )
    assert {name for text in sources for name in MARK.findall(text)} == set(COUNTED["name"])
    assert (COUNTED["cases"] > 0).all()


@pytest.mark.parametrize(
    ("folder", "most"), [("fusion", 0.05), ("metrics", 0.05), ("cascade", 0.05), ("logits", 0.15)]
)
def test_few_changes_of_the_code_go_unnoticed_and_each_has_a_reason(folder, most):
    tried = pd.read_csv(promises.BENCHMARKS / "mutants.csv")
    left = pd.read_csv(promises.BENCHMARKS / "survivors.csv", keep_default_na=False)
    tried, left = (t[t["file"].str.startswith(f"{folder}/")] for t in (tried, left))
    assert tried["survived"].sum() == len(left) < most * tried["tried"].sum()
    assert left["reason"].map(len).gt(10).all()
