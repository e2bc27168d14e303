"""The report: the numbers of the functions it calls, the duo's rows, whose maps, and the page."""

from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from duokit import fit_duo
from duokit.logits import make_record
from duokit.metrics import auroc, score
from duokit.trust import (
    AttributionMaps,
    agreement,
    alignment,
    ccrc,
    chance_jaccard,
    own_weights,
    trust_page,
    trust_report,
    usable_region,
)

NAMES = ("big", "little", "tiny<b>&")
CLASSES = ("ant", "bee", "cat", "d<o>g")
NOISE = {"big": 0.9, "little": 1.6, "tiny<b>&": 2.2}


def made(split, n, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, n)
    return {
        name: make_record(
            (3 * np.eye(4)[labels] + NOISE[name] * random.normal(size=(n, 4))) * scale, labels,
            [f"{split}/{i}.png" for i in range(n)], model=f"net{row}", resolution=32 + row,
            dataset="toys", split=split, dtype="float32", class_names=CLASSES,
            config={"checkpoint_sha256": f"sum{row}"},
        )
        for row, (name, scale) in enumerate(zip(NAMES, (1.0, 2.0, 0.5), strict=True))
    }  # fmt: skip


@pytest.fixture(scope="module")
def val():
    return made("val", 150, 1)


@pytest.fixture(scope="module")
def test():
    return made("test", 240, 2)


@pytest.fixture(scope="module")
def report(val, test):
    return trust_report(val, test, maps=maps(test), resamples=50, k=3, shown=5)


def map_of(record, row, *, seed=0, how="occlusion", **more):
    random = np.random.default_rng(10 * row + seed + 1)
    values = {
        "values": random.normal(size=(12, 9)).astype(np.float32), "targets": np.arange(12) % 4,
        "ids": record.ids[20:32], "model": f"{record.model}@{record.resolution}",
        "dataset": "toys", "explainer": {"explainer": how}, "seed": seed,
        "regions": {"grid": 3, "side": 48, "crop": 1.0}, "question": {"output": "centred"},
        "checkpoints": (f"sum{row}",),
    }  # fmt: skip
    return AttributionMaps(**(values | more))


def maps(test):
    big, little = test["big"], test["little"]
    return [map_of(little, 1), map_of(big, 0), map_of(big, 0, seed=1)]


def tempered(val, test, name):
    weight = own_weights({name: val[name].logits}, val[name].labels)[name]
    return weight * test[name].logits.astype(np.float64)


def test_numbers_are_those_of_the_functions_at_own_temperatures(report, val, test):
    labels = test["big"].labels
    large = tempered(val, test, "big")
    for name in NAMES[1:]:
        other = tempered(val, test, name)
        expected = agreement(large, other, labels, resamples=50)
        pd.testing.assert_frame_equal(
            report.agreement.loc[name, ["value", "low", "high"]],
            expected.measures[["value", "low", "high"]],
        )
        pd.testing.assert_series_equal(report.tests.loc[name, "p_value"], expected.tests["p_value"])
    for name in NAMES:
        scores = score(tempered(val, test, name), labels)
        found = report.scores["value"].unstack("metric").loc[name]
        assert found["accuracy"] == pytest.approx(
            (test[name].logits.argmax(1) == labels).mean(), abs=1e-12
        )
        assert found["auroc"] == pytest.approx(auroc(scores.uncertainty, scores.correct))
        assert report.reliance.loc[name, "ccrc"] == ccrc(scores.uncertainty, scores.correct)
        region = usable_region(scores.confidence, scores.correct, 0.95)
        assert report.reliance.loc[name, "threshold"] == region.threshold
    raw = report.calibration["value"].xs("raw", level="form")["little", "log_loss"]
    assert raw == pytest.approx(score(test["little"].logits, labels).nll.mean(), rel=1e-5)


def test_the_duo_is_the_fitted_one_and_is_set_against_the_first_other(report, val, test):
    duo = fit_duo([val["big"], val["little"]])
    assert report.others == ("little", "tiny<b>&", "duo")
    assert report.duo.members == ("big", "little")
    assert report.duo.weights == pytest.approx(tuple(duo.weights))
    fused = duo.logits([test["big"], test["little"]])
    assert np.allclose(report.models["duo"].logits, fused, atol=1e-5)
    assert report.weights["duo"] == pytest.approx(1, abs=1e-4)  # it is calibrated as it is
    rows = report.agreement.loc["duo"]
    assert rows["baseline"].equals(report.agreement.loc["little", "value"].rename("baseline"))
    assert np.allclose(rows["difference"], rows["value"] - rows["baseline"])
    assert report.agreement.loc["little", "difference"].isna().all()


