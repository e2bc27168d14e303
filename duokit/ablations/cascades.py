"""One after the other or both at once: what a cascade, its tuned small model and a duo are worth.

A run is one training of the small model, with everything that was made of it by going on: the
Gatekeeper loss at several alphas, and as many further epochs of plain training. All runs of a
benchmark share the large model, or, in a cross-validation, a run is a fold with its own.

FLOPs here are counted in units of the large model's: a small model of balance rho costs rho, the
large one 1, a duo 1 + rho, a cascade rho + the share deferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from duokit.cascade.cascaded import Cascade, FittedOn, fit_cascade, gate_uncertainty
from duokit.cascade.intervals import NAMES, Counted, Outcome
from duokit.cascade.thresholds import threshold_for_flops
from duokit.fusion.combine import weighted
from duokit.fusion.weights import fit_weights
from duokit.logits.record import Record, same_images
from duokit.logits.store import load_parts
from duokit.metrics.scores import score
from duokit.metrics.table import evaluate

Runs = Mapping[int, "CascadeRun"]
ALPHAS = (0.1, 0.3, 0.5, 0.7, 0.9)
UNTUNED, CONTINUED, TEMPERATURE = "untuned", "continued", " + temperature"
ALONE = ("small", "large", "duo")
ANSWERS = (*ALONE, "cascade", "cascaded duo")
BANDWIDTH, POINTS = 0.05, 201  # of the kernels behind s_o: a reproduction's, on a coarser grid


@dataclass(frozen=True)
class Place:
    """Where the records of a benchmark are, below the folder of the artifacts.

    Attributes:
        data: The first part of the folder's name, such as "caltech101".
        large: Folder of the large model.
        small: What the folders of the small model begin with.
        base: What its first stage is called in them.
        runs: Seeds, or folds.
        folds: Whether a run is a fold.
    """

    data: str
    large: str
    small: str
    base: str
    runs: tuple[int, ...]
    folds: bool = False

    def folder(self, artifacts: Path, stage: str, run: int) -> Path:
        """Return the folder of a stage ("finetuned" or "second")."""
        top = artifacts / f"{self.data}-{stage}"
        return top / f"fold-{run}" if self.folds else top


PLACES = {
    "Fashion-MNIST": Place(
        "fashion_mnist_c", "resnet18-28-scratch-0", "lcnet_035-28", "scratch", (0, 1, 2)
    ),
    "Caltech-101": Place(
        "caltech101", "tf_efficientnet_lite2-192-finetuned-0", "tf_efficientnet_lite0-96",
        "finetuned", (1, 2, 3),
    ),
    "ELPV": Place(
        "elpv", "tf_efficientnet_lite2-128-finetuned-0", "tf_efficientnet_lite0-64", "finetuned",
        (0, 1, 2, 3, 4), folds=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class CascadeRun:
    """A large model, and a small one in several forms.

    Attributes:
        large: Part ("val", "test", perhaps "shifted") -> record of the large model.
        small: Form ("untuned", "continued", "Gatekeeper 0.3") -> part -> record.
    """

    large: Mapping[str, Record]
    small: Mapping[str, Mapping[str, Record]]
    _fitted: dict[str, Cascade] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def balance(self) -> float:
        """FLOPs of the small model over those of the large one."""
        small = next(iter(self.small.values()))["val"].flops
        large = self.large["val"].flops
        if not small or not large:
            raise ValueError("a record lacks its FLOPs: predict it again, or set them")
        return small / large

    def form(self, variant: str) -> tuple[Mapping[str, Record], float]:
        """Return the records of a variant, and the weight of its logits at the gate.

        A name that ends in " + temperature" is that form with its logits at the temperature fitted
        on val; any other form decides by its probabilities as they are.

        Raises:
            ValueError: An unknown form.
        """
        name = variant.removesuffix(TEMPERATURE)
        if name not in self.small:
            raise ValueError(f"variant is {variant!r}; there are {', '.join(self.small)}")
        records = self.small[name]
        if name == variant:
            return records, 1.0
        val = records["val"]
        return records, float(fit_weights([val.logits], val.labels).weights[0])

    def cascade(
        self, variant: str, *, budget: float | None = None, fitted_on: FittedOn = "val"
    ) -> Cascade:
        """Return the cascade that meets a budget on val.

        Args:
            variant: A form of the small model, as `form` takes it.
            budget: Mean FLOPs an image in units of the large model's, at least `balance`; None to
                defer nothing, whatever `fitted_on`.
            fitted_on: As for `duokit.cascade.fit_cascade`.
        """
        fitted = self._fitted.get(variant)
        large, (records, weight) = self.large["val"], self.form(variant)
        small = records["val"]
        if fitted is None:  # all other thresholds have its weights
            fitted = self._fitted[variant] = fit_cascade(
                large.logits, small.logits, large.labels, threshold=np.inf, gate_weight=weight
            )
        if budget is None:
            return fitted
        gate = gate_uncertainty(small.logits, weight=weight)
        threshold = threshold_for_flops(gate, budget, small=self.balance, large=1.0).value
        if fitted_on == "val":
            ratio = float((gate > threshold).mean())
            return replace(fitted, threshold=threshold, val_ratio=ratio)
        return fit_cascade(
            large.logits, small.logits, large.labels,
            threshold=threshold, gate_weight=weight, fitted_on=fitted_on,
        )  # fmt: skip

    def outcomes(self, variant: str, part: str = "test") -> dict[str, Outcome]:
        """Return who is right where, of each of ANSWERS, weights fitted on all of val.

        An answer without a threshold is right or wrong alike whatever is deferred, so that it can
        stand beside a cascade at any budget.

        Args:
            variant: A form of the small model, as `form` takes it.
            part: Of the records.
        """
        large, small = self.large[part], self.form(variant)[0][part]
        flops = (self.balance, 1.0)
        found = self.cascade(variant).outcomes(
            large.logits, small.logits, large.labels, flops=flops
        )
        gate, right, by_large, _ = found["cascade"]
        by_duo = found["cascaded duo"].deferred_correct
        alone = {"small": right, "large": by_large, "duo": by_duo}
        return {name: Outcome(gate, flags, flags, flops) for name, flags in alone.items()} | found


def cascade_runs(
    artifacts: str | Path, benchmark: str, *, alphas: Sequence[float] = ALPHAS
) -> dict[int, CascadeRun]:
    """Return the runs of a benchmark of the book, by seed or fold.

    Args:
        artifacts: Folder of the committed records, book/artifacts.
        benchmark: Name in PLACES.
        alphas: Of the Gatekeeper forms.

    Raises:
        ValueError: An unknown benchmark, or records of other images.
        FileNotFoundError: A record is not there; `duokit zoo --make` makes it.
    """
    if benchmark not in PLACES:
        raise ValueError(f"benchmark is {benchmark!r}; expected one of {', '.join(PLACES)}")
    place, found = PLACES[benchmark], {}
    parts = ("val", "test", "shifted") if place.folds else ("val", "test")
    for run in place.runs:
        first, second = (
            place.folder(Path(artifacts), stage, run) for stage in ("finetuned", "second")
        )
        seed = 0 if place.folds else run
        folders = {UNTUNED: first / f"{place.small}-{place.base}-{seed}"}
        folders[CONTINUED] = second / f"{place.small}-continued-{seed}"
        folders |= {
            f"Gatekeeper {alpha:g}": second / f"{place.small}-gatekeeper{alpha:g}-{seed}"
            for alpha in alphas
        }
        large = load_parts(first / place.large, *parts)
        small = {name: load_parts(folder, *parts) for name, folder in folders.items()}
        for part in parts:
            same_images(large[part], *(records[part] for records in small.values()))
        found[run] = CascadeRun(large, small)
    return found


def gate_table(
    runs: Runs, variants: Sequence[str], *, part: str = "test", answer: str = "cascade"
) -> pd.DataFrame:
    """Return what each form of the small model is worth, alone and as a gate.

    Args:
        runs: From `cascade_runs`.
        variants: As `CascadeRun.form` takes them.
        part: Of the records.
        answer: Who answers what is deferred: "cascade" or "cascaded duo".

    Returns:
        Index variant, run; columns as `duokit.cascade.intervals.NAMES` (small is the accuracy of
        the small model alone), nll and ece of the small model as it is, temperature (fitted on
        val), nll_tempered and ece_tempered.

    Source: the numbers: Rabanser et al., arXiv 2502.19335.
    """
    rows = {}
    for variant in variants:
        for run, each in runs.items():
            outcome = each.outcomes(variant, part)[answer]
            counted = Counted(outcome, NAMES, (), BANDWIDTH, POINTS)
            records = each.form(variant)[0]
            val, record = records["val"], records[part]
            weight = fit_weights([val.logits], val.labels).weights[0]
            plain, tempered = (
                evaluate(score(weighted([record.logits], [w]), record.labels), ["nll", "ece"])
                for w in (1.0, weight)
            )
            rows[variant, run] = {
                **dict(zip(NAMES, counted.own, strict=True)),
                **plain,
                "temperature": 1 / weight,
                **{f"{name}_tempered": value for name, value in tempered.items()},
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["variant", "run"])
