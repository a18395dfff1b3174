"""What a Ray Tune experiment has shown so far, and the surrogate of it, shared by searcher and scheduler."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.errors import ConfigError, ProbscaleError
from probscale.integrations import proposals
from probscale.integrations.growing import QUICK, GrowingSurrogate
from probscale.runs import RunLog
from probscale.runs.schema import listed
from probscale.surrogate import CurveSurrogate, FitOptions

Array = NDArray[np.float64]

_RUN = "trial of the experiment"


class TuneModel:
    """Surrogate of an experiment's learning curves, brought up to date when asked.

    Give one to `ProbscaleSearch` and `ProbscaleScheduler` alike, so that both learn from every report.

    Args:
        horizon: Place on the axis at which trials are compared: where a full training ends.
        time_attr: Reported quantity that is the axis, rising within a trial.
        warm: Earlier runs to start from: a log, or a surrogate of one. Its axis and output stand for
            `time_attr` and the metric; columns that it shares with the configurations carry over, levels and
            roles too. `from_tune` reads earlier experiments of Tune.
        levels: Configuration keys that form the task hierarchy; those of `warm` by default.
        params: Configuration key with the model size, if one has it.
        startup: Trials with reports before anything is modelled; a warm start needs none.
        embedder: As in `fit_surrogate`; None compares text by equality alone.
        options: As in `fit_surrogate`.
        seed: Seed of the fits.

    Raises:
        ConfigError: if an argument is not accepted.
    """

    def __init__(
        self,
        horizon: float,
        *,
        time_attr: str = "training_iteration",
        warm: RunLog | CurveSurrogate | None = None,
        levels: Sequence[str] = (),
        params: str | None = None,
        startup: int = 5,
        embedder: Any = None,
        options: FitOptions = QUICK,
        seed: int = 0,
    ) -> None:
        if not (math.isfinite(horizon) and horizon > 0):
            raise ConfigError(
                f"horizon is {horizon}; give the {time_attr} of a full training", horizon=horizon
            )
        if startup < 3:
            raise ConfigError(f"startup is {startup}; a fit needs at least 3 trials", startup=startup)
        if warm is not None and (levels or params):
            raise ConfigError(
                "levels and params are those of the warm start; give them with one or the other"
            )
        self.horizon, self.time_attr, self.startup = float(horizon), time_attr, startup
        self.metric, self.goal = "", "min"
        self.configs: dict[str, dict[str, Any]] = {}
        self.waits: str | None = None
        self._text: set[str] = set()
        self._events: list[tuple[str, float, float]] = []
        self._reached: dict[str, float] = {}
        self._levels, self._params = tuple(levels), params
        self._warm = warm.log if isinstance(warm, CurveSurrogate) else warm
        self._settings = (embedder, options, seed)
        self._fitted_at = -1
        self.problem = ""
        self._growing = GrowingSurrogate(*self._settings)
        if isinstance(warm, CurveSurrogate) and _has_view(warm, self.horizon):
            self._growing.fitted = warm

    def aim(self, metric: str | None, mode: str | None) -> None:
        """Set the metric and whether "min" or "max" is better; None leaves either.

        Raises:
            ConfigError: if it differs from what was set, or from the goal of the warm start.
        """
        if metric:
            if self.metric not in ("", metric):
                raise ConfigError(f"the metric is {self.metric!r} in one place and {metric!r} in another")
            self.metric = metric
        if mode:
            if mode not in ("min", "max"):
                raise ConfigError(f'mode is {mode!r}; accepted are "min" and "max"', mode=mode)
            if self._warm is not None and self._warm.roles.goal != mode:
                raise ConfigError(f'mode is "{mode}", but the warm start has "{self._warm.roles.goal}"')
            self.goal = mode

    def describe(self, trial: str, config: Mapping[str, Any]) -> None:
        """Learn a trial's configuration, flat, before or after its first report."""
        self.configs.setdefault(trial, plain(config))

    def compare_as_text(self, names: Iterable[str]) -> None:
        """Compare values of some settings by equality: choices such as None and 8 are of two kinds."""
        if not self._text.issuperset(names):
            self._text |= set(names)
            self._growing.forget()
            self._fitted_at = -1

    def check_shared(self, names: Iterable[str]) -> None:
        """Check that the warm start has one of the settings to choose.

        Raises:
            ConfigError: if it has none, so that nothing of it would carry over.
        """
        chosen = sorted(names)
        if self._warm is None or set(chosen) & set(self._warm.configs):
            return
        raise ConfigError(
            f"the warm start says nothing about what is chosen: its settings are "
            f"{listed([str(name) for name in self._warm.configs])}, those of the parameter space "
            f"{listed(chosen)}; rename its columns (nested keys are joined by '/'), or leave warm out"
        )

    def observe(self, trial: str, at: float, value: float) -> None:
        """Learn a report; one at or before what is known of the trial says nothing new."""
        if at > self._reached.get(trial, -math.inf):
            self._reached[trial] = at
            self._events.append((trial, at, value))

    def reached(self, trial: str) -> float:
        """Place of a trial's last report; 0 before the first."""
        return self._reached.get(trial, 0.0)

    def best(self, trial: str) -> float:
        """Best finite value of a trial, turned so that lower is better; infinite without one."""
        return min(
            (self.sign * y for name, _, y in self._events if name == trial and math.isfinite(y)),
            default=math.inf,
        )

    @property
    def sign(self) -> float:
        """1 if lower values of the metric are better, else -1."""
        return 1.0 if self.goal == "min" else -1.0

    def log(self, events: Sequence[tuple[str, float, float]] | None = None) -> RunLog | None:
        """Warm start and reports as one log; None without either."""
        events = self._events if events is None else events
        self.compare_as_text(proposals.mixed([*self.configs.values(), *self._warm_configs()]))
        roles = self._roles({trial for trial, _, _ in events})
        run, axis, (output, *others) = roles["run"], roles["axis"], roles["output"]
        rows = [
            {
                **self.described(self.configs.get(trial, {})),
                **{run: trial, axis: at, output: value, "diverged": not math.isfinite(value)},
            }
            for trial, at, value in events
        ]
        parts = [] if self._warm is None else [self._warm.to_frame().astype({run: str})]
        parts += [pd.DataFrame(rows)] if rows else []
        if not parts:
            return None
        table = pd.concat(parts, ignore_index=True)
        for name in self._text & set(table):
            table[name] = table[name].map(str, na_action="ignore")
        absent = [name for name in (*roles["config"], *others) if name not in table]
        return RunLog.from_frame(table.assign(**dict.fromkeys(absent, math.nan)), **roles)

    def _warm_configs(self) -> list[dict[str, Any]]:
        """Settings of earlier runs that trials have too."""
        shared = {key for config in self.configs.values() for key in config}
        known = pd.DataFrame() if self._warm is None else self._warm.configs
        names = [str(name) for name in known if name in shared]
        return [{name: _plain(value)} for name in names for value in known[name].dropna().head(1)]

    def _roles(self, trials: Iterable[str]) -> dict[str, Any]:
        roles: dict[str, Any] = {
            **{"run": _RUN, "axis": self.time_attr, "output": (self.metric,), "goal": self.goal},
            **{"levels": self._levels, "params": self._params, "horizon": None, "config": ()},
        }
        if self._warm is not None:
            roles = self._warm.roles.arguments()
        special = {*self._taken(), *roles["levels"], roles["params"], roles["horizon"]}
        keys = [key for trial in sorted(trials) for key in self.configs.get(trial, {}) if key not in special]
        return {**roles, "config": tuple(dict.fromkeys([*roles["config"], *keys]))}

    def described(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A flat configuration as columns of the log."""
        taken = self._taken()
        row = {key: value for key, value in plain(config).items() if key not in taken}
        horizon = None if self._warm is None else self._warm.roles.horizon
        row = proposals.as_text(row, self._text)
        return row if horizon is None else {horizon: self.horizon, **row}

    def _taken(self) -> tuple[str, ...]:
        """Columns that no configuration can have."""
        if self._warm is None:
            return (_RUN, self.time_attr, self.metric)
        return (self._warm.roles.run, self._warm.roles.axis, *self._warm.roles.outputs)

    def surrogate(self) -> CurveSurrogate | None:
        """Surrogate of all reports so far; None while there are too few, or where a fit failed."""
        if self._warm is None and len(self._reached) < self.startup:
            return None
        log = self.log()
        assert log is not None
        before = self._growing.fitted
        try:
            current = self._growing.updated(log)
        except ProbscaleError as error:
            self.problem = str(error)
            return None
        if self._growing.fitted is not before:
            self._fitted_at = len(self._events)
        return current

    def draws(self, trials: Sequence[str], at: Array, *, n: int, seed: int) -> Array | None:
        """Joint draws of what trials reach at places on the axis, (n, trials), lower better."""
        surrogate = self.surrogate()
        if surrogate is None:
            return None
        known = surrogate.log.roles.run
        latent = surrogate.predict([{known: trial} for trial in trials], np.asarray(at)[:, None]).latent()
        values = self.sign * latent.sample(n, seed=seed)[:, :, 0]
        return values if np.isfinite(values).all() else None

    def scores(
        self, pool: Sequence[Mapping[str, Any]], waiting: Sequence[str], failed: Sequence[str] = ()
    ) -> Array | None:
        """Scores of candidates at the horizon, (pool,); see `proposals.scores`.

        Trials that wait for their first report count as if they had reached their expected value.
        """
        surrogate = self.surrogate()
        if surrogate is None:
            return None

        def table(trials: Iterable[str]) -> pd.DataFrame | None:
            described = [self.described(self.configs[trial]) for trial in trials]
            return pd.DataFrame(described) if described else None

        return proposals.scores(
            surrogate.botorch(self.horizon),
            pd.DataFrame([self.described(config) for config in pool]),
            tried=table(trial for trial in self._reached if trial not in failed),
            waiting=table(waiting),
            failed=table(failed),
        )

    def state(self) -> dict[str, Any]:
        """All that was learnt, as JSON values."""
        events = [[trial, at, _encoded(value)] for trial, at, value in self._events]
        aim = {"metric": self.metric, "goal": self.goal, "text": sorted(self._text)}
        return {**aim, "configs": self.configs, "events": events, "fitted at": self._fitted_at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave; the next surrogate is the one that would have followed.

        Raises:
            ConfigError: if the state is of another metric.
        """
        self.aim(state["metric"], state["goal"])
        self.configs = {trial: dict(config) for trial, config in state["configs"].items()}
        self._text = set(state.get("text", ()))
        self._events, self._reached = [], {}
        for trial, at, value in state["events"]:
            self.observe(trial, at, float(value))
        self._fitted_at = int(state["fitted at"])
        if self._fitted_at >= 0:
            log = self.log(self._events[: self._fitted_at])
            assert log is not None
            self._growing.forget()
            self._growing.updated(log)

    def __getstate__(self) -> dict[str, Any]:
        # Ray keeps a copy of searcher and scheduler with the experiment; surrogates are rebuilt.
        embedder, options, seed = self._settings
        fresh = GrowingSurrogate(embedder, options, seed)
        if self._fitted_at < 0:
            fresh.fitted = self._growing.fitted
        return {**self.__dict__, "_growing": fresh}


def _has_view(surrogate: CurveSurrogate, horizon: float) -> bool:
    """Whether candidates can be scored on a surrogate; engines for many curves are fitted anew."""
    try:
        surrogate.botorch(horizon)
    except ConfigError:
        return False
    return True


def describes(value: Any) -> bool:
    """Whether a value of a configuration says something to a model; data sets and the like do not."""
    return value is None or isinstance(value, bool | int | float | str | list | tuple | np.generic)


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """What describes a configuration, as numbers, truth values and text."""
    return {name: _plain(value) for name, value in config.items() if describes(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)


def _encoded(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
