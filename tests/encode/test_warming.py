"""Warm-up that configurations tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from probscale.encode.warming import Warming, find_warming, warmth


def test_steps_of_warm_up_and_of_the_run_give_its_share():
    configs = pd.DataFrame({"Warmup Steps": [0, 100, 500, 100], "max_steps": [1000.0, 1000.0, 400.0, np.nan]})
    found = find_warming(configs, configs.columns)
    assert found is not None
    assert found.columns == ("Warmup Steps", "max_steps")
    # What is not told is the usual; more warm-up than run is all of it.
    assert found.shares(configs) == pytest.approx([0.0, 0.1, 1.0, 0.1])


def test_a_share_is_read_as_it_is():
    configs = pd.DataFrame({"warmup_ratio": [0.0, 0.03, 0.05]})
    found = find_warming(configs, configs.columns)
    assert found == Warming("warmup_ratio", None, 0.03)
    assert found.shares(pd.DataFrame({"lr": [1e-3]})) == pytest.approx([0.03])


@pytest.mark.parametrize(
    "configs",
    [
        pd.DataFrame({"lr": [1e-3]}),
        pd.DataFrame({"warmup_steps": [100.0, 200.0]}),
        pd.DataFrame({"warmup_steps": [0, 0], "max_steps": [10, 20]}),
        pd.DataFrame({"warmup_steps": ["auto", "auto"], "max_steps": [10, 20]}),
    ],
)
def test_where_no_warm_up_is_told_there_is_none(configs):
    assert find_warming(configs, configs.columns) is None


def test_without_a_warm_up_nothing_differs_from_a_run_at_the_peak():
    share = np.array([0.01, 0.5, 1.0])
    assert warmth(np.zeros(3), share) == pytest.approx(np.zeros((3, 4)), abs=1e-4)


def test_the_mean_rate_so_far_is_that_of_a_linear_rise():
    share = np.linspace(0.05, 1.0, 12)
    fine = np.linspace(0, 1, 200_001)
    summed = np.cumsum(np.minimum(fine / 0.4, 1.0)) * (fine[1] - fine[0])
    expected = np.interp(share, fine, summed) / share
    assert np.exp(warmth(np.full(12, 0.4), share)[:, 1]) == pytest.approx(expected, rel=1e-3)


def test_what_a_warm_up_does_is_written_out_within_it_and_after():
    within, after = warmth(np.array([0.2, 0.2]), np.array([0.1, 0.4]))
    assert within == pytest.approx([0.5, np.log(0.25), np.exp(-0.5), 1.0])
    assert after == pytest.approx([0.0, np.log(0.75), np.exp(-2.0), 0.5])


def test_a_run_of_no_length_tells_no_share():
    configs = pd.DataFrame({"warmup_steps": [1, 1, 1], "max_steps": [0, 1, 10]})
    assert Warming("warmup_steps", "max_steps", 0.3).shares(configs) == pytest.approx([0.3, 1.0, 0.1])
    assert Warming("warmup_steps").shares(pd.DataFrame({"lr": [1e-3]})) == pytest.approx([0.0])
