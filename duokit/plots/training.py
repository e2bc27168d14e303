"""How runs of fine-tuning went: a score on val, epoch by epoch."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import axes_or_new, looks, styled

SCORES = {
    "val_accuracy": "val accuracy",
    "val_macro_f1": "val macro-F1",
    "val_nll": "val NLL (nats)",
    "loss": "training loss (nats)",
}


@styled
def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    ax: Axes | None = None,
    *,
    score: str = "val_accuracy",
) -> Axes:
    """Return axes with one line a run: its score after each epoch.

    Args:
        histories: Name of the run -> its rows, one an epoch, as `Progress.history` and the config
            of a record have them.
        ax: Axes to draw in; default: a new figure.
        score: "val_accuracy", "val_macro_f1" (fractions), "val_nll" or "loss" (nats).

    Raises:
        TypeError: Not a mapping, or ax is not an Axes.
        ValueError: No run, a run without an epoch, or an unknown score.
    """
    if not isinstance(histories, Mapping):
        raise TypeError(
            f"histories must be a mapping of names to rows, not {type(histories).__name__}"
        )
    if not histories or not all(len(rows) for rows in histories.values()):
        raise ValueError("histories holds no run, or one of which no epoch has ended")
    if score not in SCORES:
        raise ValueError(f"score is {score!r}; expected one of {', '.join(SCORES)}")
    ax = axes_or_new(ax)
    for (name, rows), look in zip(histories.items(), looks(histories).values(), strict=True):
        ax.plot(
            [row["epoch"] for row in rows],
            [row[score] for row in rows],
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker,
            label=name,
        )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel(SCORES[score])
    ax.legend()
    return ax
