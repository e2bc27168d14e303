"""Does fine-tuning end below its probe? Data sets by sizes by what becomes of BatchNorm.

A few pictures of ten classes at most, no larger than 32 pixels, are fine-tuned with the default
settings but for few epochs, once with each value of `batchnorm`. The test accuracy and NLL of what
is kept are compared with those of the linear probe, image by image; "last" is the network of the
last epoch, which would have been kept without epoch 0 if it was the best of its run.

    python benchmarks/batchnorm.py --root caltech101=101_ObjectCategories.tar --out table.csv
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from duokit import intervals, score
from duokit.images import ImageSet, Splits, load
from duokit.models import FineTune, prepare, tuned_records
from duokit.models.tuning.tuned import network_records

DATA = ("caltech101", "fashion_mnist", "elpv")
POLICIES = ("frozen", "adapted", "train", "auto")
QUIET = {"device": "cpu", "progress": False}


def small(whole: ImageSet, side: int) -> ImageSet:
    """Return the pictures of the ten largest classes, no larger than so many pixels."""
    counts = np.bincount(whole.labels[whole.labels >= 0], minlength=whole.classes)
    classes = sorted(np.argsort(-counts, kind="stable")[:10].tolist())
    rows = np.flatnonzero(np.isin(whole.labels, classes))

    def read(row: int) -> Image.Image:
        picture = whole.open(int(rows[row]))
        large = min(picture.size) > side
        return picture.resize((side, side), Image.Resampling.BICUBIC) if large else picture

    labels = np.searchsorted(classes, whole.labels[rows])
    names = tuple(whole.class_names[each] for each in classes)
    return ImageSet(whole.name, tuple(whole.ids[row] for row in rows), labels, names, read)


def parts(images: ImageSet, pictures: int, test: int) -> Splits:
    """Return as many of each class: for test, then three quarters for training, the rest val."""
    labels = pd.Series(images.labels, index=images.ids).sample(frac=1, random_state=0)
    turn = labels.groupby(labels).cumcount()
    order = turn.sort_values(kind="stable").index.tolist()
    kept, rest = order[:test], order[test : test + pictures]
    cut = round(0.75 * pictures)
    found = {"train": tuple(rest[:cut]), "val": tuple(rest[cut:]), "test": tuple(kept)}
    return Splits(images.name, f"{pictures} pictures and {test} for test", 0, found)


def compare(images: ImageSet, splits: Splits, settings: FineTune, place: Path) -> list[dict]:
    """Return one row a policy."""
    where = {"cache": place / "pixels", **QUIET}
    start = prepare(images, splits, settings.replace(batchnorm="frozen"), **where)
    answers = network_records(start, images, splits, settings, {}, parts=["test"], **QUIET)["test"]
    probe, rows = score(answers.logits, answers.labels), []
    for policy in POLICIES:
        begun = time.monotonic()
        mine = settings.replace(batchnorm=policy)
        folder = place / f"{len(splits.parts['train'])}-{policy}"
        record = tuned_records(images, splits, mine, folder, **where)["test"]
        about, table = record.config, intervals(
            score(record.logits, record.labels), probe, metrics=["accuracy", "nll"], resamples=1000
        )  # fmt: skip
        accuracy, nll = table.loc["accuracy"], table.loc["nll"]
        first, last = about["history"][0], about["history"][-1]
        rows.append({
            "data": images.name, "pictures": sum(map(len, splits.parts.values())) - record.n,
            "batchnorm": policy, "chosen": about["batchnorm"], "best_epoch": about["best_epoch"],
            "loss_before": first["loss"], "loss_first_epoch": about["history"][1]["loss"],
            "val_before": first["val_accuracy"], "val_last": last["val_accuracy"],
            "test_probe": accuracy.baseline, "test": accuracy.value,
            "accuracy_low": accuracy.difference_low, "accuracy_high": accuracy.difference_high,
            "nll_probe": nll.baseline, "nll": nll.value,
            "nll_low": nll.difference_low, "nll_high": nll.difference_high,
            "worse": bool(accuracy.difference_high < 0 or nll.difference_low > 0),
            "seconds": round(time.monotonic() - begun),
        })  # fmt: skip
        print(pd.Series(rows[-1]).to_frame().T.to_string(index=False), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=DATA, help=f"default: {' '.join(DATA)}")
    parser.add_argument("--root", action="append", default=[], metavar="DATA=PLACE")
    parser.add_argument("--pictures", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="CSV (default: printed alone)")
    args = parser.parse_args()
    roots = dict(each.split("=", 1) for each in args.root)
    settings = FineTune(args.model, args.resolution, epochs=args.epochs)
    torch.set_num_threads(1)
    rows: list[dict] = []
    for pictures in args.pictures:
        for name in args.data:
            images = small(load(name, roots.get(name)), side=32)
            splits = parts(images, pictures, args.test)
            with tempfile.TemporaryDirectory() as place:
                rows += compare(images, splits, settings, Path(place))
            if args.out is not None:
                pd.DataFrame(rows).round(4).to_csv(args.out, index=False)
    worse = sum(row["worse"] for row in rows if row["batchnorm"] == "auto")
    print(f"auto: {worse} of {len(args.data) * len(args.pictures)} worse than the probe")


if __name__ == "__main__":
    main()
