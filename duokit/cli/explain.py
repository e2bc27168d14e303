"""`duokit explain`: which regions of its test pictures a network, or a duo, leans on."""

from __future__ import annotations

import argparse
import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from duokit.cli.options import real, seed, whole
from duokit.images import NAMES, ImageSet, Splits, default_splits, load, load_splits

if TYPE_CHECKING:
    from duokit.trust.explainers import Explainer
    from duokit.trust.regions import View

EXPLAINERS = ("occlusion", "lime", "kernel_shap", "gradient_shap", "integrated_gradients")
OUTPUTS = ("centred", "logits", "log_probs", "probs")


class Asked(NamedTuple):
    """The network or duo that is explained.

    Attributes:
        view: of base pictures.
        model: its name for the record.
        classes: k names, or None where it does not know them.
        checkpoints: digests of the weights.
        weights: of a duo, else ().
        dataset: that it was trained on; None for the file of a duo.
        splits: of that data set; None for the file of a duo.
        crop: share of the shorter side that base pictures show.
    """

    view: View
    model: str
    classes: tuple[str, ...] | None
    checkpoints: tuple[str, ...]
    weights: tuple[float, ...]
    dataset: str | None
    splits: Splits | None
    crop: float


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "explain",
        help="make attribution maps: which regions of a picture an answer hangs on",
        description="Takes the folder of a finished run of `duokit finetune` (two of them and "
        "--weights, or --duo FILE, for a duo) and writes one file of maps over test images that "
        "are drawn by --images-seed, the same for every model, or named in a file (--ids). Regions "
        "are cells of the picture, whatever resolution a network sees. A file that exists is never "
        "replaced.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN",
        help="folder of a run; for a duo the large one's, then the small one's",
    )  # fmt: skip
    parser.add_argument("--weights", help="of a duo, such as 0.6,0.5 (default: one network)")
    parser.add_argument("--duo", type=Path, help="file of a saved duo (default: none)")
    parser.add_argument(
        "--explainer", choices=EXPLAINERS, default="occlusion", help="how (default: occlusion)"
    )
    parser.add_argument(
        "--samples", type=whole(),
        help="changed pictures an image (default: 200 for lime and kernel_shap, 20 for those with "
        "gradients)",
    )  # fmt: skip
    _add_question(parser)
    parser.add_argument(
        "--data", choices=NAMES, help="name of the data set (default: that of the run)"
    )
    parser.add_argument(
        "--root", type=Path, help="folder or archive with its pictures (default: the usual places)"
    )
    parser.add_argument(
        "--splits", type=Path, help="file of splits to use (default: the run's, or drawn anew)"
    )
    parser.add_argument("--part", default="test", help="part of the splits (default: test)")
    parser.add_argument(
        "--batch", type=whole(), default=32, help="pictures at a time (default: 32)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--out", type=Path, required=True, help="file for the maps")
    parser.add_argument("--quiet", action="store_true", help="no progress bar (default: show it)")
    parser.set_defaults(run=run)


