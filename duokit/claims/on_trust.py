"""What papers say of trust in smaller models, each as numbers of a trust report for or against it.

found = trust_findings(report, second="second seed", shifts=shifts)
trust_ledger(found)                    one verdict a claim
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from duokit.claims.finding import Finding, Says, above, below, verdict
from duokit.trust.agreement import agreement
from duokit.trust.alignment import alignment, alignment_difference
from duokit.trust.report import DUO, TrustReport
from duokit.trust.subgroups import skewsize
from duokit.trust.without_labels import relate

NEAR = 0.03  # a difference of accuracy that still counts as nearly equal
SURE = 0.05  # p-values below it count
Findings = dict[str, list[Finding]]


class TrustClaim(NamedTuple):
    """One claim.

    Attributes:
        text: In words.
        paper: Its authors and arXiv number; "ours" for a question that this book adds.
    """

    text: str
    paper: str


RAI, DUTTA = "Rai et al., 2508.13533", "Dutta et al., 2407.09141"
KAMAL, OURS = "Kamal and Talbert, 2510.06125", "ours"
TRUST_CLAIMS = {
    "maps": TrustClaim(
        "at nearly equal accuracy a small model leans on other regions than the large one: "
        "their maps agree less than those of two trainings of one architecture", RAI,
    ),
    "maps, chance": TrustClaim("yet their maps agree more than chance would have it", OURS),
    "calibration": TrustClaim("at nearly equal accuracy the calibration differs", RAI),
    "calibration, tempered": TrustClaim(
        "it differs still when each model has its own temperature", OURS
    ),
    "flips": TrustClaim(
        "at nearly equal accuracy more answers flip than the accuracies tell", DUTTA
    ),
    "KL and flips": TrustClaim("KL divergence and flips go together over models", DUTTA),
    "KL and direction": TrustClaim(
        "KL follows how many answers change, not whether they improve", "2606.19558"
    ),
    "quantised": TrustClaim(
        "a quantised model answers more like the original than a pruned one of about its size",
        KAMAL,
    ),
    "classes": TrustClaim(
        "at nearly equal accuracy there are classes whose answers change by more than chance", KAMAL
    ),
    "Pearson": TrustClaim(
        "Pearson's chi-squared test finds the changes that tests for paired answers find", OURS
    ),
    "SkewSize": TrustClaim(
        "what an attribute does to the answers is confined to a few classes (positive skew); here "
        "the attribute is that the sidekick disagrees with the large model",
        "Albuquerque et al., 2407.10633",
    ),
    "CCRC": TrustClaim(
        "rank correlation of confidence and correctness (Zhang et al., 2207.00156) puts models on "
        "the same side of the large one as AUROC does", OURS,
    ),
    "usable region": TrustClaim(
        "the model that orders its errors better has the larger usable region (same paper)", OURS
    ),
    "nuclear norm": TrustClaim(
        "without labels, the nuclear norm tells the accuracy of shifted sets of one network better "
        "than their mean does", "Deng et al., 2302.01094",
    ),
    "MaNo": TrustClaim("so does MaNo", "Xie et al., 2405.18979"),
    "closer": TrustClaim("the duo answers more like the large model than the sidekick does", OURS),
    "inherited": TrustClaim("the duo's maps are more like the large model's, too", OURS),
}  # fmt: skip


def trust_findings(
    report: TrustReport,
    *,
    second: str = "",
    pairs: Sequence[tuple[str, str]] = (),
    shifts: Mapping[str, pd.DataFrame] | None = None,
    near: float = NEAR,
) -> Findings:
    """Return the numbers that speak for or against each of TRUST_CLAIMS; none where not measured.

    Convention: "at nearly equal accuracy" takes the models that are at most `near` from the large
    one, but for `second` and the duo. A number with an interval speaks if the interval does.

    Args:
        report: With a duo; with maps for the claims on maps.
        second: Name of the model that is another training of the sidekick's architecture.
        pairs: Names of a quantised and a pruned model of about its size.
        shifts: Network -> one row a set of images; columns accuracy, nuclear_norm and mano.
        near: Largest difference of accuracy that counts as nearly equal, in [0, 1].

    Raises:
        ValueError: A report without a duo, or a name that the report does not have.
    """
    if report.duo is None:
        raise ValueError("the report has no duo: make it with duo=True")
    for name in (*([second] if second else []), *(name for pair in pairs for name in pair)):
        if name not in report.others:
            raise ValueError(f"the report has no model {name!r}: {', '.join(report.others)}")
    accuracy: Any = report.scores["value"].xs("accuracy", level="metric")
    gaps = (accuracy - accuracy[report.large]).abs()
    alike = [name for name in report.others if name not in (DUO, second) and gaps[name] <= near]
    found = {name: list[Finding]() for name in TRUST_CLAIMS}
    found |= _maps(report, second)
    found |= _calibration(report, alike)
    found |= _flips(report, alike)
    found |= _tests(report, alike, pairs)
    found |= _confidence(report)
    for claim, score in (("nuclear norm", "nuclear_norm"), ("MaNo", "mano")):
        found[claim] = [_shifted(name, table, score) for name, table in (shifts or {}).items()]
    return found


def trust_ledger(found: Findings) -> pd.DataFrame:
    """Return one row a claim: claim, paper, findings (how many say what) and verdict.

    Args:
        found: From `trust_findings`.
    """
    rows = {}
    for name, claim in TRUST_CLAIMS.items():
        said = pd.Series([each.says for each in found[name]], dtype=object).value_counts()
        counts = ", ".join(f"{count} {says}" for says, count in said.items())
        rows[name] = {
            "claim": claim.text, "paper": claim.paper, "findings": counts or "none",
            "verdict": verdict(found[name]),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def findings_table(found: Findings) -> pd.DataFrame:
    """Return one row a finding: claim, data, measure, value, low, high, n, says.

    Args:
        found: From `trust_findings`.
    """
    columns = ["data", "measure", "value", "low", "high", "n", "says"]
    rows = [
        {"claim": name} | {column: getattr(each, column) for column in columns}
        for name, some in found.items()
        for each in some
    ]
    return pd.DataFrame(rows, columns=["claim", *columns])


def _maps(report: TrustReport, second: str) -> Findings:
    """Returns what maps say: beside a second training, beside chance, and of the duo."""
    assert report.duo is not None  # the caller has seen to it
    large, small = report.duo.members
    settings = report.settings
    how = {"k": int(settings["k"]), "resamples": int(settings["resamples"])}
    found: Findings = {"maps": [], "maps, chance": [], "inherited": []}
    for explainer, group in report.maps.items():
        label = f"adjusted Jaccard, {explainer}"
        if {large, small, second} <= set(group):
            ceiling = (small, second)
            table = alignment_difference(group, (large, small), ceiling, **how)
            row: Any = table.set_index("measure").loc["adjusted"]
            says = below(row["difference"], row["low"], row["high"])
            found["maps"].append(_of(f"{small} less {second}", label, row, "difference", says))
        if {large, small} <= set(group):
            table = alignment(group, pairs=[(large, small)], **how)
            row = table.set_index("measure").loc["adjusted"]
            says = above(row["value"], row["low"], row["high"])
            found["maps, chance"].append(_of(small, label, row, "value", says))
    gain = report.alignment_gain
    for row in gain[gain["measure"] == "adjusted"].to_dict("records") if len(gain) else ():
        says = above(row["difference"], row["low"], row["high"])
        label = f"adjusted Jaccard, {row['explainer']}, duo less {small}"
        found["inherited"].append(_of(DUO, label, row, "difference", says))
    return found


def _calibration(report: TrustReport, alike: Sequence[str]) -> Findings:
    """Returns the differences of the published measures, raw and tempered."""
    found: Findings = {"calibration": [], "calibration, tempered": []}
    for name, form in ((name, form) for name in alike for form in ("raw", "tempered")):
        table: Any = report.calibration.loc[(name, form)]
        for measure, row in table.to_dict("index").items():
            sure = row["p_holm"] < SURE
            found["calibration" if form == "raw" else "calibration, tempered"].append(
                Finding(
                    name, f"{measure}, {form}, less the large model's", float(row["difference"]),
                    float(row["difference_low"]), float(row["difference_high"]),
                    report.models[name].n, "holds" if sure else "open", group=str(measure),
                )
            )  # fmt: skip
    return found


def _flips(report: TrustReport, alike: Sequence[str]) -> Findings:
    """Returns flips beside the change of accuracy, and what KL follows over models."""
    assert report.duo is not None
    values: Any = report.agreement["value"].unstack("measure")
    found: Findings = {"flips": []}
    for name in alike:
        row: Any = report.agreement.loc[(name, "flips")]
        change = values.loc[name, "accuracy_change"]
        value, low, high = (float(row[e]) - abs(float(change)) for e in ("value", "low", "high"))
        says = above(value, low, high)
        n = report.models[name].n
        found["flips"].append(
            Finding(name, "flips less the change of accuracy", value, low, high, n, says)
        )
    models = values.dropna()
    kl_flips, kl_direction = (
        float(spearmanr(models["kl"], models[each]).statistic) for each in ("flips", "direction")
    )
    n, nan, more = len(models), float("nan"), abs(kl_flips) - abs(kl_direction)
    found["KL and flips"] = [
        Finding("all models", "Spearman of KL and flips", kl_flips, nan, nan, n,
                above(kl_flips, nan, nan))
    ]  # fmt: skip
    found["KL and direction"] = [
        Finding("all models", "|Spearman| of KL with flips less that with direction", more, nan,
                nan, n, above(more, nan, nan))
    ]  # fmt: skip
    gain: Any = report.agreement.loc[DUO]
    found["closer"] = []
    for measure, sign in (("label_agreement", 1), ("kl", -1), ("jensen_shannon", -1)):
        value, low, high = gain.loc[measure, ["difference", "difference_low", "difference_high"]]
        says = above(value, low, high) if sign > 0 else below(value, low, high)
        label = f"{measure}, duo less {report.duo.members[1]}"
        found["closer"].append(Finding(DUO, label, value, low, high, report.models[DUO].n, says))
    return found


def _tests(report: TrustReport, alike: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Findings:
    """Returns quantised beside pruned, classes that changed, and what Pearson's test misses."""
    found: Findings = {"quantised": [], "classes": [], "Pearson": []}
    labels = report.models[report.large].labels
    resamples = int(report.settings["resamples"])
    for quantised, pruned in pairs:
        logits = [
            report.weights[name] * np.asarray(report.models[name].logits, dtype=np.float64)
            for name in (report.large, quantised, pruned)
        ]
        table = agreement(
            logits[0], logits[1], labels, baseline=logits[2], resamples=resamples
        ).measures
        row: Any = table.loc["label_agreement"]
        value, low, high = (float(row[f"difference{end}"]) for end in ("", "_low", "_high"))
        measure = f"share of equal answers, less {pruned}"
        n = len(labels)
        found["quantised"].append(
            Finding(quantised, measure, value, low, high, n, above(value, low, high))
        )
    for name in alike:
        classes: Any = report.classes.loc[name]
        changed = int((classes[["mcnemar_bh", "answers_bh"]] < SURE).any(axis=1).sum())
        found["classes"].append(
            Finding(name, "classes with a change (Benjamini-Hochberg)", changed, np.nan, np.nan,
                    len(classes), "holds" if changed else "open")
        )  # fmt: skip
    for name in report.others:
        p: Any = report.tests["p_value"].loc[name]
        if p["Stuart-Maxwell, swapped"] < SURE:
            says: Says = "holds" if p["Pearson"] < SURE else "fails"
            n = report.models[name].n
            found["Pearson"].append(
                Finding(name, "p of Pearson's test", float(p["Pearson"]), np.nan, np.nan, n, says)
            )
    return found


