"""Figures of the solvable model: loss curves under their frontier, local exponents, and the phase diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from probscale.errors import ConfigError
from probscale.plot import style
from probscale.theory.optimum import Frontier
from probscale.theory.phases import EXAMPLE_POINTS, PHASES, boundaries, phase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

# Paul Tol's light scheme: distinct for colour-blind readers, and dark text stays legible on every shade.
PHASE_COLOURS = {
    "Ia": "#77AADD",
    "Ib": "#99DDFF",
    "Ic": "#44BB99",
    "II": "#EEDD88",
    "III": "#EE8866",
    "IVa": "#FFAABB",
    "IVb": "#DDDDDD",
}


def plot_frontier(
    curves: Mapping[float, tuple[ArrayLike, ArrayLike]],
    frontier: Frontier | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Loss curves against compute, one per parameter count, with the compute-optimal frontier below them.

    Args:
        curves: Parameter count to (compute, loss), each of shape (points,).
        frontier: Frontier to draw in black, with its closed-form exponent in the legend.
        ax: Axes to draw on; new ones by default.
        title: Title; the phase of the frontier by default.

    Returns:
        The axes.

    Raises:
        ConfigError: if there is no curve.
    """
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    if not curves:
        raise ConfigError("curves is empty; give at least one parameter count with its (compute, loss)")
    ax = style.axes_or_new(ax)
    sizes = sorted(curves)
    norm = LogNorm(sizes[0], sizes[-1] if len(sizes) > 1 else sizes[0] * 10)
    shades = matplotlib.colormaps[style.SEQUENTIAL]
    for size in sizes:
        compute, loss = (np.asarray(values, dtype=float) for values in curves[size])
        shown = compute > 0
        ax.loglog(compute[shown], loss[shown], color=shades(0.92 * norm(size)), linewidth=1.3)
    if frontier is not None:
        label = f"frontier, tends to compute$^{{-{frontier.asymptotic.loss:.3g}}}$"
        ax.loglog(frontier.compute, frontier.loss, color="black", linewidth=2.4, label=label)
        ax.legend(frameon=False)
    bar = ax.figure.colorbar(ScalarMappable(norm, shades), ax=ax)
    bar.set_label("parameters")
    ax.set_xlabel(r"compute (parameters $\times$ steps $\times$ batch)")
    ax.set_ylabel("expected loss")
    ax.set_title(title or (f"Phase {frontier.asymptotic.phase}" if frontier is not None else "Loss curves"))
    return style.finish(ax)


def plot_local_exponents(frontiers: Sequence[Frontier], *, ax: Axes | None = None) -> Axes:
    """Local loss exponents along frontiers, solid, against the closed forms, dashed.

    Args:
        frontiers: One frontier per phase; colours follow the phase.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ConfigError: if there is no frontier.
    """
    if not frontiers:
        raise ConfigError("frontiers is empty; give at least one")
    ax = style.axes_or_new(ax)
    markers: dict[str, str] = dict(zip(PHASES, "osD^vPX", strict=True))
    for each in frontiers:
        name = each.asymptotic.phase
        line = ax.plot(
            each.params, each.loss_exponent, marker=markers[name], markersize=5, label=name, color=_ink(name)
        )[0]
        ax.axhline(each.asymptotic.loss, color=line.get_color(), linestyle="--", linewidth=1)
    style.log_scale(ax, "x", np.concatenate([each.params for each in frontiers]))
    ax.set_xlabel("optimal parameters")
    ax.set_ylabel("loss exponent (dashed: closed form)")
    ax.set_title("Local exponents of the frontier")
    ax.legend(frameon=False, ncols=4, title="phase")
    return style.finish(ax)


def _ink(name: str) -> tuple[float, ...]:
    """Phase colour, darkened for lines."""
    from matplotlib.colors import to_rgb

    return tuple(0.65 * channel for channel in to_rgb(PHASE_COLOURS[name]))


def plot_phase_diagram(
    *,
    samples: tuple[ArrayLike, ArrayLike] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    limit: float = 1.6,
    ax: Axes | None = None,
) -> Axes:
    """The (2a, 2b) plane coloured by phase.

    Args:
        samples: Posterior samples (a, b) to scatter on it.
        points: Named (a, b) to mark; the example of each phase by default, none for an empty mapping.
        limit: Largest a and b shown.
        ax: Axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ConfigError: if `limit` leaves some phase out of sight.
    """
    from matplotlib.patheffects import withStroke

    if not (np.isfinite(limit) and limit > 0.6):
        raise ConfigError(f"limit must exceed 0.6 to show every phase; got {limit!r}", limit=limit)
    ax = style.axes_or_new(ax)
    edges = np.linspace(0, limit, 801)
    middle = (edges[1:] + edges[:-1]) / 2
    names = np.asarray(phase(middle[None, :], middle[:, None]))
    codes = np.searchsorted(sorted(PHASES), names)
    _fill_phases(ax, edges, np.where(names == "none", -1, codes))
    for line in boundaries():
        # A ray is cut where the picture ends.
        (x0, y0), (x1, y1) = line.start, np.minimum(line.end, limit)
        ax.plot([2 * x0, 2 * x1], [2 * y0, 2 * y1], color="black", linewidth=0.9)
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for name, (a, b) in (EXAMPLE_POINTS if points is None else points).items():
        # Above the samples, with an edge: both may lie at one place.
        ax.annotate(
            name, (2 * a, 2 * b), (5, 4), textcoords="offset points", fontsize=10, path_effects=halo, zorder=6
        )
        ax.plot(2 * a, 2 * b, "o", color="black", mec="white", mew=0.8, markersize=5, zorder=5)
    if samples is not None:
        a, b = (np.asarray(values, dtype=float) for values in samples)
        ax.scatter(2 * a, 2 * b, s=8, color="black", alpha=0.35, linewidths=0, label="posterior samples")
        ax.legend(frameon=True, loc="upper left")
    ax.annotate("no\npower law", (0.06, 0.1), fontsize=8)
    ax.set(xlim=(0, 2 * limit), ylim=(0, 2 * limit), aspect="equal")
    ax.set_xlabel("2a (decay of the feature variance)")
    ax.set_ylabel("2b (decay of the squared target)")
    ax.set_title("Phases of compute-optimal scaling")
    return style.finish(ax, grid="none")


def _fill_phases(ax: Axes, edges: np.ndarray, codes: np.ndarray) -> None:
    """Colour each cell; cells without a power law stay white."""
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(["#FFFFFF", *(PHASE_COLOURS[name] for name in sorted(PHASES))])
    ax.pcolormesh(2 * edges, 2 * edges, codes + 1, cmap=colours, vmin=0, vmax=len(PHASES), rasterized=True)
