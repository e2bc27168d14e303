"""The loader keeps the authors' numbers: sums, units, and digits that the paper prints."""

import numpy as np
import pandas as pd
import pytest

from duokit import published
from duokit.published.tables import GIGA, LARGE, RUN_GFLOPS

ALL = tuple(published.BENCHMARKS)
EFFICIENT = "tf_efficientnetv2_l.in21k_ft_in1k"


@pytest.mark.parametrize(
    ("calibrated", "printed"),
    [(False, "AdamW"), (True, "AdamW + temperature")],
)
def test_table_3_of_the_paper_comes_out_digit_by_digit(calibrated, printed):
    found = published.single_models("caltech256", calibrated=calibrated).loc["ResNet50"]
    table = published.paper_tables().set_index("method").loc[f"ResNet50 {printed}"]
    for name, printed_name, scale, digits in (
        ("accuracy", "accuracy_percent", 100, 2),
        ("brier_per_class", "brier_per_class_x1e4", 1e4, 2),
        ("nll", "nll_x100", 100, 2),
        ("ece", "ece_percent", 100, 2),
        ("auroc", "auroc_percent", 100, 2),
        ("aurc", "aurc_x100", 100, 2),
    ):
        assert scale * found[name] == pytest.approx(table[printed_name], abs=0.51 * 10**-digits)


def test_numbers_of_the_authors_notebook_come_out():
    """What plot_3_%duos.ipynb of the released code prints for ImageNet-V2, to four digits."""
    raw = published.single_models("imagenet_v2", calibrated=False)
    own = published.single_models("imagenet_v2")
    for table, model, nll, auroc in (
        (raw, "ConvNeXt_Base", 1.350982, 0.797572),
        (own, "ConvNeXt_Base", 1.229133, 0.825663),
        (raw, "ConvNeXt_Large", 1.263544, 0.804685),
        (own, "ConvNeXt_Large", 1.201289, 0.825850),
    ):
        assert table.loc[model, "nll"] == pytest.approx(nll, rel=1e-5)
        assert table.loc[model, "auroc"] == pytest.approx(auroc, abs=2e-4)


@pytest.mark.parametrize(
    ("benchmark", "models", "pairs"),
    [
        ("imagenet", 44, 138),
        ("imagenet_v2", 44, 138),
        ("iwildcam", 36, 96),
        ("iwildcam_shifted", 36, 96),
        ("caltech256", 47, 161),
    ],
)
def test_every_model_and_pair_is_there_once(benchmark, models, pairs):
    for calibrated in (True, False):
        for uncertainty in ("softmax_response", "entropy"):
            alone = published.single_models(
                benchmark, calibrated=calibrated, uncertainty=uncertainty
            )
            assert len(alone) == models
            assert alone.index.is_unique
    for mode in ("weighted", "unweighted", "uq_only"):
        table = published.duos(benchmark, mode=mode)
        assert len(table) == pairs
        assert not table[["large", "small"]].duplicated().any()
        assert {*table["large"], *table["small"]} <= set(alone.index)


@pytest.mark.parametrize("benchmark", ALL)
def test_metrics_are_fractions_and_agree_with_each_other(benchmark):
    info = published.BENCHMARKS[benchmark]
    for table in (
        published.single_models(benchmark),
        published.duos(benchmark),
        published.duos(benchmark, mode="unweighted", uncertainty="entropy"),
        published.own_class_duos(benchmark),
    ):
        shares = table[["accuracy", "macro_f1", "ece", "auroc", "aurc", "e_aurc"]]
        shares = shares.join(table.filter(like="sac"))
        assert shares.stack().between(0, 1).all()
        assert np.allclose(table["brier"], table["brier_per_class"] * info.classes)
        assert table["brier"].between(0, 2).all()
        right = table["accuracy"] * info.test  # a whole number of images: the test size is right
        assert (right - right.round()).abs().max() < 0.06
        assert (table["sac99"] <= table["sac90"]).all()


@pytest.mark.parametrize("benchmark", ALL)
def test_costs_are_charged_and_run(benchmark):
    table = published.duos(benchmark)
    assert np.allclose(table["flops_balance"], table["flops_small"] / table["flops_large"])
    assert table["flops_balance"].between(0, 1, inclusive="neither").all()
    moved = table["large"] == EFFICIENT
    assert (table["flops_balance"] == table["flops_balance_run"])[~moved].all()
    ratio = (table["flops_balance_run"] / table["flops_balance"])[moved]
    assert np.allclose(ratio, 56.08 / 35.9)
    alone = published.single_models(benchmark)
    assert alone.loc[EFFICIENT, "flops"] == pytest.approx(56.08 * GIGA)
    assert alone.loc[EFFICIENT, "flops_run"] == pytest.approx(RUN_GFLOPS[EFFICIENT] * GIGA)
    same = alone.index != EFFICIENT
    assert (alone["flops"] == alone["flops_run"])[same].all()
    assert alone["flops"].is_monotonic_increasing


def test_the_large_models_are_those_of_the_pairs():
    found = {name for each in ALL for name in published.duos(each)["large"]}
    assert found - {"ConvNeXt_Base_greedy"} == set(LARGE)


@pytest.mark.parametrize(("benchmark", "pairs"), [("imagenet", 138), ("iwildcam", 96)])
def test_weights_are_half_the_inverse_divisors(benchmark, pairs):
    table = published.temperatures(benchmark)
    assert len(table) == pairs
    for member in ("large", "small"):
        assert np.allclose(
            table[f"weight_{member}"], 0.5 / table[f"divisor_duo_{member}"], rtol=2e-4
        )
    known = published.duos(benchmark).set_index(["large", "small"])["flops_balance"]
    found = table.set_index(["large", "small"])["flops_balance"]
    pd.testing.assert_series_equal(found.sort_index(), known.sort_index())


def test_the_smaller_tables():
    assert published.deep_ensembles()["members"].nunique() == 11
    assert len(published.trios()) == 915
    assert set(published.trios()["mode"]) == {"weighted", "duo_as_dictator", "uq_only"}
    measured = published.throughput()
    assert len(measured) == 42
    rate = measured["batch"] / measured["latency_seconds"]
    assert np.allclose(rate, measured["images_per_second"], rtol=1e-4)
    assert published.paper_tables()["paper_table"].value_counts().to_dict() == {
        1: 6, 2: 7, 3: 7, 4: 4
    }  # fmt: skip


def test_what_a_caller_does_to_a_table_stays_with_the_caller():
    table = published.duos("imagenet")
    table.loc[:, "accuracy"] = 0.0
    assert published.duos("imagenet")["accuracy"].min() > 0.5
    del (cut := published.throughput())["batch"]
    assert "batch" not in cut
    assert "batch" in published.throughput()


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda: published.duos("cifar10"), "cifar10"),
        (lambda: published.single_models("imagenet", uncertainty="margin"), "margin"),
        (lambda: published.duos("imagenet", mode="ours"), "ours"),
        (lambda: published.temperatures("imagenet_v2"), "imagenet_v2"),
        (lambda: published.gains("imagenet", baseline="best"), "best"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_exist(call, value):
    with pytest.raises(ValueError, match=f"'{value}'; expected one of .*[a-z]"):
        call()
