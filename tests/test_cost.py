import doctest
import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import probscale.cost.arithmetic
import probscale.runs.log
from probscale.cost import (
    FlopsCost,
    FunctionCost,
    MoneyCost,
    RateCost,
    SecondsCost,
    TableCost,
    ThroughputCost,
)
from probscale.errors import ConfigError, ShapeError
from probscale.runs import RunLog

EXACT = 1e-12
CONFIGS = [
    {"id": "a", "N": 1e8, "layers": 12, "width": 768, "embedding": 4e7, "batch_tokens": 2**17, "gpus": 8},
    {"id": "b", "N": 4e8, "layers": 24, "width": 1024, "embedding": 5e7, "batch_tokens": 2**19, "gpus": 16},
    {"id": "a", "N": 1e8, "layers": 12, "width": 768, "embedding": 4e7, "batch_tokens": 2**17, "gpus": 8},
]
LOG = pd.DataFrame(
    {
        "id": ["a", "a", "a", "b", "b"],
        "step": [10.0, 20.0, 40.0, 10.0, 40.0],
        "seconds": [5.0, 10.0, 20.0, 20.0, 80.0],
        "N": [1e8] * 3 + [4e8] * 2,
        "loss": [4.0, 3.0, 2.5, 3.9, 2.4],
    }
)
SECONDS = SecondsCost.from_frame(LOG, run="id", axis="step", seconds="seconds", params="N")
COSTS = {
    "flops": FlopsCost("N"),
    "flops with options": FlopsCost(
        "N", attention=("layers", "width", 1024), embedding_params="embedding", tokens_per_axis="batch_tokens"
    ),
    "throughput": ThroughputCost(FlopsCost("N"), 4e14),
    "money": MoneyCost(ThroughputCost(FlopsCost("N"), 4e14), device_hour=2.5, devices="gpus"),
    "seconds": SECONDS,
    "table": TableCost.from_frame(LOG, run="id", axis="step", cost="seconds"),
    "rate": RateCost("gpus"),
    "function": FunctionCost(lambda configs, at: configs[["N"]].to_numpy() * at**1.5),
}


@pytest.fixture(params=COSTS)
def cost(request):
    return COSTS[request.param]


def test_a_cost_is_zero_at_the_start_and_never_falls(cost):
    at = np.linspace(0, 40, 9)
    costs = cost(CONFIGS, at)
    assert costs.dtype == np.float64
    np.testing.assert_array_equal(costs[:, 0], 0)
    assert (np.diff(costs, axis=1) > 0).all()


def test_costs_turned_round_give_the_axis_back(cost):
    at = np.array([[1e-3, 0.5, 40.0], [3.0, 10.0, 39.0], [7.0, 20.0, 25.0]])
    np.testing.assert_allclose(cost.axis_at(CONFIGS, cost(CONFIGS, at)), at, rtol=1e-9)
    one = cost(CONFIGS, at)[:, 1]
    np.testing.assert_allclose(cost.axis_at(CONFIGS, one), at[:, 1], rtol=1e-9)
    assert (cost.axis_at(CONFIGS, np.zeros(3)) == 0).all()


def test_a_cost_that_begins_flat_is_turned_round_at_its_end():
    free = FunctionCost(lambda configs, at: np.maximum(at - 5.0, 0.0))
    np.testing.assert_allclose(free.axis_at(CONFIGS, [1.0, 2.0, 1e6]), [6.0, 7.0, 1e6 + 5], rtol=1e-9)


def test_the_shape_follows_the_axis_values(cost):
    grid = cost(CONFIGS, [10.0, 40.0])
    assert grid.shape == (3, 2)
    np.testing.assert_array_equal(cost(CONFIGS, 40), grid[:, 1])
    np.testing.assert_array_equal(cost(CONFIGS, np.tile([10.0, 40.0], (3, 1))), grid)
    np.testing.assert_array_equal(cost(pd.DataFrame(CONFIGS, index=[7, 7, 9]), [10.0, 40.0]), grid)
    np.testing.assert_array_equal(grid[0], grid[2])


def test_increments_add_up_to_the_whole(cost):
    places = [0.0, 3.0, 10.0, 25.0, 40.0]
    paid = sum(cost.increment(CONFIGS, start, until) for start, until in itertools.pairwise(places))
    np.testing.assert_allclose(paid, cost(CONFIGS, 40.0), rtol=EXACT)


def test_each_run_may_be_resumed_from_its_own_place(cost):
    start, until = np.array([0.0, 10.0, 20.0]), np.array([10.0, 20.0, 20.0])
    expected = [cost([config], until[i])[0] - cost([config], start[i])[0] for i, config in enumerate(CONFIGS)]
    np.testing.assert_allclose(cost.increment(CONFIGS, start, until), expected, rtol=EXACT)
    ahead = cost.increment(CONFIGS, start, np.c_[until, until + 10])
    assert ahead.shape == (3, 2)
    np.testing.assert_allclose(ahead[:, 0], expected, rtol=EXACT)


