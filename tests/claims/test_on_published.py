"""Checks on the published tables: numbers that others have read there, and that they can change."""

import numpy as np
import pytest

from duokit import published
from duokit.claims import on_printed, released
from duokit.claims import on_published as checks


def by(findings, **wanted):
    found = [f for f in findings if all(getattr(f, k) == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_gains_are_means_over_the_pairs_of_the_bin():
    found = checks.gains_at_ten_to_twenty_percent()
    assert len(found) == 5 * len(checks.CLAIMED)
    one = by(found, data="ImageNet", group="AURC")
    table = published.gains("imagenet")
    table = table[table["flops_balance"].between(0.1, 0.2)]
    assert (one.n, one.value) == (11, pytest.approx(table["aurc"].mean()))
    assert one.low < one.value < one.high


def test_a_changed_table_changes_the_finding(monkeypatch):
    before = checks.accuracy_above_ten_percent()
    real = published.gains

    def worse(benchmark, **how):
        return real(benchmark, **how).assign(accuracy=-0.1)

    monkeypatch.setattr(published, "gains", worse)
    after = checks.accuracy_above_ten_percent()
    assert {f.says for f in after} == {"fails"} != {f.says for f in before}
    assert all(f.value == 0 for f in after)


def test_shares_of_harm_are_counts():
    found = checks.share_of_harm(["nll", "ece"])
    assert all(f.value * f.n == pytest.approx(round(f.value * f.n)) for f in found)
    assert sum(f.n for f in found if f.group == "NLL") == sum(
        len(published.gains(name)) for name in published.BENCHMARKS
    )
    assert all((f.says == "holds") == (f.value <= 0.05) for f in found)


def test_printed_rows_are_compared_with_the_right_sign():
    found = on_printed.printed_against(1, "EfficientNet_B2", "ensemble m=2")
    values = {f.measure.split(": ")[1].split(",")[0]: f.value for f in found}
    assert values["accuracy"] == pytest.approx(81.87 - 81.12)
    assert values["NLL"] == pytest.approx(77.12 - 71.47)
    half = 2 * np.hypot(0.84, 1.90)
    nll = next(f for f in found if ": NLL" in f.measure)
    assert (nll.low, nll.high) == pytest.approx((nll.value - half, nll.value + half))


def test_a_row_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="Table 4 has 0 rows with 'SWAG'"):
        on_printed.printed_against(4, "duos with", "SWAG")


def test_throughput_is_that_of_figure_8():
    values = [f.value for f in checks.throughput()]
    assert values == pytest.approx([0.938, 0.826, 0.795], abs=6e-4)


def test_relative_weights_use_each_models_own():
    table = checks.relative_weights("caltech256")
    row = table.iloc[5]
    own = {m: 1 / row[f"divisor_single_{m}"] for m in ("large", "small")}
    fitted = {m: row[f"weight_{m}"] for m in ("large", "small")}
    wanted = (fitted["large"] / own["large"]) / (fitted["small"] / own["small"])
    assert row["ratio"] == pytest.approx(wanted, rel=1e-3)


def test_bins_hold_every_pair_once():
    table = checks.gain_by_balance("imagenet")
    assert table["pairs"].sum() == 138
    assert (table["low"] <= table["gain"]).all()
    assert (table["gain"] <= table["high"]).all()


def test_own_class_differs_by_that_choice_alone():
    table = released.own_class()
    assert (table["difference"] < 0).all()
    assert (table["high"] < 0).all()
    assert (table["below_released"] >= table["below_own"]).all()
    assert table.loc["ImageNet-V2", ["pairs", "below_own", "below_released"]].tolist() == [
        138,
        4,
        12,
    ]


def test_distance_to_the_grid_of_known_divisors():
    found = released.nearest_node(np.array([[0.05, 4.85], [0.15, 0.26], [5.85, 3.248]]))
    assert found == pytest.approx(np.array([[0, 0], [0.1, 0.01], [1.0, 0.002]]))


def test_fits_stay_near_their_grid_more_often_than_by_chance():
    table = released.grid_distance()
    assert table.loc["all", "pairs"] == 395
    assert (table["near"] > 5 * table["by_chance"]).all()
    assert (released.smallest_weight()["fitted"] > 0.1).all()


def test_figure_1_is_the_mean_over_both_baselines():
    table = released.two_baselines()
    assert table["both"].to_numpy() == pytest.approx(
        (table["calibrated"] + table["uncalibrated"]).to_numpy() / 2
    )
    # Read off the figure, to a point: ImageNet AURC 17, NLL 12, Brier 6.5, accuracy 3.
    shown = table.loc["ImageNet", "both"]
    assert shown[["AURC", "NLL", "Brier", "accuracy"]].tolist() == pytest.approx(
        [0.17, 0.12, 0.065, 0.03], abs=0.011
    )


def test_the_bin_loses_pairs_when_flops_are_those_spent():
    table = released.charged_flops()
    assert (table["run"] == table["charged"] - table["left"] + table["entered"]).all()
    assert (table["left"] > 0).all()


def test_coverage_jumps_to_nothing():
    table = released.jumps(98)
    assert table.loc["ImageNet-V2", "next_to_0"] > 20
    assert table.loc["Caltech-256", "next_to_0"] == 0
    assert (table["one_lower"] > table["median"]).all()
