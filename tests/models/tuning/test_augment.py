"""RandAugment in batches: torchvision's, one operation after the other, as drawn."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from duokit.models.tuning.augment import BINS, Draws, augment, draw

NAMES = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color"),
    *("Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)


@pytest.fixture
def pictures():
    return torch.randint(
        0, 256, (5, 3, 24, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def only(op: int, sign: int, images: int) -> Draws:
    return Draws(
        torch.full((images, 1), op), torch.full((images, 1), sign), torch.zeros(images) > 0
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_torchvisions(pictures, name, sign):
    theirs = v2.RandAugment()
    strengths, signed = theirs._AUGMENTATION_SPACE[name]
    found = strengths(BINS, 24, 20)
    strength = 0.0 if found is None else float(found[9]) * (sign if signed else 1)
    expected = torch.stack(
        [
            theirs._apply_image_or_video_transform(
                one, name, strength, InterpolationMode.NEAREST, {torch.Tensor: None}
            )
            for one in pictures
        ]
    )
    ours = augment(pictures, only(NAMES.index(name), sign, 5), magnitude=9)
    # they keep strengths in float32, we in float64: a value may round the other way
    assert (ours.int() - expected.int()).abs().max() <= 1
    assert (ours == expected).double().mean() > 0.99


def test_the_order_of_the_operations_is_torchvisions():
    assert tuple(v2.RandAugment()._AUGMENTATION_SPACE) == NAMES


def test_a_batch_is_its_pictures_one_by_one(pictures):
    draws = draw(5, rounds=2, flip=True, generator=torch.Generator().manual_seed(1))
    whole = augment(pictures, draws)
    for row in range(5):
        one = augment(pictures[row : row + 1], draws[row : row + 1])
        assert torch.equal(one[0], whole[row])


def test_the_input_stays_as_it_was(pictures):
    before = pictures.clone()
    draws = draw(5, rounds=2, flip=True, generator=torch.Generator().manual_seed(2))
    assert not torch.equal(augment(pictures, draws), before)
    assert torch.equal(pictures, before)


def test_flips_alone(pictures):
    draws = Draws(torch.zeros(5, 0), torch.zeros(5, 0), torch.tensor([1, 0, 1, 0, 0]) > 0)
    flipped = augment(pictures, draws)
    assert torch.equal(flipped[[0, 2]], pictures[[0, 2]].flip(-1))
    assert torch.equal(flipped[[1, 3, 4]], pictures[[1, 3, 4]])


def test_draws_are_even():
    draws = draw(28_000, rounds=2, flip=True, generator=torch.Generator().manual_seed(0))
    counts = draws.ops.flatten().bincount(minlength=14).double() / 4000
    assert counts.sub(1).abs().max() < 0.06  # 4 standard deviations
    assert draws.flips.double().mean() == pytest.approx(0.5, abs=0.015)
    assert draws.signs.double().mean() == pytest.approx(0, abs=0.02)
    plain = draw(100, rounds=0, flip=False, generator=torch.Generator())
    assert plain.ops.shape == (100, 0)
    assert not plain.flips.any()


@pytest.mark.parametrize("magnitude", [-1, 31])
def test_magnitudes_outside(pictures, magnitude):
    with pytest.raises(ValueError, match="expected 0 to 30"):
        augment(pictures, only(5, 1, 5), magnitude=magnitude)
