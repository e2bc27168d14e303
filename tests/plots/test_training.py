"""Training curves: one line a run, its epochs and its scores as they are."""

import pytest

from duokit.plots import training_curves

ROWS = [
    {"epoch": 1, "loss": 2.0, "val_nll": 1.5, "val_accuracy": 0.4, "val_macro_f1": 0.3},
    {"epoch": 2, "loss": 1.0, "val_nll": 0.9, "val_accuracy": 0.7, "val_macro_f1": 0.6},
]


@pytest.mark.parametrize("score", ["loss", "val_nll", "val_accuracy", "val_macro_f1"])
def test_the_lines_are_the_rows(score):
    ax = training_curves({"large": ROWS, "small": ROWS[:1]}, score=score)
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert lines["large"] == [[row["epoch"], row[score]] for row in ROWS]
    assert len(lines["small"]) == 1
    assert all(tick == int(tick) for tick in ax.get_xticks())


@pytest.mark.parametrize("histories", [{}, {"a": []}])
def test_no_epoch_is_an_error(histories):
    with pytest.raises(ValueError, match="no run, or one of which no epoch"):
        training_curves(histories)


def test_an_unknown_score_is_an_error():
    with pytest.raises(ValueError, match="score is 'lr'; expected one of"):
        training_curves({"a": ROWS}, score="lr")
