"""What runs say about their configurations, and which of their points are spikes."""

from dataclasses import replace

import numpy as np
import pytest

from probscale.model.scores import sites_of
from probscale.model.straying import Prefix, RunDeviations, plain_deviations, settled
from probscale.model.telling import told_by
from tolerances import ALGEBRA
from two_functions import BASIS

V = np.linspace(0.1, 0.6, 15)
MEAN, VARIANCE, DEVIATION = np.array([0.1, 0.05]), np.array([0.02, 0.01]), np.array([0.003, 0.002])


@pytest.fixture
def curve():
    rng = np.random.default_rng(0)
    return 0.2 + 0.1 * (1 - V) + rng.normal(0, 0.01, len(V))


def test_runs_of_one_kind_say_what_exact_marginals_say(curve):
    told = told_by(BASIS, plain_deviations(2), Prefix(V, curve), MEAN, VARIANCE, DEVIATION)
    precision, moment = BASIS.information(V, curve)
    exact = sites_of(precision[None], moment[None], MEAN[None], (VARIANCE + DEVIATION)[None])
    assert told.location == pytest.approx(exact.location, rel=ALGEBRA)
    assert told.variance == pytest.approx(exact.variance, rel=1e-9)


@pytest.mark.parametrize(("scale", "rough"), [(1.0, 2.0), (1.0, 5.0), (2.5, 1.0), (2.5, 15.0)])
def test_runs_of_another_kind_say_what_exact_marginals_with_its_spreads_say(curve, scale, rough):
    kind, sure = np.array([(scale, rough)]), np.ones(1)
    runs = RunDeviations(np.eye(2), kind, sure, np.full(2, np.inf), sure)
    # Shorter than spikes, so that the remainder of unstable runs has a length of its own.
    basis = replace(BASIS, length=0.02)
    told = told_by(basis, runs, Prefix(V, curve), MEAN, VARIANCE, DEVIATION)
    wide = scale**2 * (VARIANCE + DEVIATION)
    precision, moment = basis.roughened(rough).information(V, curve)
    exact = sites_of(precision[None], moment[None], MEAN[None], wide[None])
    assert told.location == pytest.approx(exact.location, rel=1e-6)
    # Beyond its usual deviation a run of the kind says less by what it strays more.
    assert told.variance == pytest.approx(exact.variance + wide - VARIANCE - DEVIATION, rel=1e-6)


def test_an_unstable_run_says_less(curve):
    kinds = np.array([(1.0, 1.0), (1.0, 15.0)])
    runs = RunDeviations(np.eye(2), kinds, np.array([0.9, 0.1]), VARIANCE + DEVIATION, np.full(2, 0.5))
    wild = curve + np.random.default_rng(1).normal(0, 0.12, len(V))
    calm, unstable = (told_by(BASIS, runs, Prefix(V, y), MEAN, VARIANCE, DEVIATION) for y in (curve, wild))
    assert (unstable.variance > 5 * calm.variance).all()


def test_spikes_are_points_far_from_their_neighbours(curve):
    for where in (0, 7, 14):
        spiked = curve.copy()
        spiked[where] += 0.3
        assert np.flatnonzero(~settled(BASIS, V, spiked)).tolist() == [where]


def test_runs_that_are_rough_throughout_short_or_risen_for_good_have_no_spikes(curve):
    rough = np.random.default_rng(2).normal(0, 0.2, 40)
    assert settled(BASIS, np.linspace(0, 1, 40), rough).all()
    assert settled(BASIS, V[:3], np.array([0.0, 5.0, 0.0])).all()
    assert settled(BASIS, V, np.where(V > 0.3, curve + 0.5, curve)).sum() >= 13
