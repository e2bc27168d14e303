"""What records know of one another: which may be fitted together, and which may judge a fit.

Every rule stands here once; `fit_duo`, `Duo.answers`, `trust_report`, `pairs` and the command line
ask here. A rule needs what both sides know: a data set, split or model called "" or "unknown", a
model named after its file, and ids given by position say nothing and are never refused.

A finding is one sentence. It is an error, unless `allow_mismatch=True` (`--allow-mismatch`) was
given: then it is a warning, and kept with the result.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from duokit.logits.record import AFTER_FILE, Record, real_names, same_images

OPTION = "allow_mismatch=True (--allow-mismatch) goes on all the same"
NOTHING = {"", "unknown", "none", "n/a", "?"}  # values that say nothing
# Other words for the three usual splits -> ours.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
INVENTED = re.compile(r"row-\d+")  # ids that make_record and import-official give by position
COLUMNS = 32  # of each member, by which the logits of an image are known again
DISTINCT = 0.99  # share of rows that must differ from all others, so that one tells its image
TELLING = 0.1  # share of rows found again above which it is more than copies of a few pictures


class Finding(NamedTuple):
    """A sentence on records that do not belong together.

    Attributes:
        sentence: what does not fit, and what to do.
        grave: whether it is an error unless it is allowed; else it is only said.
    """

    sentence: str
    grave: bool = True

    def __str__(self) -> str:
        """Returns the sentence as it stands beside a result that it was allowed for."""
        return f"allowed: {self.sentence}" if self.grave else self.sentence


def in_class_order(records: Sequence[Record]) -> tuple[Record, ...]:
    """Returns the records of the same images, their classes in the order of the first's names.

    Columns and labels are put in order, with a warning, where both know the class names, these are
    the same, and the labels so renumbered are the first's.

    Args:
        records: one a member.

    Raises:
        ValueError: records of other images, labels or classes than the first; names in another
            order whose labels number the columns of the first, not their own.
    """
    found = tuple(_as_first(one, records[0]) for one in records)
    same_images(*found)
    return found


def matched(
    val: Sequence[Record], test: Sequence[Record], allow_mismatch: bool, *, stacklevel: int = 3
) -> tuple[tuple[Record, ...], tuple[Record, ...], tuple[str, ...]]:
    """Returns both with their classes in one order, and what did not fit but was allowed.

    Args:
        val: one record a member, which weights are to be fitted on.
        test: the same members, in the same order, on the images to report on.
        allow_mismatch: whether what does not fit is only warned of.
        stacklevel: of the warnings, as `warnings.warn` has it.

    Raises:
        ValueError: as `in_class_order` and `settle`.
    """
    one, two = in_class_order(val), in_class_order(test)
    found = [
        *check_members(one, fitted=True),
        *check_members(two, fitted=False),
        *check_parts(one, two),
    ]
    return one, two, settle(found, allow_mismatch, stacklevel=stacklevel + 1)


def settle(
    found: Sequence[Finding], allow_mismatch: bool, *, stacklevel: int = 3
) -> tuple[str, ...]:
    """Returns the sentences of the findings, each warned of, if they may pass.

    Args:
        found: from `check_members` and `check_parts`.
        allow_mismatch: whether grave findings may.
        stacklevel: of the warnings, as `warnings.warn` has it.

    Raises:
        ValueError: a grave finding that is not allowed.
    """
    grave = [each.sentence for each in found if each.grave]
    if grave and not allow_mismatch:
        raise ValueError(f"{'; '.join(grave)}. {OPTION}")
    for each in found:
        warnings.warn(str(each), stacklevel=stacklevel)
    return tuple(map(str, found))


def check_members(records: Sequence[Record], *, fitted: bool) -> list[Finding]:
    """Returns why these records should not be fused: other data sets or splits, or train.

    Args:
        records: one a member, of the same images.
        fitted: whether weights are fitted on them; else numbers are reported on them.
    """
    found = []
    for name, what in (
        ("dataset", "data sets"),
        ("split", "splits"),
        ("split_checksum", "ways to split the images (split_checksum)"),
    ):
        first, *others = [one for one in records if known(one, name)] or records[:1]
        other = next((one for one in others if known(one, name) != known(first, name)), None)
        if other is not None:
            values = " and ".join(repr(getattr(one, name)[:40]) for one in (first, other))
            found.append(
                Finding(f"the members are of two {what}, {values}: {first.title}, {other.title}")
            )
    seen = next((one for one in records if known(one, "split") == "train"), None)
    if seen is not None:
        what = "fit the weights on val" if fitted else "report on images they have not seen"
        found.append(
            Finding(f"{seen.title}: members are too sure of the images they learned from; {what}")
        )
    return found


def check_parts(
    val: Sequence[Record], test: Sequence[Record], *, images: bool = True
) -> list[Finding]:
    """Returns why weights fitted on val should not be used, or judged, on test.

    Other models, other classes, other data sets (only said where the split has a name of its own,
    such as "shifted", or where one data set is called after the other, as imagenet_v2 after
    imagenet; both together are as in the book, and fine), val and test exchanged, and images in
    both.

    Args:
        val: one record a member, which the weights were fitted on.
        test: the same members, in the same order, on the images to report on.
        images: whether images in both are looked for.
    """
    fitted, given = val[0], test[0]
    found = [*_other_models(val, test), *_other_classes(fitted, given), *_other_data(fitted, given)]
    if (known(fitted, "split"), known(given, "split")) == ("test", "val"):
        found.append(
            Finding(
                f"weights fitted on test ({fitted.title}) are used on val ({given.title}): "
                "are the two exchanged?"
            )
        )
    shared = shared_images(val, test) if images else ""
    return [*found, Finding(shared)] if shared else found


def shared_images(val: Sequence[Record], test: Sequence[Record]) -> str:
    """Returns a sentence if images of test are in val too, "" if none are known to be.

    An id in both is an image in both, unless ids are positions ("row-0" on, or plain numbers that
    count from 0 or 1 in both parts) or were given anew in each part, so that nearly all are in
    both, for images of other labels. Whatever the ids, the
    same labels and logits are the same images, where logits tell images apart and more than a
    tenth of the smaller part is found again (two parts may hold copies of a few pictures).

    Args:
        val: one record a member.
        test: the same members on the other images.
    """
    one, two = val[0], test[0]
    common = _common_ids(one, two)
    again = 0 if common else _common_rows(val, test)
    if not common and not again:
        return ""
    what = (
        f"{len(common):,} images, such as {min(common)!r}, are in {one.title} and in {two.title}"
        if common
        else f"{again:,} of the {two.n:,} images of {two.title} have the labels and logits of "
        f"images of {one.title}, so they are the same, whatever their ids"
    )
    return f"{what}: numbers on images that fitted the weights would flatter"


def known(record: Record, name: str) -> str:
    """Returns a field in one spelling, "" if it says nothing.

    Args:
        record: any.
        name: of a field that is a text: "dataset", "split", "split_checksum".
    """
    value = str(getattr(record, name)).strip().lower()
    return "" if value in NOTHING else SPLITS.get(value, value) if name == "split" else value


def names_model(record: Record) -> bool:
    """Returns whether the record knows its model: a file without a name for it does not."""
    return record.config.get("model") != AFTER_FILE and bool(known(record, "model"))


def _as_first(record: Record, first: Record) -> Record:
    names, wanted = real_names(record), real_names(first)
    if not names or not wanted or names == wanted or {*names} != {*wanted} or record.n != first.n:
        return record  # same_images says what else differs
    number = {name: place for place, name in enumerate(wanted)}
    labels = np.array([*(number[name] for name in names), -1])[record.labels]
    if record.ids == first.ids and not np.array_equal(labels, first.labels):
        raise ValueError(
            f"{record.title} has the class names of {first.title} in another order, and its labels "
            "do not number its own columns: write both with the columns in one order"
        )
    warnings.warn(
        f"the classes of {record.title} are put in the order of {first.title}, by their names",
        stacklevel=5,
    )
    order = [names.index(name) for name in wanted]
    return replace(record, logits=record.logits[:, order], labels=labels, class_names=wanted)


def _other_models(val: Sequence[Record], test: Sequence[Record]) -> list[Finding]:
    """Returns a finding on the first member that is another network on test."""
    stems = [_stem(one) for one in val]
    for place, (fitted, given) in enumerate(zip(val, test, strict=True)):
        stem = _stem(given)
        other = stem not in ("", stems[place])
        if not (names_model(fitted) and names_model(given)):
            other = other and stem in stems  # files called after their models, in another order
        facts = ("resolution", "weights", "seed")
        if other or any(_differ(getattr(fitted, each), getattr(given, each)) for each in facts):
            return [
                Finding(
                    f"the weights were fitted for {_model(fitted)}, not for {_model(given)}: give "
                    "the records in the same order, the large model first"
                )
            ]
    return []


def _differ(one: Any, other: Any) -> bool:
    """Returns whether two values are known and not the same."""
    return None not in (one, other) and "" not in (one, other) and one != other


def _model(record: Record) -> str:
    more = {"weights": record.weights or None, "seed": record.seed}
    told = [f"{name} {value}" for name, value in more.items() if value is not None]
    return ", ".join([record.title, *told])


def _stem(record: Record) -> str:
    """Returns the model's name without words such as val and test, as files are called."""
    words = re.split(r"[^a-z0-9]+", record.model.lower())
    return " ".join(word for word in words if word not in {*SPLITS, *NOTHING, "logits"})


