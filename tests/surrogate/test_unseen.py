"""Configurations whose level values no run has have a spread of their own."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.model.posterior import Tail
from probscale.model.tails import fit_unseen
from probscale.surrogate.unseen import has_unseen, unseen_scale
from tolerances import EXACT


def log_of(offsets, runs=8, seed=0):
    """Finals of tasks that differ by an offset of the log loss."""
    generator = np.random.default_rng(seed)
    rows = []
    for task, offset in enumerate(offsets):
        size = 10 ** generator.uniform(7, 9, runs)
        loss = (1.5 + 40 * size**-0.25) * np.exp(offset + 0.003 * generator.standard_normal(runs))
        rows.append(pd.DataFrame({"task": f"task {task}", "N": size, "loss": loss}))
    frame = pd.concat(rows, ignore_index=True).assign(tokens=1e9)
    frame["run"] = [f"r{i}" for i in range(len(frame))]
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", levels=("task",), params="N")


@pytest.fixture(scope="module")
def log():
    return log_of(0.1 * np.random.default_rng(1).standard_normal(8))


@pytest.fixture(scope="module")
def surrogate(log):
    return ps.fit_surrogate(log, embedder=None, seed=0)


def scaled(surrogate, scale):
    experts = {name: replace(expert, unseen=scale) for name, expert in surrogate.experts.items()}
    return replace(surrogate, experts=experts)


def width(surrogate, **config):
    lower, upper = surrogate.predict([{"N": 1e8, **config}], [1e9]).interval(0.9)
    return float(upper[0, 0] - lower[0, 0])


def test_only_unseen_values_take_the_scale(surrogate):
    known, new = {"task": "task 0"}, {"task": "task 99"}
    assert width(scaled(surrogate, 2.0), **known) == pytest.approx(width(scaled(surrogate, 1.0), **known))
    assert width(scaled(surrogate, 2.0), **new) > 1.5 * width(scaled(surrogate, 1.0), **new)


def test_one_run_of_a_value_makes_it_known(surrogate):
    more = log_of([0.0] * 9 + [0.05], runs=2, seed=3)
    more = more.select((more.configs.task == "task 9").to_numpy())
    more = ps.RunLog(
        more.configs.rename(index=lambda run: f"new {run}"),
        more.points.assign(run="new " + more.points.run.astype(str)),
        more.roles,
    )
    known = surrogate.condition(more)
    (expert,) = known.experts.values()
    rows = expert.rows(more.configs, np.array([-1.0, -2.0]), np.arange(2), np.full(2, 1e9))
    assert not has_unseen(expert.states[0], rows).any()
    assert has_unseen(surrogate.experts["all runs"].states[0], rows).all()


def test_intervals_of_new_tasks_hold_what_they_promise():
    inside = []
    for seed in range(4):
        offsets = 0.1 * np.random.default_rng(seed).standard_normal(18)
        whole = log_of(offsets, runs=5, seed=seed)
        known = whole.configs.task.str.split().str[1].astype(int).to_numpy() < 8
        surrogate = ps.fit_surrogate(whole.select(known), embedder=None, seed=0)
        asked = whole.select(~known)
        lower, upper = surrogate.predict(asked.configs.reset_index(drop=True), [1e9]).interval(0.9)
        truth = asked.points.loss.to_numpy()[:, None]
        inside.append(((lower <= truth) & (truth <= upper)).mean())
    assert 0.75 <= np.mean(inside) <= 0.99


def test_fewer_than_three_values_never_narrow_the_claimed_spread():
    two = ps.fit_surrogate(log_of([0.0, 0.1]), embedder=None, seed=0).experts["all runs"]
    assert two.unseen == max(two.tail.scale, 1.0)
    assert unseen_scale(two.states[0], Tail(scale=0.6)) == 1.0
    assert unseen_scale(two.states[0], Tail(scale=1.4)) == 1.4


def test_without_levels_no_value_is_unseen():
    log = log_of([0.0, 0.1])
    frame = log.points.merge(log.configs.drop(columns="task"), left_on="run", right_index=True)
    plain = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N")
    (expert,) = ps.fit_surrogate(plain, embedder=None, seed=0).experts.values()
    assert expert.unseen is None


def test_two_values_that_agree_do_not_promise_that_a_third_will():
    two = ps.fit_surrogate(log_of([0.0, 0.005], runs=20), embedder=None, seed=0)
    assert width(two, task="new") > 2 * width(two, task="task 0")


def test_a_new_value_beside_a_lone_one_is_foretold_as_that_one_with_a_spread():
    lone = ps.fit_surrogate(log_of([0.0], runs=30), embedder=None, seed=0)
    known, new = (lone.predict([{"N": 1e8, "task": task}], [1e9]) for task in ("task 0", "new"))
    spread = float(new.std[0, 0])
    assert float(new.median[0, 0]) == pytest.approx(float(known.median[0, 0]), abs=0.02 * spread)
    assert spread > 5 * float(known.std[0, 0])


def test_the_report_and_a_saved_surrogate_keep_it(surrogate, tmp_path):
    (expert,) = surrogate.experts.values()
    assert expert.unseen is not None
    told = surrogate.report.experts[0].tails["unseen level values"]["scale"]
    assert told == pytest.approx(expert.unseen, rel=EXACT)
    assert "unseen level values" in str(surrogate.report)
    surrogate.save(tmp_path / "s.safetensors")
    again = ps.load_surrogate(tmp_path / "s.safetensors")
    assert width(again, task="new") == pytest.approx(width(surrogate, task="new"), rel=1e-9)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_scale_is_found_again_from_many_values(true):
    generator = np.random.default_rng(0)
    variance, noise = np.full(4_000, 0.04), np.full(4_000, 0.0025)
    residual = true * np.repeat(generator.standard_normal(400), 10) * np.sqrt(variance + noise)
    share = np.full(4_000, 0.1)
    assert fit_unseen(residual, variance, noise, share, Tail()) == pytest.approx(true, rel=0.1)
