import numpy as np
import pytest
import torch

from probscale.model.exact import solve_exactly
from probscale.model.gp import CurveProcess, Observations
from probscale.model.layout import Layout
from probscale.model.means import LawScale, PlaneMean, Rows
from probscale.model.offsets import SizeOffset, offset_of, with_offsets


def rows(*sizes):
    return torch.tensor([[0.0, size] for size in sizes], dtype=torch.float64)


@pytest.fixture
def term():
    return SizeOffset(1, alike=0.1, scale=0.03)


@pytest.fixture
def process():
    scale = LawScale(0.0, 0.0, 1.0, 2.0, varies_in_size=True, varies_in_progress=True)
    mean = PlaneMean(scale, level=0.0, spread=1.0)
    return CurveProcess(Layout(("rate", "params")), mean, scale=0.1, noise=0.1)


def test_runs_of_one_size_share_an_offset_and_those_of_two_sizes_nothing(term):
    x = rows(-1.0, 1.5, 1.5)
    expected = 0.03**2 * np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]])
    np.testing.assert_allclose(term(x).detach().numpy(), expected, atol=1e-15)
    np.testing.assert_allclose(term(x, diag=True).detach().numpy(), expected.diagonal(), atol=1e-15)


def test_sizes_that_are_nearly_the_same_share_most_of_it(term):
    shared = term(rows(1.0), rows(1.0, 1.025, 1.05, 1.1, 1.3)).detach().numpy()[0]
    np.testing.assert_allclose(shared / 0.03**2, [1, 0.75, 0.5, 0, 0], atol=1e-12)


def test_it_is_a_covariance_however_close_sizes_are(term):
    x = rows(*np.random.default_rng(0).uniform(-1.3, 1.6, 60))
    assert np.linalg.eigvalsh(term(x).detach().numpy()).min() > -1e-12


def test_a_process_with_offsets_adds_them_and_leaves_the_given_one_alone(term, process):
    changed, x = with_offsets(process, term), rows(0.5, 0.5, 1.0)
    assert offset_of(process) is None
    assert offset_of(changed) is not None
    difference = (changed.kernel(x) - process.kernel(x)).detach()
    torch.testing.assert_close(difference, term(x).detach(), rtol=0, atol=1e-12)


def test_many_runs_of_a_size_are_one_witness_of_the_next(term, process):
    x, new = rows(*[-1.0] * 40, *[0.0] * 40, *[1.0] * 40), rows(2.0)
    data, asked = (Rows(part, part[:, 1], torch.zeros(len(part), dtype=torch.float64)) for part in (x, new))
    y = torch.zeros(120, dtype=torch.float64)
    observed = Observations(data, y, torch.ones_like(y))
    plain, offset = (solve_exactly(p, observed) for p in (process, with_offsets(process, term)))
    variance = [float(state.marginals(asked)[1]) for state in (plain, offset)]
    # A line through three sizes, each off by 0.03, strays by 0.03 √(1 + 1/3 + 2²/2) one step beyond.
    assert variance[1] - variance[0] > 0.03**2
    assert variance[1] < variance[0] + 0.03**2 * (1 + 1 / 3 + 2) * 1.01


def test_what_describes_an_offset_builds_it_again(term):
    again = SizeOffset(**term.described())
    again.load_state_dict(term.state_dict())
    assert again.std == pytest.approx(0.03)
    torch.testing.assert_close(again(rows(1.02, 2.0)), term(rows(1.02, 2.0)))
