"""What a smaller version of a network costs and keeps: accuracy, answers, bytes, multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from duokit.logits import Record, same_images
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import score

CHANGE = {"difference": "difference", "low": "difference_low", "high": "difference_high"}


def compression_table(
    large: Record,
    smaller: Mapping[str, Record],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return one row a network: what it weighs and how much of the large one's accuracy it keeps.

    Convention: a file in float32 weighs four bytes a parameter where the record does not say more
    (`duokit compress` notes what it wrote). A pruned network's zeros are multiplied all the same
    by the libraries here, so that "flops" counts them and "flops left" does not.

    Args:
        large: The large network's record.
        smaller: Name -> record of a compressed, distilled or otherwise smaller one, same images.
        resamples: Of the bootstrap over images, 1 or more.
        seed: Of the bootstrap.
        level: Of the intervals, in (0, 1).

    Returns:
        Index network, the large one first as "large"; columns accuracy, difference (less the large
        one's), low, high (of it), nll, answers (share of equal answers), MB (10^6 bytes of the
        file), size and flops (as shares of the large network's), flops left.

    Raises:
        ValueError: No smaller network, one called "large", other images, or a record without FLOPs
            or parameters.
    """
    if not smaller or "large" in smaller:
        raise ValueError(f"smaller has {', '.join(smaller) or 'nothing'}: expected other names")
    same_images(large, *smaller.values())
    whole = _weight(large)
    base = score(large.logits, large.labels)
    rows: dict[str, dict[str, Any]] = {}
    for name, record in {"large": large, **smaller}.items():
        own, answers = _weight(record), record.logits.argmax(1)
        scores = score(record.logits, record.labels)
        table: Any = intervals(
            scores, None if name == "large" else base, metrics=("accuracy", "nll"),
            resamples=resamples, seed=seed, level=level,
        )  # fmt: skip
        found = table.loc["accuracy"]
        rows[name] = {
            "accuracy": found["value"],
            **{new: found.get(old, float("nan")) for new, old in CHANGE.items()},
            "nll": table.loc["nll", "value"],
            "answers": float((answers == large.logits.argmax(1)).mean()),
            "MB": own["bytes"] / 1e6,
            "size": own["bytes"] / whole["bytes"],
            "flops": own["flops"] / whole["flops"],
            "flops left": own["left"] / whole["flops"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("network")


def _weight(record: Record) -> dict[str, float]:
    """Returns bytes of the file, multiply-adds, and multiply-adds without those of zeros."""
    if not record.flops or not record.parameters:
        raise ValueError(f"{record.title} does not say its FLOPs and parameters: make it again")
    size: dict[str, Any] = record.config.get("size", {})
    return {
        "bytes": float(size.get("bytes", 4 * record.parameters)),
        "flops": float(record.flops),
        "left": float(size.get("nonzero_flops", record.flops)),
    }
