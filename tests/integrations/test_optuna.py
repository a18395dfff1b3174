import pickle

import numpy as np
import pytest

from probscale.errors import ConfigError
from probscale.integrations import from_table

optuna = pytest.importorskip("optuna", reason="the studies are Optuna's")
from probscale.integrations.optuna import ProbscalePruner, ProbscaleSampler, TrialModel, trial_log  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)
# Optuna marks constructor options of its own random sampler as experimental in some versions.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

STEPS = 8


def loss(rate, width, optimizer, step):
    """A simulated run: best at a learning rate that falls with width, better with one of two optimizers."""
    gap = np.log10(rate) + 2 + 0.5 * np.log10(width / 64)
    floor = 1.5 + 0.25 * gap**2 + 2 * width**-0.5 + (0.1 if optimizer == "sgd" else 0.0)
    return floor + 2.0 * (step + 1) ** -0.7


def objective(spent, steps=STEPS):
    def run(trial):
        rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        width = trial.suggest_int("width", 16, 256, log=True)
        optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
        for step in range(steps):
            spent.append(1)
            trial.report(loss(rate, width, optimizer, step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss(rate, width, optimizer, steps - 1)

    return run


def study_of(sampler, pruner, seed, trials):
    spent = []
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name=f"s{seed}")
    study.optimize(objective(spent), n_trials=trials)
    return study, len(spent)


@pytest.fixture(scope="module")
def finished():
    model = TrialModel(startup=5)
    sampler, pruner = ProbscaleSampler(model, seed=0), ProbscalePruner(model, warmup=2, interval=2)
    return study_of(sampler, pruner, 0, 12), model


def test_a_study_runs_with_sampler_and_pruner_on_one_surrogate(finished):
    (study, spent), model = finished
    assert len(study.trials) == 12
    assert model.surrogate(study).log.n_runs == 12
    assert spent <= 12 * STEPS
    assert study.best_value < 2.6


def test_proposals_lie_within_the_search_space(finished):
    for trial in finished[0][0].trials:
        assert 1e-5 <= trial.params["rate"] <= 1e-1
        assert isinstance(trial.params["width"], int)
        assert trial.params["optimizer"] in ("adam", "sgd")


def test_a_hopeless_trial_is_stopped_and_a_promising_one_is_not(finished):
    (study, _), model = finished
    pruner = ProbscalePruner(model, warmup=2)
    verdicts = []
    for chosen in (1e-5, 10**-2.3):
        other = optuna.create_study(
            study_name=f"fixed {chosen}", sampler=optuna.samplers.RandomSampler(seed=1)
        )
        other.add_trials([t for t in study.trials if t.state.is_finished()])
        other.enqueue_trial({"rate": chosen, "width": 256, "optimizer": "adam"})
        trial = other.ask()
        rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        width = trial.suggest_int("width", 16, 256, log=True)
        optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
        for step in range(3):
            trial.report(loss(rate, width, optimizer, step), step)
        frozen = other.get_trials(deepcopy=False)[trial.number]
        verdicts.append(pruner.prune(other, frozen))
    assert verdicts == [True, False]


def test_trials_become_a_log_with_steps_from_one(finished):
    study = finished[0][0]
    log = trial_log(study.trials, "min")
    first = study.trials[0]
    mine = log.points[log.points[log.roles.run] == 0]
    assert mine[log.output].tolist() == list(first.intermediate_values.values())
    assert mine[log.roles.axis].tolist() == [step + 1 for step in first.intermediate_values]
    assert trial_log([], "min") is None
    assert from_table(log.to_frame(), run=log.roles.run, output=log.output, axis=log.roles.axis).n_runs == 12


def test_a_study_without_reports_that_maximises_works_too():
    sampler = ProbscaleSampler(TrialModel(startup=4), seed=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(lambda t: 1.0 - (t.suggest_float("x", -1, 1) - 0.3) ** 2, n_trials=12)
    assert study.best_value > 0.98


def test_choices_of_several_kinds_are_searched():
    def run(trial):
        depth = trial.suggest_categorical("depth", [None, 8, 16])
        mix = trial.suggest_categorical("mix", [1, "auto", True])
        return trial.suggest_float("x", 0, 1) ** 2 + (depth is None) + (mix == "auto")

    study = optuna.create_study(sampler=ProbscaleSampler(TrialModel(startup=4), seed=0))
    study.optimize(run, n_trials=16)
    assert study.best_value < 0.2
    assert set(trial_log(study.trials, "min").configs["depth"]) <= {"None", "8", "16"}


def test_trials_that_fail_are_not_proposed_again_and_again():
    """The surrogate of the others alone proposes ever larger values, all of which fail."""

    def run(trial):
        x = trial.suggest_float("x", 0, 1)
        if x > 0.6:
            raise MemoryError
        return 1 - x

    study = optuna.create_study(sampler=ProbscaleSampler(TrialModel(startup=4), seed=0))
    study.optimize(run, n_trials=24, catch=(MemoryError,))
    states = [trial.state.name for trial in study.trials]
    assert states.count("FAIL") <= 12
    assert study.best_value < 0.42


def test_a_study_of_many_curves_goes_on():
    """Some thousand points, for which `fit_surrogate` would choose an engine without a BoTorch view."""
    study = optuna.create_study(sampler=ProbscaleSampler(TrialModel(startup=4), seed=0, explore=0))
    generator = np.random.default_rng(0)
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for x in generator.uniform(size=80):
        values = {step: float((x - 0.3) ** 2 + 1 / (step + 1)) for step in range(40)}
        study.add_trial(
            optuna.create_trial(
                params={"x": x}, distributions=space, value=values[39], intermediate_values=values
            )
        )
    assert abs(study.ask(space).params["x"] - 0.3) < 0.1


@pytest.mark.parametrize(("candidates", "spread"), [(1, True), (256, False)])
def test_more_candidates_come_nearer_to_the_best_and_one_is_a_random_trial(candidates, spread):
    sampler = ProbscaleSampler(TrialModel(startup=4), candidates=candidates, explore=0, seed=0)
    study, space = optuna.create_study(sampler=sampler), {"x": optuna.distributions.FloatDistribution(0, 1)}
    for x in np.linspace(0, 1, 12):
        study.add_trial(optuna.create_trial(params={"x": x}, distributions=space, value=(x - 0.3) ** 2 + 0.1))
    far = [abs(study.ask(space).params["x"] - 0.3) for _ in range(8)]
    assert (max(far) > 0.25) == spread
    with pytest.raises(ConfigError, match="candidates is 0; give at least 1"):
        ProbscaleSampler(candidates=0)


def test_trials_in_threads_share_one_fit():
    model = TrialModel(startup=4)
    study = optuna.create_study(sampler=ProbscaleSampler(model, seed=0), pruner=ProbscalePruner(model))
    study.optimize(objective([]), n_trials=12, n_jobs=4)
    assert all(trial.state.is_finished() for trial in study.trials)


def test_a_pickled_sampler_goes_on(finished):
    """Optuna's own way to resume a study with its sampler."""
    (study, _), model = finished
    assert model.surrogate(study) is not None
    again = pickle.loads(pickle.dumps(study.sampler))
    resumed = optuna.create_study(sampler=again, study_name="resumed")
    resumed.add_trials([trial for trial in study.trials if trial.state.is_finished()])
    resumed.optimize(objective([]), n_trials=1)
    assert len(resumed.trials) == 13


def test_running_trials_keep_proposals_apart():
    study = optuna.create_study(sampler=ProbscaleSampler(TrialModel(startup=4), seed=2))
    study.optimize(lambda t: (t.suggest_float("x", -1, 1) - 0.3) ** 2 + 0.1, n_trials=6)
    asked = [study.ask() for _ in range(2)]
    values = [trial.suggest_float("x", -1, 1) for trial in asked]
    assert abs(values[0] - values[1]) > 1e-3


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="at least 3"):
        TrialModel(startup=1)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ProbscalePruner(threshold=2.0)
    with pytest.raises(ConfigError, match="interval is 0; pass a whole number of at least 1"):
        ProbscalePruner(interval=0)
    with pytest.raises(ConfigError, match="warmup is -1"):
        ProbscalePruner(warmup=-1)
    with pytest.raises(ConfigError, match="model is a str; pass a TrialModel"):
        ProbscaleSampler("shared")
    with pytest.raises(ConfigError, match="seed is 'a'"):
        ProbscaleSampler(seed="a")
    with pytest.raises(ConfigError, match="candidates is 'many'"):
        ProbscaleSampler(candidates="many")
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ConfigError, match="one objective"):
        TrialModel().surrogate(study)


