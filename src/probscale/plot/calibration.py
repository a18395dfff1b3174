"""Forecasts beside what came: parity and reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from probscale.errors import ShapeError
from probscale.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CROWDED = 0.3
"""Share of the range below which half of all values lie, where a linear scale would hide them."""


def plot_parity(
    truth: ArrayLike,
    mean: ArrayLike,
    interval: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    level: float = 0.9,
    output: str = "output",
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Forecast against measurement, one mark each; measurements outside their interval are crosses.

    Args:
        truth: Measured outputs, any shape.
        mean: Forecast means, the same shape.
        interval: Lower and upper ends of the forecasts' intervals.
        level: Share of probability of the intervals, for the legend.
        output: Name of the output.
        unit: Its unit.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes, logarithmic where most measurements crowd at the low end of a wide range; points without a
        finite measurement or forecast are left out.

    Raises:
        ShapeError: if shapes differ, or nothing is left to compare.
    """
    given = [truth, mean, *(interval or ())]
    shapes = [np.shape(values) for values in given]
    if len(set(shapes)) > 1:
        raise ShapeError(f"truth, mean and interval differ in shape: {shapes}", shapes=shapes)
    flat = [np.asarray(values, dtype=np.float64).ravel() for values in given]
    kept = np.isfinite(flat[0]) & np.isfinite(flat[1])
    if not kept.any():
        raise ShapeError(
            "no place has a finite truth and a finite mean; there is nothing to compare", shapes=shapes
        )
    measured, centre, *ends = (values[kept] for values in flat)
    ax = style.axes_or_new(ax)
    low, high = style.padded(np.concatenate([measured, centre]))
    ax.plot([low, high], [low, high], color=style.GREY, lw=1, ls="--", label="forecast = measured")
    inside = np.ones(len(measured), dtype=bool)
    if ends:
        lower, upper = ends
        inside = (lower <= measured) & (measured <= upper)
        ax.vlines(measured, lower, upper, color=style.BLUE, lw=1, alpha=0.35)
    named = f"{inside.sum()} inside the {100 * level:g} % interval" if ends else f"{len(measured)} points"
    ax.plot(measured[inside], centre[inside], "o", color=style.BLUE, ms=3.5, alpha=0.75, mew=0, label=named)
    if not inside.all():
        outside = f"{(~inside).sum()} outside"
        ax.plot(measured[~inside], centre[~inside], "X", color=style.VERMILION, ms=5.5, mew=0, label=outside)
    if np.median(measured) - measured.min() < CROWDED * np.ptp(measured):
        # One scale for both axes: equal numbers are to be seen as equal.
        style.log_scale(ax, "x", np.concatenate([measured, centre]))
        style.log_scale(ax, "y", np.concatenate([measured, centre]))
    ax.set_xlabel(f"measured {style.labelled(output, unit)}")
    ax.set_ylabel(f"forecast {style.labelled(output, unit)}")
    style.legend(ax)
    return style.finish(ax)


def plot_reliability(
    nominal: ArrayLike,
    observed: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    label: str | None = None,
    series: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Share of measurements inside central intervals against the share promised.

    Call it again on the same axes, with another `series`, to compare.

    Args:
        nominal: Shares of probability of the intervals, between 0 and 1, (levels,).
        observed: Shares of measurements found inside, (levels,).
        errors: Standard errors of these shares, (levels,).
        label: Name in the legend.
        series: Position among the lines of the axes; chooses colour and marker.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ShapeError: if shapes differ or are empty, or shares lie outside 0 to 1.
    """
    given = [nominal, observed] if errors is None else [nominal, observed, errors]
    promised, found, *spread = (np.asarray(values, dtype=np.float64).ravel() for values in given)
    if len({len(promised), len(found), *(len(each) for each in spread)}) > 1:
        shapes = [np.shape(values) for values in given]
        raise ShapeError(f"nominal, observed and errors differ in shape: {shapes}", shapes=shapes)
    if not promised.size:
        raise ShapeError("nominal and observed are empty; give at least one level", shapes=[(0,), (0,)])
    if min(promised.min(), found.min()) < 0 or max(promised.max(), found.max()) > 1:
        raise ShapeError("nominal and observed are shares, between 0 and 1; divide per cent by 100")
    ax = style.axes_or_new(ax)
    if not ax.lines:
        _diagonal(ax)
    colour, dashes, marker = style.wheel(series + 1)[-1]
    ax.errorbar(
        100 * promised,
        100 * found,
        yerr=100 * spread[0] if spread else None,
        color=colour,
        ls=dashes,
        marker=marker,
        ms=4.5,
        lw=1.5,
        elinewidth=1,
        capsize=2,
        label=label,
    )
    ax.set(xlim=(0, 100), ylim=(0, 102), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    ax.set_xlabel("interval promised (% of probability)")
    ax.set_ylabel("measurements inside (%)")
    if label:
        # Above the axes: lines may run anywhere in them.
        style.legend(ax, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.0, ncols=2)
    return style.finish(ax)


def _diagonal(ax: Axes) -> None:
    """The line of perfect calibration, and what its two sides mean."""
    ax.plot([0, 100], [0, 100], color=style.GREY, lw=1, ls="--")
    sides: Sequence[tuple[str, tuple[float, float]]] = (
        ("intervals too wide", (0.30, 0.60)),
        ("intervals too narrow", (0.68, 0.22)),
    )
    for words, place in sides:
        ax.annotate(words, place, xycoords="axes fraction", ha="center", color="#6E6E6E", fontsize=8.5)
