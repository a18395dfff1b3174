"""Learning curves: forecasts as fans, over what was observed and what came."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ConfigError, ShapeError
from probscale.plot import style
from probscale.runs import RunLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probscale.surrogate import CurvePosterior

Array = NDArray[np.float64]
Bands: TypeAlias = Mapping[float, tuple[ArrayLike, ArrayLike]]
Measured: TypeAlias = RunLog | Mapping[Hashable, tuple[ArrayLike, ArrayLike]]

MOST_NAMED = 8
"""Curves beyond which a legend would hide them."""


def plot_fan(
    at: ArrayLike,
    mean: ArrayLike,
    bands: Bands,
    *,
    ax: Axes | None = None,
    colour: str = style.BLUE,
    dashes: str = "-",
    label: str | None = "forecast mean",
    band_label: str | None = "{level:g} % interval",
) -> Axes:
    """A curve under nested intervals, the narrower the darker; scales and labels are left to the caller.

    Args:
        at: Places on the horizontal axis, (points,).
        mean: Centre, (points,).
        bands: Share of probability to (lower, upper), (points,) each.
        ax: Axes to draw on; new ones by default.
        colour: Colour of line and bands.
        dashes: Line style of the centre.
        label: Name of the centre in a legend.
        band_label: Name of a band, formatted with its level in per cent; None leaves bands unnamed.

    Returns:
        The axes.

    Raises:
        ConfigError: if a level is not strictly between 0 and 1.

    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> plot_fan([1, 2, 3], [3, 2, 1.5], {0.9: ([2, 1, 0.5], [4, 3, 2.5])}).get_legend_handles_labels()[1]
    ['90 % interval', 'forecast mean']
    """
    for level in bands:
        if not 0 < level < 1:
            raise ConfigError(f"level is {level}; an interval needs a share strictly between 0 and 1")
    ax = style.axes_or_new(ax)
    if np.size(at) == 1:
        return _bars(ax, at, mean, bands, colour, label, band_label)
    opacity = style.FAN.get(len(bands), (0.14,) * len(bands))
    for (level, (lower, upper)), alpha in zip(sorted(bands.items(), reverse=True), opacity, strict=True):
        name = band_label.format(level=100 * level) if band_label else None
        ax.fill_between(
            np.asarray(at), np.asarray(lower), np.asarray(upper), color=colour, alpha=alpha, lw=0, label=name
        )
    ax.plot(np.asarray(at), np.asarray(mean), color=colour, lw=1.5, ls=dashes, label=label)
    return ax


def _bars(
    ax: Axes,
    at: ArrayLike,
    mean: ArrayLike,
    bands: Bands,
    colour: str,
    label: str | None,
    band_label: str | None,
) -> Axes:
    """A fan at one place, where areas have no width: bars, the narrower the thicker, and a stroke."""
    for rank, (level, (lower, upper)) in enumerate(sorted(bands.items(), reverse=True)):
        name = band_label.format(level=100 * level) if band_label else None
        ax.vlines(
            np.ravel(at),
            np.ravel(lower),
            np.ravel(upper),
            color=colour,
            lw=1.5 + 3.5 * rank,
            alpha=0.5,
            label=name or "_nolegend_",
        )
    ax.plot(np.ravel(at), np.ravel(mean), color=colour, lw=0, marker="_", ms=12, mew=1.5, label=label)
    return ax


def plot_curves(
    curves: CurvePosterior,
    *,
    observed: Measured | None = None,
    truth: Measured | None = None,
    levels: Sequence[float] = (0.5, 0.9),
    labels: Sequence[str] | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Forecast curves with fan intervals, the prefixes they start from, and what was measured later.

    Args:
        curves: Forecast, for example of `surrogate.predict`; one fan per configuration.
        observed: What the forecast has seen of its runs, solid black: a run log, in which runs are found by
            the index of the configurations or by their run column, or a mapping from either to (axis values,
            outputs).
        truth: What it has not seen, as open circles; in the same forms.
        levels: Shares of probability of the nested intervals.
        labels: Names of the configurations; by default their runs, or else their index.
        unit: Unit of the output, for the label.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ConfigError: if it is no forecast, a configuration has no run of its own in a log given, or a level is
            not accepted.
        ShapeError: if there is not one label per configuration.
    """
    if not hasattr(curves, "interval"):
        raise ConfigError(
            f"plot_curves draws a forecast, such as surrogate.predict(configs, at), and got a "
            f"{type(curves).__name__}; measured runs go over their forecast as observed= or truth="
        )
    names = _names(curves, labels)
    ax = style.axes_or_new(ax)
    ends = {level: curves.interval(level) for level in levels}
    single = len(names) == 1
    for row, (colour, dashes, _) in enumerate(style.wheel(len(names))):
        bands = {level: (lower[row], upper[row]) for level, (lower, upper) in ends.items()}
        plot_fan(
            curves.at[row],
            curves.mean[row],
            bands,
            ax=ax,
            colour=colour,
            dashes=dashes,
            label=("forecast mean" if single and labels is None else names[row]),
            band_label="{level:g} % interval" if single else None,
        )
    shown = [curves.at.ravel()], [curves.mean.ravel()]
    for (name, given), options in zip(
        (("observed", observed), ("measured later", truth)), _LOOKS, strict=True
    ):
        for at, values in _measured(given, curves, name):
            ax.plot(at, values, **options, label=name if name not in _legend(ax) else None)
            shown[0].append(at)
            shown[1].append(values)
    style.log_scale(ax, "x", np.concatenate(shown[0]), least=20.0)
    style.log_scale(ax, "y", np.concatenate(shown[1]))
    ax.set_xlabel(curves.axis)
    ax.set_ylabel(style.labelled(curves.output, unit))
    if len(names) <= MOST_NAMED:
        style.legend(ax)
    return style.finish(ax)


