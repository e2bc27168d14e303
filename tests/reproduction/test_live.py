"""The live duos: gains from the committed records, the same as by hand, beside the right pairs."""

from pathlib import Path

import numpy as np
import pytest

from duokit import published
from duokit.claims import live_pairs
from duokit.evaluation import fit_duo
from duokit.logits import load
from duokit.metrics import score
from duokit.reproduction import beside_similar, live_gains, share_of_the_way
from duokit.reproduction.live import LIVE

ARTIFACTS = Path(__file__).resolve().parents[2] / "book" / "artifacts"


@pytest.fixture(scope="module")
def live():
    return live_gains(ARTIFACTS, metrics=["accuracy", "nll"])


def test_there_is_one_row_a_duo_of_the_book(live):
    assert live["data"].value_counts().to_dict() == {
        "Fashion-MNIST": 5, "Caltech-101": 2, "ELPV": 1
    }  # fmt: skip
    assert live["flops_balance"].between(0, 1).all()
    assert live.set_index("data")["images"].to_dict() == {
        "Caltech-101": 4533, "Fashion-MNIST": 10_000, "ELPV": 1550
    }  # fmt: skip
    assert live.notna().all(axis=None)


def test_a_gain_by_hand(live):
    folder = ARTIFACTS / "caltech101"
    names = ("tf_efficientnet_lite2-192", "tf_efficientnet_lite0-96")
    val, test = (
        [load(folder / name / f"{part}.safetensors") for name in names] for part in ("val", "test")
    )
    found = fit_duo(val).answers(test)
    old, new = (float(found[name].nll.mean()) for name in ("large", "duo"))
    row = live.iloc[0]
    assert row["nll"] == pytest.approx((old - new) / old)
    right = [float(found[name].correct.mean()) for name in ("large", "duo")]
    assert row["accuracy"] == pytest.approx((right[1] - right[0]) / (1 - right[0]))
    assert row["flops_balance"] == pytest.approx(70_642_912 / 422_746_816)


def test_the_same_scores_gain_nothing_and_a_perfect_duo_all():
    labels = np.array([0, 1, 2, 1])
    draw = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    base = score(draw, labels)
    assert share_of_the_way(base, base, metrics=["nll"]) == {"nll": 0.0}
    perfect = score(np.float32(80) * np.eye(3, dtype=np.float32)[labels], labels)
    found = share_of_the_way(perfect, base, metrics=["accuracy", "nll"])
    assert found == pytest.approx({"accuracy": 1.0, "nll": 1.0})
    with pytest.raises(ValueError, match="no gain is known of 'mce'"):
        share_of_the_way(base, base, metrics=["mce"])


def test_similar_pairs_are_those_of_a_similar_balance(live):
    found = beside_similar(live, "imagenet", metrics=["nll"], factor=1.5)
    theirs = published.gains("imagenet")
    for _, row in found.iterrows():
        b = row["flops_balance"]
        near = theirs[theirs["flops_balance"].between(b / 1.5, b * 1.5)]
        assert row["pairs"] == len(near)
        assert row["nll authors"] == pytest.approx(near["nll"].mean())
    assert found["nll here"].tolist() == live["nll"].tolist()
    nothing = beside_similar(live.assign(flops_balance=1e-9), "imagenet", metrics=["nll"])
    assert nothing["pairs"].eq(0).all()
    assert nothing["nll authors"].isna().all()
    with pytest.raises(ValueError, match="factor is 1"):
        beside_similar(live, "imagenet", factor=1)


def test_a_missing_record_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        live_gains(tmp_path)


def test_the_pairs_are_those_that_the_claims_are_checked_on(live):
    claimed = live_pairs(ARTIFACTS)
    names = {(Path(each.large).name, Path(each.small).name) for each in LIVE}
    assert names == {(pair.large, pair.small) for pair in claimed}
    balances = sorted(pair.balance for pair in claimed)
    assert sorted(live["flops_balance"]) == pytest.approx(balances, rel=1e-12)
