"""One fitted Gaussian process of a log, with everything needed to ask it about new configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probscale.encode.encoder import Encoder
from probscale.model.divergence import DivergenceModel
from probscale.model.exact import ExactState
from probscale.model.gp import CurveProcess, Observations
from probscale.model.means import Rows
from probscale.model.outputs import OUTPUT, RUN, OutputsProcess, errors_like, with_output, without_output
from probscale.model.posterior import CurveBlock, Tail
from probscale.model.strays import weighed
from probscale.model.succession import Succession
from probscale.model.transforms import OutputTransform
from probscale.model.view import component_of
from probscale.runs import RunLog
from probscale.surrogate.averaging import shares_at
from probscale.surrogate.beyond import MARGIN, exceeds, expected_beyond, larger_begun, share_beyond
from probscale.surrogate.exact_untold import doubt_of
from probscale.surrogate.known_points import points_of, thinned
from probscale.surrogate.lone_values import told_apart
from probscale.surrogate.rows import rows_of
from probscale.surrogate.spikes import without_spikes
from probscale.surrogate.text_trust import MOST_RENEWED, has_new_label, reads_labels, renewed
from probscale.surrogate.unseen import has_unseen
from probscale.surrogate.untold import Untold

Array = NDArray[np.float64]

PREFIX_POINTS = 12
"""Points of an observed prefix that enter a prediction when the log was too long to hold it."""


@dataclass(frozen=True)
class Siblings:
    """Outputs that share one Gaussian process, seen from one of them.

    Attributes:
        index: Position of this output.
        outputs: Names of all.
        transforms: Of each output to the modelled scale.
        companion: Scale of the spread of this output where others were measured further along the run; None:
            as elsewhere.
    """

    index: int
    outputs: tuple[str, ...]
    transforms: tuple[OutputTransform, ...]
    companion: float | None = None


@dataclass(frozen=True)
class Expert:
    """Fitted model of some runs.

    Attributes:
        encoder: Configurations to rows.
        transform: Outputs to the modelled scale.
        states: Gaussian processes of the mixture, each conditioned on the data.
        weights: Their shares, (states,); with a takeover those in the middle of the axis.
        takeover: Logarithm of the axis value from which the first Gaussian process, whose mean is a law, has
            the larger share; see `averaging.shares_at`. None: shares are the same everywhere.
        tail: Calibrated spread, for configurations within the observed scales.
        beyond: Factor on the spread for configurations larger or longer than any observed.
        size_default: Logarithm of the model size assumed where none is given.
        largest: Largest observed logarithms of model size and axis value.
        divergence: Probability of divergence; None when no run diverged.
        continued: Scale of the spread of runs whose beginning is among the data, in place of the tail's and
            of `beyond`; None: as new runs.
        unseen: Scale of the spread of configurations with a level value that no run has, in place of the
            tail's; None: as known values.
        text_gain: Log density that left-out values gained by their texts; None where there was none to read.
        siblings: Outputs that share the Gaussian processes; None where there is one output.
        trust: By what runs of values that the fit did not know have multiplied the shares of texts.
        decided: Points of the log on which text, transform and `beyond` were decided; zero: not known.
    """

    encoder: Encoder
    transform: OutputTransform
    states: tuple[ExactState, ...]
    weights: Array
    tail: Tail
    beyond: float
    size_default: float
    largest: tuple[float, float]
    divergence: DivergenceModel | None = None
    continued: float | None = None
    unseen: float | None = None
    text_gain: float | None = None
    siblings: Siblings | None = None
    decided: int = 0
    takeover: float | None = None
    trust: float = 1.0

    def rows(
        self,
        configs: pd.DataFrame,
        runs: Array,
        index: NDArray[np.intp],
        at: Array,
        output: int | None = None,
    ) -> Rows:
        """Rows of points; see `Encoder.encode`. `output`: position among siblings, by default the own."""
        rows = rows_of(self.encoder.encode(configs, runs, index, at), self.size_default)
        if self.siblings is None:
            return rows
        place = self.siblings.index if output is None else output
        placed = with_output(rows, torch.from_numpy(runs[index]), place)
        return errors_like(placed, self.states[0].data.rows)

    @property
    def run_column(self) -> int | None:
        """Column of rows that holds the code of the run; None where runs do not matter."""
        return self.encoder.run_column if self.siblings is None else RUN

    def block(self, configs: pd.DataFrame, runs: Array, at: Array) -> CurveBlock:
        """Posterior of configurations at axis values.

        Args:
            configs: One row per asked curve.
            runs: Run codes, (configs,): a code of the training data continues that run.
            at: Axis values, (configs, points).
        """
        count, points = at.shape
        index = np.repeat(np.arange(count), points)
        rows = self.rows(configs, runs, index, at.ravel())
        tail = self.tail_at(rows, (count, points))
        weights = [float(weight) for weight in self.weights]
        if self.takeover is not None:
            weights = list(
                shares_at(self.weights, self.takeover, rows.progress.numpy().reshape(count, points))
            )
        parts = [
            component_of(state, rows, weight, (count, points))
            for state, weight in zip(self.states, weights, strict=True)
        ]
        diverges = None
        if self.divergence is not None:
            last = np.arange(count) * points + at.argmax(axis=1)
            asked = rows.take(torch.from_numpy(last))
            diverges = self.divergence.probability(asked if self.siblings is None else without_output(asked))
        draws = None if self.takeover is None else Succession(tuple(parts), tail)
        return CurveBlock(self.transform, tuple(parts), tail, prob_diverge=diverges, draws=draws)

    def is_beyond(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows lie beyond the observed model sizes or axis values; see `exceeds`, (rows,).

        Finals: or are shorter for their size than any observed.
        """
        scale = getattr(self.own_process(0).mean, "scale", None)
        outside = exceeds(rows, self.largest)
        if scale is None or scale.shortest is None:
            return outside
        return outside | ((rows.progress - rows.size).numpy() < scale.shortest - MARGIN)

    def outside(self, rows: Rows) -> Array:
        """How much of the spread beyond the observed scales rows take, from zero to one, (rows,)."""
        if self.encoder.axis.curves:
            return share_beyond(rows, self.largest)
        return self.is_beyond(rows).astype(np.float64)

    @property
    def held_runs(self) -> int:
        """Number of runs whose points the data hold."""
        column, rows = self.run_column, self.states[0].data.rows
        return len(rows) if column is None else len(np.unique(rows.x[:, column].numpy()))

    @property
    def outer(self) -> Tail:
        """Spread beyond the observed scales, without `beyond`."""
        return expected_beyond(self.encoder).outer(self.tail)

    def last_seen(self, rows: Rows) -> Array:
        """Logarithm of the last axis value seen of the run of each row; -inf without any, (rows,)."""
        column, data = self.encoder.run_column, self.states[0].data.rows
        if column is None:
            return np.full(len(rows), -np.inf)
        known, at = data.x[:, column].numpy(), data.progress.numpy()
        if self.siblings is not None:
            own = data.x[:, OUTPUT].numpy() == self.siblings.index
            known, at = known[own], at[own]
        codes, asked = np.unique(rows.x[:, column].numpy(), return_inverse=True)
        last = np.full(len(codes), -np.inf)
        where = np.searchsorted(codes, known).clip(0, len(codes) - 1)
        mine = codes[where] == known
        np.maximum.at(last, where[mine], at[mine])
        return last[asked]

    def is_accompanied(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows belong to runs of which another output was measured further, (rows,)."""
        if self.siblings is None:
            return np.zeros(len(rows), dtype=bool)
        data = self.states[0].data.rows
        return further_elsewhere(data, self.siblings.index, rows.x[:, RUN].numpy())

    def tail_at(self, rows: Rows, shape: tuple[int, int]) -> Tail:
        """Calibrated spread at rows of curves, arrays of `shape` or numbers.

        Args:
            rows: Points of configurations, those of one next to each other.
            shape: (configs, points).
        """
        outside = self.outside(rows).reshape(shape)
        scale = self.tail.scale
        if self.unseen is not None:
            new = has_unseen(self.states[0], rows).reshape(shape).any(axis=1, keepdims=True)
            scale = np.where(new, self.unseen, scale)
        scale = self.beyond**outside * scale
        if self.continued is not None:
            last = self.last_seen(rows).reshape(shape).max(axis=1, keepdims=True)
            size, at = (part.numpy().reshape(shape) for part in (rows.size, rows.progress))
            begun = larger_begun(scale, self.continued, at - np.where(np.isfinite(last), last, 0.0))
            begun = np.where(size > self.largest[0] + MARGIN, begun, self.continued)
            scale = np.where(np.isfinite(last), begun, scale)
        if self.siblings is not None and self.siblings.companion is not None:
            led = self.is_accompanied(rows).reshape(shape).any(axis=1, keepdims=True)
            scale = np.where(led, self.siblings.companion, scale)
        share, spread = (
            outside * getattr(self.outer, name) + (1 - outside) * getattr(self.tail, name)
            for name in ("share", "spread")
        )
        return Tail(scale, share, spread)

    def begun(self, log: RunLog, codes: Array) -> Expert:
        """The expert with the beginnings of asked runs that a long log left out of its data."""
        column, asked = self.run_column, codes[codes >= 0]
        if column is None or not len(asked):
            return self
        absent = asked[~np.isin(asked, self.states[0].data.rows.x[:, column].numpy())]
        if not len(absent):
            return self
        known, where = points_of(log, absent, () if self.siblings is None else self.siblings.outputs)
        most = PREFIX_POINTS * len(np.unique(absent))
        where = where[thinned(log.codes[where], most, np.random.default_rng(0))]
        return self.extended(log, known, where) if len(where) else self

    def extended(
        self, more: RunLog, codes: Array, where: NDArray[np.intp], untold: Untold | None = None
    ) -> Expert:
        """The expert after further points, parameters unchanged.

        Args:
            more: Log with the new points.
            codes: Run codes of its runs.
            where: Positions of the points that are new.
            untold: New runs that leave out what all runs of the fit have.
        """
        if untold is None:
            return self._after(self.states, [self._news(more, codes, where)] * len(self.states))
        doubts = [doubt_of(self, state, more, codes, where, untold) for state in self.states]
        news = [
            replace(self, states=(doubt.state,))._news(more, codes, where, doubt.variances)
            for doubt in doubts
        ]
        return self._after(tuple(doubt.state for doubt in doubts), news)

    def _news(
        self, more: RunLog, codes: Array, where: NDArray[np.intp], doubt: Sequence[Array] = ()
    ) -> Observations:
        """Further points of all outputs; `doubt`: variances beside the noise, (runs,), for each output."""
        if self.siblings is None:
            new = self._observed(more, codes, where, more.output, self.transform, None, doubt)
            return self._heard(new)
        shown = self.siblings
        return joined(
            [
                self._observed(more, codes, where, output, transform, place, doubt)
                for place, (output, transform) in enumerate(zip(shown.outputs, shown.transforms, strict=True))
            ]
        )

    def _after(self, states: tuple[ExactState, ...], news: list[Observations]) -> Expert:
        """The expert with states that have seen more."""
        pairs = zip(states, news, strict=True)
        new, states = news[0], told_apart(tuple(state.extend(seen) for state, seen in pairs), self.weights)
        after = replace(self, states=states)
        if self._doubts_texts(new.rows):
            told = renewed(states, self.weights, self.trust)
            after = replace(self, states=told.states, trust=told.trust)
        if self.divergence is None:
            return after
        process = after.own_process(self.divergence_state)
        if process is self.divergence.process:
            return after
        return replace(after, divergence=self.divergence.with_process(process))

    def _heard(self, new: Observations) -> Observations:
        """New points of curves, of which spikes have no say; see `without_spikes`."""
        column, state = self.run_column, self.states[0]
        if column is None or not len(new):
            return new
        runs, worse = new.rows.x[:, column].numpy(), 1.0 if self.encoder.roles.goal == "min" else -1.0
        return without_spikes(state, new, runs, state.look(new.rows), worse=worse)

    def own_process(self, state: int) -> CurveProcess:
        """Process of the own output in one of the states."""
        process = self.states[state].process
        if isinstance(process, OutputsProcess):
            return process.each[self.siblings.index if self.siblings else 0]
        return process

    @property
    def divergence_state(self) -> int:
        """Position of the state whose kernel the probability of divergence borrows."""
        assert self.divergence is not None
        return next(i for i in range(len(self.states)) if self.own_process(i) is self.divergence.process)

    def _doubts_texts(self, rows: Rows) -> bool:
        """Whether new rows may tell how far texts of labels are to be trusted."""
        state = self.states[0]
        small = reads_labels(state) and len(state.data) + len(rows) <= MOST_RENEWED
        return small and (self.trust != 1.0 or has_new_label(state, rows))

    def _observed(
        self,
        more: RunLog,
        codes: Array,
        where: NDArray[np.intp],
        output: str,
        transform: OutputTransform,
        place: int | None,
        doubt: Sequence[Array] = (),
    ) -> Observations:
        """Measured points of one output among those at `where`; `doubt` as in `_news`."""
        values = more.points[output].to_numpy(dtype=np.float64)
        where = where[np.isfinite(values[where])]
        at = more.points[more.roles.axis].to_numpy(dtype=np.float64)[where]
        rows = self.rows(more.configs, codes, more.codes[where], at, place)
        y, known = transform.forward(values[where]), self.states[0].data
        # Outputs at or below the floor stand for the smallest value seen.
        lowest = known.y if place is None else known.y[known.rows.x[:, OUTPUT] == place]
        y = np.where(np.isfinite(y), y, float(lowest.min()))
        new = Observations(rows, torch.from_numpy(y), torch.ones(len(y), dtype=torch.float64))
        return weighed(self.states[0], new, doubt[place or 0][more.codes[where]]) if doubt else new


def joined(parts: list[Observations]) -> Observations:
    """Observations one after the other."""
    rows, *others = [part.rows for part in parts]
    for other in others:
        rows = rows.cat(other)
    return Observations(
        rows, torch.cat([part.y for part in parts]), torch.cat([part.weight for part in parts])
    )


def further_elsewhere(data: Rows, output: int, runs: Array) -> NDArray[np.bool_]:
    """Whether another output than `output` was measured further along each run, (runs,).

    Args:
        data: Observed rows with the columns of run and output.
        output: Position of the output.
        runs: Run codes.
    """
    codes, position = np.unique(data.x[:, RUN].numpy(), return_inverse=True)
    own = data.x[:, OUTPUT].numpy() == output
    ends = np.full((2, len(codes)), -np.inf)
    np.maximum.at(ends, ((~own).astype(np.intp), position), data.progress.numpy())
    return np.isin(runs, codes[ends[1] > ends[0] + 1e-9])
