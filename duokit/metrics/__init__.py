"""How good, how calibrated, how well ranked: logits and labels in, numbers with conventions out.

    scores = score(logits, labels)        one pass: per-image uncertainty, NLL, Brier
    table_row(logits, labels)             every metric
    intervals(scores, baseline)           with bootstrap intervals and paired differences

The array functions (`ece`, `aurc`, ...) are the definitions, readable one by one.
"""

from .calibration import ReliabilityCurve, ece, ece_debiased, ece_mass, mce, reliability_curve
from .classwise import ece_class
from .intervals import intervals
from .proper import accuracy, brier, macro_f1, nll
from .scores import Confidences, Scores, confidences, score
from .selective import (
    RiskCoverageCurve,
    augrc,
    aurc,
    auroc,
    coverage_at_accuracy,
    e_aurc,
    risk_at_coverage,
    risk_coverage_curve,
)
from .smooth import ece_smooth
from .table import METRICS, Metric, compare_table, evaluate, table_row

__all__ = [
    "METRICS",
    "Confidences",
    "Metric",
    "ReliabilityCurve",
    "RiskCoverageCurve",
    "Scores",
    "accuracy",
    "augrc",
    "aurc",
    "auroc",
    "brier",
    "compare_table",
    "confidences",
    "coverage_at_accuracy",
    "e_aurc",
    "ece",
    "ece_class",
    "ece_debiased",
    "ece_mass",
    "ece_smooth",
    "evaluate",
    "intervals",
    "macro_f1",
    "mce",
    "nll",
    "reliability_curve",
    "risk_at_coverage",
    "risk_coverage_curve",
    "score",
    "table_row",
]
