"""A finished run on the disk: the best weights, and all that is needed to use them.

`best.safetensors` holds the weights, `splits.json` the parts of the data set, `run.json` the rest.
The last is written when training has ended, so a folder without it holds no finished run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from duokit.images import ImageSet, Splits, load_splits, save_splits
from duokit.logits.files import write_whole
from duokit.models.build import build, resolve
from duokit.models.transforms import Preprocessing
from duokit.models.tuning.checkpoint import (
    BEST,
    HISTORY,
    LAST,
    SPLITS,
    Progress,
    refuse_foreign,
)
from duokit.models.tuning.settings import FineTune, before_its_time, from_dict
from duokit.models.tuning.statistics import Choice

RUN = "run.json"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Run:
    """A network that was fine-tuned, with what it was made from.

    Attributes:
        model: with the best weights, in eval mode, on the CPU.
        settings: how it was fine-tuned.
        preprocessing: how pictures are prepared.
        dataset: name of the data set.
        class_names: k names, in the order of the outputs.
        splits: parts of the data set; it was trained on "train", and "val" chose the epoch.
        config: what the records of training say of it (method, history, checkpoint_sha256 ...).
    """

    model: nn.Module
    settings: FineTune
    preprocessing: Preprocessing
    dataset: str
    class_names: tuple[str, ...]
    splits: Splits
    config: dict[str, Any]

    @property
    def choice(self) -> Choice:
        """What became of BatchNorm's statistics; what goes on from this run does the same."""
        return Choice(self.config.get("batchnorm", self.settings.batchnorm))


def keep_splits(folder: Path, splits: Splits) -> None:
    """Returns nothing; puts the splits into the folder of a run that begins or goes on.

    They are the first file of a run: a folder without them in which one of the others lies is of
    another program.

    Raises:
        FileExistsError: the folder holds files that are not of a run of duokit.
        ValueError: the folder holds a run on other splits.
    """
    if not (folder / SPLITS).exists():
        refuse_foreign(folder, RUN, LAST, BEST, HISTORY)
    try:
        save_splits(splits, folder / SPLITS)
    except FileExistsError:
        raise ValueError(
            f"{folder} holds a run on other splits than these ({splits.protocol}): choose another "
            "folder, or remove it to start anew"
        ) from None


def config_of(
    folder: Path, settings: FineTune, done: Progress, *, command: str, **more: Any
) -> dict[str, Any]:
    """Returns what the records of a run say of its training.

    Args:
        folder: with the best weights.
        settings: how it was fine-tuned.
        done: what `fine_tune` returned.
        command: the command that makes the records.
        **more: further JSON values.
    """
    return {
        "command": command,
        "method": _method(settings),
        "best_epoch": done.best_epoch,
        "batchnorm": done.batchnorm,
        "trials": done.trials,
        "below_start": below_start(settings, done),
        "history": done.history,
        "micro_batch": done.micro_batch,
        "seconds": round(done.seconds),
        "checkpoint_sha256": hashlib.sha256((folder / BEST).read_bytes()).hexdigest(),
    } | more


def below_start(settings: FineTune, done: Progress) -> str | None:
    """Returns in a sentence that val got worse by training, and the likely cause; None if not.

    What counts is `settings.measure`. A Gatekeeper run is meant to give up some of it, and random
    weights know nothing: they have no such sentence.

    Args:
        settings: how it was fine-tuned.
        done: what `fine_tune` returned.
    """
    first, *later = done.history
    meant = settings.stage == "gatekeeper" or not settings.starts_trained
    if first["epoch"] or not later or meant:
        return None
    name = f"val_{settings.measure}"
    reached = later[-1] if settings.select == "last" else max(later, key=lambda row: row[name])
    if reached[name] >= first[name]:
        return None
    before = "its linear probe" if settings.probe else "what it began with"
    before = "the run that it goes on from" if settings.stage == "continued" else before
    kept = before if done.best_epoch == 0 else 'the last epoch, since select = "last",'
    return (
        f"fine-tuning ended below {before}: {settings.measure.replace('_', ' ')} on val went from "
        f"{first[name]:.4f} to {reached[name]:.4f} (epoch {reached['epoch']:.0f}); {kept} is kept; "
        f"likely cause: {_cause(done)}"
    )


