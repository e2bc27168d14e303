"""From a data set and settings to records: linear probe, fine-tuning, logits of each part."""

from __future__ import annotations

import copy
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from duokit.images import ImageSet, Splits
from duokit.logits import Record, make_record
from duokit.logits.rounding import rounded
from duokit.models.build import build, head, resolve, set_head, weights_tag
from duokit.models.cost import cost
from duokit.models.inference import features, pick_device, predict
from duokit.models.last_layer import LastLayerLaplace
from duokit.models.linear import linear_probe, nll
from duokit.models.pixels import Pixels, decode
from duokit.models.records import Recipe
from duokit.models.transforms import preprocessing
from duokit.models.tuning.checkpoint import LAST
from duokit.models.tuning.devices import pick_devices
from duokit.models.tuning.finetune import fine_tune, val_scores
from duokit.models.tuning.methods import Method, answers, fit_laplace
from duokit.models.tuning.objectives import objective
from duokit.models.tuning.run import Run, config_of, keep_splits, load_run, write_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.statistics import Choice, adapt_statistics, choose, keeps_statistics

PLAIN = Method()


@dataclass(frozen=True, eq=False)
class Start:
    """What fine-tuning begins with.

    Attributes:
        model: pretrained, its statistics and its head as the settings say.
        pixels: decoded pictures of all parts.
        rows: name of a part -> rows of pixels.
        choice: what becomes of BatchNorm's statistics; None where the network is to be replaced.
    """

    model: nn.Module
    pixels: Pixels
    rows: dict[str, torch.Tensor]
    choice: Choice | None = None


