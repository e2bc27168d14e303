"""What each of ImageNet's validation pictures shows, from the files that say so."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from duokit.images.wnids import WNID, imagenet_wnids

BY_LINE = ("imagenet_2012_validation_synset_labels.txt", "validation_labels.txt")
KAGGLE = "LOC_val_solution.csv"
DEVKIT = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
READER = """
import json, sys
from scipy.io import loadmat
synsets = loadmat(sys.argv[1], squeeze_me=True)["synsets"]
rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
print(json.dumps({int(number): str(wnid) for number, wnid in rows}))
"""
BELOW = ("", "data", "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12/data")


def find_labels(folders: Sequence[Path], pictures: Path) -> tuple[dict[int, str], Path]:
    """Returns number of the picture -> WordNet id, and the file that says so.

    Looked for, in this order, in each of the folders: one WordNet id a line, for pictures 1, 2, ...
    (imagenet_2012_validation_synset_labels.txt or validation_labels.txt); Kaggle's
    LOC_val_solution.csv; the official development kit unpacked (ILSVRC2012_devkit_t12), whose
    class numbers are not in the order of the WordNet ids and are translated by its meta.mat.

    Args:
        folders: where to look, in order.
        pictures: the folder of pictures, for the message.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another form.
    """
    for folder in dict.fromkeys(folders):
        for below in BELOW:
            place = folder / below
            for name in BY_LINE:
                if (place / name).is_file():
                    return _by_line(place / name), place / name
            if (place / KAGGLE).is_file():
                return _kaggle(place / KAGGLE), place / KAGGLE
            if (place / DEVKIT).is_file():
                return _devkit(place / DEVKIT), place / DEVKIT
    raise FileNotFoundError(
        f"{pictures} holds ImageNet's pictures in one folder, without what they show: unpack "
        f"ILSVRC2012_devkit_t12.tar.gz beside it, or put {BY_LINE[0]} (one WordNet id a line) or "
        f"{KAGGLE} there, or sort the pictures into folders named by WordNet id"
    )


def _by_line(path: Path) -> dict[int, str]:
    return _checked(path, dict(enumerate(_words(path), start=1)))


def _kaggle(path: Path) -> dict[int, str]:
    """Returns the labels in a table with ImageId and PredictionString ("n01440764 x y x y")."""
    try:
        with path.open(encoding="ascii", newline="") as file:
            labels = {
                int(row["ImageId"].rsplit("_", 1)[1]): row["PredictionString"].split()[0]
                for row in csv.DictReader(file)
            }
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} is not the table of Kaggle (ImageId, PredictionString): {error!r}"
        ) from error
    return _checked(path, labels)


def _devkit(path: Path) -> dict[int, str]:
    """Returns the labels of the development kit: a class number a line, explained in meta.mat."""
    meta = next((p for p in (path.parent / META, path.parent / "data" / META) if p.is_file()), None)
    if meta is None:
        raise FileNotFoundError(
            f"{path} holds class numbers, and {path.parent / META}, which explains them, is "
            "missing: unpack ILSVRC2012_devkit_t12.tar.gz whole"
        )
    wnids = _synsets(meta)
    try:
        numbers = [int(word) for word in _words(path)]
        labels = {row: wnids[number] for row, number in enumerate(numbers, start=1)}
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} and {meta} are not those of ILSVRC2012_devkit_t12 ({error!r}): unpack it again"
        ) from error
    return _checked(path, labels)


def _synsets(meta: Path) -> dict[int, str]:
    """Returns number of a class -> WordNet id, as meta.mat has them.

    It is read in another process: a damaged .mat file can end the process that reads it.
    """
    words = [sys.executable, "-P", "-c", READER, str(meta)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"its reader ended with {done.returncode}"]
        raise ValueError(f"{meta} is not that of ILSVRC2012_devkit_t12 ({why[0]}): unpack it again")
    return {int(number): wnid for number, wnid in json.loads(done.stdout).items()}


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a file of plain text ({error})") from error


def _checked(path: Path, labels: dict[int, str]) -> dict[int, str]:
    known = {*imagenet_wnids()}
    wrong = next((word for word in labels.values() if word not in known), None)
    if wrong is not None:
        hint = "a WordNet id of another set" if WNID.fullmatch(wrong) else "no WordNet id"
        raise ValueError(
            f"{path} says {wrong!r}, {hint}; expected one of ILSVRC 2012's, such as n01440764"
        )
    return labels
