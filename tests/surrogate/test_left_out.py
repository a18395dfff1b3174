"""Settings that every run of the log has and a question leaves out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.encode.donors import donors
from probscale.surrogate.curves import CurveSurrogate
from probscale.surrogate.population import population_level
from tolerances import EXACT, monte_carlo

ENDS = [4e9]
TOKENS = np.geomspace(3e8, 4e9, 5)


def runs(count=110, seed=4):
    """Losses in which a learning rate and an optimizer matter, a seed and a note do not; and their table."""
    rng = np.random.default_rng(seed)
    configs = pd.DataFrame(
        {"run": [f"r{i}" for i in range(count)], "params": rng.choice([1e7, 1e8, 3e8], count)}
    )
    configs["lr"] = 10 ** rng.uniform(-4, -2, count)
    configs["optimizer"] = rng.choice(["adam", "lion", "sgd"], count)
    configs["dropout"] = rng.uniform(0, 0.3, count)
    effect = 1 + 0.2 * (np.log10(configs["lr"]) + 3.0) ** 2 + 0.1 * (configs["optimizer"] == "sgd")
    law = 0.8 * (configs["params"].to_numpy()[:, None] / 1e8) ** -0.3 + 0.8 * (TOKENS / 1e9) ** -0.3
    loss = 1.6 + law * effect.to_numpy()[:, None] * np.exp(0.004 * rng.standard_normal((count, len(TOKENS))))
    return configs, loss


def log_of(configs, loss):
    points = configs.loc[configs.index.repeat(len(TOKENS))]
    points = points.assign(tokens=np.tile(TOKENS, len(configs)), loss=loss.ravel())
    return ps.RunLog.from_frame(points, run="run", axis="tokens", output="loss", params="params")


@pytest.fixture(scope="module")
def told():
    configs, loss = runs()
    known = ps.fit_surrogate(log_of(configs[:40], loss[:40]), embedder=None, seed=0)
    return known, configs[40:].drop(columns="run").reset_index(drop=True), loss[40:]


@pytest.mark.parametrize("absent", [["lr"], ["optimizer"], ["lr", "optimizer"], ["params"]])
def test_intervals_hold_runs_of_which_a_setting_that_matters_is_not_told(told, absent):
    surrogate, asked, truth = told
    lower, upper = surrogate.predict(asked.drop(columns=absent), TOKENS).interval(0.9)
    inside = (lower <= truth) & (truth <= upper)
    full_lower, full_upper = surrogate.predict(asked, TOKENS).interval(0.9)
    assert inside[:, -1].mean() > 0.8
    assert np.median(upper - lower) > 1.5 * np.median(full_upper - full_lower)


def test_a_setting_without_effect_costs_nothing(told):
    surrogate, asked, _ = told
    without, full = (surrogate.predict(part, ENDS) for part in (asked.drop(columns="dropout"), asked))
    assert np.median(without.std / full.std) < 1.05


def test_rows_that_leave_nothing_out_are_as_they_were(told):
    surrogate, asked, _ = told
    gaps = asked.assign(lr=asked["lr"].where(asked.index >= 3))
    mixed, full = (surrogate.predict(part, TOKENS) for part in (gaps, asked))
    np.testing.assert_allclose(mixed.mean[3:], full.mean[3:], rtol=1e-9)
    np.testing.assert_allclose(mixed.quantile(0.05)[3:], full.quantile(0.05)[3:], rtol=1e-9)
    assert (mixed.std[:3, -1] > 2 * full.std[:3, -1]).all()


def test_the_forecast_says_what_was_left_out(told):
    surrogate, asked, _ = told
    gaps = asked[:4].assign(lr=[np.nan, 1e-3, None, 1e-3]).drop(columns="params")
    curves = surrogate.predict(gaps, ENDS)
    assert curves.left_out == {"params": 4, "lr": 2}
    assert "averaged over lr, not given in 2 of 4" in repr(curves)
    assert surrogate.predict(asked, ENDS).left_out == {}
    assert surrogate.best(asked.drop(columns="lr")[:5], ENDS).left_out == {"lr": 5}
    chosen = ps.suggest(surrogate, asked.drop(columns="lr")[:5], 2, cost=ps.FlopsCost(params="params"))
    assert chosen.attrs["notes"] == ["forecasts are averaged over lr, not given"]


def test_what_is_left_out_is_one_value_per_run(told):
    """Draws of a run move together along its curve, and those of two runs do not."""
    surrogate, asked, _ = told
    pair = pd.concat([asked[:1], asked[:1]]).drop(columns=["lr"])
    curves = surrogate.predict(pair, TOKENS[-3:]).latent()
    draws = np.log(curves.sample(4_000, seed=1) - 1.5)
    along = np.corrcoef(draws[:, 0, 0], draws[:, 0, -1])[0, 1]
    between = np.corrcoef(draws[:, 0, -1], draws[:, 1, -1])[0, 1]
    assert along > 0.9
    assert between < 0.3
    assert (np.abs(curves.sample(4_000).mean(axis=0) - curves.mean) < monte_carlo(4_000, curves.std)).all()


def test_the_joint_covariance_is_that_of_draws(told):
    surrogate, asked, _ = told
    ((_, block),) = surrogate.predict(asked[:2].drop(columns=["lr"]), TOKENS[-2:]).latent().blocks
    centre, covariance, _ = block.joint()
    draws = block.transform.forward(block.sample(np.random.default_rng(0), 20_000)).reshape(20_000, -1)
    std = np.sqrt(covariance.diagonal())
    assert (np.abs(draws.mean(axis=0) - centre.ravel()) < 5 * std / np.sqrt(20_000)).all()
    drawn, expected = np.cov(draws.T) / np.outer(std, std), covariance / np.outer(std, std)
    np.testing.assert_allclose(drawn[:2, :2], expected[:2, :2], atol=0.1)
    np.testing.assert_allclose(drawn[2:, 2:], expected[2:, 2:], atol=0.1)
    # Sixteen ways to settle two runs: draws of these correlate by what chance makes of as many.
    assert np.abs(drawn[:2, 2:] - expected[:2, 2:]).max() < 3 / np.sqrt(16)


def test_a_frontier_owes_nothing_to_the_luck_of_what_is_left_out(told):
    """At the level of the population the unknown is the same in all: the best of many is no better than one."""
    surrogate, asked, _ = told
    equal = asked.iloc[[0] * 20].drop(columns="lr").reset_index(drop=True)
    apart, same = (
        each.predict(equal, ENDS).latent().sample(300, seed=0)[:, :, 0]
        for each in (surrogate, population_level(surrogate))
    )
    assert apart.min(axis=1).std() < 0.5 * same.min(axis=1).std()
    np.testing.assert_allclose(same.min(axis=1).mean(), same.mean(), rtol=0.01)


def test_a_saved_surrogate_answers_alike(told, tmp_path):
    surrogate, asked, _ = told
    surrogate.save(tmp_path / "s.safetensors")
    again = ps.load_surrogate(tmp_path / "s.safetensors", embedder=None)
    one, two = (each.predict(asked[:3].drop(columns="lr"), TOKENS) for each in (surrogate, again))
    np.testing.assert_allclose(one.quantile(0.2), two.quantile(0.2), rtol=EXACT)
    np.testing.assert_array_equal(one.sample(5), two.sample(5))


def test_values_come_from_runs_that_resemble_a_question():
    """A rate that falls with size is that of the size asked; one that follows nothing is any."""
    rng = np.random.default_rng(0)
    size = rng.choice([1e7, 1e8, 1e9], 90)
    known = pd.DataFrame(
        {"params": size, "follows": 1e-3 * (size / 1e8) ** -0.5, "free": rng.uniform(1, 2, 90)}
    )
    known["follows"] *= np.exp(0.1 * rng.standard_normal(90))
    asked = pd.DataFrame({"params": [1e7, 1e9]})
    chosen = donors(known, asked, ["follows"], 16)
    assert (size[chosen] == asked["params"].to_numpy()[:, None]).all()
    free = known["free"].to_numpy()[donors(known, asked, ["free"], 16)]
    np.testing.assert_allclose(free.mean(axis=1), known["free"].mean(), atol=0.05)
    np.testing.assert_allclose(free.std(axis=1), known["free"].std(), rtol=0.1)


def test_what_only_some_labels_have_is_left_out_where_they_have_it():
    rng = np.random.default_rng(1)
    configs, loss = runs(60)
    has = configs["optimizer"] == "sgd"
    configs["momentum"] = np.where(has, rng.uniform(0.5, 0.99, 60), np.nan)
    surrogate = ps.fit_surrogate(log_of(configs, loss), embedder=None, seed=0)
    asked = configs.drop(columns=["run", "momentum"])
    assert surrogate.predict(asked, ENDS).left_out == {"momentum": int(has.sum())}


def test_what_runs_of_the_log_lack_too_is_a_value_like_any_other():
    configs, loss = runs(60)
    configs["dropout"] = configs["dropout"].where(configs.index % 3 > 0)
    surrogate = ps.fit_surrogate(log_of(configs, loss), embedder=None, seed=0)
    assert surrogate.predict(configs.drop(columns=["run", "dropout"]), ENDS).left_out == {}


def test_runs_are_looked_through_once_for_all_forecasts(told, monkeypatch):
    surrogate, asked, _ = told
    surrogate.predict(asked[:1], ENDS)
    monkeypatch.setattr(CurveSurrogate, "_assigned", _refuse_long(CurveSurrogate._assigned, 5))
    surrogate.predict(asked[:1].drop(columns="lr"), ENDS)


def _refuse_long(assigned, most):
    def checked(self, frame, *args, **kwargs):
        assert len(frame) <= most
        return assigned(self, frame, *args, **kwargs)

    return checked
