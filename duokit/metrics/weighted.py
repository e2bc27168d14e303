"""All metrics of a sample in which image i appears counts[i] times: table and intervals use it.

A bootstrap resample is such a sample. Sorting, binning and grouping do not depend on the counts, so
they are done once; each resample then costs a few running sums. Surest first, the images of one
confidence bin, of one mesh cell and of one tied group all stand side by side, and a sum over any of
them is the difference of a running total at its two ends.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..checks import row_blocks
from ..threads import in_threads
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
    Order,
    area,
    augrc_of,
    auroc_of,
    best_area,
    coverages_of,
    group_ends,
    risks_of,
    running,
    sums,
)
from .scores import Scores
from .smooth import CELLS, cells, fixed_width

BLOCK = 2**18  # counts that are worked on at a time: a few resamples of 50,000 images
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


class Cells:
    """Sums of count * value over groups of entries, each of which belongs to one image."""

    def __init__(self, cell: Whole, image: Whole, value: Floats | None = None) -> None:
        order = np.argsort(cell, kind="stable")
        self.image = image[order]
        self.value = None if value is None else value[order]
        self.ends = group_ends(cell[order]) if len(cell) else np.zeros(0, dtype=np.int64)
        self.cell = cell[order][self.ends]  # the groups that exist, rising

    def sums(self, weights: Floats) -> Floats:
        """Return (r, cells) the sum over each existing group, for each row of counts (r, n)."""
        weights = weights.take(self.image, axis=1)
        if self.value is not None:
            weights *= self.value
        return np.diff(running(weights).take(self.ends, axis=1), prepend=0)


class Weighted:
    """One predictor's images, sorted and grouped once, to be counted many times."""

    def __init__(self, scores: Scores, names: Collection[str] = NAMES) -> None:
        self.scores, self.names, self.n = scores, set(names), len(scores)
        means = np.stack([scores.correct, scores.nll, scores.brier]).astype(np.float64)
        self.means = torch.from_numpy(means)
        self.order = np.lexsort((-scores.confidence, scores.uncertainty))
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
        """Find the groups of equal uncertainty that hold an error."""
        wrong = ~self.scores.correct[self.order]
        ends = group_ends(self.scores.uncertainty[self.order])
        errors = np.cumsum(wrong)[ends]
        flawed = np.diff(errors, prepend=0) > 0
        self.starts = np.append(0, ends[:-1] + 1)[flawed]
        self.ends = ends[flawed]
        self.wrong_places = np.flatnonzero(wrong)
        self.wrong_ends = errors[flawed] - 1  # among the wrong places
        self.untied = bool((self.starts == self.ends).all())
        self.sums = sums(self.n)

    def _bin(self) -> None:
        """Find the ends of the bins and mesh cells, from the surest image on."""
        confidence = self.scores.confidence[self.order]
        self.hit = self.scores.hit[self.order].astype(np.float64)
        self.gap = confidence - self.hit
        self.bin_ends = group_ends(width_bins(confidence, BINS))
        mesh = cells(confidence)
        self.mesh_ends = group_ends(mesh)
        self.mesh = mesh[self.mesh_ends]
        ends = group_ends(confidence)
        sizes = np.diff(ends, prepend=-1)
        self.equals = np.repeat(ends - sizes + 1, sizes), np.repeat(ends, sizes)

    def metrics(self, counts: npt.NDArray[Any]) -> dict[str, Floats]:
        """Return (r,) values of every metric asked for.

        Args:
            counts: (r, n) integers, how often each image appears in each of r samples of n.
        """
        gaps = np.zeros((len(counts), CELLS))
        some = row_blocks(len(counts), self.n, entries=BLOCK)
        parts = in_threads(lambda i: self._values(counts[some[i]], gaps[some[i]]), len(some))
        unknown = np.zeros(len(counts))
        table = {
            name: np.concatenate([part[name] for part in parts]) if name in parts[0] else unknown
            for name in NAMES
            if name in self.names
        }
        if "ece_smooth" in table:
            blocks = row_blocks(*gaps.shape)
            widths = in_threads(lambda i: fixed_width(gaps[blocks[i]]), len(blocks))
            table["ece_smooth"] = np.concatenate(widths)
        if "ece_class" in table:
            low = np.abs(low_gaps(self.scores, counts)).sum(1)
            table["ece_class"] = (table["ece_class"] + low) / (self.n * self.scores.classes)
        return table

    def _values(self, counts: npt.NDArray[Any], gaps: Floats) -> dict[str, Floats]:
        """Return (r,) what the counts (r, n) give row by row, and fill the mesh gaps (r, cells)."""
        weights = counts.astype(np.float64)  # whole numbers all the same
        found: dict[str, Floats] = {}
        if self.names & set(MEANS):
            means = torch.from_numpy(weights) @ self.means.T / self.n
            found.update(zip(MEANS, means.numpy().T, strict=True))
        if "macro_f1" in self.names:
            found["macro_f1"] = self._macro_f1(weights)
        if "ece_class" in self.names:
            found["ece_class"] = np.abs(self.high.sums(weights)).sum(1)  # all bins but one
        if self.names & {*RANKED, *BINNED, "ece_smooth"}:
            ordered = weights.take(self.order, axis=1)
            images = running(ordered)
            if self.names & set(RANKED):
                found.update(self._selective(ordered, images))
            if self.names & {*BINNED, "ece_smooth"}:
                found.update(self._calibration(ordered, images, gaps))
        return found

    def _macro_f1(self, weights: Floats) -> Floats:
        hits = np.zeros((len(weights), self.scores.classes))
        misses = np.zeros_like(hits)
        hits[:, self.hits.cell] = self.hits.sums(weights)
        misses[:, self.misses.cell] = self.misses.sums(weights)
        return f1_of(hits, 2 * hits + misses)

    def _calibration(self, ordered: Floats, images: Floats, mesh: Floats) -> dict[str, Floats]:
        gaps = running(ordered * self.gap)
        mesh[:, self.mesh] = np.diff(gaps.take(self.mesh_ends, axis=1), prepend=0) / self.n
        if not self.names & set(BINNED):
            return {}
        rights = running(ordered * self.hit)
        count, gap = (
            np.diff(totals.take(self.bin_ends, axis=1), prepend=0) for totals in (images, gaps)
        )
        bins = mass_bins(images, gaps, rights, BINS, group_of=self.equals)
        few = debiased_bins(self.n, BINS)
        fewer = bins
        if 0 < few < BINS:
            fewer = mass_bins(images, gaps, rights, few, group_of=self.equals)
        return {
            "ece": ece_of(count, gap),
            "mce": mce_of(count, gap),
            "ece_mass": ece_of(*bins[:2]),
            "ece_debiased": debiased_of(*fewer) if few else np.full(len(ordered), np.nan),
        }

    def _selective(self, ordered: Floats, images: Floats) -> dict[str, Floats]:
        after, wrong = (totals.take(self.ends, axis=1) for totals in (images, ordered))
        before = after - wrong
        if not self.untied:
            before = np.where(self.starts > 0, images.take(self.starts - 1, axis=1), 0)
            errors = running(ordered.take(self.wrong_places, axis=1))
            wrong = np.diff(errors.take(self.wrong_ends, axis=1), prepend=0)
        order = Order(self.n, before, after, wrong)
        found = {"auroc": auroc_of(order), "augrc": augrc_of(order)}
        found["aurc"] = area(order, self.sums)
        excess = found["aurc"] - best_area(self.n, order.errors, self.sums)
        found["e_aurc"] = np.maximum(0.0, excess)
        found.update(zip(SAC, coverages_of(order, list(SAC.values())).T, strict=True))
        found.update(zip(RISK, risks_of(order, list(RISK.values())).T, strict=True))
        return found
