"""Small copies of the paper's benchmarks: the layouts of the official archives, tiny pictures."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from duokit.images.wnids import imagenet_wnids


def jpeg(grey: int = 0) -> bytes:
    """Return the bytes of a small grey JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (grey,) * 3).save(file, "JPEG")
    return file.getvalue()


def imagenet_labels(each: int = 2, seed: int = 0) -> list[str]:
    """Return the WordNet id of pictures 1, 2, ..., `each` a class, in mixed order as published."""
    return np.random.default_rng(seed).permutation(imagenet_wnids() * each).tolist()


def picture_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def write_imagenet(val: Path, labels: list[str]) -> Path:
    """Write val/<wnid>/ILSVRC2012_val_########.JPEG."""
    content = jpeg()
    for wnid in {*labels}:
        (val / wnid).mkdir(parents=True)
    for number, wnid in enumerate(labels, start=1):
        (val / wnid / picture_name(number)).write_bytes(content)
    return val


def write_imagenet_v2(base: Path, each: int = 1) -> Path:
    """Write folders 0 to 999; the grey value of a picture is its class modulo 250."""
    contents = [jpeg(grey) for grey in range(250)]
    for number in range(1000):
        (base / str(number)).mkdir(parents=True)
        for row in range(each):
            name = f"{(number * 7919 + row) % 65536:04x}{row}.jpeg"
            (base / str(number) / name).write_bytes(contents[number % 250])
    return base


def write_caltech256(base: Path, counts: tuple[int, ...] = (2, 3, 4)) -> Path:
    """Write 257 numbered folders, and what in the published archive is no picture."""
    for number in range(1, 258):
        name = {1: "ak47", 56: "dog", 198: "spider", 257: "clutter"}.get(number, f"thing-{number}")
        folder = base / f"{number:03d}.{name}"
        folder.mkdir(parents=True)
        for row in range(1, counts[number % len(counts)] + 1):
            (folder / f"{number:03d}_{row:04d}.jpg").write_bytes(jpeg(number % 256))
    (base / "056.dog" / "greg").mkdir()
    (base / "056.dog" / "greg" / "056_0001.jpg").write_bytes(jpeg())
    (base / "198.spider" / "RENAME2").write_text("mv a b\n")
    return base


def write_iwildcam(base: Path, images: int = 60) -> Path:
    """Write metadata.csv, categories.csv and train/ with the columns of version 2.0."""
    random = np.random.default_rng(0)
    splits = np.array(["train", "val", "test", "id_val", "id_test"])[np.arange(images) % 5]
    table = pd.DataFrame(
        {
            "split": splits,
            "location_remapped": random.integers(0, 323, images),
            "location": random.integers(0, 550, images),
            "sequence_remapped": random.integers(0, 52261, images),
            "datetime": "2013-06-05 05:44:19.000",
            "category_id": random.integers(0, 400, images),
            "y": random.integers(0, 182, images),
            "filename": [f"{value:08x}-21bc-11ea.jpg" for value in random.permutation(images)],
        }
    )
    (base / "train").mkdir(parents=True)
    for row in table.itertuples():
        (base / "train" / row.filename).write_bytes(jpeg(row.y))
    table.to_csv(base / "metadata.csv")  # with a column of row numbers, as published
    names = [(y, 3 * y, f"species {y}") for y in range(182)] + [(99999, 999, "not in it")]
    categories = pd.DataFrame(names, columns=["y", "category_id", "name"])
    categories.sample(frac=1, random_state=0).to_csv(base / "categories.csv", index=False)
    return base
