"""The live pairs: duos of the committed records, scored once, for every check that needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from duokit.evaluation import Duo, fit_duo, pooled_answers
from duokit.fusion.combine import MODES, Mode
from duokit.logits import Record, load
from duokit.metrics.scores import Scores

FOLDS = 5
CALTECH = ("tf_efficientnet_lite2-192", "tf_efficientnet_lite0-96")
FASHION = (
    "resnet18",
    ("lcnet_035", "lcnet_050", "mobilenetv3_small_050", "test_efficientnet", "test_resnet"),
)
ELPV = ("tf_efficientnet_lite2-128-finetuned-0", "tf_efficientnet_lite0-64-finetuned-0")


@dataclass(frozen=True, eq=False)
class LivePair:
    """A large model and a sidekick whose logits are in the repository.

    Attributes:
        data: Data set and training, such as "Caltech-101, fine-tuned".
        large: Name of the large model.
        small: Name of the sidekick.
        duos: The fitted duos: one, or one a fold.
        parts: Part ("test", "shifted-3", "shifted-fold-0") -> predictor -> scores; predictors are
            "large_raw", "large", "small", "duo" and, where there are no folds, the other modes.
        records: Part -> record of each member; without folds only.
    """

    data: str
    large: str
    small: str
    duos: tuple[Duo, ...]
    parts: Mapping[str, Mapping[str, Scores]]
    records: Mapping[str, tuple[Record, Record]] = field(default_factory=dict, repr=False)

    @property
    def balance(self) -> float:
        """FLOPs of the sidekick over those of the large model."""
        return float(self.duos[0].flops_balance or np.nan)

    @property
    def title(self) -> str:
        """Data and members in words, without what all names of the data set share."""
        return f"{self.data}: {_short(self.large)} + {_short(self.small)}"

    @property
    def ratio(self) -> float:
        """Weight of the large model over that of the small, each by its own weight; mean of folds.

        1 means that both are trusted alike; infinite if the sidekick was left out.
        """
        relative = [duo.weights / duo.own_weights for duo in self.duos]
        with np.errstate(divide="ignore"):
            return float(np.mean([each[0] / each[1] for each in relative]))

    def scores(self, part: str = "test") -> tuple[Scores, Scores, Scores]:
        """Return the scores of large, small (each at its own temperature) and duo on a part."""
        found = self.parts[part]
        return found["large"], found["small"], found["duo"]


@lru_cache(maxsize=2)
def live_pairs(artifacts: Path) -> tuple[LivePair, ...]:
    """Return the pairs that the book's chapters are about, scored on all their parts.

    Caltech-101 as linear probes and fine-tuned, five sidekicks on Fashion-MNIST with its shifted
    copies, ELPV pooled over its five folds; its shifted images, which all folds share, fold by
    fold.

    Args:
        artifacts: Folder of the committed records, book/artifacts.

    Raises:
        FileNotFoundError: A record is not there.
    """
    caltech = [
        _pair("Caltech-101, probes", artifacts / "caltech101", *CALTECH, parts=("test",)),
        _pair(
            "Caltech-101, fine-tuned",
            artifacts / "caltech101-finetuned",
            *(f"{name}-finetuned-0" for name in CALTECH),
            parts=("test",),
        ),
    ]
    parts = ("test", *(f"shifted-{severity}" for severity in range(1, 6)))
    fashion = [
        _pair(
            "Fashion-MNIST",
            artifacts / "fashion_mnist_c-finetuned",
            f"{FASHION[0]}-28-scratch-0",
            f"{small}-28-scratch-0",
            parts=parts,
        )
        for small in FASHION[1]
    ]
    return (*caltech, *fashion, _folds("ELPV", artifacts / "elpv-finetuned", *ELPV))


@lru_cache(maxsize=2)
def probe_pairs(artifacts: Path) -> tuple[LivePair, ...]:
    """Return every cheaper probe of Caltech-101 as sidekick of every dearer one."""
    folder = artifacts / "caltech101"
    names = [path.parent.name for path in folder.glob("*/test.safetensors")]
    flops = {name: load(folder / name / "val.safetensors").flops or 0 for name in names}
    names.sort(key=lambda name: flops[name])
    return tuple(
        _pair("Caltech-101, probes", folder, large, small, parts=("test",), modes=MODES[:2])
        for large in names
        for small in names
        if flops[small] < flops[large]
    )


def soup_records(artifacts: Path) -> dict[str, dict[str, Record]]:
    """Return the fine-tuned Caltech-101 sidekicks by kind ("best", "greedy", "uniform").

    Returns:
        Kind -> part ("val", "test") -> record; "large" is the large model.
    """
    folder = artifacts / "caltech101-finetuned"
    names = {kind: f"{CALTECH[1]}-{kind}-0" for kind in ("best", "greedy", "uniform")}
    names["large"] = f"{CALTECH[0]}-finetuned-0"
    return {
        kind: {part: load(folder / name / f"{part}.safetensors") for part in ("val", "test")}
        for kind, name in names.items()
    }


def _short(name: str) -> str:
    for same in ("tf_efficientnet_", "-finetuned-0", "-28-scratch-0"):
        name = name.replace(same, "")
    return name


def _pair(
    data: str,
    folder: Path,
    large: str,
    small: str,
    *,
    parts: tuple[str, ...],
    modes: Sequence[Mode] = MODES,
) -> LivePair:
    def both(part: str) -> tuple[Record, Record]:
        first, second = (load(folder / name / f"{part}.safetensors") for name in (large, small))
        return first, second

    duo = fit_duo(both("val"))
    records = {part: both(part) for part in parts}
    scored = {part: duo.answers(found, modes=modes) for part, found in records.items()}
    return LivePair(data, large, small, (duo,), scored, records)


def _folds(data: str, folder: Path, large: str, small: str) -> LivePair:
    def both(fold: int, part: str) -> list[Record]:
        place = folder / f"fold-{fold}"
        return [load(place / name / f"{part}.safetensors") for name in (large, small)]

    duos = tuple(fit_duo(both(fold, "val")) for fold in range(FOLDS))
    everyone = [both(fold, "test") for fold in range(FOLDS)]
    parts = {"test": pooled_answers(duos, everyone)}
    for fold, duo in enumerate(duos):  # pooled, images that all folds share would count five times
        parts[f"shifted-fold-{fold}"] = duo.answers(both(fold, "shifted"))
    return LivePair(data, large, small, duos, parts)
