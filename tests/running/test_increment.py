"""Increments: what a runner may return, and how far that brings a run."""

import json
import math

import numpy as np
import pytest

from probscale.errors import BudgetError
from probscale.running import Increment, Outcome, advance, check_runner, unless_stalled
from probscale.running.increment import carry_out


def job(until=10.0, state=None):
    return Increment("a", {"lr": 0.1}, until, state)


def test_the_runner_gets_a_copy_of_the_configuration_and_its_state():
    seen = []

    def runner(config, until, state):
        seen.append((dict(config), until, state))
        config["lr"] = 9.0
        return [(until, 1.0)], {"n": 1}

    increment = job(state={"n": 0})
    outcome = carry_out(runner, increment)
    assert seen == [({"lr": 0.1}, 10.0, {"n": 0})]
    assert increment.config == {"lr": 0.1}
    assert (outcome.points, outcome.state, outcome.problem) == ([(10.0, 1.0)], {"n": 1}, "")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "must return (points, state)"),
        (([(1.0, 2.0)], None, 3), "must return (points, state)"),
        ((["ab"], None), "must return (points, state)"),
        (([(2.0, 1.0), (1.0, 1.0)], None), "do not rise: [2.0, 1.0]"),
        (([(1.0, 1.0), (1.0, 1.0)], None), "do not rise"),
        (([(math.inf, 1.0)], None), "do not rise"),
        (([(-1.0, 1.0), (1.0, 1.0)], None), "a point at -1; the axis begins at 0"),
        (([(1.0, 1.0)], {1, 2}), "the state {1, 2}, which is not JSON"),
    ],
)
def test_invalid_answers_say_what_a_runner_must_return(value, message):
    outcome = carry_out(lambda *_: value, job())
    assert outcome.problem == "invalid"
    assert message in outcome.message
    assert outcome.points == ()


def test_an_exception_is_a_value_with_its_trace():
    def runner(config, until, state):
        raise MemoryError("out of memory")

    outcome = carry_out(runner, job())
    assert (outcome.problem, outcome.message) == ("raised", "MemoryError: out of memory")
    assert "in runner" in outcome.trace


def test_known_points_are_left_out_and_the_end_is_what_was_asked():
    outcome = Outcome("a", [(1.0, 3.0), (2.0, 2.0), (4.0, 1.0)], {"path": "x"})
    found = advance(outcome, 5.0, axis="tokens", reached=2.0, seen=2.0)
    assert found.points == [(4.0, 1.0)]
    assert found.reached == 5.0
    assert not found.diverged
    assert advance(outcome, 3.0, axis="tokens", reached=2.0, seen=2.0).reached == 4.0


def test_a_state_that_names_the_axis_says_how_far_the_run_went():
    outcome = Outcome("a", [(4.0, 1.0)], {"tokens": 8})
    assert advance(outcome, 5.0, axis="tokens", reached=2.0, seen=2.0).reached == 8.0
    flag = Outcome("a", [(4.0, 1.0)], {"tokens": True})
    assert advance(flag, 5.0, axis="tokens", reached=2.0, seen=2.0).reached == 5.0
    assert advance(outcome, 5.0, axis="tokens", reached=9.0, seen=2.0).reached == 9.0


def test_a_run_whose_output_is_not_finite_stops_there():
    outcome = Outcome("a", [(4.0, 1.0), (4.5, math.nan)], {"tokens": 5})
    found = advance(outcome, 5.0, axis="tokens", reached=2.0, seen=2.0)
    assert (found.reached, found.diverged) == (4.5, True)


def test_only_what_can_be_called_is_a_runner():
    check_runner(print)
    with pytest.raises(BudgetError, match="callable as runner\\(config, until, state\\), got str"):
        check_runner("train.py")


def test_outcomes_are_json_beside_their_points():
    outcome = carry_out(lambda *_: ([(1, 2)], {"a": [1, None, "b"]}), job())
    assert json.dumps([outcome.points, outcome.state]) == '[[[1.0, 2.0]], {"a": [1, null, "b"]}]'


def test_a_state_is_what_a_ledger_would_give_back():
    state = {"at": np.float64(2.5), "step": np.int64(3), "rng": np.arange(2), "shape": (1, 2), 7: "seven"}
    outcome = carry_out(lambda *_: ([(1.0, 1.0)], state), job())
    assert outcome.state == {"at": 2.5, "step": 3, "rng": [0, 1], "shape": [1, 2], "7": "seven"}
    assert outcome.state == json.loads(json.dumps(outcome.state))


def test_a_runner_that_exits_is_a_failure_and_not_the_end_of_the_loop():
    def runner(config, until, state):
        raise SystemExit(3)

    outcome = carry_out(runner, job())
    assert (outcome.problem, outcome.message) == ("raised", "SystemExit: 3")


def test_a_long_message_is_cut_short():
    def runner(config, until, state):
        raise ValueError("x" * 100_000)

    assert len(carry_out(runner, job()).message) == 1000


@pytest.mark.parametrize(
    ("state", "points", "stalls"),
    [
        ({"tokens": 4.0}, (), True),
        ({"tokens": 0.0}, [(3.0, 1.0)], True),
        ({"tokens": 5.0}, (), False),
        ({"tokens": 4.0}, [(6.0, 1.0)], False),
        (None, (), False),
        ({"step": 4.0}, (), False),
    ],
)
def test_a_runner_that_says_it_is_no_further_has_stalled(state, points, stalls):
    given = Outcome("a", points, state)
    found = unless_stalled(given, 8.0, axis="tokens", reached=4.0)
    assert (found.problem == "stalled") == stalls
    if not stalls:
        assert found == given
        assert advance(found, 8.0, axis="tokens", reached=4.0, seen=4.0).reached > 4.0
