"""An allocation: every run as far as it went, the best and the lost ones by name."""

import math

import numpy as np
import pytest

import probscale as ps
from probscale import plot

POOL = [{"N": 10.0 * 2**i, "lr": 0.1 * (1 + i % 3)} for i in range(6)]


def trained(config, until, state):
    start = 0.0 if state is None else state["at"]
    lost = math.nan if config["N"] == 20.0 else 0.0
    at = np.linspace(start, until, 4)[1:]
    points = [(t, 1 + 3 / config["N"] ** 0.5 + 5 * t**-0.5 + (lost if t == at[-1] else 0.0)) for t in at]
    return points, {"at": until}


@pytest.fixture(scope="module")
def result():
    cost = ps.FlopsCost(params="N", per_param_token=1.0)
    return ps.allocate(POOL, trained, total=1e4, cost=cost, axis="tokens", strategy="halving", ledger=None)


def test_an_allocation_is_drawn_run_by_run(ax, result):
    plot.plot_allocation(result, unit="nats", cost_unit="FLOPs", ax=ax)
    lines = {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}
    assert set(lines) == {"best run", "other runs", "diverged"}
    best = result.runs.loc[result.runs["loss"].idxmin()]
    at, values = lines["best run"].get_data()
    assert at[-1] == best["tokens"]
    assert values.min() == pytest.approx(result.best.output)
    # Where the diverged run was last seen with a finite loss.
    seen = result.log.points.query("run == @result.runs.name[1]").dropna(subset="loss")
    np.testing.assert_allclose(lines["diverged"].get_data(), seen[["tokens", "loss"]].to_numpy()[-1:].T)
    assert len(ax.get_lines()) == 1 + result.log.n_runs
    assert ax.get_ylabel() == "loss (nats)"
    assert ax.get_title() == "6 of 6 runs for 10⁴ FLOPs"
