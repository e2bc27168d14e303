"""Deep ensembles as records: several networks' records in, one out. Calibrate it afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from duokit.logits import Record, make_record, same_images
from duokit.logits.rounding import rounded
from duokit.models.baselines import ensemble_logits
from duokit.models.linear import nll

SHARED = ("preprocessing", "protocol", "split_seed", "images")


def ensemble_records(
    records: Sequence[Record],
    *,
    pool: Literal["logits", "probs"] = "logits",
    dtype: Literal["float16", "float32"] = "float16",
    command: str = "",
) -> Record:
    """Returns the record of an ensemble: its mean logits, or the log of its mean probabilities.

    Members are pooled as they are. Calibration comes after pooling: fit the weight of the ensemble
    on its val record, alone or in a duo, as for any other model (`fit_duo`, `duokit fit`). FLOPs
    and parameters are the sums of the members'; where they disagree on seed, weights or
    resolution, the record says None or names all.

    Args:
        records: one a member, of the same images; members may differ by seed or in anything else.
        pool: as for `ensemble_logits`; "probs" gives a record of kind "log_probs".
        dtype: how logits are kept.
        command: the command to put into the record.

    Raises:
        ValueError: fewer than two records, other images, parts or splits, or one member twice; as
            `ensemble_logits`.

    Source: as `ensemble_logits`.
    """
    _check(records)
    first = records[0]
    exact = np.asarray(ensemble_logits([each.logits for each in records], pool=pool))
    logits = rounded(exact, dtype)
    known = first.labels >= 0
    change = None
    if known.any():
        labels = first.labels[known]
        change = nll(logits[known], labels) - nll(exact[known], labels)
    config = {
        "command": command,
        "method": f"ensemble: mean {pool} of {len(records)} networks, not yet calibrated",
        "pool": pool,
        "members": member_list(records),
        "nll_change_by_rounding": change,
    }
    shared = {name: _one(each.config.get(name) for each in records) for name in SHARED}
    models = list(dict.fromkeys(each.model for each in records))
    return make_record(
        logits,
        first.labels,
        first.ids,
        model=f"ensemble of {len(records)}: {', '.join(models)}",
        dataset=first.dataset,
        split=first.split,
        weights=", ".join(dict.fromkeys(each.weights for each in records)),
        resolution=_one(each.resolution for each in records),
        split_checksum=next((each.split_checksum for each in records if each.split_checksum), ""),
        flops=_sum(each.flops for each in records),
        parameters=_sum(each.parameters for each in records),
        seed=_one(each.seed for each in records),
        class_names=next((each.class_names for each in records if each.class_names), None),
        kind="logits" if pool == "logits" else "log_probs",
        config=config | {name: value for name, value in shared.items() if value is not None},
    )


def member_list(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns what the record of an ensemble says of each member; None where that is not known."""
    return [
        {
            "model": each.model,
            "resolution": each.resolution,
            "seed": each.seed,
            "kind": each.kind,
            "checkpoint_sha256": each.config.get("checkpoint_sha256"),
            "prediction": each.config.get("prediction"),
        }
        for each in records
    ]


def _check(records: Sequence[Record]) -> None:
    if len(records) < 2:
        raise ValueError(f"{len(records)} records were given: an ensemble has two members or more")
    same_images(*records)
    for name in ("dataset", "split", "split_checksum"):
        values = {getattr(each, name) for each in records} - {""}
        if len(values) > 1:
            raise ValueError(
                f"the members have other values of {name}: {', '.join(sorted(values))}; pool what "
                "was made from the same splits"
            )
    for place, each in enumerate(records):
        twin = next((i for i in range(place) if np.array_equal(records[i].logits, each.logits)), -1)
        if twin >= 0:
            raise ValueError(
                f"records {twin + 1} and {place + 1}, {each.title}, hold the same logits: is one "
                "member there twice?"
            )


def _one(values: Iterable[Any]) -> Any:
    """Returns the value that all have, or None."""
    first, *others = values
    return first if all(other == first for other in others) else None


def _sum(values: Iterable[int | None]) -> int | None:
    """Returns the sum, or None if a value is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
