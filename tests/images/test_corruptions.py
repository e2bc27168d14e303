"""Corruptions: seeded by id, stronger at each severity, the size and the mode kept."""

import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from duokit.images import ImageSet, default_splits
from duokit.images.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corrupted,
    with_shifted_copies,
)
from duokit.images.reading import Pixels

DRAWN = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "motion_blur", "fog")


@cache
def digits28() -> np.ndarray:
    """Twenty digits as grey pictures of 28 x 28 pixels."""
    grey = [np.rint(each * (255 / 16)).astype(np.uint8) for each in load_digits().images[:20]]
    larger = [Image.fromarray(each).resize((28, 28), Image.Resampling.BICUBIC) for each in grey]
    return np.stack([np.asarray(each) for each in larger])


@cache
def photographs(side: int, count: int) -> tuple[Image.Image, ...]:
    """Squares cut from scikit-learn's two photographs, in colour."""
    wholes = [Image.fromarray(each) for each in load_sample_images().images]
    boxes = [(left, 0, left + 400, 400) for left in (0, 240)]
    pieces = [whole.crop(box) for whole in wholes for box in boxes]
    return tuple(each.resize((side, side), Image.Resampling.BOX) for each in pieces[:count])


def greys() -> tuple[Image.Image, ...]:
    return tuple(Image.fromarray(each).convert("RGB") for each in digits28())


def image_set(order: list[int] | None = None) -> ImageSet:
    rows = list(range(20)) if order is None else order
    ids = tuple(f"{row:04d}" for row in rows)
    return ImageSet(
        name="twenty",
        ids=ids,
        labels=np.array(rows) % 2,
        class_names=("even", "odd"),
        read=Pixels(digits28()[rows]),
        columns=pd.DataFrame({"row": rows}, index=list(ids)),
        licence="CC BY 4.0",
        source="somewhere",
    )


