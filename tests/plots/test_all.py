"""What holds for every plot: axes in, axes out; the same bytes twice; small enough for a phone."""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import duokit.plots
from duokit.cascade.deferral import deferral_curve
from duokit.metrics.calibration import reliability_curve
from duokit.metrics.selective import risk_coverage_curve
from duokit.plots import (
    attribution_maps,
    bands,
    confidence_histogram,
    cost_curves,
    deferral_curves,
    flops_tradeoff,
    forest,
    gains_by_balance,
    improvements,
    nll_landscape,
    pair_gains,
    reliability_diagram,
    risk_coverage,
    training_curves,
    trust_shares,
)

NAMES = [name for name in duokit.plots.__all__ if name != "apply_style"]
WORDS = {"xlabel": "images", "ylabel": "NLL (nats)"}
WITH_METRIC = ("flops_tradeoff", "gains_by_balance", "pair_gains")
HISTORIES = {
    name: [{"epoch": epoch, "val_accuracy": 1 - rate / epoch} for epoch in range(1, 6)]
    for name, rate in (("large", 0.3), ("small", 0.5))
}


@pytest.fixture
def plot(request, scores, landscape, fits, table):
    """Return a function of ax that draws the plot of the name asked for."""
    reliability = {k: reliability_curve(s.confidence, s.hit) for k, s in scores.items()}
    risk = {k: risk_coverage_curve(s.uncertainty, s.correct) for k, s in scores.items()}
    gate, right = scores["small"].uncertainty, scores["small"].correct
    deferral = {
        name: deferral_curve(gate, right, scores[name].correct) for name in ("duo", "large")
    }
    costs = pd.DataFrame(
        [("a", 1e8, 0.8, 0.7, 0.9, "member"), ("a + b", 2e8, 0.9, 0.85, 0.95, "duo")],
        columns=["name", "flops", "value", "low", "high", "kind"],
    )
    gains = pd.DataFrame(
        [("a", 0.01, 0.02), ("b", 0.3, -0.1)], columns=["large", "flops_balance", "nll"]
    )
    swept = pd.DataFrame(
        [(0.01, 0.02, "same family"), (0.3, -0.1, "other family")],
        columns=["flops_balance", "gain", "relation"],
    )
    findings = pd.DataFrame(
        [(0.1, 0.05, 0.15, "holds"), (0.0, -0.1, 0.1, "open"), (-0.2, -0.3, -0.1, "fails")],
        columns=["value", "low", "high", "says"],
        index=["NLL", "AUROC", "ECE"],
    )
    shares = gains.assign(trust_small=[0.1, 0.6])
    spread = pd.DataFrame({"value": [1.0, 2], "low": [0.5, 1], "high": [2.0, 3]}, index=[50, 100])
    draw = np.random.default_rng(0)
    found = {name: draw.normal(size=(2, 9)) for name in ("large", "small", "duo")}
    photos = draw.integers(0, 256, (2, 3, 12, 12), dtype=np.uint8)
    budgets = pd.MultiIndex.from_product(
        [[0.5, 1.0], ["small", "cascade"]], names=["budget", "answer"]
    )
    ways = pd.DataFrame({"accuracy": [0.8, 0.85, 0.8, 0.9]}, budgets)
    return {
        "attribution_maps": lambda ax=None: attribution_maps(found, ax, pictures=photos),
        "bands": lambda ax=None: bands({"duo": spread}, ax, **WORDS),
        "confidence_histogram": lambda ax=None: confidence_histogram(
            scores["duo"], ax, ood=scores["small"].confidence
        ),
        "cost_curves": lambda ax=None: cost_curves(ways, ax),
        "deferral_curves": lambda ax=None: deferral_curves(
            deferral, ax, lines=["oracle", "random"]
        ),
        "flops_tradeoff": lambda ax=None: flops_tradeoff(costs, ax, metric="accuracy"),
        "forest": lambda ax=None: forest(findings, ax),
        "gains_by_balance": lambda ax=None: gains_by_balance(gains, ax, metric="nll"),
        "improvements": lambda ax=None: improvements(table, ax),
        "nll_landscape": lambda ax=None: nll_landscape(landscape, fits[0], ax, alone=fits[1]),
        "pair_gains": lambda ax=None: pair_gains(swept, ax, metric="nll"),
        "reliability_diagram": lambda ax=None: reliability_diagram(
            {name: reliability[name] for name in ("duo", "large")}, ax
        ),
        "risk_coverage": lambda ax=None: risk_coverage(risk, ax),
        "training_curves": lambda ax=None: training_curves(HISTORIES, ax),
        "trust_shares": lambda ax=None: trust_shares(shares, ax),
    }[request.param]


every = pytest.mark.parametrize("plot", NAMES, indirect=True)


def png(ax):
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png")
    plt.close(ax.figure)
    return buffer.getvalue()


@every
def test_draws_into_the_axes_given(plot):
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    assert plot(right) is right
    assert right.has_data()
    assert not left.has_data()
    assert plt.get_fignums() == [figure.number]


@every
def test_draws_into_axes_without_a_grid(plot):
    ax = plt.figure().add_axes((0.2, 0.2, 0.7, 0.7))
    assert plot(ax) is ax
    png(ax)


@every
def test_opens_one_figure_that_fits_a_page(plot):
    ax = plot()
    assert plt.get_fignums() == [ax.figure.number]
    assert ax.figure.get_size_inches()[0] <= 7


@every
def test_same_bytes_twice_and_few_of_them(plot):
    first = png(plot())
    assert png(plot()) == first
    assert 5_000 < len(first) < 60_000


@every
def test_the_readers_own_settings_change_nothing_and_stay(plot):
    plain = png(plot())
    own = {"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "xtick.major.size": 20}
    mpl.rcParams.update(own)
    ax = plot()
    assert {name: mpl.rcParams[name] for name in own} == own
    assert png(ax) == plain


@every
def test_nothing_drawn_leaves_the_page(plot):
    ax = plot()
    ax.figure.draw_without_rendering()
    page = ax.figure.bbox
    for each in ax.figure.axes:
        box = each.get_tightbbox()
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= page.x1 + 1
        assert box.y1 <= page.y1 + 1


@every
def test_both_axes_are_named(plot):
    ax = plot()
    figure = ax.figure
    assert any(each.get_xlabel() for each in figure.axes)
    assert any(each.get_ylabel() for each in figure.axes) or len(ax.get_yticklabels()) > 1


@every
def test_refuses_what_is_no_axes(plot):
    with pytest.raises(TypeError, match=r"plt\.subplots returns a figure and the axes"):
        plot(plt.subplots())


@pytest.mark.parametrize("name", NAMES)
def test_refuses_something_else(name):
    wrong = {"improvements": [{}], "nll_landscape": [{}, {}], "risk_coverage": [[1.0]]}
    options = {"metric": "nll"} if name in WITH_METRIC else {}
    options |= WORDS if name == "bands" else {}
    with pytest.raises(TypeError, match=r"must (be|come)"):
        getattr(duokit.plots, name)(*wrong.get(name, [3.0]), **options)
    assert not plt.get_fignums()