def test_the_cost_of_a_log_is_the_sum_over_its_runs(cost):
    frame = LOG.merge(pd.DataFrame(CONFIGS).drop_duplicates("id").drop(columns="N"), on="id")
    log = RunLog.from_frame(frame.drop(columns="seconds"), run="id", axis="step", output="loss", params="N")
    spent = cost.spent(log)
    assert list(spent.index) == ["a", "b"]
    np.testing.assert_allclose(spent, cost(CONFIGS[:2], 40.0), rtol=EXACT)
    np.testing.assert_allclose(cost.spent(log.truncate(20))["a"], cost(CONFIGS[:1], 20.0)[0], rtol=EXACT)
    np.testing.assert_allclose(cost.spent(log.truncate(20))["b"], cost(CONFIGS[1:2], 10.0)[0], rtol=EXACT)


def test_flops_agree_with_arithmetic_by_hand():
    assert FlopsCost("N")(CONFIGS, 1e9)[1] == 6 * 4e8 * 1e9
    full = COSTS["flops with options"](CONFIGS, 3)
    tokens = 3 * 2**19
    assert full[1] == pytest.approx(tokens * (6 * 4e8 + 6 * 5e7 + 12 * 24 * 1024 * 1024), rel=EXACT)


def test_flops_agree_with_the_products_of_a_transformer_counted_one_by_one():
    """Two FLOPs per multiply-add of every matrix, forward; twice that again, backward."""
    layers, width, context = 3, 16, 32
    weights = layers * (4 * width**2 + 8 * width**2)
    forward = 0
    for _ in range(layers):
        forward += 2 * 4 * width**2 + 2 * 8 * width**2  # projections of one token
        forward += 2 * context * width  # its scores
        forward += 2 * context * width  # its values
    cost = FlopsCost("N", attention=(layers, width, context))
    assert cost([{"N": weights}], 1.0)[0] == 3 * forward


def test_seconds_of_known_runs_are_their_own_and_new_ones_follow_the_law():
    np.testing.assert_allclose(SECONDS(CONFIGS, 100.0), [50.0, 200.0, 50.0], rtol=EXACT)
    assert (SECONDS.slope, SECONDS.scatter) == (pytest.approx(1.0, rel=1e-9), pytest.approx(0.0, abs=1e-9))
    np.testing.assert_allclose(
        SECONDS([{"N": 2e8}, {"N": 2e8, "id": "new"}], 100.0), [100.0, 100.0], rtol=1e-9
    )


def test_the_law_of_seconds_agrees_with_polyfit():
    rng = np.random.default_rng(0)
    sizes = pd.Series(rng.uniform(1e6, 1e9, 30), index=[f"r{i}" for i in range(30)])
    rates = np.exp(rng.normal(0, 0.2, 30)) * 1e-9 * sizes**0.8
    cost = SecondsCost.from_rates(rates, sizes, run="id", params="N")
    slope, intercept = np.polyfit(np.log(sizes), np.log(rates), 1)
    residuals = np.log(rates) - slope * np.log(sizes) - intercept
    np.testing.assert_allclose(
        [cost.slope, cost.intercept, cost.scatter],
        [slope, intercept, np.sqrt((residuals**2).sum() / 28)],
        rtol=1e-8,
    )


def test_one_size_is_extrapolated_in_proportion():
    cost = SecondsCost.from_frame(LOG[LOG["id"] == "a"], run="id", axis="step", seconds="seconds", params="N")
    np.testing.assert_allclose(cost([{"N": 1e8}, {"N": 3e8}], 10.0), [5.0, 15.0], rtol=EXACT)


def test_a_restart_that_resets_the_clock_is_added_up():
    frame = LOG.assign(seconds=[5.0, 2.0, 12.0, 20.0, np.nan])
    cost = SecondsCost.from_frame(frame, run="id", axis="step", seconds="seconds")
    assert cost.rates.to_dict() == {"a": (5 + 12) / 40, "b": 20 / 10}


def test_money_is_device_hours_times_their_price():
    flops = 6 * 4e8 * 1e12
    hours = flops / 4e14 / 3600
    assert COSTS["money"](CONFIGS, 1e12)[1] == pytest.approx(hours * 16 * 2.5, rel=EXACT)
    assert MoneyCost(SECONDS, 1.0, unit="EUR").unit == "EUR"


def test_a_table_gives_what_was_recorded_and_a_line_between():
    table = COSTS["table"]
    np.testing.assert_allclose(table(CONFIGS[:2], [5, 20, 40]), [[2.5, 10, 20], [10, 40, 80]], rtol=EXACT)


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float64, array_shapes(min_dims=1, max_dims=1, max_side=5), elements=st.floats(1, 1e10)),
    arrays(np.float64, array_shapes(min_dims=1, max_dims=1, max_side=5), elements=st.floats(1e-3, 1e13)),
)
def test_flops_are_the_outer_product_of_sizes_and_tokens(sizes, tokens):
    costs = FlopsCost("N")(pd.DataFrame({"N": sizes}), tokens)
    np.testing.assert_allclose(costs, 6 * np.outer(sizes, tokens), rtol=EXACT)


