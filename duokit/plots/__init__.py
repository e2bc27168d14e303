"""Figures: each function draws what metrics or fusion returned, and computes nothing of its own.

All have one form, `axes = plot(what, ax=None, *, options)`: they draw into the axes given or into a
new figure, and return the axes, so that a caption, a limit or a line can be added.
"""

from .attribution import attribution_maps
from .balance import gains_by_balance
from .bands import bands
from .confidence import confidence_histogram
from .costs import cost_curves
from .deferral import deferral_curves
from .forest import forest
from .improvement import improvements
from .landscape import nll_landscape
from .pairs import pair_gains
from .reliability import reliability_diagram
from .selective import risk_coverage
from .style import apply_style
from .tradeoff import flops_tradeoff
from .training import training_curves
from .trust import trust_shares

__all__ = [
    "apply_style",
    "attribution_maps",
    "bands",
    "nll_landscape",
    "reliability_diagram",
    "risk_coverage",
    "confidence_histogram",
    "improvements",
    "deferral_curves",
    "cost_curves",
    "forest",
    "flops_tradeoff",
    "gains_by_balance",
    "pair_gains",
    "training_curves",
    "trust_shares",
]
