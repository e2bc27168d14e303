"""Figures of a notebook are all displayed, not the first alone."""

import matplotlib as mpl

from duokit.plots.style import styled


def test_a_display_started_by_a_figure_stays_on():
    before = mpl.is_interactive()
    mpl.interactive(False)
    try:
        styled(lambda: mpl.interactive(True))()  # what loading the inline backend does
        assert mpl.is_interactive()
    finally:
        mpl.interactive(before)


def test_other_settings_are_as_they_were():
    before = mpl.rcParams["font.size"]
    styled(lambda: mpl.rcParams.update({"font.size": 99}))()
    assert mpl.rcParams["font.size"] == before
