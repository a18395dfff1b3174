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
        (1.024e-4, "1.02×10⁻⁴"),
    ],
)
def test_numbers_read_as_on_a_chart(value, text):
    assert style.compact(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(30, "30"), (134.8, "134.8"), (2.13e18, "2.1×10¹⁸"), (12_345, "1.2×10⁴")]
)
def test_small_costs_are_plain_and_those_of_flops_have_powers(value, text):
    assert style.amount(value) == text


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (5104, 43_000, [10_000, 20_000]),
        (1e6, 1e8, [1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8]),
        (1e3, 1e9, [10.0**k for k in range(3, 10)]),
        (6.1, 9.3, [6.1, 9.3]),
    ],
)
def test_a_scale_has_at_least_two_round_numbers_beside_it(low, high, written):
    assert style.round_values(low, high) == pytest.approx(written)


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


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        ((4.25e-6, 4.75e-6), ["4.3×10⁻⁶", "4.4×10⁻⁶", "4.5×10⁻⁶", "4.6×10⁻⁶", "4.7×10⁻⁶"]),
        ((2e6, 3e6), ["2M", "2.2M", "2.4M", "2.6M", "2.8M", "3M"]),
        ((1000.01, 1000.02), ["1000.010", "1000.012", "1000.014", "1000.016", "1000.018", "1000.020"]),
        ((1.0, 2.0), ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"]),
    ],
)
def test_numbers_are_whole_at_their_ticks(ax, ends, shown):
    ax.plot([0, 1], ends)
    style.finish(ax)
    ax.figure.canvas.draw()
    labels = ax.get_yticklabels()
    inside = [
        label.get_text()
        for label in labels
        if ends[0] * (1 - 1e-9) <= label.get_position()[1] <= ends[1] * (1 + 1e-9)
    ]
    assert inside == shown
    assert ax.yaxis.get_offset_text().get_text() == ""


def test_labels_keep_their_unit_and_fit_their_axis():
    assert style.labelled("loss", "nats") == "loss (nats)"
    label = style.labelled("parameters_of_the_whole_model_with_embeddings", "parameters")
    assert len(label) <= 40
    assert label.endswith("embeddings (parameters)")


def test_figures_are_listed_before_any_is_drawn():
    assert {*plot.__all__} <= {*dir(plot)}
