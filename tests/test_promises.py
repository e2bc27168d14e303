"""The page of promises says what the tests and the tables in benchmarks/ say."""

from pathlib import Path

import pytest

from tools import promises


def test_the_page_is_made_of_the_tables():
    assert promises.PAGE.read_text(encoding="utf-8") == promises.page(), "type: make promises"


def test_the_counts_are_those_of_the_tests(request):
    collected = {Path(item.path) for item in request.session.items}
    every = set((promises.ROOT / "tests").rglob("test_*.py"))
    if collected != every:
        pytest.skip("only where all tests are collected")
    counts = {row["promise"]: int(row["tests"]) for row in promises.read("promises.csv")}
    assert counts == promises.count(request.session.items), "type: make promises"


def test_every_promise_has_tests():
    counts = {row["promise"]: int(row["tests"]) for row in promises.read("promises.csv")}
    assert list(counts) == list(promises.PROMISES)
    assert all(counts.values())


def test_a_mark_of_no_promise_is_refused():
    class Item:
        def iter_markers(self, _name):
            return [pytest.mark.promise("moon").mark]

    with pytest.raises(ValueError, match="moon"):
        promises.count([Item()])


def test_most_mutants_are_noticed_and_each_survivor_has_its_reason():
    rows, survivors = promises.read("mutants.csv"), promises.read("survivors.csv")
    tried, left = (sum(int(row[name]) for row in rows) for name in ("mutants", "survived"))
    assert left < 0.05 * tried
    assert left == len(survivors)
    assert all(row["reason"] for row in survivors)
