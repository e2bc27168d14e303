"""The explainers: one number a part, of any function that says what remains when parts go.

What is explained is a function of presence: z in [0, 1] for each part, 1 where the part is as it
was, 0 where it is replaced, and in between a mixture of both. So pictures (parts are regions) and
texts (parts are words) are explained by the same code. All five explainers are linear in the
function. captum does the work.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

Name = Literal["occlusion", "lime", "kernel_shap", "gradient_shap", "integrated_gradients"]
Presence = Callable[[torch.Tensor], torch.Tensor]
OPTIONS: dict[str, tuple[str, ...]] = {
    "occlusion": (),
    "lime": ("samples", "width", "penalty"),
    "kernel_shap": ("samples",),
    "gradient_shap": ("samples", "noise"),
    "integrated_gradients": ("samples",),
}
SAMPLES = {"lime": 200, "kernel_shap": 200, "gradient_shap": 20, "integrated_gradients": 20}
GRADIENTS = ("gradient_shap", "integrated_gradients")


@dataclass(frozen=True)
class Explainer:
    """How parts are given their numbers; an option counts only for the explainer that has it.

    Attributes:
        name: "occlusion", the output minus the output with this part replaced; "lime", slopes of a
            ridge regression on random halves of the parts, nearer ones weighing more;
            "kernel_shap", Shapley values by weighted regression; "integrated_gradients", mean
            gradient on the straight way from all parts replaced to none; "gradient_shap", the same
            at random places of the way, with noise. All but lime add up, about or exactly (not
            occlusion), to output(whole) - output(all replaced).
        samples: changed inputs (lime, kernel_shap), or places on the way (the two with gradients);
            None for 200 and 20.
        width: lime: width of the kernel exp(-d^2 / (2 width^2)), d = 1 - sqrt(share present), the
            cosine distance to the whole.
        penalty: lime: of the ridge regression, 0 or more.
        noise: gradient_shap: standard deviation added to each presence.

    Raises:
        ValueError: another name, or options out of range.

    Source: Ribeiro et al. 2016, arXiv 1602.04938 (width and penalty as in its authors' code);
        Lundberg and Lee 2017, arXiv 1705.07874; Sundararajan et al. 2017, arXiv 1703.01365.
    """

    name: Name = "occlusion"
    samples: int | None = None
    width: float = 0.25
    penalty: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in OPTIONS:
            raise ValueError(f"explainer is {self.name!r}; expected one of {', '.join(OPTIONS)}")
        if self.name == "occlusion":
            if self.samples is not None:
                raise ValueError("occlusion replaces each part once: leave samples out")
        elif self.samples is None:
            object.__setattr__(self, "samples", SAMPLES[self.name])
        if self.samples is not None and self.samples < 2:
            raise ValueError(f"samples is {self.samples}; expected 2 or more")
        if self.width <= 0 or self.penalty < 0 or self.noise < 0:
            raise ValueError(
                f"width is {self.width}, penalty {self.penalty}, noise {self.noise}; expected "
                "a width above 0 and the others 0 or more"
            )

    @property
    def gradients(self) -> bool:
        """Whether it needs gradients, so that a model given as probabilities alone will not do."""
        return self.name in GRADIENTS

    def passes(self, parts: int) -> int:
        """Returns how often the model is run for one input; with gradients also backward.

        A backward pass costs about two more.

        Args:
            parts: number of regions or words.
        """
        return parts + 1 if self.samples is None else self.samples

    def as_dict(self) -> dict[str, Any]:
        """Returns the explainer and its own options for a record."""
        return {"explainer": self.name} | {n: getattr(self, n) for n in OPTIONS[self.name]}


def attribute(
    function: Presence,
    parts: int,
    *,
    explainer: Explainer,
    seed: int = 0,
    batch: int = 32,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Returns (parts,) float32, one number a part, of a function of presence.

    Args:
        function: from presences (m, parts) float32 in [0, 1] to outputs (m,).
        parts: how many there are, 1 or more. With one part all explainers but lime give
            function(1) - function(0), and so does occlusion.
        explainer: how.
        seed: of the random changes, below 2^32. Global random states stay as they were.
        batch: presences at a time.
        device: where presences are made.

    Raises:
        ModuleNotFoundError: captum is not installed.
        ValueError: no part, a batch below 1, or outputs that are not finite.
    """
    if parts < 1 or batch < 1:
        raise ValueError(f"parts is {parts} and batch {batch}; expected 1 or more of both")
    _require_captum()
    present = torch.ones(1, parts, device=device)
    name = "occlusion" if explainer.name == "kernel_shap" and parts == 1 else explainer.name
    with _seeded(seed):
        found = _EXPLAINERS[name](_finite(function), present, explainer, seed, batch)
    values: np.ndarray = found.detach().reshape(parts).cpu().numpy().astype(np.float32)
    return values


def seed_of(seed: int, values: np.ndarray | bytes) -> int:
    """Returns a seed below 2^32 for one input, so that its map does not hang on its neighbours.

    Args:
        seed: of the whole run, 0 or more.
        values: the input.
    """
    own = zlib.crc32(values if isinstance(values, bytes) else values.tobytes())
    return int(np.random.SeedSequence([seed, own]).generate_state(1)[0])


def _occlusion(
    function: Presence, present: torch.Tensor, _how: Explainer, _seed: int, batch: int
) -> torch.Tensor:
    from captum.attr import FeatureAblation

    found: torch.Tensor = FeatureAblation(function).attribute(
        present, baselines=0, perturbations_per_eval=batch
    )
    return found


def _lime(
    function: Presence, present: torch.Tensor, how: Explainer, seed: int, batch: int
) -> torch.Tensor:
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    def halves(*_: Any, **__: Any) -> Iterator[torch.Tensor]:
        draw = torch.Generator().manual_seed(seed)
        yield present.long()
        while True:
            yield (torch.rand(present.shape, generator=draw) < 0.5).long().to(present.device)

    def nearness(_whole: Any, _changed: Any, z: torch.Tensor, **_: Any) -> torch.Tensor:
        distance = 1 - z.float().mean().sqrt()
        return torch.exp(-(distance**2) / (2 * how.width**2))

    surrogate = SkLearnRidge(alpha=how.penalty)
    found: torch.Tensor = Lime(function, surrogate, nearness, halves).attribute(
        present, baselines=0, n_samples=how.samples, perturbations_per_eval=batch
    )
    return found


def _kernel_shap(
    function: Presence, present: torch.Tensor, how: Explainer, _seed: int, batch: int
) -> torch.Tensor:
    from captum.attr import KernelShap

    found: torch.Tensor = KernelShap(function).attribute(
        present, baselines=0, n_samples=how.samples, perturbations_per_eval=batch
    )
    return found


def _integrated_gradients(
    function: Presence, present: torch.Tensor, how: Explainer, _seed: int, batch: int
) -> torch.Tensor:
    from captum.attr import IntegratedGradients

    found: torch.Tensor = IntegratedGradients(function).attribute(
        present.requires_grad_(), baselines=0, n_steps=how.samples, internal_batch_size=batch
    )
    return found


def _gradient_shap(
    function: Presence, present: torch.Tensor, how: Explainer, _seed: int, batch: int
) -> torch.Tensor:
    from captum.attr import GradientShap

    method, samples = GradientShap(function), how.samples or 0
    absent, total = torch.zeros_like(present), torch.zeros_like(present)
    present.requires_grad_()
    for first in range(0, samples, batch):  # captum would run all samples at once
        now = min(batch, samples - first)
        found = method.attribute(present, absent, n_samples=now, stdevs=how.noise)
        total += now / samples * found.detach()
    return total


_EXPLAINERS: dict[str, Callable[[Presence, torch.Tensor, Explainer, int, int], torch.Tensor]] = {
    "occlusion": _occlusion,
    "lime": _lime,
    "kernel_shap": _kernel_shap,
    "gradient_shap": _gradient_shap,
    "integrated_gradients": _integrated_gradients,
}


def _finite(function: Presence) -> Presence:
    def checked(z: torch.Tensor) -> torch.Tensor:
        found = function(z)
        if not found.isfinite().all():
            raise ValueError("the model's outputs are not finite: did it diverge?")
        return found

    return checked


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators that captum draws from, and puts them back afterwards."""
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def _require_captum() -> None:
    try:
        import captum  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "explainers need captum: pip install 'duokit[trust]'", name="captum"
        ) from error
