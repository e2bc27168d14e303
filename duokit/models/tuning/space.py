"""What a sweep draws, how many times, and who keeps its trials going: read from a TOML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duokit.models.tuning.settings import read_toml

SEARCHERS = ("optuna", "ray", "random")


@dataclass(frozen=True)
class Space:
    """Where a sweep draws from: log-uniformly between two ends each, the paper's by default.

    Attributes:
        lr: ends of the largest learning rate.
        weight_decay: ends of the weight decay.
        seed: of the draws; draw number i depends on the seed and i alone.

    Raises:
        ValueError: ends out of order or range, or a negative seed.

    Source: arXiv 2505.18636, appendix A.2.
    """

    lr: tuple[float, float] = (1e-6, 3e-4)
    weight_decay: tuple[float, float] = (1e-8, 1e-5)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} goes from {low} to {high}; expected 0 < low <= high <= 1")
        if self.seed < 0:
            raise ValueError(f"the seed of the draws is {self.seed}; expected 0 or more")

    def draw(self, number: int) -> dict[str, float]:
        """Returns the values of one draw."""
        random = np.random.default_rng([self.seed, number])
        ends = {"lr": self.lr, "weight_decay": self.weight_decay}
        return {
            name: float(math.exp(random.uniform(math.log(low), math.log(high))))
            for name, (low, high) in ends.items()
        }


@dataclass(frozen=True)
class Search:
    """How a sweep is run. Trial number i has the same values whoever runs it.

    Attributes:
        trials: how many in all; 12 in the paper.
        space: what is drawn.
        prune: whether a trial ends early whose best score so far is below the median of what the
            complete trials had at the same epoch, once there are four of them.
        searcher: "optuna", one trial after the other, with a journal of Optuna's; "ray", trials
            side by side on a machine or a cluster; "random", one after the other and no package
            needed; None for Optuna, or random without it.
        cpus: processors of a trial of Ray's.
        gpus: GPUs of a trial of Ray's, 0.5 for two trials on one; None for one if there is any.

    Raises:
        ValueError: a value out of range, or an unknown searcher.
    """

    trials: int = 12
    space: Space = field(default_factory=Space)
    prune: bool = True
    searcher: str | None = None
    cpus: float = 1.0
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}; expected 1 or more")
        if self.searcher is not None and self.searcher not in SEARCHERS:
            raise ValueError(
                f"searcher is {self.searcher!r}; expected one of {', '.join(SEARCHERS)}"
            )
        if not self.cpus > 0:
            raise ValueError(f"cpus is {self.cpus}; expected more than 0")
        if self.gpus is not None and not self.gpus >= 0:
            raise ValueError(f"gpus is {self.gpus}; expected 0 or more")


def read_search(path: str | Path | None, **changes: Any) -> Search:
    """Returns how to sweep, from the table [sweep] of a settings file.

    Args:
        path: TOML file, the same that `read_settings` takes; None, or no such table, for defaults.
        **changes: values that come before those of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no TOML, a name that is not known, or a value out of range.
        TypeError: a value of another type.
    """
    table = {} if path is None else read_toml(path).get("sweep", {})
    try:
        if not isinstance(table, dict):
            raise TypeError(f"sweep is {table!r}; expected a table [sweep]")
        return _from_dict(table | changes)
    except (ValueError, TypeError) as problem:
        kind = TypeError if isinstance(problem, TypeError) else ValueError
        raise kind(str(problem) if path is None else f"{path}: {problem}") from problem


def _from_dict(values: Mapping[str, Any]) -> Search:
    for name, value in values.items():
        if name not in _CHECKS:
            raise ValueError(f"sweep.{name} is not known; expected some of {', '.join(_CHECKS)}")
        check, words = _CHECKS[name]
        if not check(value):
            raise TypeError(f"sweep.{name} is {value!r}; expected {words}")
    drawn: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in Space.__annotations__
    }
    rest = {name: value for name, value in values.items() if name not in Space.__annotations__}
    return Search(space=Space(**drawn), **rest)


def _whole(value: Any) -> bool:
    return type(value) is int


def _real(value: Any) -> bool:
    return type(value) in (int, float)


def _ends(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_real, value))


_CHECKS = {
    "trials": (_whole, "int"),
    "lr": (_ends, "[low, high]"),
    "weight_decay": (_ends, "[low, high]"),
    "seed": (_whole, "int"),
    "prune": (lambda value: type(value) is bool, "bool"),
    "searcher": (lambda value: type(value) is str, "str"),
    "cpus": (_real, "float"),
    "gpus": (_real, "float"),
}
