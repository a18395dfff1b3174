"""Chinchilla approaches 1 and 2: compute-optimal sizes read off the runs, without a law of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import LawError
from probscale.laws.inputs import read_array, read_inputs
from probscale.laws.result import check_level
from probscale.randomness import count_of, generator_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OptimalAllocation", "envelope_allocation", "isoflop_allocation"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OptimalAllocation:
    """N_opt = k_N C^a and D_opt = k_D C^b, with C = 6ND.

    Attributes:
        params_exponent: a.
        tokens_exponent: b.
        params_coefficient: k_N.
        tokens_coefficient: k_D.
        points: Optimum per budget: columns compute, params, tokens, loss.
        draws: Bootstrap draws of a, (resamples,).
    """

    params_exponent: float
    tokens_exponent: float
    params_coefficient: float
    tokens_coefficient: float
    points: pd.DataFrame
    draws: Array

    def params(self, compute: ArrayLike) -> Array:
        """Optimal parameter count at given budgets, FLOPs."""
        return self.params_coefficient * read_array("compute", compute) ** self.params_exponent

    def tokens(self, compute: ArrayLike) -> Array:
        """Optimal token count at given budgets, FLOPs."""
        return self.tokens_coefficient * read_array("compute", compute) ** self.tokens_exponent

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Percentile bootstrap interval of `params_exponent`.

        Raises:
            LawError: if `level` is not in (0, 1), or no resample had an exponent.
        """
        level = check_level(level)
        if not len(self.draws):
            raise LawError(
                "no resample of the runs has an exponent, so it has no interval; ask for resamples"
            )
        lower, upper = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2])
        return float(lower), float(upper)


def envelope_allocation(
    *,
    run: ArrayLike,
    params: ArrayLike,
    tokens: ArrayLike,
    loss: ArrayLike,
    bins: int = 40,
    resamples: int = 300,
    seed: int = 0,
) -> OptimalAllocation:
    """Approach 1: the run with the lowest loss at each compute, over whole training curves.

    Args:
        run: Label of each point's curve.
        params: Parameter count.
        tokens: Tokens seen so far.
        loss: Training loss there.
        bins: Budgets, evenly spaced in the logarithm; each curve is interpolated to them.
        resamples: Bootstrap resamples of whole runs.
        seed: Seed of the resamples.

    Raises:
        LawError: if inputs are not positive or fewer than two sizes ever win.

    Source: Hoffmann et al. 2022, section 3.1.
    """
    data = read_inputs(
        "envelope_allocation",
        ("params", "tokens", "loss"),
        {"params": params, "tokens": tokens, "loss": loss},
    )
    bins, resamples = count_of(bins, "bins", 2), count_of(resamples, "resamples", 0)
    labels, code = np.unique(np.asarray(run).ravel(), return_inverse=True)
    if code.size != data["loss"].size:
        raise LawError(
            f"run has {code.size} entries for {data['loss'].size} points; pass one label per point"
        )
    flops = 6 * data["params"] * data["tokens"]
    budgets = np.geomspace(flops.min(), flops.max(), bins + 2)[1:-1]
    losses, sizes = np.full((labels.size, bins), np.nan), np.empty(labels.size)
    for i in range(labels.size):
        rows = np.flatnonzero(code == i)
        rows = rows[np.argsort(flops[rows])]
        sizes[i] = data["params"][rows[0]]
        curve = np.interp(
            np.log(budgets), np.log(flops[rows]), np.log(data["loss"][rows]), left=np.nan, right=np.nan
        )
        losses[i] = np.exp(curve)
    rng = generator_of(seed)
    picks = [np.arange(labels.size), *rng.integers(0, labels.size, (resamples, labels.size))]
    fronts = [_envelope(losses[pick], sizes[pick], budgets) for pick in picks]
    return _allocation(fronts)


