"""Shapes of curves under schedules that configurations tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from probscale.encode.annealing import Annealing, rates
from probscale.encode.clock import fit_clock
from probscale.model.baseline import fit_baseline
from probscale.surrogate.functional_places import Places

SHARE = np.linspace(0.05, 1.0, 25)
KINDS = ("constant", "cosine", "wsd", "linear") * 15


@pytest.fixture
def runs():
    """Sixty runs whose loss falls with the learning rate at the end; curves (runs × points)."""
    rng = np.random.default_rng(0)
    configs = pd.DataFrame({"schedule": KINDS})
    forms = Annealing("schedule").forms(configs)
    horizons = 1_000.0 * 2.0 ** rng.integers(0, 3, len(KINDS))
    z = rng.normal(size=(len(KINDS), 2))
    at = (horizons[:, None] * SHARE).ravel()
    codes = np.repeat(np.arange(len(KINDS)), len(SHARE))
    clock = fit_clock(at, codes, horizons, "total")
    rate = rates(forms[codes], np.tile(SHARE, len(KINDS)))
    y = -0.2 * np.log(at) - 0.3 * (1 - np.sqrt(rate)) + z[codes, 0] + rng.normal(0, 0.002, len(at))
    return Places(clock, z, horizons, horizons, forms), at, codes, y


def left_over(places, at, codes, y):
    points, ends = places.points(at, codes), places.finish(codes)
    baseline = fit_baseline(points, y, codes)
    residual = y - baseline.shape(points, ends)
    last = np.flatnonzero(np.append(np.diff(codes) != 0, True))
    return float(np.abs(residual - residual[last][codes]).mean())


def test_schedules_that_are_told_explain_how_curves_bend(runs):
    places, at, codes, y = runs
    blind = Places(places.clock, places.z, places.horizons, places.ends, None)
    assert left_over(places, at, codes, y) < 0.2 * left_over(blind, at, codes, y)


def test_a_run_alone_has_the_shape_it_has_among_others(runs):
    places, at, codes, y = runs
    baseline = fit_baseline(places.points(at, codes), y, codes)
    v, shape = places.shape(baseline, at, codes)
    mine = codes == 6
    alone, again = places.take(6).shape(baseline, at[mine], np.zeros(mine.sum(), dtype=np.intp))
    assert alone == pytest.approx(v[mine])
    assert again == pytest.approx(shape[mine])
    assert again[-1] == pytest.approx(0.0, abs=1e-12)
