"""May the trust in a large model be passed on to others? All measures of trust in one report.

    report = trust_report(val, test)      records by name, the large model's first
    report.tidy()                         every number, one a row
    duokit.trust.page.whole.trust_page(report)  a page to read

Probabilities are compared with each model at its own temperature, fitted on val: most of what would
differ otherwise is one number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from duokit.fusion.combine import combine
from duokit.fusion.weights import answering_weight, fit_weights
from duokit.logits.agreement import matched
from duokit.logits.record import Record
from duokit.metrics.chance import corrected
from duokit.metrics.scores import score
from duokit.trust.agreement import agreement
from duokit.trust.calibration import calibration_similarity, own_weights
from duokit.trust.maps import AttributionMaps
from duokit.trust.report_maps import Duet, aligned, maps_by_model
from duokit.trust.report_rows import tidy_rows
from duokit.trust.report_tables import (
    by_model,
    class_table,
    confidence_table,
    corrected_tests,
    first_images,
    image_tables,
    reliance_table,
    score_table,
)

DUO = "duo"


@dataclass(frozen=True, eq=False)
class TrustReport:
    """What `trust_report` found; models are named in the index, the duo last.

    Attributes:
        models: name -> record of the part that is reported, the large one first, the duo's too.
        duo: its members and weights; None if there is none.
        weights: name -> own weight fitted on val; temperature = 1 / weight. At least 1e-6: a model
            that is worse than guessing has a weight of 0, with which its answers would be gone.
        scores: index model, metric; as `intervals`, the baseline being the large model.
        agreement: index model, measure; as `Agreement.measures`. The duo's rows have the first
            other model as baseline.
        tests: index model, test; as `change_tests`, with p_bh and p_holm over all models and tests
            but Pearson's, which does not apply.
        calibration: as `calibration_similarity`, with p_bh and p_holm over all of its rows.
        classes: index model, class; as `agreement_by_group`.
        confidence: index model, part; as `agreement_by_confidence`.
        reliance: index model; ccrc, and threshold, kept, accuracy and low of `usable_region`.
        differing: index model, rank; id, label, answer_large, confidence_large, answer, confidence,
            jensen_shannon: the images where model and large one differ most.
        explained: the same among the images of `shown_maps`; empty without maps.
        maps: explainer -> model -> maps of the images that were drawn, from `maps_by_model`.
        shown_maps: the same of images that were named (`duokit explain --ids`); `maps` without any.
        alignment: from `aligned`; empty without maps.
        alignment_gain: from `aligned`; empty without maps or duo.
        settings: the options of `trust_report`.
        allowed: what did not fit among the records, if `allow_mismatch` let it pass.
    """

    models: dict[str, Record]
    duo: Duet | None
    weights: dict[str, float]
    scores: pd.DataFrame
    agreement: pd.DataFrame
    tests: pd.DataFrame
    calibration: pd.DataFrame
    classes: pd.DataFrame
    confidence: pd.DataFrame
    reliance: pd.DataFrame
    differing: pd.DataFrame
    explained: pd.DataFrame
    maps: dict[str, dict[str, AttributionMaps]]
    shown_maps: dict[str, dict[str, AttributionMaps]]
    alignment: pd.DataFrame
    alignment_gain: pd.DataFrame
    settings: dict[str, float]
    allowed: tuple[str, ...] = ()

    @property
    def large(self) -> str:
        """Name of the large model."""
        return next(iter(self.models))

    @property
    def others(self) -> tuple[str, ...]:
        """Names of all models but the large one."""
        return tuple(self.models)[1:]

    def tidy(self) -> pd.DataFrame:
        """Return every number, one a row: columns measure, model, value, low, high and of.

        "of" says what the number is of: all images, a class, a part of the images by confidence, a
        form (raw or at its own temperature), an explainer, or one image. Ends are nan for numbers
        without an interval.
        """
        return tidy_rows(self)


def trust_report(
    val: Mapping[str, Record],
    test: Mapping[str, Record],
    *,
    maps: Sequence[AttributionMaps] = (),
    duo: bool = True,
    target: float = 0.95,
    k: int = 10,
    shown: int = 10,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    allow_mismatch: bool = False,
) -> TrustReport:
    """Return how far each other model, and the duo, may be trusted as the large model is.

    Args:
        val: Name -> record, the large model's first: temperatures and the duo's weights are fitted
            on these images.
        test: The same names in the same order: what is reported on.
        maps: Attribution maps of these models over images of `test`, as many as there are. Those
            of images that were named rather than drawn are shown, and not averaged.
        duo: Add the duo of the large model and the first other one, under the name "duo".
        target: Accuracy asked of the usable region, in (0, 1].
        k: Most important regions that are compared, for maps.
        shown: How many images that differ most, 1 or more.
        resamples: Of the bootstrap, 2 or more.
        seed: Of the bootstrap and of the swaps in the tests.
        level: Of the intervals, in (0, 1).
        allow_mismatch: Whether records that do not belong together are only warned of.

    Raises:
        ValueError: Fewer than two models, other names, models, classes or data in the one than in
            the other or an image in both parts, unless allowed; options out of range; as
            `maps_by_model`.

    Source: Rai et al., arXiv 2508.13533, for the two sides of trust; each measure names its own.
    """
    _check(val, test, shown, duo)
    pair = matched([*val.values()], [*test.values()], allow_mismatch)
    val, test = (dict(zip(val, records, strict=True)) for records in pair[:2])
    duet, models, fitted_on = None, dict(test), dict(val)
    if duo:
        duet = _duet(val)
        for records in (models, fitted_on):
            records[DUO] = _fused(records, duet)
    large, *others = models
    record, labels = test[large], test[large].labels
    fitted = own_weights({n: r.logits for n, r in fitted_on.items()}, val[large].labels)
    weights = {name: answering_weight(weight, name) for name, weight in fitted.items()}
    logits = {n: np.float64(weights[n]) * r.logits for n, r in models.items()}
    scores = {n: score(z, labels) for n, z in logits.items()}
    draws: dict[str, Any] = {"resamples": resamples, "seed": seed, "level": level}
    pairs = {n: (logits[large], logits[n], labels) for n in others}
    closer = {DUO: logits[others[0]]} if duo else {}
    alike = {n: agreement(*each, baseline=closer.get(n), **draws) for n, each in pairs.items()}
    raw = {n: r.logits for n, r in models.items()}
    owned, named = (
        maps_by_model([each for each in maps if each.drawn == drawn], test, duet)
        for drawn in (True, False)
    )
    visible = named or owned
    seen = {image for group in visible.values() for each in group.values() for image in each.ids}
    images = image_tables(record, scores, large, pairs)
    table, gain = aligned(owned, duet, k=k, **draws)
    return TrustReport(
        models=models,
        duo=duet,
        weights=weights,
        scores=score_table(scores, large, draws),
        agreement=by_model({n: each.measures for n, each in alike.items()}),
        tests=corrected_tests({n: each.tests for n, each in alike.items()}),
        calibration=corrected(calibration_similarity(raw, labels, weights=weights, **draws), by=()),
        classes=class_table(record, pairs, seed=seed, level=level),
        confidence=confidence_table(pairs, level=level),
        reliance=reliance_table(scores, target=target, certainty=level),
        differing=first_images(images, shown),
        explained=first_images(images, shown, among=seen),
        maps=owned,
        shown_maps=visible,
        alignment=table,
        alignment_gain=gain,
        settings={"target": target, "k": k, "shown": shown, **draws},
        allowed=pair[2],
    )


def _check(val: Mapping[str, Record], test: Mapping[str, Record], shown: int, duo: bool) -> None:
    if len(test) < 2 or list(val) != list(test):
        raise ValueError(
            f"val has {', '.join(val) or 'no model'} and test {', '.join(test) or 'no model'}: "
            "expected the same names in the same order, the large model's and one or more others"
        )
    if duo and DUO in test:
        raise ValueError(
            f"a model is called {DUO!r}, as the duo is: rename it, or leave out the duo"
        )
    if shown < 1:
        raise ValueError(f"shown must be 1 or more, not {shown}")


def _duet(val: Mapping[str, Record]) -> Duet:
    large, small, *_ = val
    fit = fit_weights([val[large].logits, val[small].logits], val[large].labels)
    return Duet(DUO, (large, small), (float(fit.weights[0]), float(fit.weights[1])))


def _fused(records: Mapping[str, Record], duet: Duet) -> Record:
    """Return the duo's record; it has no resolution of its own."""
    members = [records[name] for name in duet.members]
    logits = combine("weighted", [each.logits for each in members], weights=duet.weights).logits
    title = " + ".join(each.model for each in members)
    return replace(
        members[0], logits=np.asarray(logits, dtype=np.float32), model=title, resolution=None,
        kind="logits", flops=None, parameters=None, config={},
    )  # fmt: skip
