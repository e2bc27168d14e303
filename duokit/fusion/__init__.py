"""The paper: several models' logits become one answer.

`fit_weights` finds the weights on the validation split, `weighted` applies them, `sidekick_test`
says beforehand whether a sidekick can help, `combine` holds the alternatives to compare with.
"""

from duokit.fusion.combine import (
    MODES,
    Fused,
    Mode,
    combine,
    most_confident,
    probability_average,
    unweighted,
    weighted,
)
from duokit.fusion.landscape import Landscape, nll_landscape
from duokit.fusion.sidekick import SidekickTest, sidekick_test
from duokit.fusion.weights import WeightFit, fit_weights

__all__ = [
    "MODES",
    "Fused",
    "Landscape",
    "Mode",
    "SidekickTest",
    "WeightFit",
    "combine",
    "fit_weights",
    "most_confident",
    "nll_landscape",
    "probability_average",
    "sidekick_test",
    "unweighted",
    "weighted",
]