def numbers(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def mean_change(pictures: tuple[Image.Image, ...], name: str, severity: int) -> float:
    changes = [
        np.abs(numbers(corrupt(each, name, severity, seed=seed)) - numbers(each)).mean()
        for seed, each in enumerate(pictures)
    ]
    return float(np.mean(changes))


@pytest.mark.parametrize("kind", ["grey 28", "colour 32", "colour 224"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_picture_changes_more_at_each_severity(name, kind):
    pictures = {
        "grey 28": greys(),
        "colour 32": photographs(32, 4),
        "colour 224": photographs(224, 2),
    }
    changes = [mean_change(pictures[kind], name, severity) for severity in SEVERITIES]
    assert changes[0] > 0
    assert all(np.diff(changes) > 0), changes


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_picture_and_another_one_does_not(name):
    picture = photographs(32, 1)[0]
    first, again, other = (numbers(corrupt(picture, name, 5, seed=seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (name not in DRAWN)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(28, 28), (1, 1), (1, 40), (40, 1), (1, 100), (90, 70)])
def test_size_and_mode_stay_and_a_grey_picture_stays_grey(name, size):
    ramp = np.linspace(0, 255, size[0] * size[1]).reshape(size[1], size[0]).astype(np.uint8)
    colour = np.stack([ramp, 255 - ramp, ramp // 2], axis=2)
    for severity in (1, 5):
        changed = corrupt(Image.fromarray(colour), name, severity, seed=0)
        assert (changed.mode, changed.size) == ("RGB", size)
        grey = corrupt(Image.fromarray(ramp).convert("RGB"), name, severity, seed=0)
        assert (grey.mode, grey.size) == ("RGB", size)
        assert np.ptp(numbers(grey), axis=2).max() == 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_black_stays_black_but_for_light_and_noise_that_is_added(name):
    changed = corrupt(Image.new("RGB", (20, 20)), name, 3, seed=0)
    stays = name not in ("gaussian_noise", "impulse_noise", "brightness")
    assert (numbers(changed).max() == 0) == stays


def constant(colour: tuple[int, int, int], side: int, name: str, severity: int) -> np.ndarray:
    changed = corrupt(Image.new("RGB", (side, side), colour), name, severity, seed=0)
    values = np.unique(numbers(changed).reshape(-1, 3), axis=0)
    assert len(values) == 1
    return values[0]


def test_brightness_adds_to_the_largest_channel_and_keeps_the_hue():
    # Small pictures, severity 5: 0.3 * 255 = 76.5 levels more in the largest channel.
    assert constant((100, 100, 100), 28, "brightness", 5).tolist() == [176, 176, 176]  # 176.5
    assert constant((0, 0, 0), 28, "brightness", 2).tolist() == [26, 26, 26]  # 25.5
    assert constant((200, 100, 50), 28, "brightness", 1).tolist() == [213, 106, 53]  # * 212.75/200
    assert constant((250, 125, 0), 28, "brightness", 5).tolist() == [255, 128, 0]  # * 255/250
    # Large pictures, severity 1: 25.5 levels.
    assert constant((102, 51, 0), 100, "brightness", 1).tolist() == [128, 64, 0]  # * 1.25


def test_contrast_draws_every_channel_to_its_own_mean():
    assert constant((10, 200, 90), 28, "contrast", 5).tolist() == [10, 200, 90]
    halves = np.zeros((28, 28, 3), np.uint8)
    halves[:14] = (200, 100, 40)
    changed = numbers(corrupt(Image.fromarray(halves), "contrast", 2, seed=0))  # half is kept
    assert np.unique(changed[:14].reshape(-1, 3), axis=0).tolist() == [[150, 75, 30]]
    assert np.unique(changed[14:].reshape(-1, 3), axis=0).tolist() == [[50, 25, 10]]


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur"])
@pytest.mark.parametrize("side", [28, 100])
def test_a_blur_leaves_one_colour_as_it_is(name, side):
    assert constant((10, 200, 90), side, name, 5).tolist() == [10, 200, 90]


def test_fog_keeps_the_lightest_value():
    # Clouds c from 0 to 1 over a grey g = 0.4, thickness 1: (g + c) * g / (g + 1).
    foggy = numbers(corrupt(Image.new("RGB", (32, 32), (102,) * 3), "fog", 4, seed=0))
    assert (foggy.min(), foggy.max()) == (29, 102)


def test_noise_has_the_strength_of_its_severity():
    levels = numbers(corrupt(Image.new("RGB", (64, 64), (128,) * 3), "gaussian_noise", 3, seed=0))
    assert levels.std() == pytest.approx(0.08 * 255, rel=0.05)
    levels = numbers(corrupt(Image.new("RGB", (64, 64), (128,) * 3), "shot_noise", 3, seed=0))
    assert levels.std() == pytest.approx(np.sqrt(128 / 255 / 100) * 255, rel=0.05)
    colour = numbers(corrupt(Image.new("RGB", (65, 65), (128, 64, 99)), "impulse_noise", 5, seed=0))
    share = np.isin(colour, (0, 255)).mean()
    assert share == pytest.approx(0.27, rel=0.05)
    assert (colour == 255).sum() == pytest.approx((colour == 0).sum(), rel=0.1)


def test_lengths_grow_with_a_large_picture():
    picture = photographs(112, 1)[0]
    twice = picture.resize((224, 224), Image.Resampling.BICUBIC)
    for name in ("gaussian_blur", "defocus_blur", "motion_blur"):
        small = numbers(corrupt(picture, name, 5, seed=0))
        large = corrupt(twice, name, 5, seed=0).resize((112, 112), Image.Resampling.BOX)
        change = np.abs(small - numbers(picture)).mean()
        assert np.abs(small - numbers(large)).mean() < 0.2 * change


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, "3"])
def test_another_severity_lists_those_there_are(severity):
    with pytest.raises(ValueError, match="expected one of 1, 2, 3, 4, 5"):
        corrupt(greys()[0], "fog", severity, seed=0)
    with pytest.raises(ValueError, match="expected one of 1, 2, 3, 4, 5"):
        corrupted(image_set(), "fog", severity)


def test_another_name_lists_those_there_are():
    for call in (
        lambda: corrupt(greys()[0], "frost", 1, seed=0),
        lambda: corrupted(image_set(), "frost", 1),
    ):
        with pytest.raises(ValueError, match="no corruption 'frost'; there are") as caught:
            call()
        assert all(name in str(caught.value) for name in CORRUPTIONS)


def test_a_negative_seed_and_other_pictures_are_refused():
    with pytest.raises(ValueError, match="seed is -1"):
        corrupted(image_set(), "fog", 1, seed=-1)
    with pytest.raises(ValueError, match="mode L"):
        corrupt(Image.new("L", (5, 5)), "fog", 1, seed=0)
    with pytest.raises(ValueError, match=r"\(0, 5\)"):
        corrupt(Image.new("RGB", (0, 5)), "fog", 1, seed=0)


def test_the_set_keeps_all_but_its_pictures_and_its_name():
    clean = image_set()
    shifted = corrupted(clean, "gaussian_noise", 3)
    assert shifted.name == "twenty+gaussian_noise-3"
    assert (shifted.ids, shifted.class_names) == (clean.ids, clean.class_names)
    assert (shifted.licence, shifted.source, shifted.loader) == ("CC BY 4.0", "somewhere", "folder")
    assert shifted.labels.tolist() == clean.labels.tolist()
    assert shifted.columns.equals(clean.columns)
    assert default_splits(shifted).checksum == default_splits(clean).checksum
    assert not np.array_equal(numbers(shifted.open(0)), numbers(clean.open(0)))


def test_the_name_tells_seeds_apart():
    names = {corrupted(image_set(), "fog", 1, seed=seed).name for seed in (0, 1, 12)}
    assert names == {"twenty+fog-1", "twenty+fog-1-seed1", "twenty+fog-1-seed12"}
    twice = corrupted(corrupted(image_set(), "fog", 1), "pixelate", 2)
    assert twice.name == "twenty+fog-1+pixelate-2"


@pytest.mark.parametrize("name", DRAWN)
def test_neither_order_nor_subset_changes_a_picture(name):
    whole = corrupted(image_set(), name, 4, seed=5)
    part = corrupted(image_set([17, 3, 8]), name, 4, seed=5)
    for row in (2, 0, 1, 0):
        other = whole.rows([part.ids[row]])[0]
        assert np.array_equal(numbers(part.open(row)), numbers(whole.open(other)))


def test_each_picture_seed_name_and_severity_draws_its_own_noise():
    flat = ImageSet(
        "flat", ("a", "b"), np.zeros(2), ("x",), Pixels(np.full((2, 28, 28), 128, np.uint8))
    )
    one = corrupted(flat, "gaussian_noise", 3).read
    seeds = {
        one.seed_of(0),
        one.seed_of(1),
        corrupted(flat, "shot_noise", 3).read.seed_of(0),
        corrupted(flat, "gaussian_noise", 4).read.seed_of(0),
        corrupted(flat, "gaussian_noise", 3, seed=1).read.seed_of(0),
    }
    assert len(seeds) == 5
    noise = [numbers(one(row))[:, :, 0] - 128.0 for row in (0, 1)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.15


def test_the_seed_of_a_picture_is_a_hash_that_other_programs_can_compute():
    # printf '[5, "fog", 4, "0003"]' | sha256sum
    read = corrupted(image_set(), "fog", 4, seed=5).read
    assert read.seed_of(3) == 0x2962BE3FA6AEAD7EB5C53114C9068A99


def test_the_reader_can_be_sent_to_a_worker():
    read = corrupted(image_set(), "motion_blur", 2, seed=1).read
    sent = pickle.loads(pickle.dumps(read))  # noqa: S301 -- what a DataLoader does with it
    assert np.array_equal(numbers(sent(7)), numbers(read(7)))


def test_copies_are_the_pictures_of_the_corrupted_sets():
    images = image_set()
    chosen = images.ids[3:12]
    wider = with_shifted_copies(images, chosen, seed=4)
    assert wider.name == "twenty_c"
    assert wider.ids[:20] == images.ids
    assert len(wider) == 20 + 5 * 9
    kinds = set()
    for row in range(20, len(wider)):
        name = wider.ids[row]
        kind, severity = wider.columns.loc[name, ["corruption", "severity"]]
        old = name.removesuffix(f"+{kind}-{severity}")
        assert old in chosen
        same = corrupted(images, kind, severity, seed=4)
        where = images.rows([old])[0]
        assert np.array_equal(numbers(wider.open(row)), numbers(same.open(where)))
        assert wider.labels[row] == images.labels[where]
        assert wider.columns.loc[name, "row"] == where
        kinds.add((old, kind))
    assert len(kinds) == 9  # one corruption a picture, at all severities
    assert np.array_equal(numbers(wider.open(5)), numbers(images.open(5)))


def test_the_corruption_of_a_copy_depends_on_seed_and_id_alone():
    images = image_set()
    some = with_shifted_copies(images, images.ids[:2]).ids[20:]
    assert set(some) <= set(with_shifted_copies(images, images.ids).ids)
    assert set(some) != set(with_shifted_copies(images, images.ids[:2], seed=1).ids[20:])
    many = replace(images, ids=tuple(f"x{row:04d}" for row in range(20)), columns=pd.DataFrame())
    kinds = with_shifted_copies(many, many.ids).columns["corruption"]
    assert len(set(kinds) - {""}) > 6
    with pytest.raises(ValueError, match="seed is -1"):
        with_shifted_copies(images, images.ids, seed=-1)
