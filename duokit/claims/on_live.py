"""Checks of the paper's claims on the live benchmarks, from the committed records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from duokit.claims.finding import Finding, Says, above, below, within
from duokit.claims.live import LivePair, live_pairs, probe_pairs, soup_records
from duokit.claims.on_published import ALMOST_NEVER, CLAIMED, MEANINGFUL, TITLES
from duokit.claims.statistics import rank_correlation, resampled
from duokit.evaluation import fit_duo
from duokit.fusion.weights import fit_weights
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import Scores
from duokit.metrics.table import METRICS

RESAMPLES = 1000
SEED = 0
DRAWS = 30  # of val images, where their number is the question
VAL_SIZES = (100, 500, 2500)
ENOUGH = 0.8  # share of the gain that we call enough


def differences(
    pair: LivePair,
    metrics: Sequence[str],
    *,
    part: str = "test",
    predictor: str = "duo",
    baseline: str = "large",
    words: str = "",
) -> list[Finding]:
    """Return paired differences to the baseline, signed so that above 0 is better.

    Args:
        pair: A live pair.
        metrics: Names from `duokit.metrics.METRICS`.
        part: Part of the data.
        predictor: Whose scores.
        baseline: Whose scores they are compared with.
        words: What is added to each measure.
    """
    found = []
    scores = pair.parts[part]
    table = intervals(
        scores[predictor], scores[baseline], metrics=metrics, resamples=RESAMPLES, seed=SEED
    )
    for metric in metrics:
        sign = 1 if METRICS[metric].better == "higher" else -1
        value, *ends = _difference(table, metric)
        value, low, high = sign * value, *sorted(sign * end for end in ends)
        found.append(
            Finding(
                pair.title, f"{TITLES[metric]}, better by{words}", value, low, high,
                len(scores[predictor]), _above(value, low, high), TITLES[metric],
            )
        )  # fmt: skip
    return found


def gains_at_ten_to_twenty_percent(artifacts: Path) -> list[Finding]:
    """Return the differences of the pairs with a FLOPs balance of .1 to .2."""
    chosen = [pair for pair in live_pairs(artifacts) if 0.1 < pair.balance <= 0.2]
    return [finding for pair in chosen for finding in differences(pair, CLAIMED)]


def harm(artifacts: Path) -> list[Finding]:
    """Return, by data and metric, the share of pairs whose duo is worse.

    Clearly worse: the interval of the paired difference lies on the wrong side of 0. Only that
    counts against the claim; a share of pairs that are worse by chance leaves it open.
    """
    groups: dict[str, list[LivePair]] = {"Caltech-101, probes": list(probe_pairs(artifacts))}
    for pair in live_pairs(artifacts):
        if pair.data != "Caltech-101, probes":
            groups.setdefault(pair.data, []).append(pair)
    found = []
    for data, pairs in groups.items():
        each = [differences(pair, CLAIMED) for pair in pairs]
        for metric, told in zip(CLAIMED, zip(*each, strict=True), strict=True):
            worse = float(np.mean([f.value < 0 for f in told]))
            clear = float(np.mean([f.says == "fails" for f in told]))
            says: Says = "holds" if worse <= ALMOST_NEVER else "open"
            if clear > ALMOST_NEVER:
                says = "fails"
            measure = f"share worse in {TITLES[metric]} (clearly: {clear:.3f})"
            found.append(
                Finding(data, measure, worse, np.nan, np.nan, len(pairs), says, TITLES[metric])
            )
    return found


def unweighted_at_small_balance(artifacts: Path) -> list[Finding]:
    """Return what the plain average does for sidekicks of at most .05 of the FLOPs."""
    found = []
    for pair in (*live_pairs(artifacts), *probe_pairs(artifacts)):
        if pair.balance <= 0.05 and "unweighted" in pair.parts["test"]:
            (plain,) = differences(pair, ["accuracy"], predictor="unweighted", words=", unweighted")
            says = _above(-plain.value, -plain.high, -plain.low)
            found.append(replace(plain, says=says, group="unweighted harms"))
            (more,) = differences(
                pair, ["accuracy"], baseline="unweighted", words=" than unweighted"
            )
            found.append(replace(more, group="weights mend it"))
    return found


def uq_only(artifacts: Path) -> list[Finding]:
    """Return what the duo's uncertainty gains where the large model keeps the answer."""
    return [
        finding
        for pair in live_pairs(artifacts)
        if "uq_only" in pair.parts["test"]
        for finding in differences(pair, ["auroc", "aurc"], predictor="uq_only", words=", UQ only")
    ]


