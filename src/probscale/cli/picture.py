"""The demo's picture: true curves over the fans forecast for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from probscale.runs import RunLog

BLUE, INK, GREY = "#0072B2", "#1A1A1A", "#9A9A9A"
MOST_PANELS = 6


def draw_demo(table: pd.DataFrame, train: RunLog, path: Path, *, levels: Sequence[float]) -> None:
    """Up to six held-out runs: what was forecast, what came, and the largest run seen in the fit."""
    # A figure without pyplot needs no display and changes no global state.
    from matplotlib.figure import Figure

    runs = list(dict.fromkeys(table["run"]))
    shown = [
        runs[i] for i in np.unique(np.linspace(0, len(runs) - 1, min(len(runs), MOST_PANELS)).astype(int))
    ]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.0 * columns, 3.1 * rows + 0.5), layout="constrained", dpi=150)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, run in zip(grid.flat, shown, strict=False):
        _panel(ax, table[table["run"] == run], train, levels)
    for position, ax in enumerate(grid.flat):
        ax.set_visible(position < len(shown))
        ax.tick_params(labelbottom=position + columns >= len(shown))
    for ax in grid[:, 0]:
        ax.set_ylabel("held-out loss (nats per byte)")
    for ax in grid[-1]:
        ax.set_xlabel("tokens")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path)


def _panel(ax: Axes, part: pd.DataFrame, train: RunLog, levels: Sequence[float]) -> None:
    at = part[train.roles.axis].to_numpy()
    for level, alpha in zip(sorted(levels, reverse=True), (0.22, 0.33), strict=False):
        name = f"{level * 100:.0f}"
        ax.fill_between(
            at,
            part[f"lower_{name}"],
            part[f"upper_{name}"],
            color=BLUE,
            alpha=alpha,
            lw=0,
            label=f"{name} % forecast",
        )
    ax.plot(at, part["mean"], color=BLUE, lw=1.2, ls="--", label="forecast mean")
    ax.plot(at, part["true"], color=INK, lw=0, marker="o", ms=2.4, label="measured, not seen in the fit")
    nearest = _largest_seen(train, part.iloc[0])
    ax.plot(*nearest, color=GREY, lw=1, zorder=1, label="largest run in the fit, same settings")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_yticks([2, 3, 4, 5], ["2", "3", "4", "5"])
    ax.minorticks_off()
    first = part.iloc[0]
    millions = first[str(train.roles.params)] / 1e6
    ax.set_title(
        f"{millions:.2f}M parameters (width {first['width']:g}, depth {first['depth']:g})\n"
        f"learning rate {first['learning_rate']:g}, batch {first['batch_size']:g}",
        fontsize=9,
    )
    ax.grid(color="#E6E6E6", lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _largest_seen(train: RunLog, held: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Curve of the largest training run that shares the learning rate and batch size, else of the largest."""
    configs = train.configs
    alike = configs[
        (configs["learning_rate"] == held["learning_rate"]) & (configs["batch_size"] == held["batch_size"])
    ]
    run = (alike if len(alike) else configs)[str(train.roles.params)].idxmax()
    points = train.points[(train.points[train.roles.run] == run).to_numpy()]
    return points[train.roles.axis].to_numpy(dtype=float), points[train.output].to_numpy(dtype=float)
