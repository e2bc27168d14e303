"""Which pair, and whether its records are of the authors' pictures."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from duokit.logits.agreement import shared_images
from duokit.logits.record import Record
from duokit.logits.store import listing, load
from duokit.published.tables import BENCHMARKS, duos

# What a plot has room for.
SHORT_NAMES: dict[str, str] = {
    "ConvNeXt_Base": "ConvNeXt-B",
    "Swin_V2_B": "Swin V2-B",
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k": "ViT-B CLIP",
    "tf_efficientnetv2_l.in21k_ft_in1k": "EfficientNetV2-L",
    "ConvNeXt_Base_greedy": "ConvNeXt-B soup",
}
# Whose val split fits the weights, where it is another data set's.
VAL_DATA = {"imagenet_v2": "imagenet"}


def check_pair(benchmark: str, large: str, small: str) -> None:
    """Return nothing if the authors have results for this pair.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        large: The authors' name of the large model, such as "ConvNeXt_Base".
        small: That of the sidekick, such as "EfficientNet_B2".

    Raises:
        ValueError: Another benchmark, or no such pair; the text lists near names.
    """
    table = duos(benchmark)  # refuses an unknown benchmark
    title = BENCHMARKS[benchmark].title
    for what, name, known in (
        ("large model", large, table["large"]),
        (f"sidekick of {large}", small, table.loc[table["large"] == large, "small"]),
    ):
        names = sorted(known.unique())
        if name in names:
            continue
        exact = {each.lower(): each for each in names}
        near = get_close_matches(name.lower(), exact, n=4, cutoff=0.4)
        listed = ", ".join([exact[each] for each in near] or names)
        raise ValueError(
            f"the authors' {title} has no {what} {name!r}; "
            + (f"near it: {listed}" if near else f"there are {listed}")
        )


def find_pair(
    folder: str | Path, benchmark: str, large: str, small: str, *, seed: int = 0
) -> dict[str, list[Record]] | None:
    """Return "val" and "test" -> the pair's records, or None if some are missing.

    Records are told by what they say of themselves (data set, split, model), wherever below the
    folder they lie. "test" holds what the benchmark is tested on: the split "shifted" for
    ImageNet-V2 and iWildCam shifted. The weights for ImageNet-V2 are fitted on ImageNet's val.

    Args:
        folder: Folder with records below it; need not exist.
        benchmark: One of `duokit.published.BENCHMARKS`.
        large: As `check_pair`; the record of it names the network as its library does.
        small: As `large`.
        seed: Of fine-tuned networks; records that state another one are passed over.

    Returns:
        Each a list of two records, the large model's first, or None.

    Raises:
        ValueError: As `check_pair`; two records that both fit; a file that is damaged.
    """
    check_pair(benchmark, large, small)
    if not Path(folder).is_dir():
        return None
    info = BENCHMARKS[benchmark]
    wanted = {"val": (VAL_DATA.get(benchmark, info.data), "val"), "test": (info.data, info.part)}
    table = listing(folder)
    table["name"] = [_bare(str(model)) for model in table["model"]]
    found: dict[str, list[Record]] = {}
    for part, (dataset, split) in wanted.items():
        rows = table[(table["dataset"] == dataset) & (table["split"] == split)]
        fits = [list(rows.loc[rows["name"] == _bare(name), "path"]) for name in (large, small)]
        found[part] = [r for paths in fits for r in _one(Path(folder), paths, seed)]
    return found if all(len(records) == 2 for records in found.values()) else None


def usable_pair(
    folder: str | Path,
    benchmark: str,
    large: str,
    small: str,
    *,
    seed: int = 0,
    any_split: bool = False,
) -> tuple[dict[str, list[Record]] | None, str]:
    """Return the records of a pair that can be compared, or None, and a sentence that says which.

    Args:
        folder: As `find_pair`, like all others.
        benchmark: One of `duokit.published.BENCHMARKS`.
        large: The authors' name of the large model.
        small: That of the sidekick.
        seed: Of fine-tuned networks.
        any_split: Whether records of other pictures than the authors' can be compared too.

    Raises:
        ValueError: As `find_pair`.
    """
    there = find_pair(folder, benchmark, large, small, seed=seed)
    if there is None:
        said = f"**No logits of this pair** below `{folder}`."
        return None, f"{said} What follows are the authors' results."
    faults = split_faults(benchmark, there["val"], there["test"])
    if faults and not any_split:
        said = (
            f"**Logits of other pictures** below `{folder}` are not compared: {'; '.join(faults)}."
        )
        return None, f"{said} `any_pictures = True` compares them, without a verdict."
    return (
        there,
        f"**Logits of this pair** below `{folder}`. Yours stand beside the authors' below.",
    )


def split_faults(benchmark: str, val: Sequence[Record], test: Sequence[Record]) -> list[str]:
    """Return what tells these records from the authors' pictures; empty if nothing does.

    Compared are the numbers of images and classes, the checksum of the split where it is known
    (ImageNet's), and that no image is in both parts.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        val: The records the weights are fitted on.
        test: The records that are tested.

    Raises:
        ValueError: Another benchmark.
    """
    duos(benchmark)
    info = BENCHMARKS[benchmark]
    faults = []
    for what, records, wanted in (("val", val, info.val), ("test", test, info.test)):
        for record in records:
            if (record.n, record.k) != (wanted, info.classes):
                faults.append(
                    f"{what} of {record.model}: {record.n:,} images of {record.k:,} classes, the "
                    f"authors' {wanted:,} of {info.classes:,}"
                )
            known = _checksums().get(record.dataset, "")
            if known and record.split_checksum and record.split_checksum != known:
                faults.append(
                    f"{what} of {record.model}: checksum of the split "
                    f"{record.split_checksum[:12]}, the authors' {known[:12]}"
                )
    shared = shared_images(val, test) if val[0].dataset == test[0].dataset else ""
    return [*faults, shared] if shared else faults


def _checksums() -> Mapping[str, str]:
    """Return data set -> checksum of the authors' split, for those that can be known."""
    from duokit.images import imagenet

    return {"imagenet": imagenet.PUBLISHED.ids}


def _bare(model: str) -> str:
    """Return a network's name without its library, in small letters: the authors' and ours meet."""
    return model.rsplit(":", 1)[-1].lower()


def _one(folder: Path, paths: Sequence[str], seed: int) -> list[Record]:
    """Return the one record that fits in a list, or an empty one."""
    records = {path: load(folder / path) for path in paths}
    fit = {path: r for path, r in records.items() if r.seed in (None, seed)}
    if len(fit) > 1:
        raise ValueError(
            f"{folder} has {len(fit)} records that fit, {' and '.join(fit)}: keep the others "
            "somewhere else"
        )
    return list(fit.values())