def better_than_both(artifacts: Path) -> list[Finding]:
    """Return differences to the better member, chosen by the NLL on test."""
    found = []
    for pair in live_pairs(artifacts):
        scores = pair.parts["test"]
        best = min(("large", "small"), key=lambda name: float(scores[name].nll.mean()))
        words = f" than the better member ({best})"
        found += differences(pair, ["nll", "aurc", "accuracy"], baseline=best, words=words)
    return found


def calibration_error(artifacts: Path) -> list[Finding]:
    """Return the change of the ECE."""
    found = []
    for pair in live_pairs(artifacts):
        (finding,) = differences(pair, ["ece"])
        says = _above(finding.value, finding.low, finding.high, -MEANINGFUL)
        found.append(replace(finding, says=says, group=pair.data))
    return found


def entropy_against_response(artifacts: Path) -> list[Finding]:
    """Return by how much the duo's entropy ranks worse than 1 - probability."""
    found = []
    for pair in live_pairs(artifacts):
        response = pair.parts["test"]["duo"]
        table = intervals(
            response, by_entropy(response), metrics=["auroc"], resamples=RESAMPLES, seed=SEED
        )
        value, low, high = _difference(table, "auroc")
        says = within(low, high, MEANINGFUL)
        measure = "AUROC of 1 - probability less that of entropy"
        found.append(Finding(pair.title, measure, value, low, high, len(response), says, pair.data))
    return found


def by_entropy(scores: Scores) -> Scores:
    """Return the scores with the entropy, as a share of log k, in the place of 1 - probability."""
    logs = torch.log_softmax(scores.logits.double(), dim=1)
    entropy = -(logs.exp() * logs).sum(1).cpu().numpy() / np.log(scores.classes)
    return replace(scores, uncertainty=entropy, confidence=1 - entropy)


def weights_by_balance(artifacts: Path) -> list[Finding]:
    """Return how the large model's relative weight goes with FLOPs balance, probes alone."""
    pairs = probe_pairs(artifacts)
    found = []
    for name in sorted({pair.large for pair in pairs if "lite2" in pair.large}):
        mine = [(p.small, p.balance, p.ratio) for p in pairs if p.large == name]
        table = pd.DataFrame(mine, columns=["small", "balance", "ratio"])
        table = table[np.isfinite(table["ratio"])]
        value, low, high = resampled(table, rank_correlation("balance", "ratio"))
        measure = "rank correlation of the large model's relative weight with FLOPs balance"
        title = f"Caltech-101, probes: {name.removeprefix('tf_efficientnet_')}"
        says = below(value, low, high)
        found.append(
            Finding(title, measure, value, low, high, len(table), says, "falls with balance")
        )
    return found


def soups(artifacts: Path) -> list[Finding]:
    """Return what a soup of sidekicks adds to the large model, and to the sweep's best sidekick."""
    records = soup_records(artifacts)
    large = records["large"]
    duos = {}
    for kind in ("best", "greedy", "uniform"):
        duo = fit_duo([large["val"], records[kind]["val"]])
        duos[kind] = duo.answers([large["test"], records[kind]["test"]])
    found = []
    for kind in ("greedy", "uniform"):
        parts = {"test": duos[kind] | {"best": duos["best"]["duo"]}}
        pair = LivePair("Caltech-101, fine-tuned", "Lite2", f"{kind} soup of Lite0", (), parts)
        metrics = ["accuracy", "nll", "aurc"]
        for finding in differences(pair, metrics):
            found.append(replace(finding, group="a soup helps as sidekick"))
        for finding in differences(
            pair, metrics, baseline="best", words=" than with the best single run"
        ):
            says = _above(finding.value, finding.low, finding.high, -MEANINGFUL)
            found.append(replace(finding, says=says, group="no worse than a single run"))
    return found