def _other_classes(fitted: Record, given: Record) -> list[Finding]:
    names, others = real_names(fitted), real_names(given)
    if fitted.k != given.k:
        apart = f"{fitted.k} and {given.k} classes"
    elif names and others and {*names} != {*others}:
        apart = f"other classes, such as {min({*others} - {*names})!r}"
    else:
        return []
    return [
        Finding(
            f"the images that fitted the weights and those they are used on have {apart}: "
            f"{fitted.title}, {given.title}"
        )
    ]


def _other_data(fitted: Record, given: Record) -> list[Finding]:
    one, two = known(fitted, "dataset"), known(given, "dataset")
    if not one or not two:
        return []
    what = f"the weights were fitted on {fitted.dataset!r} and are used on {given.dataset!r}"
    if one != two:
        shifted = known(given, "split") not in ("", *SPLITS.values())
        after = _called_after(one, two)
        if shifted and after:
            return []
        if shifted or after:
            return [Finding(f"{what}, taken for its shifted form", grave=False)]
        return [Finding(f"{what}, another data set: fit them on val of the same")]
    sums = [known(record, "split_checksum") for record in (fitted, given)]
    if all(sums) and sums[0] != sums[1]:
        return [
            Finding(
                f"{fitted.title} and {given.title} are of two ways to split the images "
                f"(split_checksum {sums[0][:12]} and {sums[1][:12]}), so the test images may be "
                "among those that a model learned from"
            )
        ]
    return []


