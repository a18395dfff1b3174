"""Ray Tune by a surrogate: what is suggested, stopped, paused and resumed, and what a restored experiment knows."""

import importlib
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.integrations import ProbscaleScheduler, ProbscaleSearch, TuneModel, from_tune

pytest.importorskip("ray", reason="needs the extra ray")
from ray import tune

SmallTune = importlib.import_module("small_tune").SmallTune
tuned = importlib.import_module("tuned")

STEPS = 8
SPACE = {
    "rate": tune.loguniform(1e-5, 1e-1),
    "net": {"width": tune.lograndint(16, 257)},
    "optimizer": tune.choice(["adam", "sgd"]),
}


def curve(config, shift=0.0):
    """A simulated run: best at a learning rate that falls with width, better with one of two optimizers."""
    width = config["net"]["width"] if "net" in config else config["net/width"]
    gap = np.log10(config["rate"]) + 2 + shift + 0.5 * np.log10(width / 64)
    floor = 1.5 + 0.25 * gap**2 + 2 * width**-0.5 + (0.1 if config["optimizer"] == "sgd" else 0.0)
    return [floor + 2.0 * step**-0.7 for step in range(1, STEPS + 1)]


BEST = curve({"rate": 0.005, "net": {"width": 256}, "optimizer": "adam"})[-1]


def experiment(seed=0, samples=12, space=SPACE, trains=curve, horizon=STEPS, **options):
    model = TuneModel(horizon, seed=seed)
    search, scheduler = ProbscaleSearch(model, seed=seed, **options), ProbscaleScheduler(model, seed=seed)
    return SmallTune(space, trains, search, scheduler, samples=samples)


@pytest.fixture(scope="module")
def finished():
    small = experiment(samples=14)
    small.best = small.run()
    return small


def test_an_experiment_finds_nearly_the_best_for_half_the_reports(finished):
    assert finished.best < BEST + 0.1
    assert finished.reports < 0.6 * len(finished.trials) * STEPS
    assert len(finished.trials) == 14
    assert any(trial.last_result["training_iteration"] == STEPS for trial in finished.trials)


def test_some_trials_are_paused_and_go_on_later_and_others_are_stopped(finished):
    decisions = finished.scheduler.decisions
    assert {"pause", "continue", "stop", "finish"} <= set(decisions.action)
    assert max(trial.starts for trial in finished.trials) > 1
    shares = decisions.prob_best.dropna()
    assert ((shares >= 0) & (shares <= 1)).all()
    stopped = decisions[decisions.action == "stop"]
    assert (stopped.prob_best <= 0.02 + 1e-9).all()
    assert "done" in finished.scheduler.debug_string()


@pytest.mark.parametrize("grace", [1.0, 3.0])
def test_trials_are_first_compared_at_the_grace(grace):
    model = TuneModel(STEPS)
    small = SmallTune(SPACE, curve, ProbscaleSearch(model), ProbscaleScheduler(model, grace=grace), samples=6)
    small.run()
    assert small.scheduler.decisions.groupby("trial")["at"].min().tolist() == [grace] * 6
    with pytest.raises(ConfigError, match="grace 0"):
        ProbscaleScheduler(model, grace=0)


def test_suggestions_lie_in_the_space_and_keep_its_nesting(finished):
    for trial in finished.trials:
        assert 1e-5 <= trial.config["rate"] <= 1e-1
        assert isinstance(trial.config["net"]["width"], int)
        assert 16 <= trial.config["net"]["width"] <= 256
        assert trial.config["optimizer"] in ("adam", "sgd")


