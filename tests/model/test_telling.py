"""What runs say about their configurations, and which of their points are spikes."""

from dataclasses import replace

import numpy as np
import pytest

from probscale.model.basis import Basis
from probscale.model.continuation import outlooks_of
from probscale.model.scores import sites_of
from probscale.model.straying import RunDeviations, plain_deviations, settled
from probscale.model.telling import told_by
from tolerances import ALGEBRA

KNOTS = np.linspace(0.0, 1.0, 11)
BASIS = Basis(
    KNOTS,
    np.stack([np.ones(11), 1 - KNOTS]),
    np.array([0.04, 0.01]),
    np.full(11, 1e-4),
    correlated=0.5,
    length=0.1,
)
V = np.linspace(0.1, 0.6, 15)
MEAN, VARIANCE, DEVIATION = np.array([0.1, 0.05]), np.array([0.02, 0.01]), np.array([0.003, 0.002])


@pytest.fixture
def curve():
    rng = np.random.default_rng(0)
    return 0.2 + 0.1 * (1 - V) + rng.normal(0, 0.01, len(V))


def test_runs_of_one_kind_say_what_exact_marginals_say(curve):
    told = told_by(BASIS, plain_deviations(2), (V, curve), MEAN, VARIANCE, DEVIATION)
    precision, moment = BASIS.information(V, curve)
    exact = sites_of(precision[None], moment[None], MEAN[None], (VARIANCE + DEVIATION)[None])
    assert told.location == pytest.approx(exact.location, rel=ALGEBRA)
    assert told.variance == pytest.approx(exact.variance, rel=1e-9)


def test_points_fade_as_if_the_noise_of_earlier_ones_were_larger(curve):
    runs = replace(plain_deviations(2), memory=0.1)
    told = told_by(BASIS, runs, (V, curve), MEAN, VARIANCE, DEVIATION)
    larger = np.exp((0.6 - V) / 0.1)
    covariance = BASIS.covariance(V) * np.sqrt(np.outer(larger, larger))
    precision = np.linalg.inv(covariance)
    design = BASIS.at(V)
    told_alone = design.T @ precision @ design, design.T @ precision @ curve
    exact = sites_of(*(part[None] for part in (*told_alone, MEAN, VARIANCE + DEVIATION)))
    assert told.location == pytest.approx(exact.location, rel=1e-9)
    assert told.variance == pytest.approx(exact.variance, rel=1e-9)


def test_how_a_run_set_out_moves_what_follows_less_where_points_fade(curve):
    bump = curve + 0.02 * np.exp(-0.5 * ((V - 0.15) / 0.05) ** 2)
    ahead = np.array([0.7, 0.8, 0.9])
    apart, still = [], []
    for memory in (np.inf, 0.1):
        runs = replace(plain_deviations(2), memory=memory)
        one, other = (
            outlooks_of(BASIS, runs, ahead, (V, y), MEAN, VARIANCE, DEVIATION)[0] for y in (curve, bump)
        )
        apart.append(np.abs(other.centre - one.centre).max())
        seen = outlooks_of(BASIS, runs, V, (V, curve), MEAN, VARIANCE, DEVIATION)[0]
        still.append(np.abs(seen.centre - curve).mean())
    assert apart[1] < 0.5 * apart[0]
    assert still[1] < 1.2 * still[0]


def test_an_unstable_run_says_less(curve):
    kinds = np.array([(1.0, 1.0), (1.0, 15.0)])
    runs = RunDeviations(np.eye(2), kinds, np.array([0.9, 0.1]), VARIANCE + DEVIATION, np.full(2, 0.5))
    wild = curve + np.random.default_rng(1).normal(0, 0.12, len(V))
    calm, unstable = (told_by(BASIS, runs, (V, y), MEAN, VARIANCE, DEVIATION) for y in (curve, wild))
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
