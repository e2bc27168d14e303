"""The chapters on the paper's benchmarks with pictures or logits at hand: made-up ones.

Committed outputs show them without; here they compute, compare and give verdicts.
"""

import dataclasses
import shlex

import pytest
import torch

from duokit import published
from duokit.cli.entry import _parser
from duokit.cli.finetune import _settings
from duokit.images import default_splits, load
from duokit.logits.store import load_parts, save
from duokit.models import Recipe, backbone
from duokit.models.pretrained import METHOD
from tests.images.benchmarks import imagenet_labels, write_imagenet
from tests.reproduction.samples import LARGE, make_pair
from tests.strangers import run_chapter

TINY = "ShuffleNet_V2_X0_5"


def run(name, tmp_path, **parameters):
    """Return all that the chapter shows as text."""
    given = {"logits": str(tmp_path / "logits"), "resamples": 100, **parameters}
    return "\n".join(run_chapter(name, given))


def store(folder, records):
    for record in records:
        name = record.model.rsplit(":", 1)[-1]
        save(record, folder / record.dataset / name / f"{record.split}.safetensors")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder of downloaded weights, as torch keeps it; the weights are random."""
    from torchvision.models import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5

    torch.manual_seed(0)
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    name = ShuffleNet_V2_X0_5_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    torch.save(shufflenet_v2_x0_5(weights=None).state_dict(), checkpoints / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return checkpoints


def kept_before(root, folder):
    """Write the large network's records as an earlier, finished call of the chapter left them."""
    image_set = load("imagenet", root)
    splits = default_splits(image_set)
    recipe = Recipe(backbone(LARGE).model)
    for part, ids in splits.parts.items():
        made = make_pair(part, n=len(ids), k=image_set.classes, dataset="imagenet")[0]
        record = dataclasses.replace(
            made,
            labels=image_set.labels[image_set.rows(ids)],
            ids=tuple(ids),
            weights=recipe.weights,
            resolution=recipe.size,
            split_checksum=splits.checksum,
            class_names=image_set.class_names,
            config={"method": METHOD},
        )
        save(record, folder / recipe.folder / f"{part}.safetensors")


def test_imagenet_from_pictures_to_verdict(tmp_path, hub):
    root = write_imagenet(tmp_path / "val", imagenet_labels(each=1))
    kept_before(root, tmp_path / "logits")
    shown = run(
        *("imagenet", tmp_path), data=str(root), small=TINY, any_pictures=True, device="cpu"
    )
    made = load_parts(tmp_path / "logits" / Recipe(backbone(TINY).model).folder, "val", "test")
    assert {part: (r.n, r.k) for part, r in made.items()} == {
        "val": (50, 1000),
        "test": (950, 1000),
    }
    assert "Logits of this pair" in shown
    assert "Not the authors' pictures: val of torchvision:convnext_base: 50 images" in shown
    assert "80 numbers were compared: 80 other images" in shown
    assert "duo, authors' weights" in shown
    assert "This page recomputed your 80 numbers of one pair" in shown


def test_imagenet_v2_takes_the_weights_of_imagenet(tmp_path):
    store(tmp_path / "logits", make_pair("val", n=60, k=30, dataset="imagenet", seed=1))
    store(tmp_path / "logits", make_pair("shifted", n=80, k=30, dataset="imagenet_v2", seed=2))
    shown = run("imagenet_v2", tmp_path, any_pictures=True, mode="uq_only")
    assert "80 numbers were compared: 80 other images" in shown
    assert "Mode uq_only" in shown


def test_caltech256_with_fine_tuned_records_of_the_authors_split(tmp_path):
    info = published.BENCHMARKS["caltech256"]
    for part, n, seed in (("val", info.val, 1), ("test", info.test, 2)):
        records = make_pair(part, n=n, k=info.classes, dataset="caltech256", seed=seed, run=0)
        store(tmp_path / "logits", records)
    shown = run("caltech256", tmp_path, data="my pictures")
    assert "56 numbers were compared" in shown  # no row with the authors' weights: another run
    assert "Not the authors' pictures" not in shown
    assert "other images" not in shown
    for word in ("worse", "better", "large, own temperature"):
        assert word in shown
    commands = [line for line in shown.splitlines() if line.startswith("duokit finetune")]
    parsed = [_settings(_parser().parse_args(shlex.split(line)[1:])) for line in commands]
    assert [s.model for s in parsed] == [backbone(n).model for n in (LARGE, "EfficientNet_B2")]
    assert {(s.epochs, s.batch, s.seed) for s in parsed} == {(16, 128, 0)}


def test_iwildcam_shifted_takes_the_weights_of_the_known_cameras(tmp_path):
    for part, n, seed in (("val", 60, 1), ("test", 70, 2), ("shifted", 80, 3)):
        large, small = make_pair(part, n=n, k=30, dataset="iwildcam", seed=seed, run=0)
        large = dataclasses.replace(large, model=backbone("Swin_V2_B").model)
        store(tmp_path / "logits", [large, small])
    shown = run("iwildcam_shifted", tmp_path, any_pictures=True)
    assert "test of torchvision:swin_v2_b: 80 images of 30 classes, the authors' 42,791" in shown
    assert "56 numbers were compared: 56 other images" in shown


def test_a_pair_that_the_authors_do_not_have_stops_the_page(tmp_path):
    with pytest.raises(ValueError, match="no sidekick of ConvNeXt_Base 'ResNet18'; near it"):
        run("imagenet", tmp_path, small="ResNet18")
