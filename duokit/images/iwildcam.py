"""iWildCam 2020 in the splits of WILDS, version 2.0: 203,029 pictures of camera traps, 182 classes.

Training, id_val and id_test share their cameras; WILDS's test and val have other cameras. As in the
paper, weights are fitted on id_val, and id_test and test are reported; WILDS's val, which has other
cameras too, is in no part.

Source: S. Beery, E. Cole, A. Gjoka, "The iWildCam 2020 Competition Dataset", arXiv 2004.10340;
P. W. Koh et al., "WILDS", arXiv 2012.07421; Community Data License Agreement, Permissive, 1.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from duokit.images.fetch import fetch
from duokit.images.image_set import ImageSet
from duokit.images.listing import files
from duokit.images.official import Published, fixed_splits
from duokit.images.places import VARIABLE, candidates, data_folder
from duokit.images.reading import Files
from duokit.images.splits import Splits

NAME = "iwildcam"
CLASSES = 182
FOLDER = "iwildcam_v2.0"
PLACES = (FOLDER, f"{FOLDER}/{FOLDER}", "iwildcam")
METADATA, CATEGORIES, PICTURES = "metadata.csv", "categories.csv", "train"
PARTS = {"train": "train", "val": "id_val", "test": "id_test", "shifted": "test"}  # ours: WILDS's
SPLITS = (*PARTS.values(), "val")
COLUMNS = {
    "split": "split",
    "location_remapped": "location",
    "sequence_remapped": "sequence",
    "datetime": "datetime",
}
OLD = ("train.csv", "val_trans.csv", "test_trans.csv")  # in place of metadata.csv in version 1.0
PUBLISHED = Published(
    sizes={"train": 129_809, "val": 7314, "test": 8154, "shifted": 42_791},
    unknown="the names of the files, whose list is not known here",
)


def load_iwildcam(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns iWildCam2020-WILDS; ids are file names, columns split, location, sequence, datetime.

    All five splits of WILDS are in the set, `split` says which. Locations (cameras) and sequences
    (bursts of one camera) are numbers; pictures of one sequence are near-duplicates.

    Args:
        root: folder with metadata.csv, categories.csv and train/, or one above it, or the archive;
            the data folder (DUOKIT_DATA) if not given.
        download: whether to fetch it (12 GB) where it is not found.

    Raises:
        FileNotFoundError: not found and not downloaded, or pictures that are missing.
        ValueError: another version, or a table of another form.
    """
    base = _find(root)
    if base is None and download:
        fetch(NAME, Path(root) if root is not None else data_folder())
        base = _find(root)
    if base is None:
        raise FileNotFoundError(
            f"no iWildCam2020-WILDS ({METADATA}) in {root or data_folder()}: duokit data fetch "
            f"{NAME}, or give its folder or archive as root (or in the variable {VARIABLE})"
        )
    table = _metadata(base / METADATA)
    names = _class_names(base / CATEGORIES)
    _require_pictures(base / PICTURES, table.index, base / METADATA)
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=tuple(table.index),
        labels=table["y"].to_numpy(),
        class_names=names,
        read=Files(base / PICTURES, tuple(table.index)),
        columns=table[list(COLUMNS)].rename(columns=COLUMNS),
        licence="CDLA-Permissive-1.0",
        source="https://wilds.stanford.edu/datasets/#iwildcam",
    )


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns WILDS's train, id_val as val, id_test as test and test as "shifted", as the authors.

    Args:
        image_set: iWildCam2020-WILDS.
        seed: kept in the splits; nothing is drawn.

    Raises:
        ValueError: a split of WILDS without pictures.
    """
    theirs = image_set.columns["split"]
    parts = {ours: tuple(theirs.index[theirs == name]) for ours, name in PARTS.items()}
    rule = "WILDS's train, id_val as val, id_test as test, test as shifted; its val is not used"
    return fixed_splits(image_set, parts, PUBLISHED, seed=seed, rule=rule)


def _find(root: str | Path | None) -> Path | None:
    for place in candidates(root, PLACES):
        if (place / METADATA).is_file():
            return place
        if all((place / name).is_file() for name in OLD):
            raise ValueError(
                f"{place} is version 1.0 of iWildCam2020-WILDS ({', '.join(OLD)}), with other "
                f"splits and classes: fetch version 2.0 (duokit data fetch {NAME})"
            )
    return None


def _metadata(path: Path) -> pd.DataFrame:
    """Returns the table of pictures, sorted by file name, which is its index."""
    table = _read(path)
    missing = [name for name in ("filename", "y", *COLUMNS) if name not in table]
    if missing:
        raise ValueError(
            f"{path} lacks the columns {', '.join(missing)}: it is not the metadata of "
            "iWildCam2020-WILDS 2.0; other years of iWildCam have other tables"
        )
    splits = sorted({*table["split"].dropna()} - {*SPLITS})
    y = pd.to_numeric(table["y"], errors="coerce")
    if splits or table["split"].isna().any():
        raise ValueError(f"{path}: split is {splits or 'empty'}; expected {', '.join(SPLITS)}")
    if y.isna().any() or (y % 1 != 0).any() or not y.between(0, CLASSES - 1).all():
        raise ValueError(
            f"{path}: y goes from {y.min()} to {y.max()}; expected whole numbers from 0 to "
            f"{CLASSES - 1}, the classes of version 2.0"
        )
    if table["filename"].isna().any() or table["filename"].duplicated().any():
        raise ValueError(f"{path}: a filename is empty or given twice: unpack the archive again")
    return table.assign(y=y.astype(np.int64)).set_index("filename").sort_index()


def _class_names(path: Path) -> tuple[str, ...]:
    """Returns the names of the 182 classes; the table has a row for each y, and rows for others."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: unpack the archive whole")
    table = _read(path)
    if not {"y", "name"} <= {*table.columns}:
        raise ValueError(
            f"{path} has the columns {', '.join(table.columns)}; expected y and name among them"
        )
    table = table.assign(y=pd.to_numeric(table["y"], errors="coerce"))
    table = table[table["y"].between(0, CLASSES - 1)].sort_values("y")
    if table["y"].tolist() != list(range(CLASSES)):
        raise ValueError(
            f"{path} names {table['y'].nunique()} of the {CLASSES} classes, or one twice: "
            "unpack the archive again"
        )
    return tuple(table["name"].astype(str))


def _read(path: Path) -> pd.DataFrame:
    texts = dict.fromkeys(("filename", "split", "datetime", "name"), str)
    try:
        return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path} is not a readable table ({error}): unpack it again") from error


def _require_pictures(folder: Path, names: pd.Index, table: Path) -> None:
    """Raises FileNotFoundError if a picture of the table is not in the folder."""
    there = {*files(folder)} if folder.is_dir() else set()
    missing = [name for name in names if name not in there]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing):,} of the {len(names):,} pictures in {table} (the first "
            f"is {missing[0]}): unpack the archive whole"
        )
