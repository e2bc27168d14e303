"""From two records to an answer: what every chapter and `duokit evaluate` do, in three steps.

    duo = fit_duo([large_val, small_val])             the weights, on the validation split
    found = duo.answers([large_test, small_test])     scores of each predictor on the test split
    intervals(found["duo"], found["large"])           what the sidekick changed

The first record is the large model's. "large" and "small" are the members at their own
temperatures (fitted on val as well), so that a duo is never compared with an uncalibrated model.

What records know is used: those of other data sets, splits, models or classes are refused, and so
are images that fitted the weights and are reported on. `allow_mismatch=True` warns instead; the
rules are in `duokit.logits.agreement`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from duokit.checks import Array
from duokit.fusion.combine import Mode, combine, weighted
from duokit.fusion.sidekick import LEAST_IMAGES, SidekickTest, sidekick_test
from duokit.fusion.weights import LEAST, WeightFit, answering_weight, fit_weights
from duokit.logits.agreement import Finding, check_members, check_parts, in_class_order, settle
from duokit.logits.record import Record
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import Confidences, Scores, confidences, score

TITLES: dict[str, str] = {
    "large_raw": "large, uncalibrated",
    "large": "large",
    "small": "small",
    "duo": "duo",
    "unweighted": "unweighted",
    "raw_mean": "raw mean",
    "uq_only": "UQ only",
    "probability_average": "probability average",
    "most_confident": "most confident",
}


@dataclass(frozen=True)
class Duo:
    """A duo (or a larger group) whose weights have been fitted.

    Attributes:
        fit: The joint weights, one a member.
        own: Each member's own weight (temperature scaling).
        test: The score test of the second member; None if there are not exactly two members, or
            fewer than three images.
        val: The records the weights were fitted on, with classes in the order of the first.
        allowed: What did not fit among these records, if `allow_mismatch` let it pass.
    """

    fit: WeightFit
    own: tuple[WeightFit, ...]
    test: SidekickTest | None
    val: tuple[Record, ...] = field(repr=False)
    allowed: tuple[str, ...] = ()

    @property
    def weights(self) -> np.ndarray:
        """The (m,) joint weights."""
        return self.fit.weights

    @property
    def own_weights(self) -> np.ndarray:
        """The (m,) weights of each member alone; 1e-6 for one that is worse than guessing."""
        return np.array([fit.weights[0] or LEAST for fit in self.own])

    @property
    def flops_balance(self) -> float | None:
        """FLOPs of the other members over FLOPs of the first; None if a record lacks its FLOPs."""
        flops = [record.flops for record in self.val]
        if any(f is None for f in flops):
            return None
        return sum(f for f in flops[1:] if f is not None) / (flops[0] or np.nan)

    @property
    def t(self) -> float:
        """The score test's t; NaN without a test."""
        return self.test.t if self.test else np.nan

    @property
    def p_value(self) -> float:
        """The score test's p-value; NaN without a test."""
        return self.test.p_value if self.test else np.nan

    def logits(self, records: Sequence[Record], *, allow_mismatch: bool = False) -> Array:
        """Return the (n, k) duo logits of these records, in the order of `val`.

        Args:
            records: One a member; those of `val` itself may be asked for as well.
            allow_mismatch: As `answers`.

        Raises:
            ValueError: As `answers`.
        """
        members = self._check(records, allow_mismatch, images=False)
        return combine("weighted", [r.logits for r in members], weights=self.weights).logits

    def answers(
        self,
        records: Sequence[Record],
        *,
        modes: Sequence[Mode] = ("weighted",),
        allow_mismatch: bool = False,
    ) -> dict[str, Scores]:
        """Return the scores of each predictor on labelled images.

        Args:
            records: One a member, in the order of `val`, of a split with labels.
            modes: Ways to combine, from `duokit.fusion.MODES`; "weighted" is named "duo".
            allow_mismatch: Whether records that do not fit those of `val` are only warned of.

        Returns:
            "large_raw" (the large model as it is), "large" and "small" (each at its own
            temperature; with more than two members "small" is the second), then one a mode.

        Raises:
            ValueError: Records of other images than one another; of another model, data set or
                classes than in `val`, or of its images (unless allowed); an unknown mode.
        """
        given = self._check(records, allow_mismatch)
        members, labels = [r.logits for r in given], given[0].labels
        own = self.own_weights
        found = {"large_raw": score(members[0], labels)}
        for name, logits, weight in zip(("large", "small"), members, own, strict=False):
            found[name] = score(weighted([logits], [weight]), labels)
        for mode in modes:
            fused = combine(mode, members, weights=self.weights, own_weights=own)
            name = "duo" if mode == "weighted" else mode
            found[name] = score(fused.logits, labels, predictions=fused.predictions)
        return found

    def confidences(
        self, records: Sequence[Record], *, mode: Mode = "weighted"
    ) -> dict[str, Confidences]:
        """Return how sure "large", "small" and "duo" are of images, with or without a class.

        Args:
            records: One a member, in the order of `val`, such as those of the part "ood".
            mode: The way to combine that "duo" stands for, from `duokit.fusion.MODES`.

        Raises:
            ValueError: As `answers`.
        """
        given = self._check(records, images=False)
        members, own = [r.logits for r in given], self.own_weights
        found = {
            name: weighted([logits], [weight])
            for name, logits, weight in zip(("large", "small"), members, own, strict=False)
        }
        found["duo"] = combine(mode, members, weights=self.weights, own_weights=own).logits
        return {name: confidences(logits) for name, logits in found.items()}

    def findings(self, records: Sequence[Record], *, images: bool = True) -> list[Finding]:
        """Return what does not fit between these records and those of `val`.

        Args:
            records: One a member, in the order of `val`.
            images: Whether images of `val` are among what does not fit.

        Raises:
            ValueError: Another number of records than members.
        """
        if len(records) != len(self.val):
            raise ValueError(f"{len(records)} records given; the duo has {len(self.val)} members")
        found = check_members(records, fitted=False)
        return [*found, *check_parts(self.val, records, images=images)]

    def costs(self) -> pd.DataFrame:
        """Return FLOPs (multiply-adds an image), parameters and resolution of members and duo."""
        columns = ["model", "resolution", "flops", "parameters"]
        rows = [[getattr(record, column) for column in columns] for record in self.val]
        members = pd.DataFrame(rows, index=_names(len(rows)), columns=columns)
        together = members[["flops", "parameters"]].astype(float).sum(skipna=False)
        duo = pd.DataFrame(
            [{"model": " + ".join(members["model"]), "resolution": None, **together}], index=["duo"]
        )
        return pd.concat([members.astype(duo.dtypes), duo]).rename_axis("predictor")

    def _check(
        self, records: Sequence[Record], allow_mismatch: bool = False, *, images: bool = True
    ) -> tuple[Record, ...]:
        """Return the records with classes in one order, if they fit those of `val`."""
        given = in_class_order(records)
        settle(self.findings(given, images=images), allow_mismatch, stacklevel=4)
        return given


