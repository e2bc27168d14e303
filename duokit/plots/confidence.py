"""Confidence of right and wrong answers, and of images that belong to no class."""

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes

from duokit.metrics.arrays import check_confidence
from duokit.metrics.scores import Scores

from .style import OTHERS, ROLES, axes_or_new, percent, styled

RIGHT, WRONG, NO_CLASS = ROLES["duo"], ROLES["large"], OTHERS[1]


@styled
def confidence_histogram(
    scores: Scores,
    ax: Axes | None = None,
    *,
    ood: npt.ArrayLike | None = None,
    bins: int = 20,
    log: bool = False,
) -> Axes:
    """Return axes with the confidence of right and of wrong answers, as shares of each group.

    Each group adds up to 100 %, so that the few wrong answers can be compared with the many right
    ones; the legend says how many images a group holds. A group without images is not drawn.

    Args:
        scores: What duokit.metrics.scores.score returned.
        ax: Axes to draw in; default: a new figure.
        ood: (m,) confidences in [0, 1] of images that belong to none of the classes
            (out-of-distribution; duokit.metrics.scores.confidences), drawn as a third group.
        bins: Bins of equal width between 0 and 1.
        log: Draw the shares on a logarithmic axis.

    Raises:
        TypeError: scores is something else, or ax is not an Axes.
        ValueError: No bin, or ood holds something else than confidences.
    """
    if not isinstance(scores, Scores):
        raise TypeError(
            "scores must come from duokit.metrics.scores.score(logits, labels), "
            f"not {type(scores).__name__}"
        )
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, not {bins}")
    groups = [
        ("right", scores.confidence[scores.correct], RIGHT),
        ("wrong", scores.confidence[~scores.correct], WRONG),
    ]
    if ood is not None:
        groups.append(("no class", check_confidence(ood, "ood"), NO_CLASS))
    ax = axes_or_new(ax)
    for name, confidence, look in groups:
        if not len(confidence):
            continue
        sns.histplot(
            x=confidence,
            bins=np.linspace(0, 1, bins + 1),
            stat="probability",
            element="step",
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.8,
            alpha=0.12,
            label=f"{name} ({len(confidence):,} images)",
            ax=ax,
        )
    ax.set(xlim=(0, 1), xlabel="confidence (%)", ylabel="share of its group (%)")
    if log:
        ax.set_yscale("log")
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)
    ax.legend(loc="upper left" if not log else "best")
    return ax