def prepare(
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    *,
    probe: bool = True,
    cache: Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Start:
    """Returns the decoded pictures and the network from which fine-tuning starts.

    With batchnorm = "auto" this is where it is chosen what becomes of BatchNorm's statistics, since
    the head is fitted on them (`duokit.models.tuning.statistics.choose`). Statistics of the
    training pictures are tried only if the probe on them knows val no worse than the plain one.

    Args:
        image_set: pictures and labels.
        splits: must have parts "train" and "val".
        settings: how the network is fine-tuned.
        probe: whether the head is needed: False for weights that are replaced anyway.
        cache: where decoded pictures are kept; in memory alone if not given.
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show progress bars (on the error stream).

    Raises:
        ValueError: parts that lack "train" or "val", or as `build` and `linear_probe`.
    """
    missing = {"train", "val"} - set(splits.parts)
    if missing:
        raise ValueError(f"the splits of {splits.dataset} have no part {sorted(missing)[0]!r}")
    how = preprocessing(settings.model, settings.resolution, pretrained=settings.source)
    ids = tuple(name for part in splits.parts.values() for name in part)
    pixels = decode(image_set, how, ids=ids, folder=cache, progress=progress)
    rows = {part: pixels.rows(names) for part, names in splits.parts.items()}
    model = build(
        settings.model,
        classes=image_set.classes,
        pretrained=settings.source,
        resolution=settings.resolution,
        seed=settings.seed,
    )
    start = Start(model, pixels, rows)
    return _with_statistics(start, settings, device, progress) if probe else start


def _with_statistics(start: Start, settings: FineTune, device: str, progress: bool) -> Start:
    """Returns the start with the statistics that the settings want, and a head fitted on them."""
    pixels, train, val = start.pixels, start.rows["train"], start.rows["val"]
    where: dict[str, Any] = {"device": device, "progress": progress}
    model = start.model.to(pick_device(device))
    if settings.batchnorm == "adapted":
        adapt_statistics(model, pixels, train)
    starts = {"frozen": model, "train": model}
    if settings.probe:
        probe_head(model, pixels, train, val, **where)
        if settings.batchnorm == "auto" and settings.source and keeps_statistics(model):
            other = copy.deepcopy(model)
            adapt_statistics(other, pixels, train)
            probe_head(other, pixels, train, val, **where)
            if _no_worse(other, model, pixels, val, device):
                starts |= {"adapted": other, "train": other}
    minimised = objective(settings.replace(stage="plain", alpha=None))  # a teacher comes later
    choice = choose(starts, pixels, train, settings, pick_devices(settings, device), minimised)
    return replace(start, model=starts.get(choice.batchnorm, model), choice=choice)


def _no_worse(
    model: nn.Module, than: nn.Module, pixels: Pixels, val: torch.Tensor, device: str
) -> bool:
    """Returns whether a network knows val at least as well as another, by accuracy and NLL."""
    labels = pixels.labels[val]
    mine, theirs = (
        val_scores(
            torch.from_numpy(
                predict(each, pixels, rows=val.numpy(), device=device, progress=False)
            ),
            labels,
        )
        for each in (model, than)
    )
    return mine["accuracy"] >= theirs["accuracy"] and mine["nll"] <= theirs["nll"]


def tuned_records(
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    folder: Path,
    *,
    cache: Path | None = None,
    builds_on: Path | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    command: str = "",
    device: str = "auto",
    until: float | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> dict[str, Record]:
    """Returns one record a part but training, from a network fine-tuned on the training part.

    Linear probe first, if the settings say so: it is solved exactly, on features of the pretrained
    network in eval mode, so BatchNorm statistics stay frozen meanwhile. Then all weights. The
    config of the records says what became of the statistics afterwards (`batchnorm`, and the
    losses it was chosen by in `trials`) and, if val got no better, why (`below_start`).

    Args:
        image_set: pictures and labels.
        splits: must have parts "train" and "val".
        settings: how the network is fine-tuned.
        folder: where the run keeps its checkpoint, its splits and its best weights, for `load_run`
            when it has ended; a run found there goes on.
        cache: where decoded pictures are kept; in memory alone if not given.
        builds_on: folder of the finished run that a stage other than "plain" needs.
        dtype: how logits are kept.
        command: the command to put into the records.
        device: "auto", "cpu", "cuda", "mps".
        until: when to stop with a checkpoint, as for `fine_tune`.
        progress: whether to show progress bars (on the error stream).
        tensorboard: whether the folder also gets curves, as for `fine_tune`.

    Raises:
        TimeoutError: it is `until`; the same call goes on.
        ValueError: as `prepare`, `on_top_of` and `fine_tune`; a folder that holds a run on other
            splits.
    """
    first = None if builds_on is None else load_run(builds_on)
    settings = on_top_of(first, settings, image_set, splits)
    keep_splits(folder, splits)
    where: dict[str, Any] = {"cache": cache, "device": device, "progress": progress}
    goes_on = settings.stage in ("continued", "gatekeeper") or (folder / LAST).is_file()
    start = prepare(image_set, splits, settings, probe=not goes_on, **where)
    teacher, choice = None, start.choice
    if first is not None and settings.stage == "distilled":
        teacher = _teacher(first, image_set, splits, start, **where)
    elif first is not None:
        start.model.load_state_dict(first.model.state_dict())
        choice = first.choice
    done = fine_tune(
        start.model, start.pixels, settings, train=start.rows["train"], val=start.rows["val"],
        folder=folder, teacher=teacher, choice=choice, device=device, until=until,
        progress=progress, tensorboard=tensorboard,
    )  # fmt: skip
    config = config_of(folder, settings, done, command=command)
    write_run(folder, settings, start.pixels.preprocessing, image_set, splits, config)
    return network_records(
        start, image_set, splits, settings, config, dtype=dtype, device=device, progress=progress
    )


def on_top_of(run: Run | None, settings: FineTune, image_set: ImageSet, splits: Splits) -> FineTune:
    """Returns the settings with the digest of the run that they build on.

    Args:
        run: finished, as `load_run` returns it; None for the stage "plain".
        settings: how a network is trained, settled.
        image_set: pictures and labels of the new run.
        splits: its parts.

    Raises:
        ValueError: a stage that needs a run and has none, or the other way round; a run on other
            classes or splits, whose training images might be ours to test on; one of another
            network or resolution that is to go on.
    """
    if (run is None) != (settings.stage == "plain"):
        raise ValueError(
            f"stage is {settings.stage}, and {'no' if run is None else 'a'} run to build on is "
            "given: gatekeeper, continued and distilled need the folder of a finished run"
        )
    if run is None:
        return settings.replace(builds_on=None)
    if run.class_names != tuple(image_set.class_names) or run.splits.checksum != splits.checksum:
        raise ValueError(
            f"the run to build on has other classes or splits ({run.dataset}, "
            f"{run.splits.protocol}) than these ({image_set.name}, {splits.protocol}): its "
            "training images may be test images here"
        )
    ours, theirs = ((each.model, each.resolution) for each in (settings, run.settings))
    if settings.stage != "distilled" and ours != theirs:
        raise ValueError(
            f"the run to go on with is {theirs[0]} at {theirs[1]} px, the settings say {ours[0]} "
            f"at {ours[1]} px"
        )
    return settings.replace(builds_on=run.config["checkpoint_sha256"])


def _teacher(
    run: Run,
    image_set: ImageSet,
    splits: Splits,
    start: Start,
    *,
    cache: Path | None,
    device: str,
    progress: bool,
) -> torch.Tensor:
    """Returns the teacher's logits of the training images, each seen once and as it is.

    (rows of start.pixels, k) float32; rows that are not trained on stay 0.
    """
    ids = tuple(name for part in splits.parts.values() for name in part)
    pixels = decode(image_set, run.preprocessing, ids=ids, folder=cache, progress=progress)
    seen = pixels.rows(splits.parts["train"])
    found = predict(run.model, pixels, rows=seen.numpy(), device=device, progress=progress)
    logits = torch.zeros(len(start.pixels.ids), found.shape[1])
    logits[start.rows["train"]] = torch.from_numpy(found)
    return logits


def network_records(
    start: Start,
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    config: dict[str, Any],
    *,
    method: Method = PLAIN,
    parts: Sequence[str] | None = None,
    laplace: LastLayerLaplace | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Record]:
    """Returns one record a part, from the network as it is now.

    The FLOPs of a record are those of the method, the cost in its config that of the network.

    Args:
        start: the network, now trained, and its pictures.
        image_set: pictures and labels.
        splits: the parts.
        settings: what the network was trained with.
        config: what the records say of its making, besides settings, machine, pictures and cost.
        method: how the network is asked.
        parts: which parts; all but "train" if not given.
        laplace: for the method "laplace"; fitted on the parts "train" and "val" if not given.
        dtype: how logits are kept.
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show progress bars (on the error stream).

    Raises:
        ValueError: logits that are not finite, or too large for `dtype`.
    """
    how = start.pixels.preprocessing
    name = ":".join(resolve(settings.model, settings.source))  # timm and torchvision share names
    price = cost(name, how.resolution, image_set.classes)
    gpu = pick_device(device).type == "cuda"
    config = config | {
        "settings": settings.as_dict(),
        "weights_sha256": Recipe(settings.model, how.resolution, settings.source).weights_sha256,
        "machine": torch.cuda.get_device_name() if gpu else f"CPU, {platform.machine()}",
        "preprocessing": how.as_dict(),
        "protocol": splits.protocol,
        "split_seed": splits.seed,
        "cost": asdict(price),
        "images": {"licence": image_set.licence, "source": image_set.source},
        "prediction": method.as_dict(),
    }
    where: dict[str, Any] = {"device": device, "progress": progress}
    if method.name == "laplace":
        fitted = (start.rows[part] for part in ("train", "val"))
        laplace = laplace or fit_laplace(start.model, start.pixels, *fitted, **where)
        config["prior_precision"] = laplace.precision
    records = {}
    for part in parts or [part for part in splits.parts if part != "train"]:
        rows = start.rows[part]
        exact = answers(start.model, start.pixels, rows, method, laplace=laplace, **where)
        labels = start.pixels.labels[rows].numpy()
        logits = rounded(exact, dtype)
        known = labels >= 0
        change = None
        if known.any():
            change = nll(logits[known], labels[known]) - nll(exact[known], labels[known])
        records[part] = make_record(
            logits,
            labels,
            splits.parts[part],
            model=settings.model,
            dataset=image_set.name,
            split=part,
            weights=weights_tag(settings.model, settings.source),
            resolution=how.resolution,
            split_checksum=splits.checksum,
            flops=method.flops(price),
            parameters=price.parameters,
            seed=settings.seed,
            class_names=image_set.class_names,
            kind=method.kind,
            config=config | {"nll_change_by_rounding": change},
        )
    return records


def probe_head(
    model: nn.Module,
    pixels: Pixels,
    train: torch.Tensor,
    val: torch.Tensor,
    *,
    device: str = "auto",
    progress: bool = True,
) -> float:
    """Returns the val NLL of the exact linear probe, which is now the head of the model.

    Args:
        model: pretrained, with a linear head for the classes of the labels.
        pixels: decoded pictures with their labels.
        train: (n,) rows to fit on.
        val: (m,) rows that choose the strength of the penalty.
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show a progress bar (on the error stream).

    Raises:
        ValueError: as `linear_probe`.
    """
    both = torch.cat([train, val])
    found = features(model, pixels, rows=both.numpy(), device=device, progress=progress)
    labels = pixels.labels[both].numpy()
    n = len(train)
    probe = linear_probe(
        found[:n],
        labels[:n],
        val_features=found[n:],
        val_labels=labels[n:],
        classes=head(model)[1].out_features,
    )
    set_head(model, probe.weight.astype(np.float32), probe.bias.astype(np.float32))
    return nll(probe.logits(found[n:]), labels[n:])
