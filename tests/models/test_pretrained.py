"""A pretrained network with its own head: records part by part, of ImageNet's classes alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from duokit.images import ImageSet, Splits
from duokit.images.wnids import imagenet_wnids
from duokit.models import Recipe, build, cost, eval_transform, pretrained_records
from duokit.models import pretrained as module
from duokit.models.pretrained import METHOD, check_head

LITE = "tf_efficientnet_lite0"
QUIET = {"progress": False, "device": "cpu", "batch": 2}
PALACE, DAISY = "n03877845", "n11939491"


@pytest.fixture
def photographs() -> ImageSet:
    """A palace and a daisy, each also mirrored, with ImageNet's classes."""
    pictures = [Image.fromarray(values) for values in load_sample_images().images]
    pictures += [each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in pictures]
    names = imagenet_wnids()
    labels = np.array([names.index(PALACE), names.index(DAISY)] * 2)
    ids = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    return ImageSet("imagenet", ids, labels, names, lambda row: pictures[row], licence="CC BY")


@pytest.fixture
def splits() -> Splits:
    return Splits("imagenet", "by hand", 0, {"val": ("d.jpg", "a.jpg"), "test": ("c.jpg", "b.jpg")})


def test_records_hold_what_the_network_says_of_each_picture(photographs, splits):
    made = dict(pretrained_records(photographs, splits, Recipe(LITE), command="x", **QUIET))
    assert list(made) == ["val", "test"]
    model, see = build(LITE), eval_transform(LITE)
    for part, record in made.items():
        assert record.ids == tuple(sorted(splits.parts[part]))
        assert record.logits.shape == (2, 1000)
        assert record.logits.dtype == np.float16
        assert np.array_equal(record.labels, photographs.labels[photographs.rows(record.ids)])
        for name, logits in zip(record.ids, record.logits, strict=True):
            with torch.inference_mode():
                (alone,) = model(see(photographs.open(photographs.ids.index(name)))[None])
            np.testing.assert_allclose(logits, alone.numpy(), atol=0.02)
        assert np.array_equal(record.logits.argmax(axis=1), record.labels)  # palace and daisy


def test_records_say_where_they_come_from(photographs, splits):
    made = pretrained_records(photographs, splits, Recipe(LITE), command="the command", **QUIET)
    _, record = next(made)
    price = cost(LITE, 224)
    assert (record.model, record.resolution) == (LITE, 224)
    assert (record.flops, record.parameters) == (price.flops, price.parameters)
    assert (record.weights, record.dataset, record.split) == ("imagenet-1k, pip", "imagenet", "val")
    assert record.split_checksum == splits.checksum
    assert record.class_names == imagenet_wnids()
    assert record.config["command"] == "the command"
    assert record.config["method"] == METHOD
    assert record.config["preprocessing"]["resize"] == 256
    assert record.config["images"]["licence"] == "CC BY"
    assert abs(record.config["nll_change_by_rounding"]) < 0.01


def test_parts_come_one_by_one(photographs, splits, monkeypatch):
    made = pretrained_records(photographs, splits, Recipe(LITE, 32), **QUIET)
    part, _ = next(made)
    monkeypatch.setattr(module, "predict", None)  # the next part is not there yet
    assert part == "val"
    with pytest.raises(TypeError):
        next(made)
    chosen = pretrained_records(photographs, splits, Recipe(LITE, 32), parts=["test"], **QUIET)
    monkeypatch.undo()
    assert [part for part, _ in chosen] == ["test"]
    with pytest.raises(ValueError, match="have the parts val, test; asked for: shifted"):
        pretrained_records(photographs, splits, Recipe(LITE), parts=["shifted"])


def test_every_head_that_build_loads_can_be_asked(photographs, splits, tiny, monkeypatch):
    """Any network: random weights stand in for torchvision's."""
    tiny.fc = torch.nn.Linear(4, 1000)
    monkeypatch.setattr(module, "build", lambda *args, **options: tiny)
    recipe = Recipe("resnet50", 64, "torchvision", "float32")
    _, record = next(pretrained_records(photographs, splits, recipe, **QUIET))
    assert record.weights == "IMAGENET1K_V2, torchvision"
    assert record.flops == cost("torchvision:resnet50", 64).flops
    assert record.logits.dtype == np.float32


def test_other_classes_are_refused(stripes, photographs):
    with pytest.raises(ValueError, match=r"stripes has 3 classes, .*1,000.*probe.*finetune"):
        check_head(stripes, Recipe(LITE))
    names = imagenet_wnids()
    swapped = replace(photographs, class_names=(names[1], names[0], *names[2:]))
    with pytest.raises(ValueError, match=f"class 0 of imagenet is '{names[1]}', output 0 .*wnid"):
        check_head(swapped, Recipe(LITE))
    check_head(photographs, Recipe(LITE))


def test_other_heads_are_refused(photographs):
    with pytest.raises(ValueError, match="random weights has no head that knows a class"):
        check_head(photographs, Recipe(LITE, pretrained=None))
    with pytest.raises(ValueError, match=r"has 21,843 outputs, not ImageNet's 1,000"):
        check_head(photographs, Recipe("tf_efficientnetv2_l.in21k"))
    check_head(photographs, Recipe("tf_efficientnetv2_l.in21k_ft_in1k"))