@pytest.mark.parametrize("from_pool", [False, True])
def test_a_share_of_suggestions_is_random_wherever_the_surrogate_points(from_pool, tmp_path):
    def trains(config):
        return [1 + (config["x"] - 0.2) ** 2 + 1 / step for step in range(1, STEPS + 1)]

    space = {"x": tune.uniform(0.0, 1.0)}
    options = {"pool": [{"x": x} for x in np.linspace(0, 1, 400)]} if from_pool else {}
    small = experiment(space={} if from_pool else space, trains=trains, samples=20, explore=0.25, **options)
    small.run()
    far = {}
    for number in range(24):
        config = small.search.suggest(f"late {number}")
        far[small.search._proposed] = config["x"]
    drawn = np.array([value for proposed, value in far.items() if proposed % 4 == 0])
    chosen = np.array([value for proposed, value in far.items() if proposed % 4])
    assert len(drawn) == 6
    there = np.median(chosen)
    assert np.abs(drawn - there).max() > 0.25 > 5 * np.median(np.abs(chosen - there))
    small.search.save(tmp_path / "state")
    again = ProbscaleSearch(TuneModel(STEPS), explore=0.25, **options)
    again.restore(tmp_path / "state")
    assert again._proposed == small.search._proposed > 12
    with pytest.raises(ConfigError, match="share from 0 to below 1"):
        ProbscaleSearch(TuneModel(STEPS), explore=1.0)


def test_the_log_holds_every_report_once(finished):
    log = finished.search.model.log()
    assert log.n_points == finished.reports
    assert log.n_runs == len(finished.trials)
    assert set(log.roles.config) == {"rate", "net/width", "optimizer"}
    assert log.roles.axis == "training_iteration"


def test_a_restored_searcher_suggests_what_the_first_would_have(finished, tmp_path):
    finished.search.save(tmp_path / "state")
    again = ProbscaleSearch(TuneModel(STEPS))
    again.restore(tmp_path / "state")
    again.set_search_properties("loss", "min", SPACE)
    expected, found = finished.search.suggest("next"), again.suggest("next")
    assert found["optimizer"] == expected["optimizer"]
    assert found["rate"] == pytest.approx(expected["rate"], rel=1e-6)
    assert again.model.log().equals(finished.search.model.log())
    (tmp_path / "other").write_text("{}")
    with pytest.raises(ConfigError, match="not the state of a ProbscaleSearch"):
        again.restore(tmp_path / "other")
    state = json.loads((tmp_path / "state").read_text())
    del state["failed"], state["model"]["text"]  # As written before failures and mixed choices were known.
    (tmp_path / "earlier").write_text(json.dumps(state))
    earlier = ProbscaleSearch(TuneModel(STEPS))
    earlier.restore(tmp_path / "earlier")
    assert earlier.model.log().equals(finished.search.model.log())


def test_reports_that_are_not_finite_stop_a_trial_and_survive_saving(tmp_path):
    def diverges(config):
        return [3.0, math.nan] if config["rate"] > 1e-3 else [3.0 - 0.1 * s for s in range(STEPS)]

    small = experiment(samples=4, trains=diverges)
    small.run()
    ends = {t.trial_id: t.last_result["training_iteration"] for t in small.trials if t.config["rate"] > 1e-3}
    assert ends
    assert max(ends.values()) <= 2
    small.search.save(tmp_path / "state")
    again = ProbscaleSearch(TuneModel(STEPS))
    again.restore(tmp_path / "state")
    again.set_search_properties("loss", "min", SPACE)
    assert again.model.log().equals(small.search.model.log())


def earlier_runs(levels=()):
    """Full runs of an earlier task whose best rate is a little lower."""
    generator = np.random.default_rng(0)
    rows = []
    for run in range(14):
        config = {"rate": 10 ** generator.uniform(-5, -1), "net/width": int(generator.integers(16, 257))}
        config |= {"optimizer": ("adam", "sgd")[run % 2], "task": "earlier"}
        rows += [
            {"id": run, "step": step + 1, "nats": loss, **config}
            for step, loss in enumerate(curve(config, shift=0.2))
        ]
    frame = pd.DataFrame(rows)
    return ps.RunLog.from_frame(frame, run="id", axis="step", output="nats", levels=levels)