def test_a_model_worse_than_guessing_keeps_its_answers(val, test):
    def wrong(part):
        little = part["little"]
        return part | {"little": replace(little, logits=-little.logits)}

    found = trust_report(wrong(val), wrong(test), duo=False, resamples=2)
    accuracy = found.scores["value"].xs("accuracy", level="metric")["little"]
    assert found.weights["little"] == 1e-6
    assert accuracy == (test["little"].logits.argmin(1) == test["little"].labels).mean()
    assert "temperature 1000000" in trust_page(found)


def test_maps_of_named_images_are_shown_and_not_averaged(report, val, test):
    ids = tuple(dict.fromkeys(report.differing["id"]))
    more = {"values": np.ones((len(ids), 9), np.float32), "targets": np.zeros(len(ids), np.int64)}
    named = [
        map_of(test[name], row, ids=ids, config={"images_seed": None}, **more)
        for row, name in enumerate(("big", "little"))
    ]
    both = trust_report(val, test, maps=[*maps(test), *named], resamples=50, k=3, shown=5)
    pd.testing.assert_frame_equal(both.alignment, report.alignment)
    for name in ("little", "duo"):
        assert both.explained.loc[name].equals(both.differing.loc[name])
        assert both.shown_maps["occlusion"][name].ids == ids
    alone = trust_report(val, test, maps=named, resamples=50, shown=5)
    assert (alone.maps, alone.alignment.empty) == ({}, True)
    strips = {(name, image): b"strip" for name in ("little", "duo") for image in ids}
    page = trust_page(both, strips=strips)
    assert page.count("<img") == 2 * 5


def test_without_a_duo(val, test):
    found = trust_report(val, test, duo=False, maps=maps(test), resamples=20)
    assert found.others == NAMES[1:]
    assert (found.duo, list(found.weights)) == (None, list(NAMES))
    assert "difference" not in found.agreement
    assert found.alignment_gain.empty
    assert "Is the duo closer" not in trust_page(found)


def test_images_that_differ_most_by_a_loop(report, val, test):
    one, two = (softmax(tempered(val, test, name), axis=1) for name in ("big", "little"))
    gaps = [jensenshannon(p, q, base=2) ** 2 for p, q in zip(one, two, strict=True)]
    order = sorted(range(240), key=lambda i: -gaps[i])[:5]
    found = report.differing.loc["little"]
    assert found["id"].tolist() == [f"test/{i}.png" for i in order]
    for row, i in zip(found.itertuples(), order, strict=True):
        assert row.jensen_shannon == pytest.approx(gaps[i])
        assert row.label == CLASSES[test["big"].labels[i]]
        assert (row.answer_large, row.answer) == (
            CLASSES[one[i].argmax()],
            CLASSES[two[i].argmax()],
        )
        assert row.confidence_large == pytest.approx(one[i].max(), abs=1e-6)
        assert row.confidence == pytest.approx(two[i].max(), abs=1e-6)
    seen = sorted(range(20, 32), key=lambda i: -gaps[i])[:5]
    assert report.explained.loc["little", "id"].tolist() == [f"test/{i}.png" for i in seen]


def test_corrections_count_all_tests_but_pearsons(report):
    known = report.tests.drop("Pearson", level="test")
    assert report.tests.xs("Pearson", level="test")["p_holm"].isna().all()
    worst = 0.0
    for rank, (row, p) in enumerate(known["p_value"].sort_values(kind="stable").items()):
        worst = max(worst, min(1, (len(known) - rank) * p))
        assert known.loc[row, "p_holm"] == pytest.approx(worst)
    assert (known["p_holm"] >= known["p_bh"] - 1e-12).all()
    assert (known["p_bh"] >= known["p_value"] - 1e-12).all()
    rows = report.calibration["p_value"].dropna()
    smallest = rows.idxmin()
    assert len(rows) == 3 * 2 * 3  # of four measures; the greatest error of a bin has no test
    expected = min(1, len(rows) * rows.min())
    assert report.calibration.loc[smallest, "p_holm"] == pytest.approx(expected)


