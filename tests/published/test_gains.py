"""Gains against a slow loop, and the signs that no table may change."""

import pytest

from duokit import published


@pytest.mark.parametrize("baseline", ["large", "large_raw", "better"])
def test_gains_are_those_of_a_slow_loop(baseline):
    alone = published.single_models("iwildcam", calibrated=baseline != "large_raw")
    pairs = published.duos("iwildcam", mode="unweighted")
    found = published.gains("iwildcam", mode="unweighted", baseline=baseline)
    for row in (0, 17, 95):
        pair = pairs.iloc[row]
        for metric, perfect in published.METRICS.items():
            members = [alone.loc[pair["large"], metric], alone.loc[pair["small"], metric]]
            base = members[0]
            if baseline == "better":
                base = min(members, key=lambda value: abs(perfect - value))
            wanted = (pair[metric] - base) / (perfect - base)
            assert found.iloc[row][metric] == pytest.approx(wanted)


def test_a_gain_is_positive_where_the_duo_is_better():
    found = published.gains("imagenet").set_index(["large", "small"])
    pairs = published.duos("imagenet").set_index(["large", "small"])
    base = published.single_models("imagenet")
    for key in found.index:
        better = pairs.loc[key, "nll"] < base.loc[key[0], "nll"]
        assert (found.loc[key, "nll"] > 0) == better
    assert found["nll"].max() < 1


def test_the_better_member_is_never_an_easier_baseline():
    large, better = (published.gains("caltech256", baseline=b) for b in ("large", "better"))
    metrics = list(published.METRICS)
    assert (better[metrics] <= large[metrics] + 1e-12).all(axis=None)
    assert (better[metrics] < large[metrics]).any(axis=None)


def test_soups_are_left_out_unless_asked_for():
    assert len(published.gains("caltech256")) == 132
    assert len(published.gains("caltech256", soups=True)) == 161


def test_a_pair_without_its_single_model_is_an_error():
    pairs = published.duos("imagenet").replace({"large": {"Swin_V2_B": "Swin_V9"}})
    with pytest.raises(ValueError, match="ImageNet has no single model 'Swin_V9'"):
        published.gains("imagenet", pairs=pairs)
