"""What a check of a log found, as pictures: reliability per regime, and forecasts beside what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from probscale.errors import ConfigError
from probscale.evaluate.scores import reliability
from probscale.plot import style
from probscale.plot.calibration import plot_reliability
from probscale.plot.curves import plot_fan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from probscale.evaluate import CheckReport
    from probscale.runs import RunLog

LONGEST_RUN = 36
"""Characters of a run's name above a panel."""

RANKS = {"typical run": 0.5, "poor run": 0.9, "worst run": 1.0}
"""Which runs are shown: their place among all of a regime, ordered by mean score."""

SHARES = (0.1, 0.25, 0.5, 0.8, 0.9, 0.95)


def plot_check(report: CheckReport, *, regimes: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Reliability of each regime of a check, with standard errors over runs.

    Args:
        report: Result of `probscale.evaluate.check`.
        regimes: Some of its regimes; by default all.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ConfigError: for a regime that was not checked.
    """
    for series, name in enumerate(_known(report, regimes)):
        table = reliability(report.points[report.points["regime"] == name], SHARES)
        ax = plot_reliability(
            table["promised"],
            table["observed"],
            errors=table["se"].fillna(0.0),
            label=name,
            series=series,
            ax=ax,
        )
    assert ax is not None
    return ax


def draw_check_curves(
    report: CheckReport, *, log: RunLog | None = None, regimes: Sequence[str] | None = None
) -> Figure:
    """Forecast fans of held-out runs over what was measured: a typical, a poor and the worst one per regime.

    Args:
        report: Result of `probscale.evaluate.check`.
        log: The checked runs; begun runs then show the points that were seen.
        regimes: Some regimes of the report; by default all.

    Returns:
        A figure that pyplot does not know.

    Raises:
        ConfigError: for a regime that was not checked.
    """
    names = _known(report, regimes)
    with style.style():
        figure = style.new_figure(3.6 * len(RANKS), 2.7 * len(names) + 0.6, dpi=130)
        grid = figure.subplots(len(names), len(RANKS), squeeze=False)
        for row, name in zip(grid, names, strict=True):
            points = report.points[report.points["regime"] == name]
            for ax, (rank, run) in zip(row, _ranked(points).items(), strict=False):
                _panel(ax, points[points["run"] == run], log if name.startswith("prefix") else None)
                ax.set_title(f"{name}: {rank}\n{style.brief(str(run), LONGEST_RUN)}")
            for ax in row[points["run"].nunique() :]:
                ax.set_visible(False)
            row[0].set_ylabel(report.output)
        for ax in grid[-1]:
            ax.set_xlabel(report.axis)
        found = {
            label: handle
            for ax in sorted(grid.flat, key=_has_fan)
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            found.values(), found.keys(), loc="outside upper center", ncols=len(found), frameon=False
        )
    return figure


def _has_fan(ax: Axes) -> bool:
    """Whether bands are areas there, which a legend shows best; at a single point they are bars."""
    from matplotlib.collections import PolyCollection

    return any(isinstance(item, PolyCollection) for item in ax.collections)


def _known(report: CheckReport, regimes: Sequence[str] | None) -> tuple[str, ...]:
    for name in regimes or ():
        if name not in report.regimes:
            raise ConfigError(
                f"regime {name!r} was not checked; the report has {', '.join(report.regimes)}", regime=name
            )
    return tuple(regimes or report.regimes)


def _ranked(points: pd.DataFrame) -> dict[str, object]:
    """Runs to show, each once: score of each run's points, relative to their scale, in order."""
    score = points["crps"] / points["truth"].abs().clip(lower=1e-12)
    order = list(score.groupby(points["run"], sort=False).mean().sort_values(kind="stable").index)
    last = len(order) - 1
    # Of few runs the worst is the worst; the others make way for it.
    places = {name: round(share * last) for name, share in RANKS.items()}
    places["poor run"] = min(places["poor run"], last - 1)
    places["typical run"] = min(places["typical run"], last - 2)
    return {name: order[place] for name, place in places.items() if place >= 0}


def _panel(ax: Axes, part: pd.DataFrame, log: RunLog | None) -> None:
    at, truth = part["at"].to_numpy(), part["truth"].to_numpy()
    shown = [at]
    bands = {level / 100: (part[f"lower_{level}"], part[f"upper_{level}"]) for level in (50, 90)}
    plot_fan(at, part["median"], bands, ax=ax, label="forecast median")
    ax.plot(
        at, truth, color=style.INK, lw=0, marker="o", ms=3, mfc="white", mew=0.8, label="measured, not seen"
    )
    if log is not None:
        run = log.points[log.roles.run] == part["run"].iloc[0]
        seen = log.points[run & (log.points[log.roles.axis] < at.min())]
        before, reached = (seen[name].to_numpy(dtype=np.float64) for name in (log.roles.axis, log.output))
        # What was seen may fall much further than what was to be foretold, whose bands nobody would see.
        low, high = style.padded(np.concatenate([*bands[0.9], truth, reached[-1:]]))
        ax.set_ylim(low, high)
        # Of what lies outside, the last point alone leads the eye in.
        outside = np.flatnonzero((reached < low) | (reached > high))
        first = outside[-1] if len(outside) else 0
        ax.plot(before[first:], reached[first:], **style.SEEN, label="seen")
        shown.append(before[first:])
    style.log_scale(ax, "x", np.concatenate(shown), least=20.0)
    style.finish(ax)
