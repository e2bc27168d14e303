"""The authors' results in small tables: the same numbers as in the large ones."""

import numpy as np
import pytest

from duokit import published
from duokit.reproduction import mean_gains, published_pair, where_it_harms, worst_pairs
from tests.reproduction.samples import LARGE, SMALL


def test_a_pair_has_its_members_and_three_modes():
    found = published_pair("imagenet", LARGE, SMALL)
    assert list(found.index) == [
        *("large, as it is", "large", "small", "weighted", "unweighted", "uq_only")
    ]
    alone = published.single_models("imagenet")
    assert found.loc["large", "nll"] == alone.loc[LARGE, "nll"]
    assert found.loc["uq_only", "accuracy"] == pytest.approx(alone.loc[LARGE, "accuracy"])
    assert found.loc["large, as it is", "nll"] > found.loc["large", "nll"]
    with pytest.raises(ValueError, match="no sidekick"):
        published_pair("imagenet", LARGE, "ResNet18")


def test_the_paper_figure_on_one_baseline():
    """Eleven pairs of 10 to 20 %: means worked out by hand from the tables, in per cent."""
    found = 100 * mean_gains("imagenet")
    row = found.loc["weighted, against large"]
    assert row["pairs"] == 1100
    for metric, value in (("accuracy", 2.9), ("nll", 5.5), ("aurc", 11.5), ("auroc", 7.0)):
        assert row[metric] == pytest.approx(value, abs=0.06)
    assert found.loc["unweighted, against large", "accuracy"] == pytest.approx(1.1, abs=0.06)
    assert found.loc["UQ only, against large", "auroc"] == pytest.approx(12.3, abs=0.06)
    assert found.loc["UQ only, against large", "accuracy"] == pytest.approx(0)


def test_charged_and_run_balances_choose_other_pairs():
    found = mean_gains("imagenet")
    table = published.gains("imagenet")
    run = table[(table["flops_balance_run"] > 0.1) & (table["flops_balance_run"] <= 0.2)]
    assert found.loc["the same, FLOPs as run", "pairs"] == len(run)
    assert found.loc["the same, FLOPs as run", "nll"] == pytest.approx(run["nll"].mean())
    assert found.loc["weighted, against large", "nll"] != pytest.approx(run["nll"].mean())
    empty = mean_gains("imagenet", low=0, high=1e-6)
    assert empty["pairs"].eq(0).all()
    assert empty["nll"].isna().all()
    with pytest.raises(ValueError, match="cannot lie between"):
        mean_gains("imagenet", low=0.3, high=0.2)


@pytest.mark.parametrize(
    ("benchmark", "metric", "worse", "of"),
    [
        ("imagenet", "accuracy", 32, 138),
        ("imagenet", "nll", 0, 138),
        ("iwildcam", "ece", 64, 96),
        ("iwildcam_shifted", "nll", 2, 96),
        ("caltech256", "auroc", 48, 132),
    ],
)
def test_counts_of_harm(benchmark, metric, worse, of):
    row = where_it_harms(benchmark).loc[metric]
    assert (row["weighted"], row["pairs"]) == (worse, of)
    assert row["than the better"] >= row["weighted"]
    assert row["weighted, not tiny"] <= min(row["weighted"], row["not tiny"])


def test_worst_pairs_are_sorted_and_all_worse():
    found = worst_pairs("imagenet", "accuracy", columns=("nll", "ece"), rows=5)
    assert list(found.columns)[-3:] == ["accuracy", "nll", "ece"]
    assert len(found) == 5
    assert found["accuracy"].is_monotonic_increasing
    assert found["accuracy"].max() < 0
    lowest = published.gains("imagenet")["accuracy"].min()
    assert found["accuracy"].iloc[0] == lowest
    assert "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k" not in set(found["large"])
    assert worst_pairs("imagenet", "nll").empty
    assert np.isfinite(worst_pairs("imagenet", "accuracy", columns=("accuracy",))["accuracy"]).all()
    with pytest.raises(ValueError, match="no gain is known of 'mce'"):
        worst_pairs("imagenet", "mce")
