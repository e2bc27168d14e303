"""From a data set and settings to records: linear probe, fine-tuning, logits of each part."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from duokit.images import ImageSet, Splits
from duokit.logits import Record, make_record
from duokit.models.build import build, head, set_head, weights_tag
from duokit.models.tuning.checkpoint import BEST, LAST
from duokit.models.cost import cost
from duokit.models.tuning.finetune import fine_tune
from duokit.models.inference import features, pick_device, predict
from duokit.models.linear import linear_probe, nll
from duokit.models.pixels import Pixels, decode
from duokit.models.records import Recipe, rounded
from duokit.models.tuning.settings import FineTune
from duokit.models.transforms import preprocessing


@dataclass(frozen=True, eq=False)
class Start:
    """What fine-tuning begins with.

    Attributes:
        model: pretrained, its head a linear probe if the settings say so.
        pixels: decoded pictures of all parts.
        rows: name of a part -> rows of pixels.
    """

    model: nn.Module
    pixels: Pixels
    rows: dict[str, torch.Tensor]


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
    if settings.probe and probe:
        probe_head(model, pixels, rows["train"], rows["val"], device=device, progress=progress)
    return Start(model, pixels, rows)


def tuned_records(
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    folder: Path,
    *,
    cache: Path | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    command: str = "",
    device: str = "auto",
    until: float | None = None,
    progress: bool = True,
) -> dict[str, Record]:
    """Returns one record a part but training, from a network fine-tuned on the training part.

    Linear probe first, if the settings say so: it is solved exactly, on features of the pretrained
    network in eval mode, so BatchNorm statistics stay frozen meanwhile. Then all weights.

    Args:
        image_set: pictures and labels.
        splits: must have parts "train" and "val".
        settings: how the network is fine-tuned.
        folder: where the run keeps its checkpoint and its best weights; a run found there goes on.
        cache: where decoded pictures are kept; in memory alone if not given.
        dtype: how logits are kept.
        command: the command to put into the records.
        device: "auto", "cpu", "cuda", "mps".
        until: when to stop with a checkpoint, as for `fine_tune`.
        progress: whether to show progress bars (on the error stream).

    Raises:
        TimeoutError: it is `until`; the same call goes on.
        ValueError: as `prepare` and `fine_tune`.
    """
    start = prepare(
        image_set, splits, settings, probe=not (folder / LAST).is_file(), cache=cache,
        device=device, progress=progress,
    )  # fmt: skip
    done = fine_tune(
        start.model, start.pixels, settings, train=start.rows["train"], val=start.rows["val"],
        folder=folder, device=device, until=until, progress=progress,
    )  # fmt: skip
    config = {
        "command": command,
        "method": "linear probe, then fine-tuned" if settings.probe else "fine-tuned",
        "best_epoch": done.best_epoch,
        "history": done.history,
        "micro_batch": done.micro_batch,
        "seconds": round(done.seconds),
        "checkpoint_sha256": hashlib.sha256((folder / BEST).read_bytes()).hexdigest(),
    }
    return network_records(
        start, image_set, splits, settings, config, dtype=dtype, device=device, progress=progress
    )


def network_records(
    start: Start,
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    config: dict[str, Any],
    *,
    dtype: Literal["float16", "float32"] = "float16",
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Record]:
    """Returns one record a part but training, from the network as it is now.

    Args:
        start: the network, now trained, and its pictures.
        image_set: pictures and labels.
        splits: the parts.
        settings: what the network was trained with.
        config: what the records say of its making, besides settings, machine, pictures and cost.
        dtype: how logits are kept.
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show progress bars (on the error stream).

    Raises:
        ValueError: logits that are not finite, or too large for `dtype`.
    """
    how = start.pixels.preprocessing
    price = cost(settings.model, how.resolution, image_set.classes)
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
    }
    records = {}
    for part, names in splits.parts.items():
        if part == "train":
            continue
        rows = start.rows[part]
        exact = predict(
            start.model, start.pixels, rows=rows.numpy(), device=device, progress=progress
        )
        labels = start.pixels.labels[rows].numpy()
        logits = rounded(exact, dtype)
        known = labels >= 0
        change = None
        if known.any():
            change = nll(logits[known], labels[known]) - nll(exact[known], labels[known])
        records[part] = make_record(
            logits,
            labels,
            names,
            model=settings.model,
            dataset=image_set.name,
            split=part,
            weights=weights_tag(settings.model, settings.source),
            resolution=how.resolution,
            split_checksum=splits.checksum,
            flops=price.flops,
            parameters=price.parameters,
            seed=settings.seed,
            class_names=image_set.class_names,
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