def _envelope(losses: Array, sizes: Array, budgets: Array) -> tuple[Array, Array, Array]:
    """Budgets inside the range of competing curves, with the winner's size and loss."""
    rivals = np.isfinite(losses).sum(axis=0) >= 2
    filled = np.where(np.isfinite(losses), losses, np.inf)[:, rivals]
    if not rivals.any():
        return np.empty(0), np.empty(0), np.empty(0)
    winner = filled.argmin(axis=0)
    # A win by the smallest or the largest size only bounds the optimum.
    inner = (sizes[winner] > sizes.min()) & (sizes[winner] < sizes.max())
    return budgets[rivals][inner], sizes[winner][inner], filled.min(axis=0)[inner]


def isoflop_allocation(
    *,
    compute: ArrayLike,
    params: ArrayLike,
    loss: ArrayLike,
    resamples: int = 300,
    seed: int = 0,
) -> OptimalAllocation:
    """Approach 2: the vertex of a parabola in log N through the losses at each compute budget.

    Args:
        compute: Budget of each run, FLOPs; equal within an isoFLOP set (to 1 %).
        params: Parameter count.
        loss: Final loss.
        resamples: Bootstrap resamples of the runs within each budget.
        seed: Seed of the resamples.

    Raises:
        LawError: if inputs are not positive, or fewer than two budgets have a minimum among three or
            more sizes.

    Source: Hoffmann et al. 2022, section 3.2.
    """
    data = read_inputs(
        "isoflop_allocation",
        ("compute", "params", "loss"),
        {"compute": compute, "params": params, "loss": loss},
    )
    resamples = count_of(resamples, "resamples", 0)
    order = np.argsort(data["compute"])
    flops, size, loss_ = (data[name].ravel()[order] for name in ("compute", "params", "loss"))
    budget = np.concatenate([[0], np.cumsum(np.diff(np.log(flops)) > 0.01)])
    sets = [np.flatnonzero(budget == i) for i in range(int(budget[-1]) + 1)]
    rng = generator_of(seed)
    fronts = [_vertices([(flops[rows], size[rows], loss_[rows]) for rows in sets])]
    for _ in range(resamples):
        drawn = [rows[rng.integers(0, rows.size, rows.size)] for rows in sets]
        fronts.append(_vertices([(flops[rows], size[rows], loss_[rows]) for rows in drawn]))
    return _allocation(fronts)


def _vertices(sets: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    """Vertex of each convex parabola that lies inside the sizes of its set."""
    found = []
    for flops, sizes, losses in sets:
        at = np.log(sizes)
        if np.unique(at).size < 3:
            continue
        centre = at.mean()
        curvature, slope, height = np.polyfit(at - centre, losses, 2)
        vertex = centre - slope / (2 * curvature) if curvature > 0 else np.nan
        if at.min() < vertex < at.max():
            found.append(
                (float(np.exp(np.log(flops).mean())), np.exp(vertex), height - slope**2 / (4 * curvature))
            )
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _allocation(fronts: list[tuple[Array, Array, Array]]) -> OptimalAllocation:
    """Log-linear regression of the optimum on compute; the first front is the data's, the rest resamples."""
    import pandas as pd

    lines = [_line(np.log(flops), np.log(sizes)) for flops, sizes, _ in fronts]
    if lines[0] is None:
        raise LawError(
            f"only {fronts[0][0].size} budgets have an optimum strictly inside the sizes given, too few "
            f"for an "
            "exponent; add smaller and larger models at several budgets",
            budgets=int(fronts[0][0].size),
        )
    exponent, intercept = lines[0]
    flops, sizes, losses = fronts[0]
    points = {"compute": flops, "params": sizes, "tokens": flops / (6 * sizes), "loss": losses}
    draws = np.array([line[0] for line in lines[1:] if line is not None])
    coefficient = float(np.exp(intercept))
    return OptimalAllocation(
        exponent, 1 - exponent, coefficient, 1 / (6 * coefficient), pd.DataFrame(points), draws
    )


def _line(x: Array, y: Array) -> tuple[float, float] | None:
    if x.size < 2 or np.ptp(x) < 1e-9:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)