_LOOKS = (
    style.SEEN,
    {"color": style.INK, "lw": 0, "marker": "o", "ms": 3.2, "mfc": "white", "mew": 0.8, "zorder": 3},
)


def _legend(ax: Axes) -> list[str]:
    return ax.get_legend_handles_labels()[1]


def _names(curves: CurvePosterior, labels: Sequence[str] | None) -> list[str]:
    names = [str(name) for name in (_runs(curves) if labels is None else labels)]
    if len(names) != curves.shape[0]:
        raise ShapeError(
            f"there are {len(names)} labels for {curves.shape[0]} configurations; give one each",
            shape=(len(names),),
        )
    return names


def _measured(given: Measured | None, curves: CurvePosterior, name: str) -> list[tuple[Array, Array]]:
    """Axis values and outputs of each configuration that has any."""
    if given is None:
        return []
    if not isinstance(given, RunLog):
        pairs = [given[label] for label in _found(curves, given)]
        return [(np.asarray(at, dtype=np.float64), np.asarray(y, dtype=np.float64)) for at, y in pairs]
    found = _found(curves, given.runs)
    if not found:
        absent = _runs(curves)[0]
        raise ConfigError(
            f"the {name} log has no run {absent!r}; curves are matched by the run column or the index of the "
            "configurations, so predict from rows that name runs, or from a frame indexed by run (such as "
            "log.configs), or pass a mapping from that index to (axis values, outputs)",
            run=absent,
        )
    return [run_points(given, label) for label in found]


def _found(curves: CurvePosterior, known: Container[Any]) -> list[Any]:
    """Configurations that are known, by the names of their runs or else by their index."""
    either = zip(_runs(curves), curves.index, strict=True)
    return [run if run in known else label for run, label in either if run in known or label in known]


def _runs(curves: CurvePosterior) -> list[Any]:
    """Runs of the configurations, or their index where they name none."""
    runs = [None] * len(curves.index) if curves.runs is None else curves.runs
    return [label if pd.isna(run) else run for run, label in zip(runs, curves.index, strict=True)]


def run_points(log: RunLog, run: Hashable) -> tuple[Array, Array]:
    """Axis values and outputs of one run of a log."""
    points = log.points[(log.points[log.roles.run] == run).to_numpy()]
    return (
        points[log.roles.axis].to_numpy(dtype=np.float64),
        points[log.output].to_numpy(dtype=np.float64),
    )
