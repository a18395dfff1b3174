"""CurveSurrogate: a fitted model of training runs, asked in user units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.encode.fields import label
from probscale.errors import ConfigError, RunLogError
from probscale.randomness import generator_of
from probscale.runs import RunLog
from probscale.runs.log import check_log
from probscale.runs.order import canonical
from probscale.runs.pools import Configs
from probscale.surrogate.expert import Expert
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.grid import GridExpert
from probscale.surrogate.known_points import asked_codes, places_of, run_codes
from probscale.surrogate.left_out import KnownSettings, Settled, draw_outputs, forecast
from probscale.surrogate.log_outputs import any_finite, finite_points, viewed, with_outputs
from probscale.surrogate.posterior import CurvePosterior
from probscale.surrogate.query import beyond_log, read_at, read_configs
from probscale.surrogate.report import FitReport
from probscale.surrogate.untold import Untold

if TYPE_CHECKING:
    from pathlib import Path

    from probscale.surrogate.best import BestConfig
    from probscale.surrogate.botorch_model import CurveModel

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

POOLED = "all runs"

CurveExpert = Expert | FunctionalExpert | GridExpert
"""A fitted model of some runs, whatever its engine."""


@dataclass(frozen=True, eq=False)
class CurveSurrogate:
    """Joint posterior over the learning curves of a family of runs.

    Made by `fit_surrogate`; every verb returns a new value.

    Attributes:
        log: Runs it has learnt from.
        experts: Fitted models: one of all runs ("all runs"), and one per source where sources are large.
        report: What was fitted, and what was repaired.
        others: The same per further output of the log; `experts` are those of the principal one.
        together: Whether settings that a question leaves out are the same in all of its configurations.
        later: Runs that `condition` brought.
    """

    log: RunLog
    experts: Mapping[str, CurveExpert]
    report: FitReport
    others: Mapping[str, Mapping[str, CurveExpert]] = field(default_factory=dict)
    together: bool = False
    later: frozenset[Any] = frozenset()

    def __repr__(self) -> str:
        log = self.log
        outputs = ", ".join(log.roles.outputs)
        return f"CurveSurrogate({log.n_runs} runs, {log.n_points} points, {outputs} by {log.roles.axis})"

    def predict(self, configs: Configs, at: ArrayLike, *, output: str | None = None) -> CurvePosterior:
        """Joint posterior of the curves of configurations.

        Args:
            configs: DataFrame or list of dicts: configuration, level and role columns. Level values may be
                new. A setting that every run of the log has and a row leaves out, as an absent column or NaN,
                may be any that similar runs had, whatever it is in other rows; the forecast is averaged over
                these, and `left_out` names it. An end that is not given is the asked one. A run column that
                names a run of the log asks for that run's continuation; its configuration is then filled in
                from the log where it is not given.
                Otherwise each row is a new run, one with a name that the log does not have too; such a name
                needs a configuration beside it, and must not be that of a run of the log but for case,
                separators or leading zeros.
            at: Axis values, shape (points,), shared by all, or (configs, points); units of the axis.
            output: Which output of the log to forecast; by default the principal one. What was measured of
                the other outputs of a run counts too.

        Returns:
            Mean, intervals, probabilities and draws, joint over configurations and points, in the units of
            the output; predictive, that is noise of a measurement included.

        Raises:
            ConfigError: if configurations are empty, a value is not accepted, the log has no such output, or
                the name of a run looks like a slip.
            ShapeError: if `at` does not match the configurations.

        Cost: O(configs × points × observations²).

        Example:
            >>> import probscale as ps
            >>> log = ps.simulate_runs("law", n_runs=10, points=3, seed=0)
            >>> surrogate = ps.fit_surrogate(log, embedder=None)
            >>> curves = surrogate.predict([{"params": 1e9}, {"run": "run-00003"}], at=[1e9, 1e10])
            >>> curves.shape, curves.left_out
            ((2, 2), {'learning_rate': 1, 'batch_tokens': 1, 'schedule': 1})
            >>> lower, upper = curves.interval(0.9)
            >>> bool((lower < curves.mean).all()), curves.sample(100).shape
            (True, (100, 2, 2))
        """
        frame = read_configs(configs, self.log)
        values = read_at(at, len(frame), self.log.roles.axis)
        return self._posterior(frame, values, self._output(output))

    def _posterior(self, frame: pd.DataFrame, values: Array, output: str) -> CurvePosterior:
        """Posterior of an output for configurations as `read_configs` returns them, at (configs, points)."""
        codes = asked_codes(frame, self.log)
        experts, log = self._experts(output), viewed(self.log, output)
        asked = self._settled(frame, output)
        blocks = [
            (where, forecast(experts[name].begun(log, codes[where]), ways, codes[where], values[where]))
            for name, (where, ways) in asked.items()
        ]
        left_out = sum((Counter(ways.left_out) for _, ways in asked.values()), Counter[str]())
        run, axis = self.log.roles.run, self.log.roles.axis
        runs = tuple(frame[run].tolist()) if run in frame else None
        again = partial(self._posterior, frame, values, output)
        beyond = beyond_log(frame, values, self.log)
        return CurvePosterior(
            values, frame.index, axis, output, tuple(blocks), again, runs, beyond, dict(left_out)
        )

    def sample_outputs(self, configs: Configs, at: ArrayLike, n: int, *, seed: int = 0) -> dict[str, Array]:
        """Draws of all outputs together, joint over outputs, configurations and points.

        Outputs of a log that is too large for exact inference are modelled apart: then the draws of different
        outputs are independent of each other.

        Args:
            configs: See `predict`.
            at: See `predict`.
            n: Number of draws.
            seed: Same seed, same draws.

        Returns:
            Per output the draws, (n, configs, points).

        Raises:
            ConfigError: as `predict`.
            ShapeError: as `predict`.

        Cost: O((outputs × configs × points)³) up to a few thousand values.
        """
        generator_of(seed)
        frame = read_configs(configs, self.log)
        values = read_at(at, len(frame), self.log.roles.axis)
        codes, outputs = asked_codes(frame, self.log), (self.log.output, *self.others)
        if not self._linked or any(set(known) != set(self.experts) for known in self.others.values()):
            return {
                output: self.predict(configs, at, output=output).sample(n, seed=seed + i)
                for i, output in enumerate(outputs)
            }
        drawn = {output: np.empty((n, *values.shape)) for output in outputs}
        for name, (where, ways) in self._settled(frame, self.log.output).items():
            experts = [self._experts(o)[name].begun(self.log, codes[where]) for o in outputs]
            known = [expert for expert in experts if isinstance(expert, Expert)]
            parts = draw_outputs(known, ways, codes[where], values[where], seed, n)
            for output, part in zip(outputs, parts, strict=True):
                drawn[output][:, where] = part
        return drawn

    def condition(self, more: RunLog) -> CurveSurrogate:
        """The surrogate after more data: new runs, or longer prefixes of known ones; parameters stay.

        A log of some of the outputs is enough, and informs the others.

        Args:
            more: New points, with the roles of the log; points that the log holds already are passed over.
                A new run without a setting that every run of the fit has counts for as little as that
                setting may have moved it; its own continuation does not suffer.

        Returns:
            Another surrogate; this one stays as it is.

        Raises:
            RunLogError: if roles differ, or points contradict the log.

        Cost: O(observations² × new points).
        """
        check_log(more, "condition")
        more = with_outputs(more, self.log.roles)
        log = self.log + more
        more = canonical(more)
        news = self._news(more)
        codes = run_codes(list(more.runs))
        experts = dict(self.experts)
        others = {output: dict(known) for output, known in self.others.items()}
        principal = viewed(news, self.log.output)
        for name, where in self._assigned(more.configs, experts, every=True).items():
            member = np.isin(more.codes, where)
            new = (any_finite(news) if self._linked else finite_points(principal)) & member
            doubted = self._untold(name, more, where)
            if new.any():
                experts[name] = _extended(experts[name], principal, codes, new, doubted)
            for output, known in others.items():
                if name in known:
                    view = viewed(news, output)
                    known[name] = self._followed(known[name], experts[name], view, codes, member, doubted)
        later = self.later | {*more.runs[~more.runs.isin(self.log.runs)]}
        return replace(self, log=log, experts=experts, others=others, later=later)

    def _untold(self, name: str, more: RunLog, runs: Positions) -> Untold | None:
        """New runs, among some of an added log, that leave out what every run of an expert's fit has."""
        runs = runs[~more.runs[runs].isin(self.log.runs)]
        if not len(runs):
            return None
        found = self._known[self.log.output][name].untold(more.configs.iloc[runs])
        return None if found is None else replace(found, runs=runs[found.runs])

    @property
    def _linked(self) -> bool:
        """Whether outputs share their Gaussian processes."""
        return any(isinstance(e, Expert) and e.siblings is not None for e in self.experts.values())

    def _followed(
        self,
        expert: CurveExpert,
        principal: CurveExpert,
        news: RunLog,
        codes: Array,
        member: NDArray[np.bool_],
        untold: Untold | None,
    ) -> CurveExpert:
        """Expert of a further output after more data."""
        if isinstance(expert, Expert) and isinstance(principal, Expert) and expert.siblings is not None:
            return replace(expert, states=principal.states)
        new = finite_points(news) & member
        return _extended(expert, news, codes, new, untold) if new.any() else expert

    def _output(self, name: str | None) -> str:
        outputs = (self.log.output, *self.others)
        if name is not None and name not in outputs:
            raise ConfigError(
                f"no output {name!r}; the surrogate was fitted to: {', '.join(outputs)}", output=name
            )
        return self.log.output if name is None else name

    def _experts(self, output: str) -> Mapping[str, CurveExpert]:
        return self.experts if output == self.log.output else self.others[output]

    def best(
        self, pool: Configs, at: ArrayLike, *, within: float = 0.01, samples: int = 512, seed: int = 0
    ) -> BestConfig:
        """Configuration of a pool with the best predicted output at an axis value, and how sure that is.

        Args:
            pool: Candidate configurations, as in `predict`; or a dict of settings, each (low, high), a list
                of choices or one value, between which the best found is compared with 256 others.
            at: One axis value for all, or one per configuration, (configs,) or (configs, 1).
            within: Margin for `prob_within`, in the units of the output.
            samples: Joint posterior draws behind the probabilities.
            seed: Seed of the draws.

        Returns:
            The configuration, its mean, 90 % interval and probability to be the best, and a `table` of all.

        Raises:
            ConfigError: if more than one axis value per configuration is given, or as `predict`.
        """
        from probscale.surrogate.best import best_config

        return best_config(self, pool, at, within=within, samples=samples, seed=seed)

    def botorch(
        self, at: ArrayLike | Literal["horizon"], *, expert: str | None = None, output: str | None = None
    ) -> CurveModel:
        """BoTorch model of an output at axis values; see `botorch_model.CurveModel`.

        Args:
            at: Axis values, (outputs,), or "horizon" for the planned end of each configuration.
            expert: Which of `experts` answers; by default the one of all runs.
            output: Which output of the log; by default the principal one. Several make a BoTorch `ModelList`.

        Raises:
            ConfigError: for an unknown expert or output, or axis values that are not accepted.
        """
        from probscale.surrogate.botorch_model import curve_model

        return curve_model(self, at, expert, output)

    def save(self, path: str | Path) -> None:
        """Write the surrogate, its log included, to one file (safetensors, no pickle); see `load_surrogate`.

        Raises:
            ConfigError: if the path is that of a folder.
        """
        from probscale.surrogate.saving import save_surrogate

        save_surrogate(self, path)

    def __reduce__(self) -> tuple[Any, ...]:
        # Fitted modules hold local functions that pickle refuses; the file format holds all there is to know.
        from probscale.surrogate.saving import from_bytes, to_bytes

        return from_bytes, (to_bytes(self), self._embedder)

    def __copy__(self) -> CurveSurrogate:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CurveSurrogate:
        return self

    @property
    def _embedder(self) -> Embedder | None:
        """The language model that reads text; None without text."""
        models = (expert.encoder.embedder for expert in self.experts.values())
        found = next((model for model in models if model is not None), None)
        return found.embedder if isinstance(found, CachedEmbedder) else found

    def _assigned(
        self, frame: pd.DataFrame, experts: Mapping[str, CurveExpert], *, every: bool = False
    ) -> dict[str, NDArray[np.intp]]:
        """Which expert answers for which rows; with `every`, which experts learn from which rows."""
        positions = np.arange(len(frame))
        if len(experts) == 1:
            return {next(iter(experts)): positions}
        values = np.array([label(v) for v in frame[self.log.roles.levels[0]]], dtype=object)
        out = {name: positions[values == name] for name in experts if name != POOLED}
        left = ~np.isin(values, list(out))
        out[POOLED] = positions if every else positions[left]
        return {name: where for name, where in out.items() if len(where)}

    @cached_property
    def _known(self) -> dict[str, dict[str, KnownSettings]]:
        """Settings of the runs that each expert of each output learns from."""
        configs = self.log.configs
        fitted = ~configs.index.isin(list(self.later))
        return {
            output: {
                name: KnownSettings(configs.iloc[where], experts[name].encoder, fitted[where])
                for name, where in self._assigned(configs, experts, every=True).items()
            }
            for output, experts in ((self.log.output, self.experts), *self.others.items())
        }

    def _settled(self, frame: pd.DataFrame, output: str) -> dict[str, tuple[Positions, Settled]]:
        """Which rows each expert of an output answers for, and these with what they leave out filled in."""
        known = self._known[output]
        return {
            name: (where, known[name].settled(frame.iloc[where], self.together))
            for name, where in self._assigned(frame, self._experts(output)).items()
        }

    def _news(self, more: RunLog) -> RunLog:
        """A log without the values that are already learnt: these become missing."""
        run, axis = self.log.roles.run, self.log.roles.axis
        if more.roles.run != run or more.roles.axis != axis:
            raise RunLogError(
                f"the new log has run {more.roles.run!r} and axis {more.roles.axis!r}; "
                f"expected {run!r} and {axis!r}"
            )
        outputs = list(self.log.roles.outputs)
        mine = self.log.configs.index.get_indexer(more.configs.index)[more.codes]
        place = places_of(self.log.codes, self.log.points[axis], mine, more.points[axis])
        # Points that are not there have place -1, the row of missing values put last.
        learnt = np.vstack(
            [self.log.points[outputs].to_numpy(dtype=np.float64), np.full(len(outputs), np.nan)]
        )
        known = np.isfinite(learnt[place])
        values = np.where(known, np.nan, more.points[outputs].to_numpy(dtype=np.float64))
        points = more.points.assign(**dict(zip(outputs, values.T, strict=True)))
        return replace(more, points=points)


def _extended(
    expert: CurveExpert, news: RunLog, codes: Array, new: NDArray[np.bool_], untold: Untold | None
) -> CurveExpert:
    """Expert after the points of a log that are new, (points,)."""
    where = np.flatnonzero(new)
    told = untold if untold is None else untold.among(news.codes[where])
    return expert.extended(news, codes, where, told)


def check_fitted(value: object, verb: str) -> None:
    """Refuse anything but a fitted surrogate where one is needed.

    Raises:
        ConfigError: naming what was given.
    """
    if not isinstance(value, CurveSurrogate):
        raise ConfigError(
            f"{verb} needs a fitted surrogate, got {type(value).__name__}; pass what fit_surrogate or "
            "load_surrogate returned"
        )
