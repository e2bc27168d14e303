"""Who keeps the trials of a sweep going: a plain loop, Optuna, or Ray Tune on a cluster."""

from __future__ import annotations

import copy
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from duokit.logits.files import starts_with
from duokit.models.tuning.space import Search, Space
from duokit.models.tuning.trials import FEWEST, Ended, Task, ended, run_trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial
    from PIL import Image

JOURNAL, NAME = "sweep.journal", "sweep"


def run_random(task: Task, numbers: Sequence[int]) -> None:
    """Runs these trials one after the other, without any package.

    Raises:
        TimeoutError, ModuleNotFoundError: as `run_trial`.
    """
    for number in numbers:
        run_trial(task, number, task.poor)


def run_optuna(task: Task, numbers: Sequence[int]) -> None:
    """Runs these trials one after the other, the book kept and pruned by Optuna.

    Its journal lies in the folder of the sweep, for `optuna-dashboard`, say.

    Raises:
        TimeoutError: as `run_trial`.
        ModuleNotFoundError: Optuna is missing; as `run_trial`.
    """
    study = _study(task)
    for number in numbers:
        trial = _ask(study, number, task.search.space)
        how = run_trial(task, number, partial(_report, trial, []))
        _tell(study, trial, how)


def _study(task: Task) -> Study:
    """Returns the study in the folder, which knows all trials that ended well.

    The trials' own files say how they ended; the journal can be lost. Of one that a kill or a
    full disk cut short, the whole lines count; one that cannot be read is set aside.
    """
    try:
        import optuna
        from optuna.trial import TrialState
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "this sweep needs Optuna: pip install 'duokit[tune]', or take the searcher random",
            name=missing.name,
        ) from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = task.folder.resolve() / JOURNAL  # Optuna's lock is a link, which must not be relative
    _drop_cut_line(path)
    try:
        study = _opened(path, task.search)
    except OSError:  # no room, no permission: nothing is wrong with what is there
        raise
    except Exception as problem:  # Optuna raises many kinds
        _set_aside(path, repr(problem))
        study = _opened(path, task.search)
    for old in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        study.tell(old.number, state=TrialState.FAIL)  # a stopped program left it open
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    known = {
        trial.user_attrs.get("draw")
        for trial in study.get_trials(deepcopy=False, states=tuple(states.values()))
    }
    for each in ended(task.folder):  # by another searcher, or just before the program was stopped
        if each.state in states and each.number not in known:
            study.add_trial(
                optuna.trial.create_trial(
                    state=states[each.state],
                    value=each.score,
                    params={"lr": each.lr, "weight_decay": each.weight_decay},
                    distributions={
                        name: optuna.distributions.FloatDistribution(*ends, log=True)
                        for name, ends in _ends(task.search.space).items()
                    },
                    user_attrs={"draw": each.number},
                    intermediate_values=dict(enumerate(each.scores, start=1)),
                )
            )
    return study


def _opened(path: Path, search: Search) -> Study:
    """Returns the study in a journal, which is made if it is missing."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    median = optuna.pruners.MedianPruner(n_startup_trials=FEWEST)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))),
        study_name=NAME,
        direction="maximize",
        pruner=median if search.prune else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )


def _drop_cut_line(path: Path) -> None:
    """Takes away the last line of Optuna's journal if it has no end: what is added would join it.

    A file that does not begin like a journal is set aside.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    if not starts_with(path, b'{"op_code":'):
        _set_aside(path, "it is no journal of Optuna")
        return
    raw = path.read_bytes()
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        os.truncate(path, whole)


def _set_aside(path: Path, why: str) -> None:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    warnings.warn(
        f"{path} cannot be read ({why}): it is now called {aside.name}, and the sweep goes on "
        "from the files of its trials",
        stacklevel=3,
    )


def _ends(space: Space) -> dict[str, tuple[float, float]]:
    return {"lr": space.lr, "weight_decay": space.weight_decay}


def _ask(study: Study, number: int, space: Space) -> Trial:
    """Returns a new trial of the study for a draw."""
    study.enqueue_trial(space.draw(number), user_attrs={"draw": number})
    trial = study.ask()
    for name, ends in _ends(space).items():
        trial.suggest_float(name, *ends, log=True)  # what was enqueued
    return trial


def _report(trial: Trial, told: list[float], scores: list[float]) -> bool:
    """Returns whether Optuna wants the trial to end, after telling it the scores that are new."""
    for score in scores[len(told) :]:
        told.append(score)
        trial.report(score, len(told))
    return trial.should_prune()


