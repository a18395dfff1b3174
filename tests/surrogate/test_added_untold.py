"""Runs added to a surrogate without a setting that every run of its fit has."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

import probscale as ps

END = 4e9
KEPT, ADDED, ASKED = {"finals": 60, "exact": 40, "grid": 60, "functional": 60}, 16, 30
CURVES = ("exact", "grid", "functional")


def simulated(engine, seed=0):
    """Configurations and losses in which a learning rate and an optimizer matter; see `log_of`."""
    rng = np.random.default_rng(seed)
    count = KEPT[engine] + ADDED + ASKED
    configs = pd.DataFrame(
        {"run": [f"r{i}" for i in range(count)], "params": 10 ** rng.uniform(7, 8.3, count)}
    )
    configs["lr"] = np.exp(rng.uniform(np.log(3e-4), np.log(3e-2), count))
    configs["optimizer"] = rng.choice(["adam", "sgd"], count)
    at = np.array([END]) if engine == "finals" else np.geomspace(5e7, END, 12)
    rate = np.log(configs["lr"] / 3e-3) + 0.15 * np.log(configs["params"] / 5e7)
    own = 0.04 * rate**2 + 0.03 * (configs["optimizer"] == "sgd") + rng.normal(0, 0.01, count)
    law = 1.2 * (configs["params"] / 3e7) ** -0.3
    loss = 1.9 + (law + own).to_numpy()[:, None] + 1.2 * (at / 1e9) ** -0.3
    return configs, at, loss + rng.normal(0, 0.004, loss.shape)


def log_of(configs, at, loss, without=(), points=None):
    """Log of the first points of runs, some settings not told."""
    configs = configs.assign(**{name: np.nan for name in without})
    points = len(at) if points is None else points
    frame = configs.loc[configs.index.repeat(points)]
    frame = frame.assign(tokens=np.tile(at[:points], len(configs)), loss=loss[:, :points].ravel())
    roles = {"config": ["lr", "optimizer"], "params": "params"}
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", **roles)


class Case:
    """A surrogate, the same after more runs with and without their learning rate, and what to ask."""

    def __init__(self, engine, seed=0, without=("lr",)):
        configs, at, loss = simulated(engine, seed)
        first, second = KEPT[engine], KEPT[engine] + ADDED
        known, added, asked = (
            configs.iloc[part] for part in np.split(np.arange(len(configs)), [first, second])
        )
        model = "auto" if engine == "finals" else engine
        prefix = None if engine == "finals" else 5
        self.added, self.asked = added, asked.drop(columns="run").reset_index(drop=True)
        self.ends, self.truth, self.without = loss[first:second, -1], loss[second:, -1], list(without)
        self.fitted = ps.fit_surrogate(log_of(known, at, loss[:first]), embedder=None, seed=0, model=model)
        more = loss[first:second]
        self.news = log_of(added, at, more, without, prefix)
        self.untold = self.fitted.condition(self.news)
        self.told = self.fitted.condition(log_of(added, at, more, (), prefix))

    def unsettled(self):
        return self.asked.drop(columns=self.without)

    def own(self):
        return [{"run": run} for run in self.added["run"]]


@functools.cache
def case_of(engine):
    return Case(engine)


@pytest.fixture(params=KEPT)
def case(request):
    return case_of(request.param)


@pytest.fixture(params=CURVES)
def curves(request):
    return case_of(request.param)


def test_what_is_left_out_later_is_still_missed_in_questions(case):
    """A question without a rate stays as open as before, although some runs of the log have none now."""
    before, after = (each.predict(case.unsettled(), [END]) for each in (case.fitted, case.untold))
    assert after.left_out == before.left_out == {"lr": ASKED}
    assert np.median(after.std / before.std) > 0.9
    lower, upper = after.interval(0.9)
    assert ((lower[:, 0] <= case.truth) & (case.truth <= upper[:, 0])).mean() > 0.75


def test_runs_without_a_setting_teach_less_than_runs_with_it(case):
    fitted, told, untold = (
        np.median(each.predict(case.asked, [END]).latent().std)
        for each in (case.fitted, case.told, case.untold)
    )
    assert told < untold < 1.01 * fitted


def test_the_end_of_a_run_without_a_setting_is_told_by_its_beginning(curves):
    at_all, own = (
        curves.untold.predict(asked, [END])
        for asked in (curves.added.drop(columns=["run", "lr"]), curves.own())
    )
    assert own.left_out == {}
    assert np.median(own.std / at_all.std) < 0.5
    lower, upper = own.interval(0.9)
    assert ((lower[:, 0] <= curves.ends) & (curves.ends <= upper[:, 0])).mean() > 0.8
    exact = curves.told.predict(curves.own(), [END])
    assert np.median(own.std / exact.std) > 0.9


@pytest.mark.parametrize("engine", ["exact", "grid"])
def test_points_in_two_parts_are_points_at_once(engine):
    case = case_of(engine)
    first = case.news.truncate(until=float(case.news.points["tokens"].unique()[2]))
    steps = case.fitted.condition(first).condition(case.news)
    for asked in (case.own(), case.asked):
        one, two = (each.predict(asked, [END]) for each in (case.untold, steps))
        np.testing.assert_allclose(one.mean, two.mean, rtol=1e-6)
        np.testing.assert_allclose(one.std, two.std, rtol=1e-4)


@pytest.mark.parametrize("engine", CURVES)
@pytest.mark.parametrize("fitted", [True, False], ids=["in the fit too", "later only"])
def test_a_run_may_begin_at_zero(engine, fitted):
    configs, at, loss = simulated(engine)
    zero, first, second = np.r_[0.0, at[1:]], KEPT[engine], KEPT[engine] + 3
    known = log_of(configs[:first], zero if fitted else at, loss[:first])
    later = log_of(configs[first:second], zero, loss[first:second], ["lr"], 6)
    surrogate = ps.fit_surrogate(known, embedder=None, model=engine).condition(later)
    own = surrogate.predict([{"run": run} for run in configs["run"][first:second]], [END])
    assert (np.abs(own.median[:, 0] - loss[first:second, -1]) < 6 * own.std[:, 0]).all()
    assert (own.std < 0.1).all()


def test_only_runs_that_leave_out_what_all_have_are_doubted():
    case = case_of("finals")
    (known,) = case.fitted._known["loss"].values()
    assert known.untold(case.fitted.log.configs) is None
    configs = case.added.set_index("run")[["params", "lr", "optimizer"]]
    assert known.untold(configs) is None
    found = known.untold(configs.assign(lr=configs["lr"].where(np.arange(ADDED) % 4 > 0)))
    assert found is not None
    assert found.runs.tolist() == [0, 4, 8, 12]
    assert found.typical["lr"].isna().all()
    assert all(way["lr"].notna().all() for way in found.ways)


def test_draws_agree_with_intervals_where_a_setting_is_not_told(curves):
    asked = curves.own()[:4]
    forecast = curves.untold.predict(asked, [END])
    lower, upper = forecast.interval(0.8)
    low, high = np.quantile(forecast.sample(4_000, seed=1), [0.1, 0.9], axis=0)
    np.testing.assert_allclose(high - low, upper - lower, rtol=0.15)


def test_a_file_keeps_what_runs_may_be_off_by(case, tmp_path):
    case.untold.save(tmp_path / "s.safetensors")
    again = ps.load_surrogate(tmp_path / "s.safetensors", embedder=None)
    for asked in (case.asked[:5], case.unsettled()[:5], case.own()[:5]):
        one, two = (each.predict(asked, [END]) for each in (case.untold, again))
        np.testing.assert_allclose(one.quantile(0.2), two.quantile(0.2), rtol=1e-10)
        np.testing.assert_allclose(one.std, two.std, rtol=1e-10)
    assert again.later == case.untold.later
