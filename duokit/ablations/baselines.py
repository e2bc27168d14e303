"""What else the same money buys: one row a rival of the duo, with its cost and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from duokit.ablations.corrections import dynamic, stacking, vector_scaling
from duokit.evaluation import fit_duo
from duokit.fusion.combine import MODES, weighted
from duokit.fusion.weights import fit_weights
from duokit.logits.record import Record
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import Scores, score
from duokit.metrics.selective import augrc
from duokit.metrics.table import evaluate

NORMS = (*range(1, 9), np.inf)
SHOWN = ("accuracy", "nll", "brier", "ece", "auroc", "aurc", "augrc")


@dataclass(frozen=True)
class Rival:
    """A predictor that stands beside the duo.

    Attributes:
        scores: On test.
        flops: Multiply-adds an image.
        parameters: Numbers fitted on val.
        kind: "one network", "two networks" or "more".
        note: What was chosen on val, if anything.
        ranks_only: Whether it only changes the order of the large model's answers.
        runs: What is computed for an image, such as "tf_efficientnet_lite2-192", once a time.
    """

    scores: Scores
    flops: float
    parameters: int
    kind: str
    note: str = ""
    ranks_only: bool = False
    runs: tuple[str, ...] = ()


def rivals(
    val: Sequence[Record],
    test: Sequence[Record],
    *,
    others: Mapping[str, tuple[Record, Record]] | None = None,
    groups: Mapping[str, tuple[Sequence[Record], Sequence[Record]]] | None = None,
    runs: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> dict[str, Rival]:
    """Return the duo and its rivals, all fitted on the same val images.

    Args:
        val: Records of the large model and the sidekick on val.
        test: The same on test.
        others: Name -> (val, test) records of single predictors, such as a bigger network, views of
            each picture, or a Laplace approximation; each at its own temperature.
        groups: Name -> (val, test) records of two or more members, fitted as a duo is.
        runs: Name of one of `others` -> `Rival.runs`, where it is not its record's network once.
        seed: Of the folds where a strength is chosen by cross-validation.

    Returns:
        Name -> rival, in the order of a table. MaxLogit-pNorm changes the order of the answers
        alone: its NLL, Brier score and ECE are those of the large model at its own temperature.

    Raises:
        ValueError: Not two members, or records of other images.
    """
    if len(val) != 2 or len(test) != 2:
        raise ValueError(f"{len(val)} and {len(test)} records given; expected large and sidekick")
    flops = [float(record.flops or np.nan) for record in val]
    both = sum(flops)
    one, two = (_run(val[0]),), (_run(val[0]), _run(val[1]))
    duo = fit_duo(val)
    answers = duo.answers(test, modes=MODES)
    found = {
        "large, as it is": Rival(answers["large_raw"], flops[0], 0, "one network", runs=one),
        "large": Rival(answers["large"], flops[0], 1, "one network", runs=one),
    }
    ranked, norm = max_logit_pnorm(val[0], test[0], answers["large"])
    found["large, MaxLogit-pNorm"] = Rival(
        ranked, flops[0], 2, "one network", norm, ranks_only=True, runs=one
    )
    scaled = vector_scaling(val, test, seed=seed)
    found["large, vector scaling"] = Rival(
        score(scaled.logits, test[0].labels), flops[0], scaled.parameters, "one network",
        f"ridge {scaled.ridge:g}", runs=one,
    )  # fmt: skip
    for name, (one_val, one_test) in (others or {}).items():
        weights = fit_weights([one_val.logits], one_val.labels).weights
        scores = score(weighted([one_test.logits], weights), one_test.labels)
        ran = tuple((runs or {}).get(name, (_run(one_val),)))
        cost = float(one_val.flops or np.nan)
        found[name] = Rival(scores, cost, 1, "one network", runs=ran)
    found["duo"] = Rival(answers["duo"], both, 2, "two networks", runs=two)
    for name, title, fitted in (
        ("unweighted", "unweighted", 2),
        ("probability_average", "probability average", 2),
        ("most_confident", "most confident", 2),
    ):
        found[title] = Rival(answers[name], both, fitted, "two networks", runs=two)
    for title, way in (("stacking", stacking), ("input-dependent weights", dynamic)):
        made = way(val, test, seed=seed)
        found[title] = Rival(
            score(made.logits, test[0].labels), both, made.parameters, "two networks",
            f"ridge {made.ridge:g}", runs=two,
        )  # fmt: skip
    for name, (members_val, members_test) in (groups or {}).items():
        group = fit_duo(members_val)
        total = sum(float(record.flops or np.nan) for record in members_val)
        scores = score(group.logits(members_test), members_test[0].labels)
        ran = tuple(_run(record) for record in members_val)
        found[name] = Rival(scores, total, len(members_val), "more", runs=ran)
    return found


def _run(record: Record) -> str:
    return f"{record.model}-{record.resolution}"


def max_logit_pnorm(val: Record, test: Record, scores: Scores) -> tuple[Scores, str]:
    """Return the scores with the images in the order of MaxLogit-pNorm, and what val chose.

    The confidence is the largest centred logit over their p-norm; p, or no change at all, is the
    one with the lowest AUGRC on val.

    Args:
        val: Record of the model on val.
        test: The same on test.
        scores: Of the model on test at its own temperature; its answers and probabilities stay.

    Returns:
        The scores, their uncertainty replaced by the rank in 0 ... 1, and a note such as "p = 4".

    Source: Cattelan and Silva 2024, arXiv 2305.15508.
    """
    weight = fit_weights([val.logits], val.labels).weights[0]
    plain = score(weighted([val.logits], [weight]), val.labels)
    best, lowest = None, augrc(plain.uncertainty, plain.correct)
    for p in NORMS:
        value = augrc(-_normed(val.logits, p), plain.correct)
        if value < lowest:
            best, lowest = p, value
    if best is None:
        return scores, "no p is better on val"
    order = np.argsort(np.argsort(-_normed(test.logits, best), kind="stable"), kind="stable")
    note = f"p = {best:g}"
    return replace(scores, uncertainty=order / max(1, len(order) - 1)), note


def _normed(logits: np.ndarray, p: float) -> np.ndarray:
    centred = logits.astype(np.float64)
    centred = centred - centred.mean(1, keepdims=True)
    norm: np.ndarray = np.linalg.norm(centred, ord=p, axis=1)
    found: np.ndarray = centred.max(1) / np.maximum(norm, 1e-12)
    return found


def rival_table(
    found: Mapping[str, Rival],
    *,
    against: str = "duo",
    metric: str = "nll",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return one row a rival: cost, metrics, and the paired difference to one of them.

    Args:
        found: From `rivals`.
        against: Name of the one that the others are compared with.
        metric: Of the difference, from `duokit.metrics.METRICS`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Index rival; columns cost (FLOPs over those of "large"), parameters, accuracy, nll, brier,
        ece, auroc, aurc, augrc, then difference (rival less `against`), low, high and note.

    Raises:
        ValueError: `against` is not among them; an unknown metric.
    """
    if against not in found:
        raise ValueError(f"against is {against!r}; expected one of {', '.join(found)}")
    rows = {}
    for name, rival in found.items():
        table = intervals(
            rival.scores, found[against].scores, metrics=[metric], resamples=resamples, seed=seed
        ).loc[metric]
        rows[name] = {
            "cost": rival.flops / found["large"].flops,
            "parameters": rival.parameters,
            **_metrics(rival, found["large"]),
            "difference": table["difference"],
            "low": table["difference_low"],
            "high": table["difference_high"],
            "note": rival.note,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rival")


def _metrics(rival: Rival, large: Rival) -> dict[str, float]:
    """Return the metrics; of one that only ranks, those of probabilities are the large model's."""
    found = evaluate(rival.scores, SHOWN)
    if rival.ranks_only:
        found |= evaluate(large.scores, ["nll", "brier", "ece"])
    return {name: found[name] for name in SHOWN}


def cost_points(
    found: Mapping[str, Rival], *, metric: str = "nll", resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return the rivals as `duokit.plots.flops_tradeoff` draws them.

    Args:
        found: From `rivals`.
        metric: From `duokit.metrics.METRICS`.
        resamples: Of the bootstrap behind each interval.
        seed: Of the bootstrap.

    Returns:
        Columns name, flops, value, low, high and kind ("duo" for the duo).
    """
    rows = []
    for name, rival in found.items():
        row = intervals(rival.scores, metrics=[metric], resamples=resamples, seed=seed).loc[metric]
        kind = "duo" if name == "duo" else rival.kind
        rows.append((name, rival.flops, row["value"], row["low"], row["high"], kind))
    return pd.DataFrame(rows, columns=["name", "flops", "value", "low", "high", "kind"])
