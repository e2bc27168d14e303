"""Last-layer Laplace: a network whose head is uncertain, as laplace-torch approximates it."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from duokit.checks import Array, check_labels

# Prior precisions to try: fifths of decades, as far as laplace-torch searches.
PRECISIONS = tuple(10 ** (step / 5) for step in range(-20, 21))
BATCH = 4096  # training images at a time; the sums are the same for all

Groups = Sequence[Sequence[torch.Tensor]]


@dataclass(frozen=True, eq=False)
class LastLayerLaplace:
    """A linear head whose weights have a Gaussian around them; what it says of features.

    Its precision is the Kronecker product of G and A / n, plus the prior precision: G is the sum
    over the n training images of diag(p) - p p^T, A that of features times features. The bias has
    a Gaussian of its own, with G alone.

    Attributes:
        head: the linear layer, in float64 on the CPU.
        precision: prior precision with the lowest val NLL.
        path: (prior precision, val NLL) of all that were tried, from low to high.
        head_nll: val NLL of the head itself, which a prior precision without bounds would give.
        eigenvalues: those of (G, A / n) for the weight and of (G,) for the bias, if there is one.
        eigenvectors: theirs, as columns.
    """

    head: nn.Linear
    precision: float
    path: tuple[tuple[float, float], ...]
    head_nll: float
    eigenvalues: Groups
    eigenvectors: Groups

    def log_probs(self, features: Array) -> np.ndarray:
        """Returns (n, k) float32 log-probabilities of (n, d) features.

        Each logit is divided by sqrt(1 + pi / 8 times its variance) before softmax: the probit
        approximation of the mean of the probabilities, for the linearised model. A record of these
        has kind="log_probs".

        Raises:
            TypeError: no array or tensor of floats.
            ValueError: not (n, d) for the d of the head, or not finite.
        """
        values = _checked(features, self.head, "features")
        with torch.no_grad():
            squares = (values @ self.eigenvectors[0][1]).square()
            variance = _variance(squares, self.eigenvalues, self.eigenvectors, self.precision)
            found: np.ndarray = _probit(self.head(values), variance).float().numpy()
        return found


def last_layer_laplace(
    features: Array,
    head: nn.Linear,
    *,
    val_features: Array,
    val_labels: Array,
    precisions: Sequence[float] = PRECISIONS,
) -> LastLayerLaplace:
    """Returns the last-layer Laplace approximation with the lowest val NLL among prior precisions.

    laplace-torch computes the Kronecker factors of the Gauss-Newton matrix. The variances of the
    logits, which it takes from a Jacobian of k^2 d numbers an image, are computed here from the
    same factors in a closed form. The labels of the training images have no part in either: the
    Gauss-Newton matrix of softmax depends on its probabilities alone. Val here chooses a
    hyper-parameter and later fits the weights of a duo, as for `linear_probe`.

    Args:
        features: (n, d) of the training images, without augmentation; `features` gives them.
        head: the trained linear layer with d inputs and k outputs; it is left as it is.
        val_features: (m, d).
        val_labels: (m,) classes 0..k-1.
        precisions: prior precisions to try, above 0: weight decay on the NLL summed over images.

    Raises:
        ModuleNotFoundError: laplace-torch is not installed.
        TypeError: features that are no array or tensor of floats, labels that are no integers.
        ValueError: shapes that do not fit the head, values that are not finite, labels out of
            range, precisions that are not above 0.

    Source: arXiv 2106.14806; the paper's baseline (arXiv 2505.18636, section 4) has the same
    structure, prior search and probit, on augmented training images.
    """
    if not precisions or min(precisions) <= 0:
        raise ValueError(f"precisions are {tuple(precisions)}; expected numbers above 0")
    own = copy.deepcopy(head).to("cpu", torch.float64).requires_grad_(True)
    train = _checked(features, own, "features")
    val = _checked(val_features, own, "val_features")
    labels = check_labels(val_labels, len(val), own.out_features, "val_labels").cpu()
    values, vectors = _factors(train, own)
    own.requires_grad_(False)
    logits, squares = own(val), (val @ vectors[0][1]).square()
    path = []
    for precision in sorted(float(each) for each in precisions):
        found = _probit(logits, _variance(squares, values, vectors, precision))
        path.append((precision, float(functional.nll_loss(found, labels))))
    best = min(path, key=lambda tried: tried[1])[0]
    if len(path) > 1 and best in (path[0][0], path[-1][0]):
        warnings.warn(
            f"the best prior precision, {best:g}, is at the edge of those tried "
            f"({path[0][0]:g} to {path[-1][0]:g}): try others beyond it; if the highest is best, "
            "certainty about the head is",
            stacklevel=2,
        )
    head_nll = float(functional.cross_entropy(logits, labels))
    return LastLayerLaplace(own, best, tuple(path), head_nll, values, vectors)


def _factors(features: torch.Tensor, head: nn.Linear) -> tuple[Groups, Groups]:
    """Returns eigenvalues and eigenvectors of the Kronecker factors, for weight and bias."""
    try:
        from laplace import Laplace
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"last-layer Laplace needs laplace-torch ({error}): pip install duokit[laplace]"
        ) from error
    posterior: Any = Laplace(
        nn.Sequential(head),
        "classification",
        subset_of_weights="last_layer",
        hessian_structure="kron",
        last_layer_name="0",
    )
    unused = torch.zeros(len(features), dtype=torch.int64)
    # A generator of its own: a loader draws a number even where nothing is shuffled.
    loader = DataLoader(
        TensorDataset(features, unused), batch_size=BATCH, generator=torch.Generator()
    )
    posterior.fit(loader)
    factors = posterior.H
    return factors.eigenvalues, factors.eigenvectors  # none below 0: laplace-torch sees to that


def _variance(
    squares: torch.Tensor, eigenvalues: Groups, eigenvectors: Groups, precision: float
) -> torch.Tensor:
    """Returns the (n, k) variance of each logit, from squared features in A's eigenvectors."""
    of_classes, of_features = eigenvalues[0]
    along = squares @ (1 / (torch.outer(of_features, of_classes) + precision))
    variance = along @ eigenvectors[0][0].square().T
    if len(eigenvalues) > 1:
        variance = variance + eigenvectors[1][0].square() @ (1 / (eigenvalues[1][0] + precision))
    return variance


def _probit(logits: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    return (logits / (1 + math.pi / 8 * variance).sqrt()).log_softmax(1)


def _checked(features: Array, head: nn.Linear, name: str) -> torch.Tensor:
    tensor = features if isinstance(features, torch.Tensor) else torch.tensor(np.asarray(features))
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be an array or a tensor of floats, not {tensor.dtype}")
    if tensor.ndim != 2 or not len(tensor) or tensor.shape[1] != head.in_features:
        raise ValueError(
            f"{name} must have shape (images, {head.in_features}), as the head wants, not "
            f"{tuple(tensor.shape)}"
        )
    if not tensor.isfinite().all():
        raise ValueError(f"{name} are not finite: did the network diverge?")
    return tensor.detach().cpu().double()