def _confidence(report: TrustReport) -> Findings:
    """Returns SkewSize of the duo and the large model, and CCRC and usable region beside AUROC."""
    assert report.duo is not None
    large, small = (report.models[name] for name in report.duo.members)
    disagrees = large.logits.argmax(1) != small.logits.argmax(1)
    nan, found = float("nan"), Findings()
    found["SkewSize"] = []
    for name in (report.large, DUO):
        skew = skewsize(report.models[name].logits, large.labels, disagrees).skewness
        n = large.n
        found["SkewSize"].append(
            Finding(name, "SkewSize", skew, nan, nan, n, above(skew, nan, nan))
        )
    auroc: Any = report.scores["value"].xs("auroc", level="metric")
    reliance: Any = report.reliance
    for claim, column in (("CCRC", "ccrc"), ("usable region", "kept")):
        found[claim] = []
        for name in report.others:
            ours = float(reliance.loc[name, column] - reliance.loc[report.large, column])
            theirs = float(auroc[name] - auroc[report.large])
            same = ours * theirs
            says = "open" if same == 0 else above(same, nan, nan)
            found[claim].append(
                Finding(name, f"{column}, less the large model's", ours, nan, nan, large.n, says)
            )
    return found


def _shifted(name: str, table: pd.DataFrame, score: str) -> Finding:
    """Returns by how much a line through a score errs less than the mean accuracy does."""
    told = relate(table[score].to_numpy(), table["accuracy"].to_numpy())
    gain, nan = float(told["error_of_mean"] - told["error"]), float("nan")
    measure = f"error of the mean less that of a line through {score}"
    return Finding(name, measure, gain, nan, nan, len(table), above(gain, nan, nan))


def _of(data: str, measure: str, row: Any, value: str, says: Says) -> Finding:
    number, low, high = (float(row[each]) for each in (value, "low", "high"))
    return Finding(data, measure, number, low, high, int(row["images"]), says)
