"""Ray Tune in one process: asks a searcher and a scheduler as Tune's controller does, trains one report at a time."""

import math
from types import SimpleNamespace

from ray.tune.experiment import Trial
from ray.tune.trainable import Trainable


class SmallTrial:
    """A trial that remembers how far it was trained, as with a checkpoint at each report."""

    def __init__(self, number, config, curve):
        self.trial_id, self.config, self.curve = f"t{number:03d}", config, curve
        self.status, self.last_result, self.local_path, self.starts = Trial.PENDING, {}, None, 0

    def get_trainable_cls(self):
        return Trainable

    def is_finished(self):
        return self.status in (Trial.TERMINATED, Trial.ERROR)


class SmallTune:
    """An experiment with a few places."""

    def __init__(self, space, curve, search, scheduler, *, samples, slots=2, metric="loss", mode="min"):
        search.set_search_properties(metric, mode, space)
        scheduler.set_search_properties(metric, mode)
        self.space, self.curve, self.search, self.scheduler = space, curve, search, scheduler
        self.samples, self.slots, self.metric = samples, slots, metric
        self.trials, self.reports, self.over = [], 0, False
        self.search_alg = SimpleNamespace(is_finished=lambda: self.over or len(self.trials) >= self.samples)

    def get_trials(self):
        return self.trials

    def stop_trial(self, trial):
        assert trial.status == Trial.PAUSED
        self.scheduler.on_trial_remove(self, trial)
        self.search.on_trial_complete(trial.trial_id)
        trial.status = Trial.TERMINATED

    def run(self):
        while self.step():
            pass
        return min(value for trial in self.trials for value in self.seen(trial) if math.isfinite(value))

    def seen(self, trial):
        return trial.curve[: trial.last_result.get("training_iteration", 0)]

    def step(self):
        self._suggest()
        self._start()
        running = [trial for trial in self.trials if trial.status == Trial.RUNNING]
        for trial in running:
            self._report(trial)
        return bool(running) or not (
            self.search_alg.is_finished() and all(t.is_finished() for t in self.trials)
        )

    def _suggest(self):
        while not self.search_alg.is_finished() and not any(t.status == Trial.PENDING for t in self.trials):
            number = len(self.trials)
            config = self.search.suggest(f"t{number:03d}")
            if config == "FINISHED":
                self.over = True
            if not isinstance(config, dict):
                return
            config = {**self.space, **config}
            trial = SmallTrial(number, config, self.curve(config))
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)

    def _start(self):
        while sum(trial.status == Trial.RUNNING for trial in self.trials) < self.slots:
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is None:
                return
            assert chosen.status in (Trial.PENDING, Trial.PAUSED)
            chosen.status = Trial.RUNNING
            chosen.starts += 1
            self._suggest()

    def _report(self, trial):
        at = trial.last_result.get("training_iteration", 0) + 1
        self.reports += 1
        result = {"training_iteration": at, self.metric: trial.curve[at - 1], "should_checkpoint": True}
        done = at == len(trial.curve)
        decision = "STOP" if done else self.scheduler.on_trial_result(self, trial, result)
        trial.last_result = result
        if decision == "STOP":
            self.scheduler.on_trial_complete(self, trial, result)
            self.search.on_trial_complete(trial.trial_id, result)
            trial.status = Trial.TERMINATED
            return
        self.search.on_trial_result(trial.trial_id, result)
        if decision == "PAUSE":
            trial.status = Trial.PAUSED