def shifted(artifacts: Path) -> list[Finding]:
    """Return differences on shifted parts, with the weights that were fitted without shift."""
    found = []
    for pair in live_pairs(artifacts):
        for part in pair.parts:
            if part.startswith("shifted"):
                which = part.removeprefix("shifted-").replace("fold-", "fold ")
                words = f", shifted, {which}" if "fold" in which else f", severity {which}"
                for finding in differences(
                    pair, ["accuracy", "nll", "aurc"], part=part, words=words
                ):
                    found.append(replace(finding, group=f"{pair.data}, {finding.group}"))
    return found


def val_size(artifacts: Path) -> list[Finding]:
    """Return which share of the test NLL gain is kept with fewer val images, drawn at random."""
    return [
        _kept(pair, images)
        for pair in live_pairs(artifacts)
        for images in VAL_SIZES
        if pair.records and images < pair.duos[0].val[0].n
    ]


def _kept(pair: LivePair, images: int) -> Finding:
    """Return the share over draws; the baseline's temperature is fitted on the same images."""
    val, (large, small) = pair.duos[0].val, pair.records["test"]
    scores = pair.parts["test"]
    whole = _nll(scores["large"]) - _nll(scores["duo"])
    logits = [torch.from_numpy(record.logits).double() for record in (large, small)]
    true = torch.from_numpy(large.labels)
    kept = []
    for draw in range(DRAWS):
        rows = np.random.default_rng([SEED, draw]).permutation(val[0].n)[:images]
        some, labels = [record.logits[rows] for record in val], val[0].labels[rows]
        both, alone = fit_weights(some, labels).weights, fit_weights(some[:1], labels).weights
        fused = both[0] * logits[0] + both[1] * logits[1]
        gain = cross_entropy(alone[0] * logits[0], true) - cross_entropy(fused, true)
        kept.append(float(gain) / whole)
    low, value, high = (float(q) for q in np.quantile(kept, [0.025, 0.5, 0.975]))
    says = above(value, low, high, ENOUGH)
    measure = f"share of the NLL gain kept with {images} val images"
    return Finding(pair.title, measure, value, low, high, DRAWS, says, f"{images} images")


def useless_sidekick(artifacts: Path) -> list[Finding]:
    """Return the weight of a sidekick whose answers belong to other images: it should be 0."""
    found = []
    for pair in live_pairs(artifacts):
        if not pair.records:
            continue
        large, small = pair.duos[0].val
        rows = np.random.default_rng(SEED).permutation(small.n)
        fit = fit_weights([large.logits, small.logits[rows]], large.labels)
        value, error = float(fit.weights[1]), float(fit.standard_errors[1])
        error = 0.0 if np.isnan(error) else error
        says: Says = "holds" if value <= 2 * error + 1e-6 else "fails"
        measure = "weight of a sidekick with shuffled answers"
        low, high = max(0.0, value - 2 * error), value + 2 * error
        found.append(Finding(pair.title, measure, value, low, high, small.n, says, pair.data))
    return found


def _above(value: float, low: float, high: float, bound: float = 0.0) -> Says:
    """Return what `above` says, or "open" where the images are too few for an interval."""
    return "open" if np.isnan(low) or np.isnan(high) else above(value, low, high, bound)


def _difference(table: pd.DataFrame, metric: str) -> tuple[float, float, float]:
    names = ["difference", "difference_low", "difference_high"]
    value, low, high = table.loc[metric, names].to_numpy(dtype=float)
    return float(value), float(low), float(high)


def _nll(scores: Scores) -> float:
    return float(scores.nll.mean())
