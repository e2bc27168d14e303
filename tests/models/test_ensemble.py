"""The record of an ensemble: what its members say together, what they cost, who they are."""

from dataclasses import replace

import numpy as np
import pytest

from duokit.logits import Record, make_record
from duokit.models.ensemble import ensemble_records

NAMES = ("a", "b", "c")


def member(seed: int, **changes: object) -> Record:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(6, 3)).astype(np.float32)
    fields = {
        "model": "net", "dataset": "toys", "split": "val", "weights": "random", "resolution": 8,
        "split_checksum": "s", "flops": 10, "parameters": 5, "seed": seed, "class_names": NAMES,
        "config": {"checkpoint_sha256": f"sha-{seed}", "protocol": "all", "images": {"by": "x"}},
    }  # fmt: skip
    labels = np.array([0, 1, 2, 0, 1, -1])
    return make_record(logits, labels, [f"i{row}" for row in range(6)], **fields | changes)


def test_mean_logits():
    members = [member(seed) for seed in range(3)]
    found = ensemble_records(members, dtype="float32", command="pool them")
    expected = np.mean([each.logits.astype(np.float64) for each in members], axis=0)
    assert np.allclose(found.logits, expected, atol=1e-6)
    assert found.kind == "logits"
    assert (found.flops, found.parameters) == (30, 15)
    assert (found.labels.tolist(), found.ids) == (members[0].labels.tolist(), members[0].ids)
    assert (found.dataset, found.split, found.split_checksum) == ("toys", "val", "s")
    assert (found.resolution, found.seed, found.class_names) == (8, None, NAMES)
    assert (found.model, found.weights) == ("ensemble of 3: net", "random")
    config = found.config
    assert config["command"] == "pool them"
    assert config["pool"] == "logits"
    assert "mean logits of 3 networks, not yet calibrated" in config["method"]
    assert [each["seed"] for each in config["members"]] == [0, 1, 2]
    assert [each["checkpoint_sha256"] for each in config["members"]] == ["sha-0", "sha-1", "sha-2"]
    assert {each["model"] for each in config["members"]} == {"net"}
    assert (config["protocol"], config["images"]) == ("all", {"by": "x"})
    assert config["nll_change_by_rounding"] == 0


def test_mean_probabilities():
    members = [member(seed) for seed in range(2)]
    found = ensemble_records(members, pool="probs")
    probs = np.exp([each.logits.astype(np.float64) for each in members])
    expected = (probs / probs.sum(2, keepdims=True)).mean(0)
    assert found.kind == "log_probs"
    assert found.logits.dtype == np.float16
    assert np.allclose(np.exp(found.logits.astype(np.float64)), expected, rtol=2e-3)
    assert 0 < abs(found.config["nll_change_by_rounding"]) < 1e-3


def test_what_members_do_not_share_is_not_claimed():
    small = member(1, model="small", resolution=4, weights="imagenet", flops=None)
    small = replace(small, seed=0, config={}, class_names=None)
    found = ensemble_records([member(0), small])
    assert found.model == "ensemble of 2: net, small"
    assert found.weights == "random, imagenet"
    assert (found.resolution, found.flops, found.parameters, found.seed) == (None, None, 10, 0)
    assert found.class_names == NAMES
    assert "protocol" not in found.config
    assert found.config["members"][1]["checkpoint_sha256"] is None


def test_pictures_of_no_class_have_no_nll():
    members = [replace(member(seed), labels=np.full(6, -1)) for seed in range(2)]
    assert ensemble_records(members).config["nll_change_by_rounding"] is None


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"dataset": "games"}, "other values of dataset: games, toys"),
        ({"split": "test"}, "other values of split: test, val"),
        ({"split_checksum": "t"}, "other values of split_checksum: s, t"),
    ],
)
def test_other_parts_are_refused(other, text):
    with pytest.raises(ValueError, match=text):
        ensemble_records([member(0), member(1, **other)])
    ensemble_records([member(0), member(1, split_checksum="")])  # not known is no contradiction


def test_what_is_no_ensemble_is_refused():
    with pytest.raises(ValueError, match="1 records were given"):
        ensemble_records([member(0)])
    with pytest.raises(ValueError, match=r"records 1 and 3.*one member there twice"):
        ensemble_records([member(0), member(1), member(0)])
    with pytest.raises(ValueError, match="hold other images"):
        ensemble_records([member(0), member(1).rows(["i1", "i0"])])
    with pytest.raises(ValueError, match="pool is 'votes'"):
        ensemble_records([member(0), member(1)], pool="votes")
