"""Computes the checksums of the authors' splits that duokit.images keeps (PUBLISHED).

    python tools/split_checksums.py validation_labels.txt

The file has one WordNet id a line, for ILSVRC2012_val_00000001 to _00050000. It is part of the pip
package tensorflow-datasets (datasets/imagenet2012/validation_labels.txt).
"""

from __future__ import annotations

import sys
from pathlib import Path

from duokit.images import caltech256, imagenet
from duokit.images.official import AUTHORS_SEED, drawn_positions, positions_checksum
from duokit.images.splits import Splits


def imagenet_ids(labels: list[str]) -> tuple[str, ...]:
    """Returns the ids of ImageNet's validation pictures in order, from the label of each."""
    named = enumerate(labels, start=1)
    return tuple(sorted(f"{wnid}/ILSVRC2012_val_{number:08d}.JPEG" for number, wnid in named))


def main(arguments: list[str]) -> int:
    """Returns 0 after printing the checksums."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    labels = Path(arguments[0]).read_text(encoding="ascii").split()
    wanted = sum(imagenet.PUBLISHED.sizes.values())
    if len(labels) != wanted:
        raise ValueError(f"{arguments[0]} has {len(labels):,} lines; expected {wanted:,}")
    ids = imagenet_ids(labels)
    for module in (imagenet, caltech256):
        sizes = module.PUBLISHED.sizes
        drawn = drawn_positions(sum(sizes.values()), sizes, seed=AUTHORS_SEED)
        print(f"{module.NAME} positions {positions_checksum(drawn)}")
        if module is imagenet:
            parts = {part: tuple(ids[row] for row in rows) for part, rows in drawn.items()}
            print(f"{module.NAME} ids {Splits(module.NAME, '', 0, parts).checksum}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
