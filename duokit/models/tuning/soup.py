"""Model soups: the mean of the weights of networks that were fine-tuned from one start."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

State = Mapping[str, torch.Tensor]

# Weights of two networks that started apart are about at right angles (cosines of -0.02 to 0.02 for
# a small convolutional net on the digits); from one start they were at 0.73 or more after training
# from scratch, 0.98 after fine-tuning.
LEAST_COSINE = 0.2


@dataclass(frozen=True)
class Taste:
    """What one ingredient did when it was tried.

    Attributes:
        ingredient: its place among the states.
        own_score: its own val score, as given.
        score: val metric of the soup with it.
        change: how much that is above the soup without it; 0 for the first.
        accepted: whether it stayed.
    """

    ingredient: int
    own_score: float
    score: float
    change: float
    accepted: bool


@dataclass(frozen=True, eq=False)
class Soup:
    """Averaged weights and how they were chosen.

    Attributes:
        state: entries for `load_state_dict`, on the CPU. BatchNorm statistics are averages:
            re-estimate them (`reestimate_batchnorm`) before use.
        chosen: places of the ingredients in it, in the order they were added.
        score: val metric of the soup; None where nothing was evaluated.
        path: what each ingredient did, in the order they were tried; empty for a uniform soup.
    """

    state: dict[str, torch.Tensor]
    chosen: tuple[int, ...]
    score: float | None
    path: tuple[Taste, ...]


def average(states: Sequence[State]) -> dict[str, torch.Tensor]:
    """Returns the mean of these states, on the CPU.

    Entries of floats are summed in float64 and come back in the first state's type; all others
    (integers, such as BatchNorm's count of batches) are the first state's.

    Args:
        states: what `state_dict()` returned, one or more. Each is read once, so a sequence that
            loads a file when it is asked for an item needs the memory of two.

    Raises:
        ValueError: no state, other keys or shapes than the first, or NaN; names state and key.
        TypeError: an entry that is of floats in one state and not in another, or complex.
    """
    mean = _Mean(states, 0)
    for place in range(1, len(states)):
        state = states[place]
        mean.check(state, place)
        mean.add(state)
    return mean.state()


def uniform_soup(
    states: Sequence[State],
    *,
    evaluate: Callable[[dict[str, torch.Tensor]], float] | None = None,
    least_cosine: float = LEAST_COSINE,
) -> Soup:
    """Returns the soup of all ingredients.

    Args:
        states: as for `average`.
        evaluate: gives the val metric of a state, higher is better; only reported.
        least_cosine: as for `greedy_soup`.

    Raises:
        ValueError: as `average`; an ingredient from another start; a metric that is not finite.
        TypeError: as `average`.

    Source: arXiv 2203.05482, section 2.
    """
    mean = _Mean(states, 0)
    for place in range(1, len(states)):
        state = states[place]
        mean.check(state, place)
        mean.check_start(state, place, least_cosine)
        mean.add(state)
    score = None if evaluate is None else _finite(evaluate(mean.state()), "the soup")
    return Soup(mean.state(), tuple(range(len(states))), score, ())


def greedy_soup(
    states: Sequence[State],
    scores: Sequence[float],
    evaluate: Callable[[dict[str, torch.Tensor]], float],
    *,
    least_cosine: float = LEAST_COSINE,
) -> Soup:
    """Returns the soup of the ingredients that do not lower the val metric, the best first.

    Ingredients are tried from the highest own score to the lowest (equal ones in their order); each
    stays if the val metric of the soup with it is at least that of the soup without it. The first
    is evaluated as well, so the soup is never below it by `evaluate`.

    Args:
        states: as for `average`; each is read once.
        scores: val metric of each ingredient alone, higher is better.
        evaluate: gives the val metric of a state: it loads it, re-estimates BatchNorm statistics
            on training images, and predicts val.
        least_cosine: smallest cosine between the weights of an ingredient and of the soup; below
            it they cannot come from one start. -1 accepts all.

    Raises:
        ValueError: as `average`; another number of scores than states; a score that is not finite;
            an ingredient from another start.
        TypeError: as `average`.

    Source: arXiv 2203.05482, algorithm 1.
    """
    if len(scores) != len(states):
        raise ValueError(f"there are {len(scores)} scores for {len(states)} states")
    own = [_finite(score, f"ingredient {place}") for place, score in enumerate(scores)]
    order = sorted(range(len(own)), key=lambda place: -own[place])
    first = order[0] if order else 0
    mean = _Mean(states, first)
    best = _finite(evaluate(mean.state()), f"ingredient {first}")
    path = [Taste(first, own[first], best, 0.0, True)]
    for place in order[1:]:
        state = states[place]
        mean.check(state, place)
        mean.check_start(state, place, least_cosine)
        score = _finite(evaluate(mean.state(state)), f"the soup with ingredient {place}")
        path.append(Taste(place, own[place], score, score - best, score >= best))
        if score >= best:
            best = score
            mean.add(state)
    chosen = tuple(taste.ingredient for taste in path if taste.accepted)
    return Soup(mean.state(), chosen, best, tuple(path))


def reestimate_batchnorm(model: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Returns how many BatchNorm layers got new running statistics: those of these images.

    Each running mean and variance becomes the average, over the images of all batches, of what
    their batch gave (PyTorch's cumulative average, momentum=None, where a smaller last batch counts
    for less). As there, the variance is that within the batches: use large ones. Everything but
    BatchNorm is in eval mode meanwhile, so no dropout; weights, integer buffers and all modes stay
    as they were. A network without running statistics is left alone, and no batch is read.

    Args:
        model: the network, changed in place.
        batches: training images (b, ...) without augmentation, as the network wants them.

    Raises:
        ValueError: no batch, or one of a single image, which has no variance.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
    if not layers:
        return 0
    modes = [(module, module.training) for module in model.modules()]
    kept = [(layer, layer.momentum, layer.num_batches_tracked) for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        # The forward pass counts in place: let it count in a copy.
        layer.num_batches_tracked = None if (n := layer.num_batches_tracked) is None else n.clone()
    seen, device = 0, next(model.buffers()).device
    try:
        for place, batch in enumerate(batches):
            if len(batch) < 2:
                raise ValueError(
                    f"batch {place} has {len(batch)} image: BatchNorm needs two or more for a "
                    "variance; drop it, or take another batch size"
                )
            seen += len(batch)
            for layer in layers:
                layer.momentum = len(batch) / seen
            with torch.no_grad():
                model(batch.to(device))
    finally:
        for layer, momentum, count in kept:
            layer.momentum, layer.num_batches_tracked = momentum, count
        for module, mode in modes:
            module.training = mode
    if not seen:
        raise ValueError("there is no batch of training images to estimate statistics from")
    return len(layers)


class _Mean:
    """A mean of states that grows by one at a time: sums in float64, whatever the order."""

    def __init__(self, states: Sequence[State], place: int) -> None:
        if len(states) == 0:
            raise ValueError("there are no states to average")
        self.place, self.count = place, 1
        self.first = {key: tensor.detach().cpu() for key, tensor in states[place].items()}
        self.check(self.first, place)
        self.sums = {
            key: tensor.to(torch.float64, copy=True)
            for key, tensor in self.first.items()
            if tensor.is_floating_point()
        }

    def add(self, state: State) -> None:
        for key, total in self.sums.items():
            total += _double(state[key])
        self.count += 1

    def state(self, extra: State | None = None) -> dict[str, torch.Tensor]:
        """Returns the mean, of a further state too if one is given."""
        found = {}
        for key, first in self.first.items():
            if key not in self.sums:
                found[key] = first.clone()
            elif extra is None:
                found[key] = (self.sums[key] / self.count).to(first.dtype)
            else:
                total = self.sums[key] + _double(extra[key])
                found[key] = (total / (self.count + 1)).to(first.dtype)
        return found

    def check(self, state: State, place: int) -> None:
        """Returns nothing; refuses a state that cannot be averaged with the first."""
        names = f"state {place} and state {self.place}"
        if differing := sorted(set(state) ^ set(self.first)):
            raise ValueError(
                f"{names} are of different architectures: only one has {differing[0]!r} "
                f"({len(differing)} such entries)"
            )
        for key, mine in self.first.items():
            tensor = state[key]
            if tensor.shape != mine.shape:
                raise ValueError(
                    f"{names} are of different architectures: {key!r} has shape "
                    f"{tuple(tensor.shape)} and {tuple(mine.shape)}"
                )
            if tensor.is_complex() or tensor.is_floating_point() != mine.is_floating_point():
                raise TypeError(
                    f"{names}: {key!r} is {tensor.dtype} and {mine.dtype}; expected both of real "
                    "floats, or none"
                )
            if tensor.is_floating_point() and tensor.isnan().any():
                raise ValueError(f"state {place}: {key!r} has NaN: did this run diverge?")

    def check_start(self, state: State, place: int, least: float) -> None:
        """Returns nothing; refuses a state whose weights have another direction than the mean."""
        dot = mine = other = 0.0
        for key, total in self.sums.items():
            if total.ndim > 1:  # scales and statistics of normalisation are alike in all networks
                values = _double(state[key])
                dot += float((total * values).sum())
                mine += float(total.square().sum())
                other += float(values.square().sum())
        if mine and other and (cosine := dot / math.sqrt(mine * other)) < least:
            raise ValueError(
                f"state {place} comes from another start than state {self.place}: the cosine of "
                f"their weights is {cosine:.3f}, below {least:g}. Fine-tune all ingredients "
                "from the same weights and the same head, or make an ensemble of these"
            )


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().to(torch.float64)


def _finite(score: float, what: str) -> float:
    if not math.isfinite(score):
        raise ValueError(f"the val metric of {what} is {score}: leave it out, or mend evaluate")
    return float(score)
