"""An allocation: the curves of its runs, where they were stopped, and the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probscale.plot import style
from probscale.plot.curves import run_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probscale.budget import AllocationResult

_OPEN = {"ls": "", "mfc": "white", "mec": style.ORANGE, "mew": 1.2, "zorder": 3}


def plot_allocation(
    result: AllocationResult, *, unit: str | None = None, cost_unit: str = "", ax: Axes | None = None
) -> Axes:
    """All runs of an allocation as far as they were trained, those that failed or diverged, and the best.

    Args:
        result: What `allocate` returned.
        unit: Unit of the output, for the label.
        cost_unit: Unit of the cost, for the title.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.
    """
    ax = style.axes_or_new(ax)
    log, runs = result.log, result.runs.set_index("name")
    outputs = runs[log.output]
    best = outputs.idxmin() if log.roles.goal == "min" else outputs.idxmax()
    found = {run: run_points(log, run) for run in log.runs}
    finite = {run: np.isfinite(values) for run, (_, values) in found.items()}
    curves = {
        run: (at[finite[run]], values[finite[run]])
        for run, (at, values) in found.items()
        if finite[run].any()
    }
    for run, (at, values) in curves.items():
        last = run == best
        look = {"color": style.BLUE, "lw": 2.0, "zorder": 4} if last else {"color": style.GREY, "lw": 1.0}
        name = "best run" if last else "other runs"
        label = None if name in ax.get_legend_handles_labels()[1] else name
        ax.plot(at, values, marker="o", ms=4.0 if last else 2.6, label=label, **look)
    for status, marker in (("diverged", "X"), ("failed", "s")):
        ended = [curves[run] for run in runs.index[runs["status"] == status] if run in curves]
        if ended:
            ends = [(at[-1], values[-1]) for at, values in ended]
            ax.plot(*zip(*ends, strict=True), marker=marker, label=status, **_OPEN)
    style.log_scale(ax, "x", np.concatenate([at for at, _ in curves.values()]))
    style.log_scale(ax, "y", np.concatenate([values for _, values in curves.values()]))
    ax.set_xlabel(log.roles.axis)
    ax.set_ylabel(style.labelled(log.output, unit))
    begun = int((runs["points"] > 0).sum())
    ax.set_title(f"{begun} of {len(runs)} runs for {style.amount(result.spent)} {cost_unit}".strip())
    style.legend(ax)
    return style.finish(ax)
