"""A budget that grows: the ledger goes on with what was paid and learnt, and nothing is paid twice."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probscale.budget import STRATEGIES, Decision, Order, allocate, plan_budget
from probscale.budget.bench import equal_orders, level_orders
from probscale.budget.intake import read_pool
from probscale.budget.paid import read_paid
from probscale.cost import FlopsCost
from probscale.errors import BudgetError
from probscale.ledger import read_ledger

spec = importlib.util.spec_from_file_location("probscale_toy", Path(__file__).parent / "toy.py")
toy = sys.modules.get("probscale_toy") or importlib.util.module_from_spec(spec)
if "probscale_toy" not in sys.modules:
    sys.modules["probscale_toy"] = toy
    spec.loader.exec_module(toy)

PLAIN = [name for name, maker in STRATEGIES.items() if not maker.forecasts and name != "one_chinchilla"]
MORE = 2 * toy.TOTAL


def events(folder):
    return read_ledger(folder / "alloc.jsonl").events


@pytest.mark.parametrize("strategy", [*PLAIN, "halving_power", "early_commitment", "surrogate"])
def test_more_budget_goes_on_and_pays_the_difference_only(tmp_path, strategy):
    first = toy.run(tmp_path, strategy=strategy)
    more = toy.run(tmp_path, strategy=strategy, total=MORE)
    assert first.spent < more.spent <= MORE
    assert more.spent >= 0.97 * MORE
    assert more.spent == toy.paid(tmp_path)
    assert more.best.output <= first.best.output
    known, later = (set(map(tuple, r.log.points[["run", "step", "loss"]].values)) for r in (first, more))
    assert known < later
    assert (more.runs["spent"] >= first.runs["spent"]).all()


def test_a_budget_grown_twice_is_read_back_and_not_paid_again(tmp_path):
    for total in (toy.TOTAL, 1.5 * toy.TOTAL, MORE):
        result = toy.run(tmp_path, total=total)
        assert result.spent == toy.paid(tmp_path) <= total
    size = (tmp_path / "alloc.jsonl").stat().st_size
    again = toy.run(tmp_path, total=MORE)
    assert (again.best, again.spent) == (result.best, result.spent)
    assert again.log.equals(result.log)
    assert (tmp_path / "alloc.jsonl").stat().st_size == size
    grown = [event["total"] for event in events(tmp_path) if event["event"] == "budget"]
    assert grown == [1.5 * toy.TOTAL, MORE]
    assert sum(event["event"] == "finished" for event in events(tmp_path)) == 3
    with pytest.raises(BudgetError, match="was given 4800 already"):
        toy.run(tmp_path)


@pytest.mark.parametrize("cut", [1, 2, 5, 9])
def test_a_kill_after_the_budget_grew_changes_nothing(tmp_path, cut):
    toy.run(tmp_path)
    path = tmp_path / "alloc.jsonl"
    before = len(path.read_text().splitlines())
    whole = toy.run(tmp_path, total=MORE)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: before + cut]) + lines[before + cut][:17])
    again = toy.run(tmp_path, total=MORE)
    assert (again.best, again.spent) == (whole.best, whole.spent)
    assert again.spent == toy.paid(tmp_path)
    assert again.log.equals(whole.log)


@pytest.mark.parametrize("cut", [1, 2, 4, 12, 20])
def test_a_budget_may_grow_before_it_is_spent(tmp_path, cut):
    toy.run(tmp_path)
    path = tmp_path / "alloc.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:cut]))
    decided = sum(json.loads(line).get("event") == "decision" for line in lines[:cut])
    result = toy.run(tmp_path, total=MORE)
    assert 0.97 * MORE <= result.spent <= MORE
    # The trainer keeps what it trained when the first ledger was whole, which this one forgot.
    assert result.spent <= toy.paid(tmp_path) <= MORE + toy.TOTAL
    (grown,) = (event for event in events(tmp_path) if event["event"] == "budget")
    assert grown["decisions"] == decided
    finished = [(e["decision"], e["run"]) for e in events(tmp_path) if e["event"] == "done"]
    assert len(finished) == len(set(finished))


def test_halving_with_a_grown_budget_ends_where_it_would_have_with_all_of_it(tmp_path):
    for name in ("grown", "whole"):
        (tmp_path / name).mkdir()
    toy.run(tmp_path / "grown")
    grown = toy.run(tmp_path / "grown", total=MORE)
    whole = toy.run(tmp_path / "whole", total=MORE)
    assert grown.best.config == whole.best.config
    assert grown.best.output == pytest.approx(whole.best.output, rel=0.03)


def test_the_table_of_an_allocation_has_the_columns_of_a_plan_and_adds_up(tmp_path):
    toy.run(tmp_path, strategy="early_commitment")
    result = toy.run(tmp_path, strategy="early_commitment", total=MORE)
    table = result.table()
    assert table["FLOPs"].sum() == pytest.approx(result.spent)
    assert table["total"].unique().tolist() == [toy.TOTAL, MORE]
    chances = table["prob_best_kept"].dropna()
    assert len(chances)
    assert chances.between(0, 1 + 1e-12).all()
    plan = plan_budget(toy.POOL, total=MORE, cost=toy.COST, axis="step", strategy="halving", worlds=4)
    shared = [name for name in plan.table() if name != "happens"]
    assert list(table.columns) == [*shared, "total"]


def test_a_strategy_of_ones_own_spends_and_grows(tmp_path):
    def best_first(bench, generator):
        probes = tuple(Order(run, 100.0) for run in range(len(bench.configs)))
        yield Decision(probes, "probe")

    result = toy.run(tmp_path, strategy=best_first)
    assert result.decisions[0].kind == "probe"
    assert result.spent == toy.paid(tmp_path) <= toy.TOTAL
    more = toy.run(tmp_path, strategy=best_first, total=MORE)
    assert more.spent == toy.paid(tmp_path) <= MORE
    assert "best_first" in read_ledger(tmp_path / "alloc.jsonl").settings["strategy"]
    with pytest.raises(BudgetError, match="other settings"):
        toy.run(tmp_path, strategy="halving", total=MORE)


@pytest.mark.parametrize("strategy", ["halving", "early_commitment"])
def test_a_plan_of_a_grown_budget_begins_where_the_ledger_stands(tmp_path, strategy):
    first = toy.run(tmp_path, strategy=strategy)
    options = {"cost": toy.COST, "axis": "step", "strategy": strategy, "eta": 2, "worlds": 12}
    plan = plan_budget(toy.POOL, total=MORE, ledger=first.ledger, **options)
    table = plan.table()
    assert plan.spent == first.spent
    assert (table["FLOPs"] * table["happens"]).sum() == pytest.approx(MORE - first.spent)
    assert 0.3 < plan.prob_best <= 1.0
    assert "given what the allocation observed" in plan.basis
    more = toy.run(tmp_path, strategy=strategy, total=MORE)
    assert more.table()["rung"].iloc[-1] in {*table["rung"], "left over"}
    with pytest.raises(BudgetError, match="has paid"):
        plan_budget(toy.POOL, total=toy.TOTAL, ledger=first.ledger, **options)
    for other in ({"pool": toy.POOL[:5]}, {"cost": FlopsCost(params="N")}, {"axis": "tokens"}):
        with pytest.raises(BudgetError, match=f"another.* {next(iter(other))}"):
            plan_budget(**{"pool": toy.POOL, "total": MORE, "ledger": first.ledger, **options, **other})


def test_a_plan_leaves_out_who_was_given_up(tmp_path):
    def broken(config, until, state):
        if config["id"] == 3:
            raise RuntimeError("out of memory")
        return toy.runner(str(tmp_path), 0.0, config, until, state)

    options = {"cost": toy.COST, "axis": "step", "strategy": "uniform"}
    first = allocate(toy.POOL, broken, total=toy.TOTAL, ledger=tmp_path / "a.jsonl", **options)
    plan = plan_budget(toy.POOL, total=MORE, ledger=first.ledger, worlds=4, **options)
    assert plan.table()["runs"].tolist() == [7]


def test_who_has_ended_is_not_counted_as_dropped():
    plan = plan_budget(
        toy.POOL, total=1e5, cost=toy.COST, axis="step", strategy="asha", horizon=100.0, worlds=9
    )
    assert plan.prob_best == 1.0
    assert (plan.table()["prob_best_kept"] == 1.0).all()


def test_a_strategy_may_ask_for_all_that_is_left(tmp_path):
    def second(bench, generator):
        yield Decision((Order(1, float("inf")),), "all")

    result = toy.run(tmp_path, strategy=second)
    assert result.runs["spent"].tolist() == [0, result.spent, *[0] * 6]


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (3, "must yield a Decision"),
        (Decision((Order(0, 9.0), Order(0, 9.0)), "twice"), "'twice' orders run 0; runs are numbered 0 to 7"),
        (Decision((Order(8, 9.0),), "beyond"), "orders run 8"),
        (Decision((Order(1, float("nan")),), "lost"), "to compute nan"),
    ],
)
def test_a_strategy_that_decides_nonsense_is_told_so(tmp_path, decision, message):
    def mistaken(bench, generator):
        yield decision

    with pytest.raises(BudgetError, match=message):
        toy.run(tmp_path, strategy=mistaken)
    assert toy.paid(tmp_path) == 0


class Paid:
    """What the sharing of compute needs of a bench."""

    total = 1000.0

    def __init__(self, spent, ends):
        self.spent, self.ends = np.array(spent), np.array(ends)

    @property
    def usable(self):
        return self.spent < self.ends


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.floats(1, 500))
def test_levels_cost_what_is_given_and_leave_who_is_ahead(spent, compute):
    bench = Paid(spent, [1e9] * len(spent))
    orders = level_orders(bench, range(len(spent)), compute)
    assert sum(order.until - spent[order.run] for order in orders) == pytest.approx(compute, rel=1e-6)
    (level,) = {order.until for order in orders}
    ahead = set(range(len(spent))) - {order.run for order in orders}
    assert all(spent[run] >= level - 1e-6 for run in ahead)


def test_levels_are_equal_shares_where_nobody_is_ahead():
    bench = Paid([3.0, 3.0, 3.0], [9.0, 4.0, 9.0])
    level, equal = (share(bench, [2, 0, 1], 6.0) for share in (level_orders, equal_orders))
    assert [(order.run, order.until) for order in level] == [(order.run, order.until) for order in equal]


def spend_with_broken(folder, broken, *, total=toy.TOTAL, **options):
    """An allocation in which some configurations raise."""

    def runner(config, until, state):
        if config["id"] in broken:
            raise RuntimeError("out of memory")
        return toy.runner(str(folder), 0.0, config, until, state)

    given = {"axis": "step", "cost": toy.COST, "strategy": "halving", "eta": 2, "resolution": 1.0}
    ledger = folder / "alloc.jsonl"
    return allocate(toy.POOL, runner, total=total, ledger=ledger, retries=0, **given, **options)


def test_runs_given_up_stay_out_unless_they_may_be_tried_again(tmp_path):
    first = spend_with_broken(tmp_path, {3, 5})
    assert list(first.runs.index[first.runs["status"] == "failed"]) == [3, 5]
    more = spend_with_broken(tmp_path, set(), total=MORE)
    assert (more.runs["status"][[3, 5]] == "failed").all()
    again = spend_with_broken(tmp_path, set(), total=2 * MORE, retry_failed=True)
    assert (again.runs["status"] == "trained").all()
    assert (again.runs["points"][[3, 5]] > 0).all()
    assert again.spent == toy.paid(tmp_path) <= 2 * MORE
    (told,) = (event for event in events(tmp_path) if event.get("retried"))
    assert told["retried"] == [3, 5]


def test_runs_given_up_are_tried_again_within_what_is_left_once_a_call(tmp_path):
    ends = {"total": MORE, "horizon": 10.0}
    spend_with_broken(tmp_path, {3, 5}, **ends)
    heard = []
    again = spend_with_broken(tmp_path, {5}, retry_failed=True, watch=heard.append, **ends)
    assert [event["retried"] for event in heard if event["event"] == "budget"] == [[3, 5]]
    failures = [event["run"] for event in events(tmp_path) if event["event"] == "failed"]
    assert sorted(failures) == [3, 5, 5]
    assert list(again.runs["status"] == "failed") == [run == 5 for run in range(8)]
    size = (tmp_path / "alloc.jsonl").stat().st_size
    spend_with_broken(tmp_path, {5}, **ends)
    assert (tmp_path / "alloc.jsonl").stat().st_size == size


def test_a_retry_that_was_killed_resumes_as_it_was(tmp_path):
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        spend_with_broken(folder, {3, 5})
        spend_with_broken(folder, {5}, total=MORE, retry_failed=True)
    path = tmp_path / "cut" / "alloc.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if '"failed"' in line)
    path.write_text("".join(lines[: last + 1]))
    resumed = spend_with_broken(tmp_path / "cut", {5}, total=MORE, retry_failed=True)
    whole = spend_with_broken(tmp_path / "whole", {5}, total=MORE)
    assert resumed.best == whole.best
    assert resumed.runs.equals(whole.runs)
    assert sum(bool(event.get("retried")) for event in events(tmp_path / "cut")) == 1


def test_where_all_runs_failed_they_may_be_tried_again(tmp_path):
    everything = set(range(8))
    for _ in range(2):
        with pytest.raises(BudgetError, match="the first failure: raised: RuntimeError: out of memory"):
            spend_with_broken(tmp_path, everything, retry_failed=True)
    assert spend_with_broken(tmp_path, set(), retry_failed=True).best.output < 3


def test_a_plan_counts_with_runs_that_are_tried_again(tmp_path):
    spend_with_broken(tmp_path, {3, 5})
    spend_with_broken(tmp_path, set(), total=MORE, retry_failed=True)
    given = {"total": 2 * MORE, "axis": "step", "params": "N"}
    paid = read_paid(tmp_path / "alloc.jsonl", read_pool(toy.POOL), toy.COST, **given)
    assert not paid.stopped.any()
