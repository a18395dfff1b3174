"""Acquisition map: what each possible next step is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from probscale.errors import ConfigError
from probscale.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

DECADES = 3.0
"""Orders of magnitude of the score shown; what lies below is drawn as the least."""

MOST_TICKS = 7

MOST_LETTERS = 24
"""Characters of a name beside an axis."""


def plot_acquisition(
    actions: pd.DataFrame,
    x: str,
    y: str,
    *,
    score: str = "score",
    chosen: pd.DataFrame | None = None,
    x_unit: str | None = None,
    y_unit: str | None = None,
    score_label: str = "score (value per cost)",
    ax: Axes | None = None,
) -> Axes:
    """Score of possible next steps over two of their columns; of those at one place, the best.

    Args:
        actions: One row per action, as `probscale.design.score_actions` gives.
        x: Column on the horizontal axis, such as "until" or the model size; numbers.
        y: Column on the vertical axis; numbers, or names.
        score: Column of the score; larger is better.
        chosen: Actions to mark with their rank, as `suggest` gives.
        x_unit: Unit of the horizontal axis.
        y_unit: Unit of the vertical axis.
        score_label: Label of the colours.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes; cells where full grids are mostly filled, else dots.

    Raises:
        ConfigError: if there is no action with a finite score, or a column is missing.
    """
    frames = [("actions", actions)] + ([("chosen", chosen)] if chosen is not None else [])
    for name, frame in frames:
        absent = [column for column in (x, y) if column not in frame]
        if absent:
            raise ConfigError(f"{name} has no column {absent[0]!r}; it has {', '.join(map(str, frame))}")
    if score not in actions or not np.isfinite(actions[score].to_numpy(dtype=np.float64)).any():
        raise ConfigError(f"actions has no finite {score!r}; there is nothing to map", column=score)
    ax = style.axes_or_new(ax)
    best = cast(pd.DataFrame, actions.groupby([x, y], as_index=False)[score].max())
    across, up = (np.sort(best[name].unique()) for name in (x, y))
    norm = _norm(best[score].to_numpy(dtype=np.float64))
    as_cells = 2 * len(best) >= len(across) * len(up)
    if as_cells:
        drawn = _cells(ax, best, (x, across), (y, up), score, norm)
    else:
        at, up_at = (_places(ax, "x", best[x], across), _places(ax, "y", best[y], up))
        drawn = ax.scatter(at, up_at, c=best[score], s=26, marker="s", cmap=style.SEQUENTIAL, norm=norm)
    if chosen is not None:
        _mark(ax, chosen, (x, across), (y, up), as_cells)
    cast("Any", ax.figure).colorbar(drawn, ax=ax, pad=0.02).set_label(score_label)
    ax.set_xlabel(style.labelled(x, x_unit))
    ax.set_ylabel(style.labelled(y, y_unit))
    return style.finish(ax, grid="none")


def _norm(values: np.ndarray) -> Normalize:
    from matplotlib.colors import LogNorm, Normalize

    high = float(np.nanmax(values))
    if high <= 0:
        return Normalize(float(np.nanmin(values)), high)
    low = max(float(np.nanmin(np.where(values > 0, values, np.nan))), high * 10**-DECADES)
    return LogNorm(low, high, clip=True) if high / low > 20 else Normalize(low, high, clip=True)


def _cells(
    ax: Axes,
    best: pd.DataFrame,
    horizontal: tuple[str, np.ndarray],
    vertical: tuple[str, np.ndarray],
    score: str,
    norm: Normalize,
) -> ScalarMappable:
    """Equal cells at the positions of distinct values, labelled with the values."""
    (x, across), (y, up) = horizontal, vertical
    table = best.pivot(index=y, columns=x, values=score).reindex(index=up, columns=across)
    mesh = ax.pcolormesh(
        np.arange(len(across) + 1) - 0.5,
        np.arange(len(up) + 1) - 0.5,
        np.ma.masked_invalid(table.to_numpy(dtype=np.float64)),
        cmap=style.SEQUENTIAL,
        norm=norm,
        edgecolor="white",
        linewidth=0.4,
    )
    for which, values in (("x", across), ("y", up)):
        _ticks(ax, cast(Literal["x", "y"], which), values)
    return mesh


def _places(ax: Axes, which: Literal["x", "y"], column: pd.Series, values: np.ndarray) -> np.ndarray:
    """Where dots stand: numbers on their scale, names at their rank."""
    if pd.api.types.is_numeric_dtype(column):
        style.log_scale(ax, which, column)
        return column.to_numpy(dtype=np.float64)
    _ticks(ax, which, values)
    return np.searchsorted(values, column).astype(np.float64)


def _ticks(ax: Axes, which: Literal["x", "y"], values: np.ndarray) -> None:
    places = np.arange(len(values))[:: max(-(-len(values) // MOST_TICKS), 1)]
    names = [_name(values[place]) for place in places]
    (ax.set_xticks if which == "x" else ax.set_yticks)(places, names)


def _name(value: Any) -> str:
    return (
        style.compact(float(value))
        if isinstance(value, (int, float, np.number))
        else style.brief(str(value), MOST_LETTERS)
    )


def _mark(
    ax: Axes,
    chosen: pd.DataFrame,
    horizontal: tuple[str, np.ndarray],
    vertical: tuple[str, np.ndarray],
    as_cells: bool,
) -> None:
    """Ranks of the chosen actions, in white on black dots."""
    ranks: dict[tuple[float, float], list[str]] = {}
    for rank, (_, row) in enumerate(chosen.iterrows(), start=1):
        place = [
            float(np.searchsorted(values, row[name])) if as_cells or isinstance(row[name], str) else row[name]
            for name, values in (horizontal, vertical)
        ]
        ranks.setdefault((place[0], place[1]), []).append(str(rank))
    for (x, y), names in ranks.items():
        ax.annotate(
            ",".join(names),
            (x, y),
            ha="center",
            va="center",
            fontsize=8,
            color="white",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "black", "edgecolor": "white"},
        )
