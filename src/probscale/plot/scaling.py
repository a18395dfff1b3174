"""Scaling: the frontier and its law over the observed runs, isoFLOP curves, and the law's posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ConfigError
from probscale.laws import LawBootstrap, LawFit
from probscale.plot import style
from probscale.plot.curves import plot_fan
from probscale.runs import RunLog
from probscale.scaling.law_posterior import LawPosterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probscale.cost import CostModel
    from probscale.scaling import Frontier, Isoflops

Array = NDArray[np.float64]

MASS_CELLS = 60
"""Cells of the grid on which regions of highest density are found, per side."""


def plot_frontier(
    frontier: Frontier,
    *,
    log: RunLog | None = None,
    cost: CostModel | None = None,
    level: float = 0.9,
    law: bool = True,
    output: str | None = None,
    unit: str | None = None,
    compute_unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Best reachable output against compute: posterior band, mean, and the law fitted to it.

    Args:
        frontier: Posterior of the frontier.
        log: Runs to draw behind it, as thin grey curves; needs `cost`. Beyond the dearest of them the
            background says that the frontier extrapolates.
        cost: Cost model that places their points on the axis of compute.
        level: Share of probability of the band.
        law: Draw the mean law: limit plus or minus a power of compute.
        output: Name of the output; by default that of the log, else "loss" or "score".
        unit: Its unit.
        compute_unit: Unit of the compute; by default that of `cost`, else FLOPs.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ConfigError: if a log is given without a cost.
    """
    if log is not None and cost is None:
        raise ConfigError("runs of a log need cost= to be placed on the axis of compute")
    ax = style.axes_or_new(ax)
    shown_x, shown_y = [frontier.compute], [frontier.loss.mean]
    if log is not None and cost is not None:
        spent, values = _runs_behind(ax, log, cost)
        # What every run shares at its start would squeeze the frontier into a corner.
        inside = spent >= frontier.compute[0]
        shown_x.append(spent[inside])
        shown_y.append(values[inside])
        if frontier.compute[-1] > spent.max() * 1.001:
            ax.axvspan(spent.max(), frontier.compute[-1], color=style.PALE, alpha=0.6, lw=0, zorder=0)
            ax.axvline(spent.max(), color=style.GREY, lw=0.8, ls=":", label="dearest observed run")
    plot_fan(
        frontier.compute,
        frontier.loss.mean,
        {level: frontier.loss.interval(level)},
        ax=ax,
        label="expected best",
    )
    if law:
        through = frontier.law_compute
        fitted = frontier.law.predict(through).mean
        ax.plot(through, fitted, color=style.INK, lw=1.1, ls="--", label=_law_words(frontier.law))
    name = output or (log.output if log is not None else "loss" if frontier.goal == "min" else "score")
    style.log_scale(ax, "x", frontier.compute)
    values = np.concatenate(shown_y)
    if frontier.law.logarithmic:
        style.log_scale(ax, "y", values, least=1.5)
    _limits(ax, frontier, values)
    ax.set_xlabel(f"compute ({compute_unit or (cost.unit if cost is not None else 'FLOPs')})")
    ax.set_ylabel(style.labelled(name, unit))
    style.legend(ax)
    return style.finish(ax)


def _runs_behind(ax: Axes, log: RunLog, cost: CostModel) -> tuple[Array, Array]:
    """Observed runs as thin curves; compute and outputs of all their finite points."""
    from matplotlib.collections import LineCollection

    at = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    configs = log.configs.reset_index(names=log.roles.run).iloc[log.codes]
    spent = np.asarray(cost(configs, at[:, None]))[:, 0]
    values = log.points[log.output].to_numpy(dtype=np.float64)
    kept = np.isfinite(values) & (spent > 0)
    lines = [
        np.column_stack([spent[mine], values[mine]])
        for mine in (kept & (log.codes == run) for run in range(log.n_runs))
    ]
    if max(map(len, lines), default=0) < 2:
        ax.plot(spent[kept], values[kept], ".", color=style.GREY, ms=3, alpha=0.55, label="observed runs")
    else:
        ax.add_collection(
            LineCollection(lines, colors=style.GREY, linewidths=0.6, alpha=0.55, label="observed runs"),
            autolim=True,
        )
    return spent[kept], values[kept]


