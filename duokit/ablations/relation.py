"""What two members have in common: a network, a family, or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Relation = Literal[
    "other initialisation", "other training", "other resolution", "same family", "other family"
]
# Nearest first; a pair has the first that fits.
RELATIONS: dict[str, str] = {
    "other initialisation": "the same network and resolution, from another seed",
    "other training": "the same network, resolution and seed, trained or asked in another way",
    "other resolution": "the same network at another resolution",
    "same family": "another network of the same family",
    "other family": "a network of another family",
}
WORDS = "atto femto pico nano micro tiny small medium base large huge giant xxs xs xl xxl"
SIZES = frozenset([*WORDS.split(), *"abcdefghlmnst"])


def relation(
    large: tuple[str, int | None, int | None],
    small: tuple[str, int | None, int | None],
    *,
    families: Mapping[str, str] | None = None,
) -> Relation:
    """Return what the two members of a pair have in common, one of RELATIONS.

    Args:
        large: Model, resolution (pixels) and seed of the large model, as in its record.
        small: The same of the sidekick.
        families: Model -> family; models that are not in it get `family`'s.
    """
    (model, resolution, seed), (other, other_resolution, other_seed) = large, small
    if model == other:
        if resolution != other_resolution:
            return "other resolution"
        return "other training" if seed == other_seed else "other initialisation"
    known = families or {}
    same = known.get(model, family(model)) == known.get(other, family(other))
    return "same family" if same else "other family"


def family(model: str) -> str:
    """Return the family that the name of a network suggests, such as "resnet" for "resnet50".

    The name without its library ("torchvision:"), the tag of its weights (after a full stop), and
    everything from the first mark of size on: a number, "base", "b2", "lite0". A version ("v2")
    belongs to the family. This reads names and nothing else: "convnext" and "convnextv2" are two
    families; give `families` to `relation` where that is not meant.

    Args:
        model: Name as its library spells it.
    """
    stem = model.lower().rpartition(":")[2].partition(".")[0]
    kept: list[str] = []
    for word in stem.split("_"):
        version = re.fullmatch(r"([a-z]*v\d+)(.*)", word)
        letters = version[1] if version else re.match(r"[a-z]*", word)[0]  # type: ignore[index]
        numbered = letters != word and len(letters) == 1  # such as b2 and x2_0
        if kept and (not letters or letters in SIZES or numbered):
            break
        kept.append(letters or word)
        if letters != word:
            break
    return "_".join(kept)
