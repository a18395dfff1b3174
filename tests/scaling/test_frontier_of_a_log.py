"""A frontier without a pool: sizes between those of the log, and levels at which one law holds."""

import warnings

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import MisfitWarning
from probscale.runs import Roles
from probscale.scaling import fit_frontier
from probscale.scaling.between import with_sizes_between
from probscale.scaling.levels import longest_stretch, spread_out
from probscale.scaling.optimum import OptimumPosterior

COST = ps.FlopsCost(params="N")
EXPONENT = 0.15
"""Of a frontier whose sizes and tokens both have 0.3."""


def curve(size, tokens):
    return 1.7 + 0.5 * (size / 1e8) ** -0.3 + 0.5 * (tokens / 2e9) ** -0.3


def ladder(sizes, ends, *, planned=False, points=12):
    generator, rows = np.random.default_rng(0), []
    for run, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        tokens = np.geomspace(0.02 * end, end, points)
        noise = np.exp(2e-3 * generator.standard_normal() + 1e-3 * generator.standard_normal(points))
        rows.append(
            pd.DataFrame({"run": run, "N": size, "tokens": tokens, "loss": curve(size, tokens) * noise})
        )
        if planned:
            rows[-1]["D"] = end
    return ps.RunLog.from_frame(
        pd.concat(rows, ignore_index=True),
        **{"run": "run", "axis": "tokens", "output": "loss", "params": "N"},
        horizon="D" if planned else None,
    )


def exponent_of(log):
    found = fit_frontier(ps.fit_surrogate(log, embedder=None, seed=0), cost=COST, seed=0)
    return found, found.law.interval(0.9)["exponent"]


def test_the_law_of_few_sizes_is_that_of_all():
    sizes = np.geomspace(1e7, 1e9, 5)
    log = ladder(np.repeat(sizes, 2), np.tile([2e9, 4e9], 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, (low, high) = exponent_of(log)
    assert low <= EXPONENT <= high
    assert high - low < 0.1
    # The frontier itself goes on to what the dearest run has spent, where sizes bind the best.
    assert found.compute[-1] == pytest.approx(6 * 1e9 * 4e9)
    assert found.law_compute[-1] < 0.8 * found.compute[-1]
    assert 0.3 < found.optimum.params_exponent.mean < 0.7


def test_runs_of_planned_lengths_follow_one_law():
    sizes = np.repeat(np.geomspace(1e7, 1e9, 6), 3)
    log = ladder(sizes, np.tile([8.0, 25.0, 80.0], 6) * sizes, planned=True, points=5)
    _, (low, high) = exponent_of(log)
    assert low <= EXPONENT <= high
    assert high - low < 0.1


def test_a_frontier_that_follows_its_only_size_says_so():
    log = ladder([1e8, 1e8], [1e9, 2e9])
    with pytest.warns(MisfitWarning, match="at hardly any compute is the best run neither of the smallest"):
        fit_frontier(ps.fit_surrogate(log, embedder=None, seed=0), cost=COST, seed=0)


def test_sizes_between_follow_the_best_of_their_neighbours():
    frame = pd.DataFrame(
        {
            "N": [1e8, 1e8, 1.6e8, 1.6e8, 4e8],
            "lr": [1e-3, 9e-3, 4e-3, 8e-3, 1e-2],
            "shift": [0.0, 0.0, 2.0, 2.0, 2.0],
            "seed": [0, 1, 2, 3, 4],
            "name": ["small", "small", "middle", "middle", "large"],
            "kind": ["a", "b", "a", "a", "b"],
        },
        index=["r0", "r1", "r2", "r3", "r4"],
    )
    roles = Roles("run", "tokens", ("loss",), "min", (), "N", None, ("lr", "shift", "seed", "name", "kind"))
    losses = np.array([[3.0, np.nan], [3.1, 3.0], [2.9, 2.5], [3.0, 2.6], [2.0, 2.0]])
    found = with_sizes_between(frame, losses, roles)
    assert list(found.index[:5]) == list(frame.index)
    assert found.index[5] == "between r0 and r2, N 1.265e+08"
    assert all(name.startswith("between r1 and r4, ") for name in found.index[6:])
    steps = np.diff(np.log([1e8, *found["N"].iloc[6:], 4e8]))
    np.testing.assert_allclose(steps, np.log(4) / 6)
    assert list(found["kind"].iloc[5:]) == ["a", *"bbbbb"]
    first = found.iloc[5]
    assert first["lr"] == pytest.approx(2e-3)
    assert first["shift"] == pytest.approx(1.0)
    assert pd.isna(first["name"])
    assert pd.isna(first["seed"])


def test_the_longest_stretch_forgives_a_single_level():
    levels = np.geomspace(1, 1e9, 10)
    kept = np.array([1, 0, 0, 1, 1, 0, 1, 1, 0, 0], dtype=bool)
    assert longest_stretch(levels, kept) == pytest.approx((1e3, 1e7))
    assert longest_stretch(levels, np.zeros(10, dtype=bool)) is None
    assert longest_stretch(np.geomspace(1, 2, 10), kept) is None


def test_levels_go_on_to_what_was_observed_and_keep_their_own():
    law, observed = np.geomspace(10, 100, 5), np.geomspace(3, 2000, 40)
    levels = spread_out(law, observed)
    assert set(law) <= set(levels)
    assert (np.diff(levels) > 0).all()
    assert (levels[0], levels[-1]) == pytest.approx((3, 2000))
    np.testing.assert_array_equal(spread_out(law, law[1:-1]), law)


def test_exponents_of_the_optimum_are_taken_where_the_law_goes():
    from probscale.scaling.draws import Draws

    compute = np.geomspace(1, 1e4, 5)
    axis = Draws(np.tile([1.0, 1.0, 10.0, 100.0, 100.0], (3, 1)))
    kept = np.array([False, True, True, True, False])
    found = OptimumPosterior(compute, None, axis, np.ones((1, 5)), pd.Index(["a"]), "tokens", followed=kept)
    assert found.axis_exponent.mean == pytest.approx(1.0)
