"""Where the pictures come from: data sets by name, opened lazily, and splits kept as ids.

images = load("caltech101", root="101_ObjectCategories.tar")
splits = default_splits(images, seed=0)
save_splits(splits, "splits.json")
images.open(images.rows(splits.parts["test"])[0])
corrupted(images, "fog", 3).open(0)
"""

from duokit.images.catalogue import NAMES, default_splits, load, published_split
from duokit.images.corruptions import CORRUPTIONS, corrupt, corrupted, with_shifted_copies
from duokit.images.image_set import NO_CLASS, ImageSet
from duokit.images.official import Verdict
from duokit.images.places import data_folder
from duokit.images.splits import Splits, fold_splits, load_splits, make_splits, save_splits

__all__ = [
    "NAMES",
    "load",
    "data_folder",
    "ImageSet",
    "NO_CLASS",
    "Splits",
    "default_splits",
    "make_splits",
    "fold_splits",
    "save_splits",
    "load_splits",
    "published_split",
    "Verdict",
    "CORRUPTIONS",
    "corrupt",
    "corrupted",
    "with_shifted_copies",
]
