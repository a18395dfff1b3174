"""Restarts: never worse than one start, and the same whoever runs them."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.surrogate import FitOptions

QUICK = FitOptions(rounds=1, iterations=10, restarts=3)


@pytest.fixture(scope="module")
def small():
    return ps.simulate_runs("law", n_runs=10, points=4, seed=3)


@pytest.fixture(scope="module")
def serial(small):
    return ps.fit_surrogate(small, embedder=None, options=QUICK)


def forecast(surrogate):
    return surrogate.predict(surrogate.log.configs.reset_index(drop=True), [1e9, 1e10])


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_an_executor_changes_nothing(small, serial, kind):
    pool = (
        ThreadPoolExecutor(2)
        if kind == "threads"
        else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    )
    with pool as executor:
        side_by_side = ps.fit_surrogate(small, embedder=None, options=replace(QUICK, executor=executor))
    np.testing.assert_array_equal(forecast(side_by_side).mean, forecast(serial).mean)
    np.testing.assert_array_equal(forecast(side_by_side).std, forecast(serial).std)


def test_restarts_end_no_worse_than_one_start(small, serial):
    one = ps.fit_surrogate(small, embedder=None, options=replace(QUICK, restarts=1))
    assert serial.report.experts[0].log_posterior >= one.report.experts[0].log_posterior - 1e-9
    assert serial.report.experts[0].evaluations > one.report.experts[0].evaluations


def test_no_start_at_all_is_refused():
    with pytest.raises(ConfigError, match="restarts is 0; give at least 1"):
        FitOptions(restarts=0)