@pytest.mark.parametrize("levels", [(), ("task",)])
def test_a_warm_start_makes_the_first_suggestion_a_good_one(levels):
    model = TuneModel(STEPS, time_attr="training_iteration", warm=earlier_runs(levels))
    search = ProbscaleSearch(model, seed=3)
    search.set_search_properties("loss", "min", {**SPACE, "task": "now"})
    first = search.suggest("a")
    assert "task" not in first
    assert curve(first)[-1] < BEST + 0.25
    second = search.suggest("b")
    assert second != first
    for step, loss in enumerate(curve(first)[:3]):
        search.on_trial_result("a", {"training_iteration": step + 1, "loss": loss})
    log = model.log()
    assert log.n_runs == 15
    assert log.roles.levels == levels
    assert isinstance(search.suggest("c"), dict)


def test_each_row_of_a_pool_is_suggested_once():
    pool = pd.DataFrame({"rate": [1e-4, 1e-3, 1e-2], "net/width": [32, 64, 128], "optimizer": "adam"})
    small = experiment(samples=10, pool=pool, space={})
    small.run()
    assert sorted(trial.config["rate"] for trial in small.trials) == [1e-4, 1e-3, 1e-2]
    assert small.over


def test_given_configurations_come_first_and_are_described_with_the_constants():
    given = {"rate": 1e-3, "net": {"width": 64}, "optimizer": "sgd"}
    search = ProbscaleSearch(TuneModel(STEPS), first=[given])
    search.set_search_properties("loss", "min", {**SPACE, "corpus": "c4", "rows": np.zeros(3)})
    assert search.suggest("a") == given
    expected = {"rate": 1e-3, "net/width": 64, "optimizer": "sgd", "corpus": "c4"}
    assert search.model.configs["a"] == expected


def test_what_a_given_configuration_leaves_out_is_drawn_and_a_slip_is_refused():
    search = ProbscaleSearch(TuneModel(STEPS), first=[{"rate": 1e-3}, {"learning_rate": 1e-3}])
    search.set_search_properties("loss", "min", SPACE)
    config = search.suggest("a")
    assert config["rate"] == 1e-3
    assert config["optimizer"] in ("adam", "sgd")
    assert isinstance(config["net"]["width"], int)
    with pytest.raises(ConfigError, match="'learning_rate', which the parameter space has not"):
        search.suggest("b")


def test_choices_of_several_kinds_and_grids_are_searched():
    space = {
        **SPACE,
        "depth": tune.choice([None, 8, 16]),
        "mix": tune.choice([1, "auto", True]),
        "heads": tune.grid_search([2, 4]),
    }

    def trains(config):
        return [y + (config["depth"] is None) + (config["mix"] == "auto") for y in curve(config)]

    small = experiment(samples=14, space=space, trains=trains)
    small.run()
    assert all(t.config["depth"] in (None, 8, 16) and t.config["heads"] in (2, 4) for t in small.trials)
    log = small.search.model.log()
    assert set(log.configs["depth"]) <= {"None", "8", "16"}
    late = [t.config for t in small.trials[8:]]
    assert sum(c["depth"] is not None and c["mix"] != "auto" for c in late) > len(late) / 2


def test_trials_that_fail_are_not_proposed_again_and_again(tmp_path):
    """The surrogate alone proposes ever larger rates, which fail before they report."""
    model = TuneModel(4, startup=3)
    search = ProbscaleSearch(model, seed=0)
    search.set_search_properties("loss", "min", {"rate": tune.loguniform(1e-5, 1e-1)})
    failed = 0
    for number in range(24):
        name = f"t{number}"
        rate = search.suggest(name)["rate"]
        if rate > 1e-2:
            failed += 1
            search.on_trial_complete(name, None, error=True)
            continue
        for step in range(1, 5):
            search.on_trial_result(name, {"training_iteration": step, "loss": 1 - np.log10(rate) + 1 / step})
        search.on_trial_complete(name, {"training_iteration": 4, "loss": 1.25 - np.log10(rate)})
    assert 1 <= failed <= 12
    search.save(tmp_path / "state")
    again = ProbscaleSearch(TuneModel(4, startup=3))
    again.restore(tmp_path / "state")
    again.set_search_properties("loss", "min", {"rate": tune.loguniform(1e-5, 1e-1)})
    assert again.suggest("next")["rate"] == pytest.approx(search.suggest("next")["rate"], rel=1e-6)


