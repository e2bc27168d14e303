import numpy as np
import pytest
import torch

from duokit.metrics.scores import confidences, score
from duokit.plots.confidence import confidence_histogram
from duokit.plots.style import ROLES


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def heights(collection, bins):
    """Return the height of a drawn outline in the middle of each bin."""
    x, y = collection.get_paths()[0].vertices.T
    middles = (np.arange(bins) + 0.5) / bins
    width = 0.5 / bins + 1e-9
    return [y[np.abs(x - middle) < width].max(initial=0) for middle in middles]


@pytest.mark.parametrize("bins", [4, 20])
def test_heights_are_the_shares_of_each_group(scores, bins):
    s = scores["duo"]
    ax = confidence_histogram(s, bins=bins)
    assert len(ax.collections) == 2
    for drawn, flags in zip(ax.collections, (s.correct, ~s.correct), strict=True):
        counts = np.histogram(s.confidence[flags], bins, (0, 1))[0]
        share = counts / flags.sum()
        # A vertex on an edge belongs to both neighbours, so a bin's outline is as high as the
        # highest of the three there.
        around = np.max([np.r_[share[1:], 0], share, np.r_[0, share[:-1]]], axis=0)
        np.testing.assert_allclose(heights(drawn, bins), around, atol=1e-12)


def test_counts_in_the_legend(scores):
    s = scores["duo"]
    right, wrong = int(s.correct.sum()), int((~s.correct).sum())
    assert right + wrong == 900
    ax = confidence_histogram(s)
    assert texts(ax) == [f"right ({right:,} images)", f"wrong ({wrong:,} images)"]


def test_thousands_are_readable():
    ax = confidence_histogram(
        score(torch.randn(1200, 3), torch.zeros(1200, dtype=int)), ood=np.full(2500, 0.5)
    )
    assert texts(ax)[2] == "no class (2,500 images)"


def test_right_and_wrong_are_those_of_the_answers_given():
    logits = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    ax = confidence_histogram(score(logits, [0, 1, 1], predictions=np.array([1, 1, 1])))
    assert texts(ax) == ["right (2 images)", "wrong (1 images)"]


def test_third_group(scores):
    outside = confidences(np.random.default_rng(1).normal(size=(50, 8))).confidence
    ax = confidence_histogram(scores["duo"], ood=outside, bins=4)
    assert len(ax.collections) == 3
    share = np.histogram(outside, 4, (0, 1))[0] / 50
    assert max(heights(ax.collections[2], 4)) == pytest.approx(share.max())
    assert len({tuple(c.get_edgecolor()[0]) for c in ax.collections}) == 3


def test_a_group_without_images_is_left_out():
    ax = confidence_histogram(score(np.array([[3.0, 0.0], [0.0, 3.0]]), [0, 1]))
    assert texts(ax) == ["right (2 images)"]
    assert len(ax.collections) == 1


def test_frame(scores):
    ax = confidence_histogram(scores["duo"])
    assert ax.get_xlim() == (0, 1)
    assert ax.get_ylim()[0] == 0
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("confidence (%)", "share of its group (%)")
    assert confidence_histogram(scores["duo"], log=True).get_yscale() == "log"
    assert ax.collections[0].get_edgecolor()[0][:3] == pytest.approx(
        [int(ROLES["duo"].colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    )


@pytest.mark.parametrize(
    ("ood", "message"),
    [
        ([0.5, 1.5], r"ood\[1\] is 1.5"),
        ([np.nan], r"ood\[0\] is NaN"),
        ([[0.5]], "ood must have shape"),
    ],
)
def test_refuses_what_is_no_confidence(scores, ood, message):
    with pytest.raises(ValueError, match=message):
        confidence_histogram(scores["duo"], ood=ood)


def test_refuses_no_bins_and_bare_arrays(scores):
    with pytest.raises(ValueError, match="bins must be 1 or more, not 0"):
        confidence_histogram(scores["duo"], bins=0)
    with pytest.raises(TypeError, match="not ndarray"):
        confidence_histogram(scores["duo"].confidence)
