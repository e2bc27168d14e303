"""ELPV: 2,624 electroluminescence pictures of solar cells, 300 x 300 pixels, grey.

Experts gave each cell a probability of being defective (0, 1/3, 2/3 or 1); a cell of 1/2 or more
counts as defective here, so the label of a third of the defective cells is a judgement. Cells are
monocrystalline or polycrystalline, which look different: a shift that occurs in practice. They were
cut from 44 modules, and which cell came from which is not published, so that cells of one module
are in training and in test.

Source: S. Deitsch et al., "Automatic classification of defective photovoltaic module cells in
electroluminescence images", Solar Energy 185 (2019), arXiv 1807.02894; CC BY-NC-SA 4.0 (not for
commercial use). The pip package elpv-dataset ships the pictures.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

from duokit.images.image_set import ImageSet
from duokit.images.places import candidates
from duokit.images.reading import Files
from duokit.images.splits import Splits, fold_splits, make_splits

NAME = "elpv"
CLASS_NAMES = ("functional", "defective")
THRESHOLD = 0.5
TRAIN, VAL = 0.5, 0.2  # shares of each class
PLACES = ("elpv", "elpv-dataset/src/elpv_dataset/data", "src/elpv_dataset/data")
TYPES = ("mono", "poly")


def load_elpv(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns ELPV; ids such as "images/cell0001.png", columns probability and cell_type.

    Args:
        root: folder with labels.csv and images/; if not given, the pip package elpv-dataset.
        download: not possible here; pip brings the pictures.

    Raises:
        FileNotFoundError: neither the folder nor the package is there.
        ValueError: a table of labels of another form.
    """
    if root is not None:
        places = list(candidates(root, PLACES))
    else:
        spec = importlib.util.find_spec("elpv_dataset")
        places = [Path(p) / "data" for p in (spec.submodule_search_locations or [])] if spec else []
    base = next((place for place in places if (place / "labels.csv").is_file()), None)
    if base is None:
        word = "download is not possible: " if download else ""
        raise FileNotFoundError(
            f"no ELPV {'in ' + str(root) if root else 'here'}: {word}pip install elpv-dataset, "
            "or give the folder with its labels.csv as root"
        )
    table = _labels(base / "labels.csv")
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=tuple(table.index),
        labels=(table["probability"].to_numpy() >= THRESHOLD).astype(np.int64),
        class_names=CLASS_NAMES,
        read=Files(base, tuple(table.index)),
        columns=table,
        licence="CC BY-NC-SA 4.0",
        source="https://github.com/zae-bayern/elpv-dataset",
    )


def default_splits(
    image_set: ImageSet, *, seed: int = 0, fold: int | None = None, cell_type: str = "poly"
) -> Splits:
    """Returns 50 / 20 / 30 % of the cells of one type, and those of the other as "shifted".

    Cells of one module may be in training and in test, since the modules are not published. So test
    tells about new cells of these modules; "shifted" about cells that look different.

    Args:
        image_set: ELPV.
        seed: seed of the draw.
        fold: one of five folds instead, from 0, so that every cell is in test once.
        cell_type: "poly" (1,550 cells, the larger part) or "mono" (1,074).

    Raises:
        ValueError: another cell type, or no such fold.
    """
    if cell_type not in TYPES:
        raise ValueError(f"cell_type is {cell_type!r}; expected one of {', '.join(TYPES)}")
    types = image_set.columns["cell_type"]
    other = next(name for name in TYPES if name != cell_type)
    within, extra = types.index[types == cell_type], {"shifted": types.index[types == other]}
    if fold is not None:
        return fold_splits(
            image_set, fold, seed=seed, within=within, extra=extra, whose=f"{cell_type} cells"
        )
    return make_splits(
        image_set,
        train=TRAIN,
        val=VAL,
        seed=seed,
        within=within,
        extra=extra,
        protocol=f"{cell_type} cells: train 50 %, val 20 %, test 30 % of each class; "
        f"shifted is all {other} cells",
    )


def _labels(path: Path) -> pd.DataFrame:
    """Returns probability and cell type by picture, sorted by the picture's name."""
    try:
        table = pd.read_csv(path, sep=r"\s+", header=None, names=["id", "probability", "cell_type"])
        table = table.astype({"id": str, "probability": float}).set_index("id").sort_index()
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path} is not the table of ELPV's labels ({error})") from error
    if not table["probability"].between(0, 1).all() or not table["cell_type"].isin(TYPES).all():
        raise ValueError(
            f"{path}: expected a picture, a probability in 0..1 and mono or poly in each row"
        )
    return table