def _tell(study: Study, trial: Trial, how: Ended) -> None:
    from optuna.trial import TrialState

    trial.set_user_attr("error", how.error)
    if how.state == "complete":
        study.tell(trial, how.score)
    else:
        study.tell(trial, state=TrialState.PRUNED if how.state == "pruned" else TrialState.FAIL)


def run_ray(task: Task, numbers: Sequence[int]) -> None:
    """Runs these trials side by side with Ray Tune, as many as its machines have room for.

    Ray is used as it is, if the program has started it; else the cluster that RAY_ADDRESS names or
    that runs on this machine, else one of this machine alone. All machines must see the folder of
    the sweep under the same path, and have duokit. Ray's tables go to the folder ray in it; its
    sockets and logs stay where Ray keeps them, on each machine. Its usage statistics are off.

    Raises:
        TimeoutError: it is `task.until`; the same call goes on.
        KeyboardInterrupt: it was stopped; the same call goes on.
        ModuleNotFoundError: Ray is missing.
    """
    try:
        import ray
        from ray import tune
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "this sweep needs Ray Tune: pip install 'duokit[tune]', or take another searcher",
            name=missing.name,
        ) from missing
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ours = not ray.is_initialized()
    if ours:
        ray.init(logging_level=logging.WARNING, log_to_driver=task.progress)
    try:
        values = task.start.pixels.values.cpu().numpy()  # Ray shares arrays, and copies tensors
        shared = tune.with_parameters(_ray_trial, task=_portable(task), values=values)
        tuner = tune.Tuner(
            tune.with_resources(shared, _resources(task, ray.cluster_resources())),
            param_space={"number": tune.grid_search(list(numbers))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(task.folder / "ray"),
                failure_config=tune.FailureConfig(max_failures=2),  # a machine that went away
                verbose=int(task.progress),
            ),
        )
        with redirect_stdout(sys.stderr):  # where progress is shown
            grid = tuner.fit()
        found = [grid[place] for place in range(len(grid))]
        ends = {each.config["number"]: each.error for each in found if each.config}
    finally:
        if ours:
            ray.shutdown()
    _check_ended(task, ends)


def _resources(task: Task, there: dict[str, float]) -> dict[str, float]:
    """Returns what Ray reserves for a trial."""
    gpus = task.search.gpus
    if gpus is None:
        gpus = float(task.device != "cpu" and there.get("GPU", 0) > 0)
    return {"cpu": task.search.cpus, "gpu": gpus}


def _portable(task: Task) -> Task:
    """Returns the task as another machine can use it: no GPU, no pictures, the time of day."""
    start, until = task.start, task.until
    return replace(
        task,
        start=replace(
            start,
            model=copy.deepcopy(start.model).cpu(),
            pixels=replace(start.pixels, values=torch.empty(0, dtype=torch.uint8)),
        ),
        image_set=replace(task.image_set, read=_no_picture),
        folder=task.folder.resolve(),
        until=None if until is None else until - time.monotonic() + time.time(),
        progress=False,
    )


def _no_picture(row: int) -> Image.Image:
    raise RuntimeError(f"picture {row} is not here: a trial sees decoded pictures alone")


def _ray_trial(config: dict[str, Any], task: Task, values: np.ndarray) -> None:
    """Runs a trial where Ray has put it; without a trial.json afterwards, it has not ended."""
    from ray import tune

    def stop(scores: list[float]) -> bool:
        tune.report({"epoch": len(scores), "score": max(scores)})
        return task.poor(scores)

    with warnings.catch_warnings():  # the array is read-only, and nobody writes to it
        warnings.simplefilter("ignore", UserWarning)
        pixels = replace(task.start.pixels, values=torch.from_numpy(values))
    until = None if task.until is None else task.until - time.time() + time.monotonic()
    task = replace(task, start=replace(task.start, pixels=pixels), until=until)
    try:
        run_trial(task, config["number"], stop)
    except TimeoutError:
        return


def _check_ended(task: Task, ends: dict[int, Exception | None]) -> None:
    """Writes down the trials that Ray itself gave up, and raises if others have not ended."""
    left = set(ends) - {each.number for each in ended(task.folder)}
    for number in sorted(left):
        if error := ends[number]:
            text = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
            drawn = task.draw(number)
            how = Ended(number, drawn.lr, drawn.weight_decay, "failed", error=text)
            how.write(task.place(number))
            left.remove(number)
    if left and task.until is not None and time.monotonic() >= task.until:
        raise TimeoutError(f"out of time: {len(left)} of {len(ends)} trials have not ended")
    if left:
        raise KeyboardInterrupt