def fit_duo(val: Sequence[Record], *, allow_mismatch: bool = False) -> Duo:
    """Return the duo whose weights minimise the NLL on these validation records.

    Args:
        val: One record a member, the large model first, of the same labelled images in the same
            order (`Record.rows` brings one into the order of another).
        allow_mismatch: Whether records of the training split, or of other data sets or splits than
            one another, are only warned of.

    Raises:
        ValueError: Fewer than two records, records of different images, or what is not allowed.
    """
    if len(val) < 2:
        raise ValueError(f"a duo needs at least two records, the large model first; got {len(val)}")
    val = in_class_order(val)
    allowed = settle(check_members(val, fitted=True), allow_mismatch)
    members, labels = [record.logits for record in val], val[0].labels
    own = tuple(fit_weights([logits], labels) for logits in members)
    for record, fit in zip(val, own, strict=True):
        answering_weight(float(fit.weights[0]), record.title)
    test = None
    if len(val) == 2 and len(labels) >= LEAST_IMAGES:
        test = sidekick_test(members[0], members[1], labels, alone=own[0])
    return Duo(fit_weights(members, labels), own, test, val, allowed)


def sidekicks(models: Mapping[str, Record], large: str, small: str) -> list[str]:
    """Return the names of the models that can be the sidekick of one, in the order given.

    These are `small`, whatever it costs, and all whose FLOPs are known to be fewer than those of
    `large`.

    Args:
        models: Name -> record.
        large: Name of the large model.
        small: Name of the sidekick that was chosen.
    """
    most = models[large].gflops
    return [name for name, r in models.items() if name == small or r.gflops < most]


