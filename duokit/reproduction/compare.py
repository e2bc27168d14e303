"""A reader's records beside the authors' rows, computed by the released code's conventions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from typing import Literal, get_args

import numpy as np
import pandas as pd

from duokit.checks import Array
from duokit.evaluation import Duo, fit_duo
from duokit.fusion.combine import combine, weighted
from duokit.logits.record import Record
from duokit.metrics.ends import Measured, few_answers, interval_ends, why_none
from duokit.metrics.intervals import intervals, resampled
from duokit.metrics.paper import paper_row
from duokit.metrics.scores import Scores, score
from duokit.metrics.table import METRICS, evaluate
from duokit.metrics.weighted import Weighted
from duokit.published import gains as published_gains
from duokit.published.gains import METRICS as PERFECT
from duokit.published.tables import (
    BENCHMARKS,
    LARGE,
    Mode,
    duos,
    single_models,
    temperatures,
)
from duokit.reproduction.pairs import VAL_DATA, check_pair, split_faults

NAMES = ("accuracy", "macro_f1", "nll", "brier", "ece", "auroc", "aurc", "sac98")
# How far two runs of the SAME network on the SAME pictures may differ: another GPU, another
# resize library and float16 move a few of 1,000 answers. Chosen, not measured. sac98 hangs on a
# handful of errors among the surest pictures, so it gets its bootstrap interval instead.
TOLERANCES: dict[str, float] = {
    "accuracy": 0.0015,
    "macro_f1": 0.002,
    "nll": 0.005,
    "brier": 2.5e-6,
    "ece": 0.003,
    "auroc": 0.003,
    "aurc": 0.0015,
}
PREDICTORS: dict[str, str] = {
    "large_raw": "large, as it is",
    "small_raw": "small, as it is",
    "large_authors": "large, authors' temperature",
    "small_authors": "small, authors' temperature",
    "duo_authors": "duo, authors' weights",
    "large": "large, own temperature",
    "small": "small, own temperature",
    "duo": "duo, fitted here",
    "unweighted": "unweighted",
    "uq_only": "UQ only",
}
Source = Literal["none", "authors", "fitted"]


@dataclass(frozen=True)
class _Row:
    """A predictor: its logits, what it answers and is sure of, and where its weights come from."""

    logits: Array
    published: pd.Series
    weights: Source
    predictions: np.ndarray | None = None
    confidence_class: np.ndarray | None = None


def beside_published(
    benchmark: str,
    val: Sequence[Record],
    test: Sequence[Record],
    *,
    large: str,
    small: str,
    any_split: bool = False,
    resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a pair's metrics, computed as the released code does, beside the authors' row.

    Weights and temperatures are fitted on val by duokit. Of "duo" and "uq_only" the confidence is
    the duo's probability of the LARGE model's class, as in the published rows; Brier is divided by
    the number of classes.

    On ImageNet and ImageNet-V2 everyone has the same public networks. There, members and duos with
    the authors' own temperatures must agree within TOLERANCES. With weights fitted here a duo
    differs for a reason: the released fit stays near a grid, the one here is the optimum on val,
    so the NLL should be lower or equal. On Caltech-256 and iWildCam a reader's fine-tuned networks
    are another run than the authors' (whose rows are those of arXiv v1), so the only question
    is whether a difference is larger than the draw of the test images explains: the tolerance is
    sqrt(2) times the half-width of the 95 % bootstrap interval, what two independent draws would
    show. Two runs on the same test images share that draw, so it is generous in this respect;
    it leaves out what another training run changes.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        val: Records of the large model and the sidekick that fit the weights.
        test: Their records of the test images.
        large: The authors' name of the large model.
        small: That of the sidekick.
        any_split: Compare even if the pictures are not the authors'; the verdict says so.
        resamples: Of the bootstrap behind the tolerances.
        seed: Of the bootstrap.

    Returns:
        Columns predictor (a key of PREDICTORS), metric ("brier_per_class" among them), yours,
        published, difference (yours - published), tolerance, verdict: "agrees" and "differs" where
        nothing was fitted here; "agrees", "better", "worse" where it was; "within noise",
        "better", "worse" for another run; "unknown" without a value or a tolerance (too few right
        or wrong answers); "other images". Rows with the authors' temperatures
        exist for public networks only.

    Raises:
        ValueError: No such pair (near names are listed), pictures that are not the authors', or
            records that do not fit one another.
    """
    check_pair(benchmark, large, small)
    faults = split_faults(benchmark, val, test)
    if faults and not any_split:
        raise ValueError(
            f"these are not the authors' images of {BENCHMARKS[benchmark].title}: "
            f"{'; '.join(faults)}. any_split=True compares anyway, without a verdict"
        )
    final = BENCHMARKS[benchmark].final
    found = []
    for name, row in _rows(benchmark, fit_duo(val), test, large, small).items():
        yours = paper_row(
            *(row.logits, test[0].labels),
            predictions=row.predictions,
            confidence_class=row.confidence_class,
        )
        noise = _half_widths(row, test[0].labels, final=final, resamples=resamples, seed=seed)
        for metric in NAMES:
            label = "brier_per_class" if metric == "brier" else metric
            theirs = float(row.published[label])
            allowed = noise[metric] if metric in noise else TOLERANCES[metric]
            verdict = _verdict(metric, yours[metric] - theirs, allowed, row.weights, final=final)
            found.append(
                {
                    "predictor": name,
                    "metric": label,
                    "yours": yours[metric],
                    "published": theirs,
                    "difference": yours[metric] - theirs,
                    "tolerance": allowed,
                    "verdict": "other images" if faults else verdict,
                }
            )
    return pd.DataFrame(found)


