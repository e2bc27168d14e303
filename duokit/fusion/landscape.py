"""The NLL over the two weights of a duo, as a grid that can be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from duokit.checks import Array, check_labelled
from duokit.fusion.masks import check_labels_kept, extent, masked


@dataclass(frozen=True)
class Landscape:
    """The NLL on a grid of weights.

    Attributes:
        large: (a,) weights of the large model.
        small: (b,) weights of the small model.
        nll: (b, a) mean NLL in nats.
    """

    large: np.ndarray
    small: np.ndarray
    nll: np.ndarray


def nll_landscape(
    large: Array,
    small: Array,
    labels: Array | Sequence[int],
    *,
    up_to: tuple[float, float],
    points: int = 31,
    images: int = 2000,
) -> Landscape:
    """Return the mean NLL of the duo on an even grid of weights from 0 to `up_to`.

    The side of a model without weight (0 in `up_to`) is as long as the other's, both in units of
    1 / the standard deviation of the model's logits over the classes.

    Classes that a member masks out on an image are left out of it, as `fit_weights` does.

    Args:
        large: (n, k) logits of the large model.
        small: (n, k) logits of the small model, same images in the same order.
        labels: (n,) class numbers 0 ... k - 1.
        up_to: Largest weight of the large and of the small model, finite and not negative.
        points: Grid points along each side, at least 2.
        images: At most about this many evenly spaced images are used.

    Raises:
        TypeError, ValueError: Logits or labels as for `fit_weights`; a grid that is empty.
    """
    members, target = check_labelled([large, small], labels)
    if not 0 <= min(up_to) <= max(up_to) < np.inf or points < 2 or images < 1:
        raise ValueError(
            f"a grid needs up_to >= 0, points >= 2 and images >= 1, not up_to={up_to}, "
            f"points={points}, images={images}"
        )
    depths = [extent(z).depth for z in members]
    check_labels_kept(members, target, depths)
    stride = -(-len(target) // images)
    members, target = [z[::stride] for z in members], target[::stride]
    never = masked(members, depths)
    if never is not None:
        members = [z.masked_fill(never, 0) for z in members]
    a, b = (z.float() for z in members)

    def at(x: float, y: float) -> float:
        fused = x * a + y * b
        if never is not None:
            fused.masked_fill_(never, -np.inf)
        return float(cross_entropy(fused, target))

    axes = [np.linspace(0, end, points) for end in _ends(up_to, (a, b))]
    nll = [[at(x, y) for x in axes[0]] for y in axes[1]]
    return Landscape(axes[0], axes[1], np.array(nll))


def _ends(up_to: tuple[float, float], members: tuple[Tensor, Tensor]) -> list[float]:
    """Return how far each side runs, above 0."""
    spreads = [float(z.double().std(dim=1, correction=0).mean()) or 1.0 for z in members]
    reach = max(end * unit for end, unit in zip(up_to, spreads, strict=True)) or 1.0
    return [end or reach / unit for end, unit in zip(up_to, spreads, strict=True)]
