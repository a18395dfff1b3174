"""One look for all figures: colours for every kind of eye, and marks that survive grey print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Okabe and Ito 2008: distinct under the common kinds of colour blindness.
BLUE, ORANGE, GREEN, SKY, VERMILION, PURPLE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#56B4E9",
    "#D55E00",
    "#CC79A7",
)
INK, GREY, PALE = "#1A1A1A", "#8C8C8C", "#E6E6E6"
# Dark and light in turn, so that neighbours differ in grey print too.
COLOURS = (BLUE, ORANGE, VERMILION, SKY, GREEN, PURPLE)
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
SEQUENTIAL = "cividis"
"""Colour map of quantities: rises evenly in brightness, the same to colour-blind readers."""

FAN = {1: (0.30,), 2: (0.18, 0.30), 3: (0.14, 0.22, 0.30)}
"""Opacity of nested intervals, widest first."""

LONGEST_NAME, SHORTEST_NAME = 40, 16
"""Characters of a name that leave room for a figure beside it, and those that it keeps before a unit."""

MOST_ROUND = 8
"""Numbers beside a scale beyond which only powers of ten are written."""

SEEN = {"color": INK, "lw": 1.5, "marker": "o", "ms": 2.6, "solid_capstyle": "round", "zorder": 3}
"""Look of what a forecast has seen of a run: a line, on which a single point shows too."""

SIZE = (5.0, 3.7)
"""Inches of a figure with one panel; wide enough for its labels to stay legible on a telephone."""

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "axes.titlelocation": "left",
    "legend.fontsize": 8.5,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "svg.hashsalt": "probscale",
    "svg.fonttype": "path",
}
"""Settings of the figures that this package makes by itself; axes of the caller keep theirs."""


@contextmanager
def style() -> Iterator[None]:
    """The package's settings of matplotlib, for the time of a block."""
    from matplotlib import rcParams

    # These settings alone: restoring all would undo that a notebook, at its first figure, shows figures.
    before = {name: rcParams[name] for name in RC}
    rcParams.update(RC)
    try:
        yield
    finally:
        rcParams.update(before)


def axes_or_new(ax: Axes | None, height: float = SIZE[1]) -> Axes:
    """The given axes, or those of a new figure of pyplot, of a height in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    with style():
        return plt.subplots(figsize=(SIZE[0], height), layout="constrained")[1]


def new_figure(width: float = SIZE[0], height: float = SIZE[1], **options: Any) -> Figure:
    """A figure that needs no display and that pyplot does not know; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", **options)


