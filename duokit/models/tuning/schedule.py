"""What happens at each training step, as a function of its number and the seed alone.

So a run that was killed goes on as if nothing had happened, and a step that failed can be named,
repeated or looked at: nothing depends on how often some generator was asked before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from duokit.models.tuning.augment import Draws, draw
from duokit.models.tuning.settings import FineTune

FIRST_RATE = 0.1  # of the largest learning rate, at the first step of the warm-up


@dataclass(frozen=True)
class Schedule:
    """The steps of a run.

    Attributes:
        images: number of training images.
        settings: how the network is fine-tuned.
    """

    images: int
    settings: FineTune

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch; the last one may have fewer images."""
        return math.ceil(self.images / self.settings.batch)

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.per_epoch * self.settings.epochs

    def rate(self, step: int) -> float:
        """Returns the learning rate: a straight line up to lr, then half a cosine down to 0."""
        rising = round(self.settings.warmup * self.steps)
        if step < rising:
            return self.settings.lr * (FIRST_RATE + (1 - FIRST_RATE) * step / rising)
        done = (step - rising) / max(1, self.steps - rising)
        return self.settings.lr * (1 + math.cos(math.pi * done)) / 2

    def places(self, step: int) -> torch.Tensor:
        """Returns the places, (m,) int64, of the step's images among the training images."""
        epoch, within = divmod(step, self.per_epoch)
        order = _order(self.images, self.settings.seed, epoch)
        return order[within * self.settings.batch : (within + 1) * self.settings.batch]

    def size(self, step: int) -> int:
        """Returns how many images the step has."""
        return len(self.places(step))

    def mine(self, step: int, rank: int, processes: int) -> torch.Tensor:
        """Returns which of the step's images, (m,) int64, a process computes: every so-manieth.

        A last, small batch may have none for it. Then it is the first one, which must not count.

        Args:
            step: number of the step.
            rank: number of the process, from 0.
            processes: how many there are.
        """
        size = self.size(step)
        none = torch.zeros(1, dtype=torch.int64)
        return torch.arange(rank, size, processes) if rank < size else none

    def draws(self, step: int) -> Draws:
        """Returns what the augmentation does to the images of the step."""
        return draw(
            self.size(step),
            rounds=self.settings.randaugment,
            flip=self.settings.flip,
            generator=torch.Generator().manual_seed(self.seed(step, stream=1)),
        )

    def seed(self, step: int, *, stream: int) -> int:
        """Returns the seed of one kind of randomness at a step.

        Args:
            step: number of the step.
            stream: 1 for the augmentation, 2 and more for what the network draws (dropout) on the
                first and each further process.
        """
        return _seed(self.settings.seed, stream, step)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@lru_cache(maxsize=4)
def _order(images: int, seed: int, epoch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(_seed(seed, 0, epoch))
    return torch.randperm(images, generator=generator)
