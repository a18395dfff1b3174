"""Several outputs in one process: covariances against other routes, correlations recovered."""

import numpy as np
import pytest
import torch

from probscale.model.cross import crossed_terms, term_names
from probscale.model.exact import solve_exactly
from probscale.model.gp import CurveProcess, Observations
from probscale.model.linking import LinkObjective, fit_links, fixed_parts
from probscale.model.means import LawScale, PlaneMean
from probscale.model.outputs import Coregionalisation, linked, with_output
from probscale.model.tying import Tie, apply_tie
from tolerances import ALGEBRA, EXACT


def plane():
    return PlaneMean(LawScale(16.0, 20.0, 2.0, 2.6, True, True, 19.0), level=0.3, spread=0.8)


def made(layout, scramble, seed):
    return scramble(CurveProcess(layout, plane(), scale=0.3, noise=0.05), seed=seed)


def both(layout, rows_of, outputs=2, count=24):
    """The same points measured by every output."""
    rows = rows_of(layout, count, seed=3)
    codes = torch.arange(count, dtype=torch.float64) if layout.run is None else rows.x[:, layout.run]
    parts = [with_output(rows, codes, o) for o in range(outputs)]
    joint = parts[0]
    for part in parts[1:]:
        joint = joint.cat(part)
    return rows, joint


def take_shape(process, other):
    nothing = torch.zeros(0, dtype=torch.float64)
    return apply_tie(process, Tie(other, proportional=False), Observations(None, nothing, nothing))


@pytest.fixture
def three(layout, scramble):
    process = linked([made(layout, scramble, seed) for seed in range(3)])
    return scramble(process.links, seed=9, width=1.5) and process


def test_covariance_between_outputs_is_that_within_when_they_share_all(layout, scramble, rows_of):
    process, x = made(layout, scramble, 1), rows_of(layout, 15).x
    terms = crossed_terms(process.kernel, process.kernel, x, x)
    assert len(terms) == len(term_names(process.kernel))
    with torch.no_grad():
        np.testing.assert_allclose(sum(terms).numpy(), process.kernel(x).numpy(), rtol=1e-7, atol=1e-9)


def test_joint_covariance_is_positive_whatever_the_parameters(three, layout, rows_of):
    rows, joint = both(layout, rows_of, outputs=3)
    with torch.no_grad():
        covariance = three.kernel(joint.x)
        assert torch.allclose(covariance, covariance.mT, rtol=ALGEBRA)
        np.testing.assert_allclose(covariance.diagonal(), three.kernel(joint.x, diag=True), rtol=ALGEBRA)
        lowest = torch.linalg.eigvalsh(covariance)[0]
    assert lowest > -1e-9 * float(covariance.diagonal().mean())
    assert len(rows) * 3 == len(joint)


def test_one_output_keeps_the_process_it_has_alone(three, layout, rows_of):
    rows, joint = both(layout, rows_of, outputs=3)
    count = len(rows)
    for place, part in enumerate(three.each):
        own = slice(place * count, (place + 1) * count)
        one = joint.take(own)
        with torch.no_grad():
            total = three.kernel(one.x) + torch.diag(three.noise(one))
            alone = part.kernel(rows.x) + torch.diag(part.noise(rows))
            slopes, slopes_alone = three.mean.linearised(one)[1], part.mean.linearised(rows)[1]
        np.testing.assert_allclose(total, alone, rtol=ALGEBRA, atol=EXACT)
        np.testing.assert_allclose(slopes @ slopes.mT, slopes_alone @ slopes_alone.mT, atol=1e-9)


