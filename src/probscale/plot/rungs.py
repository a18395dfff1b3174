"""A budget plan as rungs: how many runs are trained how far, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probscale.errors import BudgetError
from probscale.plot import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from probscale.budget import BudgetPlan

THICKEST = 0.84
THINNEST = 0.06


def plot_rungs(plan: BudgetPlan, *, ax: Axes | None = None) -> Axes:
    """Rungs of a plan in order of time: a bar spans the places its runs are trained to, thick where dear.

    Args:
        plan: Plan of `plan_budget`.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        BudgetError: if the plan has no rung.
    """
    table = plan.table()
    if not len(table):
        raise BudgetError("the plan has no rung; its budget pays for nothing", rungs=0)
    ax = style.axes_or_new(ax)
    least, most, middle = (
        table[name].to_numpy(dtype=np.float64)
        for name in (f"{plan.axis} (least)", f"{plan.axis} (most)", plan.axis)
    )
    share = table["share"].to_numpy(dtype=np.float64)
    rows = np.arange(len(table))
    style.log_scale(ax, "x", np.concatenate([least, most]))
    # A rung whose runs all stop at one place has no length; a little keeps it in sight.
    wide = 1.03 if ax.get_xscale() == "log" else 1.0
    thick = np.maximum(THICKEST * share / share.max(), THINNEST)
    ax.barh(rows, most * wide - least / wide, left=least / wide, height=thick, color=style.SKY, alpha=0.75)
    ax.plot(middle, rows, "|", color=style.INK, ms=13, mew=1.6, label="median run")
    for row, (_, rung) in enumerate(table.iterrows()):
        _words(ax, row, rung)
    ax.set_yticks(rows, [_runs(rung) for _, rung in table.iterrows()])
    ax.set_ylim(len(table) - 0.45, -0.6)
    ax.set_xlabel(f"trained to ({plan.axis})")
    ax.set_title(f"{plan.strategy}: {style.compact(plan.total)} {plan.unit}")
    style.legend(ax, loc="lower left")
    return style.finish(ax, grid="x")


def _runs(rung: pd.Series) -> str:
    """Name and number of runs, below each other."""
    count = float(rung["runs"])
    return f"{rung['rung']}\n{count:.2g} run{'' if count == 1 else 's'}"


def _words(ax: Axes, row: int, rung: pd.Series) -> None:
    """Cost and odds of a rung, beside the frame, where no bar can hide them."""
    chance = f"best kept {100 * float(rung['prob_best_kept']):.0f} %"
    happens = float(rung["happens"])
    often = "" if happens > 0.995 else f"\nin {100 * happens:.0f} % of outcomes"
    ax.annotate(
        f"{100 * float(rung['share']):.0f} % of budget\n{chance}{often}",
        (1.02, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        annotation_clip=False,
    )
