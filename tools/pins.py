"""The one tested set of versions: constraints.txt, and the environment files written from it.

`python tools/pins.py lock` freezes the packages of the Python that runs it into constraints.txt;
`python tools/pins.py write` writes environment.yml and binder/environment.yml from that file.
Standard library only.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.11"
EXTRAS = "models,book,dev"
# torch asks for these on Linux alone, with this very marker.
LINUX_ONLY = re.compile(r"nvidia-|cuda-|triton==")
LINUX_MARKER = 'platform_system == "Linux"'
LOCK_HEADER = """\
# The exact versions this project is tested with, for Python {python}. `make setup` installs them:
# pip install -c constraints.txt -e ".[{extras}]". To move one, install it into .venv and type
# `make lock`.
"""
ENVIRONMENT_HEADER = """\
# Written by `make pins` from constraints.txt: edit that file, not this one.
name: {name}
channels:
  - conda-forge
dependencies:
  - python={python}
  - pip
  - pip:
"""


def frozen(python: str) -> list[str]:
    """Return the requirement lines of the packages that `python` has, without duokit and pip."""
    command = [python, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line for line in text.splitlines() if not line.startswith("pip==")]
    loose = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+-]+", line)]
    if loose:
        raise SystemExit(f"not installed from a package index, cannot be pinned: {loose}")
    return [f"{line} ; {LINUX_MARKER}" if LINUX_ONLY.match(line) else line for line in lines]


def read_pins(root: Path = ROOT) -> list[str]:
    """Return the requirement lines of constraints.txt, without comments and empty lines."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def environment(name: str, requirements: list[str]) -> str:
    """Return the text of a conda environment file whose packages come from pip."""
    header = ENVIRONMENT_HEADER.format(name=name, python=PYTHON)
    return header + "".join(f"      - {quoted(line)}\n" for line in requirements)


def quoted(requirement: str) -> str:
    """Return a requirement as a YAML scalar: in quotes where it holds a marker or an option."""
    return f"'{requirement}'" if " " in requirement else requirement


def write_environments(root: Path = ROOT) -> None:
    """Write environment.yml (with the package itself) and binder/environment.yml (without)."""
    pins = read_pins(root)
    everything = [*pins, f"-e .[{EXTRAS}]"]
    (root / "environment.yml").write_text(environment("duokit", everything), encoding="utf-8")
    target = root / "binder" / "environment.yml"
    target.write_text(environment("duokit-binder", pins), encoding="utf-8")
    print(f"wrote environment.yml and binder/environment.yml: {len(pins)} pins each")


def main(arguments: list[str]) -> None:
    """Run `lock` or `write`."""
    if arguments not in (["lock"], ["write"]):
        raise SystemExit(f"usage: python tools/pins.py lock|write, got {arguments}")
    if arguments == ["lock"]:
        header = LOCK_HEADER.format(python=PYTHON, extras=EXTRAS)
        body = "".join(f"{line}\n" for line in frozen(sys.executable))
        (ROOT / "constraints.txt").write_text(header + body, encoding="utf-8")
    write_environments()


if __name__ == "__main__":
    main(sys.argv[1:])
