"""The reference pages say what the code says, and every pointer in the book leads somewhere."""

import re

import pytest
import yaml

from tests.book_pages import (
    ROOT,
    bibliography,
    citations,
    fences,
    glossary,
    labels,
    links,
    pages,
    prose,
    tables,
)

PAGES = pages()
REFERENCE = [name for name in PAGES if name.endswith(".md")]
SOURCE = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "duokit").rglob("*.py")))


def test_every_glossary_term_is_used_outside_the_glossary():
    rest = "\n".join(text for name, text in PAGES.items() if name != "book/glossary.md") + SOURCE
    rest = re.sub(r"[\s_]+", " ", rest).lower()
    terms = glossary()
    assert len(terms) >= 50
    assert len(set(terms)) == len(terms)
    for term in terms:
        word = term.lower()
        spellings = {word, word.replace("-", " "), word.replace(" ", "-")}
        assert any(w in rest for w in spellings), f"{term!r} is in the glossary and nowhere else"


def test_every_name_of_the_notation_is_used_in_the_code():
    table = next(
        t for t in tables(PAGES["book/notation.md"]) if t[0][0] == "word" and len(t[0]) == 5
    )
    names = {name for row in table[1:] for name in re.findall(r"`([^`]+)`", row[2])}
    assert len(names) > 20
    for name in names:
        assert re.search(rf"\b{re.escape(name)}\b", SOURCE), (
            f"{name!r} is in the notation, not in duokit"
        )


def test_weight_temperature_and_divisor_are_told_apart():
    text = PAGES["book/notation.md"]
    assert "weight-temperature-divisor" in labels(text)
    assert "D = 1/(2w)" in text


def test_citations_and_bibliography_agree():
    cited = {key for text in PAGES.values() for key in citations(text)}
    known = bibliography()
    assert cited - known == set(), "cited but not in references.bib"
    assert known - cited == set(), "in references.bib but never cited"


def all_labels() -> dict[str, str]:
    return {label: name for name, text in PAGES.items() for label in labels(text)}


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_lead_somewhere(page):
    known = all_labels()
    here = (ROOT / page).parent
    for target in links(PAGES[page]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        if path:
            assert (here / path).exists(), f"{page} links to {target}, which does not exist"
        if anchor:
            assert anchor in known, f"{page} links to #{anchor}, which no page defines"


@pytest.mark.parametrize("page", PAGES)
def test_roles_lead_somewhere(page):
    known = all_labels()
    text = PAGES[page]
    for target in re.findall(r"\{(?:ref|numref|eq)\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        assert target in known, f"{page} refers to {target}"
    for term in re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        assert term in glossary(), f"{page} refers to the term {term}"


def test_labels_are_unique():
    every = [label for text in PAGES.values() for label in labels(text)]
    assert len(every) == len(set(every))


def test_every_data_set_has_a_card():
    from duokit.images import NAMES

    text = PAGES["book/datasets.md"]
    for name in NAMES:
        assert f"dataset-{name}" in labels(text), f"{name} has no card"
        card = text[text.index(f"(dataset-{name})=") :].split("\n## ", 2)[1]
        for word in ("Splits here:", "Traps"):
            assert word in card, f"the card of {name} lacks {word!r}"
        assert f"`{name}`" in "".join(row[0] for row in tables(text)[0])


def test_cards_state_the_licences_that_the_code_states():
    from duokit.images import NAMES

    text = PAGES["book/datasets.md"]
    rows = {row[0]: row for row in tables(text)[0][1:]}
    for name in NAMES:
        stated = re.findall(
            r'licence="([^"]+)"', (ROOT / f"duokit/images/{name}.py").read_text("utf-8")
        )
        for licence in stated:
            row = next(row for key, row in rows.items() if f"`{name}`" in key)
            assert licence in row[3], f"{name}: the code says {licence}, the page {row[3]}"


def metric_rows() -> dict[str, list[str]]:
    """Return the rows of the table of metrics by name; a row may stand for a family."""
    found = {}
    for row in tables(PAGES["book/metrics_reference.md"])[0][1:]:
        names = re.findall(r"`(\w+)`", row[0])
        if "…" in row[0]:
            stem, (first, last) = names[0][:-2], (int(name[-2:]) for name in names)
            names = [f"{stem}{number}" for number in range(first, last + 1)]
        found |= dict.fromkeys(names, row)
    return found


def test_the_table_of_metrics_is_that_of_the_code():
    from duokit.metrics.table import METRICS

    rows = metric_rows()
    assert set(rows) == set(METRICS)
    for name, metric in METRICS.items():
        _, better, span, *_ = rows[name]
        high = "∞" if metric.high == float("inf") else f"{metric.high:g}"
        assert better == metric.better, name
        assert span == f"{metric.low:g} … {high}", name


def test_every_metric_has_an_entry_with_a_trap_and_a_word_in_the_glossary():
    from duokit.metrics.table import METRICS

    text = PAGES["book/metrics_reference.md"]
    terms = {re.sub(r"\W+", "_", term.lower().removesuffix(" score")) for term in glossary()}
    for name in METRICS:
        stem = re.sub(r"\d\d$", "", name)  # sac90 ... sac99 share an entry
        assert f"metric-{stem}" in labels(text), f"{name} has no entry"
        entry = text[text.index(f"(metric-{stem})=") :].split("\n(metric-", 1)[0]
        assert f"`{stem}" in entry, name
        assert "**Trap:**" in entry, f"the entry of {name} names no trap"
        assert any(stem == term or stem.startswith(f"{term}_") for term in terms), (
            f"{stem} in the glossary"
        )


def test_the_page_of_modes_names_all_modes():
    from duokit.fusion import MODES

    rows = tables(PAGES["book/fusion_modes.md"])[0][1:]
    assert [row[0] for row in rows] == [f"`{mode}`" for mode in MODES]


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_has_alt_text(page):
    text = PAGES[page]
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)", prose(text)):
        assert len(alt.split()) >= 3, f"{page}: {target} has no alt text"
    for tag in re.findall(r"<img[^>]*>", text):
        assert re.search(r'alt="[^"]+"', tag), f"{page}: {tag}"
    for info, body, _ in fences(text):
        if info.startswith(("{figure}", "{image}", "{glue:figure}")):
            assert ":alt:" in body, f"{page}: {info}"


@pytest.mark.parametrize("page", REFERENCE)
def test_pages_say_what_is_there_and_where_to_go_next(page):
    text = PAGES[page]
    assert text.startswith("# "), page
    assert re.search(r"^\*\*Where next:\*\* ", text, re.M), f"{page} ends without a next step"


def test_every_page_is_in_the_table_of_contents_and_the_other_way_round():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))

    def files(node: object) -> list[str]:
        if isinstance(node, list):
            return [file for child in node for file in files(child)]
        if isinstance(node, dict):
            own = [str(node[key]) for key in ("root", "file") if key in node]
            return own + [f for value in node.values() for f in files(value)]
        return []

    listed = files(toc)
    assert len(listed) == len(set(listed))
    written = {name.rsplit(".", 1)[0] for name in PAGES}
    assert {name for name in written if name not in listed} == set(), "not in _toc.yml"
    assert {name for name in listed if name.startswith("book/")} - written == set(), "not written"
