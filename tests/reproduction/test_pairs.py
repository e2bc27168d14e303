"""Records are found by what they say of themselves; other pictures than the authors' are named."""

import dataclasses

import pytest

from duokit import published
from duokit.images import imagenet
from duokit.logits.store import save
from duokit.reproduction import SHORT_NAMES, check_pair, find_pair, split_faults
from tests.reproduction.samples import LARGE, SMALL, make_pair


def store(folder, records, where=""):
    for record in records:
        name = record.model.rsplit(":", 1)[-1] + where
        save(record, folder / record.dataset / name / f"{record.split}.safetensors")


def test_every_published_pair_passes():
    for benchmark in published.BENCHMARKS:
        for large, small in published.duos(benchmark)[["large", "small"]].head(5).to_numpy():
            check_pair(benchmark, large, small)
        assert set(published.duos(benchmark)["large"]) <= set(SHORT_NAMES)


@pytest.mark.parametrize(
    ("benchmark", "large", "small", "text"),
    [
        ("imagenet", "ConvNeXt-Base", "ResNet50", "no large model 'ConvNeXt-Base'; near it: Conv"),
        ("imagenet", LARGE, "ResNet18", "no sidekick of ConvNeXt_Base 'ResNet18'; near it: ResNet"),
        ("iwildcam", LARGE, SMALL, "iWildCam has no large model 'ConvNeXt_Base'"),
        ("imagenet", "?", SMALL, "there are ConvNeXt_Base, Swin_V2_B"),
        ("cifar", LARGE, SMALL, "benchmark is 'cifar'"),
    ],
)
def test_other_pairs_are_refused_with_near_names(benchmark, large, small, text):
    with pytest.raises(ValueError, match=text.replace("?", r"\?")):
        check_pair(benchmark, large, small)


def test_a_pair_is_found_wherever_it_lies(tmp_path):
    for split in ("val", "test"):
        store(tmp_path, make_pair(split, n=30, k=5, dataset="imagenet"))
    store(tmp_path, make_pair("shifted", n=20, k=5, dataset="imagenet_v2"))
    found = find_pair(tmp_path, "imagenet", LARGE, SMALL)
    assert {part: [r.split for r in records] for part, records in found.items()} == {
        "val": ["val", "val"], "test": ["test", "test"]
    }  # fmt: skip
    assert found["val"][0].model.endswith("convnext_base")
    found = find_pair(tmp_path, "imagenet_v2", LARGE, SMALL)
    assert [r.dataset for part in ("val", "test") for r in found[part]] == (
        ["imagenet"] * 2 + ["imagenet_v2"] * 2
    )
    assert find_pair(tmp_path, "imagenet", LARGE, "ResNet50") is None
    assert find_pair(tmp_path / "nowhere", "imagenet", LARGE, SMALL) is None


def test_of_several_runs_the_seed_asked_for_is_taken(tmp_path):
    for run in (0, 1):
        for split in ("val", "test"):
            store(tmp_path, make_pair(split, n=30, k=5, dataset="caltech256", run=run), f"-{run}")
    found = find_pair(tmp_path, "caltech256", LARGE, SMALL, seed=1)
    assert [record.seed for record in found["test"]] == [1, 1]
    assert find_pair(tmp_path, "caltech256", LARGE, SMALL, seed=2) is None
    again = make_pair("test", n=30, k=5, dataset="caltech256", run=1)
    store(tmp_path, again, "-copy")
    with pytest.raises(ValueError, match=r"2 records that fit, .*convnext_base-1.*keep the others"):
        find_pair(tmp_path, "caltech256", LARGE, SMALL, seed=1)


def test_pictures_that_are_not_the_authors_are_named():
    info = published.BENCHMARKS["caltech256"]
    val, test = (
        make_pair(split, n=n, k=info.classes, dataset="caltech256")
        for split, n in (("val", info.val), ("test", info.test))
    )
    assert split_faults("caltech256", val, test) == []
    (fault,) = split_faults("caltech256", val, [test[0], test[1].rows(test[1].ids[1:])])
    assert "4,591 images of 257 classes, the authors' 4,592 of 257" in fault
    (fault,) = split_faults(
        "caltech256", val, [dataclasses.replace(r, ids=(val[0].ids[0], *r.ids[1:])) for r in test]
    )
    assert (
        "1 images, such as 'val-00000', are in torchvision:convnext_base@224 (caltech256 val)"
        in fault
    )


def test_the_checksum_of_imagenet_tells_another_draw():
    val, test = (make_pair(part, n=9, k=5, dataset="imagenet") for part in ("val", "test"))
    marked = [dataclasses.replace(r, split_checksum="f" * 64) for r in test]
    faults = split_faults("imagenet", val, marked)
    assert sum("checksum of the split ffffffffffff, the authors'" in f for f in faults) == 2
    right = [dataclasses.replace(r, split_checksum=imagenet.PUBLISHED.ids) for r in test]
    assert not any("checksum" in f for f in split_faults("imagenet", val, right))
