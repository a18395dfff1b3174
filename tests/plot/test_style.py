"""The look: legible numbers, lines that differ in grey print, settings that stay in their block."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from probscale import plot
from probscale.plot import style


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.05, "0.05"),
        (250, "250"),
        (20_000, "20k"),
        (3.5e6, "3.5M"),
        (2e9, "2B"),
        (2.1e12, "2.1×10¹²"),
        (1e-5, "10⁻⁵"),
        (-3e4, "-30k"),
        (9.99e12, "10¹³"),
    ],
)
def test_numbers_read_as_on_a_chart(value, text):
    assert style.compact(value) == text


def test_neighbouring_lines_differ_in_brightness_and_dashes():
    looks = style.wheel(12)
    assert len(set(looks)) == 12
    brightness = [np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)) for colour, _, _ in looks]
    assert np.abs(np.diff(brightness)).min() > 0.08
    assert all(a[1] != b[1] for a, b in itertools.pairwise(looks))


def test_settings_return_when_the_block_ends():
    before = dict(mpl.rcParams)
    with style.style():
        assert mpl.rcParams["axes.titlelocation"] == "left"
    assert dict(mpl.rcParams) == before


def test_what_else_changes_in_the_block_stays():
    """A notebook's backend turns interactive at the first figure, which may be one of this package."""
    before = mpl.rcParams["interactive"]
    try:
        with style.style():
            mpl.rcParams["interactive"] = not before
        assert mpl.rcParams["interactive"] is not before
    finally:
        mpl.rcParams["interactive"] = before


def test_own_figures_are_unknown_to_pyplot():
    before = plt.get_fignums()
    style.new_figure().subplots()
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("values", "scale"), [([1, 10], "log"), ([1, 2], "linear"), ([0, 10], "linear"), ([np.nan], "linear")]
)
def test_wide_positive_ranges_are_logarithmic(ax, values, scale):
    style.log_scale(ax, "y", values)
    assert ax.get_yscale() == scale


def test_every_public_name_resolves():
    for name in plot.__all__:
        assert callable(getattr(plot, name))
    with pytest.raises(AttributeError, match="no attribute 'plot_nothing'"):
        plot.plot_nothing  # noqa: B018


@pytest.mark.parametrize(
    ("ends", "letters"), [((2e10, 5e11), True), ((2e10, 5e12), False), ((2e3, 5e4), True)]
)
def test_an_axis_has_one_notation(ax, ends, letters):
    ax.plot(ends, [1, 2])
    style.log_scale(ax, "x", ends)
    ax.figure.canvas.draw()
    shown = [
        label.get_text() for label in ax.get_xticklabels() if ends[0] <= label.get_position()[0] <= ends[1]
    ]
    assert len(shown) >= 2
    assert [text for text in shown if ("10" in text and "×" in text) or text.startswith("10¹")] == (
        [] if letters else shown
    )
