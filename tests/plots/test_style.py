"""The palette can be told apart, and the style holds whatever the reader's own settings are."""

import io
import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from duokit.plots import attribution_maps, forest, gains_by_balance, training_curves
from duokit.plots.style import OTHERS, ROLES, STYLE, apply_style, axes_or_new, looks, percent

LOOKS = [*ROLES.values(), *OTHERS]

# Machado, Oliveira and Fernandes 2009, full severity: linear RGB as a dichromat sees it.
SEEN = {
    "all cones": np.eye(3),
    "no L cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no M cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no S cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    t = XYZ @ rgb / XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", SEEN)
def test_any_two_colours_differ_to_every_eye(eye):
    seen = [lab(np.clip(SEEN[eye] @ linear(look.colour), 0, 1)) for look in LOOKS]
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(apart) > 12  # about 2 can just be told apart


def test_all_stand_out_from_white():
    contrast = [1.05 / (0.05 + XYZ[1] @ linear(look.colour)) for look in LOOKS]
    assert min(contrast) >= 3


@pytest.mark.parametrize("part", ["colour", "dash", "marker"])
def test_no_meaning_hangs_on_colour_alone(part):
    assert len({getattr(look, part) for look in LOOKS}) == len(LOOKS)


def test_roles_do_not_depend_on_order_or_company():
    assert looks(["large", "duo"])["duo"] == looks(["duo", "other", "small"])["duo"] == ROLES["duo"]
    assert looks(["Large, calibrated"])["Large, calibrated"] == ROLES["large"]
    assert looks(["large_raw"])["large_raw"] == ROLES["large"]


def test_the_word_itself_comes_before_names_that_begin_with_it():
    found = looks(["large, uncalibrated", "large"])
    assert list(found) == ["large, uncalibrated", "large"]
    assert found["large"] == ROLES["large"]
    assert found["large, uncalibrated"] == OTHERS[0]


def test_a_word_is_no_prefix():
    assert looks(["largest"])["largest"] == OTHERS[0]
    assert looks(["", "2 models"]) == {"": OTHERS[0], "2 models": OTHERS[1]}


def test_eight_names_have_eight_looks_and_the_ninth_begins_again():
    names = [f"{i}" for i in range(8)]
    assert len(set(looks(names).values())) == 8
    assert looks([*names, "more"])["more"] == looks(names)["0"]


def test_many_names_besides_all_roles():
    found = looks([*ROLES, *"abcdef"])
    assert [found[name] for name in "abcdef"] == [*OTHERS, *OTHERS[:2]]


def test_axes_given_are_returned_and_others_refused():
    figure, ax = plt.subplots()
    assert axes_or_new(ax) is ax
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(TypeError, match="must be a matplotlib Axes, not tuple"):
        axes_or_new((figure, ax))


def test_new_axes_have_the_size_asked_for():
    assert tuple(axes_or_new(None, 5, 3).figure.get_size_inches()) == (5, 3)


def test_apply_style_reaches_your_own_figures():
    mpl.rcParams["font.size"] = 30
    apply_style()
    ax = plt.subplots()[1]
    assert ax.xaxis.label.get_size() == STYLE["axes.labelsize"]
    assert ax.figure.dpi == STYLE["figure.dpi"]
    assert ax.figure.get_size_inches()[0] <= 7


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.025, "2.5"), (0.07, "7"), (1.0, "100"), (0.001, "0.1")]
)
def test_percent(value, text):
    assert percent(value) == text


NASTY = "\x1b[m\x9b\u202e"


@pytest.mark.promise("hostile")
@pytest.mark.filterwarnings(
    "error:Glyph", "ignore:constrained"
)  # matplotlib warns of what its letters lack
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (f"net{NASTY}", r"net\x1b[m\u009b\u202e"),
        ("a $x_{$ b", r"a \$x_{\$ b"),  # matplotlib draws \$ as $
        ("_old", " _old"),  # it leaves what begins with _ out of legends
        ("two\nlines", "two\nlines"),
    ],
)
def test_names_are_drawn_whatever_they_hold(name, shown):
    gains = pd.DataFrame({"large": [name], "flops_balance": [0.1], "nll": [0.2]})
    drawn = [
        gains_by_balance(gains, metric="nll", title=f"by {NASTY}"),
        training_curves({name: [{"epoch": 1, "val_accuracy": 0.5}]}),
        forest(pd.DataFrame({"value": 0.1, "low": 0, "high": 1, "says": "open"}, index=[name])),
        attribution_maps({name: np.ones((1, 9))}, titles=[name]),
    ]
    assert drawn[0].get_title("left") == r"by \x1b[m\u009b\u202e"
    for ax in drawn:
        texts = {text.get_text() for text in ax.figure.findobj(Text)}
        assert shown in texts
        ax.figure.savefig(io.BytesIO(), format="svg")
        plt.close(ax.figure)
    assert list(gains["large"]) == [name]  # what was given is as it was
