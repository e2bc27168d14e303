"""Features and logits: in the order asked for, the same in any batch, exact at the head."""

import numpy as np
import pytest
import torch

from duokit.models import build, eval_transform, features, pick_device, predict, set_head
from duokit.models.transforms import Preprocessing


@pytest.fixture
def transform():
    return Preprocessing(8, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).transform()


def test_the_head_of_the_features_is_the_logits(tiny, stripes, transform):
    options = {"transform": transform, "batch": 7, "device": "cpu", "progress": False}
    found = features(tiny, stripes, **options)
    logits = predict(tiny, stripes, **options)
    assert found.shape == (96, 4)
    assert found.dtype == logits.dtype == np.float32
    by_hand = tiny.fc(torch.from_numpy(found)).detach().numpy()
    assert np.allclose(by_hand, logits, atol=1e-6)
    assert not tiny.fc._forward_pre_hooks


def test_the_loop_over_single_pictures_gives_the_same(tiny, stripes, transform):
    tiny.train()  # dropout would show: predict switches to eval
    rows = [5, 0, 90, 5]
    found = predict(tiny, stripes, transform=transform, rows=rows, batch=3, progress=False)
    assert not tiny.training
    for row, logits in zip(rows, found, strict=True):
        with torch.inference_mode():
            one = tiny(transform(stripes.open(row))[None])[0].numpy()
        assert np.allclose(one, logits, atol=1e-6)


def test_batches_and_workers_have_no_part(tiny, stripes, transform):
    results = [
        predict(tiny, stripes, transform=transform, batch=b, workers=w, progress=False)
        for b, w in ((1, 0), (96, 0), (13, 2))
    ]
    for each in results[1:]:
        assert np.allclose(each, results[0], atol=1e-6)


def test_a_tensor_of_ready_pictures(tiny):
    pictures = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = tiny.eval()(pictures).numpy()
    assert np.allclose(predict(tiny, pictures, batch=2, progress=False), expected, atol=1e-6)
    last = predict(tiny, pictures, rows=np.array([4]), progress=False)
    assert np.allclose(last, expected[4:], atol=1e-6)


def test_what_cannot_be_run_is_refused(tiny, stripes, transform):
    with pytest.raises(ValueError, match="got ImageSet and no transform"):
        predict(tiny, stripes, progress=False)
    with pytest.raises(ValueError, match="got Tensor and a transform"):
        predict(tiny, torch.zeros(1, 3, 8, 8), transform=transform, progress=False)
    with pytest.raises(ValueError, match="rows is empty"):
        predict(tiny, stripes, transform=transform, rows=[], progress=False)
    bad = torch.zeros(4, 3, 8, 8)
    bad[2] = float("nan")
    with pytest.raises(ValueError, match="logits of image 2 of this call are not finite"):
        predict(tiny, bad, progress=False)


def test_the_bar_can_be_silenced(tiny, capsys):
    predict(tiny, torch.zeros(2, 3, 8, 8), progress=False)
    assert capsys.readouterr().err == ""
    predict(tiny, torch.zeros(2, 3, 8, 8), progress=True)
    assert "logits" in capsys.readouterr().err


def test_the_device_is_chosen(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == torch.device("cuda")


def test_real_features_are_deterministic_and_carry_the_head(photograph):
    name = "tf_efficientnet_lite0"
    picture = eval_transform(name, 64)(photograph)[None]
    model = build(name, classes=3)
    one, two = (features(model, picture, progress=False) for _ in range(2))
    assert one.shape == (1, 1280)
    assert np.array_equal(one, two)
    assert one.std() > 0.1
    weight = np.random.default_rng(0).normal(size=(1280, 3))
    set_head(model, weight, np.ones(3))
    assert np.allclose(predict(model, picture, progress=False), one @ weight + 1, atol=1e-3)