def test_a_result_without_a_place_is_that_of_a_finished_trial():
    """Tune's Repeater passes on the mean of the metric alone."""
    search = ProbscaleSearch(TuneModel(STEPS))
    search.set_search_properties("loss", "min", SPACE)
    search.suggest("a")
    search.on_trial_complete("a", {"loss": 2.0})
    assert search.model.log().points[["training_iteration", "loss"]].to_numpy().tolist() == [[STEPS, 2.0]]


def test_a_restored_scheduler_reads_reports_of_nested_metrics(tmp_path):
    lines = [{"training_iteration": i, "eval": {"loss": 2.0 / i}} for i in (1, 2)]
    (tmp_path / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    small = experiment()
    small.scheduler = ProbscaleScheduler(TuneModel(STEPS))
    small.scheduler.set_search_properties("eval/loss", "min")
    trial = importlib.import_module("small_tune").SmallTrial(0, {"rate": 1e-3}, [])
    trial.last_result, trial.local_path = lines[-1], str(tmp_path)
    small.scheduler.on_trial_add(small, trial)
    assert small.scheduler.model.log().points["eval/loss"].tolist() == [2.0, 1.0]


def test_a_warm_start_may_be_a_surrogate_of_any_engine():
    warm = ps.fit_surrogate(earlier_runs(), embedder=None, model="functional")
    search = ProbscaleSearch(TuneModel(STEPS, warm=warm), seed=3)
    search.set_search_properties("loss", "min", {**SPACE, "task": "now"})
    assert curve(search.suggest("a"))[-1] < BEST + 0.25


def test_a_warm_start_that_shares_no_setting_is_refused():
    search = ProbscaleSearch(TuneModel(STEPS, warm=earlier_runs()))
    with pytest.raises(ConfigError, match=r"nothing about what is chosen: its settings are rate, .* size;"):
        search.set_search_properties("loss", "min", {"size": tune.loguniform(1, 10)})


def test_quantized_and_normal_domains_are_drawn_near_the_best_too():
    space = {"q": tune.quniform(0.0, 1.0, 0.25), "n": tune.randn(0, 1), "i": tune.qrandint(8, 64, 8)}
    drawn = (
        importlib.import_module("probscale.integrations.ray_space")
        .TuneSpace(space)
        .candidates(60, [{"q": 0.5, "n": 0.0, "i": 16}], np.random.default_rng(0))
    )
    assert {item["q"] for item in drawn} <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert all(item["i"] % 8 == 0 and 8 <= item["i"] <= 64 for item in drawn)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TuneModel(0), "full training"),
        (lambda: TuneModel(8, startup=1), "at least 3"),
        (lambda: ProbscaleScheduler(TuneModel(8), risk=0.0), "between 0 and 1"),
        (lambda: ProbscaleScheduler(TuneModel(8), spacing=1.0), "more than 1"),
        (lambda: ProbscaleSearch(TuneModel(8), pool=[]), "at least one configuration"),
        (lambda: ProbscaleSearch(TuneModel(8)).suggest("a"), "no metric is known"),
        (lambda: TuneModel(8, warm=earlier_runs()).aim("loss", "max"), "warm start"),
        (lambda: experiment(space={"rate": 0.1}), "nothing to choose"),
        (lambda: experiment(space={"rate": tune.sample_from(lambda spec: 1)}), "drawn by a function"),
        (lambda: experiment(pool=[{"rate": 1}], space=SPACE), "not both"),
    ],
)
def test_what_is_not_accepted_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


