"""Mean functions: the law on the modelled scale, the plane, and both made linear in their parameters."""

import math

import numpy as np
import pytest
import torch

from probscale.laws import find_law
from probscale.model.means import LawMean, LawScale, PlaneMean, Rows, curve_mean
from probscale.model.transforms import Affine, LogFloor
from tolerances import ALGEBRA


@pytest.fixture
def asked(curves_layout, rows_of):
    return rows_of(curves_layout, 9, seed=3)


def in_user_units(mean, rows):
    """The law of the report, evaluated by `laws` at sizes and tokens in user units."""
    law = mean.described()
    tokens = np.exp(rows.progress.numpy()) + law.pop("onset", 0.0)
    chinchilla = find_law("chinchilla")
    # `laws` accepts positive parameters only: a term that is left out is negligible there.
    law = {name: value or 1e-300 for name, value in law.items()}
    return chinchilla.evaluate(law, params=np.exp(rows.size.numpy()), tokens=tokens)


@pytest.mark.parametrize("onset", [None, 19.0])
def test_the_mean_is_the_law_that_the_report_shows(make_law, scramble, asked, onset):
    mean = scramble(make_law(onset=onset), seed=7)
    expected = np.log(in_user_units(mean, asked) - mean.transform.floor)
    np.testing.assert_allclose(mean(asked).detach().numpy(), expected, rtol=ALGEBRA)


@pytest.mark.parametrize(("by_size", "by_progress"), [(True, False), (False, True), (False, False)])
def test_terms_that_do_not_vary_are_left_out(asked, by_size, by_progress):
    mean = LawMean(LogFloor(0.5), LawScale(16.0, 20.0, 2.0, 2.6, by_size, by_progress))
    law = mean.described()
    assert (law["B"] > 0) == by_progress
    assert (law["A"] > 0) == (by_size or not by_progress)
    value = mean(asked).detach().numpy()
    np.testing.assert_allclose(value, np.log(in_user_units(mean, asked) - 0.5), rtol=ALGEBRA)
    assert (np.ptp(value) > 1e-6) == (by_size or by_progress)


def test_the_prior_law_passes_near_the_typical_loss(make_law):
    zero = torch.zeros(1, dtype=torch.float64)
    centre = make_law(onset=None)(Rows(zero[:, None], zero + 16, zero + 20))
    assert math.exp(float(centre.detach())) + 0.6 == pytest.approx(2.6, rel=0.15)


@pytest.mark.parametrize("kind", ["law", "plane"])
def test_linearisation_is_that_of_finite_differences(make_law, scramble, asked, kind):
    mean = make_law() if kind == "law" else PlaneMean(make_law().scale, level=0.3, spread=0.7)
    mean = scramble(mean, seed=8)
    values, (location, std) = mean.values().detach(), mean.prior()
    with torch.no_grad():
        centre, slopes = mean.linearised(asked)
        h = 1e-6
        steps = [
            (mean.evaluate(values + h * e, asked) - mean.evaluate(values - h * e, asked)) / (2 * h)
            for e in torch.eye(len(values), dtype=torch.float64)
        ]
        jacobian = torch.stack(steps, dim=1)
        expected = mean.evaluate(values, asked) + jacobian @ (location - values)
    np.testing.assert_allclose(slopes, jacobian * std, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(centre, expected, rtol=1e-6, atol=1e-8)


def test_a_plane_is_linear_in_logarithms(asked, make_law):
    plane = PlaneMean(make_law().scale, level=1.0, spread=1.0)
    with torch.no_grad():
        plane.size_slope.fill_(-0.3)
        plane.progress_slope.fill_(-0.2)
    expected = 1 - 0.3 * (asked.size - 16) - 0.2 * (asked.progress - 20)
    np.testing.assert_allclose(plane(asked).detach(), expected, rtol=ALGEBRA)


def test_a_law_goes_with_a_logarithm_and_a_plane_with_the_rest(make_law):
    scale, y = make_law().scale, torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    assert isinstance(curve_mean(LogFloor(0.5), scale, y), LawMean)
    assert isinstance(curve_mean(LogFloor(0.5), scale, y, "plane"), PlaneMean)
    plane = curve_mean(Affine(0.0, 1.0), scale, y)
    assert isinstance(plane, PlaneMean)
    assert plane.described()["level"] == pytest.approx(0.5)


def test_rows_can_be_taken_and_joined(asked):
    again = asked.take(slice(0, 4)).cat(asked.take(slice(4, 9)))
    for name in ("x", "size", "progress"):
        assert torch.equal(getattr(again, name), getattr(asked, name))
    assert len(again) == 9
