"""Optuna: a sampler and a pruner that share one surrogate of the study's learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from numbers import Integral
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.errors import ConfigError, MissingExtraError
from probscale.integrations.growing import QUICK, GrowingSurrogate
from probscale.integrations.proposals import as_text, check_proposing, mixed, scores, shares
from probscale.randomness import count_of, generator_of
from probscale.runs import RunLog
from probscale.surrogate import CurveSurrogate, FitOptions

if TYPE_CHECKING or find_spec("optuna") is not None:
    from optuna.distributions import BaseDistribution, CategoricalDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
else:
    # The module stays importable, for tools that import every module; its classes say what is missing.
    BasePruner = BaseSampler = object

Array = NDArray[np.float64]

_RUN, _AXIS, _OUTPUT = "trial of the study", "step of the trial", "value of the trial"
_LOCAL = 0.1


class TrialModel:
    """Surrogate of a study, brought up to date with its trials when asked; shared by a sampler and a pruner.

    Values that a trial reports are its learning curve; they must be the objective measured on the way. A
    trial that reports nothing is a single point.

    Args:
        startup: Finished trials before anything is modelled.
        params: Parameter that holds the model size, if one does.
        embedder: As in `fit_surrogate`; None compares categories by equality alone.
        options: As in `fit_surrogate`.
        seed: Seed of the fits.
    """

    def __init__(
        self,
        *,
        startup: int = 8,
        params: str | None = None,
        embedder: Any = None,
        options: FitOptions = QUICK,
        seed: int = 0,
    ) -> None:
        if find_spec("optuna") is None:
            raise MissingExtraError("optuna", type(self).__name__)
        if not isinstance(startup, Integral) or startup < 3:
            raise ConfigError(
                f"startup is {startup!r}; a fit needs at least 3 finished trials", startup=startup
            )
        self.startup, self.params = startup, params
        self._growing = GrowingSurrogate(embedder, options, seed)
        self._study: str | None = None
        self._lock = RLock()

    def surrogate(self, study: Study) -> CurveSurrogate | None:
        """Surrogate of all values reported so far; None before `startup` trials have finished."""
        if study._is_multi_objective():
            raise ConfigError("the surrogate models one objective; this study has several")
        trials = study.get_trials(deepcopy=False)
        finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) and t.params]
        if len(finished) < self.startup:
            return None
        log = trial_log(trials, "min" if study.direction == StudyDirection.MINIMIZE else "max", self.params)
        if log is None:
            return None
        # Studies with n_jobs ask from several threads.
        with self._lock:
            if self._study != study.study_name:
                self._study = study.study_name
                self._growing.forget()
            return self._growing.updated(log)

    def __getstate__(self) -> dict[str, Any]:
        # Studies are resumed with a pickled sampler; its surrogate is fitted again from the study.
        known = self._growing
        fresh = GrowingSurrogate(known.embedder, known.options, known.seed)
        return {**self.__dict__, "_growing": fresh, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=RLock())


def trial_log(trials: Sequence[FrozenTrial], goal: str, params: str | None = None) -> RunLog | None:
    """Trials with their reported values as a run log; None without a value. Steps count from one."""
    rows: list[dict[str, Any]] = []
    text = _texts(trials)
    for trial in trials:
        if trial.state == TrialState.FAIL or not trial.params:
            continue
        described = _described(trial.params, text)
        rows += [{_RUN: trial.number, **place, **described} for place in _curve(trial)]
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    names = [name for name in frame.columns if name not in (_RUN, _AXIS, _OUTPUT)]
    roles: dict[str, Any] = {"run": _RUN, "axis": _AXIS, "output": _OUTPUT, "params": params, "config": names}
    return RunLog.from_frame(frame, goal="min" if goal == "min" else "max", nonfinite="diverged", **roles)


def _curve(trial: FrozenTrial) -> list[dict[str, float]]:
    reported = sorted(trial.intermediate_values.items())
    if reported:
        return [{_AXIS: step + 1, _OUTPUT: value} for step, value in reported]
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return [] if value is None else [{_AXIS: 1, _OUTPUT: value}]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _texts(trials: Sequence[FrozenTrial]) -> set[str]:
    """Parameters whose choices are of several kinds, such as None, 8 and 16."""
    choices = {
        name: known.choices
        for trial in trials
        for name, known in trial.distributions.items()
        if isinstance(known, CategoricalDistribution)
    }
    return {name for name, values in choices.items() if mixed({name: _plain(value)} for value in values)}


def _described(params: Mapping[str, Any], text: set[str]) -> dict[str, Any]:
    return as_text({name: _plain(value) for name, value in params.items()}, text)


def _shared(model: object) -> TrialModel:
    """The model that a sampler or pruner is given.

    Raises:
        ConfigError: for anything else.
    """
    if not isinstance(model, TrialModel):
        raise ConfigError(
            f"model is a {type(model).__name__}; pass a TrialModel, the same to sampler and pruner, or None"
        )
    return model


class ProbscaleSampler(BaseSampler):
    """Proposes the candidate with the largest expected improvement at the end of the longest curve seen.

    Candidates are drawn from the search space and near the best trials; trials that are still running count
    as if they had reached their expected value, and candidates like those whose trials failed are avoided.
    The first trials, and parameters outside the common search space, are random.

    Args:
        model: Surrogate, shared with a pruner; by default one of its own.
        candidates: Number of candidates per proposal.
        explore: Share of proposals that are random; a surrogate of few trials can be sure of the wrong
            corner.
        seed: Seed of the random parts.

    Raises:
        ConfigError: if `explore` is not a share below one, without candidates, or for what is no model or
            seed.

    >>> study = optuna.create_study(sampler=ProbscaleSampler(seed=0))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: TrialModel | None = None,
        *,
        candidates: int = 256,
        explore: float = 0.25,
        seed: int = 0,
    ) -> None:
        check_proposing(candidates, explore)
        self.model = TrialModel(seed=seed) if model is None else _shared(model)
        self.candidates, self.explore = candidates, explore
        self._proposed = 0
        self._generator = generator_of(seed)
        self._random = RandomSampler(seed=seed)
        self._space = IntersectionSearchSpace()

    def reseed_rng(self) -> None:  # noqa: D102
        self._random.reseed_rng()
        self._generator = np.random.default_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters that all finished trials have, constants left out."""
        return {name: d for name, d in self._space.calculate(study).items() if not d.single()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of the proposed candidate; empty, hence random, while there is no surrogate."""
        if not search_space:
            return {}
        surrogate = self.model.surrogate(study)
        if surrogate is None:
            return {}
        self._proposed += 1
        # Evenly spread: one in four, not a coin that may fall the same way for long.
        if int(self._proposed * self.explore) > int((self._proposed - 1) * self.explore):
            return {name: self._draw(known, None) for name, known in search_space.items()}
        pool = self._pool(study, search_space)
        score = self._scores(surrogate, study, pool)
        return pool[int(np.argmax(score))]

    def _scores(self, surrogate: CurveSurrogate, study: Study, pool: list[dict[str, Any]]) -> Array:
        trials = study.get_trials(deepcopy=False)
        text = _texts(trials)

        def of(state: TrialState) -> pd.DataFrame | None:
            described = [_described(t.params, text) for t in trials if t.state == state and t.params]
            return pd.DataFrame(described) if described else None

        return scores(
            surrogate.botorch(float(surrogate.log.points[_AXIS].max())),
            pd.DataFrame([_described(item, text) for item in pool]),
            tried=surrogate.log.configs,
            waiting=of(TrialState.RUNNING),
            failed=of(TrialState.FAIL),
        )

    def _pool(self, study: Study, space: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
        """Random candidates, then some near the best trials; see `proposals.shares`."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        best = sorted((t for t in done if t.value is not None), key=lambda t: sign * float(t.value or 0.0))[
            :3
        ]
        best = [t for t in best if set(space) <= set(t.params)]
        anywhere, near = shares(self.candidates, best)
        drawn = [{n: self._draw(d, None) for n, d in space.items()} for _ in range(anywhere)]
        for i in range(near):
            centre = best[i % len(best)].params
            drawn.append({n: self._draw(d, centre[n]) for n, d in space.items()})
        return drawn

    def _draw(self, distribution: BaseDistribution, near: Any) -> Any:
        """A value of a distribution, close to `near` unless that is None."""
        generator = self._generator
        if isinstance(distribution, CategoricalDistribution):
            stay = near is not None and generator.random() < 1 - _LOCAL
            return near if stay else distribution.choices[int(generator.integers(len(distribution.choices)))]
        low, high = float(getattr(distribution, "low")), float(getattr(distribution, "high"))  # noqa: B009
        log, step = bool(getattr(distribution, "log")), getattr(distribution, "step")  # noqa: B009
        a, b = (math.log(low), math.log(high)) if log else (low, high)
        unit = generator.random()
        if near is not None:
            centre = ((math.log(near) if log else near) - a) / (b - a)
            unit = centre + _LOCAL * generator.standard_normal()
            # Reflected at the ends: clipping would make corners of a third of the candidates.
            unit = max(1.0 - abs(1.0 - abs(unit)), 0.0)
        value = a + unit * (b - a)
        value = math.exp(value) if log else value
        if step is not None:
            value = low + round((value - low) / step) * step
        return distribution.to_external_repr(min(max(value, low), high))


class ProbscalePruner(BasePruner):
    """Stops a trial that will hardly beat the best one, by the surrogate's forecast of its curve.

    A trial that is ahead of where the best one was at the same step goes on, whatever the forecast says:
    stopping is for good, and a surrogate of few curves can be sure of the wrong ending.

    Args:
        model: Surrogate, shared with a sampler; by default one of its own.
        threshold: A trial is stopped when its probability of ending better than the best falls below this.
        warmup: Reported values before a trial can be stopped.
        interval: Reported values between two checks.

    Raises:
        ConfigError: if the threshold is not in (0, 1), or for what is no model or number of values.
    """

    def __init__(
        self, model: TrialModel | None = None, *, threshold: float = 0.05, warmup: int = 2, interval: int = 1
    ) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(
                f"threshold is {threshold}; give a probability between 0 and 1", threshold=threshold
            )
        warmup, interval = count_of(warmup, "warmup", 0), count_of(interval, "interval")
        self.model = TrialModel() if model is None else _shared(model)
        self.threshold, self.warmup, self.interval = threshold, warmup, interval

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop a trial now."""
        count = len(trial.intermediate_values)
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        values = [float(t.value) for t in done if t.value is not None and math.isfinite(t.value)]
        if count < self.warmup or (count - self.warmup) % self.interval or not values:
            return False
        if not math.isfinite(trial.intermediate_values[max(trial.intermediate_values)]):
            return True
        surrogate = self.model.surrogate(study)
        if surrogate is None or trial.number not in surrogate.log.runs:
            return False
        end = float(surrogate.log.points[_AXIS].max())
        minimise = study.direction == StudyDirection.MINIMIZE
        best = min(values) if minimise else max(values)
        if trial.last_step is None or trial.last_step + 1 >= end or _ahead(trial, done, minimise):
            return False
        below = float(surrogate.predict([{_RUN: trial.number}], [end]).prob_below(best)[0, 0])
        return (below if minimise else 1 - below) < self.threshold


def _ahead(trial: FrozenTrial, done: Sequence[FrozenTrial], minimise: bool) -> bool:
    """Whether a trial's last value is better than that of the best finished trial at the same step."""
    sign, step = (1.0 if minimise else -1.0), trial.last_step
    best = min((t for t in done if t.value is not None), key=lambda t: sign * float(t.value or 0.0))
    if step is None or step not in best.intermediate_values:
        return False
    return sign * trial.intermediate_values[step] < sign * best.intermediate_values[step]
