"""What a gain is made of: right answers or their order, calibration or what is left after it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from duokit.checks import Array
from duokit.fusion.weights import fit_weights
from duokit.metrics.scores import Scores, score
from duokit.metrics.table import evaluate


def augrc_parts(scores: Scores, baseline: Scores) -> dict[str, float]:
    """Return how much of a change of the AUGRC is due to accuracy, and how much to ranking.

    With accuracy a and AUROC r, AUGRC = (1 - r) a (1 - a) + (1 - a)^2 / 2, exactly. So the change
    between two predictors can be made in two steps: first the one number, then the other. Which
    step comes first matters a little; each part is the mean over both orders (Shapley), so that
    they add up to the whole.

    Args:
        scores: Of the predictor.
        baseline: Of the one it is compared with, on the same images.

    Returns:
        "whole" (AUGRC less that of the baseline; below 0 is better), "accuracy" and "ranking".

    Raises:
        ValueError: A predictor without a single error or right answer, so without an AUROC.

    Source: the identity is that of Traub et al., arXiv 2407.01032, appendix.
    """
    rows = [evaluate(each, ["accuracy", "auroc", "augrc"]) for each in (baseline, scores)]
    (a0, r0), (a1, r1) = ((row["accuracy"], row["auroc"]) for row in rows)
    if r0 != r0 or r1 != r1:
        raise ValueError(
            "a predictor is always right or always wrong: there is no order to speak of"
        )
    accuracy = (_augrc(a1, r0) - _augrc(a0, r0) + _augrc(a1, r1) - _augrc(a0, r1)) / 2
    ranking = (_augrc(a0, r1) - _augrc(a0, r0) + _augrc(a1, r1) - _augrc(a1, r0)) / 2
    return {
        "whole": rows[1]["augrc"] - rows[0]["augrc"], "accuracy": accuracy, "ranking": ranking
    }  # fmt: skip


def _augrc(accuracy: float, auroc: float) -> float:
    return (1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2


def nll_parts(logits: Array, labels: Array) -> dict[str, float]:
    """Return the NLL, what the best temperature would take off, and what is left.

    Calibration is the part that one weight, fitted on these very images, would remove; refinement
    is the rest. Other recalibrations than one weight could remove more, so this calibration part
    is a lower bound; fitted and measured on the same n images, it is about 1 / (2 n) too large.

    Args:
        logits: (n, k).
        labels: (n,) class numbers 0 ... k - 1.

    Returns:
        "nll", "calibration" and "refinement", in nats; the first is the sum of the others.

    Raises:
        TypeError, ValueError: As `fit_weights`.

    Source: the split into refinement and calibration by recalibration, Berta et al., arXiv
    2501.19195.
    """
    nll = float(score(logits, labels).nll.mean())
    best = float(fit_weights([logits], labels).nll)
    return {"nll": nll, "calibration": nll - best, "refinement": best}


def nll_change(scores: Scores, baseline: Scores) -> dict[str, float]:
    """Return how much of a change of the NLL is calibration, and how much refinement.

    Args:
        scores: Of the predictor.
        baseline: Of the one it is compared with, on the same images.

    Returns:
        "whole" (nats; below 0 is better), "calibration" and "refinement", as in `nll_parts`.
    """
    new, old = (nll_parts(each.logits, each.labels) for each in (scores, baseline))
    return {"whole": new["nll"] - old["nll"]} | {
        part: new[part] - old[part] for part in ("calibration", "refinement")
    }


def overlap(large: Scores, small: Scores) -> dict[str, float]:
    """Return how alike two members answer: what a sidekick could mend, and what it could spoil.

    Args:
        large: Of the large model.
        small: Of the sidekick, on the same images.

    Returns:
        "agreement" (share of images with the same answer), "mends" (share of the large model's
        errors where the sidekick is right) and "spoils" (share of its right answers where the
        sidekick is wrong); nan where there are none.

    Raises:
        ValueError: Scores of other labels.
    """
    if len(large) != len(small) or (large.labels != small.labels).any():
        raise ValueError("the scores are not of the same images: the labels differ")
    right = large.correct
    return {
        "agreement": float((large.predictions == small.predictions).mean()),
        "mends": _share(small.correct[~right]),
        "spoils": _share(~small.correct[right]),
    }


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def compositions(pairs: dict[str, tuple[Scores, Scores, Scores]]) -> pd.DataFrame:
    """Return the parts of each pair's change, one row a pair.

    Args:
        pairs: Name -> scores of the large model at its own temperature, of the sidekick, and of the
            duo, on the same images.

    Returns:
        Index pair; columns nll, nll_calibration, nll_refinement (nats), augrc, augrc_accuracy,
        augrc_ranking (all: duo less large, below 0 is better), agreement, mends, spoils.
    """
    rows = {}
    for name, (large, small, duo) in pairs.items():
        nll, augrc = nll_change(duo, large), augrc_parts(duo, large)
        rows[name] = {
            "nll": nll["whole"],
            "nll_calibration": nll["calibration"],
            "nll_refinement": nll["refinement"],
            "augrc": augrc["whole"],
            "augrc_accuracy": augrc["accuracy"],
            "augrc_ranking": augrc["ranking"],
            **overlap(large, small),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("pair")