def _cause(done: Progress) -> str:
    """Returns why val got worse, from what the training loss did."""
    before, *losses = (row["loss"] for row in done.history)
    if done.batchnorm == "train" and losses[0] > before:
        return (
            f"BatchNorm left the statistics that the head was fitted on (the training loss rose "
            f"from {before:.3g} to {losses[0]:.3g} in the first epoch): another batchnorm than "
            '"train", or many more epochs'
        )
    if losses[-1] < before:
        return (
            f"it learns the training pictures by heart (their loss went from {before:.3g} to "
            f"{losses[-1]:.3g}): fewer epochs, a smaller lr, or more pictures"
        )
    return (
        f"it had too few steps, or too long ones (the training loss went from {before:.3g} to "
        f"{losses[-1]:.3g}): more epochs, or a smaller lr"
    )


def _method(settings: FineTune) -> str:
    """Returns what was done to the network, in words."""
    how = "fine-tuned" if settings.source else "trained from random weights"
    how = f"linear probe, then {how}" if settings.probe else how
    if settings.stage == "gatekeeper":
        return f"{how}, then Gatekeeper with alpha {settings.alpha:g}"
    return {"continued": f"{how}, then further", "distilled": f"{how}, by a teacher"}.get(
        settings.stage, how
    )


def write_run(
    folder: Path,
    settings: FineTune,
    how: Preprocessing,
    image_set: ImageSet,
    splits: Splits,
    config: dict[str, Any],
) -> None:
    """Returns nothing; marks the run in the folder as finished, in one step.

    Args:
        folder: with the best weights and the splits.
        settings: how it was fine-tuned.
        how: how pictures are prepared.
        image_set: the data set; its name and its classes are kept.
        splits: parts of the data set.
        config: JSON values; "checkpoint_sha256" is the digest of the file of weights.
    """
    content = {
        "format": FORMAT,
        "settings": settings.as_dict(),
        "preprocessing": asdict(how),
        "dataset": image_set.name,
        "class_names": image_set.class_names,
        "split_checksum": splits.checksum,
        "protocol": splits.protocol,
        "config": config,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(folder / RUN, text.encode(), overwrite=True)


def load_run(folder: str | Path) -> Run:
    """Returns the finished run in a folder, its weights verified.

    Raises:
        FileNotFoundError: no finished run, or one whose weights or splits are missing.
        ValueError: weights that were changed since, or belong to another network or number of
            classes; other splits; a file that cannot be read.
    """
    folder = Path(folder)
    for name in (RUN, BEST, SPLITS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished run ({name} is missing): give the folder of a run of "
                "duokit finetune that came to its end; the same command goes on with one that "
                "did not"
            )
    content = _content(folder / RUN)
    settings, names, config = (content[name] for name in ("settings", "class_names", "config"))
    splits = load_splits(folder / SPLITS)
    if splits.checksum != content["split_checksum"]:
        raise ValueError(f"{folder / SPLITS} does not hold the splits of this run: copy it again")
    state = _verified(folder / BEST, config["checkpoint_sha256"])
    library, bare = resolve(settings.model, settings.source)
    model = build(
        f"{library}:{bare}", classes=len(names), pretrained=None, resolution=settings.resolution
    )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{folder / BEST} does not fit {settings.model} with {len(names)} classes "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    how, dataset = content["preprocessing"], content["dataset"]
    return Run(model, settings, how, dataset, tuple(names), splits, config)


def _content(path: Path) -> dict[str, Any]:
    """Returns what run.json holds, the settings checked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this duokit reads {FORMAT}")
        found = {name: content[name] for name in ("dataset", "class_names", "split_checksum")}
        config, how = dict(content["config"]), content["preprocessing"]
        how |= {name: tuple(how[name]) for name in ("mean", "std")}
        return found | {
            "settings": from_dict(before_its_time(content["settings"]) | content["settings"]),
            "preprocessing": Preprocessing(**how),
            "config": config | {"checkpoint_sha256": str(config["checkpoint_sha256"])},
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} does not describe a run ({error!r})") from error


def _verified(path: Path, digest: str) -> dict[str, torch.Tensor]:
    """Returns the weights in a file that has this SHA-256."""
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != digest:
        raise ValueError(
            f"{path} was changed or damaged: its SHA-256 is {found[:12]}..., the run's was "
            f"{digest[:12]}...; copy it again, or train again in another folder"
        )
    try:
        return load(raw)
    except SafetensorError as error:
        raise ValueError(f"{path} holds no weights ({error})") from error
