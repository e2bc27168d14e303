"""Many runs of one network with other learning rates and weight decays, as soup ingredients."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file

from duokit.images import ImageSet, Splits
from duokit.logits.files import write_whole
from duokit.models.tuning.checkpoint import BEST, refuse_foreign
from duokit.models.tuning.searchers import JOURNAL, run_optuna, run_random, run_ray
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.space import Search
from duokit.models.tuning.trials import Task, ended
from duokit.models.tuning.tuned import Start

SWEEP = "sweep.json"
COLUMNS = ["lr", "weight_decay", "state", "score", "epoch", "error", "folder"]
RUNNERS = {"optuna": run_optuna, "ray": run_ray, "random": run_random}


def sweep(
    start: Start,
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    folder: Path,
    *,
    search: Search | None = None,
    command: str = "",
    device: str = "auto",
    until: float | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Returns one row a trial; the folder of each holds its best weights and its logits on val.

    A sweep that was stopped goes on with the trial, and the step, where it was; the same call with
    more trials adds to it, also with another searcher. A trial that fails (its loss stops being
    finite, say) is listed with its error, and the others go on; it is run again if its folder is
    removed.

    Args:
        start: what `prepare` returned: the network of every trial, which stays as it is.
        image_set: pictures and labels, for the records.
        splits: parts of the set.
        settings: of every trial, but for what is drawn.
        folder: for a folder a trial, and the searcher's own files.
        search: what is drawn, how often, and who runs it; the paper's ranges and 12 trials if not
            given.
        command: the command to put into the records.
        device: "auto", "cpu", "cuda", "mps".
        until: when to stop with a checkpoint, in seconds of time.monotonic(); None for never.
        progress: whether to show progress bars (on the error stream).

    Returns:
        Index trial; columns lr, weight_decay, state ("complete", "pruned", "failed"), score (the
        best on val), epoch (that reached it), error, folder.

    Raises:
        TimeoutError: it is `until`; the same call goes on.
        ValueError: a folder that holds another sweep, or another stage than "plain".
        ModuleNotFoundError: the searcher or accelerate is missing.
    """
    search = search or Search()
    if settings.stage != "plain":
        raise ValueError(f"a sweep trains from the start: stage is {settings.stage}, not plain")
    _keep_about(start, folder, image_set, splits, settings, search, command)
    task = Task(
        start, image_set, splits, settings, folder, search, command, device, until, progress
    )
    there = {each.number for each in ended(folder)}
    missing = [number for number in range(search.trials) if number not in there]
    if missing:
        RUNNERS[_searcher(search)](task, missing)
    return results(folder)


def results(folder: Path) -> pd.DataFrame:
    """Returns the table of the trials that ended; columns as `sweep`.

    Raises:
        FileNotFoundError: no sweep lies in the folder.
    """
    about(folder)
    there = ended(folder)
    rows = [[getattr(each, name) for name in COLUMNS[:-1]] for each in there]
    for each, row in zip(there, rows, strict=True):
        row.append(str(folder / f"trial-{each.number:03d}"))
    index = pd.Index([each.number for each in there], name="trial")
    return pd.DataFrame(rows, index=index, columns=COLUMNS).astype({"score": float})


def about(folder: Path) -> dict[str, Any]:
    """Returns what a sweep is of: dataset, split_checksum, settings, space, batchnorm, command.

    Raises:
        FileNotFoundError: no sweep lies in the folder.
        ValueError: another file has its name.
    """
    path = folder / SWEEP
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no sweep ({SWEEP} is missing)")
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not {"dataset", "split_checksum", "settings", "space"} <= found.keys():
            raise TypeError("it lacks the keys of a sweep")
        return found | {name: dict(found[name]) for name in ("settings", "space")}
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} does not describe a sweep of duokit ({error}), and stays as it is: choose "
            "another folder, or move it away"
        ) from error


def check_about(
    folder: Path, image_set: ImageSet, splits: Splits, settings: FineTune
) -> dict[str, Any]:
    """Returns what the sweep in the folder is of, if it is of these pictures and settings.

    Raises:
        FileNotFoundError: no sweep lies in the folder.
        ValueError: it is of something else; lr and weight_decay of the settings do not count.
    """
    found = about(folder)
    known = found | found["settings"]
    for name, value in _settled(image_set, splits, settings).items():
        _check(folder, name, known.get(name), value)
    return found


class Weights(Sequence[dict[str, torch.Tensor]]):
    """Files of weights, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        """Returns how many files there are."""
        return len(self.paths)

    def __getitem__(self, place: Any) -> Any:
        """Returns the weights in one file, on the CPU."""
        return load_file(self.paths[place])


def ingredients(folder: Path) -> tuple[Weights, pd.DataFrame]:
    """Returns the best weights of the complete trials, best first, and their rows of `results`.

    Trials that did best at epoch 0 are all the network that every one started from: one is enough.

    Raises:
        FileNotFoundError: no sweep lies in the folder.
        ValueError: no trial is complete.
    """
    table = results(folder)
    good = table[table["state"] == "complete"].sort_values("score", ascending=False, kind="stable")
    if good.empty:
        raise ValueError(f"no trial in {folder} is complete: {table['error'].tolist()}")
    start = good["epoch"] == 0
    good = good[~start | (start.cumsum() == 1)]
    return Weights([Path(place) / BEST for place in good["folder"]]), good


def _searcher(search: Search) -> str:
    if search.searcher is not None:
        return search.searcher
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        warnings.warn(
            "Optuna is not installed (pip install 'duokit[tune]'): a plain loop runs the trials, "
            "with the same draws",
            stacklevel=3,
        )
        return "random"
    return "optuna"


def _settled(image_set: ImageSet, splits: Splits, settings: FineTune) -> dict[str, Any]:
    """Returns what all trials of a sweep have in common."""
    drawn = ("lr", "weight_decay")
    values = {name: each for name, each in settings.as_dict().items() if name not in drawn}
    return values | {"dataset": image_set.name, "split_checksum": splits.checksum}


def _keep_about(
    start: Start,
    folder: Path,
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    search: Search,
    command: str,
) -> None:
    """Writes what the sweep is of; raises an error if the folder holds something else."""
    content = {
        "dataset": image_set.name,
        "split_checksum": splits.checksum,
        "settings": settings.as_dict(),
        "space": json.loads(json.dumps(asdict(search.space))),
        "batchnorm": start.choice.batchnorm if start.choice else settings.batchnorm,
        "command": command,
    }
    if (folder / SWEEP).is_file():
        known = check_about(folder, image_set, splits, settings)
        for name, value in content["space"].items():
            _check(folder, name, known["space"].get(name), value)
        kept = known.get("batchnorm", settings.batchnorm)
        _check(folder, "batchnorm", kept, content["batchnorm"])
    else:
        refuse_foreign(folder, SWEEP, JOURNAL)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / SWEEP, text.encode(), overwrite=True)


def _check(folder: Path, name: str, known: Any, value: Any) -> None:
    if known != value:
        raise ValueError(
            f"{folder} holds a sweep with {name} = {known!r}, this one has {value!r}: choose "
            "another folder"
        )
