"""A searcher for Ray Tune that suggests configurations by a surrogate of all learning curves."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probscale.errors import ConfigError, MissingExtraError
from probscale.integrations.proposals import check_proposing, mixed, shares
from probscale.integrations.ray_model import TuneModel, describes, plain
from probscale.integrations.ray_space import TunePool, TuneSpace, nested
from probscale.randomness import generator_of

if TYPE_CHECKING or find_spec("ray") is not None:
    from ray.tune.search import Searcher
else:
    # The module stays importable, for tools that import every module; its class says what is missing.
    Searcher = object

SCHEMA = "probscale.search"


class ProbscaleSearch(Searcher):
    """Suggests the candidate with the largest expected improvement at the horizon.

    Candidates are random draws of Tune's parameter space and draws near the best trials, or the rows of a
    pool, each once. Constants of the space, such as the data set, describe trials too. Trials that have no
    report yet count as if they had reached their expected value, and candidates like those that raised an
    error are avoided. The first trials are random, unless the model has a warm start. A `grid_search` counts
    as a choice; values drawn by functions (`tune.sample_from`) are not modelled.

    Args:
        model: Surrogate, shared with a scheduler.
        pool: Configurations to choose from, a frame or a list of dicts, instead of a parameter space; keys of
            nested configurations are joined by "/".
        first: Configurations to try first, what other searchers of Tune call `points_to_evaluate`; ranges
            that one leaves out are drawn.
        metric: Reported quantity to optimise; by default that of the Tuner.
        mode: "min" or "max"; by default that of the Tuner.
        candidates: Number of candidates per suggestion.
        explore: Share of suggestions that are random; a surrogate of few trials can be sure of the wrong
            corner.
        seed: Seed of the random parts.

    Raises:
        MissingExtraError: if Ray is not installed.
        ConfigError: if the pool, `explore`, or later the space, is not accepted.

    >>> from ray import tune
    >>> model = TuneModel(horizon=50)  # doctest: +SKIP
    >>> options = tune.TuneConfig(
    ...     search_alg=ProbscaleSearch(model),
    ...     scheduler=ProbscaleScheduler(model),
    ...     metric="loss",
    ...     mode="min",
    ...     num_samples=40,
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        model: TuneModel,
        *,
        pool: pd.DataFrame | Sequence[Mapping[str, Any]] | None = None,
        first: Sequence[Mapping[str, Any]] = (),
        metric: str | None = None,
        mode: str | None = None,
        candidates: int = 256,
        explore: float = 0.0,
        seed: int = 0,
    ) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError("ray", type(self).__name__)
        check_proposing(candidates, explore)
        super().__init__(metric=metric, mode=mode)
        model.aim(metric, mode)
        self.model = model
        self.candidates, self.explore = candidates, explore
        self._proposed = 0
        self._pool = None if pool is None else TunePool(pool)
        self._space: TuneSpace | None = None
        self._first = [dict(config) for config in first]
        self._used: set[int] = set()
        self._suggested: dict[str, dict[str, Any]] = {}
        self._failed: list[str] = []
        self._generator = generator_of(seed)

    def set_search_properties(  # noqa: D102
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        from ray.tune.utils import flatten_dict

        self.model.aim(metric, mode)
        self._metric, self._mode = self.model.metric or None, mode or self._mode
        if self._pool is not None:
            if config and any(hasattr(value, "get_sampler") for value in config.values()):
                raise ConfigError("give a pool or a parameter space with ranges, not both")
            constants = {k: v for k, v in flatten_dict(config or {}).items() if describes(v)}
            self._pool.rows = [{**constants, **row} for row in self._pool.rows]
            self.model.compare_as_text(mixed(map(plain, self._pool.rows)))
        else:
            self._space = TuneSpace(config)
            self.model.compare_as_text(self._space.mixed())
            self.model.check_shared(self._space.domains)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A configuration; "FINISHED" after the last of a pool; None to let a paused trial go on first."""
        from ray.tune.utils import flatten_dict

        if not self.model.metric:
            raise ConfigError(
                "no metric is known; give tune.TuneConfig(metric=..., mode=...). Without a param_space Tune "
                "does not pass it on: then give ProbscaleSearch(metric=..., mode=...)"
            )
        if self._first:
            config = self._given(flatten_dict(self._first.pop(0)))
        elif self.model.waits is not None:
            return None
        else:
            config = self._chosen()
        if config is None:
            return self.FINISHED
        self._suggested[trial_id] = config
        self.model.describe(trial_id, config)
        return nested(config if self._space is None else self._space.chosen(config))

    def _given(self, config: dict[str, Any]) -> dict[str, Any]:
        """A configuration to try first, with the constants, and with what it leaves out drawn."""
        if self._space is None:
            return config
        known = {**self._space.constants, **self._space.domains}
        for name in config:
            if name not in known:
                raise ConfigError(
                    f"a configuration in first has {name!r}, which the parameter space has not; it has: "
                    f"{', '.join(known)}",
                    name=name,
                )
        return {**self._space.candidates(1, [], self._generator)[0], **config}

    def _chosen(self) -> dict[str, Any] | None:
        waiting = [trial for trial in self._suggested if not self.model.reached(trial)]
        if self._pool is not None:
            rows = self._pool.left(self._used)
            if not rows:
                return None
            # Scores of thousands of rows would cost more than a trial.
            rows = sorted(self._generator.permutation(rows)[: 4 * self.candidates].tolist())
            row = rows[self._best_of([self._pool.rows[row] for row in rows], len(rows), waiting)]
            self._used.add(row)
            return self._pool.rows[row]
        if self._space is None:
            raise ConfigError("there is nothing to choose from; give the Tuner a param_space, or this a pool")
        good = sorted(self._suggested, key=self.model.best)[:3]
        best = [self._suggested[trial] for trial in good if np.isfinite(self.model.best(trial))]
        pool = self._space.candidates(self.candidates, best, self._generator)
        return pool[self._best_of(pool, shares(self.candidates, best)[0], waiting)]

    def _best_of(self, pool: Sequence[Mapping[str, Any]], drawn: int, waiting: Sequence[str]) -> int:
        """Position of the candidate with the best score; one of the first `drawn` where it is random."""
        scores = self.model.scores(pool, waiting, self._failed)
        if scores is not None:
            self._proposed += 1
            # Evenly spread: one in four, not a coin that may fall the same way for long.
            if int(self._proposed * self.explore) == int((self._proposed - 1) * self.explore):
                return int(np.argmax(scores))
        return int(self._generator.integers(drawn))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Learn a report."""
        value, at = result.get(self.model.metric), result.get(self.model.time_attr)
        if value is not None and at is not None:
            self.model.observe(trial_id, float(at), float(value))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn the last report, and of a failure that such configurations fail.

        A result without a place, as of Tune's `Repeater`, is that of a trial that has come to its end.
        """
        if result:
            self.on_trial_result(trial_id, {self.model.time_attr: self.model.horizon, **result})
        if error and trial_id in self._suggested:
            self._suggested.pop(trial_id)
            self._failed.append(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Write what was learnt and suggested as JSON, with the space, which is Python objects, pickled."""
        source = _pickled((self._space, self._pool))
        state = {
            **{"schema": SCHEMA, "model": self.model.state(), "used": sorted(self._used)},
            **{"suggested": self._suggested, "generator": self._generator.bit_generator.state},
            **{"first": self._first, "failed": self._failed, "source": source},
            **{"proposed": self._proposed},
        }
        Path(checkpoint_path).write_text(json.dumps(state, default=str))

    def restore(self, checkpoint_path: str) -> None:
        """Continue from what `save` wrote; as with all that Tune restores, only from a folder you trust.

        Raises:
            ConfigError: if the file is of something else.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text())
            known = state["schema"] == SCHEMA
        except (ValueError, KeyError, TypeError):
            known, state = False, {}
        if not known:
            raise ConfigError(
                f"{checkpoint_path} is not the state of a {type(self).__name__}; give one that save wrote"
            )
        from ray import cloudpickle

        self._space, self._pool = cloudpickle.loads(base64.b64decode(state["source"]))
        self.model.restore(state["model"])
        self._metric, self._mode = self.model.metric or None, self.model.goal
        self._used = set(state["used"])
        self._suggested, self._first = dict(state["suggested"]), list(state["first"])
        self._failed = list(state.get("failed", ()))
        self._proposed = int(state.get("proposed", 0))
        self._generator.bit_generator.state = state["generator"]


def _pickled(value: Any) -> str:
    from ray import cloudpickle

    return base64.b64encode(cloudpickle.dumps(value)).decode()  # pyright: ignore[reportPrivateImportUsage]
