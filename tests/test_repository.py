"""The files around the package say the same: versions, the address, the commands, the licence."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import duokit
from duokit.cli import main
from tools import pins

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENVIRONMENTS = {"environment.yml": [f"-e .[{pins.EXTRAS}]"], "binder/environment.yml": []}
MEGABYTES = 100


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- versions


def pinned() -> dict[str, str]:
    """Return the pinned version of each package."""
    found = {}
    for line in pins.read_pins():
        requirement = Requirement(line)
        (spec,) = requirement.specifier
        assert spec.operator == "==", line
        assert "*" not in spec.version, line
        found[canonicalize_name(requirement.name)] = spec.version
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments_hold_the_pins_and_name_the_python(name):
    environment = yaml.safe_load(text(name))
    *packages, by_pip = environment["dependencies"]
    assert packages == [f"python={pins.PYTHON}", "pip"]
    assert by_pip == {"pip": [*pins.read_pins(), *ENVIRONMENTS[name]]}


def test_environments_are_what_make_pins_writes(tmp_path, capsys):
    (tmp_path / "binder").mkdir()
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    pins.write_environments(tmp_path)
    assert str(len(pinned())) in capsys.readouterr().out
    for name in ENVIRONMENTS:
        assert (tmp_path / name).read_text(encoding="utf-8") == text(name)


def test_pins_are_unique_and_sorted():
    names = [re.split(r"==", line)[0] for line in pins.read_pins()]
    assert names == sorted(names, key=str.lower)
    assert len(pinned()) == len(names)


def requirements() -> list[Requirement]:
    """Return what the package and its extras ask for, without its own name."""
    lines = PROJECT["dependencies"] + [line for extra in EXTRAS.values() for line in extra]
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.name != "duokit"]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_ranges_of_the_package_admit_the_pins(requirement):
    assert requirement.specifier, f"{requirement} has no range"
    version = pinned()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f"{requirement} excludes {version}"


def test_the_python_of_the_pins_is_one_of_the_package():
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(pins.PYTHON)
    assert set(pins.EXTRAS.split(",")) <= set(EXTRAS)
    assert f'".[{pins.EXTRAS}]"' in text("Makefile")


def test_packages_of_one_system_are_marked():
    for line in pins.read_pins():
        requirement = Requirement(line)
        linux_only = requirement.name.startswith(("nvidia-", "cuda-", "triton"))
        assert (requirement.marker is not None) == linux_only, line
        if requirement.marker is not None:
            assert requirement.marker.evaluate({"platform_system": "Linux"})
            assert not requirement.marker.evaluate({"platform_system": "Darwin"})


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="only .venv is made from the pins")
def test_the_environment_holds_the_pins():
    here = sysconfig.get_path("purelib")  # Ray, once imported, adds a folder of packages of its own
    installed = {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in metadata.distributions(path=[here])
    }
    wanted = pinned()
    assert {k: v for k, v in installed.items() if k in wanted and wanted[k] != v} == {}
    assert set(installed) - set(wanted) == {"pip", "duokit"}


@pytest.mark.parametrize("name", ["constraints.txt", *ENVIRONMENTS, "Makefile", "pyproject.toml"])
def test_no_package_index_is_named(name):
    assert not re.search(r"index-url|find-links|trusted-host|simple/", text(name))


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    citation = yaml.safe_load(text("CITATION.cff"))
    newest = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.M)
    assert newest is not None
    assert [duokit.__version__, str(citation["version"]), newest[1]] == [version] * 3


# --- Binder


def test_binder_reads_its_own_folder_only():
    assert not (ROOT / ".binder").exists(), "two Binder folders are an error"
    assert {path.name for path in (ROOT / "binder").iterdir()} == {"environment.yml", "postBuild"}


def test_binder_installs_the_package_without_touching_the_pins():
    post_build = ROOT / "binder" / "postBuild"
    assert os.access(post_build, os.X_OK)
    content = post_build.read_text(encoding="utf-8")
    assert content.startswith("#!/bin/bash\n")
    assert "set -e" in content
    assert re.search(r"pip install .*--no-deps .*-e \.$", content, re.M)


# --- commands


def make_targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)", text("Makefile"), re.M))


def run_make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [(), ("help",)])
def test_help_lists_every_target(arguments):
    done = run_make("-s", *arguments)
    assert done.returncode == 0, done.stderr
    listed = set(re.findall(r"^  (\S+) +\S", done.stdout, re.M))
    assert listed == make_targets() - {"render"}
    assert listed >= {
        *("help", "setup", "book", "html", "test", "notebooks", "check", "clean", "set-repo")
    }


def test_an_old_python_is_refused_in_words(tmp_path):
    old = tmp_path / "python"
    patch = "import collections, sys; V = collections.namedtuple('V', 'major minor')"
    code = f'#!/bin/bash\nexec {sys.executable} -c "{patch}; sys.version_info = V(3, 9); $2"\n'
    old.write_text(code)
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "-s", "-C", str(tmp_path), "setup", f"PYTHON={old}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Python >= 3.11 is needed" in done.stderr
    assert "is 3.9" in done.stderr
    assert not (tmp_path / ".venv").exists()


def shell_lines(name: str) -> list[str]:
    """Return the commands of a Markdown file: in bash fences, and in code spans of one command."""
    page = text(name)
    lines = [
        line for body in re.findall(r"```bash\n(.*?)```", page, re.S) for line in body.splitlines()
    ]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.S))
    parts = [part.strip() for line in [*lines, *spans] for part in line.split("&&")]
    return [part for part in parts if part.startswith(("make ", "duokit "))]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_commands_of_the_texts_exist(name):
    lines = {tuple(line.split()[:2]): line for line in shell_lines(name)}
    assert lines
    for (program, first), line in lines.items():
        if program == "make":
            assert first in make_targets(), line
        else:
            with pytest.raises(SystemExit) as end:
                main([first, "--help"])
            assert end.value.code == 0, line


def test_ci_runs_the_commands_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    content = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in content
    commands = re.findall(r"^make (\S+)$", content, re.M)
    assert commands[-2:] == ["test", "book"]
    assert {line.split()[1] for line in shell_lines("README.md") if line.startswith("make ")} & {
        "test",
        "book",
    } == {"test", "book"}


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    """The files are made here; the numbers are shown to nobody."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    for split in ("val", "test"):
        for model, strength in (("large", 2.0), ("small", 1.0)):
            logits = rng.normal(size=(60, 3)) + strength * np.eye(3)[labels]
            np.savez(f"{model}_{split}.npz", logits=logits.astype(np.float32), labels=labels)
    (example,) = re.findall(r"```python\n(.*?)```", text("README.md"), re.S)
    exec(compile(ast.parse(example), "README.md", "exec"), {})
    assert "SidekickTest" in capsys.readouterr().out


# --- what is kept


def test_the_licences_are_there():
    assert text("LICENSE").startswith("MIT License")
    assert "Creative Commons Attribution 4.0 International" in text("LICENSE-text")
    assert PROJECT["license"] == yaml.safe_load(text("CITATION.cff"))["license"] == "MIT"
    for word in ("MIT", "CC BY 4.0", "2505.18636"):
        assert word in text("README.md")


def test_committed_artifacts_stay_small():
    folders = (ROOT / "book" / "artifacts", ROOT / "book" / "maps")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files, "the book has no logits"
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 2**20


def test_formulas_need_no_network():
    config = yaml.safe_load(text("_config.yml"))["sphinx"]["config"]
    (static,) = config["html_static_path"]
    assert (ROOT / static / config["mathjax_path"]).stat().st_size > 2**20
    assert (ROOT / static / "mathjax" / "LICENSE").is_file()
    assert config["nb_ipywidgets_js"] == {}
    for sheet in config["html_css_files"]:
        assert (ROOT / static / sheet).is_file()
