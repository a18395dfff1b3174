"""The demo's picture: true curves over the fans forecast for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probscale.runs.thinning import evenly

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from probscale.runs import RunLog

MOST_PANELS = 6


def draw_demo(table: pd.DataFrame, train: RunLog, path: Path, *, levels: Sequence[float]) -> None:
    """Up to six held-out runs: what was forecast, what came, and the largest run seen in the fit."""
    from probscale.plot import style

    runs = list(dict.fromkeys(table["run"]))
    shown = [runs[i] for i in evenly(len(runs), MOST_PANELS)]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    with style.style():
        figure = style.new_figure(4.0 * columns, 3.1 * rows + 0.5, dpi=150)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax, run in zip(grid.flat, shown, strict=False):
            _panel(ax, table[table["run"] == run], train, levels)
        for position, ax in enumerate(grid.flat):
            ax.set_visible(position < len(shown))
            ax.tick_params(labelbottom=position + columns >= len(shown))
        for ax in grid[:, 0]:
            ax.set_ylabel(style.labelled("held-out loss", "nats per byte"))
        for ax in grid[-1]:
            ax.set_xlabel("tokens")
        handles, labels = grid.flat[0].get_legend_handles_labels()
        options = {"ncols": len(labels), "fontsize": 9, "frameon": False}
        figure.legend(handles, labels, loc="outside upper center", **options)
        figure.savefig(path)


def _panel(ax: Axes, part: pd.DataFrame, train: RunLog, levels: Sequence[float]) -> None:
    from probscale.plot import plot_fan, style

    at = part[train.roles.axis].to_numpy()
    names = {level: f"{level * 100:.0f}" for level in levels}
    bands = {level: (part[f"lower_{name}"], part[f"upper_{name}"]) for level, name in names.items()}
    plot_fan(at, part["mean"], bands, ax=ax, dashes="--", band_label="{level:g} % forecast")
    true = part["true"].to_numpy()
    ax.plot(at, true, color=style.INK, lw=0, marker="o", ms=2.4, label="measured, not seen in the fit")
    nearest = _largest_seen(train, part.iloc[0])
    ax.plot(*nearest, color=style.GREY, lw=1, zorder=1, label="largest run in the fit, same settings")
    style.log_scale(ax, "x", at)
    # The panels share their scale, so that it must not depend on the run.
    style.log_scale(ax, "y", part["upper_90"], least=1.0)
    first = part.iloc[0]
    millions = first[str(train.roles.params)] / 1e6
    ax.set_title(
        f"{millions:.2f}M parameters (width {first['width']:g}, depth {first['depth']:g})\n"
        f"learning rate {first['learning_rate']:g}, batch {first['batch_size']:g}",
        fontsize=9,
    )
    style.finish(ax)


def _largest_seen(train: RunLog, held: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Curve of the largest training run that shares the learning rate and batch size, else of the largest."""
    from probscale.plot.curves import run_points

    configs = train.configs
    alike = configs[
        (configs["learning_rate"] == held["learning_rate"]) & (configs["batch_size"] == held["batch_size"])
    ]
    run = (alike if len(alike) else configs)[str(train.roles.params)].idxmax()
    return run_points(train, run)
