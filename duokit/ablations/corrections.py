"""Richer ways to combine on the same val images: small corrections of the plain one, kept small.

Each way starts from what one or two weights give and adds parameters that are 0 for "no change".
They are fitted with a ridge whose strength five-fold cross-validation chooses; "no change" is among
its choices. So a way that only fits noise falls back to the plain one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from duokit.fusion.weights import fit_weights
from duokit.logits.record import Record, same_images

RIDGES = (1e-2, 1e-1, 1.0, math.inf)
FOLDS = 5
STEPS = 60  # of L-BFGS

Parts = list[torch.Tensor]
Forward = Callable[[Parts, Parts], torch.Tensor]


@dataclass(frozen=True)
class Correction:
    """A fitted way to combine.

    Attributes:
        logits: (n, k) on test.
        ridge: The strength that was chosen; infinite: no change.
        parameters: How many numbers were fitted on val, the plain weights among them.
    """

    logits: np.ndarray
    ridge: float
    parameters: int


def vector_scaling(val: Sequence[Record], test: Sequence[Record], *, seed: int = 0) -> Correction:
    """Return the first record with a weight and an offset for each class.

    Args:
        val: Records of one model on val; further ones are ignored.
        test: The same on test.
        seed: Of the folds.

    Raises:
        ValueError: Records of other images.

    Source: Guo et al. 2017, arXiv 1706.04599.
    """
    plain = fit_weights([val[0].logits], val[0].labels).weights
    k = val[0].logits.shape[1]

    def forward(values: Parts, inputs: Parts) -> torch.Tensor:
        return inputs[0] * (1 + values[0]) + values[1]

    return _corrected(val[:1], test[:1], plain, [(k,), (k,)], forward, _scaled, seed=seed)


def stacking(val: Sequence[Record], test: Sequence[Record], *, seed: int = 0) -> Correction:
    """Return a linear map of all members' logits, near that of the duo.

    Args:
        val: Records of the members on val, the large model first.
        test: The same on test.
        seed: Of the folds.

    Raises:
        ValueError: Records of other images.

    Source: Wolpert 1992, stacked generalisation.
    """
    plain = fit_weights([r.logits for r in val], val[0].labels).weights
    k = val[0].logits.shape[1]

    def forward(values: Parts, inputs: Parts) -> torch.Tensor:
        return sum(inputs, start=torch.cat(inputs, 1) @ values[0] + values[1])

    return _corrected(val, test, plain, [(k * len(val), k), (k,)], forward, _scaled, seed=seed)


def dynamic(val: Sequence[Record], test: Sequence[Record], *, seed: int = 0) -> Correction:
    """Return a duo whose weights depend on the image, through what the members say of it.

    The logarithm of each weight is linear in five standardised features: log-odds of the top
    class and entropy of each member at its own temperature, and whether they agree. The released
    code's variant uses the networks' features, which logits records do not hold.

    Args:
        val: Records of the large model and the sidekick on val.
        test: The same on test.
        seed: Of the folds.

    Raises:
        ValueError: Records of other images, or not two members.
    """
    if len(val) != 2:
        raise ValueError(f"{len(val)} members given; input-dependent weights are made for two")
    plain = fit_weights([r.logits for r in val], val[0].labels).weights
    own = [fit_weights([r.logits], r.labels).weights[0] for r in val]
    reference = _features(
        [torch.from_numpy(w * r.logits.astype(float)) for w, r in zip(own, val, strict=True)]
    )
    middle, spread = reference.mean(0), reference.std(0).clamp(min=1e-9)

    def inputs(records: Sequence[Record], weights: np.ndarray) -> Parts:
        calibrated = [
            torch.from_numpy(w * r.logits.astype(float)) for w, r in zip(own, records, strict=True)
        ]
        return [(_features(calibrated) - middle) / spread, *_scaled(records, weights)]

    def forward(values: Parts, given: Parts) -> torch.Tensor:
        factors = (given[0] @ values[0] + values[1]).clamp(-3, 3).exp()
        return factors[:, :1] * given[1] + factors[:, 1:] * given[2]

    return _corrected(val, test, plain, [(5, 2), (2,)], forward, inputs, seed=seed)


def _features(calibrated: Parts) -> torch.Tensor:
    """Return (n, 5) features of two members' logits."""
    columns = []
    for z in calibrated:
        logs = torch.log_softmax(z, 1)
        top = logs.max(1).values
        columns += [
            (top - torch.log1p(-top.exp().clamp(max=1 - 1e-12))),
            -(logs.exp() * logs).sum(1),
        ]
    columns.append((calibrated[0].argmax(1) == calibrated[1].argmax(1)).double())
    return torch.stack(columns, 1)


def _scaled(records: Sequence[Record], weights: np.ndarray) -> Parts:
    return [
        torch.from_numpy(weight * record.logits.astype(np.float64))
        for weight, record in zip(weights, records, strict=True)
    ]


def _corrected(
    val: Sequence[Record],
    test: Sequence[Record],
    plain: np.ndarray,
    shapes: list[tuple[int, ...]],
    forward: Forward,
    inputs: Callable[[Sequence[Record], np.ndarray], Parts],
    *,
    seed: int,
) -> Correction:
    """Return the correction with the ridge that cross-validation likes best."""
    same_images(*val)
    same_images(*test)
    seen, labels = inputs(val, plain), torch.from_numpy(val[0].labels)
    fold = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    losses = {}
    for ridge in RIDGES:
        total = 0.0
        for number in range(FOLDS):
            inside, outside = (torch.from_numpy(rows) for rows in (fold != number, fold == number))
            values = _fit([x[inside] for x in seen], labels[inside], shapes, forward, ridge)
            held = forward(values, [x[outside] for x in seen])
            total += float(cross_entropy(held, labels[outside], reduction="sum"))
        losses[ridge] = total
    best = min(losses, key=lambda ridge: losses[ridge])
    values = _fit(seen, labels, shapes, forward, best)
    with torch.no_grad():
        logits = forward(values, inputs(test, plain)).numpy()
    fitted = sum(math.prod(shape) for shape in shapes) if best < math.inf else 0
    return Correction(logits, best, fitted + len(plain))


def _fit(
    seen: Parts, labels: torch.Tensor, shapes: list[tuple[int, ...]], forward: Forward, ridge: float
) -> Parts:
    values = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    if math.isinf(ridge):
        return values
    for value in values:
        value.requires_grad_()
    search = torch.optim.LBFGS(values, max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = cross_entropy(forward(values, seen), labels)
        loss = loss + ridge * sum(value.square().sum() for value in values)
        loss.backward()
        return loss

    search.step(closure)
    return [value.detach() for value in values]
