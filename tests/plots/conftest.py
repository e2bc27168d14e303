import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from duokit.fusion.landscape import nll_landscape
from duokit.fusion.weights import fit_weights
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import score


@pytest.fixture(autouse=True)
def closed():
    """Every test starts and ends with no figure open, whatever settings it made."""
    assert not plt.get_fignums(), "a figure was left open by the test before"
    with mpl.rc_context():
        yield
    plt.close("all")


@pytest.fixture(scope="session")
def members():
    """Logits of a large and a small model that err on different images, and the labels."""
    draw = np.random.default_rng(5)
    labels = draw.integers(0, 8, 900)
    logits = [draw.normal(size=(900, 8)) * spread for spread in (1.2, 1.6)]
    for z, lift in zip(logits, (3.4, 2.6), strict=True):
        z[np.arange(900), labels] += lift - draw.exponential(1.2, 900)
    return logits, labels


@pytest.fixture(scope="session")
def fits(members):
    (large, small), labels = members
    alone = fit_weights([large], labels), fit_weights([small], labels)
    return fit_weights([large, small], labels), alone


@pytest.fixture(scope="session")
def scores(members, fits):
    (large, small), labels = members
    duo, alone = fits
    return {
        "duo": score(duo.weights[0] * large + duo.weights[1] * small, labels),
        "large": score(alone[0].weights[0] * large, labels),
        "small": score(alone[1].weights[0] * small, labels),
    }


@pytest.fixture(scope="session")
def landscape(members):
    (large, small), labels = members
    return nll_landscape(large, small, labels, up_to=(2.0, 1.5), points=11, images=300)


@pytest.fixture(scope="session")
def table(scores):
    names = ["accuracy", "nll", "ece", "auroc", "sac90"]
    return intervals(scores["duo"], scores["large"], metrics=names, resamples=200)
