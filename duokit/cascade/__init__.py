"""A cascade: the small model answers where it is sure, the large one or the duo answers the rest.

`gatekeeper_loss` tunes a small model for it, `deferral_curve` shows joint accuracy against the
share deferred, `threshold_for_accuracy` and its like choose where to defer, and `fit_cascade` gives
the answers from cached logits. A duo runs both models on every image, a cascade the large one on
some: small + ratio * large FLOPs.

Source: Rabanser et al., arXiv 2502.19335, joined with Asymmetric Duos, arXiv 2505.18636.
"""

from duokit.cascade.cascaded import Cascade, fit_cascade, gate_uncertainty
from duokit.cascade.deferral import (
    DeferralCurve,
    Line,
    confidence_overlap,
    defer_by_gain,
    deferral_curve,
    deferral_performance,
    expected_flops,
)
from duokit.cascade.gatekeeper import (
    GatekeeperParts,
    gatekeeper_loss,
    gatekeeper_parts,
    gatekeeper_sequence_loss,
    sequence_score,
)
from duokit.cascade.intervals import Outcome, cascade_differences, cascade_intervals
from duokit.cascade.thresholds import (
    GRID,
    Check,
    Threshold,
    check_threshold,
    threshold_for_accuracy,
    threshold_for_cost,
    threshold_for_flops,
    threshold_for_ratio,
)

__all__ = [
    "gatekeeper_loss",
    "gatekeeper_parts",
    "GatekeeperParts",
    "gatekeeper_sequence_loss",
    "sequence_score",
    "deferral_curve",
    "DeferralCurve",
    "Line",
    "deferral_performance",
    "confidence_overlap",
    "defer_by_gain",
    "expected_flops",
    "cascade_intervals",
    "cascade_differences",
    "Outcome",
    "threshold_for_accuracy",
    "threshold_for_ratio",
    "threshold_for_flops",
    "threshold_for_cost",
    "Threshold",
    "check_threshold",
    "Check",
    "GRID",
    "fit_cascade",
    "Cascade",
    "gate_uncertainty",
]