def better_member(scores: dict[str, Scores]) -> str:
    """Return "large" or "small": the member with the lower NLL, at its own temperature."""
    return min(("large", "small"), key=lambda name: float(scores[name].nll.mean()))


def compare_sidekicks(
    large: Mapping[str, Record],
    sidekicks: Mapping[str, Mapping[str, Record]],
    *,
    part: str = "test",
    metrics: Sequence[str] = ("accuracy", "nll", "aurc"),
    interval: str = "nll",
    resamples: int = 1000,
    seed: int = 0,
    allow_mismatch: bool = False,
) -> pd.DataFrame:
    """Return one row a sidekick: what it changes for one large model, weights fitted on val.

    Differences are the duo's value minus that of the large model at its own temperature, on the
    same images.

    Args:
        large: Part -> record of the large model; "val" and `part`.
        sidekicks: Name -> the same of a sidekick.
        part: What the duo is measured on.
        metrics: Names from `duokit.metrics.METRICS`.
        interval: The one of them whose difference gets its paired 95 % interval.
        resamples: Of the bootstrap, 1 or more.
        seed: Of the bootstrap.
        allow_mismatch: As `fit_duo` and `Duo.answers`.

    Returns:
        Index sidekick, in the order given; columns flops_balance (None where a record has no
        FLOPs), alone (the sidekick's accuracy), weight_large, weight_small, one a metric with the
        difference, and low and high of `interval`.

    Raises:
        ValueError: `interval` is not among the metrics; as `fit_duo` and `intervals`.
        KeyError: A part that is missing.
    """
    if interval not in metrics:
        raise ValueError(f"interval is {interval!r}; expected one of {', '.join(metrics)}")
    rows = {}
    for name, records in sidekicks.items():
        duo = fit_duo([large["val"], records["val"]], allow_mismatch=allow_mismatch)
        found = duo.answers([large[part], records[part]], allow_mismatch=allow_mismatch)
        table = intervals(
            found["duo"], found["large"], metrics=metrics, resamples=resamples, seed=seed
        )
        rows[name] = {
            "flops_balance": duo.flops_balance,
            "alone": float(found["small"].correct.mean()),
            "weight_large": float(duo.weights[0]),
            "weight_small": float(duo.weights[1]),
            **table["difference"].to_dict(),
            "low": table.loc[interval, "difference_low"],
            "high": table.loc[interval, "difference_high"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("sidekick")


def pooled_answers(
    duos: Sequence[Duo], records: Sequence[Sequence[Record]], *, allow_mismatch: bool = False
) -> dict[str, Scores]:
    """Return the scores of "large", "small" and "duo" over all folds of a cross-validation.

    Each fold's images are answered by that fold's own networks, with the weights fitted for them;
    then all answers are scored together.

    Args:
        duos: One a fold.
        records: For each fold one record a member, in the order of the duo's.
        allow_mismatch: As `Duo.answers`.

    Raises:
        ValueError: Another number of folds, or as `Duo.answers`.
    """
    pieces: dict[str, list[np.ndarray]] = {"large": [], "small": [], "duo": []}
    labels, answered = [], []
    for duo, given in zip(duos, records, strict=True):
        members = duo._check(given, allow_mismatch)
        labels.append(members[0].labels)
        fused = combine("weighted", [r.logits for r in members], weights=duo.weights)
        pieces["duo"].append(np.asarray(fused.logits))
        answered.append(np.asarray(fused.predictions))
        for name, record, weight in zip(("large", "small"), members, duo.own_weights, strict=False):
            pieces[name].append(np.asarray(weighted([record.logits], [weight])))
    said = {"duo": np.concatenate(answered)}
    return {
        name: score(np.concatenate(logits), np.concatenate(labels), predictions=said.get(name))
        for name, logits in pieces.items()
    }


def _names(members: int) -> list[str]:
    return ["large", "small", *(f"member {j}" for j in range(3, members + 1))][:members]
