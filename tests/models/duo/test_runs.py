"""Two folders of finished runs become a duo, whose members answer as the runs' networks do."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save

from duokit.images import make_splits
from duokit.models import build, predict
from duokit.models.duo.module import AsymmetricDuo
from duokit.models.duo.runs import duo_from_runs
from duokit.models.transforms import eval_transform, preprocessing
from duokit.models.tuning.run import keep_splits, load_run, write_run
from duokit.models.tuning.settings import FineTune

WEIGHTS = (0.75, 0.3)
LARGE = FineTune("test_resnet", resolution=32, pretrained="none")
SMALL = FineTune("resnet18", resolution=24, pretrained="torchvision")  # timm has one as well


@pytest.fixture
def finish(stripes, tmp_path):
    """What writes the folder of a finished run, without training."""

    def write(name: str, settings: FineTune, library: str, names: tuple[str, ...]) -> Path:
        folder = tmp_path / name
        images = replace(stripes, class_names=names, labels=stripes.labels.clip(-1, len(names) - 1))
        splits = make_splits(images, train=0.5, val=0.2, seed=0)
        known = f"{library}:{settings.model}"
        model, how = (
            build(known, classes=len(names), pretrained=None),
            preprocessing(known, settings.resolution),
        )
        raw = save({key: each.contiguous() for key, each in model.state_dict().items()})
        folder.mkdir()
        keep_splits(folder, splits)
        (folder / "best.safetensors").write_bytes(raw)
        config = {"checkpoint_sha256": hashlib.sha256(raw).hexdigest()}
        write_run(folder, settings, how, images, splits, config)
        return folder

    return write


def test_the_duo_of_two_runs(finish, stripes, tmp_path):
    large = finish("large", LARGE, "timm", stripes.class_names)
    small = finish("small", SMALL, "torchvision", stripes.class_names)
    duo = duo_from_runs(large, small, WEIGHTS)
    parts = [
        predict(load_run(folder).model, stripes, transform=transform, device="cpu", progress=False)
        for folder, transform in (
            (large, eval_transform("test_resnet", 32)),
            (small, eval_transform("torchvision:resnet18", 24)),
        )
    ]
    found = duo.predict(stripes)
    assert np.allclose(found.logits, WEIGHTS[0] * parts[0] + WEIGHTS[1] * parts[1], atol=1e-5)
    assert found.class_names == stripes.class_names
    assert not duo.training
    again = AsymmetricDuo.load(duo.save(tmp_path / "duo"))  # torchvision's network, not timm's
    assert np.array_equal(again.predict(stripes).logits, found.logits)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (("top", "below", "left"), "only one knows left, none"),
        (("below", "top", "none"), "their order differs"),
        (("top", "below"), "knows 3 classes, .* knows 2; only one knows none"),
    ],
)
def test_runs_over_other_classes_make_no_duo(finish, stripes, others, words):
    large = finish("large", LARGE, "timm", stripes.class_names)
    small = finish("small", SMALL, "torchvision", others)
    with pytest.raises(ValueError, match=words):
        duo_from_runs(large, small, WEIGHTS)
