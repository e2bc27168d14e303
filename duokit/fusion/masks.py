"""Classes that are masked out: a logit so low that no image can be answered with that class.

Masks are written as any number from -1e4 to the lowest of a type. Such a number says "never"; taken
for a score it would swamp the spread of the real ones. So it is recognised, and its class counts
as absent from that image.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from duokit.checks import row_blocks

DEPTH = 25  # decibels: a mask lies at least 10 ** 2.5 = 316 below the highest logit of its image,
GAP = 10  # and 10 times as deep as any logit of the model that is none
DEEPEST = 3090  # decibels: above the largest float64


class Extent(NamedTuple):
    """How far one model's logits lie apart.

    Attributes:
        width: Largest difference between two logits of one image, masks left out.
        depth: How far below its image's highest logit a logit is a mask; infinite: there is none.
    """

    width: float
    depth: float


def extent(logits: torch.Tensor) -> Extent:
    """Return how far the logits of a model lie apart, and from where on one is a mask.

    The depths below the highest logit of each image are sorted, over all images, into steps of a
    decibel (a factor of 10 ** 0.1). Masked are those above the first empty stretch of a factor of
    10 that ends at 316 or more and has half a logit an image below it: a model's own logits lie
    closer together than that, as those above would matter at no weight at which the others do.

    Args:
        logits: (n, k) tensor, checked.
    """
    width = float((logits.amax(1).double() - logits.amin(1).double()).max())
    if width < 10 ** (DEPTH / 10):
        return Extent(width, np.inf)
    counts = torch.zeros(DEEPEST + 1, dtype=torch.int64)
    blocks = row_blocks(*logits.shape, entries=2**20)
    for rows in blocks:
        depths = _depth(logits[rows])
        steps = depths[depths > 0].clamp_(min=1).log10_().mul_(10).clamp_(max=DEEPEST)
        counts += torch.bincount(steps.long(), minlength=DEEPEST + 1).cpu()
    enough = counts.cumsum(0) >= len(logits) / 2
    for below, above in pairwise(counts.nonzero()[:, 0].tolist()):
        if above > below + GAP and above >= DEPTH and enough[below]:
            depth = float(10 ** ((below + 1 + above) / 20))  # the middle of the empty stretch
            within = (_depth(logits[rows]) for rows in blocks)
            return Extent(max(float(d[d < depth].max()) for d in within), depth)
    return Extent(width, np.inf)


def masked(members: Sequence[torch.Tensor], depths: Sequence[float]) -> torch.Tensor | None:
    """Return (b, k) whether a member masks the class, for a block of images; None: nothing is.

    Args:
        members: m tensors (b, k).
        depths: One a member, from `extent` of all images.
    """
    found = None
    for logits, depth in zip(members, depths, strict=True):
        if np.isfinite(depth):
            deep = _depth(logits) >= depth
            found = deep if found is None else found | deep
    return found


def check_labels_kept(
    members: Sequence[torch.Tensor], labels: torch.Tensor, depths: Sequence[float]
) -> None:
    """Raise ValueError if a member masks the class of an image's own label."""
    for j, (logits, depth) in enumerate(zip(members, depths, strict=True)):
        if not np.isfinite(depth):
            continue
        own = logits.gather(1, labels[:, None]).double()
        below = (logits.amax(1, keepdim=True).double() - own)[:, 0]
        wrong = (below >= depth).nonzero()
        if len(wrong):
            row = int(wrong[0, 0])
            raise ValueError(
                f"labels[{row}] is {int(labels[row])}, a class that members[{j}] masks out on this "
                f"image: its logit {float(own[row, 0]):.4g} lies {float(below[row]):.3g} below the "
                "highest. Leave the image out, or give the class a real logit"
            )


def _depth(logits: torch.Tensor) -> torch.Tensor:
    """Return how far each logit lies below the highest of its image, as float64."""
    z = logits.double()
    return z.amax(1, keepdim=True) - z
