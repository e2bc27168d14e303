"""A report of trust as one HTML file: no network, no script, light and dark, readable on a phone.

Every number stands beside its meaning in words (see the other files of this folder).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import Template

from duokit.trust.page.groups import (
    alignment_part,
    classes_part,
    confidence_part,
    reliance_part,
)
from duokit.trust.page.images import image_part
from duokit.trust.page.measures import (
    accuracy_part,
    agreement_part,
    calibration_part,
    short,
    tests_part,
)
from duokit.trust.page.pieces import escaped, items, listed
from duokit.trust.report import TrustReport

CSS = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5c5c63; --paper: #fff; --line: #d5d5da;
  --band: #f4f4f6; --mark: #0b5c94; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #b0b0b8; --paper: #17171a;
  --line: #3c3c44; --band: #222227; --mark: #7cc0f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, ul, dl { max-width: 44rem; }
a { color: var(--mark); }
nav ul { columns: 15rem; padding-left: 1.2rem; }
.soft, small { color: var(--soft); }
.box { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: .8rem 0;
  width: fit-content; max-width: 100%; }
.box:focus-visible, a:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; padding: .5rem .7rem; font-weight: 600; position: sticky; left: 0;
  max-width: calc(100vw - 2.2rem); overflow-wrap: anywhere; }
th, td { padding: .35rem .7rem; text-align: left; vertical-align: top;
  border-top: 1px solid var(--line); }
td small { white-space: nowrap; }
tbody th { font-weight: 500; min-width: 8.5rem; max-width: 19rem; }
thead th { background: var(--band); vertical-align: bottom; max-width: 13rem; }
th small { display: block; font-weight: 400; line-height: 1.35; min-width: 6.5rem; }
td small { display: block; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr));
  gap: 1rem; padding: 0; max-width: none; list-style: none; }
.cards li { border: 1px solid var(--line); border-radius: 6px; padding: .7rem; }
.cards p { margin: .4rem 0 0; }
.cards img { max-width: 100%; height: auto; display: block; border-radius: 4px; }
@media print { body { max-width: none; } .box { overflow: visible; } }
"""

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$css</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="soft">$about</p>
</header>
<main>
<section aria-labelledby="short">
<h2 id="short">In short</h2>
$short
<nav aria-label="Parts of this page"><ul>$links</ul></nav>
</section>
$parts
</main>
</body>
</html>
""")

FITTED = "weights, temperatures and the duo were fitted on other images (val) than those reported"
PARTS: dict[str, Callable[[TrustReport], str]] = {
    "Accuracy": accuracy_part,
    "The same answers?": agreement_part,
    "More than chance?": tests_part,
    "The same confidence?": calibration_part,
    "By class": classes_part,
    "By confidence": confidence_part,
    "May the confidence be relied on?": reliance_part,
    "The same regions?": alignment_part,
}


def trust_page(
    report: TrustReport,
    *,
    pictures: Mapping[str, bytes] | None = None,
    strips: Mapping[tuple[str, str], bytes] | None = None,
) -> str:
    """Return the report as the text of one HTML file that needs nothing else.

    Args:
        report: What `trust_report` found.
        pictures: Image id -> PNG, shown beside the images that differ most; those without one are
            only named.
        strips: Model and image id -> PNG of the picture beside the maps of the large model and of
            this one, in this order.
    """
    large = report.models[report.large]
    parts = {title: part(report) for title, part in PARTS.items()}
    parts["The images that differ most"] = image_part(report, pictures or {}, strips or {})
    parts["How this was made"] = _made(report)
    shown = [(title, text) for title, text in parts.items() if text]
    anchors = [title.lower().replace(" ", "-").strip("?") for title, _ in shown]
    sections = [
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{title}</h2>\n{text}\n</section>'
        for anchor, (title, text) in zip(anchors, shown, strict=True)
    ]
    links = [
        f'<li><a href="#{anchor}">{title}</a></li>'
        for anchor, (title, _) in zip(anchors, shown, strict=True)
    ]
    return PAGE.substitute(
        title=f"Trust beside {escaped(report.large)}",
        css=CSS,
        about=f"{escaped(listed(report.others))} beside the large model, on {large.n:,} images of "
        f"{escaped(large.dataset)} ({escaped(large.split)}), {large.k} classes",
        short=short(report),
        links="".join(links),
        parts="\n".join(sections),
    )


def _made(report: TrustReport) -> str:
    """Returns what the numbers rest on: networks, weights, intervals, versions."""
    settings, level = report.settings, 100 * report.settings["level"]
    lines = [
        f"{name}: {record.title if record.resolution else record.model}, own weight "
        f"{report.weights[name]:.4f} (temperature {1 / report.weights[name]:.4f})"
        for name, record in report.models.items()
    ]
    if report.duo is not None:
        weights = " and ".join(f"{weight:.4f}" for weight in report.duo.weights)
        members = " and ".join(report.duo.members)
        lines.append(f"{report.duo.name}: the logits of {members}, times {weights}, added")
    lines += _explained(report)
    lines += [
        f"{settings['resamples']:g} resamples of the images, seed {settings['seed']:g}; intervals "
        f"hold the true value in about {level:g} % of cases, and cover the draw of images, not "
        "that of training",
        *(report.allowed or [FITTED]),
    ]
    found = report.models[report.large].versions
    lines += (
        [f"logits made with {', '.join(f'{n} {v}' for n, v in found.items())}"] if found else []
    )
    return items(lines)


def _explained(report: TrustReport) -> Sequence[str]:
    """Returns one line an explainer: how many images, which regions, what was asked."""
    found = []
    for how, group in (report.maps or report.shown_maps).items():
        one = next(iter(group.values()))
        asked = ", ".join(f"{name} {value}" for name, value in one.question.items())
        regions = ", ".join(f"{name} {value}" for name, value in one.regions.items())
        found.append(f"maps by {how}: {len(one.ids)} images; regions: {regions}; {asked}")
    return found
