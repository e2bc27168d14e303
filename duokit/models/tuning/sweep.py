"""Many runs of one network with other learning rates and weight decays, as soup ingredients."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn

from duokit.models.tuning.checkpoint import BEST, LAST, Progress
from duokit.models.tuning.finetune import fine_tune
from duokit.models.pixels import Pixels
from duokit.models.tuning.settings import FineTune

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

JOURNAL, NAME = "sweep.journal", "sweep"


@dataclass(frozen=True)
class Space:
    """Where a sweep draws from: log-uniformly between two ends each, the paper's by default.

    Attributes:
        lr: ends of the largest learning rate.
        weight_decay: ends of the weight decay.
        seed: of the draws; draw number i depends on the seed and i alone.

    Source: arXiv 2505.18636, appendix A.2.
    """

    lr: tuple[float, float] = (1e-6, 3e-4)
    weight_decay: tuple[float, float] = (1e-8, 1e-5)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} goes from {low} to {high}; expected 0 < low <= high <= 1")

    def draw(self, number: int) -> dict[str, float]:
        """Returns the values of one draw."""
        random = np.random.default_rng([self.seed, number])
        ends = {"lr": self.lr, "weight_decay": self.weight_decay}
        return {
            name: float(math.exp(random.uniform(math.log(low), math.log(high))))
            for name, (low, high) in ends.items()
        }


def sweep(
    model: nn.Module,
    pixels: Pixels,
    settings: FineTune,
    *,
    train: torch.Tensor,
    val: torch.Tensor,
    folder: Path,
    trials: int = 12,
    space: Space | None = None,
    prune: bool = True,
    device: str = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Returns one row a trial; the folder of each holds its best weights.

    Optuna keeps the book in a journal file: a sweep that was stopped goes on with the trial, and
    the step, where it was, and the same call with more trials adds to it. A trial that fails (its
    loss stops being finite, say) is listed with its error, and the others go on.

    Args:
        model: the start of every trial, head included; it stays as it is.
        pixels: decoded pictures with their labels.
        settings: of every trial, but for what `space` draws.
        train: (n,) rows to train on.
        val: (m,) rows that choose the best epoch and compare the trials.
        folder: for the journal and a folder a trial.
        trials: how many in all; 12 in the paper.
        space: what is drawn; the paper's ranges by default.
        prune: whether a trial ends early that is below the median of the earlier ones at the same
            epoch (from the fifth trial on).
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show progress bars (on the error stream).

    Returns:
        Index trial; columns lr, weight_decay, state ("complete", "pruned", "failed"), score (the
        best on val), epoch (that reached it), error, folder.

    Raises:
        ValueError: as `fine_tune`; fewer than one trial; a folder that holds another sweep.
        ModuleNotFoundError: Optuna is missing.
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}; expected 1 or more")
    space = space or Space()
    study = _study(folder, prune)
    _check_same(study, folder, {"space": asdict(space), "settings": settings.as_dict()})
    for number in range(trials):
        if number in _ended(study):
            continue
        trial = _ask(study, number, space)
        _run(
            trial, study, copy.deepcopy(model), pixels, settings.replace(**trial.params),
            train=train, val=val, folder=folder / f"trial-{number:03d}", device=device,
            progress=progress,
        )  # fmt: skip
    return results(folder)


def results(folder: Path) -> pd.DataFrame:
    """Returns the table of the trials that ended; columns as `sweep`.

    Raises:
        FileNotFoundError: no sweep lies in the folder.
    """
    if not (folder / JOURNAL).is_file():
        raise FileNotFoundError(f"{folder} holds no sweep ({JOURNAL} is missing)")
    rows = {}
    for number, trial in sorted(_ended(_study(folder, False)).items()):
        rows[number] = {
            "lr": trial.params.get("lr", float("nan")),
            "weight_decay": trial.params.get("weight_decay", float("nan")),
            "state": {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed"),
            "score": trial.user_attrs.get("score", float("nan")),
            "epoch": trial.user_attrs.get("epoch", 0),
            "error": trial.user_attrs.get("error", ""),
            "folder": str(folder / f"trial-{number:03d}"),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trial")


def ingredients(folder: Path) -> tuple[list[dict[str, torch.Tensor]], list[float]]:
    """Returns the best weights of the complete trials and their scores, best first, for a soup.

    Raises:
        FileNotFoundError: no sweep lies in the folder.
        ValueError: no trial is complete.
    """
    table = results(folder)
    good = table[table["state"] == "complete"].sort_values("score", ascending=False, kind="stable")
    if good.empty:
        raise ValueError(f"no trial in {folder} is complete: {table['error'].tolist()}")
    return [load_file(Path(place) / BEST) for place in good["folder"]], good["score"].tolist()


def _study(folder: Path, prune: bool) -> Study:
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "a sweep needs Optuna: pip install 'duokit[tune]'", name=missing.name
        ) from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=4) if prune else optuna.pruners.NopPruner()
    )
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        study_name=NAME,
        direction="maximize",
        pruner=pruner,
        load_if_exists=True,
    )


def _check_same(study: Study, folder: Path, about: dict[str, Any]) -> None:
    """Raises ValueError if the study in the folder is of something else."""
    about = json.loads(json.dumps(about))
    known = study.user_attrs.get("about", about)
    for part, values in about.items():
        for name, value in values.items():
            if known[part].get(name) != value:
                raise ValueError(
                    f"{folder} holds a sweep with {name} = {known[part].get(name)!r}, this one has "
                    f"{value!r}: choose another folder"
                )
    study.set_user_attr("about", about)


def _ended(study: Study) -> dict[int, FrozenTrial]:
    """Returns the trials that ended, by the number of their draw."""
    return {
        trial.user_attrs["draw"]: trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and (trial.state.name != "FAIL" or "error" in trial.user_attrs)
    }


def _ask(study: Study, number: int, space: Space) -> Trial:
    """Returns a new trial for a draw, after closing one that a stopped program left open."""
    from optuna.trial import TrialState

    for old in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        study.tell(old.number, state=TrialState.FAIL)
    study.enqueue_trial(space.draw(number), user_attrs={"draw": number})
    trial = study.ask()
    for name in ("lr", "weight_decay"):
        trial.suggest_float(name, *getattr(space, name), log=True)  # what was enqueued
    return trial


def _run(
    trial: Trial,
    study: Study,
    model: nn.Module,
    pixels: Pixels,
    settings: FineTune,
    *,
    folder: Path,
    **options: Any,
) -> None:
    """Returns nothing; runs one trial and tells the study how it ended."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    def after_epoch(done: Progress) -> None:
        trial.report(done.history[-1][f"val_{settings.select}"], len(done.history))
        trial.set_user_attr("score", done.best)
        trial.set_user_attr("epoch", done.best_epoch)
        if len(done.history) < settings.epochs and trial.should_prune():
            raise TrialPruned

    try:
        done = fine_tune(model, pixels, settings, folder=folder, after_epoch=after_epoch, **options)
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (FloatingPointError, RuntimeError) as error:
        trial.set_user_attr("error", f"{type(error).__name__}: {error}")
        study.tell(trial, state=TrialState.FAIL)
    else:
        trial.set_user_attr("score", done.best)
        trial.set_user_attr("epoch", done.best_epoch)
        study.tell(trial, done.best)
    (folder / LAST).unlink(missing_ok=True)  # optimiser states: three times the weights
