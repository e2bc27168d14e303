"""All metrics of a sample in which image i appears counts[i] times: table and intervals use it.

A bootstrap resample is such a sample. Sorting, binning and grouping do not depend on the counts, so
they are done once; each resample then costs a few running sums. Surest first, the images of one
confidence bin, of one mesh cell and of one tied group all stand side by side, and a sum over any of
them is the difference of a running total at its two ends.
"""

import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .arrays import Floats, Whole
from .calibration import (
    BINS,
    debiased_bins,
    debiased_of,
    ece_of,
    mass_bins,
    mce_of,
    width_bins,
)
from .classwise import high_cells, low_gaps
from .proper import f1_of
from .ranked import (
    area,
    augrc_of,
    auroc_of,
    best_area,
    coverages_of,
    group_ends,
    harmonic,
    risk_of,
)
from .scores import Scores
from .smooth import CELLS, cells, fixed_width

WORKERS = min(4, os.cpu_count() or 1)

SAC = {f"sac{level}": level / 100 for level in range(90, 100)}
RISK = {f"risk{level}": level / 100 for level in (80, 90, 95)}
MEANS = ("accuracy", "nll", "brier")
BINNED = ("ece", "mce", "ece_mass", "ece_debiased")
RANKED = ("auroc", "aurc", "e_aurc", "augrc", *SAC, *RISK)
NAMES = (
    *("accuracy", "macro_f1", "nll", "brier"),
    *("ece", "ece_mass", "ece_class", "ece_debiased", "ece_smooth", "mce"),
    *RANKED,
)


def running(values: np.ndarray) -> np.ndarray:
    """Return the running total; PyTorch's is about three times as fast as NumPy's."""
    return torch.from_numpy(values).cumsum(0).numpy()


def in_threads(work: Callable[[int], None], size: int) -> None:
    """Call work(0) ... work(size - 1) in a few threads: NumPy and PyTorch run side by side."""
    spans = [range(first, size, 4 * WORKERS) for first in range(min(size, 4 * WORKERS))]

    def some(span: range) -> None:
        for i in span:
            work(i)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(some, spans))  # raises what work raises


class Cells:
    """Sums of count * value over groups of entries, each of which belongs to one image."""

    def __init__(self, cell: Whole, image: Whole, value: Floats | None = None) -> None:
        order = np.argsort(cell, kind="stable")
        self.image = image[order]
        self.value = None if value is None else value[order]
        self.ends = group_ends(cell[order]) if len(cell) else np.zeros(0, dtype=np.int64)
        self.cell = cell[order][self.ends]  # the groups that exist, rising

    def sums(self, counts: Whole) -> np.ndarray:
        """Return (cells,) the sum over each existing group."""
        weights = counts[self.image]
        total = running(weights if self.value is None else weights * self.value)
        return np.diff(total[self.ends], prepend=0)


