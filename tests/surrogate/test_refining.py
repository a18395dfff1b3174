"""Many finals: parameters that a subset has taught are refined on more of them, and the rest judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.surrogate import fitting
from probscale.surrogate.averaging import Mixture, alone, mixture_tail
from probscale.surrogate.fitting import encoders_of, fit_output
from probscale.surrogate.options import FitOptions

OPTIONS = FitOptions(subset=40, refined=80, rounds=1, iterations=5)


def finals(runs=120):
    rng = np.random.default_rng(0)
    size, lr = 10 ** rng.uniform(6, 8, runs), 10 ** rng.uniform(-4, -2, runs)
    loss = 2 + 40 * size**-0.25 + 0.05 * np.log10(lr / 1e-3) ** 2 + rng.normal(0, 0.005, runs)
    table = {"run": np.arange(runs), "step": 1_000, "loss": loss, "params": size, "lr": lr}
    return ps.RunLog.from_frame(
        pd.DataFrame(table), run="run", axis="step", output="loss", params="params", config=["params", "lr"]
    )


def fitted(log, options=OPTIONS):
    return fit_output(log, encoders_of(log, None), options, np.random.default_rng(0))


@pytest.fixture
def few_judge(monkeypatch):
    monkeypatch.setattr(fitting, "FEWEST_JUDGES", 15)


def test_parameters_of_many_finals_are_refined(few_judge):
    (more,), (fewer,) = fitted(finals())[1], fitted(finals(), replace(OPTIONS, refined=0))[1]
    assert more.evaluations > fewer.evaluations
    assert more.objective != fewer.objective


def test_finals_that_teach_nothing_judge(few_judge):
    _, _, points = fitted(finals())
    assert points.judges is not None
    assert 15 <= len(points.judges) <= 40  # Two thirds teach, and some of the subset are not among these.
    assert points.take(np.arange(100)).judges is None


def test_where_few_are_left_or_none_refine_all_judge(few_judge, monkeypatch):
    assert fitted(finals(), replace(OPTIONS, refined=40))[2].judges is None
    assert fitted(finals(50))[2].judges is None
    monkeypatch.setattr(fitting, "FEWEST_JUDGES", 60)
    assert fitted(finals())[2].judges is None


def test_what_others_leave_over_says_nothing_of_the_spread(few_judge, monkeypatch):
    expert, _, points = fitted(finals())
    mixture, judges = alone(expert.states[0]), points.judges
    before, of_all = (mixture_tail(mixture, points.cells, each) for each in (judges, None))
    left_out = Mixture.left_out

    def far(self, groups):
        residual, *rest = left_out(self, groups)
        others = np.setdiff1d(np.arange(len(residual)), judges)
        residual[others] *= 50
        return residual, *rest

    monkeypatch.setattr(Mixture, "left_out", far)
    assert mixture_tail(mixture, points.cells, judges) == before
    assert mixture_tail(mixture, points.cells).scale > 2 * of_all.scale
