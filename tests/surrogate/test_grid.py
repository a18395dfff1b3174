"""model="grid": curves that share their axis values, behind the contract of every surrogate."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, FitError
from probscale.runs import RunLog
from probscale.surrogate.grid_fit import transforms_of
from tolerances import EXACT

EPOCHS = np.arange(1.0, 13.0)
RUNS = 40


def curves_of(lr, width):
    rate = 0.4 - 0.1 * np.log10(lr / 1e-2) ** 2
    return 0.5 + 0.2 * np.log10(lr / 1e-2) ** 2 + (1.5 + 20 / width) * EPOCHS ** -np.maximum(rate, 0.05)


def frame_of(seed=0, *, odd=None):
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(RUNS):
        lr, width = 10 ** rng.uniform(-3, -1), float(rng.integers(16, 512))
        loss = curves_of(lr, width) * (1 + 0.01 * rng.standard_normal(len(EPOCHS)))
        table = {"run": f"r{number}", "lr": lr, "width": width, "epoch": EPOCHS, "loss": loss}
        frames.append(pd.DataFrame(table))
    frame = pd.concat(frames, ignore_index=True)
    return frame if odd is None else odd(frame)


def log_of(frame):
    return RunLog.from_frame(frame, run="run", axis="epoch", output="loss")


@pytest.fixture(scope="module")
def whole():
    return frame_of()


@pytest.fixture(scope="module")
def prefixes(whole):
    ends = pd.Series(np.random.default_rng(1).integers(2, 9, RUNS), index=whole.run.unique())
    return log_of(whole[whole.epoch <= whole.run.map(ends)])


@pytest.fixture(scope="module")
def surrogate(prefixes):
    return ps.fit_surrogate(prefixes, model="grid", embedder=None)


def test_continuations_beat_the_last_value(surrogate, prefixes, whole):
    asked = pd.DataFrame({"run": list(prefixes.runs)})
    truth = whole[whole.epoch == 12].set_index("run").loss.loc[asked.run].to_numpy()
    last = prefixes.finals().points.loss.to_numpy()
    curves = surrogate.predict(asked, [12.0])
    lower, upper = curves.interval(0.9)
    assert np.abs(curves.median[:, 0] - truth).mean() < 0.3 * np.abs(last - truth).mean()
    assert np.mean((truth >= lower[:, 0]) & (truth <= upper[:, 0])) > 0.75


def test_far_configurations_are_less_certain_than_continued_runs(surrogate):
    far = surrogate.predict([{"lr": 0.5, "width": 5000.0}], [12.0]).std
    known = surrogate.predict(pd.DataFrame({"run": ["r0", "r5"]}), [12.0]).std
    assert np.all(far > 1.3 * known)


def test_more_points_change_the_run_and_its_neighbours(surrogate, whole, prefixes):
    more = log_of(whole[(whole.run == "r3") & (whole.epoch <= 11)])
    conditioned = surrogate.condition(more)
    ask = pd.DataFrame({"run": ["r3"]})
    before, after = (s.predict(ask, [12.0]).latent().std[0, 0] for s in (surrogate, conditioned))
    assert after < before
    twice = conditioned.condition(more)
    np.testing.assert_allclose(twice.predict(ask, [12.0]).mean, conditioned.predict(ask, [12.0]).mean)


def test_axis_values_off_the_grid_can_be_learnt_and_asked(surrogate, whole):
    configs = whole.loc[whole.run == "r0", ["lr", "width"]].iloc[:1]
    extra = configs.assign(run="odd", epoch=2.5, loss=1.4)
    conditioned = surrogate.condition(log_of(extra))
    assert 2.5 in conditioned.experts["all runs"].grid
    close = conditioned.predict(pd.DataFrame({"run": ["odd"]}), [2.5]).median[0, 0]
    assert abs(close - 1.4) < abs(surrogate.predict(configs, [2.5]).median[0, 0] - 1.4)


def test_a_saved_surrogate_gives_the_same_answers(surrogate, tmp_path, whole):
    surrogate.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors")
    asked = whole.drop_duplicates("run").iloc[:3][["run", "lr", "width"]].assign(run=["r0", "r1", "new"])
    one, two = (s.predict(asked, EPOCHS) for s in (surrogate, loaded))
    np.testing.assert_allclose(one.mean, two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std, two.std, rtol=EXACT)
    np.testing.assert_allclose(one.sample(3, seed=2), two.sample(3, seed=2), rtol=1e-8)
    assert loaded.report == surrogate.report


def test_a_complete_grid_is_solved_by_eigenvectors(whole):
    surrogate = ps.fit_surrogate(log_of(whole), model="grid", embedder=None)
    (entry,) = surrogate.report.experts
    assert entry.engine == "grid, eigenvectors"
    assert entry.points == RUNS * len(EPOCHS)
    new = surrogate.predict([{"lr": 0.02, "width": 100.0}], EPOCHS)
    np.testing.assert_allclose(new.median[0], curves_of(0.02, 100.0), rtol=0.1)


def test_diverged_runs_are_set_apart_and_survive_saving(tmp_path):
    def spoil(frame):
        bad = frame.run.isin([f"r{i}" for i in range(5)])
        return frame.assign(loss=frame.loss.where(~bad, 40.0 + frame.loss))

    surrogate = ps.fit_surrogate(log_of(frame_of(odd=spoil)), model="grid", embedder=None)
    assert surrogate.report.diverged == 5
    curves = surrogate.predict([{"lr": 0.02, "width": 100.0}], EPOCHS)
    assert 0 < curves.prob_diverge[0] < 0.5
    surrogate.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors").predict([{"lr": 0.02, "width": 100.0}], EPOCHS)
    np.testing.assert_allclose(loaded.prob_diverge, curves.prob_diverge, rtol=1e-9)


def test_large_logs_on_a_grid_take_the_grid_engine_by_themselves(whole):
    from probscale.surrogate import FitOptions

    surrogate = ps.fit_surrogate(log_of(whole), embedder=None, options=FitOptions(most=200, iterations=5))
    assert surrogate.report.experts[0].engine.startswith("grid")
    with pytest.raises(ConfigError, match='model="exact"'):
        surrogate.botorch([12.0])


def test_runs_without_a_common_grid_are_told_so(whole):
    rng = np.random.default_rng(0)
    ragged = whole.assign(epoch=whole.epoch + rng.uniform(0, 0.5, len(whole)))
    with pytest.raises(FitError, match=r"share 5 to 128 values of 'epoch'.*40 runs, 480 points"):
        ps.fit_surrogate(log_of(ragged), model="grid", embedder=None)


def test_runs_that_differ_in_labels_alone_are_fitted():
    steps = np.geomspace(1, 64, 7)
    rows = [
        (
            f"{learner}-{task}",
            f"learner {learner}",
            f"task {task}",
            step,
            1 + 0.1 * learner + 0.05 * task + 0.5 / step,
        )
        for learner in range(6)
        for task in range(5)
        for step in steps
        if (learner, task) != (2, 3)
    ]
    frame = pd.DataFrame(rows, columns=["run", "learner", "task", "step", "loss"])
    log = RunLog.from_frame(frame, run="run", axis="step", output="loss", levels=("learner", "task"))
    surrogate = ps.fit_surrogate(log, embedder=None, model="grid")
    curves = surrogate.predict([{"learner": "learner 2", "task": "task 3"}], at=steps)
    truth = 1 + 0.2 + 0.15 + 0.5 / steps
    assert np.abs(curves.mean[0] - truth).max() < 0.05


def accuracies(seed, best):
    """Accuracies of runs on one grid, which leave nothing for a ceiling as far as their settings let them."""
    rng = np.random.default_rng(seed)
    lr, width = 10 ** rng.uniform(-3, -1, RUNS), rng.integers(16, 512, RUNS).astype(float)
    worth = 1.1 * np.log(width / 90) - 2 * np.log10(lr / 1e-2) ** 2
    odds = worth[:, None] + 1.2 * np.log(EPOCHS / 5) + 0.1 * rng.standard_normal((RUNS, 1))
    score = best * 0.97 / (1 + np.exp(-odds)) + best * 0.003 * rng.standard_normal((RUNS, len(EPOCHS)))
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(RUNS)], "lr": lr, "width": width})
    frame = frame.loc[frame.index.repeat(len(EPOCHS))].reset_index(drop=True)
    return frame.assign(epoch=np.tile(EPOCHS, RUNS), score=score.clip(0, best).ravel())


@pytest.mark.parametrize("best", [1.0, 100.0])
def test_accuracies_of_settings_beyond_those_seen_lie_in_their_intervals(best):
    frame = accuracies(0, best)
    large = frame.width > frame.width.quantile(0.75)
    roles = {"run": "run", "axis": "epoch", "output": "score", "goal": "max"}
    log = RunLog.from_frame(frame[~large].reset_index(drop=True), **roles)
    surrogate = ps.fit_surrogate(log, model="grid", embedder=None)
    assert surrogate.report.experts[0].transform.startswith("log odds")
    asked = frame[large].drop_duplicates("run")[["lr", "width"]]
    truth = frame[large].score.to_numpy().reshape(-1, len(EPOCHS))
    lower, upper = surrogate.predict(asked, EPOCHS).interval(0.9)
    assert np.mean((lower <= truth) & (truth <= upper)) > 0.8
    assert (lower >= 0).all()
    assert (upper <= best).all()


def test_a_transform_is_fitted_once(whole):
    signed = log_of(whole.assign(loss=whole.loss - whole.loss.median()))
    assert len(transforms_of(signed, np.arange(RUNS), "auto")) == 1
    assert len(transforms_of(log_of(whole), np.arange(RUNS), "auto")) == 3
