"""A linear probe: softmax regression on the features of a frozen network, solved to the optimum."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from duokit.conversion import whole_numbers

# C of scikit-learn; strong to weak. Half decades: between neighbours val NLL changes by about 1 %.
STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0)
STRONGEST = 1e-8  # C: here the probe says little more than how frequent each class is
SEARCH_TOLERANCE = 1e-4  # largest entry of the gradient of the mean loss, while C is searched


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier of raw features: logits = features @ weight + bias.

    Attributes:
        weight: (d, k) float64.
        bias: (k,) float64.
        strength: C of the fit: the penalty is |weight of standardised features|^2 / (2 C), added
            to the NLL summed over the training images; larger means weaker.
        path: (C, val NLL) of all that were tried, strong to weak; empty if C was given.
        train_accuracy: share of the training images that it names right.
        train_nll: mean NLL on the training images, without the penalty.
        iterations: steps of the final fit.
        gradient: largest entry of the gradient of (NLL + penalty) / n at the result; 0 at the
            optimum.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    path: tuple[tuple[float, float], ...]
    train_accuracy: float
    train_nll: float
    iterations: int
    gradient: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Returns (n, k) float32 logits of (n, d) raw features, computed in float64."""
        scores: np.ndarray = features.astype(np.float64) @ self.weight + self.bias
        return scores.astype(np.float32)


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    val_features: np.ndarray | None = None,
    val_labels: np.ndarray | None = None,
    classes: int | None = None,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = 1e-5,
    max_iterations: int = 5000,
) -> Probe:
    """Returns the linear probe with the lowest val NLL among some strengths of its penalty.

    Features are standardised by the training images (a feature that never changes is left out).
    For each strength the penalised NLL, which is convex, is minimised by scikit-learn's L-BFGS, so
    no learning rate, no epochs and no seed have a part in it. Strengths are tried from strong to
    weak until val NLL has risen twice, and if the strongest penalty is best, stronger ones, down to
    C = 1e-8; the best is then fitted again in float64 to `tolerance`.
    Val here chooses a hyper-parameter and later fits the weights of a duo; the paper uses its
    validation set for both as well (arXiv 2505.18636, section 4).

    Args:
        features: (n, d) of the training images.
        labels: (n,) classes 0..k-1, all present.
        val_features: (m, d); needed unless one strength is given.
        val_labels: (m,).
        classes: k; the largest label plus one if not given.
        strengths: values of C to try, above 0.
        tolerance: largest entry of the gradient of the mean penalised NLL that counts as optimal.
        max_iterations: steps of one fit.

    Raises:
        ValueError: shapes that disagree, features that are not finite, a class without a training
            image, no val features, or strengths not above 0.
        RuntimeError: a fit that did not reach the optimum in `max_iterations` steps.
    """
    classes = int(np.max(labels)) + 1 if classes is None else classes
    labels = _checked(features, labels, classes, "training")
    absent = np.setdiff1d(np.arange(classes), labels)
    if len(absent):
        raise ValueError(f"class {absent[0]} has no training image ({len(absent)} such classes)")
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"strengths are {tuple(strengths)}; expected numbers above 0")
    mean, deviation = (
        features.mean(axis=0, dtype=np.float64),
        features.std(axis=0, dtype=np.float64),
    )
    scale = np.divide(1.0, deviation, where=deviation > 0, out=np.zeros_like(deviation))
    path: list[tuple[float, float]] = []
    strength = float(strengths[0])
    if len(strengths) > 1:
        if val_features is None or val_labels is None:
            raise ValueError("val_features and val_labels are needed to choose among strengths")
        val_labels = _checked(val_features, val_labels, classes, "val")
        scaled = [((part - mean) * scale).astype(np.float32) for part in (features, val_features)]
        path = _search(scaled, labels, val_labels, sorted(strengths), max_iterations)
        strength = min(path, key=lambda tried: tried[1])[0]
        _warn_at_edge(strength, path)
    return _final(
        (features - mean) * scale, labels, mean, scale, strength, path, tolerance, max_iterations
    )


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean negative log-likelihood, in nats, with sums in float64."""
    scores = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    return float(torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels)))


def _search(
    scaled: list[np.ndarray],
    labels: np.ndarray,
    val_labels: np.ndarray,
    strengths: Sequence[float],
    max_iterations: int,
) -> list[tuple[float, float]]:
    """Returns (strength, val NLL), sorted by strength, tried as `linear_probe` says."""
    path: list[tuple[float, float]] = []
    for strength in strengths:
        weight, bias, _ = _fit(scaled[0], labels, strength, SEARCH_TOLERANCE, max_iterations)
        path.append((float(strength), nll(scaled[1] @ weight + bias, val_labels)))
        if len(path) > 2 and path[-1][1] > path[-2][1] > path[-3][1]:
            break
    while path[0][1] <= min(found for _, found in path[1:]) and path[0][0] > STRONGEST:
        strength = path[0][0] / 10
        weight, bias, _ = _fit(scaled[0], labels, strength, SEARCH_TOLERANCE, max_iterations)
        path.insert(0, (strength, nll(scaled[1] @ weight + bias, val_labels)))
    return path


def _fit(
    scaled: np.ndarray, labels: np.ndarray, strength: float, tolerance: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns weight (d, k), bias (k,) and steps of one penalised fit."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    solver = LogisticRegression(C=strength, tol=tolerance, max_iter=max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            solver.fit(scaled, labels)
        except ConvergenceWarning as problem:
            raise RuntimeError(
                f"the linear probe with C = {strength:g} did not reach its optimum in "
                f"{max_iterations} steps ({str(problem).splitlines()[0]}): raise max_iterations, "
                "or leave the weakest strengths out"
            ) from problem
    weight, bias = solver.coef_.T, solver.intercept_
    if weight.shape[1] == 1:  # two classes: scikit-learn keeps the difference of their logits
        weight = np.hstack([-weight / 2, weight / 2])
        bias = np.concatenate([-bias / 2, bias / 2])
    return weight, bias, int(np.max(solver.n_iter_))


def _final(
    scaled: np.ndarray,
    labels: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    strength: float,
    path: list[tuple[float, float]],
    tolerance: float,
    max_iterations: int,
) -> Probe:
    weight, bias, steps = _fit(scaled, labels, strength, tolerance, max_iterations)
    scores = scaled @ weight + bias
    error = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    error[np.arange(len(labels)), labels] -= 1
    # scikit-learn penalises the one vector of a two-class fit, which is twice a column here.
    penalty = weight * (2 if weight.shape[1] == 2 else 1) / strength
    gradient = (scaled.T @ error + penalty) / len(labels)
    raw = weight * scale[:, None]
    return Probe(
        weight=raw,
        bias=bias - mean @ raw,
        strength=strength,
        path=tuple(path),
        train_accuracy=float((scores.argmax(axis=1) == labels).mean()),
        train_nll=nll(scores, labels),
        iterations=steps,
        gradient=float(max(abs(gradient).max(), abs(error.mean(axis=0)).max())),
    )


def _checked(features: np.ndarray, labels: np.ndarray, classes: int, what: str) -> np.ndarray:
    numbers = whole_numbers(labels, f"{what} labels").astype(np.int64)
    if features.ndim != 2 or numbers.shape != features.shape[:1]:
        raise ValueError(
            f"{what} features have shape {features.shape} and labels {numbers.shape}; expected "
            "(n, d) and (n,)"
        )
    if not np.isfinite(features).all():
        raise ValueError(f"{what} features are not finite: did the network diverge?")
    if numbers.min() < 0 or numbers.max() >= classes:
        raise ValueError(
            f"{what} labels go from {numbers.min()} to {numbers.max()}; expected 0..{classes - 1}"
        )
    return numbers


def _warn_at_edge(strength: float, path: list[tuple[float, float]]) -> None:
    if strength == path[-1][0]:
        warnings.warn(
            f"the best strength, C = {strength:g}, is the weakest penalty of those tried (C from "
            f"{path[0][0]:g}): try others beyond it",
            stacklevel=3,
        )