RANGES = {"rate": tune.loguniform(1e-3, 1.0), "decay": tune.loguniform(1e-5, 1e-1)}


def tuner(folder, model, space=RANGES, **options):
    scheduler = ProbscaleScheduler(model)
    config = tune.TuneConfig(
        **{"metric": "loss", "mode": "min", "num_samples": 6, "reuse_actors": True, "scheduler": scheduler}
        | options
    )
    run = tune.RunConfig(storage_path=str(folder), name="experiment", verbose=0)
    return tune.Tuner(
        tuned.train,
        param_space={**space, "optimizer": "sgd", "log": str(folder / "paid")},
        tune_config=config,
        run_config=run,
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_ray_tunes_a_real_training_with_failures_and_pays_no_epoch_twice(ray_cluster, tmp_path):
    model = TuneModel(tuned.EPOCHS, time_attr="epochs", startup=3)
    generator = np.random.default_rng(0)
    pool = [{"rate": 10 ** generator.uniform(-3, 0), "decay": 1e-3, "trouble": ""} for _ in range(4)]
    pool += [{"rate": 0.1, "decay": 1e-3, "trouble": trouble} for trouble in ("raises", "diverges")]
    search = ProbscaleSearch(model, pool=pool)
    results = tuner(tmp_path, model, {}, search_alg=search, num_samples=6).fit()
    assert len(results) == 6
    assert len(results.errors) == 1
    assert "disk gone" in str(results.errors[0])
    paid = (tmp_path / "paid").read_text().count("x")
    assert paid == model.log().n_points
    good = [result for result in results if not result.error and math.isfinite(result.metrics["loss"])]
    assert max(result.metrics["epochs"] for result in good) == tuned.EPOCHS
    best = results.get_best_result(scope="last")
    expected = tuned.curve({**best.config, "optimizer": "sgd"})[best.metrics["epochs"] - 1]
    assert best.metrics["loss"] == pytest.approx(expected)
    read = from_tune(tmp_path / "experiment", axis="epochs", output="loss", config=["rate", "decay"])
    assert read.n_points == model.log().n_points
    assert read.n_runs == model.log().n_runs
    assert any("ended with an error" in note for note in read.notes)
    again = ProbscaleSearch(TuneModel(tuned.EPOCHS, time_attr="epochs", warm=read), metric="loss", mode="min")
    again.set_search_properties("loss", "min", RANGES)
    assert set(again.suggest("a")) == {"rate", "decay"}


@pytest.mark.slow
def test_over_twenty_seeds_it_beats_random_search_with_the_same_number_of_reports():
    gains = []
    for seed in range(20):
        small = experiment(seed, samples=18)
        found = small.run()
        generator = np.random.default_rng(1000 + seed)
        flat = {"rate": SPACE["rate"], "net/width": SPACE["net"]["width"], "optimizer": SPACE["optimizer"]}
        twins = [
            min(curve({name: domain.sample(random_state=generator) for name, domain in flat.items()}))
            for _ in range(max(1, round(small.reports / STEPS)))
        ]
        gains.append(min(twins) - found)
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / len(gains) ** 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("importable")
def test_a_killed_experiment_is_restored_with_what_it_knew(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "1")
    command = [sys.executable, str(Path(__file__).with_name("tune_driver.py")), str(tmp_path)]
    paid = tmp_path / "paid"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        while driver.poll() is None and not (paid.exists() and paid.read_text().count("x") >= 12):
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["trials"] == 8
    assert summary["errors"] == 0
    # Tune itself loses the reports since its last snapshot, at most a second or two before the kill.
    assert summary["points"] <= paid.read_text().count("x") <= summary["points"] + 8
