"""Replays: what strategies have learnt or found for the compute they spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probscale.errors import ConfigError
from probscale.plot.style import BLUE, GREY, INK, axes_or_new, brief, finish, legend, log_scale, wheel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SHARES = 80
"""Places along the axis of the price."""

VANISHED = 1e-3
"""Share of the largest error below which none is drawn: what has all but vanished would fill the picture."""


def plot_learning(results: pd.DataFrame, *, measure: str = "abc", ax: Axes | None = None) -> Axes:
    """Error of each strategy against the share of the price it has spent, averaged over seeds.

    Args:
        results: Of an active-learning replay: strategy, seed, spent and measures.
        measure: Column of the error: "abc" or "frmse".
        ax: Axes to draw on.

    Raises:
        ConfigError: if there is no game.
    """
    if not len(results):
        raise ConfigError("the results hold no game; there is nothing to draw")
    ax = axes_or_new(ax)
    shares = np.geomspace(max(float(results["spent"].min()), 1e-3), 1.0, SHARES)
    names = list(dict.fromkeys(results["strategy"]))
    means = []
    for name in names:
        games = results[results["strategy"] == name].groupby("seed")
        curves = [_steps(part["spent"].to_numpy(), part[measure].to_numpy(), shares) for _, part in games]
        # The end, where all is known and errors vanish, says nothing.
        means.append(np.mean(curves, axis=0)[:-1])
    shown = np.maximum(means, VANISHED * np.max(means))
    for name, mean, (colour, dashes, _) in zip(names, shown, wheel(len(names)), strict=True):
        ax.step(shares[:-1], mean, where="post", color=colour, linestyle=dashes, label=name)
    log_scale(ax, "x", shares)
    log_scale(ax, "y", shown)
    label = {"abc": "area between the laws", "frmse": "error of the log frontier"}.get(measure, measure)
    ax.set(xlabel="share of the price of all runs", ylabel=label)
    legend(ax)
    return finish(ax)


def _steps(spent: np.ndarray, error: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Error at each share: that of the last state paid for; the first one before that."""
    order = np.argsort(spent, kind="stable")
    position = np.searchsorted(spent[order], shares * (1 + 1e-12), side="right") - 1
    return error[order][np.maximum(position, 0)]


def plot_gains(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean gain of each strategy with its standard error, and its worst setting.

    Args:
        table: One task of `evaluate.replay.budget.gain_table`.
        ax: Axes to draw on.

    Raises:
        ConfigError: if there is no strategy.
    """
    if not len(table):
        raise ConfigError("the table has no strategy; there is nothing to draw")
    ax = axes_or_new(ax)
    rows = table.sort_values("gain %", kind="stable")
    place = np.arange(len(rows))
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    ax.barh(place, rows["gain %"], color=BLUE, height=0.6)
    ends = (rows["gain %"] - rows["± se"].fillna(0.0), rows["gain %"] + rows["± se"].fillna(0.0))
    ax.hlines(place, *ends, color=INK, linewidth=1.5, label="± one standard error")
    # A mark at the end of the axis, as of the baseline itself, would be cut in half.
    ax.plot(
        rows["worst setting %"], place, "D", color=INK, markersize=4, clip_on=False, label="worst setting"
    )
    ax.set_yticks(place, [brief(name) for name in rows["strategy"]])
    ax.set_xlabel("gain over halving, eta 2 (% of the output)")
    legend(ax, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.0)
    return finish(ax, grid="x")