def _limits(ax: Axes, frontier: Frontier, values: Array) -> None:
    """The frontier from its first level to its last, and the outputs above it."""
    ax.set_xlim(frontier.compute[0], frontier.compute[-1])
    lower, upper = frontier.loss.interval(0.98)
    far = float(np.nanquantile(values, 0.95 if frontier.goal == "min" else 0.05))
    ends = np.array([np.nanmin(lower), np.nanmax(upper), far])
    if ax.get_yscale() == "log":
        low, high = style.padded(np.log(ends))
        ax.set_ylim(float(np.exp(low)), float(np.exp(high)))
    else:
        ax.set_ylim(*style.padded(ends))


def _law_words(law: LawPosterior) -> str:
    names = ("ceiling" if law.rising else "floor", "exponent")
    limit, exponent = (law.median[name] for name in names)
    sign = "−" if law.rising else "+"
    return f"law: {limit:.3g} {sign} c · compute$^{{-{exponent:.3g}}}$"


def plot_isoflop(
    isoflops: Isoflops,
    *,
    level: float = 0.9,
    unit: str | None = None,
    params_unit: str | None = "parameters",
    ax: Axes | None = None,
) -> Axes:
    """Best output against model size, one curve per level of compute, the best size of each starred.

    Args:
        isoflops: Curves of `probscale.scaling.fit_isoflops`.
        level: Share of probability of the bands.
        unit: Unit of the output.
        params_unit: Unit of the model size.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes. Dotted stretches would train past the longest observed run.
    """
    ax = style.axes_or_new(ax)
    mean, (lower, upper) = isoflops.loss.mean, isoflops.loss.interval(level)
    for row, colour in enumerate(style.shades(len(isoflops.compute))):
        known = np.isfinite(mean[row])
        sizes, marker = isoflops.params[known], style.MARKERS[row % len(style.MARKERS)]
        name = f"{style.amount(isoflops.compute[row])} {isoflops.unit}"
        bands = {level: (lower[row, known], upper[row, known])}
        plot_fan(
            sizes, mean[row, known], bands, ax=ax, colour=colour, dashes=":", label=None, band_label=None
        )
        inside = np.where(isoflops.beyond[row, known], np.nan, mean[row, known])
        ax.plot(sizes, inside, color=colour, lw=1.6, marker=marker, ms=4, label=name)
        best = isoflops.best[row]
        if np.isfinite(best):
            height = mean[row, isoflops.params == best][0]
            ax.plot(best, height, "*", color=colour, mec="black", mew=0.8, ms=12, zorder=4)
    style.log_scale(ax, "x", isoflops.params)
    style.log_scale(ax, "y", mean, least=2.0)
    ax.set_xlabel(style.labelled(isoflops.params_name, params_unit))
    ax.set_ylabel(style.labelled(isoflops.output, unit))
    if isoflops.beyond.any():
        ax.plot([], [], color=style.GREY, ls=":", label="past the longest run")
    # Above the axes, where it hides no curve, however many there are.
    place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.0, "ncols": 2}
    style.legend(ax, title="spent on each size (★ best)", title_fontsize=8.5, alignment="left", **place)
    return style.finish(ax)


DRAWS = 1_000
"""Draws of the Laplace approximation of a fitted law that are shown."""

Posterior = LawPosterior | LawFit | LawBootstrap | pd.DataFrame | Mapping[str, ArrayLike]


