"""From two runs of `duokit finetune` to their duo.

duo_from_runs("runs/large", "runs/small", fit_duo([large_val, small_val]).weights)
"""

from __future__ import annotations

from pathlib import Path

from duokit.models.build import resolve
from duokit.models.duo.member import Member
from duokit.models.duo.module import AsymmetricDuo, Weights
from duokit.models.tuning.run import Run, load_run


def duo_from_runs(large: str | Path, small: str | Path, weights: Weights) -> AsymmetricDuo:
    """Returns the duo of the networks that two finished runs chose, on the CPU and in eval mode.

    Args:
        large: folder of the large network's run.
        small: folder of the small one's, over the same classes.
        weights: (2,), the large one's first, such as those that `fit_duo` finds on the val records
            of both runs.

    Raises:
        FileNotFoundError: a folder without a finished run.
        ValueError: runs over other classes, or weights that are refused; as `load_run`.
    """
    runs = load_run(large), load_run(small)
    names, others = (run.class_names for run in runs)
    if names != others:
        differing = sorted(set(names) ^ set(others))[:3]
        raise ValueError(
            f"{large} knows {len(names)} classes, {small} knows {len(others)}; "
            + (f"only one knows {', '.join(differing)}" if differing else "their order differs")
            + ": train both on the same data set"
        )
    return AsymmetricDuo(
        runs[0].model,
        runs[1].model,
        weights,
        members=(_member(runs[0]), _member(runs[1])),
        classes=len(names),
        class_names=names,
    ).eval()


def _member(run: Run) -> Member:
    """Returns the name by which the network of a run is built again, and how it sees pictures."""
    library, bare = resolve(run.settings.model, run.settings.source)
    return Member(f"{library}:{bare}", run.preprocessing)
