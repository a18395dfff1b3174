"""Output transforms: inverses, orders, Jacobians and moments."""

import numpy as np
import pytest
from scipy.stats import norm

from probscale.errors import RunLogError
from probscale.model.transforms import (
    Affine,
    LogFloor,
    LogOdds,
    LogScore,
    choose_transform,
    log_slope,
    transform_from,
)
from tolerances import ALGEBRA, EXACT, OPTIMISER

TRANSFORMS = {
    "loss": LogFloor(1.2),
    "error": LogFloor(-0.02, upper=1.0),
    "percent": LogFloor(3.0, upper=100.0),
    "multiplied": LogScore(0.03),
    "odds": LogOdds(0.03, 1.0),
    "signed": Affine(0.4, 2.0),
    "signed score": Affine(0.4, -2.0),
    "bounded": Affine(40.0, -12.0, 100.0),
}
OUTPUTS = {
    "loss": np.linspace(1.3, 9.0, 7),
    "error": np.linspace(0.0, 1.0, 7),
    "percent": np.linspace(0.0, 96.0, 7),
    "multiplied": np.linspace(0.0, 1.0, 7),
    "odds": np.linspace(0.0, 1.0, 7),
    "signed": np.linspace(-5.0, 5.0, 7),
    "signed score": np.linspace(-5.0, 5.0, 7),
    "bounded": np.linspace(0.0, 100.0, 7),
}


@pytest.fixture(params=sorted(TRANSFORMS))
def name(request):
    return request.param


def test_inverse_undoes_forward(name):
    transform, output = TRANSFORMS[name], OUTPUTS[name]
    np.testing.assert_allclose(transform.inverse(transform.forward(output)), output, rtol=EXACT, atol=1e-13)


def test_order_is_kept_or_turned_as_it_says(name):
    transform = TRANSFORMS[name]
    steps = np.diff(transform.forward(OUTPUTS[name]))
    assert (steps > 0).all() if transform.rising else (steps < 0).all()


def test_jacobian_is_that_of_finite_differences(name):
    transform, output = TRANSFORMS[name], OUTPUTS[name][1:-1]
    h = 1e-6
    slope = (transform.forward(output + h) - transform.forward(output - h)) / (2 * h)
    np.testing.assert_allclose(log_slope(transform, output), np.log(np.abs(slope)), atol=1e-7)


@pytest.mark.parametrize("variance", [1e-6, 0.01, 0.2])
def test_moments_are_those_of_quadrature(name, variance):
    """Where no draw meets the edge of the scale, closed forms are exact."""
    transform = TRANSFORMS[name]
    location = transform.forward(
        {"error": 0.97, "percent": 95.0, "odds": 0.4, "bounded": 50.0}.get(name, 2.5) * np.ones(1)
    )
    z, w = np.polynomial.hermite_e.hermegauss(60)
    draws = transform.inverse(location + np.sqrt(variance) * z)
    w = w / w.sum()
    middle = transform.inverse(location)
    v = np.full(1, variance)
    np.testing.assert_allclose(transform.mean(location, v), w @ draws, rtol=ALGEBRA)
    np.testing.assert_allclose(transform.second_moment(location, v), w @ (draws - middle) ** 2, rtol=1e-6)


@pytest.mark.parametrize("variance", [1e-10, 0.01, 0.3, 4.0, 40.0])
@pytest.mark.parametrize("score", [1.0, 20.0, 80.0])
def test_moments_of_scores_that_may_reach_zero_are_those_of_draws(score, variance):
    transform, grid = TRANSFORMS["percent"], np.linspace(-9, 9, 400_001)
    location, v = transform.forward(np.array([score])), np.array([variance])
    weight = norm.pdf(grid) / norm.pdf(grid).sum()
    draws = transform.inverse(location + np.sqrt(variance) * grid)
    mean, moment = transform.mean(location, v), transform.second_moment(location, v)
    np.testing.assert_allclose(mean, weight @ draws, rtol=OPTIMISER)
    np.testing.assert_allclose(moment, weight @ (draws - transform.inverse(location)) ** 2, rtol=1e-3)


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (LogFloor(0.0), "log(loss)"),
        (LogFloor(1.5), "log(loss - 1.5)"),
        (LogFloor(-0.02, 1.0), "log(1 - score + 0.02)"),
        (LogFloor(0.0, 100.0), "log(100 - score)"),
    ],
)
def test_a_floor_of_zero_is_not_named(transform, name):
    assert transform.name == name


def test_wide_distributions_keep_finite_moments(name):
    transform = TRANSFORMS[name]
    location, variance = np.array([0.0, 5.0, 900.0]), np.array([50.0, 1e6, 4.0])
    assert np.isfinite(transform.mean(location, variance)).all()
    assert np.isfinite(transform.second_moment(location, variance)).all()


def test_description_builds_it_again(name):
    assert transform_from(TRANSFORMS[name].to_dict()) == TRANSFORMS[name]


def test_the_choice_follows_from_outputs_and_goal():
    rng = np.random.default_rng(0)
    loss, score = 2 + rng.random(20), rng.random(20)
    assert choose_transform(loss, "min") == LogFloor(0.3 * loss.min())
    assert choose_transform(loss - 3, "min").rising
    assert isinstance(choose_transform(loss - 3, "min"), Affine)
    assert choose_transform(score, "max").to_dict()["upper"] == 1.0
    assert choose_transform(100 * score, "max").to_dict()["upper"] == 100.0
    assert not choose_transform(1000 * score, "max").rising
    assert choose_transform(score, "max", kind="score") == LogOdds(0.02 * score.max(), 1.0)
    assert isinstance(choose_transform(loss, "min", kind="linear"), Affine)


