"""A figure that a notebook keeps for other pages."""

import base64
from unittest.mock import patch

import matplotlib.pyplot as plt
import pytest

from duokit.notebooks import glue_figure
from duokit.notebooks.display import GLUE_PREFIX


@pytest.mark.parametrize("what", ["axes", "figure"])
def test_the_picture_is_kept_under_its_name(what):
    figure, axes = plt.subplots()
    with patch("IPython.display.display") as display:
        glue_figure("fig_one", axes if what == "axes" else figure)
    plt.close(figure)
    (data,), options = display.call_args
    assert base64.b64decode(data[GLUE_PREFIX + "image/png"]).startswith(b"\x89PNG")
    assert options["metadata"]["scrapbook"]["name"] == "fig_one"


def test_a_bad_name_is_refused():
    with pytest.raises(ValueError, match="is no name for glue"):
        glue_figure("1 figure", plt.figure())
    plt.close("all")
