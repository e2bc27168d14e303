"""The tables of a report, each with the model as the first level of its index."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from duokit.logits.record import Record
from duokit.metrics.chance import corrected
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import Scores
from duokit.trust.agreement import per_image
from duokit.trust.confidence import ccrc, usable_region
from duokit.trust.subgroups import agreement_by_confidence, agreement_by_group

METRICS = ("accuracy", "nll", "auroc")
Pair = tuple[np.ndarray, np.ndarray, np.ndarray]  # logits of large and other, labels
Tables = Mapping[str, pd.DataFrame]


def by_model(tables: Tables) -> pd.DataFrame:
    """Return the tables of all models as one.

    Args:
        tables: Model -> table.
    """
    return pd.concat(tables, names=["model"])


def score_table(scores: Mapping[str, Scores], large: str, draws: dict[str, Any]) -> pd.DataFrame:
    """Return METRICS with intervals, beside the large model but for itself.

    Args:
        scores: Model -> its scores.
        large: Name of the large model.
        draws: Resamples, seed and level of the bootstrap.
    """
    return by_model(
        {
            name: intervals(
                each, None if name == large else scores[large], metrics=METRICS, **draws
            )
            for name, each in scores.items()
        }
    )


def corrected_tests(tables: Tables) -> pd.DataFrame:
    """Return all tests, corrected; those that apply are one family of comparisons.

    Args:
        tables: Model -> `Agreement.tests`.
    """
    table = by_model(tables)
    applies = table.index.get_level_values("test") != "Pearson"
    columns = ["p_bh", "p_holm"]
    table[columns] = corrected(table[applies], by=())[columns]
    return table


def class_table(
    record: Record, pairs: Mapping[str, Pair], *, seed: int, level: float
) -> pd.DataFrame:
    """Return `agreement_by_group` with class names, the least agreement first.

    Args:
        record: Of any model, for the names.
        pairs: Model -> what it is compared by.
        seed: Of the random swaps.
        level: Of the intervals.
    """
    found = {}
    for name, pair in pairs.items():
        table = agreement_by_group(*pair, seed=seed, level=level)
        table.index = pd.Index([class_name(record, y) for y in table.index], name="class")
        # of classes that agree alike the larger one tells more
        found[name] = table.sort_values(
            ["label_agreement", "images"], ascending=[True, False], kind="stable"
        )
    return by_model(found)


def class_name(record: Record, number: int) -> str:
    """Return the name of a class, or its number where names are not known.

    Args:
        record: Of a model.
        number: Of the class, from 0.
    """
    return record.class_names[number] if record.class_names else str(number)


def confidence_table(pairs: Mapping[str, Pair], *, level: float) -> pd.DataFrame:
    """Return `agreement_by_confidence`.

    Args:
        pairs: Model -> what it is compared by.
        level: Of the intervals.
    """
    return by_model({n: agreement_by_confidence(*each, level=level) for n, each in pairs.items()})


def reliance_table(
    scores: Mapping[str, Scores], *, target: float, certainty: float
) -> pd.DataFrame:
    """Return one row a model: ccrc, and threshold, kept, accuracy and low of `usable_region`.

    Args:
        scores: Model -> its scores.
        target: Accuracy asked of the usable region, in (0, 1].
        certainty: That it has it, in (0, 1).
    """
    rows = {}
    for name, each in scores.items():
        region = usable_region(each.confidence, each.correct, target, certainty=certainty)
        rows[name] = {"ccrc": ccrc(each.uncertainty, each.correct)} | {
            column: getattr(region, column) for column in ("threshold", "kept", "accuracy", "low")
        }
    return pd.DataFrame(rows).T


def image_tables(
    record: Record, scores: Mapping[str, Scores], large: str, pairs: Mapping[str, Pair]
) -> dict[str, pd.DataFrame]:
    """Return model -> one row an image, those first that it and the large one answer least alike.

    Args:
        record: Of any model, for labels and names.
        scores: Model -> its scores.
        large: Name of the large model.
        pairs: Model -> what it is compared by.
    """

    def names(classes: np.ndarray) -> list[str]:
        return [class_name(record, int(y)) for y in classes]

    found = {}
    for name, pair in pairs.items():
        table = pd.DataFrame(
            {
                "id": list(record.ids),
                "label": names(record.labels),
                "answer_large": names(scores[large].predictions),
                "confidence_large": scores[large].confidence,
                "answer": names(scores[name].predictions),
                "confidence": scores[name].confidence,
                "jensen_shannon": per_image(*pair)["jensen_shannon"].to_numpy(),
            }
        )
        found[name] = table.sort_values("jensen_shannon", ascending=False, kind="stable")
    return found


def first_images(tables: Tables, shown: int, among: Collection[str] | None = None) -> pd.DataFrame:
    """Return the first images of each model, by rank from 1.

    Args:
        tables: From `image_tables`.
        shown: How many.
        among: Ids of the images that count; all if not given.
    """
    found = {}
    for name, table in tables.items():
        first = (table if among is None else table[table["id"].isin(among)]).head(shown)
        found[name] = first.set_axis(pd.RangeIndex(1, len(first) + 1, name="rank"))
    return by_model(found)
