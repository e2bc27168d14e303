"""What a duo answers: for each picture a class, the probabilities, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch


class Prediction(NamedTuple):
    """What a duo says about n pictures.

    Attributes:
        classes: (n,) int64, the class answered.
        probs: (n, k) float64, the softmax of the logits; float64, so that confidences close to 1
            still differ.
        confidence: (n,) float64 in 0..1, the probability of the class answered.
        logits: (n, k) float32, the weighted sum of the members' logits.
        ids: n names of the pictures.
        class_names: the k names, or None if the duo does not know them.
    """

    classes: np.ndarray
    probs: np.ndarray
    confidence: np.ndarray
    logits: np.ndarray
    ids: tuple[str, ...]
    class_names: tuple[str, ...] | None

    @classmethod
    def of(
        cls, logits: np.ndarray, ids: Sequence[str], class_names: tuple[str, ...] | None
    ) -> Prediction:
        """Returns the answers that these logits stand for.

        Args:
            logits: (n, k) float32, finite.
            ids: n names.
            class_names: k names, or None.
        """
        probs = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        classes = logits.argmax(axis=1)
        sure = probs[np.arange(len(probs)), classes]
        return cls(classes, probs, sure, logits, tuple(ids), class_names)

    @property
    def names(self) -> list[str]:
        """The name of the class answered, a picture each; its number if names are not known."""
        known = self.class_names
        return [str(row) if known is None else known[row] for row in self.classes]

    def table(self) -> pd.DataFrame:
        """Returns one row a picture, indexed by its id: the class answered and the confidence."""
        index = pd.Index(self.ids, name="picture")
        return pd.DataFrame({"class": self.names, "confidence": self.confidence}, index=index)


def check_finite(logits: np.ndarray, ids: Sequence[str]) -> None:
    """Returns nothing if all logits are numbers.

    Args:
        logits: (n, k).
        ids: n names of the pictures.

    Raises:
        ValueError: NaN or infinity; the text names the first picture.
    """
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(wrong):
        name = ids[wrong[0]]
        raise ValueError(f"the logits of picture {name} are not finite: did a member diverge?")