def plot_law_posterior(
    law: Posterior,
    x: str = "exponent",
    y: str | None = None,
    *,
    levels: tuple[float, ...] = (0.5, 0.9),
    units: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Posterior of one parameter of a law, or of two jointly.

    Args:
        law: Law of a frontier; a law fitted by `fit_law`, by its bootstrap or its Laplace approximation; or
            draws of any law's parameters, a frame or a mapping.
        x: Parameter on the horizontal axis, such as "alpha" of Chinchilla's law.
        y: Parameter on the vertical axis; without one, the density of `x` alone.
        levels: Shares of probability of the regions drawn, or of the nested intervals of one parameter.
        units: Parameter to unit; an exponent has none.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ConfigError: for a parameter that the law does not have, or without a finite draw.
        LawError: for a fitted law of as many parameters as points.
    """
    draws = _draws_of(law, [x] if y is None else [x, y])
    ax = style.axes_or_new(ax)
    units = units or {}
    straight = isinstance(law, LawPosterior) and law.logarithmic and x == "slope"
    ax.set_xlabel(style.labelled(x, units.get(x, "no unit" if straight or "exponent" in x else None)))
    if y is None:
        _density(ax, draws[x], levels)
        ax.set_ylabel("probability density")
        # Room for the legend above the curve.
        ax.set_ylim(0, 1.4 * ax.get_ylim()[1])
        style.legend(ax, loc="upper left")
        return style.finish(ax, grid="x")
    _joint(ax, draws[x], draws[y], levels)
    ax.set_ylabel(style.labelled(y, units.get(y)))
    style.legend(ax)
    return style.finish(ax)


def _draws_of(law: Posterior, names: list[str]) -> dict[str, Array]:
    if isinstance(law, LawPosterior):
        table = {name: draws.values for name, draws in law.draws.items()}
    elif isinstance(law, LawBootstrap):
        table = law.values
    else:
        table = pd.DataFrame(law.sample(DRAWS)) if isinstance(law, LawFit) else law
    absent = [name for name in names if name not in table]
    if absent:
        raise ConfigError(
            f"the law has no parameter {absent[0]!r}; it has {', '.join(map(str, table))}",
            parameter=absent[0],
        )
    draws = {name: np.asarray(table[name], dtype=np.float64).ravel() for name in names}
    known = np.logical_and.reduce([np.isfinite(values) for values in draws.values()])
    if not known.any():
        raise ConfigError(f"{names[0]!r} has no finite draw; there is nothing to show", parameter=names[0])
    return {name: values[known] for name, values in draws.items()}


def _smoothed(values: Array) -> tuple[Array, Array]:
    """Kernel density on a grid; a parameter without spread becomes a spike."""
    from scipy.stats import gaussian_kde

    low, high = style.padded(values, 0.25)
    grid = np.linspace(low, high, 300)
    if np.ptp(values) <= 1e-12 * abs(values[0]):
        return grid, np.where(np.arange(300) == 150, 1.0, 0.0)
    return grid, gaussian_kde(values)(grid)


def _density(ax: Axes, values: Array, levels: tuple[float, ...]) -> None:
    grid, density = _smoothed(values)
    ax.plot(grid, density, color=style.BLUE, lw=1.5)
    for level, alpha in zip(
        sorted(levels, reverse=True), style.FAN.get(len(levels), (0.2,) * 9), strict=False
    ):
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        inside = (grid >= low) & (grid <= high)
        name = f"{100 * level:g} %: {low:.3g} to {high:.3g}"
        ax.fill_between(grid[inside], density[inside], color=style.BLUE, alpha=alpha, lw=0, label=name)
    mean = float(values.mean())
    ax.axvline(mean, color=style.INK, lw=1, ls="--", label=f"mean {mean:.3g}")


def _grid(values: Array) -> Array:
    """Places around draws; a parameter that is never negative, such as a floor, is not smeared below zero."""
    low, high = style.padded(values, 0.15)
    return np.linspace(max(low, 0.0) if values.min() >= 0 else low, high, MASS_CELLS)


def _joint(ax: Axes, x: Array, y: Array, levels: tuple[float, ...]) -> None:
    """Draws, and the smallest regions that hold given shares of the probability."""
    from scipy.stats import gaussian_kde

    ax.plot(x, y, ".", color=style.BLUE, ms=3, alpha=0.45, mew=0, label=f"{len(x)} posterior draws")
    ax.plot(x.mean(), y.mean(), "D", color=style.INK, ms=6, label=f"mean ({x.mean():.3g}, {y.mean():.3g})")
    spread = np.ptp(x) > 0 and np.ptp(y) > 0 and abs(np.corrcoef(x, y)[0, 1]) < 1 - 1e-9
    if not spread or len(x) < 10:
        return
    across, up = (_grid(values) for values in (x, y))
    kernel = gaussian_kde(np.stack([x, y]))
    density = kernel(np.stack([g.ravel() for g in np.meshgrid(across, up)])).reshape(MASS_CELLS, MASS_CELLS)
    # Heights exceeded by the stated shares of the draws bound the regions of highest density.
    own = kernel(np.stack([x, y]))
    for level, dashes in zip(sorted(levels), style.DASHES, strict=False):
        height = np.quantile(own, 1 - level)
        ax.contour(across, up, density, [height], colors=style.INK, linewidths=1.1, linestyles=dashes)
        ax.plot([], [], color=style.INK, lw=1.1, ls=dashes, label=f"{100 * level:g} % region")