def nan_cost():
    return FunctionCost(lambda configs, at: at * np.nan)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FlopsCost("n")(CONFIGS, 1), ConfigError, r"no column 'n', which the cost needs as params"),
        (lambda: FlopsCost("batch_token")(CONFIGS, 1), ConfigError, "did you mean 'batch_tokens'"),
        (
            lambda: FlopsCost("N", attention=("depth", "width", 8))(CONFIGS, 1),
            ConfigError,
            "no column 'depth'.*layers",
        ),
        (lambda: FlopsCost("N", attention=("N", "N"))(CONFIGS, 1), ConfigError, "three columns or numbers"),
        (lambda: FlopsCost("N", attention="N")(CONFIGS, 1), ConfigError, "three columns or numbers"),
        (lambda: FlopsCost("N")(CONFIGS, "far"), ConfigError, "got 'far'"),
        (lambda: FlopsCost("N")(None, 1), ConfigError, "got NoneType"),
        (lambda: MoneyCost(FlopsCost("N"), 2.0), ConfigError, "ThroughputCost"),
        (
            lambda: FlopsCost("N")([{"N": 1.0}, {"N": None}], 1),
            ConfigError,
            "params must be a positive number; config",
        ),
        (lambda: FlopsCost("N")([{"N": "big"}], 1), ConfigError, "configuration 0 has 'big' in 'N'"),
        (lambda: FlopsCost("N")({"N": 1.0}, 1), ConfigError, "wrap a single one in a list"),
        (
            lambda: FlopsCost("N")(CONFIGS, -1),
            ConfigError,
            "at must hold finite axis values of at least 0, got -1",
        ),
        (lambda: FlopsCost("N")(CONFIGS, np.nan), ConfigError, "got nan"),
        (
            lambda: FlopsCost("N")(CONFIGS, np.ones((2, 4))),
            ShapeError,
            r"at has shape \(2, 4\), but there are 3",
        ),
        (lambda: FlopsCost("N").increment(CONFIGS, [1, 2], 3), ShapeError, r"start has shape \(2,\)"),
        (lambda: FlopsCost("N").increment(CONFIGS, 3, 2), ConfigError, "until must not lie before start"),
        (lambda: nan_cost()(CONFIGS, 1), ConfigError, "gives nan for configuration 0 at 1"),
        (lambda: FunctionCost(lambda c, at: np.ones(7))(CONFIGS, 1), ShapeError, r"returned shape \(7,\)"),
        (
            lambda: MoneyCost(SECONDS, -1.0)(CONFIGS, 1),
            ConfigError,
            "device_hour must be a number of at least 0",
        ),
        (lambda: COSTS["table"]([{"id": "z"}], 1), ConfigError, "no cost is recorded for run 'z'"),
        (lambda: COSTS["table"].axis_at(CONFIGS, 1e9), ConfigError, "cost at most 20, not 1e\\+09"),
        (
            lambda: FunctionCost(lambda c, at: at / (1 + at)).axis_at(CONFIGS, 2.0),
            ConfigError,
            "never costs 2",
        ),
        (lambda: COSTS["table"](CONFIGS, 50), ConfigError, "recorded up to 40, not to 50"),
        (lambda: SECONDS([{"id": "z"}], 1), ConfigError, "no column 'N'"),
        (
            lambda: SecondsCost.from_rates({"a": 1.0}, run="id")([{"id": "z"}], 1),
            ConfigError,
            "build the cost with",
        ),
        (
            lambda: SecondsCost.from_rates({"a": 0.0}, run="id"),
            ConfigError,
            "seconds per unit of the axis must be",
        ),
        (
            lambda: SecondsCost.from_frame(LOG.assign(seconds=0.0), run="id", axis="step", seconds="seconds"),
            ConfigError,
            "no run of the log has a positive duration",
        ),
        (
            lambda: TableCost.from_frame(LOG.iloc[::-1], run="id", axis="step", cost="seconds"),
            ConfigError,
            r"one falls at row 1 \(run 'b'\)",
        ),
    ],
)
def test_what_has_no_cost_is_refused_with_the_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_money_is_that_of_a_plain_function_of_seconds():
    money = MoneyCost(lambda configs, at: 2.0 * at, device_hour=3.0)
    np.testing.assert_allclose(money(CONFIGS, [1800.0]), 3.0)


def test_the_examples_in_the_documentation_run():
    assert doctest.testmod(probscale.cost.arithmetic).failed == 0
    assert doctest.testmod(probscale.runs.log).failed == 0


def test_runs_and_costs_need_no_torch():
    code = "import sys, probscale.runs, probscale.cost; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