def test_classes_come_with_the_least_agreement_first(report, test):
    found = report.classes.loc["little"]
    assert set(found.index) == set(CLASSES)
    assert found["label_agreement"].is_monotonic_increasing
    answers = [test[name].logits.argmax(1) for name in ("big", "little")]
    at = test["big"].labels == CLASSES.index("bee")
    assert found.loc["bee", "label_agreement"] == (answers[0] == answers[1])[at].mean()


def test_order_of_images_and_of_classes_says_nothing(report, val, test):
    order = np.random.default_rng(0).permutation(240)
    moved = {n: r.rows([r.ids[i] for i in order]) for n, r in test.items()}
    columns = [2, 0, 3, 1]

    def renamed(records):
        names = tuple(CLASSES[c] for c in columns)
        place = np.argsort(columns)
        return {
            n: replace(r, logits=r.logits[:, columns], labels=place[r.labels], class_names=names)
            for n, r in records.items()
        }

    for one, other in ((val, moved), (renamed(val), renamed(test))):
        found = trust_report(one, other, resamples=5)
        for table in ("agreement", "calibration", "scores", "confidence"):
            known, new = (getattr(each, table) for each in (report, found))
            column = "label_agreement" if table == "confidence" else "value"
            assert np.allclose(new[column], known[column], rtol=1e-5, atol=1e-6), table
        first = found.differing.groupby("model", sort=False).head(5)
        assert first["id"].tolist() == report.differing["id"].tolist()


def test_every_number_is_in_the_table_once(report):
    table = report.tidy()
    assert list(table.columns) == ["measure", "model", "value", "low", "high", "of"]
    assert not table.duplicated(["measure", "model", "of"]).any()
    found = table.set_index(["model", "measure", "of"])

    def row(*key):
        return found.loc[key].tolist()

    for (name, measure), expected in report.agreement.iterrows():
        wanted = expected[["value", "low", "high"]].tolist()
        assert row(name, measure, "all images") == pytest.approx(wanted, nan_ok=True)
    wanted = report.agreement.loc[("duo", "kl")]
    assert row("duo", "kl_difference", "difference to the small model") == pytest.approx(
        wanted[["difference", "difference_low", "difference_high"]].tolist()
    )
    accuracy = report.scores.loc[("little", "accuracy")]
    assert row("little", "accuracy_difference", "difference to the large model") == pytest.approx(
        accuracy[["difference", "difference_low", "difference_high"]].tolist()
    )
    assert row("duo", "p_value", "McNemar")[0] == report.tests.loc[("duo", "McNemar"), "p_value"]
    ece = report.calibration.loc[("little", "tempered", "ece")]
    assert row("little", "ece_p_holm", "own temperature")[0] == ece["p_holm"]
    assert row("little", "ece", "as it is")[0] != row("little", "ece", "own temperature")[0]
    bee = report.classes.loc[("little", "bee")]
    assert (
        row("little", "label_agreement", "class bee")
        == bee[["label_agreement", "low", "high"]].tolist()
    )
    assert row("little", "images", "class bee")[0] == bee["images"]
    gain = report.alignment_gain.query("measure == 'adjusted'").iloc[0]
    key = "maps by occlusion, 3 regions, difference to the small model"
    assert row("duo", "adjusted_difference", key) == gain[["difference", "low", "high"]].tolist()


def test_maps_find_their_models_and_the_duo_is_made(report, test):
    group = report.maps["occlusion"]
    assert list(group) == ["big", "little", "duo", "big, seed 1"]
    one, other = report.duo.weights
    sums = one * np.float64(group["big"].values) + other * group["little"].values
    assert np.allclose(group["duo"].values, sums, atol=1e-5)
    table = report.alignment.set_index(["model", "measure"])["value"]
    assert table["little", "chance"] == pytest.approx(chance_jaccard(9, 3))
    pair = {name: group[name].values for name in ("big", "big, seed 1")}
    assert table["big, seed 1", "jaccard"] == alignment(pair, k=3, resamples=5)["value"][0]
    gain = report.alignment_gain.set_index("measure")["difference"]
    assert gain["jaccard"] == pytest.approx(table["duo", "jaccard"] - table["little", "jaccard"])


