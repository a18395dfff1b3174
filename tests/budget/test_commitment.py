"""What strategies that forecast decide, by forecasters whose opinion is known."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.budget.commitment import Commitment, default_strategy, expected_improvement, size_prior
from probscale.budget.worlds import WorldBench, imagined
from probscale.cost import as_cost

TOTAL = 1.2e20
FAVOURED = np.sqrt(TOTAL / 120)
"""Size of which 20 tokens a parameter cost the total."""


@dataclass
class Sure:
    """A forecaster that is sure which run ends best, or has no opinion; `asked` holds each question."""

    best: int | None = None

    def __post_init__(self):
        self.asked = []

    def sample(self, bench, runs, compute, n, seed):
        self.asked.append((tuple(runs), np.array(compute)))
        draws = 3.0 + 0.01 * np.random.default_rng(seed).standard_normal((n, len(runs)))
        if self.best in runs:
            draws[:, list(runs).index(self.best)] -= 1.0
        return draws


def game(sizes, *, sized=True, total=TOTAL, last=np.inf):
    pool = pd.DataFrame({"N": sizes, "lr": np.arange(len(sizes)) * 1e-3})
    cost = ps.FlopsCost(params="N") if sized else as_cost(lambda configs, at: at)
    options = {"axis": "tokens", "params": "N" if sized else None, "worlds": 2, "surrogate": None, "seed": 0}
    return WorldBench(imagined(pool, cost, total, last=np.full(len(pool), last), **options), 0)


def played(bench, strategy, **options):
    decisions = []
    part = strategy(bench, np.random.default_rng(0), **options)
    decision = next(part, None)
    while decision is not None:
        decisions.append(bench.train(decision))
        try:
            decision = part.send(decision)
        except StopIteration:
            decision = None
    return decisions


SIZES = FAVOURED * np.array([1 / 8, 1 / 5, 1 / 3, 1.0, 1.5, 12.0])


@pytest.mark.parametrize(("best", "chosen"), [(None, 3), (4, 4), (5, 3), (0, 3)])
def test_the_forecast_decides_near_the_favoured_size_and_the_prior_far_from_it(best, chosen):
    ladder, commit = played(game(SIZES), size_prior, forecaster=Sure(best))
    assert (ladder.kind, commit.kind) == ("ladder", "commit")
    assert {order.run for order in ladder.orders} <= {0, 1, 2}
    assert [order.run for order in commit.orders] == [chosen]
    assert commit.orders[0].until == pytest.approx(TOTAL - sum(order.until for order in ladder.orders))
    assert sum(commit.prob_best.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "strategy",
    [size_prior, partial(default_strategy, settings=Commitment(eta=4.0))],
    ids=["named", "default"],
)
def test_where_sizes_repeat_runs_near_the_favoured_one_compete_and_one_in_two_goes_on(strategy):
    sizes = FAVOURED * np.repeat([1 / 12, 1.0, 1.3, 12.0], 4)
    decisions = played(game(sizes), strategy, forecaster=Sure(6))
    assert [decision.kind for decision in decisions] == ["rung 1 of 3", "rung 2 of 3", "rung 3 of 3"]
    assert set(decisions[0].kept) == set(range(4, 12))
    assert 6 in decisions[-1].kept


@pytest.mark.parametrize(
    ("sizes", "sized", "first"),
    [
        (SIZES, True, "ladder"),
        (FAVOURED * np.linspace(1.0, 1.9, 6), True, "rung 1 of 3"),
        (SIZES, False, "rung 1 of 3"),
    ],
)
def test_the_default_goes_by_size_where_sizes_differ_by_a_factor_of_two(sizes, sized, first):
    decisions = played(game(sizes, sized=sized), default_strategy, forecaster=Sure())
    assert decisions[0].kind == first


def test_the_default_hears_a_forecast_only_once_it_ranked_a_rung_better_than_outputs_did():
    bench = game(np.full(8, 1e8), sized=False)
    wrong = played(bench, default_strategy, forecaster=Sure(int(np.argmax(bench.final()))))
    assert [decision.note["forecast trusted"] for decision in wrong] == [False] * len(wrong)
    assert not any(decision.prob_best for decision in wrong)


def test_expected_improvement_probes_all_and_goes_on_with_what_would_gain_most():
    bench, forecaster = game(SIZES, sized=False), Sure(2)
    probe, *steps = played(bench, expected_improvement, forecaster=forecaster, most=4)
    assert [order.until for order in probe.orders] == pytest.approx([0.1 * TOTAL / 6] * 6)
    assert [[order.run for order in step.orders] for step in steps] == [[2]] * 4
    left = 0.9 * TOTAL * 0.75 ** np.arange(4)
    costs = [0.25 * left[0], 0.25 * left[1], 0.25 * left[2], left[3]]
    reached = probe.orders[0].until + np.cumsum(costs)
    np.testing.assert_allclose([step.orders[0].until for step in steps], reached)
    # Runs are compared at what each would reach with all that remains.
    np.testing.assert_allclose(forecaster.asked[0][1], probe.orders[0].until + left[0])