def test_equal_shapes_give_the_linear_model_of_coregionalisation(curves_layout, scramble, rows_of):
    first, second = (made(curves_layout, scramble, seed) for seed in (1, 2))
    take_shape(second, first)
    process = linked([first, second])
    scramble(process.links, seed=4, width=1.0)
    _, joint = both(curves_layout, rows_of, count=12)
    with torch.no_grad():
        matrices = process.links.matrices()
        a, b = joint.x[:12], joint.x[12:]
        off = process.kernel(a, b) - process.kernel(a, b).diagonal().diag()
        amplitude = []
        for one, other in zip(first.kernel.terms, second.kernel.terms, strict=True):
            ratio = other(a, diag=True) / one(a, diag=True)
            amplitude.append(float(ratio[0].sqrt()))
        # Terms with one amplitude are b_oo' k; those with two (constant and drift) are not a multiple of another.
        shared = matrices[0, 0, 1] * amplitude[0] * first.kernel.terms[0](a, b)
        terms = crossed_terms(first.kernel, second.kernel, a, b)
        np.testing.assert_allclose(matrices[0, 0, 1] * terms[0], shared, rtol=1e-7, atol=1e-10)
        rest = sum(matrices[t, 0, 1] * term for t, term in enumerate(terms))
        np.testing.assert_allclose(off, rest - rest.diagonal().diag(), rtol=1e-7, atol=1e-10)


def test_two_outputs_correlate_by_the_hyperbolic_tangent():
    links = Coregionalisation(("a", "b"), 2)
    links.correlation.data = torch.tensor([[0.7], [-1.3]], dtype=torch.float64)
    np.testing.assert_allclose(links.matrices()[:, 0, 1].detach(), np.tanh([0.7, -1.3]), rtol=EXACT)
    start = torch.tensor([[1.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 1.0]], dtype=torch.float64)
    three = Coregionalisation(("a", "b"), 3)
    three.start_at(start)
    for matrix in three.matrices().detach():
        np.testing.assert_allclose(matrix, start, atol=1e-12)


def test_evidence_of_links_is_the_density_of_the_joint_covariance(three, layout, rows_of):
    _, joint = both(layout, rows_of, outputs=3, count=9)
    rng = np.random.default_rng(1)
    y = torch.from_numpy(rng.normal(size=27))
    joint.x[:, -3] = torch.from_numpy(rng.uniform(1.0, 3.0, 27))
    data = Observations(joint, y, torch.ones_like(y))
    with torch.no_grad():
        value = LinkObjective(three.links).log_likelihood(fixed_parts(three, data))
    exact = solve_exactly(three, data)
    assert float(value) == pytest.approx(exact.log_evidence(), rel=1e-7)


def test_correlations_are_recovered_from_joint_draws(curves_layout, scramble, rows_of):
    parts = [made(curves_layout, scramble, 1), made(curves_layout, scramble, 2)]
    take_shape(parts[1], parts[0])
    truth = linked(parts)
    truth.links.common.data.fill_(-1.2)
    truth.links.share.data.fill_(1.0)
    _, joint = both(curves_layout, rows_of, count=150)
    with torch.no_grad():
        mean, slopes = truth.mean.linearised(joint)
        covariance = truth.kernel(joint.x) + slopes @ slopes.mT + torch.diag(truth.noise(joint))
        factor = torch.linalg.cholesky(covariance)
        y = mean + factor @ torch.from_numpy(np.random.default_rng(0).standard_normal(len(joint)))
    process, outcome = fit_links(parts, Observations(joint, y, torch.ones_like(y)))
    found = process.links.matrices()[:, 0, 1].detach().numpy()
    assert outcome.failures == 0
    assert (found[:-1] < 0.1).all()
    assert found[0] < -0.5
    assert np.median(found) == pytest.approx(np.tanh(-1.2), abs=0.25)


def test_an_output_says_something_about_the_other(curves_layout, scramble, rows_of):
    parts = [made(curves_layout, scramble, 1), made(curves_layout, scramble, 2)]
    take_shape(parts[1], parts[0])
    process = linked(parts)
    process.links.common.data.fill_(2.0)
    _, joint = both(curves_layout, rows_of, count=20)
    first, second = joint.take(slice(0, 20)), joint.take(slice(20, 40))
    y = torch.from_numpy(np.random.default_rng(1).normal(size=20))
    state = solve_exactly(process, Observations(first, y, torch.ones_like(y)))
    known = state.marginals(second)[1]
    process.links.common.data.fill_(0.0)
    state = solve_exactly(process, Observations(first, y, torch.ones_like(y)))
    assert (known < 0.6 * state.marginals(second)[1]).all()
