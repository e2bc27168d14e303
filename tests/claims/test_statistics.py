"""Bootstrap over sidekicks, against slow loops and known answers."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from duokit.claims.statistics import (
    determination,
    mean,
    rank_correlation,
    ratio_of_means,
    resampled,
)


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "small": np.repeat([f"s{i}" for i in range(12)], 3),
            "gain": random.normal(0.1, 0.05, 36),
            "balance": random.uniform(0, 1, 36),
            "few": np.arange(36) < 12,
            "many": np.arange(36) >= 12,
        }
    )


def test_the_interval_is_that_of_a_slow_loop(table):
    value, low, high = resampled(table, mean("gain"), resamples=4000)
    assert value == pytest.approx(table["gain"].mean())
    random, names, drawn = np.random.default_rng(1), table["small"].unique(), []
    groups = {name: rows["gain"].to_numpy() for name, rows in table.groupby("small")}
    for _ in range(4000):
        chosen = random.choice(names, len(names))
        drawn.append(np.concatenate([groups[name] for name in chosen]).mean())
    spread = high - low
    assert [low, high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.06 * spread)


def test_pairs_of_one_sidekick_are_not_independent(table):
    """Copies of each pair add nothing: the interval stays as wide."""
    _, low, high = resampled(table, mean("gain"))
    more = pd.concat([table] * 5)
    assert resampled(more, mean("gain"))[1:] == pytest.approx((low, high))
    _, low_apart, high_apart = resampled(more.assign(small=range(180)), mean("gain"))
    assert high_apart - low_apart < 0.7 * (high - low)


def test_order_and_names_do_not_matter(table):
    mixed = table.sample(frac=1, random_state=3)
    assert resampled(mixed, mean("gain")) == pytest.approx(resampled(table, mean("gain")))
    renamed = table.assign(small=table["small"].str.replace("s", "sidekick "))
    value, *_ = resampled(renamed, mean("gain"))
    assert value == pytest.approx(table["gain"].mean())


def test_ratio_and_rank_correlation_of_the_whole_table(table):
    value, low, high = resampled(table, ratio_of_means("gain", "few", "many"))
    assert value == pytest.approx(table["gain"][:12].mean() / table["gain"][12:].mean())
    assert low < value < high
    value, low, high = resampled(table, rank_correlation("gain", "balance"))
    assert value == pytest.approx(spearmanr(table["gain"], table["balance"]).statistic)
    assert -1 <= low < value < high <= 1


def test_a_perfect_order_stays_perfect(table):
    same = table.assign(also=table["gain"] ** 3)
    value, _, _ = resampled(same, rank_correlation("gain", "also"))
    assert value == pytest.approx(1)


def test_no_pairs_is_an_error(table):
    with pytest.raises(ValueError, match="no pairs"):
        resampled(table.iloc[:0], mean("gain"))


def test_determination_of_a_line_and_of_noise():
    x = np.arange(10.0)
    assert determination(x, 3 - 2 * x) == pytest.approx(1)
    assert determination(x, np.array([1.0, -1.0] * 5)) < 0.1