def test_the_duos_maps_come_from_a_file_where_the_sum_is_not_exact(val, test):
    how = {"question": {"output": "probs"}}
    two = [map_of(test["big"], 0, **how), map_of(test["little"], 1, **how)]
    assert "duo" not in trust_report(val, test, maps=two, resamples=2).maps["occlusion"]
    weights = trust_report(val, test, resamples=2).duo.weights
    own = {"model": "net0@32 + net1@33", "checkpoints": ("sum0", "sum1"), **how}
    file = map_of(test["big"], 7, weights=weights, **own)
    found = trust_report(val, test, maps=[*two, file], resamples=2).maps["occlusion"]
    assert found["duo"] is file
    assert list(found) == ["big", "little", "duo"]
    wrong = map_of(test["big"], 7, weights=(9.0, 1.0), **own)
    with pytest.raises(ValueError, match=r"have weights \[9\.0, 1\.0\], the duo"):
        trust_report(val, test, maps=[*two, wrong], resamples=2)


def test_maps_are_of_the_network_and_not_of_what_was_compressed_from_it(val, test):
    def rounded(part):
        small = {"checkpoint_sha256": "sum0", "compressed_from": "sum0"}
        return part | {"int8": replace(part["big"], config=small)}

    def tuned(part):
        further = {"checkpoint_sha256": "sum9", "compressed_from": "sum0"}
        return part | {"pruned": replace(part["big"], config=further)}

    found = trust_report(rounded(val), rounded(test), maps=maps(test), resamples=2)
    assert list(found.maps["occlusion"]) == ["big", "little", "duo", "big, seed 1"]
    own = map_of(test["big"], 5, checkpoints=("sum9",))
    found = trust_report(tuned(val), tuned(test), maps=[*maps(test), own], resamples=2)
    assert found.maps["occlusion"]["pruned"] is own


def test_maps_of_nobody_are_refused(val, test):
    big, little = test["big"], test["little"]

    def refused(message, *files):
        with pytest.raises(ValueError, match=message):
            trust_report(val, test, maps=files, resamples=2)

    refused("no maps of big by occlusion", map_of(little, 1))
    refused("belong to none of big, little", map_of(big, 0, checkpoints=("sum1",)))
    refused("belong to none of", map_of(big, 0, model="net0@64"))
    ids = [f"val/{i}.png" for i in range(12)]
    refused(r"'val/0\.png', which is no image of", map_of(big, 0, ids=ids))
    refused("two files hold maps of net0@32", map_of(big, 0), map_of(big, 0))
    refused("differ in regions", map_of(big, 0), map_of(little, 1, regions={"grid": 9}))
    # Masks of dropout have the network's weights, but not its maps.
    dropout = {"prediction": {"method": "mc_dropout"}, "checkpoint_sha256": "sum0"}
    masked = {n: replace(r, config=dropout) if n == "big" else r for n, r in test.items()}
    with pytest.raises(ValueError, match="belong to none"):
        trust_report(val, masked, maps=[map_of(big, 0)], resamples=2)


def test_records_that_do_not_belong_together_are_refused(val, test):
    def refused(message, one, other, **options):
        with pytest.raises(ValueError, match=message):
            trust_report(one, other, resamples=2, **options)

    refused("expected the same names", {"big": val["big"]}, {"big": test["big"]})
    refused("expected the same names", val, dict(reversed(test.items())))
    refused(r"images, such as 'val/0\.png', are in", val, val)
    swapped = {"big": test["little"], "little": test["big"], NAMES[2]: test[NAMES[2]]}
    refused(r"fitted for net0@32 \(toys val\), not for net1@33", val, swapped)
    named = [{"duo" if n == "little" else n: r for n, r in each.items()} for each in (val, test)]
    refused("a model is called 'duo'", *named)
    refused("shown must be 1 or more", val, test, shown=0)
    refused("target", val, test, target=1.5)
    fewer = test["little"].rows(test["little"].ids[:-1])
    refused("hold other images", val, test | {"little": fewer})


