"""Rung arithmetic against the published tables and brute force."""

import itertools
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probscale.budget import rungs
from probscale.errors import BudgetError


@given(st.integers(1, 2000), st.sampled_from([2, 3, 4]))
def test_halving_ends_with_one_run_after_the_least_rounds_that_suffice(runs, eta):
    rounds = rungs.halving_rounds(runs, eta)
    assert eta**rounds >= runs
    assert rounds == 1 or eta ** (rounds - 1) < runs
    counts = list(itertools.accumulate(range(rounds), lambda left, _: rungs.kept(left, eta), initial=runs))
    assert counts[-1] == 1


@pytest.mark.parametrize(
    ("runs", "eta", "rounds"), [(1, 2, 1), (2, 2, 1), (9, 3, 2), (10, 3, 3), (243, 3, 5), (1000, 10, 3)]
)
def test_exact_powers_are_not_rounded_up(runs, eta, rounds):
    assert rungs.halving_rounds(runs, eta) == rounds


@pytest.mark.parametrize(("runs", "eta"), [(27, 3), (81, 3), (64, 2), (64, 4)])
def test_hyperband_brackets_match_the_published_formula(runs, eta):
    brackets = rungs.hyperband(runs, eta)
    most = round(math.log(runs, eta))
    for bracket, s in zip(brackets, range(most, -1, -1), strict=True):
        assert bracket.runs == min(runs, math.ceil(round((most + 1) / (s + 1) * eta**s, 9)))
        assert bracket.rounds == s + 1
    assert sum(bracket.share for bracket in brackets) == pytest.approx(1.0)


def test_asha_promotes_the_best_of_the_top_share_once():
    results = [(3.0, 0), (1.0, 1), (2.0, 2), (5.0, 3)]
    assert rungs.promotable(results[:1], set(), 2) is None
    assert rungs.promotable(results, set(), 2) == 1
    assert rungs.promotable(results, {1}, 2) == 2
    assert rungs.promotable(results, {1, 2}, 2) is None


def test_asha_levels_grow_by_eta_and_the_first_is_affordable_for_all():
    levels = rungs.asha_levels(27, 100.0, 3)
    assert [b / a for a, b in itertools.pairwise(levels)] == pytest.approx([3.0] * 3)
    assert levels[0] * 27 == pytest.approx(100.0 / 4)


@pytest.mark.parametrize("eta", [1.0, 0.5, -2, float("nan")])
def test_eta_at_or_below_one_is_refused(eta):
    with pytest.raises(BudgetError, match="exceed 1"):
        rungs.halving_rounds(8, eta)


def test_rungs_import_no_torch():
    code = "import probscale.budget.rungs, sys; assert not {'torch', 'pandas'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
