"""Optuna studies as run logs."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Unpack

from probscale.errors import ConfigError, MissingExtraError
from probscale.integrations.logged import Choice, LoggedRun, assemble
from probscale.runs import RunLog

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def from_optuna(studies: Study | Iterable[Study], **choice: Unpack[Choice]) -> RunLog:
    """Trials of Optuna studies: the values they reported on the way, their parameters and user attributes.

    Pruned and running trials count as far as they came; failed ones, and trials without a value, are left
    out. A trial that reported nothing is one point at step 1. Where steps count from zero, all move by one.

    Args:
        studies: A study, as `optuna.load_study` gives it, or several of the same objective.
        **choice: Axis and roles; see `Choice`. Several studies form a level unless `levels` says otherwise.

    Raises:
        MissingExtraError: if Optuna is not installed.
        ConfigError: if a study has several objectives, or studies differ in direction.
        RunLogError: if no trial has a value.

    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=5)
    >>> from_optuna(study)
    RunLog(5 runs, 5 points, value by step, config: x)
    """
    if find_spec("optuna") is None:
        raise MissingExtraError("optuna", "from_optuna")
    known = list(studies) if isinstance(studies, Iterable) else [studies]
    goals = {_goal(study) for study in known}
    if len(goals) > 1:
        raise ConfigError("some of the studies minimise and some maximise; import them one by one")
    choice.setdefault("output", _output(known[0]) if known else "value")
    choice.setdefault("axis", "step")
    if goals:
        choice.setdefault("goal", *goals)
    runs = [run for study in known for run in read_optuna(study)]
    return assemble(runs, source="Optuna studies", **choice)[0]


def read_optuna(study: Study) -> list[LoggedRun]:
    """The trials of a study that have a value; see `from_optuna`."""
    from optuna.trial import TrialState

    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]
    first = min((step for trial in trials for step in trial.intermediate_values), default=1)
    shift = 1 - first if first < 1 else 0
    output = _output(study)
    return [
        LoggedRun(f"trial {trial.number}", _settings(trial), rows, study.study_name, None, None)
        for trial in trials
        if (rows := _rows(trial, output, shift))
    ]


def _rows(trial: FrozenTrial, output: str, shift: int) -> list[dict[str, float]]:
    reported = sorted(trial.intermediate_values.items())
    if reported:
        return [{"step": float(step + shift), output: float(value)} for step, value in reported]
    values = trial.values
    return [{"step": 1.0, output: float(values[0])}] if values else []


def _settings(trial: FrozenTrial) -> dict[str, Any]:
    """Parameters, and user attributes that may describe a trial."""
    told = {k: v for k, v in trial.user_attrs.items() if isinstance(v, bool | int | float | str)}
    return {**told, **trial.params}


def _output(study: Study) -> str:
    names = study.metric_names
    return names[0] if names else "value"


def _goal(study: Study) -> Any:
    from optuna.study import StudyDirection

    if len(study.directions) > 1:
        raise ConfigError(
            f"study {study.study_name!r} has {len(study.directions)} objectives; trials report values on the "
            "way for a single one only, so give studies of one objective"
        )
    return "max" if study.direction == StudyDirection.MAXIMIZE else "min"
