"""How a trained network is asked: once, or by one of the baselines that need nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from duokit.models.baselines import (
    View,
    check_masks,
    mc_dropout,
    standard_views,
    test_time_augmentation,
)
from duokit.models.build import head
from duokit.models.cost import Cost
from duokit.models.inference import DecodedBatches, features, pick_device, predict
from duokit.models.last_layer import LastLayerLaplace, last_layer_laplace
from duokit.models.pixels import Pixels

BATCH = 32  # images at a time; dropout draws other masks for another number

OPTIONS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "mc_dropout": ("samples", "rate", "seed"),
    "views": ("flip", "shift"),
    "laplace": (),
}


@dataclass(frozen=True)
class Method:
    """How a trained network is asked; an option counts only for the method that has it.

    Attributes:
        name: "plain", the logits; "mc_dropout" and "views", the mean of the probabilities under
            dropout (`mc_dropout`) or over views (`test_time_augmentation`, `standard_views`);
            "laplace", last-layer Laplace (`last_layer_laplace`).
        samples: dropout masks, 1 or more.
        rate: share of the features dropped before the head, above 0 and below 1; None for the
            network's own dropout layers.
        seed: of the masks.
        flip: whether mirrored views are among the views.
        shift: pixels, at the network's resolution, that further views are moved by; 0 for none.

    Raises:
        ValueError: another name, options out of range, or views that are one picture as it is.
    """

    name: Literal["plain", "mc_dropout", "views", "laplace"] = "plain"
    samples: int = 30
    rate: float | None = None
    seed: int = 0
    flip: bool = True
    shift: int = 0

    def __post_init__(self) -> None:
        if self.name not in OPTIONS:
            raise ValueError(f"method is {self.name!r}; expected one of {', '.join(OPTIONS)}")
        check_masks(self.samples, self.rate)
        if self.name == "views" and len(self.views) == 1:
            raise ValueError(
                "views without a mirror and without a shift are the picture as it is: give a "
                "shift of 1 pixel or more, or use the method plain"
            )

    @property
    def kind(self) -> Literal["logits", "log_probs"]:
        """What a record of it holds."""
        return "logits" if self.name == "plain" else "log_probs"

    @property
    def views(self) -> tuple[View, ...]:
        """The views of a picture, if views are the method."""
        return standard_views(flip=self.flip, shift=self.shift)

    def as_dict(self) -> dict[str, Any]:
        """Returns the method and its own options for a record."""
        own = {name: getattr(self, name) for name in OPTIONS[self.name]}
        return {"method": self.name} | own

    def words(self) -> str:
        """Returns what is done, for a reader; empty for plain logits."""
        if self.name == "plain":
            return ""
        if self.name == "laplace":
            return "last-layer Laplace"
        if self.name == "views":
            how = ["mirrored"] * self.flip + [f"moved by {self.shift} px"] * (self.shift > 0)
            return f"mean of the probabilities over {len(self.views)} views ({', '.join(how)})"
        which = "own dropout layers" if self.rate is None else f"{self.rate:g} before the head"
        return f"mean of the probabilities over {self.samples} dropout masks ({which})"

    def flops(self, price: Cost) -> int:
        """Returns the multiply-adds spent on one image by a network of this cost.

        Views and own dropout run the network once each; dropout before the head repeats the head
        alone; the variances of Laplace, a product of features and a d x d matrix, are not counted.
        """
        if self.name == "views":
            return len(self.views) * price.flops
        if self.name != "mc_dropout":
            return price.flops
        if self.rate is None:
            return self.samples * price.flops
        return price.flops + (self.samples - 1) * price.head_flops


def answers(
    model: nn.Module,
    pixels: Pixels,
    rows: torch.Tensor,
    method: Method,
    *,
    laplace: LastLayerLaplace | None = None,
    device: str = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Returns what a network says of pictures, (n, k) float32: logits or log-probabilities.

    Args:
        model: trained; it is put in eval mode and moved to the device.
        pixels: decoded pictures.
        rows: (n,) which of them.
        method: how it is asked; `method.kind` says what comes back.
        laplace: what `fit_laplace` returned, for the method "laplace".
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show a progress bar (on the error stream).

    Raises:
        ValueError: as `predict`, `mc_dropout` and `test_time_augmentation`; no `laplace`.
    """
    if method.name == "plain":
        return predict(model, pixels, rows=rows.numpy(), device=device, progress=progress)
    if method.name == "laplace":
        if laplace is None:
            raise ValueError("the method laplace needs laplace=fit_laplace(...)")
        found = features(model, pixels, rows=rows.numpy(), device=device, progress=progress)
        return laplace.log_probs(found)
    model.eval().to(pick_device(device))
    decoded = DecodedBatches(pixels, rows.tolist(), BATCH)
    batches = tqdm(decoded, desc=method.name, unit="batch", disable=not progress)
    if method.name == "views":
        return test_time_augmentation(model, batches, method.views)
    return mc_dropout(model, batches, samples=method.samples, rate=method.rate, seed=method.seed)


def fit_laplace(
    model: nn.Module,
    pixels: Pixels,
    train: torch.Tensor,
    val: torch.Tensor,
    *,
    device: str = "auto",
    progress: bool = True,
) -> LastLayerLaplace:
    """Returns the last-layer Laplace approximation around the head of a trained network.

    Args:
        model: trained, with a linear head.
        pixels: decoded pictures with their labels.
        train: (n,) rows the network was trained on.
        val: (m,) rows that choose the prior precision.
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show a progress bar (on the error stream).

    Raises:
        ModuleNotFoundError: laplace-torch is not installed.
        ValueError: as `features` and `last_layer_laplace`.
    """
    both = torch.cat([train, val])
    found = features(model, pixels, rows=both.numpy(), device=device, progress=progress)
    return last_layer_laplace(
        found[: len(train)],
        head(model)[1],
        val_features=found[len(train) :],
        val_labels=pixels.labels[val],
    )
