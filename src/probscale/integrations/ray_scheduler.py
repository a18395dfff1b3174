"""A scheduler for Ray Tune that stops, pauses and resumes trials by the probability that each is the best."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probscale.budget.strategies import chances, smallest_set
from probscale.errors import ConfigError, MissingExtraError
from probscale.integrations.ray_model import TuneModel

if TYPE_CHECKING or find_spec("ray") is not None:
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler
else:
    # The module stays importable, for tools that import every module; its class says what is missing.
    TrialScheduler = object

SAMPLES = 512
LEADERS = 0.5
"""New trials wait for those that together hold this much of the probability of being best."""

MARGIN = 1.5
"""A paused trial takes a place from a running one that is this much less likely to be best."""

PROMOTE = 0.3
"""A paused trial this likely to be best goes on before anything new is suggested."""


@dataclass
class _Known:
    """What the scheduler keeps of a trial."""

    status: str = "live"
    check: float = 0.0
    share: float = math.nan


class ProbscaleScheduler(TrialScheduler):
    """Stops trials that are hardly the best, and pauses those that others should go before.

    At growing intervals a running trial is compared with all others by joint draws of the surrogate at the
    horizon. Trials outside the smallest set that holds all but `risk` of the probability of being best are
    stopped, paused ones too. A trial is paused when one that waits is clearly likelier to be best, or when
    new trials wait and it is not among the leaders; the paused trial most likely to be best goes on first.
    Before the model has seen enough trials, each is paused after its first check, so that all get a start.

    To be paused, a function must report checkpoints, `tune.report(metrics, checkpoint=...)`, and start from
    `tune.get_checkpoint()`; one that reports none is only stopped.

    Args:
        model: Surrogate, shared with a searcher.
        grace: Place on the axis of the first check.
        spacing: Factor between the places of checks of a trial.
        risk: Probability of being best that the trials stopped at a check may hold together.
        metric: Reported quantity; by default that of the Tuner.
        mode: "min" or "max"; by default that of the Tuner.
        seed: Seed of the draws.

    Raises:
        MissingExtraError: if Ray is not installed.
        ConfigError: if a number is out of its range.

    Attributes:
        decisions: One row per check: trial, place, action, probability of being best, trials compared.

    Source: freeze and thaw after Swersky et al. 2014, with this surrogate and these rules.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        model: TuneModel,
        *,
        grace: float = 1.0,
        spacing: float = 1.5,
        risk: float = 0.02,
        metric: str | None = None,
        mode: str | None = None,
        seed: int = 0,
    ) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError("ray", type(self).__name__)
        if not 0 < risk < 1:
            raise ConfigError(f"risk is {risk}; give a probability between 0 and 1", risk=risk)
        if spacing <= 1 or grace <= 0:
            raise ConfigError(f"spacing is {spacing} and grace {grace}; give more than 1 and more than 0")
        super().__init__()
        model.aim(metric, mode)
        self._metric = metric
        self.model, self.grace, self.spacing, self.risk, self.seed = model, grace, spacing, risk, seed
        self._known: dict[str, _Known] = {}
        self._rows: list[dict[str, Any]] = []

    @property
    def decisions(self) -> pd.DataFrame:
        """One row per check."""
        return pd.DataFrame(self._rows, columns=["trial", "at", "action", "prob_best", "compared"])

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:  # noqa: D102
        self.model.aim(metric, mode)
        self._metric = self.model.metric or None
        return super().set_search_properties(None, mode, **spec)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Learn of a trial; one of a restored experiment brings its reports."""
        from ray.tune.utils import flatten_dict

        self.model.describe(trial.trial_id, flatten_dict(trial.config))
        known = self._known.setdefault(trial.trial_id, _Known(check=self.grace))
        for result in _reports(trial, self.model.metric):
            self._observed(trial.trial_id, result)
        known.check = max(self.grace, self.model.reached(trial.trial_id) * self.spacing)
        if trial.is_finished():
            known.status = "done"

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP, PAUSE or CONTINUE."""
        at, value = self._observed(trial.trial_id, result)
        known = self._known[trial.trial_id]
        if not math.isfinite(value) or at >= self.model.horizon:
            known.status = "done" if math.isfinite(value) else "stopped"
            self._note(trial.trial_id, at, "finish" if math.isfinite(value) else "stop")
            self._review(tune_controller, None)
            return TrialScheduler.STOP
        if at < known.check:
            return TrialScheduler.CONTINUE
        verdict = self._review(tune_controller, trial.trial_id)
        if verdict == TrialScheduler.PAUSE and not _has_checkpoint(trial, result):
            return TrialScheduler.CONTINUE
        known.check = at * self.spacing
        self._note(trial.trial_id, at, verdict.lower())
        return verdict

    def _observed(self, trial: str, result: dict[str, Any]) -> tuple[float, float]:
        """Place and value of a report."""
        at, value = result.get(self.model.time_attr), result.get(self.model.metric)
        if at is None or value is None:
            absent = self.model.time_attr if at is None else self.model.metric
            place = "TuneModel(time_attr=...)" if at is None else "tune.TuneConfig(metric=...)"
            raise ConfigError(
                f"a trial reported no {absent!r}; report it each time, or name another in {place}; "
                f"reported were: {', '.join(sorted(result))}",
                reported=sorted(result),
            )
        self.model.observe(trial, float(at), float(value))
        return float(at), float(value)

    def _note(self, trial: str, at: float, action: str) -> None:
        compared = sum(known.status in ("live", "done") for known in self._known.values())
        share = self._known[trial].share
        self._rows.append(
            {"trial": trial, "at": at, "action": action, "prob_best": share, "compared": compared}
        )

    def _review(self, controller: Any, mine: str | None) -> str:
        """Compare all trials, stop paused ones that are hardly the best, and judge one that runs."""
        trials = {trial.trial_id: trial for trial in controller.get_trials()}
        doomed = self._compared()
        for name in doomed - {mine}:
            # Others that run are judged at their own next report.
            if name in trials and trials[name].status == Trial.PAUSED:
                self._note(name, self.model.reached(name), "stop")
                controller.stop_trial(trials[name])
        if mine is None:
            return TrialScheduler.STOP
        if mine in doomed:
            self._known[mine].status = "stopped"
            return TrialScheduler.STOP
        return self._placed(mine, trials, fresh=not controller.search_alg.is_finished())

    def _compared(self) -> set[str]:
        """Set the probability of being best of each trial; trials that are hardly the best."""
        names = [n for n, k in self._known.items() if k.status in ("live", "done") and self.model.reached(n)]
        if len(names) < 2:
            return set()
        ends = [self._known[name].status == "done" for name in names]
        at = np.where(ends, [self.model.reached(name) for name in names], self.model.horizon)
        draws = self.model.draws(names, at, n=SAMPLES, seed=self.seed + len(self._rows))
        if draws is None:
            return set()
        shares = chances(draws)
        for name, share in zip(names, shares, strict=True):
            self._known[name].share = float(share)
        kept = {names[index] for index in smallest_set(shares, 1 - self.risk)}
        return {n for n, end in zip(names, ends, strict=True) if not end and n not in kept}

    def _placed(self, mine: str, trials: dict[str, Trial], *, fresh: bool) -> str:
        """Whether a trial keeps its place, given those that wait."""
        waiting = {n: t for n, t in trials.items() if t.status in (Trial.PAUSED, Trial.PENDING)}
        new = fresh or any(not self.model.reached(name) for name in waiting)
        share = self._known[mine].share
        if math.isnan(share):
            return TrialScheduler.PAUSE if new else TrialScheduler.CONTINUE
        others = [self._share(name) for name in waiting if self.model.reached(name)]
        if max(others, default=0.0) > MARGIN * share:
            return TrialScheduler.PAUSE
        ahead = sum(k.share for k in self._known.values() if k.status == "live" and k.share > share)
        return TrialScheduler.PAUSE if new and ahead >= LEADERS else TrialScheduler.CONTINUE

    def _share(self, trial: str) -> float:
        share = self._known[trial].share if trial in self._known else math.nan
        return 0.0 if math.isnan(share) else share

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Learn that a trial has ended."""
        known = self._known[trial.trial_id]
        if known.status == "live":
            known.status = "done"
            self._note(trial.trial_id, self.model.reached(trial.trial_id), "finish")
            self._review(tune_controller, None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Leave a trial that failed out of the comparison."""
        self._known[trial.trial_id].status = "failed"

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Leave a trial that was taken away out of the comparison."""
        self._known[trial.trial_id].status = "stopped"

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """A trial that has not started, or else the paused one most likely to be best."""
        trials = tune_controller.get_trials()
        pending = [trial for trial in trials if trial.status == Trial.PENDING]
        paused = [trial for trial in trials if trial.status == Trial.PAUSED]
        paused.sort(key=lambda t: (-self._share(t.trial_id), self.model.best(t.trial_id)))
        promising = bool(paused) and self._share(paused[0].trial_id) >= PROMOTE
        self.model.waits = paused[0].trial_id if promising and not pending else None
        return pending[0] if pending else paused[0] if paused else None

    def debug_string(self) -> str:
        """One line for Tune's status."""
        counts = pd.Series([known.status for known in self._known.values()]).value_counts()
        shown = ", ".join(f"{count} {status}" for status, count in counts.items())
        problem = f"; no surrogate: {self.model.problem}" if self.model.problem else ""
        return f"ProbscaleScheduler: {shown or 'no trials yet'}{problem}"


def _has_checkpoint(trial: Trial, result: dict[str, Any]) -> bool:
    """Whether a trial can be paused now and go on later from here."""
    from ray.tune.result import SHOULD_CHECKPOINT
    from ray.tune.trainable import FunctionTrainable

    kind = trial.get_trainable_cls()
    function = isinstance(kind, type) and issubclass(kind, FunctionTrainable)
    return not function or bool(result.get(SHOULD_CHECKPOINT))


def _reports(trial: Trial, metric: str) -> list[dict[str, Any]]:
    """Reports of a trial of a restored experiment: those on file, or the last one."""
    from ray.tune.utils import flatten_dict

    last = flatten_dict(trial.last_result or {})
    if metric not in last:
        return []
    path = Path(trial.local_path or ".") / "result.json"
    lines = path.read_text().splitlines() if path.exists() else []
    reports = [flatten_dict(json.loads(line)) for line in lines if line.endswith("}")]
    return [report for report in reports if metric in report] or [last]