class Reader(HTMLParser):
    """Checks that tags close in order, and keeps what a test asks about."""

    VOID = ("meta", "img", "br", "wbr")

    def __init__(self):
        super().__init__()
        self.open, self.found, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def read(text):
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def test_the_page_is_whole_and_needs_nothing_else(report):
    drawn = dict.fromkeys(report.differing["id"], b"png")
    strips = {("little", image): b"strip" for image in report.explained.loc["little", "id"]}
    text = trust_page(report, pictures=drawn, strips=strips)
    page = read(text)
    assert not {"script", "link", "iframe", "b"} & {tag for tag, _ in page.found}
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert {attrs["lang"] for attrs in page.all("html")} == {"en"}
    assert "prefers-color-scheme: dark" in text
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert {attrs["href"].removeprefix("#") for attrs in page.all("a")} == set(ids) - {"short"}
    assert {attrs["aria-labelledby"] for attrs in page.all("section")} == set(ids)
    images = page.all("img")
    assert len(images) == 15 + 5  # five a model, and five with maps
    assert all(attrs["alt"] and attrs["src"].startswith("data:image/png") for attrs in images)
    assert len({attrs["alt"] for attrs in images if "regions" in attrs["alt"]}) == 5
    boxes = [attrs for attrs in page.all("div") if attrs.get("class") == "box"]
    assert len(boxes) == len(page.all("table")) == len(page.all("caption"))
    assert all(attrs["tabindex"] == "0" and attrs["aria-label"] for attrs in boxes)
    assert {attrs["scope"] for attrs in page.all("th")} == {"row", "col"}
    levels = [int(tag[1]) for tag, _ in page.found if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert "tiny<b>&" in page.text
    assert "d<o>g" in page.text


def test_the_page_says_the_numbers(report):
    text = read(trust_page(report)).text.replace("\N{NO-BREAK SPACE}", " ")
    accuracy = report.scores.loc[("little", "accuracy")]
    assert f"little is right on {100 * accuracy['value']:.1f} %: less often" in text
    assert accuracy["difference_high"] < 0
    assert f"{report.agreement.loc[('little', 'kl'), 'value']:.4f}" in text
    alike = report.agreement.loc[("duo", "jensen_shannon")]
    assert alike["difference_high"] < 0
    assert "By its probabilities the duo is nearer to the large model than little is" in text
    assert f"{report.alignment.loc[0, 'value']:.4f}" in text


def test_a_page_without_maps_and_names_says_so_by_leaving_out(val, test):
    plain = [
        {n: replace(r, class_names=None, resolution=None) for n, r in each.items()}
        for each in (val, test)
    ]
    found = trust_report(*plain, resamples=2)
    page = read(trust_page(found))
    assert "The same regions?" not in page.text
    assert not page.all("img")
    assert found.explained.empty
    assert set(found.classes.loc["little"].index) == {"0", "1", "2", "3"}


def test_equal_models_differ_in_nothing(val, test):
    same = [{"one": each["big"], "two": each["big"]} for each in (val, test)]
    found = trust_report(*same, duo=False, resamples=5)
    assert found.agreement.loc[("two", "flips"), "value"] == 0
    assert found.tests.loc[("two", "McNemar"), "p_value"] == 1
    text = read(trust_page(found)).text
    assert "not clearly more or less often" in text
    assert "–" in text  # of no flips none is for the better
    assert "nan" not in text


@pytest.mark.promise("hostile")
def test_names_do_nothing_to_the_page(val, test):
    nasty = "\x1b]0;t\x07\x9b1m\u202e\0<b>\"'&"

    def renamed(records):
        return {
            name + nasty: replace(
                record, model=record.model + nasty, dataset="toys" + nasty,
                ids=tuple(f"\x1b\u202e<i>{name}" for name in record.ids),
                class_names=tuple(f"{name}{nasty}" for name in record.class_names),
                versions={"torch" + nasty: "1" + nasty},
            )
            for name, record in records.items()
        }  # fmt: skip

    report = trust_report(renamed(val), renamed(test), resamples=20, shown=5)
    first = next(iter(report.differing["id"]))
    page = trust_page(report, pictures={first: b"png"})
    assert not set(page) & set("\x1b\x07\x9b\u202e\0")
    assert r"\x1b]0;t\x07\u009b1m\u202e\x00&lt;b&gt;&quot;&#x27;&amp;" in page
    for raw in ("<b>\"'&", "<i>"):
        assert raw not in page