def finish(ax: Axes, *, grid: Literal["both", "x", "y", "none"] = "both") -> Axes:
    """Light grid behind the data, no frame where nothing is read off, and numbers whole at their ticks."""
    from matplotlib.ticker import ScalarFormatter

    for axis in (ax.xaxis, ax.yaxis):
        # A common factor such as 1e-6 stands apart at the end of the axis, where a legend may hide it.
        if type(axis.get_major_formatter()) is ScalarFormatter:
            axis.set_major_formatter(_whole_numbers())
    ax.set_axisbelow(True)
    if grid != "none":
        ax.grid(axis=grid, color=PALE, linewidth=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _whole_numbers() -> Any:
    """Formatter of linear axes: as matplotlib has it where numbers are short, else with their powers."""
    from matplotlib.ticker import ScalarFormatter

    class Whole(ScalarFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            largest = float(np.abs(cast("Any", self.axis).get_view_interval()).max())
            short = not largest or 1e-3 <= largest < 1e4
            return super().__call__(x, pos) if short else tick(float(x), largest)

        def get_offset(self) -> str:
            return ""

    formatter = Whole(useOffset=False)
    formatter.set_scientific(False)
    return formatter


def legend(ax: Axes, **options: Any) -> None:
    """Legend that stays legible over data: pale ground, no frame, long names cut in the middle."""
    handles, labels = ax.get_legend_handles_labels()
    look = {"frameon": True, "framealpha": 0.85, "facecolor": "white", "edgecolor": "none"}
    ax.legend(handles, [brief(label) for label in labels], **look | options)


def brief(name: str, most: int = LONGEST_NAME) -> str:
    """A name of at most `most` characters: its two ends tell more than its beginning alone."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head].rstrip()}…{name[-(most - 1 - head) :].lstrip()}"


def labelled(name: str, unit: str | None) -> str:
    """Label of an axis: the quantity and its unit; a count, such as tokens, is its own unit."""
    if not unit or unit == name:
        return brief(name)
    return f"{brief(name, max(LONGEST_NAME - len(unit) - 3, SHORTEST_NAME))} ({unit})"


def wheel(count: int) -> list[tuple[str, str, str]]:
    """Colour, dashes and marker of each of `count` lines; no two of the first twelve are alike."""
    looks = zip(cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    return list(islice(looks, count))


def shades(count: int) -> list[Any]:
    """`count` colours of an ordered quantity, dark to light, light enough to see and dark enough to print."""
    import matplotlib

    return list(matplotlib.colormaps[SEQUENTIAL](np.linspace(0.0, 0.85, count)))


def log_scale(ax: Axes, which: Literal["x", "y"], values: Any, *, least: float = 3.0) -> None:
    """Logarithmic scale where positive values span a factor of `least` or more, with legible ticks.

    Args:
        ax: Axes.
        which: The axis.
        values: Values it shows.
        least: Factor between largest and smallest from which the scale is logarithmic.
    """
    shown = np.asarray(values, dtype=np.float64).ravel()
    shown = shown[np.isfinite(shown)]
    if not shown.size or shown.min() <= 0 or shown.max() / shown.min() < least:
        return
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    _log_ticks(ax, which, np.log10(shown.max() / shown.min()), float(shown.max()))


def _log_ticks(ax: Axes, which: Literal["x", "y"], decades: float, largest: float) -> None:
    """Labels at round numbers, few enough not to touch."""
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_minor_formatter(NullFormatter())
    if decades > 2.5:
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_major_formatter(LogFormatterMathtext())
        return
    if decades > 0.7:
        subs = (1.0, 2.0, 3.0, 5.0) if decades <= 1.0 else (1.0, 2.0, 5.0) if decades < 1.8 else (1.0, 3.0)
        axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    # One notation per axis: letters end before the trillions.
    written = compact if largest < LETTERS_END else scientific
    axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))


PLAIN_END = 1e4
"""Numbers from which on letters or powers of ten stand for zeros."""

LETTERS_END = 1e12
"""Numbers from which on powers of ten stand for letters."""


def compact(value: float) -> str:
    """A number as a person would write it on a chart: 0.05, 250, 20k, 3.5M, 2.1×10¹², 1.94×10⁻⁴."""
    size = abs(value)
    if not np.isfinite(value) or size == 0 or 1e-3 <= size < PLAIN_END:
        return f"{value:.4g}"
    for factor, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if factor <= size < 1e3 * factor and size < LETTERS_END:
            return f"{value / factor:.3g}{letter}"
    return scientific(value, 3 if size < 1 else 2)


def amount(value: float) -> str:
    """A cost: plain where it is short, else with its power of ten, as FLOPs are: 30, 134.8, 2.1×10¹⁸."""
    return compact(value) if abs(value) < PLAIN_END else scientific(value)


def scientific(value: float, digits: int = 2) -> str:
    """A number with its power of ten: 2.1×10¹², 10⁹."""
    if not np.isfinite(value) or value == 0:
        return f"{value:g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    mantissa = mantissa.rstrip("0").removesuffix(".") if "." in mantissa else mantissa
    return power if mantissa == "1" else f"{mantissa}×{power}"


def tick(value: float, largest: float) -> str:
    """A number at a tick of an axis whose largest tick is given: one notation for all of them."""
    return compact(value) if 1e-3 <= largest < LETTERS_END else scientific(value, 4)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def round_values(low: float, high: float) -> list[float]:
    """At least two numbers from `low` to `high` to write beside a scale: 1, 2 and 5 times powers of ten."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**k for k in decades for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    if len(found) > MOST_ROUND:
        found = [value for value in found if f"{value:e}"[0] == "1"]
    return found if len(found) > 1 else [low, high]


def padded(values: NDArray[np.float64], share: float = 0.05) -> tuple[float, float]:
    """Smallest and largest of the finite values, moved apart by a share of their distance."""
    shown = values[np.isfinite(values)]
    low, high = float(shown.min()), float(shown.max())
    margin = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
