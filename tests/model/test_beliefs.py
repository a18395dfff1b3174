"""What sources of several model sizes say of the size term of a source with few."""

import math

import numpy as np
import pytest
import torch

from probscale.model.beliefs import BETWEEN, SizeTerm, believed, size_term_of
from probscale.model.exact import solve_exactly
from probscale.model.gp import CurveProcess, Observations
from probscale.model.layout import Layout
from probscale.model.means import FINALS_PRIOR, LawMean, LawScale, Rows, SizeBelief
from probscale.model.transforms import LogFloor
from tolerances import ALGEBRA

SCALE = LawScale(17.0, 21.0, 2.2, 2.8, True, True)
BELIEF = SizeBelief(-0.4, math.log(0.3), 0.2, 0.1)


def posterior(law, count=30, seed=0):
    """A process with a law as its mean, given a few finals."""
    rng = np.random.default_rng(seed)
    size = torch.from_numpy(rng.uniform(15, 19, count))
    progress = torch.from_numpy(rng.uniform(19, 23, count))
    rows = Rows(torch.stack([size - 17, progress - 21], dim=1), size, progress)
    process = CurveProcess(Layout(("N", "tokens"), sizes=(0,)), law, scale=0.05, noise=0.02)
    with torch.no_grad():
        y = law(rows) + torch.from_numpy(0.02 * rng.standard_normal(count))
    return solve_exactly(process, Observations(rows, y, torch.ones(count, dtype=torch.float64)))


def test_a_belief_replaces_prior_and_start_of_the_size_term_and_is_kept_in_files():
    law = LawMean(LogFloor(0.9), SCALE)
    law.believe(BELIEF)
    again = LawMean(LogFloor(0.9), SCALE)
    again.load_state_dict(law.state_dict())
    for mean in (law, again):
        location, std = (dict(zip(mean.names, part.tolist(), strict=True)) for part in mean.prior())
        assert location["size_level"] == float(mean.size_level.detach()) == BELIEF.level
        assert std["size_exponent"] == BELIEF.exponent_std
        assert std["progress_exponent"] == FINALS_PRIOR.exponent_std


def test_the_spread_of_the_slope_is_that_of_precisions_added_up():
    law = LawMean(LogFloor(0.9), SCALE)
    state = posterior(law)
    term = size_term_of(state)
    with torch.no_grad():
        covariance = state.process.kernel(state.data.rows.x) + torch.diag(
            state.process.noise(state.data.rows)
        )
    _, jacobian = law.linearised(state.data.rows)
    std = law.prior()[1]
    jacobian = jacobian / std
    precision = torch.diag(std**-2) + jacobian.mT @ torch.linalg.solve(covariance, jacobian)
    both = torch.linalg.inv(precision)
    which = [law.names.index(name) for name in ("size_level", "size_exponent")]
    assert term.slope_std**2 == pytest.approx(both[which][:, which].sum().item(), rel=1e-4)
    assert term.level == float(law.size_level.detach())


def test_the_term_of_another_source_is_expected_to_be_as_large():
    term = SizeTerm(17.0, math.log(0.6), math.log(0.3), 2.5, 0.15)
    scale = LawScale(18.0, 21.0, 2.0, 2.5, True, True)
    belief = believed([term], scale)
    assert math.exp(belief.level) == pytest.approx(0.6 * math.exp(-0.3), rel=ALGEBRA)
    assert belief.level_std == pytest.approx(math.sqrt(0.15**2 + 2 * BETWEEN**2), rel=ALGEBRA)
    foreign = believed([term], LawScale(18.0, 21.0, 20.0, 25.0, True, True))
    assert foreign.level_std > 5
    several = believed([term] * 4, scale)
    assert several.level == pytest.approx(belief.level, rel=ALGEBRA)
    assert several.level_std < belief.level_std
    assert several.exponent_std < belief.exponent_std


def test_means_other_than_laws_of_size_have_no_such_term():
    flat = LawMean(LogFloor(0.9), LawScale(17.0, 21.0, 2.2, 2.8, False, True))
    assert size_term_of(posterior(flat)) is None