@pytest.mark.slow
def test_over_twenty_seeds_it_beats_random_search_with_the_same_budget():
    gains = []
    for seed in range(20):
        model = TrialModel(startup=6, seed=seed)
        sampler, pruner = ProbscaleSampler(model, seed=seed), ProbscalePruner(model, warmup=2, interval=2)
        study, spent = study_of(sampler, pruner, seed, 18)
        random = optuna.samplers.RandomSampler(seed=seed)
        twin, _ = study_of(random, optuna.pruners.NopPruner(), seed, max(1, round(spent / STEPS)))
        gains.append(twin.best_value - study.best_value)
    error = np.std(gains, ddof=1) / len(gains) ** 0.5
    assert np.mean(gains) > 2 * error


def test_one_proposal_in_four_is_random_wherever_the_surrogate_points():
    sampler = ProbscaleSampler(TrialModel(startup=4), explore=0.25, seed=3)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda t: (t.suggest_float("x", 0, 1) - 0.2) ** 2 + 0.1, n_trials=20)
    late = np.array([abs(trial.params["x"] - 0.2) for trial in study.trials[4:]])
    assert np.sum(late < 0.1) >= 5
    assert np.max(late[3::4]) > 0.15
    with pytest.raises(ConfigError, match="share from 0 to below 1"):
        ProbscaleSampler(explore=1.0)