@pytest.mark.parametrize(
    ("typical", "share"), [(1.2, 0.3), (4.0, 0.3), (48**0.5, 0.15), (12.0, 0.0), (1e4, 0.0)]
)
def test_the_floor_goes_where_losses_span_decades(typical, share):
    loss = 1e-3 * np.array([1.0, typical, typical, typical, 2 * typical])
    assert choose_transform(loss, "min").floor == pytest.approx(share * 1e-3, abs=1e-12)
    assert choose_transform(loss, "min", share=0.6).floor == pytest.approx(2 * share * 1e-3, abs=1e-12)


@pytest.mark.parametrize("output", [np.array([0.0, 0.0, 1.0, 2.0]), np.zeros(3), np.full(4, 3.0)])
def test_zeros_and_constants_stay_finite(output):
    for goal in ("min", "max"):
        assert np.isfinite(choose_transform(output, goal).forward(output)).all()


def test_the_logarithm_of_negative_losses_is_refused():
    with pytest.raises(RunLogError, match="positive losses"):
        choose_transform(np.array([1.0, -0.5]), "min", kind="log")


def test_names_say_what_is_done():
    assert LogFloor(1.2).name == "log(loss - 1.2)"
    assert LogFloor(-0.02, 1.0).name == "log(1 - score + 0.02)"
    assert LogScore(0.03).name == "log(score + 0.03)"
    assert LogOdds(0.03, 1.0).name == "log odds of score + 0.03 of 1"


@pytest.mark.parametrize("kind", ["score", "linear", "auto"])
@pytest.mark.parametrize(("scores", "upper"), [([0.1, 0.4], 1.0), ([3.0, 40.0], 100.0)])
def test_no_forecast_of_a_score_exceeds_the_best_possible(kind, scores, upper):
    transform = choose_transform(np.array(scores), "max", kind=kind)
    assert transform.upper == upper
    wild = transform.inverse(np.array([-40.0, 40.0]))
    assert 0 <= wild.min() < 0.01 * upper
    assert 0.8 * upper < wild.max() <= upper
    location, variance = np.array([-30.0, 0.0, 30.0]), np.array([9.0, 400.0, 9.0])
    mean, moment = transform.mean(location, variance), transform.second_moment(location, variance)
    assert (mean >= 0).all()
    assert (mean <= upper).all()
    assert (moment <= upper**2).all()
    np.testing.assert_allclose(transform.inverse(transform.forward(np.array(scores))), scores, rtol=1e-12)
    assert transform_from(transform.to_dict()) == transform


@pytest.mark.parametrize(("location", "variance"), [(0.0, 9.0), (4.0, 1.0), (-6.0, 4.0), (1.0, 100.0)])
def test_moments_of_bounded_scores_are_those_of_draws(location, variance):
    transform = Affine(40.0, -12.0, 100.0)
    draws = transform.inverse(location + np.sqrt(variance) * norm.ppf((np.arange(200_000) + 0.5) / 200_000))
    middle = transform.inverse(np.array([location]))
    at = np.array([location]), np.array([variance])
    np.testing.assert_allclose(transform.mean(*at), draws.mean(), rtol=OPTIMISER)
    np.testing.assert_allclose(transform.second_moment(*at), ((draws - middle) ** 2).mean(), rtol=OPTIMISER)


def test_scores_that_may_be_of_one_or_of_a_hundred_have_no_upper_bound():
    scores = np.array([0.05, 0.1])
    transform = choose_transform(scores, "max", kind="score")
    assert transform == LogScore(0.02 * 0.1)
    assert transform.inverse(np.array([12.0]))[0] > 1e3
    assert choose_transform(scores, "max", kind="linear").upper is None


@pytest.mark.parametrize(
    ("best", "upper"), [(1.0, 1.0), (0.97, 1.0), (1.01, 100.0), (100.0, 100.0), (101.0, None)]
)
def test_scores_that_reach_the_best_possible_still_have_it(best, upper):
    """An accuracy of exactly one is a share of one, not one per cent; a zero is no reason to know no best."""
    chosen = choose_transform(np.array([0.0, 0.5, best]), "max")
    assert getattr(chosen, "upper", None) == upper


def test_what_lies_far_below_a_score_of_nothing_is_nothing():
    assert LogScore(0.03).bounds == (0.0, np.inf)
    assert LogScore(0.03).inverse(np.array([-50.0]))[0] == 0.0
    assert LogFloor(-0.02, upper=1.0).bounds == (0.0, 1.0)
    assert LogFloor(3.0, upper=100.0).bounds == (0.0, 97.0)


def test_losses_of_zero_are_kept_finite_by_a_tenth_of_a_small_typical_one():
    chosen = choose_transform(np.array([0.0, 0.2, 0.4, 0.8]), "min")
    assert isinstance(chosen, LogFloor)
    assert chosen.floor == pytest.approx(-0.1 * np.quantile([0.2, 0.4, 0.8], 0.1))
    assert np.isfinite(chosen.forward(np.zeros(1))).all()


def test_moments_of_hopelessly_wide_outputs_are_those_of_a_unit_variance():
    wide, usual = (LogFloor(1.0).mean(np.zeros(1), np.array([v])) for v in (9.0, 1.0))
    assert wide == usual == pytest.approx(1.0 + np.exp(0.5))
