"""Studies that Optuna itself made, as run logs."""

import math

import numpy as np
import pytest

import probscale as ps
from probscale.errors import ConfigError, RunLogError
from probscale.integrations import from_optuna

optuna = pytest.importorskip("optuna", reason="needs the extra optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)

STEPS = 6


def objective(trial):
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    kind = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    trial.set_user_attr("n_params", 1_000 * (1 + trial.number % 3))
    trial.set_user_attr("files", ["a", "b"])
    if trial.number == 3:
        raise MemoryError
    for step in range(STEPS):
        loss = 1.5 + 0.2 * math.log10(rate / 3e-3) ** 2 + (kind == "sgd") * 0.1 + 1 / (step + 1)
        trial.report(math.nan if trial.number == 5 and step == 4 else loss, step)
        if trial.number == 4 and step == 2:
            raise optuna.TrialPruned
    return loss


@pytest.fixture(scope="module")
def study():
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), study_name="rates")
    made.optimize(objective, n_trials=12, catch=(MemoryError,))
    return made


def test_reported_values_are_curves_and_failed_trials_are_left_out(study):
    log = from_optuna(study, params="n_params")
    assert log.n_runs == 11
    assert (log.output, log.roles.axis, log.roles.goal, log.roles.params) == (
        "value",
        "step",
        "min",
        "n_params",
    )
    assert set(log.roles.config) == {"rate", "optimizer"}
    first = log.points[log.points["run"] == "trial 0"]
    assert first["step"].tolist() == list(range(1, STEPS + 1))
    assert first["value"].tolist() == list(study.trials[0].intermediate_values.values())
    assert (log.points["run"] == "trial 4").sum() == 3
    assert log.configs.loc["trial 2", "rate"] == study.trials[2].params["rate"]
    assert log.describe().recovered == ("trial 5",)


def test_a_study_gives_a_surrogate_in_two_lines(study):
    surrogate = ps.fit_surrogate(from_optuna(study), embedder=None)
    curves = surrogate.predict(
        [{"rate": 3e-3, "optimizer": "adamw"}, {"rate": 1e-1, "optimizer": "sgd"}], [6]
    )
    assert curves.mean[0, 0] < curves.mean[1, 0]


@pytest.mark.filterwarnings("ignore:.*set_metric_names is experimental")
def test_several_studies_form_a_level_and_goals_must_agree(study):
    def scores(trial):
        return 1 - (trial.suggest_float("rate", 0, 1) - 0.3) ** 2

    other = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), study_name="more rates")
    other.optimize(objective, n_trials=3)
    both = from_optuna([study, other])
    assert len(both.roles.levels) == 1
    assert set(both.configs[both.roles.levels[0]]) == {"rates", "more rates"}
    better = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=2))
    better.set_metric_names(["accuracy"])
    better.optimize(scores, n_trials=4)
    log = from_optuna(better)
    assert (log.output, log.roles.goal, log.n_points) == ("accuracy", "max", 4)
    np.testing.assert_array_equal(log.points["step"], 1)
    with pytest.raises(ConfigError, match="some maximise"):
        from_optuna([study, better])


def test_what_is_no_curve_is_refused():
    several = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ConfigError, match="2 objectives"):
        from_optuna(several)
    with pytest.raises(RunLogError, match="no run found in Optuna studies"):
        from_optuna(optuna.create_study())
