"""Evenly spaced positions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from probscale.runs.thinning import evenly


@given(st.integers(1, 500), st.integers(2, 500))
def test_the_ends_stay_and_gaps_differ_by_one_at_most(count: int, most: int) -> None:
    found = evenly(count, most)
    assert (found[0], found[-1]) == (0, count - 1)
    assert len(found) == min(count, most)
    assert np.ptp(np.diff(found)) <= 1 if len(found) > 1 else True


def test_none_of_none_and_the_first_of_many() -> None:
    assert len(evenly(0, 5)) == 0
    assert evenly(9, 1).tolist() == [0]
