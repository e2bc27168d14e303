"""`duokit trust`: may the trust in a large model be passed on to others? A page and a table."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from duokit.cli.members import add_mismatch
from duokit.cli.options import add_bootstrap, real, whole
from duokit.cli.tables import csv_text
from duokit.images import NAMES, ImageSet, load

if TYPE_CHECKING:
    from duokit.logits import Record
    from duokit.trust.report import TrustReport

THUMBNAIL = 160  # pixels of the longer side


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "trust",
        help="write a report: does a model deserve the trust of the large one?",
        description="Takes folders of records, each with val.safetensors and PART.safetensors, and "
        "compares every other model with the large one: accuracy, answers, confidence, and maps if "
        "given. Temperatures are fitted on val. A further row is the duo of LARGE and the first "
        "OTHER, whatever else is compared. Writes one HTML file that needs no network, beside it "
        "all numbers as .csv, and the images that differ most as .ids.txt, for `duokit explain "
        "--ids`.",
    )
    parser.add_argument("large", type=Path, metavar="LARGE", help="folder of the large model")
    parser.add_argument(
        "others", type=Path, nargs="+", metavar="OTHER", help="folders of the models to judge"
    )
    parser.add_argument("--part", default="test", help="part to report on (default: test)")
    parser.add_argument(
        "--duo", action=argparse.BooleanOptionalAction, default=True,
        help="add the duo of LARGE and the first OTHER (default: True)",
    )  # fmt: skip
    parser.add_argument(
        "--target", type=real(0, 1, ends="(]"), default=0.95, metavar="P",
        help="accuracy asked of answers to rely on, up to 1 (default: 0.95)",
    )  # fmt: skip
    _add_maps(parser)
    add_bootstrap(parser)
    add_mismatch(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="page to write, .html; the table and the list go beside it",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace all three files (default: refuse)"
    )
    parser.set_defaults(run=run)


def _add_maps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--maps", type=Path, nargs="+", default=[], metavar="FILE",
        help="files of `duokit explain` for these models, in any order; those of images given by "
        "--ids are shown, the others averaged (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--k", type=whole(), default=10, help="most important regions compared (default: 10)"
    )
    parser.add_argument(
        "--shown", type=whole(0), default=10, metavar="N",
        help="images that differ most, to be shown (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--data", choices=NAMES, help="data set of the pictures (default: that of the records)"
    )
    parser.add_argument(
        "--root", type=Path,
        help="folder or archive with the pictures (default: the usual places; a page without "
        "pictures if they are not there)",
    )  # fmt: skip
    parser.add_argument(
        "--no-pictures", action="store_true", help="look for no pictures (default: look)"
    )


def run(given: argparse.Namespace) -> int:
    """Returns 0 after writing the page and the table, and printing the main numbers."""
    from duokit.logits.files import write_whole
    from duokit.trust.maps import load_maps
    from duokit.trust.page.whole import trust_page
    from duokit.trust.report import trust_report

    _check_out(given)
    folders = named([given.large, *given.others])
    val, test = (
        {name: _record(folder, part) for name, folder in folders.items()}
        for part in ("val", given.part)
    )
    report = trust_report(
        val, test, maps=[load_maps(path) for path in given.maps], duo=given.duo,
        target=given.target, k=given.k, shown=given.shown, resamples=given.resamples,
        seed=given.seed, level=given.level, allow_mismatch=given.allow_mismatch,
    )  # fmt: skip
    images, why = (None, "left out") if given.no_pictures else pictures_of(report, given)
    drawn = {} if images is None else thumbnails(images, set(report.differing["id"]))
    strips = {} if images is None else map_strips(images, report)
    text = trust_page(report, pictures=drawn, strips=strips)
    table = csv_text(report.tidy())
    print(*[summary(report), *report.allowed], sep="\n", end="\n\n")
    images_shown = "".join(f"{name}\n" for name in dict.fromkeys(report.differing["id"]))
    for path, content in zip(_files(given.out), (text, table, images_shown), strict=True):
        print(f"written: {write_whole(path, content.encode(), overwrite=given.overwrite)}")
    print(f"pictures: {len(drawn)}, with maps: {len(strips)}" + (f" ({why})" if why else ""))
    return 0


def named(folders: Iterable[Path]) -> dict[str, Path]:
    """Returns name -> folder; the name is that of the folder, with its parent's where needed.

    Args:
        folders: of records.

    Raises:
        ValueError: the same folder twice.
    """
    places = [folder.resolve() for folder in folders]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"{place} is given twice: give each model once")
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [f"{place.parent.name}/{place.name}" for place in places]
    if len(set(names)) < len(names):
        names = [str(place) for place in places]
    return dict(zip(names, places, strict=True))


def _files(page: Path) -> tuple[Path, Path, Path]:
    """Returns the page, its table, and the list of the images that it shows."""
    return page, page.with_suffix(".csv"), page.with_suffix(".ids.txt")


def _check_out(given: argparse.Namespace) -> None:
    if given.out.suffix != ".html":
        raise ValueError(f"--out {given.out} does not end in .html")
    for path in _files(given.out):
        if path.exists() and not given.overwrite:
            raise FileExistsError(f"{path} exists; take another name, or --overwrite it")


def _record(folder: Path, part: str) -> Record:
    from duokit.logits import load as load_record

    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder of records")
    path = folder / f"{part}.safetensors"
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in folder.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(f"{folder} has no {path.name} (parts there: {there})")
    return load_record(path)


def pictures_of(report: TrustReport, given: argparse.Namespace) -> tuple[ImageSet | None, str]:
    """Returns the data set of the records and "", or None and why it is not at hand.

    Args:
        report: of the records.
        given: the command line's data and root.

    Raises:
        FileNotFoundError: it was asked for and is not there.
        ValueError: a copy that is not whole.
    """
    dataset = report.models[report.large].dataset
    name = given.data or (dataset if dataset in NAMES else "folder")
    if given.data is None and given.root is None:
        if name == "folder":
            return None, f"where are those of {dataset}? --root FOLDER"
        try:
            found = load(name)
        except (FileNotFoundError, ModuleNotFoundError) as error:
            return None, f"none found here: {' '.join(str(error).split())}"
    else:
        found = load(name, given.root)
    return found, ""


def thumbnails(images: ImageSet, ids: Iterable[str]) -> dict[str, bytes]:
    """Returns image id -> PNG of at most THUMBNAIL pixels a side.

    Args:
        images: where they come from.
        ids: of the images.
    """
    found = {}
    for name in sorted(ids):
        picture = images.open(int(images.rows([name])[0]))
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        with io.BytesIO() as file:
            picture.save(file, "png", optimize=True)
            found[name] = file.getvalue()
    return found


def map_strips(images: ImageSet, report: TrustReport) -> dict[tuple[str, str], bytes]:
    """Returns model and image id -> PNG: the picture, the large model's map, and this model's.

    Maps are those of the first explainer; a model without maps by it has none here.

    Args:
        images: where the pictures come from.
        report: with maps over a grid.
    """
    import matplotlib.pyplot as plt

    from duokit.plots import attribution_maps
    from duokit.trust.page.pieces import at
    from duokit.trust.regions import base_pictures, grid_regions

    found = {}
    group = next(iter(report.shown_maps.values()), {})
    for model in (name for name in report.others if name in group):
        for image in map(str, at(report.explained, model)["id"]):
            pair = {
                "large": group[report.large].rows([image]),
                "this model": group[model].rows([image]),
            }
            regions = pair["large"].regions
            row = int(images.rows([image])[0])
            base = base_pictures([images.open(row)], side=regions["side"], crop=regions["crop"])
            figure = attribution_maps(
                {name: each.values for name, each in pair.items()},
                pictures=base.numpy(),
                regions=grid_regions(regions["grid"], regions["side"]).numpy(),
                titles=[""],
            ).get_figure(root=True)
            assert figure is not None  # it was just drawn
            with io.BytesIO() as file:
                figure.savefig(file, format="png", dpi=80, bbox_inches="tight")
                found[model, image] = file.getvalue()
            plt.close(figure)
    return found


def summary(report: TrustReport) -> str:
    """Returns the main numbers of each model as a short table of text.

    Args:
        report: what `trust_report` found.
    """
    scores, alike = report.scores["value"].unstack("metric"), report.agreement["value"].unstack()
    ece = report.calibration["value"].xs("ece", level="measure").unstack("form")
    table = pd.DataFrame(
        {
            "accuracy": scores["accuracy"],
            "same answer": alike["label_agreement"],
            "lost": alike["right_to_wrong"],
            "gained": alike["wrong_to_right"],
            "JS bits": alike["jensen_shannon"],
            "ECE raw": ece["raw"],
            "ECE own T": ece["tempered"],
            "AUROC": scores["auroc"],
        }
    ).loc[list(report.models)]
    if not report.alignment.empty:
        maps = report.alignment[report.alignment["measure"] == "jaccard"]
        by_model = maps.drop_duplicates("model").set_index("model")["value"]
        table["Jaccard"] = by_model.reindex(table.index)
    shown = table.to_string(float_format="{:.4f}".format, na_rep="-")
    large = report.models[report.large]
    return f"{large.n} images of {large.dataset} ({large.split}); large: {report.large}\n\n{shown}"
