"""The public address is written in one place, and `make set-repo` carries it to every use."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import address

ROOT = Path(__file__).resolve().parent.parent
# The official repository of the paper, and the example in our own help texts.
OTHERS = {address.Address("timgzhou", "asymmetric-duos"), address.Address("me", "fork")}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_no_file_spells_the_address_otherwise():
    ours = address.current(ROOT)
    for path in address.text_files(ROOT):
        for other in set(address.mentions(path.read_text(encoding="utf-8"))) - {ours} - OTHERS:
            like = {ours.name, "asymmetric-duos", "asymmetric_duos", "duokit"}
            placeholder = other.owner.upper() == other.owner or other.owner.startswith(
                ("your", "my")
            )
            name = path.relative_to(ROOT)
            assert other.name.lower() not in like, f"{name}: {other.url} is not {ours.url}"
            assert other.owner != ours.owner, f"{name}: {other.url} is not {ours.url}"
            assert not placeholder, f"{name}: {other.url} is no repository"


def test_the_address_is_where_readers_click():
    ours = address.current(ROOT)
    for name in ("README.md", "CITATION.cff", "_config.yml", "CONTRIBUTING.md"):
        assert ours in address.mentions(text(name)), name
    for path in sorted((ROOT / "book" / "notebooks").glob("*.ipynb")):
        assert ours in address.mentions(path.read_text(encoding="utf-8")), path.name
        for site in ("mybinder.org/v2/gh", "colab.research.google.com/github"):
            link = rf"{site}/{ours.owner}/{ours.name}/\S*book/notebooks/{path.name}\)"
            assert re.search(link, text("README.md")), f"README has no {site} link to {path.name}"


def copied_tree(target: Path) -> Path:
    """Return a copy of the text files, under version control."""
    for path in address.text_files(ROOT):
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    subprocess.run(["git", "init", "-q", target], check=True)
    return target


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in address.text_files(root)}


def test_set_repo_rewrites_every_use_and_back(tmp_path):
    tree = copied_tree(tmp_path)
    before, old = snapshot(tree), address.current(tree)
    new = address.parse("git@github.com:some-body/a.fork_2.git")
    changed = address.set_address(new, tree)
    assert address.current(tree) == new
    assert {"README.md", "_config.yml", "CITATION.cff", "pyproject.toml"} <= {
        str(path.relative_to(tree)) for path in changed
    }
    for content in snapshot(tree).values():
        assert old not in address.mentions(content.decode("utf-8"))
    address.set_address(old, tree)
    assert snapshot(tree) == before


def test_make_set_repo_calls_it(tmp_path):
    tree = copied_tree(tmp_path)
    url = "https://github.com/me/fork"
    command = ["make", "-s", "set-repo", f"URL={url}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
    assert "files changed" in done.stdout
    assert yaml.safe_load((tree / "_config.yml").read_text())["repository"]["url"] == url
    assert "mybinder.org/v2/gh/me/fork/main" in (tree / "README.md").read_text(encoding="utf-8")


OLD, NEW = address.Address("OWNER", "duos"), address.Address("me", "fork")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://github.com/OWNER/duos.", "https://github.com/me/fork."),
        ("git@github.com:OWNER/duos.git", "git@github.com:me/fork.git"),
        ("git+https://github.com/OWNER/duos@main", "git+https://github.com/me/fork@main"),
        ("[x](https://github.com/OWNER/duos/issues)", "[x](https://github.com/me/fork/issues)"),
        ("mybinder.org/v2/gh/OWNER/duos/main", "mybinder.org/v2/gh/me/fork/main"),
        ("https://OWNER.github.io/duos/book", "https://me.github.io/fork/book"),
        ("raw.githubusercontent.com/OWNER/duos/main/x", "raw.githubusercontent.com/me/fork/main/x"),
        (
            "colab.research.google.com/github/OWNER/duos/",
            "colab.research.google.com/github/me/fork/",
        ),
        ("https://github.com/OWNER/duos-2", "https://github.com/OWNER/duos-2"),
        ("https://github.com/COOWNER/duos", "https://github.com/COOWNER/duos"),
        ("the OWNER/duos folder", "the OWNER/duos folder"),
    ],
)
def test_an_address_is_replaced_and_nothing_else(before, after):
    assert address.replaced(before, OLD, NEW) == after


@pytest.mark.parametrize(
    "url", ["", "me/fork", "https://gitlab.com/me/fork", "https://github.com/me", "http://x y"]
)
def test_a_wrong_address_is_refused(url):
    with pytest.raises(ValueError, match="not the address of a GitHub repository"):
        address.parse(url)


@pytest.mark.parametrize("tail", ["", "/", ".git"])
def test_an_address_is_read_with_its_usual_tails(tail):
    assert address.parse(f"https://github.com/me/fork{tail}") == NEW
