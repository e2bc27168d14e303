"""Attribution of pictures: which regions does an answer hang on? One number a region.

Regions are the same for every model (`duokit.trust.regions`), and with the same seed every model is
shown the very same changes. All explainers are linear in the output: a duo's map of its logits is
the weighted sum of its members' maps (`duokit.trust.maps.duo_maps`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from duokit.conversion import as_array
from duokit.trust.explainers import Explainer, Name, attribute, seed_of
from duokit.trust.regions import as_pictures, as_regions, replacement

Output = Literal["centred", "logits", "log_probs", "probs"]
OUTPUTS = ("centred", "logits", "log_probs", "probs")


def explain(
    model: nn.Module | Callable[[torch.Tensor], torch.Tensor],
    pictures: torch.Tensor | np.ndarray,
    targets: Sequence[int] | np.ndarray | torch.Tensor,
    *,
    explainer: Explainer | Name = "occlusion",
    regions: int | np.ndarray | torch.Tensor = 7,
    baseline: str | float = "blur",
    output: Output = "centred",
    seed: int = 0,
    batch: int = 32,
    progress: bool = False,
) -> np.ndarray:
    """Returns one number a region, (n, regions) float32: positive where it speaks for the class.

    A map depends on the model, its picture and the seed, not on the other pictures. NaN stands
    where a picture lacks a region. `batch` may change the last bits.

    Args:
        model: from base pictures (m, 3, side, side) float32 in [0, 1] to logits (m, k), in eval
            mode; such as a `View`, which resizes and normalises itself.
        pictures: (n, 3, side, side) base pictures, bytes, or floats in [0, 1]; their device is
            where it runs.
        targets: (n,) the class that is asked about, for each picture.
        explainer: how, or its name for the default options.
        regions: g for a grid of g x g cells, or whole numbers (side, side) or (n, side, side), the
            region of each pixel, such as superpixels.
        baseline: what replaces a region: "blur" (the picture at 4 x 4, smoothed), "mean" (its mean
            colour), or a grey in [0, 1].
        output: what is explained: "logits", the target's, as published; "centred", that minus the
            mean over classes, which no constant added to all logits changes; "log_probs"; "probs".
        seed: of the random changes; occlusion and integrated gradients have none.
        batch: changed pictures at a time.
        progress: whether to show a progress bar (on the error stream).

    Raises:
        ModuleNotFoundError: captum is not installed.
        TypeError, ValueError: pictures, targets, regions or options of another form; a model in
            training mode; outputs that are not finite.
    """
    how = Explainer(explainer) if isinstance(explainer, str) else explainer
    given = as_pictures(pictures)
    labels = _targets(targets, len(given))
    if output not in OUTPUTS:
        raise ValueError(f"output is {output!r}; expected one of {', '.join(OUTPUTS)}")
    if isinstance(model, nn.Module) and model.training:
        raise ValueError("the model is in training mode, where answers are random: call eval()")
    areas = as_regions(regions, len(given), given.shape[-1]).to(given.device)
    values = np.full((len(given), int(areas.max()) + 1), np.nan, dtype=np.float32)
    for row in tqdm(range(len(given)), desc=how.name, unit="picture", disable=not progress):
        area = areas[row if len(areas) > 1 else 0]
        there, place = area.unique(return_inverse=True)
        whole = given[row]
        without = replacement(whole, baseline)

        def of_presence(
            z: torch.Tensor,
            whole: torch.Tensor = whole,
            without: torch.Tensor = without,
            place: torch.Tensor = place,
            label: int = labels[row],
        ) -> torch.Tensor:
            mixed = without + z[:, place][:, None] * (whole - without)
            return _asked(model(mixed), label, output)

        values[row, there.cpu().numpy()] = attribute(
            of_presence, len(there), explainer=how, seed=seed_of(seed, whole.cpu().numpy()),
            batch=batch, device=given.device,
        )  # fmt: skip
    return values


def _asked(logits: torch.Tensor, label: int, output: str) -> torch.Tensor:
    """Returns (m,) what is asked of logits (m, k)."""
    if logits.ndim != 2 or not 0 <= label < logits.shape[1]:
        raise ValueError(
            f"the model gives outputs of shape {tuple(logits.shape)}, and class {label} is asked "
            "about; expected (pictures, classes) with that class among them"
        )
    if output == "centred":
        logits = logits - logits.mean(dim=1, keepdim=True)
    elif output == "log_probs":
        logits = logits.log_softmax(dim=1)
    elif output == "probs":
        logits = logits.softmax(dim=1)
    return logits[:, label]


def _targets(targets: Any, n: int) -> list[int]:
    """Returns n class numbers."""
    found = as_array(targets, "targets")
    if found.shape != (n,) or found.dtype.kind not in "iu":
        raise ValueError(
            f"targets have shape {found.shape} and type {found.dtype}; expected {n} whole numbers, "
            "one class a picture"
        )
    return [int(label) for label in found]
