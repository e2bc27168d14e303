"""Which maps belong to which model of a report, and what they say of each beside the large one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from duokit.logits.record import Record
from duokit.trust.alignment import alignment, alignment_difference
from duokit.trust.maps import LINEAR, AttributionMaps, duo_maps, same_parts


@dataclass(frozen=True, eq=False)
class Duet:
    """The duo of a report, by the names and weights of its members.

    Attributes:
        name: of the duo.
        members: names of the large model and of the small one.
        weights: one a member.
    """

    name: str
    members: tuple[str, str]
    weights: tuple[float, float]


def maps_by_model(
    maps: Sequence[AttributionMaps], models: Mapping[str, Record], duo: Duet | None = None
) -> dict[str, dict[str, AttributionMaps]]:
    """Returns explainer -> model -> its maps, the large model's first.

    A file belongs to the model of the same network, resolution and, where both know it, digest of
    the trained weights. A second file of a model by the same explainer with another seed is kept as
    "MODEL, seed S": the large one's is the ceiling. The duo's maps are made from its members'
    where that is exact (see `duo_maps`), and taken from a file otherwise.

    Args:
        maps: of the same images and regions.
        models: name -> record, the large model's first, without the duo.
        duo: the duo, if the report has one.

    Raises:
        ValueError: maps of no model, of two, of images that the records lack, or twice the same;
            an explainer without maps of the large model.
    """
    large = next(iter(models))
    found: dict[str, dict[str, AttributionMaps]] = {}
    for each in maps:
        missing = set(each.ids) - set(models[large].ids)
        if missing:
            raise ValueError(
                f"the maps of {each.model} show {min(missing)!r}, which is no image of "
                f"{models[large].title}: explain images of the same part"
            )
        group = found.setdefault(str(each.explainer.get("explainer")), {})
        name = _owner(each, models, duo)
        first = group.get(name)
        if first is not None:
            name = f"{name}, seed {each.seed}"
            if first.seed == each.seed or name in group:
                raise ValueError(
                    f"two files hold maps of {each.model} by {each.explainer} with seed "
                    f"{each.seed}: give one of them"
                )
        group[name] = each
    for how, group in found.items():
        if large not in group:
            raise ValueError(f"there are no maps of {large} by {how} to compare with")
        same_parts(group)
        if duo is not None and duo.name not in group and set(duo.members) <= set(group):
            one, other = (group[name] for name in duo.members)
            if one.question.get("output") in LINEAR and np.array_equal(one.targets, other.targets):
                group[duo.name] = duo_maps(one, other, duo.weights)
        order = [name for name in (*models, duo.name if duo else "") if name in group]
        found[how] = {name: group[name] for name in dict.fromkeys([*order, *group])}
    return found


def aligned(
    maps: Mapping[str, Mapping[str, AttributionMaps]],
    duo: Duet | None,
    *,
    k: int,
    resamples: int,
    seed: int,
    level: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns how far each map agrees with the large model's, and how much more the duo's does.

    Args:
        maps: from `maps_by_model`.
        duo: the duo, if there is one.
        k: most important regions that are compared.
        resamples: of the bootstrap over images.
        seed: of the resamples.
        level: of the intervals.

    Returns:
        Columns of `alignment`, with explainer and model in place of first and second; columns of
        `alignment_difference` with explainer, value being the duo's and other the small model's.
        Both are empty where there is nothing to compare.

    Raises:
        ValueError: as `alignment`.
    """
    how = {"k": k, "resamples": resamples, "seed": seed, "level": level}
    tables, gains = [pd.DataFrame()], [pd.DataFrame()]
    for explainer, group in maps.items():
        large, *rest = group
        if not rest:
            continue
        table = alignment(group, pairs=[(large, name) for name in rest], **how)  # type: ignore[arg-type]
        table = table.drop(columns="first").rename(columns={"second": "model"})
        tables.append(table.assign(explainer=explainer))
        if duo is not None and {duo.name, *duo.members} <= set(group):
            pairs = (large, duo.name), (large, duo.members[1])
            gain = alignment_difference(group, *pairs, **how)  # type: ignore[arg-type]
            gains.append(gain.assign(explainer=explainer))
    return tuple(pd.concat(each, ignore_index=True) for each in (tables, gains))  # type: ignore[return-value]


def _owner(maps: AttributionMaps, models: Mapping[str, Record], duo: Duet | None) -> str:
    """Returns the name of the model that the maps are of."""
    names = [name for name, record in models.items() if _is_of(maps, record)]
    if duo is not None and len(maps.weights) == 2:
        title = " + ".join(_called(models[name]) for name in duo.members)
        if maps.model == title and not np.allclose(maps.weights, duo.weights, rtol=0.01):
            raise ValueError(
                f"the maps of {maps.model} have weights {list(maps.weights)}, the duo "
                f"{[round(w, 4) for w in duo.weights]}: explain it with these, or leave them out"
            )
        names += [duo.name] if maps.model == title else []
    if len(names) != 1:
        told = ", ".join(names) if names else f"none of {', '.join(models)}"
        raise ValueError(
            f"the maps of {maps.model} (weights {', '.join(maps.checkpoints) or 'not known'}) "
            f"belong to {told}; expected one model, told by network, resolution and weights"
        )
    return names[0]


def _is_of(maps: AttributionMaps, record: Record) -> bool:
    digest = record.config.get("checkpoint_sha256")
    known = bool(digest and maps.checkpoints)
    # Predictions by dropout masks, views and the like name the same weights, and have no maps; so
    # do networks that were rounded, pruned or shown smaller pictures and not trained afterwards.
    plain = (record.config.get("prediction") or {}).get("method", "plain") == "plain"
    plain &= digest is None or record.config.get("compressed_from") != digest
    return maps.model == _called(record) and plain and (not known or maps.checkpoints == (digest,))


def _called(record: Record) -> str:
    return f"{record.model}@{record.resolution}" if record.resolution else record.model
