"""Executing a notebook: with checked parameters, in its own folder, without touching its source."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from duokit.logits.files import write_whole
from duokit.notebooks.files import read, text_of
from duokit.notebooks.parameters import parameters as parameters_of
from duokit.notebooks.parameters import validate
from duokit.notebooks.tidy import INJECTED, normalise, stamped, without_outputs

PARTIAL = ".partial.ipynb"
# ipykernel notes at each start that it talks over TCP, and at a timeout that its socket is closed;
# on stderr that would be a line, or a traceback, a notebook.
QUIET_KERNEL = "c.IPKernelApp.log_level = 50\n"
KERNEL_ENVIRONMENT = {
    "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one of the same name
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "MPLBACKEND": None,  # let the kernel choose its own, or no figure is stored
}

START_TIMEOUT = 300  # seconds for a kernel to start: a busy machine may need more than 60


class NotebookError(RuntimeError):
    """A notebook did not run to its end."""


def execute(
    source: str | Path,
    target: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    cwd: str | Path | None = None,
    timeout: int | None = None,
    overwrite: bool = True,
) -> dict[str, Any]:
    """Returns the executed, normalised notebook after writing it to target; source is untouched.

    Only values that differ from the defaults are injected, so a run with the defaults has the
    cells of its source. If a cell fails, target is not written; what was reached lies beside it
    as <name>.partial.ipynb.

    Args:
        source: notebook to run.
        target: file to write, not in the folder of the source.
        parameters: name -> value (or its text), checked by `validate`.
        cwd: folder in which the kernel runs; by default the source's.
        timeout: seconds that one cell may take, None for no limit.
        overwrite: whether target may be replaced.

    Raises:
        FileNotFoundError: no such notebook.
        FileExistsError: target exists and overwrite is False.
        ValueError: a parameter that does not fit, or a target in the source's folder.
        NotebookError: a cell failed; names notebook, cell and exception.
    """
    source, target = Path(source).resolve(), Path(target).resolve()
    if target.parent == source.parent:
        raise ValueError(f"{target} is in the folder of its source; choose another")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; choose another name, or overwrite=True")
    known = parameters_of(source)
    given = validate(known, parameters or {})
    defaults = {parameter.name: parameter.default for parameter in known}
    changed = {name: value for name, value in given.items() if value != defaults[name]}
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.stem + PARTIAL)
    if os.path.lexists(partial) and not _left_by_papermill(partial):
        raise FileExistsError(f"{partial} is not of an earlier run: move it away")
    notebook = _run(source, partial, changed, Path(cwd) if cwd else source.parent, timeout)
    clean = stamped(normalise(notebook))
    write_whole(target, text_of(clean).encode(), overwrite=overwrite)
    partial.unlink()
    return clean


def _run(
    source: Path, partial: Path, changed: dict[str, Any], cwd: Path, timeout: int | None
) -> dict[str, Any]:
    """Returns the notebook as papermill leaves it; what it has reached is kept in partial."""
    import nbformat
    from nbclient.exceptions import CellControlSignal, DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook

    logging.getLogger("papermill").addHandler(logging.NullHandler())  # errors are raised as well
    notebook = nbformat.from_dict(without_outputs(read(source)))
    # papermill fills str.format fields in paths
    output = str(partial).replace("{", "{{").replace("}", "}}")
    try:
        with _kernel_environment():
            execute_notebook(
                notebook,
                output,
                parameters=changed or None,
                progress_bar=False,
                cwd=cwd,
                execution_timeout=timeout,
                start_timeout=START_TIMEOUT,
            )
    except PapermillExecutionError as error:
        raise NotebookError(_where(source, partial, error, injected=bool(changed))) from error
    except (CellControlSignal, DeadKernelError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise NotebookError(f"{source} stopped: {type(error).__name__}: {first}") from error
    return read(partial)


def _left_by_papermill(path: Path) -> bool:
    try:
        return "papermill" in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _where(source: Path, partial: Path, error: Any, *, injected: bool) -> str:
    """Returns which cell of the source failed and how, and where to look."""
    number = error.cell_index + 1
    if injected:
        cells = json.loads(partial.read_text(encoding="utf-8"))["cells"]
        # papermill has put its own cells around the failure; only the injected one counts here
        own = [c for c in cells if "papermill-error-cell-tag" not in c["metadata"].get("tags", [])]
        place = next(i for i, c in enumerate(own) if INJECTED in c["metadata"].get("tags", []))
        number -= number > place
    line = error.source.strip().splitlines()[0]
    return (
        f"{source}, cell {number} ({line[:60]}): {error.ename}: {error.evalue}; "
        f"what was reached is in {partial}"
    )


@contextmanager
def _kernel_environment() -> Iterator[None]:
    """Gives the kernel settings of its own, and takes them back afterwards."""
    with tempfile.TemporaryDirectory(prefix="duokit-ipython-") as folder:
        profile = Path(folder) / "profile_default"
        profile.mkdir()
        (profile / "ipython_kernel_config.py").write_text("c = get_config()\n" + QUIET_KERNEL)
        wanted = KERNEL_ENVIRONMENT | {"IPYTHONDIR": folder}
        before = {name: os.environ.get(name) for name in wanted}
        try:
            _set_environment(wanted)
            yield
        finally:
            _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
