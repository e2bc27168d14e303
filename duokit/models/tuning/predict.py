"""From a finished run to the records of any pictures, by any method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from duokit.images import ImageSet, Splits
from duokit.logits import Record
from duokit.models.pixels import decode
from duokit.models.tuning.methods import Method, fit_laplace
from duokit.models.tuning.run import Run
from duokit.models.tuning.tuned import PLAIN, Start, network_records


def predict_records(
    run: Run,
    image_set: ImageSet,
    splits: Splits | None = None,
    *,
    method: Method = PLAIN,
    parts: Sequence[str] | None = None,
    training: ImageSet | None = None,
    cache: Path | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    command: str = "",
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Record]:
    """Returns one record a part, from a finished run.

    Args:
        run: what `load_run` returned.
        image_set: pictures, with the classes of the run; labels may be -1.
        splits: parts of the image set; those of the run if not given.
        method: how the network is asked.
        parts: which parts; all but "train" if not given.
        training: pictures that the run was trained on, which Laplace needs; the image set if not
            given.
        cache: where decoded pictures are kept; in memory alone if not given.
        dtype: how logits are kept.
        command: the command to put into the records.
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show progress bars (on the error stream).

    Raises:
        ValueError: other classes than the run's, a part that is not there or that holds pictures
            the network was trained on, training pictures that are not there; as `answers`.
        ModuleNotFoundError: laplace-torch is not installed, for the method "laplace".
    """
    splits = run.splits if splits is None else splits
    chosen = [part for part in splits.parts if part != "train"] if parts is None else list(parts)
    check_parts(run, image_set, splits, chosen)
    where: dict[str, Any] = {"device": device, "progress": progress}
    laplace = None
    if method.name == "laplace":
        fitted = _start(run, training or image_set, run.splits, ["train", "val"], cache, progress)
        rows = fitted.rows
        laplace = fit_laplace(run.model, fitted.pixels, rows["train"], rows["val"], **where)
    start = _start(run, image_set, splits, chosen, cache, progress)
    config = run.config | {
        "command": command,
        "training_command": run.config.get("command", ""),
        "method": "; ".join(filter(None, [run.config.get("method", ""), method.words()])),
    }
    return network_records(
        start, image_set, splits, run.settings, config, method=method, parts=chosen,
        laplace=laplace, dtype=dtype, **where,
    )  # fmt: skip


def check_parts(run: Run, image_set: ImageSet, splits: Splits, parts: Sequence[str]) -> None:
    """Returns nothing if the run can say something honest of these parts.

    Args:
        run: what `load_run` returned.
        image_set: pictures.
        splits: parts of the image set.
        parts: names of those that are wanted.

    Raises:
        ValueError: other classes than the run's, no part, one that is not there, or one but
            "train" that holds pictures the network was trained on.
    """
    if image_set.class_names != run.class_names:
        raise ValueError(
            f"the run knows {len(run.class_names)} classes ({_few(run.class_names)}), "
            f"{image_set.name} has {image_set.classes} ({_few(image_set.class_names)}): they must "
            "be the same, in the same order"
        )
    wrong = [part for part in parts if part not in splits.parts]
    if wrong or not parts:
        raise ValueError(
            f"the splits of {splits.dataset} have the parts {', '.join(splits.parts)}; "
            f"asked for: {', '.join(parts) or 'none'}"
        )
    if image_set.name != run.dataset:
        return  # the same id would be another picture
    trained = set(run.splits.parts["train"])
    for part in parts:
        seen = trained & set(splits.parts[part])
        if seen and part != "train":
            raise ValueError(
                f"{len(seen)} of {len(splits.parts[part])} pictures of the part {part!r}, such as "
                f"{min(seen)!r}, were trained on: take the splits of the run"
            )


def _start(
    run: Run,
    image_set: ImageSet,
    splits: Splits,
    parts: Sequence[str],
    cache: Path | None,
    progress: bool,
) -> Start:
    """Returns the network and the decoded pictures of these parts.

    With a cache those of all parts are decoded, as in training, so that its file is found again;
    unless a picture that was trained on is gone since.
    """
    needed = list(splits.parts)
    known = set(image_set.ids)
    if cache is None or not all(known.issuperset(ids) for ids in splits.parts.values()):
        needed = list(dict.fromkeys(parts))
    ids = tuple(name for part in needed for name in splits.parts[part])
    pixels = decode(image_set, run.preprocessing, ids=ids, folder=cache, progress=progress)
    return Start(run.model, pixels, {part: pixels.rows(splits.parts[part]) for part in needed})


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