def _add_question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=whole(), default=100, help="how many (default: 100)")
    parser.add_argument(
        "--images-seed", type=seed, default=0, help="seed of which images (default: 0)"
    )
    parser.add_argument(
        "--ids", type=Path,
        help="text file that names the images, one a line, in place of drawn ones; their maps are "
        "shown by `duokit trust`, not averaged (default: drawn)",
    )  # fmt: skip
    parser.add_argument("--grid", type=whole(), default=7, help="cells of a side (default: 7)")
    parser.add_argument(
        "--target", choices=("label", "predicted"), default="label",
        help="class that is asked about: the true one, or the model's own (default: label)",
    )  # fmt: skip
    parser.add_argument(
        "--output", choices=OUTPUTS, default="centred",
        help="what is explained: the class's logit, minus the mean logit or as it is, or its "
        "log-probability or probability (default: centred)",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", default="blur",
        help="what replaces a region: blur, mean, or a grey in 0..1 (default: blur)",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="seed of the explainer (default: 0)")
    parser.add_argument(
        "--side", type=whole(), default=224, help="pixels of the base pictures (default: 224)"
    )
    parser.add_argument(
        "--crop", type=real(0),
        help="share of the shorter side that is shown; give the largest of all models that are to "
        "be compared (default: the network's own, of a duo the larger)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the file of maps and printing what it holds."""
    import numpy as np
    import torch

    from duokit.models.inference import pick_device
    from duokit.trust.attribution import explain
    from duokit.trust.explainers import Explainer
    from duokit.trust.maps import AttributionMaps, maps_path, save_maps
    from duokit.trust.regions import base_pictures

    out = maps_path(arguments.out)
    if out.exists():
        raise FileExistsError(f"{out} exists: choose another --out, or remove it")
    samples = {} if arguments.samples is None else {"samples": arguments.samples}
    how = Explainer(arguments.explainer, **samples)
    asked = _asked(arguments)
    image_set, ids = _images(arguments, asked)
    device = pick_device(arguments.device)
    rows = image_set.rows(ids)
    opened = (image_set.open(int(row)) for row in rows)
    base = base_pictures(opened, side=arguments.side, crop=asked.crop).to(device)
    view = asked.view.to(device)
    with torch.inference_mode():
        pieces = [view(part.float() / 255).argmax(dim=1) for part in base.split(arguments.batch)]
    answers = torch.cat(pieces).cpu().numpy()
    labels = image_set.labels[rows]
    question = {name: getattr(arguments, name) for name in ("output", "target")}
    baseline = _baseline(arguments.baseline)
    values = explain(
        view, base, labels if arguments.target == "label" else answers, explainer=how,
        regions=arguments.grid, baseline=baseline, output=arguments.output, seed=arguments.seed,
        batch=arguments.batch, progress=not arguments.quiet,
    )  # fmt: skip
    made = AttributionMaps(
        values=values,
        targets=labels if arguments.target == "label" else answers,
        ids=ids,
        model=asked.model,
        dataset=image_set.name,
        explainer=how.as_dict(),
        seed=arguments.seed,
        regions={"grid": arguments.grid, "side": arguments.side, "crop": asked.crop},
        question=question | {"baseline": baseline},
        checkpoints=asked.checkpoints,
        weights=asked.weights,
        config={
            "command": command(arguments, how),
            "part": arguments.part,
            "images_seed": None if arguments.ids else arguments.images_seed,
            "answers": answers.tolist(),
        },
    )
    save_maps(made, out)
    right = float(np.mean(answers == labels))
    print(
        f"{out}: {len(ids)} images x {values.shape[1]} regions, {asked.model}, {how.name}, "
        f"accuracy {100 * right:.1f} %"
    )
    return 0


def command(arguments: argparse.Namespace, how: Explainer) -> str:
    """Returns the command that makes these maps, with RUN, DATA, OUT ... in place of paths."""
    words = ["duokit", "explain", *("RUN", "SMALL")[: len(arguments.runs)]]
    words += ["--weights", arguments.weights] if arguments.weights else []
    for name in ("duo", "root", "splits", "ids"):
        place = "DATA" if name == "root" else name.upper()
        words += [f"--{name}", place] if getattr(arguments, name) is not None else []
    words += ["--data", arguments.data] if arguments.data else []
    words += ["--explainer", how.name]
    words += [] if how.samples is None else ["--samples", str(how.samples)]
    drawn = () if arguments.ids else ("images", "images-seed")
    names = (*drawn, "grid", "target", "output", "baseline", "seed", "side", "crop", "part")
    for name in names:
        value = getattr(arguments, name.replace("-", "_"))
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join([*words, "--out", "OUT"])


def _asked(arguments: argparse.Namespace) -> Asked:
    """Returns the network or the duo that the words name."""
    from duokit.models.duo.module import AsymmetricDuo
    from duokit.models.duo.runs import duo_from_runs
    from duokit.models.tuning.run import load_run
    from duokit.trust.regions import View

    runs, weights = arguments.runs, _weights(arguments.weights)
    if (arguments.duo is not None) == bool(runs) or len(runs) != (2 if weights else len(runs[:1])):
        raise ValueError(
            "which model? Give the folder of one run; or two with --weights, such as 0.6,0.5; or "
            "--duo FILE alone"
        )
    if len(runs) == 1:
        one = load_run(runs[0])
        crop = arguments.crop or one.preprocessing.crop_pct
        name = f"{one.settings.model}@{one.preprocessing.resolution}"
        digests: tuple[str, ...] = (str(one.config["checkpoint_sha256"]),)
        view = View(one.model, one.preprocessing, crop=crop)
        return Asked(view, name, one.class_names, digests, (), one.dataset, one.splits, crop)
    dataset, splits = None, None
    if weights:
        both = [load_run(run) for run in runs]
        if both[0].splits.checksum != both[1].splits.checksum:
            raise ValueError(f"{runs[0]} and {runs[1]} were trained on other splits")
        duo = duo_from_runs(runs[0], runs[1], weights)
        digests = tuple(str(each.config["checkpoint_sha256"]) for each in both)
        dataset, splits = both[0].dataset, both[0].splits
    else:
        duo = AsymmetricDuo.load(arguments.duo)
        digests = (hashlib.sha256(arguments.duo.read_bytes()).hexdigest(),)
    crop = arguments.crop or max(member.preprocessing.crop_pct for member in duo.members)
    sizes = [f"{m.model.split(':')[-1]}@{m.preprocessing.resolution}" for m in duo.members]
    found = tuple(duo.weights.tolist())
    view, names = View.of_duo(duo, crop=crop), duo.class_names
    return Asked(view, " + ".join(sizes), names, digests, found, dataset, splits, crop)


def _images(arguments: argparse.Namespace, asked: Asked) -> tuple[ImageSet, tuple[str, ...]]:
    """Returns the data set, and the ids of the images that are explained."""
    name = arguments.data or asked.dataset
    if name not in NAMES:
        raise ValueError(f"which pictures? Give --data NAME (the model knows of {name!r})")
    image_set = load(name, arguments.root)
    if asked.classes is not None and image_set.class_names != asked.classes:
        raise ValueError(f"the classes of {image_set.name} are not those the model was trained on")
    if arguments.splits is not None:
        splits = load_splits(arguments.splits)
    elif asked.splits is not None and asked.dataset == image_set.name:
        splits = asked.splits
    else:
        splits = default_splits(image_set)
    if arguments.part not in splits.parts:
        raise ValueError(f"there is no part {arguments.part!r}: {', '.join(splits.parts)}")
    if arguments.ids is not None:
        return image_set, _named(arguments.ids, splits.parts[arguments.part], arguments.part)
    drawn = splits.at_most(arguments.images, seed=arguments.images_seed)
    return image_set, drawn.parts[arguments.part]


def _named(file: Path, part: tuple[str, ...], called: str) -> tuple[str, ...]:
    """Returns the ids in a text file, each once, after checking that the part has them."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    ids = tuple(dict.fromkeys(line for line in lines if line))
    missing = sorted(set(ids) - set(part))
    if missing or not ids:
        told = f"names {missing[0]!r}, which is not in {called}" if missing else "is empty"
        raise ValueError(f"{file} {told}; expected ids of images such as {part[0]!r}, one a line")
    return ids


def _weights(words: str | None) -> list[float] | None:
    if words is None:
        return None
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        raise ValueError(f"--weights is {words!r}; expected two numbers such as 0.6,0.5") from None


def _baseline(word: str) -> str | float:
    """Returns a word of `replacement`, or a grey."""
    try:
        return float(word)
    except ValueError:
        return word
