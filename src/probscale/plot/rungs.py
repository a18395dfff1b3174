"""A budget plan as rungs: how many runs are trained how far, and what that costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from probscale.errors import BudgetError
from probscale.plot import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from probscale.budget import BudgetPlan

THICKEST = 0.84
THINNEST = 0.06
ROW = 0.42
"""Inches that the words of a rung take."""
TALLEST = 9.0
LINE = 12.0
"""Points from one line of words to the next."""


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
    ax = style.axes_or_new(ax, min(max(style.SIZE[1], ROW * len(table)), TALLEST))
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
    lines = _lines(ax, len(table))
    named = rows[:: max(math.ceil(1 / lines), 1)]
    for row in named:
        _words(ax, row, table.iloc[row], lines)
    ax.set_yticks(named, [_runs(table.iloc[row], lines) for row in named])
    ax.set_ylim(len(table) - 0.45, -0.6)
    ax.set_xlabel(f"trained to ({plan.axis})")
    ax.set_title(f"{plan.strategy}: {style.compact(plan.total)} {plan.unit}")
    style.legend(ax, loc="lower left")
    return style.finish(ax, grid="x")


def _lines(ax: Axes, rungs: int) -> float:
    """Lines of words that fit beside a rung; below 1 not every rung can be named."""
    inches = cast("Any", ax.figure).get_figheight() * ax.get_position().height
    return 72 * inches / rungs / LINE


def _runs(rung: pd.Series, lines: float) -> str:
    """Name and number of runs, below each other where there is room."""
    count = f"{float(rung['runs']):.2g}"
    many = f"{count} run{'' if count == '1' else 's'}"
    return f"{rung['rung']}\n{many}" if lines >= 2 else f"{rung['rung']}: {many}"


def _words(ax: Axes, row: int, rung: pd.Series, lines: float) -> None:
    """Cost and odds of a rung, beside the frame, where no bar can hide them."""
    words = [f"{100 * float(rung['share']):.0f} % of budget"]
    words.append(f"best kept {100 * float(rung['prob_best_kept']):.0f} %")
    happens = float(rung["happens"])
    if happens <= 0.995:
        words.append(f"in {100 * happens:.0f} % of outcomes")
    ax.annotate(
        "\n".join(words) if lines >= len(words) else ", ".join(words[:2]),
        (1.02, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        annotation_clip=False,
    )
