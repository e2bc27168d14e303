"""The images on which two models differ most, with their pictures and maps if there are any."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pandas as pd

from duokit.trust.page.pieces import at, escaped, label, number, share, table
from duokit.trust.report import TrustReport

READING = (
    "<p>Each picture, the large model's map and this model's. Orange regions speak for the class "
    "that was asked about, blue ones against it; each map has its own scale.</p>"
)
HEAD = ("Image", "True class", "Large model says", "This model says", "Jensen-Shannon, bits")


def image_part(
    report: TrustReport, pictures: Mapping[str, bytes], strips: Mapping[tuple[str, str], bytes]
) -> str:
    """Return the tables of images, and cards for those with pictures or maps.

    Args:
        report: What `trust_report` found.
        pictures: Image id -> PNG.
        strips: Model and image id -> PNG of the picture and two maps.
    """
    text = (
        "<p>Ordered by the Jensen-Shannon divergence of the two models' probabilities, each at its "
        "own temperature: 0 bits where they say the same, 1 bit where they share no class. A "
        "percentage is the confidence in the answer.</p>"
    )
    for name in report.others:
        rows = at(report.differing, name)
        text += f"<h3>{escaped(name)}</h3>"
        text += table(f"{len(rows)} of {report.models[name].n:,} images", HEAD, _cells(rows))
        own = {image: strips[name, image] for image in rows["id"] if (name, image) in strips}
        if len(own) == len(rows):
            text += READING + _cards(rows, own, maps=True)
            continue
        text += _cards(rows, {image: pictures[image] for image in rows["id"] if image in pictures})
        if len(report.explained):
            text += _with_maps(report, name, strips)
    return text


def _with_maps(report: TrustReport, name: str, strips: Mapping[tuple[str, str], bytes]) -> str:
    """Returns the same among the images that were explained."""
    rows = at(report.explained, name)
    groups = report.shown_maps.values()
    images = {image for group in groups for each in group.values() for image in each.ids}
    text = table(f"{len(rows)} of the {len(images)} images with maps", HEAD, _cells(rows))
    own = {image: strips[name, image] for image in rows["id"] if (name, image) in strips}
    return text + (READING + _cards(rows, own, maps=True) if own else "")


def _cells(rows: pd.DataFrame) -> list[list[str]]:
    return [
        [
            label(row["id"]),
            label(row["label"]),
            f"{label(row['answer_large'])} <small>{share(row['confidence_large'])}</small>",
            f"{label(row['answer'])} <small>{share(row['confidence'])}</small>",
            number(row["jensen_shannon"]),
        ]
        for _, row in rows.iterrows()
    ]


def _cards(rows: pd.DataFrame, drawn: Mapping[str, bytes], *, maps: bool = False) -> str:
    """Returns a card for each image that is drawn."""
    cards = []
    for _, row in rows.iterrows():
        if row["id"] not in drawn:
            continue
        told = (
            f"True class {row['label']}; large model {row['answer_large']} "
            f"({share(row['confidence_large'])}), this model {row['answer']} "
            f"({share(row['confidence'])})"
        )
        alt = f"Picture {row['id']} of class {row['label']}" + (
            ", then the regions that the large model and this model lean on" if maps else ""
        )
        data = base64.b64encode(drawn[row["id"]]).decode("ascii")
        cards.append(
            f'<li><img src="data:image/png;base64,{data}" alt="{escaped(alt)}">'
            f"<p><strong>{escaped(row['id'])}</strong><br>{escaped(told)}</p></li>"
        )
    return f'<ul class="cards">{"".join(cards)}</ul>' if cards else ""
