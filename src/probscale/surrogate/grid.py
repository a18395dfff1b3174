"""Expert for curves on a shared axis grid: exact inference through the product of configurations and axis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probscale.encode.encoder import Encoder
from probscale.model.divergence import DivergenceModel
from probscale.model.grid import GridData
from probscale.model.grid_posterior import GridQuery, GridState, solve_grid
from probscale.model.layout import LabelBlock, Layout
from probscale.model.means import Rows
from probscale.model.posterior import Component, CurveBlock, Tail
from probscale.model.transforms import OutputTransform
from probscale.runs import RunLog
from probscale.surrogate.beyond import run_tail, share_beyond
from probscale.surrogate.rows import rows_of, sharing_of
from probscale.surrogate.untold import Untold, lines_of

Array = NDArray[np.float64]


def config_layout(encoder: Encoder) -> Layout:
    """Columns of a configuration: those of a row without progress and run."""
    dropped = len(encoder.progress)
    names = encoder.continuous[: len(encoder.continuous) - dropped]
    labels = tuple(
        LabelBlock(
            item.name,
            item.code - dropped,
            tuple(c - dropped for c in item.text),
            item.level,
            mirrored=item.mirrored,
        )
        for item in encoder.labels
    )
    sizes = tuple(i for i in encoder.sizes if i < len(names))
    return Layout(names, sizes, (), labels, None, sharing=sharing_of(encoder, labels))


def config_rows(encoder: Encoder, configs: pd.DataFrame) -> torch.Tensor:
    """Coordinates and labels of configurations, (configs, columns)."""
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(encoder.encode_configs(configs), axis=1)))


def axis_coordinates(encoder: Encoder, at: Array) -> torch.Tensor:
    """Standardised logarithms of axis values."""
    return torch.from_numpy((encoder.axis.log(at) - encoder.axis.centre) / encoder.axis.spread)


@dataclass(frozen=True)
class GridExpert:
    """Fitted model of curves on a shared grid; same verbs as `Expert`.

    Attributes:
        encoder: Configurations to rows.
        transform: Outputs to the modelled scale.
        state: Posterior given all cells.
        grid: Axis values of the grid, (grid,).
        members: Run codes of the runs, (runs,).
        tail: Calibrated spread of new runs.
        prefix_tail: Calibrated spread of runs that are continued.
        beyond: Factor on the spread for configurations larger or longer than any observed.
        size_default: Logarithm of the model size assumed where none is given.
        largest: Largest observed logarithms of model size and axis value.
        divergence: Probability of divergence; None when no run diverged.
    """

    encoder: Encoder
    transform: OutputTransform
    state: GridState
    grid: Array
    members: Array
    tail: Tail
    prefix_tail: Tail
    beyond: float
    size_default: float
    largest: tuple[float, float]
    divergence: DivergenceModel | None = None

    def rows(self, configs: pd.DataFrame, runs: Array, index: NDArray[np.intp], at: Array) -> Rows:
        """Rows of points; see `Encoder.encode`."""
        return rows_of(self.encoder.encode(configs, runs, index, at), self.size_default)

    def block(self, configs: pd.DataFrame, runs: Array, at: Array) -> CurveBlock:
        """Posterior of configurations at axis values.

        Args:
            configs: One row per asked curve.
            runs: Run codes, (configs,): a code of the training data continues that run.
            at: Axis values, (configs, points).
        """
        member = member_of(self.members, runs)
        query = GridQuery(
            config_rows(self.encoder, configs), axis_coordinates(self.encoder, at), torch.from_numpy(member)
        )
        location, variance = self.state.marginals(query)
        part = Component(
            1.0,
            location.numpy(),
            variance.numpy(),
            self.state.noise(query).numpy(),
            lambda generator, n: self.state.draw(query, generator, n),
            lambda: self.state.covariance(query).numpy(),
        )
        last = self.rows(configs, runs, np.arange(len(configs)), at.max(axis=1))
        diverges = None if self.divergence is None else self.divergence.probability(last)
        every = self.rows(configs, runs, np.repeat(np.arange(len(configs)), at.shape[1]), at.ravel())
        tail = self._tail_for(share_beyond(every, self.largest).reshape(at.shape), member >= 0)
        return CurveBlock(self.transform, (part,), tail, prob_diverge=diverges)

    def begun(self, log: RunLog, codes: Array) -> GridExpert:
        """The expert itself: all runs of a log are among its cells."""
        return self

    def extended(
        self, more: RunLog, codes: Array, where: NDArray[np.intp], untold: Untold | None = None
    ) -> GridExpert:
        """The expert after further points, parameters unchanged; axis values off the grid widen it.

        Args:
            more: Log with the new points.
            codes: Run codes of its runs.
            where: Positions of the points that are new.
            untold: New runs that leave out what all runs of the fit have.

        Cost: One solve; see `solve_grid`.
        """
        at = more.points[more.roles.axis].to_numpy(dtype=np.float64)[where]
        y = self.transform.forward(more.points[more.output].to_numpy(dtype=np.float64)[where])
        data = self.state.data
        y = np.where(np.isfinite(y), y, float(data.y[data.seen].min()))
        grid = np.union1d(self.grid, at)
        touched = np.unique(more.codes[where])
        new = touched[member_of(self.members, codes[touched]) < 0]
        members = np.append(self.members, codes[new])
        x = torch.cat([data.x, config_rows(self.encoder, more.configs.iloc[new])]) if len(new) else data.x
        cells, seen = np.zeros((len(members), len(grid))), np.zeros((len(members), len(grid)), dtype=bool)
        old = np.searchsorted(grid, self.grid)
        cells[: len(data), old], seen[: len(data), old] = data.y.numpy(), data.seen.numpy()
        place = (member_of(members, codes[more.codes[where]]), np.searchsorted(grid, at))
        cells[place], seen[place] = y, True
        axis = axis_coordinates(self.encoder, grid)
        strays = data.strays
        if strays is not None or untold is not None:
            known = np.zeros((len(data), 3)) if strays is None else strays.numpy()
            added = np.zeros((more.n_runs, 3))
            if untold is not None:
                end = float(self.encoder.axis.log(self.grid)[-1])
                stations = untold.stations(at, more.codes[where], self.encoder.axis, end)
                moves = untold.moves(partial(self._means_of, stations))
                added[untold.runs] = lines_of(moves, axis_coordinates(self.encoder, stations).numpy())
            strays = torch.from_numpy(np.concatenate([known, added[new]]))
        widened = GridData(x, axis, torch.from_numpy(cells), torch.from_numpy(seen), strays)
        state = solve_grid(self.state.process, widened, self.state.device)
        return replace(self, state=state, grid=grid, members=members)

    def _means_of(self, at: Array, configs: pd.DataFrame) -> Array:
        """Means of new configurations at axis values, (configs, points)."""
        member = torch.full((len(configs),), -1)
        query = GridQuery(config_rows(self.encoder, configs), axis_coordinates(self.encoder, at), member)
        return self.state.marginals(query)[0].numpy()

    def _tail_for(self, outside: Array, continued: NDArray[np.bool_]) -> Tail:
        return run_tail(self.tail, self.prefix_tail, self.beyond, outside, continued)


def member_of(members: Array, codes: Array) -> NDArray[np.intp]:
    """Position of each code among the members, −1 where it is not one of them."""
    order = np.argsort(members)
    place = np.searchsorted(members, codes, sorter=order).clip(0, len(members) - 1)
    found = order[place]
    return np.where(members[found] == codes, found, -1)
