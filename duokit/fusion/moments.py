"""One pass over the logits: the NLL at some weights with its first and second derivatives."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from duokit.checks import BLOCK_ENTRIES, row_blocks
from duokit.fusion.masks import masked
from duokit.threads import in_threads

MEMORY = 2**27  # bytes that all blocks together may take


class Moments(NamedTuple):
    """The NLL at some weights with its first and second derivatives, all means over images."""

    nll: float
    gradient: np.ndarray  # (m,)
    hessian: np.ndarray  # (m, m)
    outer: np.ndarray  # (m, m) mean of gradient_i gradient_i^T over images i

    def per_unit(self, scale: np.ndarray) -> "Moments":
        """Return the moments with respect to weights that are measured in units of 1 / scale."""
        square = np.outer(scale, scale)
        return Moments(self.nll, self.gradient / scale, self.hessian / square, self.outer / square)


def moments(
    members: Sequence[torch.Tensor],
    labels: torch.Tensor,
    weights: np.ndarray,
    dtype: torch.dtype = torch.float64,
    depths: Sequence[float] | None = None,
) -> Moments:
    """Return the mean NLL at these weights with its gradient and Hessian, in one pass.

    With p the softmax of the weighted logits and x_jc = z_jc - z_j,label: the gradient is the mean
    of E_p[x_j], the Hessian the mean of the covariances Cov_p[x_j, x_l].

    Args:
        members: m tensors (n, k), checked (duokit.checks.check_members).
        labels: (n,) int64 tensor on the same device.
        weights: (m,) float64.
        dtype: Of the numbers of one image; float32 takes half the time (on most GPUs far less) and
            leaves relative errors near 1e-6. Sums over images are in float64 either way.
        depths: One a member, from `duokit.fusion.masks.extent`; a class that a member masks is left
            out of the image's sums. Default: no class is masked.
    """
    m, (rows, classes) = len(members), members[0].shape
    w = torch.as_tensor(weights, dtype=torch.float64)
    below = [np.inf] * m if depths is None else depths

    def block(part: slice) -> torch.Tensor:
        return _block_sums([z[part] for z in members], labels[part], w, dtype, below)

    if members[0].device.type == "cuda":
        parts = [block(part) for part in row_blocks(rows, classes, entries=2**23 // (m + 3))]
    else:
        entries = BLOCK_ENTRIES * 8 // dtype.itemsize
        blocks = row_blocks(rows, classes, entries=entries)
        needed = max(entries, classes) * (m + 3) * dtype.itemsize  # bytes of a block worked on
        parts = in_threads(lambda i: block(blocks[i]), len(blocks), most=min(8, MEMORY // needed))
    sums = torch.stack(parts).sum(0).cpu().numpy() / rows
    nll, gradient, second, outer = np.split(sums, [1, 1 + m, 1 + m + m * m])
    outer = outer.reshape(m, m)
    return Moments(float(nll[0]), gradient, second.reshape(m, m) - outer, outer)


def _block_sums(
    members: Sequence[torch.Tensor],
    labels: torch.Tensor,
    w: torch.Tensor,
    dtype: torch.dtype,
    depths: Sequence[float],
) -> torch.Tensor:
    """Return [sum of NLL, of E_p[x] (m), of E_p[x x^T] (m m), of E_p[x] E_p[x]^T (m m)]."""
    work = labels.device if labels.device.type == "cuda" else w.device  # MPS has no float64
    own = labels.to(work)[:, None]
    x = torch.empty(len(members), *members[0].shape, dtype=dtype, device=work)
    for row, z in zip(x, members, strict=True):
        z = z.to(work, torch.promote_types(z.dtype, dtype))  # halves would round the difference
        torch.sub(z, z.gather(1, own), out=row)
    never = masked(members, depths)
    if never is not None:
        x.masked_fill_(never.to(work), 0)
    fused = torch.tensordot(w.to(work, dtype), x, dims=1)
    if never is not None:
        fused.masked_fill_(never.to(work), -torch.inf)
    top = fused.amax(1, keepdim=True)
    p = fused.sub_(top).exp_()
    total = p.sum(1, keepdim=True)
    nll = (top.double() + total.double().log()).sum()
    p /= total
    expected = torch.einsum("mbk,bk->mb", x, p).double()  # each image's gradient
    x *= p.sqrt_()
    x = x.flatten(1)
    second = (x @ x.T).double()
    pieces = nll[None], expected.sum(1), second.flatten(), (expected @ expected.T).flatten()
    return torch.cat(pieces)