class Weighted:
    """One predictor's images, sorted and grouped once, to be counted many times."""

    def __init__(self, scores: Scores, names: Collection[str] = NAMES) -> None:
        self.scores, self.names, self.n = scores, set(names), len(scores)
        self.means = np.stack([scores.correct, scores.nll, scores.brier], axis=1).astype(np.float64)
        self.order = np.argsort(scores.uncertainty, kind="stable")
        if self.names & set(RANKED):
            self._rank()
        if self.names & {*BINNED, "ece_smooth"}:
            self._bin()
        if "macro_f1" in self.names:
            right, wrong = np.flatnonzero(scores.correct), np.flatnonzero(~scores.correct)
            both = np.concatenate([scores.labels[wrong], scores.predictions[wrong]])
            self.hits = Cells(scores.labels[right], right)
            self.misses = Cells(both, np.concatenate([wrong, wrong]))
        if "ece_class" in self.names:
            cell, gap, _ = high_cells(scores)
            self.high = Cells(cell, scores.entries.rows, gap)

    def _rank(self) -> None:
        """Find the groups of equal uncertainty; neighbours without any error become one group."""
        wrong = ~self.scores.correct[self.order]
        ends = group_ends(self.scores.uncertainty[self.order])
        flawed = np.diff(np.cumsum(wrong)[ends], prepend=0) > 0
        keep = flawed | np.append(flawed[1:], True)
        self.group_ends = ends[keep]
        self.wrong_places = np.flatnonzero(wrong)
        self.wrong_before = np.searchsorted(self.wrong_places, self.group_ends, side="right")
        self.numbers = harmonic(self.n)

    def _bin(self) -> None:
        """Find the ends of the bins and mesh cells, from the surest image on."""
        confidence = self.scores.confidence[self.order]
        self.hit = self.scores.hit[self.order]
        self.gap = confidence - self.hit
        self.bin_ends = group_ends(width_bins(confidence, BINS))
        mesh = cells(confidence)
        self.mesh_ends = group_ends(mesh)
        self.mesh = mesh[self.mesh_ends]
        self.equal_ends = group_ends(confidence)

    def metrics(self, counts: npt.NDArray[Any]) -> dict[str, Floats]:
        """Return (r,) values of every metric asked for.

        Args:
            counts: (r, n) integers, how often each image appears in each of r samples of n.
        """
        table = {name: np.full(len(counts), np.nan) for name in NAMES if name in self.names}
        gaps = np.zeros((len(counts), CELLS))

        def count(row: int) -> None:
            weights = counts[row].astype(np.int64)
            for name, value in self._values(weights, gaps[row]).items():
                if name in table:
                    table[name][row] = value

        in_threads(count, len(counts))
        if "ece_smooth" in table:
            table["ece_smooth"] = fixed_width(gaps)
        if "ece_class" in table:
            low = np.abs(low_gaps(self.scores, counts)).sum(1)
            table["ece_class"] = (table["ece_class"] + low) / (self.n * self.scores.classes)
        return table

    def _values(self, counts: Whole, gaps: Floats) -> dict[str, float]:
        """Return what one sample's counts (n,) give by themselves, and fill its mesh gaps."""
        found: dict[str, float] = {}
        if self.names & set(MEANS):
            found.update(zip(MEANS, (counts @ self.means / self.n).tolist(), strict=True))
        if "macro_f1" in self.names:
            found["macro_f1"] = self._macro_f1(counts)
        if "ece_class" in self.names:
            found["ece_class"] = float(np.abs(self.high.sums(counts)).sum())  # all bins but one
        ordered = counts[self.order]
        if self.names & set(RANKED):
            found.update(self._selective(ordered))
        if self.names & {*BINNED, "ece_smooth"}:
            found.update(self._calibration(ordered, gaps))
        return found

    def _macro_f1(self, counts: Whole) -> float:
        hits = np.zeros(self.scores.classes)
        misses = np.zeros(self.scores.classes)
        hits[self.hits.cell] = self.hits.sums(counts)
        misses[self.misses.cell] = self.misses.sums(counts)
        return f1_of(hits, 2 * hits + misses)

    def _calibration(self, ordered: Whole, mesh: Floats) -> dict[str, float]:
        images, rights = running(ordered), running(ordered * self.hit)
        gaps = running(ordered * self.gap)
        mesh[self.mesh] = np.diff(gaps[self.mesh_ends], prepend=0) / self.n
        count = np.diff(images[self.bin_ends], prepend=0)
        gap = np.diff(gaps[self.bin_ends], prepend=0)
        if len(self.equal_ends) < self.n:
            images, gaps, rights = (t[self.equal_ends] for t in (images, gaps, rights))
        few = debiased_bins(self.n, BINS)
        return {
            "ece": ece_of(count, gap),
            "mce": mce_of(count, gap),
            "ece_mass": float(np.abs(mass_bins(images, gaps, rights, BINS)[1]).sum() / self.n),
            "ece_debiased": (
                debiased_of(*mass_bins(images, gaps, rights, few)) if few else float("nan")
            ),
        }

    def _selective(self, ordered: Whole) -> dict[str, float]:
        accepted = running(ordered)[self.group_ends]
        wrong = np.append(0, running(ordered[self.wrong_places]))
        errors = wrong[self.wrong_before]
        found = {"auroc": auroc_of(accepted, errors), "augrc": augrc_of(accepted, errors)}
        found["aurc"] = area(accepted, errors, self.numbers)
        best = best_area(self.n, int(errors[-1]), self.numbers)
        found["e_aurc"] = max(0.0, found["aurc"] - best)
        found.update(zip(SAC, coverages_of(accepted, errors, list(SAC.values())), strict=True))
        found.update({name: risk_of(accepted, errors, share) for name, share in RISK.items()})
        return found
