"""Derivatives of the law: those written out against automatic differentiation of its formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from probscale.model.gp import Observations
from probscale.model.mean_fit import fit_mean
from probscale.model.means import CurveMean, LawMean, LawScale, PlaneMean
from probscale.model.transforms import LogFloor
from probscale.model.weighing import STUDENT_DEGREES
from tolerances import EXACT, OPTIMISER

WHOLE = LawScale(16.0, 20.0, 2.0, 2.6, True, True, 19.0, top=(16.3, 20.4))
LAWS = {
    "curves": WHOLE,
    "curves that begin alike": replace(WHOLE, common=True),
    "curves of one size": replace(WHOLE, varies_in_size=False),
    "curves of no progress": replace(WHOLE, varies_in_progress=False),
    "finals": replace(WHOLE, onset=None, shortest=3.9),
    "finals of one length": replace(WHOLE, onset=None, varies_in_progress=False, top=None),
    "finals of one length, data by a prior": replace(
        WHOLE, onset=None, varies_in_progress=False, one_length=True
    ),
    "one number": replace(WHOLE, onset=None, varies_in_size=False, varies_in_progress=False, top=None),
}


@pytest.fixture
def asked(curves_layout, rows_of):
    return rows_of(curves_layout, 40, seed=3)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_derivatives_written_out_are_those_of_the_formula(scramble, asked, name):
    mean = scramble(LawMean(LogFloor(0.6), LAWS[name]), seed=5)
    values = mean.values().detach()
    law, slopes = mean.with_slopes(values, asked)
    plain, expected = CurveMean.with_slopes(mean, values, asked)
    assert slopes.shape == (40, len(mean.names))
    np.testing.assert_allclose(law, plain, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(slopes, expected, rtol=1e-10, atol=EXACT)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_a_law_passes_gradients_on_to_its_parameters(scramble, asked, name):
    mean = scramble(LawMean(LogFloor(0.6), LAWS[name]), seed=6)
    weight = torch.linspace(-1, 2, 40, dtype=torch.float64)
    parameters = [mean.get_parameter(name) for name in mean.names]
    found = torch.stack(torch.autograd.grad(weight @ mean(asked), parameters))
    _, slopes = CurveMean.with_slopes(mean, mean.values().detach(), asked)
    np.testing.assert_allclose(found, weight @ slopes, rtol=1e-10, atol=EXACT)


def test_derivatives_by_rows_are_still_there(scramble, asked):
    mean = scramble(LawMean(LogFloor(0.6), WHOLE), seed=7)
    rows = replace(asked, size=asked.size.clone().requires_grad_())
    (found,) = torch.autograd.grad(mean(rows).sum(), rows.size)
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (mean(replace(asked, size=asked.size + side * step)) for side in (1, -1))
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["law", "plane"])
def test_robust_regression_ends_where_its_objective_is_flat(scramble, asked, kind):
    scale = replace(WHOLE, top=None)
    make = {
        "law": lambda: LawMean(LogFloor(0.6), scale),
        "plane": lambda: PlaneMean(scale, level=0.3, spread=0.7),
    }
    truth, mean = scramble(make[kind](), seed=8), make[kind]()
    noise = 0.02 * torch.from_numpy(np.random.default_rng(0).standard_t(3, 40))
    data = Observations(asked, truth(asked).detach() + noise, torch.ones(40, dtype=torch.float64))
    fit_mean(mean, data)
    ended, (location, std) = mean.values().detach().numpy(), mean.prior()

    def loss(values, log_scale):
        values = torch.from_numpy(np.asarray(values))
        with torch.no_grad():
            residual = (data.y - mean.evaluate(values, asked)) * math.exp(-log_scale)
        robust = torch.log1p(residual.square() / STUDENT_DEGREES).sum() * (STUDENT_DEGREES + 1) / 2
        return float(robust + 40 * log_scale + 0.5 * ((values - location) / std).square().sum())

    scale = minimize_scalar(lambda log_scale: loss(ended, log_scale), bounds=(-8, 2), method="bounded")
    further = minimize(lambda p: loss(p[:-1], p[-1]), [*ended, scale.x], method="L-BFGS-B")
    assert scale.fun - further.fun < OPTIMISER
