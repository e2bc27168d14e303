"""Parts that add up, and know who is responsible when only one thing changed."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from duokit.ablations.decomposition import (
    augrc_parts,
    compositions,
    nll_change,
    nll_parts,
    overlap,
)
from duokit.metrics.scores import score
from duokit.metrics.selective import augrc


@pytest.fixture(scope="module")
def logits():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 600)
    clean = 2.0 * np.eye(4)[labels]
    return labels, {
        name: clean + random.normal(0, s, (600, 4)) for name, s in (("a", 1.5), ("b", 2))
    }


def test_parts_of_the_augrc_add_up(logits):
    labels, made = logits
    a, b = (score(z, labels) for z in made.values())
    parts = augrc_parts(a, b)
    assert parts["whole"] == pytest.approx(
        augrc(a.uncertainty, a.correct) - augrc(b.uncertainty, b.correct)
    )
    assert parts["accuracy"] + parts["ranking"] == pytest.approx(parts["whole"])
    back = augrc_parts(b, a)
    assert back == pytest.approx({name: -value for name, value in parts.items()})


def test_another_order_of_the_same_answers_is_ranking_alone(logits):
    labels, made = logits
    base = score(made["a"], labels)
    hot = made["a"] * np.linspace(0.2, 3, 600)[:, None]  # same answers, another order
    parts = augrc_parts(score(hot, labels), base)
    assert parts["accuracy"] == 0
    assert parts["ranking"] == pytest.approx(parts["whole"])
    assert parts["ranking"] != 0


def test_a_model_that_is_always_right_has_no_order(logits):
    labels, made = logits
    with pytest.raises(ValueError, match="always right or always wrong"):
        augrc_parts(score(9.0 * np.eye(4)[labels], labels), score(made["a"], labels))


def test_nll_parts_against_a_search_over_temperatures(logits):
    labels, made = logits
    z, y = torch.from_numpy(3 * made["b"]), torch.from_numpy(labels)
    parts = nll_parts(3 * made["b"], labels)
    best = min(float(cross_entropy(w * z, y)) for w in np.linspace(0.05, 1.5, 2901))
    assert parts["nll"] == pytest.approx(float(cross_entropy(z, y)))
    assert parts["refinement"] == pytest.approx(best, abs=1e-6)
    assert parts["calibration"] + parts["refinement"] == pytest.approx(parts["nll"])


def test_a_temperature_changes_calibration_alone(logits):
    labels, made = logits
    change = nll_change(score(0.2 * made["a"], labels), score(made["a"], labels))
    assert change["refinement"] == pytest.approx(0, abs=1e-9)
    assert change["calibration"] == pytest.approx(change["whole"])


def test_overlap_by_a_slow_loop(logits):
    labels, made = logits
    a, b = (score(z, labels) for z in made.values())
    found = overlap(a, b)
    wrong = [i for i in range(600) if not a.correct[i]]
    right = [i for i in range(600) if a.correct[i]]
    assert found["mends"] == pytest.approx(sum(b.correct[i] for i in wrong) / len(wrong))
    assert found["spoils"] == pytest.approx(sum(not b.correct[i] for i in right) / len(right))
    same = sum(a.predictions[i] == b.predictions[i] for i in range(600))
    assert found["agreement"] == pytest.approx(same / 600)


def test_a_copy_mends_nothing_and_spoils_nothing(logits):
    labels, made = logits
    a = score(made["a"], labels)
    assert overlap(a, a) == {"agreement": 1.0, "mends": 0.0, "spoils": 0.0}
    perfect = score(9.0 * np.eye(4)[labels], labels)
    assert np.isnan(overlap(perfect, a)["mends"])


def test_scores_of_other_images_do_not_compare(logits):
    labels, made = logits
    with pytest.raises(ValueError, match="not of the same images"):
        overlap(score(made["a"], labels), score(made["a"][::-1].copy(), labels[::-1].copy()))


def test_compositions_are_one_row_a_pair(logits):
    labels, made = logits
    a, b = (score(z, labels) for z in made.values())
    table = compositions({"a + b": (a, b, b), "a + a": (a, a, a)})
    assert list(table.index) == ["a + b", "a + a"]
    zero = table.loc["a + a"].drop(["agreement"])
    assert (zero.abs() < 1e-12).all()
    row = table.loc["a + b"]
    assert row["nll"] == pytest.approx(row["nll_calibration"] + row["nll_refinement"])
    assert row["augrc"] == pytest.approx(row["augrc_accuracy"] + row["augrc_ranking"])
