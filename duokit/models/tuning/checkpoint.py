"""The state of a fine-tuning run on the disk: written whole or not at all, read without pickles."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from duokit.logits.files import whole_file, write_whole
from duokit.models.tuning.settings import FineTune, before_its_time

# Settings that may change from one part of a run to the next: its result stays what it is.
FREE = ("micro_batch", "compile", "save_minutes")
LAST, BEST, HISTORY = "last.pt", "best.safetensors", "metrics.jsonl"
SPLITS = "splits.json"
MADE = {"made_by": "duokit finetune"}  # stands in the head of BEST


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: the next step.
        best: the best score on val so far.
        best_epoch: the epoch that reached it; 0 for the network as it came, with its probe.
        history: one row an epoch that ended, after a row of epoch 0: val scores of the network as
            it came, and the training loss that it began with, its statistics frozen. Runs of
            older versions lack that row.
        losses: sum of the losses of the images of the current epoch.
        seconds: spent so far, over all its parts.
        micro_batch: images at a time on one device.
        batchnorm: what became of BatchNorm's statistics, as `Choice` has it.
        trials: training losses that it was chosen by.
    """

    step: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    losses: float = 0.0
    seconds: float = 0.0
    micro_batch: int = 0
    batchnorm: str = ""
    trials: dict[str, float] = field(default_factory=dict)


def refuse_foreign(folder: Path, *names: str) -> None:
    """Returns nothing if the folder has none of these files, which a run would replace.

    Raises:
        FileExistsError: it has one, which nothing says to be of duokit.
    """
    for name in names:
        if os.path.lexists(folder / name):
            raise FileExistsError(
                f"{folder / name} is there, and not of a run of duokit that this one could go on "
                "with: choose another folder, or move it away"
            )


def write_checkpoint(
    folder: Path,
    settings: FineTune,
    progress: Progress,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Returns nothing; puts the state of the run into the folder, in the place of the last one.

    The random states need no room: every step takes its own from its number (schedule.py).
    """
    state = {
        "settings": settings.as_dict(),
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with whole_file(folder / LAST, overwrite=True) as file:
        torch.save(state, file)


def read_checkpoint(
    folder: Path, settings: FineTune, model: nn.Module, optimiser: torch.optim.Optimizer
) -> Progress:
    """Returns how far the run in the folder is, its weights now in the model; 0 steps if none.

    How many images at a time is the fewer of what the settings say and what did fit before.

    Raises:
        ValueError: the folder holds a run with other settings, or a file that cannot be read.
    """
    path = folder / LAST
    at_a_time = settings.micro_batch or settings.batch
    if not os.path.lexists(path):
        _refuse_foreign_rest(folder)
        return Progress(micro_batch=at_a_time)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch raises many kinds for a damaged file
        raise ValueError(f"{path} is no checkpoint ({problem}): remove it to start anew") from None
    ours = settings.as_dict()
    try:
        known, reached = dict(state["settings"]), Progress(**state["progress"])
        groups, weights = state["optimiser"]["param_groups"], state["model"]
    except (KeyError, TypeError, ValueError) as problem:
        raise ValueError(
            f"{path} is no checkpoint of duokit ({problem!r}), and stays as it is: choose another "
            "folder, or move it away"
        ) from None
    theirs = before_its_time(known) | known
    other = [name for name in ours if theirs[name] != ours[name] and name not in FREE]
    if other:
        name = other[0]
        raise ValueError(
            f"{path} belongs to a run with {name} = {theirs[name]!r}, this one has "
            f"{ours[name]!r}: choose another folder, or remove it to start anew"
        )
    model.load_state_dict(weights)
    for group, saved in zip(optimiser.param_groups, groups, strict=True):
        saved["fused"] = group["fused"]  # a matter of the device, not of the run
    optimiser.load_state_dict(state["optimiser"])
    reached.micro_batch = min(reached.micro_batch, at_a_time)
    return reached


def _refuse_foreign_rest(folder: Path) -> None:
    """Raises FileExistsError if the folder has weights or a history that no run of ours left.

    A run that was stopped before its first checkpoint leaves weights, but no history.
    """
    best = folder / BEST
    if not (folder / SPLITS).is_file():
        refuse_foreign(folder, HISTORY, *([] if _made_here(best) else [BEST]))


def _made_here(path: Path) -> bool:
    """Returns whether a file of weights says that `write_best` wrote it."""
    try:
        with safe_open(path, framework="pt") as file:
            return MADE.items() <= (file.metadata() or {}).items()
    except (OSError, SafetensorError):
        return False


def write_best(folder: Path, model: nn.Module) -> None:
    """Returns nothing; puts the weights into the folder, in the place of the best before them."""
    state = {name: each.detach().cpu().contiguous() for name, each in model.state_dict().items()}
    write_whole(folder / BEST, save(state, MADE), overwrite=True)


def read_best(folder: Path, model: nn.Module) -> None:
    """Returns nothing; gives the model the best weights of the run in the folder.

    Raises:
        FileNotFoundError: no epoch has ended yet.
        RuntimeError: weights of another network.
    """
    model.load_state_dict(load_file(folder / BEST))


def write_history(folder: Path, progress: Progress) -> None:
    """Returns nothing; writes one line an epoch."""
    lines = "".join(json.dumps(row) + "\n" for row in progress.history)
    write_whole(folder / HISTORY, lines.encode(), overwrite=True)
