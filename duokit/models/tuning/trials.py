"""One trial of a sweep, and the file in its folder that says how it ended.

The folder of a trial is that of a finished run (`load_run`) with two files more: its logits on val,
and trial.json. A trial without the latter has not ended; remove its folder to have it run again.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from duokit.images import ImageSet, Splits
from duokit.logits import save
from duokit.logits.files import write_whole
from duokit.models.tuning.checkpoint import LAST, Progress, read_best
from duokit.models.tuning.finetune import fine_tune
from duokit.models.tuning.run import config_of, keep_splits, write_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.space import Search
from duokit.models.tuning.tuned import Start, network_records

TRIAL, VAL = "trial.json", "val.safetensors"
FEWEST = 4  # complete trials before one is called poor


@dataclass(frozen=True, eq=False)
class Task:
    """What the trials of a sweep share.

    Attributes:
        start: the network that every trial starts from, and its pictures.
        image_set: pictures and labels, for the records.
        splits: parts of the set.
        settings: of every trial, but for what is drawn.
        folder: for a folder a trial.
        search: what is drawn, and how often.
        command: the command to put into the records.
        device: "auto", "cpu", "cuda", "mps".
        until: when to stop with a checkpoint, in seconds of time.monotonic(); None for never.
        progress: whether to show progress bars (on the error stream).
    """

    start: Start
    image_set: ImageSet
    splits: Splits
    settings: FineTune
    folder: Path
    search: Search
    command: str = ""
    device: str = "auto"
    until: float | None = None
    progress: bool = True

    def place(self, number: int) -> Path:
        """Returns the folder of a trial."""
        return self.folder / f"trial-{number:03d}"

    def draw(self, number: int) -> FineTune:
        """Returns the settings of a trial."""
        return self.settings.replace(**self.search.space.draw(number))

    def poor(self, scores: list[float]) -> bool:
        """Returns whether a trial with these val scores, one an epoch, may as well end.

        Its best so far is below the median of what the complete trials had at this epoch, and
        there are at least four of them.
        """
        epoch = len(scores) - 1
        others = [each.scores for each in ended(self.folder) if each.state == "complete"]
        if not self.search.prune or len(others) < FEWEST:
            return False
        return max(scores) < float(np.median([each[epoch] for each in others]))


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        number: of the trial and of its draw.
        lr: drawn.
        weight_decay: drawn.
        state: "complete", "pruned" or "failed".
        score: the best on val; None for none.
        epoch: that reached it; 0 for the start, which was better than all, or for none.
        error: what went wrong; empty if nothing did.
        scores: on val, one an epoch.
    """

    number: int
    lr: float
    weight_decay: float
    state: str
    score: float | None = None
    epoch: int = 0
    error: str = ""
    scores: tuple[float, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes trial.json into the folder of the trial, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"
        write_whole(folder / TRIAL, text.encode(), overwrite=True)


def ended(folder: Path) -> list[Ended]:
    """Returns the trials of a sweep that ended, by their number.

    Raises:
        ValueError: a trial.json that does not say how a trial ended.
    """
    found = []
    for path in folder.glob(f"trial-*/{TRIAL}"):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found.append(Ended(**values | {"scores": tuple(values["scores"])}))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path} does not say how a trial ended ({error!r}): remove {path.parent} to have "
                "the trial run again"
            ) from error
    return sorted(found, key=lambda each: each.number)


class _PoorError(Exception):
    """The trial ends early."""


def run_trial(task: Task, number: int, stop: Callable[[list[float]], bool]) -> Ended:
    """Returns how a trial ended, which its trial.json says from now on.

    It goes on from its checkpoint, if one is there. Whatever it raises is how it ended, but for
    what concerns all trials: no time left, and a package that is missing.

    Args:
        task: what all trials share.
        number: of the trial.
        stop: gets the val scores, one an epoch, after each epoch; whether to end early.

    Raises:
        TimeoutError: it is `task.until`; the same call goes on.
        ModuleNotFoundError: accelerate is missing.
        FileExistsError, ValueError: the folder holds something else; it stays as it is.
    """
    if task.until is not None and time.monotonic() >= task.until:
        raise TimeoutError(f"out of time before trial {number} of {task.search.trials}")
    folder, settings, start = task.place(number), task.draw(number), task.start
    state, error, done = "complete", "", Progress()

    def after_epoch(progress: Progress) -> None:
        nonlocal done
        done = progress
        scores = _scores(done, settings)
        if stop(scores) and len(scores) < settings.epochs:
            raise _PoorError

    keep_splits(folder, task.splits)
    try:
        try:
            done = fine_tune(
                copy.deepcopy(start.model), start.pixels, settings, train=start.rows["train"],
                val=start.rows["val"], folder=folder, choice=start.choice, device=task.device,
                until=task.until, after_epoch=after_epoch, progress=task.progress,
            )  # fmt: skip
        except _PoorError:
            state = "pruned"
        _keep(task, number, settings, done)
    except ModuleNotFoundError:
        raise
    except Exception as problem:
        if isinstance(problem, TimeoutError) and task.until is not None:
            raise
        state, error = "failed", f"{type(problem).__name__}: {problem}"
    scores = _scores(done, settings)
    score = done.best if math.isfinite(done.best) else None
    if settings.select == "last":  # the best is then the number of an epoch
        score = scores[-1] if scores else None
    how = Ended(
        number, settings.lr, settings.weight_decay, state, score, done.best_epoch,
        error, tuple(scores),
    )  # fmt: skip
    how.write(folder)
    (folder / LAST).unlink(missing_ok=True)  # optimiser states: three times the weights
    return how


def _scores(done: Progress, settings: FineTune) -> list[float]:
    return [row[f"val_{settings.measure}"] for row in done.history if row["epoch"]]


def _keep(task: Task, number: int, settings: FineTune, done: Progress) -> None:
    """Returns nothing; makes the folder that of a finished run, with its logits on val."""
    folder = task.place(number)
    start = replace(task.start, model=copy.deepcopy(task.start.model))
    read_best(folder, start.model)
    config = config_of(folder, settings, done, command=task.command, trial=number)
    how = start.pixels.preprocessing
    write_run(folder, settings, how, task.image_set, task.splits, config)
    records = network_records(
        start, task.image_set, task.splits, settings, config, parts=["val"], device=task.device,
        progress=task.progress,
    )  # fmt: skip
    save(records["val"], folder / VAL, overwrite=True)