def _called_after(one: str, two: str) -> bool:
    """Returns whether one name begins with the other as a whole word: imagenet, imagenet_v2."""
    short, long = sorted((one, two), key=len)
    return long.startswith(short) and not long[len(short)].isalnum()


def _common_ids(one: Record, two: Record) -> set[str]:
    """Returns the ids that name images of both records."""
    common = {*one.ids} & {*two.ids}
    if not common or any(all(map(INVENTED.fullmatch, each.ids)) for each in (one, two)):
        return set()
    if _counts(one.ids) and _counts(two.ids):
        return set()
    first, second = (dict(zip(each.ids, each.labels.tolist(), strict=True)) for each in (one, two))
    other = sum(first[name] != second[name] for name in common)
    anew = len(common) > 0.9 * min(one.n, two.n) and other > 0.1 * len(common)
    return set() if anew else common


def _counts(ids: Sequence[str]) -> bool:
    """Returns whether ids are plain numbers, in order from 0 or 1."""
    if not all(name.isdecimal() for name in ids) or int(ids[0]) > 1:
        return False
    start = int(ids[0])
    return all(int(name) == place for place, name in enumerate(ids, start))


def _common_rows(val: Sequence[Record], test: Sequence[Record]) -> int:
    """Returns how many images of test have the labels and logits of images of val."""
    shapes = [{record.logits.shape for record in records} for records in (val, test)]
    if len(val) != len(test) or val[0].k != test[0].k or max(map(len, shapes)) > 1:
        return 0
    if all(
        np.array_equal(first.logits, second.logits) and np.array_equal(first.labels, second.labels)
        for first, second in zip(val, test, strict=True)
    ):
        return test[0].n
    one, two = _rows(val), _rows(test)
    if len(np.unique(one)) < DISTINCT * len(one) or len(np.unique(two)) < DISTINCT * len(two):
        return 0
    again = int(np.isin(two, one).sum())
    return again if again > TELLING * min(len(one), len(two)) else 0


def _rows(records: Sequence[Record]) -> np.ndarray:
    """Returns (n,) opaque values: the label, and some logits of each member in float16."""
    k = records[0].k
    columns = np.unique(np.linspace(0, k - 1, COLUMNS).astype(int))
    with np.errstate(over="ignore"):
        parts = [record.logits[:, columns].astype(np.float16) + np.float16(0) for record in records]
    labels = records[0].labels.astype("<i8").view("<f2").reshape(-1, 4)
    rows = np.ascontiguousarray(np.hstack([labels, *parts]))
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
