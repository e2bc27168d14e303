"""The cascade from cached logits: who answers what, at which threshold, with which weights.

    small alone on the images it is sure of; on the others both models run, so that their logits
    can be added at no further cost: there the duo may answer instead of the large model.

No network runs here. The large model's logits of the images that were kept are in the cache too;
what these answers never do is look at them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from duokit.cascade.deferral import DeferralCurve
from duokit.cascade.intervals import Outcome
from duokit.checks import Array, check_labelled, check_logits, check_members
from duokit.fusion.combine import weighted
from duokit.fusion.weights import WeightFit, fit_weights
from duokit.metrics.arrays import Flags, Floats
from duokit.metrics.scores import Scores, confidences, score

FittedOn = Literal["val", "deferred"]


def gate_uncertainty(small: Array, *, weight: float = 1.0) -> Floats:
    """Return (n,) the uncertainty by which the small model keeps or defers an image.

    1 - the largest probability, without rounding near 0. This is the published rule, by the
    probabilities as the model gives them (weight 1). With three or more classes another temperature
    can change the order, and so the curve.

    Args:
        small: (n, k) logits of the small model.
        weight: Multiplies them, > 0; 1 / temperature.

    Returns:
        Numbers in [0, 1 - 1 / k].

    Raises:
        ValueError: A weight that is not above 0, and as `duokit.metrics.scores.confidences`.
    """
    if not 0 < weight < np.inf:
        raise ValueError(f"weight is {weight}; it must be finite and above 0 to rank anything")
    z = check_logits(small)
    wide = z if z.dtype == torch.float64 else z.float()
    return confidences(weight * wide).uncertainty


@dataclass(frozen=True)
class Cascade:
    """A cascade of two models: a threshold, and the weights of whoever answers.

    Attributes:
        threshold: Defer where `gate_uncertainty` is above it.
        gate_weight: Multiplies the small model's logits at the gate.
        fitted_on: Which val images the two weights of deferred images come from: "val", all;
            "deferred", those that the threshold defers.
        large: The large model's own weight on all of val.
        small: The small model's.
        duo: The joint weights, large first, on all of val.
        large_deferred: The large model's weight where it answers deferred images.
        duo_deferred: The joint weights where the duo does.
        val_ratio: Share of val that is deferred.
    """

    threshold: float
    gate_weight: float
    fitted_on: FittedOn
    large: WeightFit
    small: WeightFit
    duo: WeightFit
    large_deferred: WeightFit
    duo_deferred: WeightFit
    val_ratio: float

    def deferred(self, small: Array) -> Flags:
        """Return (n,) True where an image is deferred.

        Args:
            small: (n, k) logits of the small model.
        """
        return gate_uncertainty(small, weight=self.gate_weight) > self.threshold

    def logits(self, large: Array, small: Array) -> dict[str, Array]:
        """Return the (n, k) logits of each answer, each at its temperature.

        Args:
            large: (n, k) logits of the large model.
            small: (n, k) of the small one, same images in the same order.

        Returns:
            "large", "small" and "duo", each on every image; "cascade" (small on kept images, large
            on deferred ones) and "cascaded duo" (small on kept images, the duo on deferred ones).

        Raises:
            ValueError: Shapes or devices that differ, NaN or infinity.
        """
        both = check_members([large, small])
        chosen = torch.from_numpy(self.deferred(small)).to(both[0].device)[:, None]
        pair = [large, small]
        found = {
            "large": weighted([large], self.large.weights),
            "small": weighted([small], self.small.weights),
            "duo": weighted(pair, self.duo.weights),
        }
        answers = {
            "cascade": weighted([large], self.large_deferred.weights),
            "cascaded duo": weighted(pair, self.duo_deferred.weights),
        }
        for name, answer in answers.items():
            if isinstance(answer, np.ndarray):
                found[name] = np.where(chosen.cpu().numpy(), answer, found["small"])
            else:
                found[name] = torch.where(chosen, answer, torch.as_tensor(found["small"]))
        return found

    def answers(
        self, large: Array, small: Array, labels: Array | Sequence[int]
    ) -> dict[str, Scores]:
        """Return the scores of each answer on labelled images; names as in `logits`.

        Convention: the confidence of a cascade is that of whoever answered, at its own temperature;
        ranking metrics compare the two scales. "large", "small" and "duo" always have the weights
        of all of val, as in `duokit.evaluation`.

        Args:
            large: (n, k) logits of the large model.
            small: (n, k) of the small one, same images in the same order.
            labels: (n,) integers 0 ... k - 1.

        Raises:
            ValueError: As `logits`, and a label that is no class.
        """
        _, y = check_labelled([large, small], labels)
        return {name: score(z, y) for name, z in self.logits(large, small).items()}

    def curves(
        self, large: Array, small: Array, labels: Array | Sequence[int]
    ) -> dict[str, DeferralCurve]:
        """Return the deferral curves of "cascade" and "cascaded duo", over all thresholds.

        The gate is the small model; deferred images are answered by the large model or by the duo
        with `duo_deferred`, the weights of this one threshold.

        Args:
            large: (n, k) logits of the large model.
            small: (n, k) of the small one, same images in the same order.
            labels: (n,) integers 0 ... k - 1.

        Raises:
            ValueError: As `answers`.
        """
        found = self.outcomes(large, small, labels)
        return {name: outcome.curve for name, outcome in found.items()}

    def outcomes(
        self,
        large: Array,
        small: Array,
        labels: Array | Sequence[int],
        *,
        flops: tuple[float, float] | None = None,
    ) -> dict[str, Outcome]:
        """Return who is right where, of "cascade" and "cascaded duo", for `cascade_intervals`.

        Args:
            large: (n, k) logits of the large model.
            small: (n, k) of the small one, same images in the same order.
            labels: (n,) integers 0 ... k - 1.
            flops: FLOPs an image of the small and the large model, if budgets are asked about.

        Raises:
            ValueError: As `answers`.
        """
        members, y = check_labelled([large, small], labels)
        duo = check_logits(weighted(members, self.duo_deferred.weights))
        right = [(z.argmax(1) == y).cpu().numpy() for z in (*members, duo)]
        gate = gate_uncertainty(small, weight=self.gate_weight)
        return {
            "cascade": Outcome(gate, right[1], right[0], flops),
            "cascaded duo": Outcome(gate, right[1], right[2], flops),
        }


def fit_cascade(
    large: Array,
    small: Array,
    labels: Array | Sequence[int],
    *,
    threshold: float,
    gate_weight: float = 1.0,
    fitted_on: FittedOn = "val",
) -> Cascade:
    """Return the cascade at a threshold, its weights fitted on val.

    Deferred images are the hard ones, and weights fitted on all of val are dominated by easy ones:
    with fitted_on="deferred" the weights used on deferred images are fitted on deferred images
    alone, at the price of fewer of them. To choose the threshold for the cascaded duo, fit at any
    threshold with fitted_on="val", whose weights do not depend on it, and take `curves` or its
    flags to `duokit.cascade.thresholds`.

    Args:
        large: (n, k) logits of the large model on val.
        small: (n, k) of the small one, same images in the same order.
        labels: (n,) integers 0 ... k - 1.
        threshold: Defer where `gate_uncertainty` is above it; minus infinity defers all.
        gate_weight: Multiplies the small model's logits at the gate, > 0.
        fitted_on: "val" or "deferred".

    Raises:
        TypeError: Logits that are not floats, labels that are not integers.
        ValueError: As `duokit.fusion.fit_weights`; a threshold that is NaN; "deferred" where
            nothing is deferred.
    """
    if fitted_on not in ("val", "deferred"):
        raise ValueError(f'fitted_on must be "val" or "deferred", not {fitted_on!r}')
    if np.isnan(threshold):
        raise ValueError("threshold is NaN: choose one with duokit.cascade.thresholds")
    members, y = check_labelled([large, small], labels)
    passed = gate_uncertainty(small, weight=gate_weight) > threshold
    fits = [fit_weights([z], y) for z in members]
    duo = fit_weights(members, y)
    alone, joint = fits[0], duo
    if fitted_on == "deferred":
        if not passed.any():
            raise ValueError(
                f"no val image has an uncertainty above {threshold}, so there is none to fit "
                'weights on: lower the threshold, or take fitted_on="val"'
            )
        at = torch.from_numpy(np.flatnonzero(passed)).to(y.device)
        hard = [z[at] for z in members]
        alone, joint = fit_weights(hard[:1], y[at]), fit_weights(hard, y[at])
    return Cascade(
        threshold=float(threshold),
        gate_weight=float(gate_weight),
        fitted_on=fitted_on,
        large=fits[0],
        small=fits[1],
        duo=duo,
        large_deferred=alone,
        duo_deferred=joint,
        val_ratio=float(passed.mean()),
    )
