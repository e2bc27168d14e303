"""The 1,000 classes of ILSVRC 2012, by their WordNet ids, in the order of every ImageNet head."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from duokit.images.listing import folders

WNID = re.compile(r"n\d{8}")


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Returns the 1,000 WordNet ids, sorted as text; class number c is number c of them.

    timm and torchvision number the outputs of their ImageNet networks in this order.

    Source: Russakovsky et al., arXiv 1409.0575.
    """
    text = files("duokit.images").joinpath("imagenet_wnids.txt").read_text(encoding="ascii")
    return tuple(text.split())


def wnid_folders(folder: Path) -> tuple[str, ...]:
    """Returns the names in a folder that are those of folders and WordNet ids, sorted."""
    return tuple(filter(WNID.fullmatch, folders(folder)))