def gains_beside_published(
    benchmark: str,
    val: Sequence[Record],
    test: Sequence[Record],
    *,
    large: str,
    small: str,
    any_split: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return what the sidekick changed, the share of the way to perfect, yours beside theirs.

    The fair question for fine-tuned networks: not whether a level agrees, which hangs on the
    training, but whether the sidekick does as much. The confidence is the probability of the large
    model's class, as in the published rows. The interval is a paired bootstrap of YOUR gain over
    test images; the authors' gain has one of its own, which is not known.

    Args:
        benchmark: As `beside_published`, like all others.
        val: Records that fit the weights.
        test: Records of the test images.
        large: The authors' name of the large model.
        small: That of the sidekick.
        any_split: Compare even if the pictures are not the authors'.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Index metric; columns yours, low, high (95 %), published, verdict: "agrees" if the
        published gain lies within, else "smaller" or "larger" (yours); "unknown" where nothing
        is left to gain, or too few answers are wrong for an interval; "other images".

    Raises:
        ValueError: As `beside_published`.
    """
    check_pair(benchmark, large, small)
    faults = split_faults(benchmark, val, test)
    if faults and not any_split:
        raise ValueError(f"these are not the authors' images: {'; '.join(faults)}")
    rows = _rows(benchmark, fit_duo(val), test, large, small)
    pair = [_scores(rows[name], test[0].labels) for name in ("duo", "large")]
    measured = [Measured(each, evaluate(each, NAMES)) for each in pair]
    new, old = (np.array(list(each.values.values())) for each in measured)
    counted = [Weighted(each, NAMES) for each in pair]
    drawn = resampled(counted, NAMES, resamples=resamples, seed=seed)
    perfect = np.array([PERFECT[name] for name in NAMES])
    with np.errstate(divide="ignore", invalid="ignore"):
        yours = (new - old) / (perfect - old)
        shares = (drawn[0] - drawn[1]) / (perfect - drawn[1])
    yours[~np.isfinite(yours)] = np.nan
    shares[~np.isfinite(shares)] = np.nan
    few = few_answers(pair[1].correct)
    shares[:, [bool(few or why_none(name, *measured)) for name in NAMES]] = np.nan
    low, high = interval_ends(shares, 0.95)
    published = _of_pair(published_gains(benchmark, soups=True), large, small)
    theirs = published[list(NAMES)].to_numpy(dtype=float)
    words = np.where(yours > theirs, "larger", "smaller").astype(object)
    words[(low <= theirs) & (theirs <= high)] = "agrees"
    words[np.isnan(yours) | np.isnan(low)] = "unknown"
    found = {"yours": yours, "low": low, "high": high, "published": theirs}
    verdict = "other images" if faults else words
    return pd.DataFrame(found, index=pd.Index(NAMES, name="metric")).assign(verdict=verdict)


def _rows(
    benchmark: str, duo: Duo, test: Sequence[Record], large: str, small: str
) -> dict[str, _Row]:
    """Return name -> predictor, in the order of PREDICTORS."""
    raw, own = (single_models(benchmark, calibrated=c).T for c in (False, True))
    pairs = {mode: _of_pair(duos(benchmark, mode=mode), large, small) for mode in get_args(Mode)}
    duo.logits(test)  # refuses records of other models or images
    z = [np.asarray(record.logits, dtype=np.float32) for record in test]
    at_large = z[0].argmax(1)
    fitted = combine("weighted", z, weights=duo.weights).logits
    mean = combine("unweighted", z, own_weights=duo.own_weights).logits
    found = {}
    for name, logits, model in zip(("large", "small"), z, (large, small), strict=True):
        found[f"{name}_raw"] = _Row(logits, raw[model], "none")
    if BENCHMARKS[benchmark].final and large in LARGE:
        values = _of_pair(temperatures(VAL_DATA.get(benchmark, benchmark)), large, small)
        for name, logits, model in zip(("large", "small"), z, (large, small), strict=True):
            at = logits / np.float32(values[f"divisor_single_{name}"])
            found[f"{name}_authors"] = _Row(at, own[model], "authors")
        theirs = [float(values[f"weight_{name}"]) for name in ("large", "small")]
        fused = combine("weighted", z, weights=theirs).logits
        found["duo_authors"] = _Row(
            np.asarray(fused), pairs["weighted"], "authors", confidence_class=at_large
        )
    for name, logits, weight, model in zip(
        ("large", "small"), z, duo.own_weights, (large, small), strict=True
    ):
        found[name] = _Row(np.asarray(weighted([logits], [weight])), own[model], "fitted")
    found["duo"] = _Row(fitted, pairs["weighted"], "fitted", confidence_class=at_large)
    found["unweighted"] = _Row(mean, pairs["unweighted"], "fitted")
    found["uq_only"] = _Row(fitted, pairs["uq_only"], "fitted", at_large, at_large)
    return found


def _of_pair(table: pd.DataFrame, large: str, small: str) -> pd.Series:
    return table[(table["large"] == large) & (table["small"] == small)].iloc[0]


def _scores(row: _Row, labels: np.ndarray) -> Scores:
    return score(
        row.logits, labels, predictions=row.predictions, confidence_class=row.confidence_class
    )


def _half_widths(
    row: _Row, labels: np.ndarray, *, final: bool, resamples: int, seed: int
) -> dict[str, float]:
    """Return metric -> tolerance from the bootstrap, for the metrics that get theirs from it."""
    names = ["sac98"] if final else list(NAMES)
    table = intervals(_scores(row, labels), metrics=names, resamples=resamples, seed=seed)
    widths = (table["high"] - table["low"]) / 2 * (1 if final else sqrt(2))
    if "brier" in widths.index:  # summed over classes here, their mean in the authors' tables
        widths["brier"] /= np.asarray(row.logits).shape[1]
    return {str(name): float(width) for name, width in widths.items()}


def _verdict(
    metric: str, difference: float, tolerance: float, weights: Source, *, final: bool
) -> str:
    if isnan(difference) or isnan(tolerance):
        return "unknown"
    if abs(difference) <= tolerance:
        return "agrees" if final else "within noise"
    if final and weights != "fitted":
        return "differs"
    higher = METRICS[metric].better == "higher"
    return "better" if (difference > 0) == higher else "worse"
