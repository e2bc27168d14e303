"""The book's code: every public name has an entry, every fence runs, every command exists."""

import contextlib
import importlib
import inspect
import io
import pkgutil
import re

import matplotlib as mpl
import pytest

import duokit
from duokit.cli.entry import _parser, main
from tests.book_pages import BOOK, ROOT, api_entries, fences, pages

PAGES = pages()
PARTS = [f"duokit.{m.name}" for m in pkgutil.iter_modules(duokit.__path__) if m.name[0] != "_"]
SNIPPETS = [name for name, text in PAGES.items() if name.endswith(".md") and "```python" in text]


def resolve(name: str) -> object:
    """Return the object of a dotted name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def public(package: str) -> dict[str, object]:
    """Return what a part of duokit offers: its __all__, or else what it defines by a plain name."""
    module = importlib.import_module(package)
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == package
    }


@pytest.mark.parametrize("package", PARTS)
def test_every_public_name_has_an_entry_in_an_api_page(package):
    entries = api_entries()
    names = public(package)
    assert names, f"{package} offers nothing"
    for name, value in names.items():
        if inspect.isfunction(value) or inspect.isclass(value):
            wanted = f"{value.__module__}.{name}"
            assert wanted in entries, f"{wanted} is on no page of book/api"
        else:  # a constant does not know its module
            inside = [e for e in entries if e.startswith(f"{package}.") and e.endswith(f".{name}")]
            assert inside, f"{package}.{name} is on no page of book/api"


def test_every_api_entry_exists_and_is_documented():
    entries = api_entries()
    assert len(entries) > 50
    for entry in sorted(entries):
        value = resolve(entry)
        if inspect.isfunction(value) or inspect.isclass(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), f"{entry} has no docstring"


def test_api_pages_hold_no_generated_stubs():
    """Stubs made by one build are strangers to the next one, which then fails."""
    for path in (BOOK / "api").glob("*.md"):
        text = path.read_text("utf-8")
        assert ":toctree:" not in text, path
        assert "autosummary" not in text, path


@pytest.mark.parametrize("page", PAGES)
def test_names_that_pages_refer_to_are_on_an_api_page(page):
    for target in re.findall(r"\{py:\w+\}`~?([\w.]+)`", PAGES[page]):
        assert resolve(target) is not None
        assert target in api_entries(), f"{page} refers to {target}"


@pytest.mark.parametrize("page", SNIPPETS)
def test_code_of_the_pages_runs(page, monkeypatch):
    """The fences of a page run in order, in one namespace, from the top of the repository."""
    monkeypatch.chdir(ROOT)
    space: dict[str, object] = {"__name__": "page"}
    ran = 0
    with mpl.rc_context({"backend": "Agg"}), contextlib.redirect_stdout(io.StringIO()):
        for info, body, before in fences(PAGES[page]):
            if info == "python":
                code = compile(body, page, "exec")
                if not before.startswith("<!-- not run: "):
                    exec(code, space)
                    ran += 1
    assert ran, f"{page} has code, but none of it runs"


def commands() -> list[tuple[str, list[str]]]:
    """Return page and words of every command in the pages, continued lines joined."""
    found = []
    for name, text in PAGES.items():
        for info, body, _ in fences(text):
            if info == "bash":
                lines = body.replace("\\\n", " ").splitlines()
                words = [line.split("#")[0].split() for line in lines]
                found += [(name, line) for line in words if line]
    return found


def test_make_targets_of_the_pages_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    used = [(page, words[1:]) for page, words in commands() if words[0] == "make"]
    spans = {name: re.findall(r"`make ([a-z-]+)", text) for name, text in PAGES.items()}
    used += [(page, targets) for page, targets in spans.items() if targets]
    assert used
    for page, words in used:
        for target in (word for word in words if "=" not in word and not word.startswith("-")):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page}: no target {target}"


DUOKIT = [(page, words[1:]) for page, words in commands() if words[0] == "duokit"]


@pytest.mark.parametrize(("page", "words"), DUOKIT, ids=[" ".join(w) for _, w in DUOKIT])
def test_commands_of_the_pages_are_understood(page, words, monkeypatch, capsys):
    """All options exist; for a notebook of the book also the parameters and their values."""
    monkeypatch.chdir(ROOT)
    given = _parser().parse_args(words)
    if given.command == "run" and not given.file:
        assert main([*words, "--dry-run"]) == 0, capsys.readouterr().err
