"""The cascaded duo as one network: the small one sees every picture, the large one the unsure ones.

fast = CascadedDuo.of(duo, fit_cascade(large_val, small_val, labels, threshold=0.2))
fast.predict("pictures/").table()
fast.flops(0.3)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from duokit.cascade.cascaded import Cascade
from duokit.cascade.deferral import expected_flops
from duokit.models.cost import cost
from duokit.models.duo.file import read_cascade, write_duo
from duokit.models.duo.module import AsymmetricDuo, Weights
from duokit.models.duo.pictures import Images, Prepared
from duokit.models.duo.prediction import Prediction, check_finite
from duokit.models.inference import layout

Answer = Literal["duo", "large"]


class CascadedOutput(NamedTuple):
    """What one batch gives.

    Attributes:
        logits: (n, k) float32, of whoever answered.
        deferred: (n,) bool, on the CPU; True where the large network ran.
    """

    logits: torch.Tensor
    deferred: torch.Tensor


class CascadedPrediction(NamedTuple):
    """What a cascaded duo says about n pictures, and on which of them the large network ran.

    Attributes:
        prediction: the answers; each confidence is that of whoever answered.
        deferred: (n,) bool.
    """

    prediction: Prediction
    deferred: np.ndarray

    @property
    def ratio(self) -> float:
        """The share of the pictures that were deferred, in 0..1."""
        return float(self.deferred.mean())

    def table(self) -> pd.DataFrame:
        """Returns one row a picture, indexed by its id: class, confidence, deferred or not."""
        return self.prediction.table().assign(deferred=self.deferred)


class CascadedDuo(nn.Module):
    """A duo whose large network runs only where the small one is unsure.

    Where 1 - largest probability of the small network is above the threshold, the duo answers:
    logits = weights[0] * large + weights[1] * small. Elsewhere the small network does, at a weight
    of its own: logits = kept * small. With weights[1] = 0 the large network answers alone, and this
    is the plain cascade.

    Attributes:
        duo: both networks, with the weights of deferred pictures.
        threshold: a picture is deferred if the small network's uncertainty is above it.
        gate_weight: multiplies the small network's logits before that uncertainty is taken.
        kept: multiplies its logits where it answers.

    Source: arXiv 2502.19335 (the cascade), joined with arXiv 2505.18636, section 3.1 (the duo).
    """

    def __init__(
        self,
        duo: AsymmetricDuo,
        *,
        threshold: float,
        kept: float = 1.0,
        weights: Weights | None = None,
        gate_weight: float = 1.0,
    ) -> None:
        """Checks and keeps what it is given; networks are shared with the duo, not copied.

        Args:
            duo: both networks, and how each sees a picture.
            threshold: of the uncertainty, such as those of `duokit.cascade.thresholds`; minus
                infinity defers all, infinity none.
            kept: the small network's own weight, on pictures that are kept.
            weights: (2,) those of the duo on deferred pictures, the large one's first; the duo's
                own if not given.
            gate_weight: as for `duokit.cascade.gate_uncertainty`, above 0.

        Raises:
            ValueError: a threshold that is NaN, weights that are not finite, a gate weight that is
                not above 0; as `AsymmetricDuo`.
        """
        super().__init__()
        if np.isnan(threshold):
            raise ValueError("threshold is NaN: choose one with duokit.cascade.thresholds")
        if not np.isfinite(kept):
            raise ValueError(f"kept is {kept}; the small network's weight must be finite")
        if not 0 < gate_weight < np.inf:
            raise ValueError(f"gate_weight is {gate_weight}; it must be finite and above 0")
        self.duo = AsymmetricDuo(
            duo.large,
            duo.small,
            duo.weights if weights is None else weights,
            members=duo.members,
            classes=duo.classes,
            class_names=duo.class_names,
            concurrent=duo.concurrent,
        )
        # Plain floats: they are the same on every device, and half() does not round them.
        self.threshold, self.kept, self.gate_weight = map(float, (threshold, kept, gate_weight))

    @classmethod
    def of(cls, duo: AsymmetricDuo, cascade: Cascade, *, answer: Answer = "duo") -> CascadedDuo:
        """Returns the networks of a duo at the threshold and the weights of a cascade.

        It answers as `cascade.logits` does from the logits of the same networks.

        Args:
            duo: both networks; its own weights do not matter.
            cascade: what `fit_cascade` returned, from the val logits of these networks.
            answer: who answers deferred pictures: "duo" ("cascaded duo" there) or "large"
                ("cascade" there).

        Raises:
            ValueError: another answer.
        """
        if answer not in ("duo", "large"):
            raise ValueError(f'answer must be "duo" or "large", not {answer!r}')
        alone = [*cascade.large_deferred.weights, 0.0]
        return cls(
            duo,
            threshold=cascade.threshold,
            kept=float(cascade.small.weights[0]),
            weights=cascade.duo_deferred.weights if answer == "duo" else alone,
            gate_weight=cascade.gate_weight,
        )

    def forward(self, large_inputs: torch.Tensor, small_inputs: torch.Tensor) -> CascadedOutput:
        """Returns the logits of each picture, and where the large network ran.

        The small network runs on the whole batch, the large one on the deferred part of it, or not
        at all. In between the program waits for the device, since the size of that part is an
        answer of the small network.

        Args:
            large_inputs: (n, 3, height, width), n pictures prepared for the large network.
            small_inputs: the same n pictures, prepared for the small one.

        Raises:
            ValueError: other numbers of pictures or classes.
        """
        if large_inputs.shape[0] != small_inputs.shape[0]:
            raise ValueError(
                f"the large member was given {large_inputs.shape[0]} pictures, "
                f"the small one {small_inputs.shape[0]}"
            )
        small = self._run(1, small_inputs)
        logits, deferred = self._kept(small)
        rows = deferred.nonzero()[:, 0].to(large_inputs.device)
        if len(rows):
            whole = len(rows) == len(deferred)  # then nothing need be copied
            chosen = large_inputs if whole else large_inputs[rows]
            rows = rows.to(logits.device)
            logits = logits.index_copy(0, rows, self._passed(self._run(0, chosen), small[rows]))
        return CascadedOutput(logits, deferred)

    def predict(
        self,
        images: Images,
        *,
        rows: Sequence[int] | np.ndarray | None = None,
        batch: int = 32,
        workers: int = 0,
        progress: bool = False,
    ) -> CascadedPrediction:
        """Returns class, probabilities and confidence of each picture, and which were deferred.

        First the small network sees all pictures, then the large one the deferred ones, in full
        batches: these alone are opened a second time, and prepared for it. Otherwise as
        `AsymmetricDuo.predict`.

        Args:
            images: as for `AsymmetricDuo.predict`.
            rows: which of them, by number; all if not given.
            batch: pictures at a time.
            workers: processes that open and prepare pictures; 0 does it here.
            progress: whether to show progress bars (on the error stream).

        Raises:
            FileNotFoundError, TypeError, ValueError: as `AsymmetricDuo.predict`.
        """
        steps = [member.preprocessing.transform() for member in self.duo.members]
        prepared = Prepared(images, rows, [None, steps[1]])
        self.eval().to(memory_format=layout(self.duo.weights.device))  # type: ignore[call-overload]
        deal = partial(DataLoader, batch_size=batch, num_workers=workers)
        bar = partial(tqdm, unit="batch", disable=not progress)
        with torch.inference_mode():
            seen = [
                self._run(1, self.duo._placed(inputs)[1]).cpu()
                for inputs in bar(deal(prepared), desc="small")
            ]
            small = torch.cat(seen)
            logits, deferred = self._kept(small)
            passed = deferred.nonzero()[:, 0]
            prepared.transforms = [steps[0], None]
            later = deal(Subset(prepared, passed.tolist()))
            for place, inputs in enumerate(bar(later, desc="large")):
                at = passed[place * batch : (place + 1) * batch]
                large = self._run(0, self.duo._placed(inputs)[0])
                logits[at] = self._passed(large, small[at].to(large.device)).cpu()
        check_finite(logits.numpy(), prepared.ids)
        answers = Prediction.of(logits.numpy(), prepared.ids, self.duo.class_names)
        return CascadedPrediction(answers, deferred.numpy())

    def flops(self, ratio: float) -> float:
        """Returns the mean multiply-adds a picture, small + ratio * large.

        Args:
            ratio: share deferred, in 0..1.

        Raises:
            ValueError: a share outside.
        """
        large, small = (
            cost(each.model, each.preprocessing.resolution, self.duo.classes).flops
            for each in self.duo.members
        )
        return expected_flops(ratio, small=small, large=large)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Returns the path of the one safetensors file that now holds the cascaded duo.

        Args:
            path: file name; ".safetensors" is added if it has no suffix.
            overwrite: whether an existing file may be replaced.

        Raises:
            FileExistsError, ValueError: as `AsymmetricDuo.save`.
        """
        return write_duo(self.duo, path, overwrite=overwrite, cascade=self._settings())

    @classmethod
    def load(cls, path: str | Path) -> CascadedDuo:
        """Returns the cascaded duo in a file, on the CPU, in float32 and in eval mode.

        Args:
            path: what `save` wrote.

        Raises:
            FileNotFoundError, ValueError: as `AsymmetricDuo.load`; also a duo without a threshold.
        """
        duo, settings = read_cascade(Path(path), AsymmetricDuo)
        return cls(duo, **settings).eval()

    def extra_repr(self) -> str:
        """Returns what stands beside the duo when this is printed."""
        return ", ".join(f"{name}={value:g}" for name, value in self._settings().items())

    def _settings(self) -> dict[str, float]:
        names = ("threshold", "kept", "gate_weight")
        return {name: getattr(self, name) for name in names}

    def _run(self, place: int, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the outputs of one member, (n, k) float32."""
        network = (self.duo.large, self.duo.small)[place]
        return self.duo.checked(place, network(inputs)).float()

    def _kept(self, small: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (n, k) what the small network answers, and (n,) on the CPU whom it defers.

        The uncertainty is that of `gate_uncertainty` to the last bit, without its checks and
        threads, which would take 1 ms a batch.
        """
        z = self.gate_weight * small
        top, index = z.max(dim=1, keepdim=True)
        rest = (z - top).exp().scatter(1, index, 0.0).sum(1).cpu().double()
        total = 1 + rest
        uncertainty = torch.where(1 / total <= 0.5, 1 - 1 / total, rest / total)
        return self.kept * small, uncertainty > self.threshold

    def _passed(self, large: torch.Tensor, small: torch.Tensor) -> torch.Tensor:
        """Returns (m, k) what is answered on deferred pictures, from the outputs of both."""
        return self.duo.weights[0] * large + self.duo.weights[1] * small
