"""From pictures to records: what they hold is what a slow walk through the steps gives."""

import dataclasses
from importlib.metadata import version

import numpy as np
import pytest

from duokit.images import Splits, default_splits, make_splits
from duokit.models import Recipe, build, cost, predict, probe_records, set_head
from duokit.models import records as module
from duokit.models.linear import nll

RECIPE = Recipe("tf_efficientnet_lite0", 32)
QUIET = {"progress": False, "device": "cpu"}


@pytest.fixture
def splits(stripes) -> Splits:
    clutter = stripes.ids[90:]
    return make_splits(stripes, train=15, val=7, seed=0, extra={"ood": clutter})


def test_records_hold_what_the_network_with_the_probe_as_head_says(stripes, splits):
    records, probe = probe_records(stripes, splits, RECIPE, command="duokit probe", **QUIET)
    assert list(records) == ["val", "test", "ood"]
    model = build(RECIPE.model, classes=3)
    set_head(model, probe.weight, probe.bias)
    transform = RECIPE.preprocessing.transform()
    for part, record in records.items():
        assert record.ids == splits.parts[part]
        assert record.split == part
        rows = stripes.rows(record.ids)
        assert record.labels.tolist() == stripes.labels[rows].tolist()
        expected = predict(model, stripes, transform=transform, rows=rows, **QUIET)
        assert record.logits.dtype == np.float16
        assert np.allclose(record.logits, expected, rtol=2e-3, atol=2e-3)
    accuracy = (records["test"].logits.argmax(axis=1) == records["test"].labels).mean()
    assert accuracy > 0.5  # a third by chance, five in six at best


def test_records_say_where_they_come_from(stripes, splits):
    records, probe = probe_records(stripes, splits, RECIPE, command="duokit probe", **QUIET)
    record = records["val"]
    price = cost(RECIPE.model, 32, 3)
    assert (record.model, record.weights) == ("tf_efficientnet_lite0", "imagenet-1k, pip")
    assert (record.resolution, record.dataset, record.seed) == (32, "stripes", 0)
    assert record.split_checksum == splits.checksum
    assert record.class_names == ("top", "below", "none")
    assert (record.flops, record.parameters) == (price.flops, price.parameters)
    assert record.versions["torch"] == version("torch")
    config = record.config
    assert config["command"] == "duokit probe"
    assert config["strength"] == probe.strength
    assert config["train_accuracy"] == probe.train_accuracy
    assert config["preprocessing"]["resize"] == 36
    assert config["cost"] == dataclasses.asdict(price)
    assert config["weights_sha256"].startswith("579344248a93")
    assert Recipe("tf_efficientnet_lite0", pretrained=None).weights_sha256 is None


def test_the_change_by_rounding_is_in_the_record(stripes, splits):
    records, _ = probe_records(stripes, splits, RECIPE, **QUIET)
    exact, _ = probe_records(stripes, splits, dataclasses.replace(RECIPE, dtype="float32"), **QUIET)
    for part in ("val", "test"):
        both = [nll(each[part].logits, each[part].labels) for each in (records, exact)]
        assert records[part].config["nll_change_by_rounding"] == pytest.approx(both[0] - both[1])
        assert exact[part].config["nll_change_by_rounding"] == 0
        assert abs(both[0] - both[1]) < 1e-3
    assert records["ood"].config["nll_change_by_rounding"] is None


def test_features_are_computed_once(stripes, splits, tmp_path, monkeypatch):
    first, _ = probe_records(stripes, splits, RECIPE, cache=tmp_path, **QUIET)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(module, "features", None)  # a second pass over the pictures would fail
    again, _ = probe_records(stripes, splits, RECIPE, cache=tmp_path, **QUIET)
    for part, record in first.items():
        assert np.array_equal(record.logits, again[part].logits)
    other = default_splits(stripes, seed=9)
    for changed in (Recipe(RECIPE.model, 40), Recipe(RECIPE.model, 32, None)):
        with pytest.raises(TypeError):
            probe_records(stripes, splits, changed, cache=tmp_path, **QUIET)
    with pytest.raises(TypeError):
        probe_records(stripes, other, RECIPE, cache=tmp_path, **QUIET)


def test_another_way_of_preparing_pictures_has_another_cache_file(stripes, monkeypatch):
    before = module._key(stripes, stripes.ids, RECIPE)
    assert module._key(stripes, stripes.ids, RECIPE) == before
    assert module._key(stripes, stripes.ids[::-1], RECIPE) != before
    changed = dataclasses.replace(RECIPE.preprocessing, crop_pct=1.0)
    monkeypatch.setattr(module, "preprocessing", lambda *args, **options: changed)
    assert module._key(stripes, stripes.ids, RECIPE) != before


def test_splits_without_a_part_to_fit_on_are_refused(stripes):
    splits = Splits("stripes", "", 0, {"train": stripes.ids[:30], "test": stripes.ids[30:60]})
    with pytest.raises(ValueError, match="have no part 'val'"):
        probe_records(stripes, splits, RECIPE, **QUIET)


def test_the_folder_of_a_recipe_is_named_after_network_and_size():
    assert Recipe("tf_efficientnet_lite2").folder == "tf_efficientnet_lite2-260"
    assert Recipe("torchvision:resnet18", 64).folder == "torchvision-resnet18-64"
