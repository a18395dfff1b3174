"""Curves of sizes that no run has had: what sizes owe to themselves."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

import probscale as ps
from probscale.model.exact import solve_exactly
from probscale.model.means import SizeBelief
from probscale.model.offsets import offset_of
from probscale.model.tails import BREAK, SHORT_BREAK
from probscale.surrogate import functional_sizes
from probscale.surrogate.functional_breaks import with_breaks

SIZES = (1e6, 3e6, 1e7, 3e7, 1e8)
ROLES = {"run": "run", "axis": "step", "output": "loss", "params": "params", "horizon": "horizon"}


def table(apart, *, sizes=SIZES, runs=24, points=12, seed=0):
    """Curves of a law, the runs of each size shifted together by a share of the loss."""
    rng = np.random.default_rng(seed)
    frames = []
    for k, size in enumerate(sizes):
        shift = apart * (-1.0) ** k
        for i in range(runs):
            rate, horizon = 10 ** rng.uniform(-4, -2), 1000.0 * 2.0 ** rng.integers(0, 3)
            share = np.linspace(0.05, 1.0, points)
            penalty = 0.05 * (np.log10(rate) + 3) ** 2 * (1 + 2 * np.exp(-4 * share))
            loss = 20 * size**-0.2 + 3 * (horizon * share) ** -0.3 + penalty
            loss = (1.5 + loss * np.exp(shift)) * (1 + rng.normal(0, 0.001, points))
            columns = {"run": f"r{k}-{i}", "step": horizon * share, "loss": loss}
            frames.append(pd.DataFrame(columns | {"params": size, "lr": rate, "horizon": horizon}))
    return pd.concat(frames, ignore_index=True)


def fit(frame):
    return ps.fit_surrogate(ps.RunLog.from_frame(frame, **ROLES), embedder=None, model="functional")


def offset(surrogate):
    return offset_of(surrogate.experts["all runs"].scores.states[0].process)


@pytest.fixture(scope="module")
def smooth():
    return fit(table(0.0))


@pytest.fixture(scope="module")
def uneven():
    return fit(table(0.06))


def new(size, count=4):
    return pd.DataFrame({"params": size, "lr": np.geomspace(3e-4, 3e-3, count), "horizon": 2000.0})


def ends(surrogate):
    expert = surrogate.experts["all runs"]
    return expert.scores.states[0], functional_sizes.size_column(expert)


def fold(state, limit):
    """Posterior of the sizes below a limit, the one of all, and the runs of the next size."""
    size = state.data.rows.size.exp().numpy()
    asked = np.flatnonzero((size > limit) & (size < 4 * limit))
    smaller = state.data.take(np.flatnonzero(size < limit))
    return solve_exactly(state.process, smaller), state, asked


def test_sizes_that_stray_each_its_own_way_make_the_next_one_less_sure(smooth, uneven):
    assert offset(smooth) is None
    assert 0.02 < offset(uneven).std < 0.15
    assert "offset of a size" in str(uneven.report)
    width = [np.ptp(s.predict(new(4e8), [2000.0]).interval(0.9), axis=0).mean() for s in (smooth, uneven)]
    assert width[1] > 3 * width[0]


def test_the_next_size_is_within_what_is_claimed_of_it(uneven):
    held = table(0.06, sizes=(*SIZES, 3e8), seed=0).query("params == 3e8")
    log = ps.RunLog.from_frame(held, **ROLES)
    at = log.points["step"].to_numpy().reshape(log.n_runs, -1)
    lower, upper = uneven.predict(log.configs, at).interval(0.9)
    truth = log.points["loss"].to_numpy().reshape(at.shape)
    assert ((truth >= lower) & (truth <= upper)).mean() > 0.8


def test_runs_of_a_new_size_share_their_offset(uneven):
    configs = pd.concat([new(4e8, 2), new(2e9, 2)], ignore_index=True)
    draws = uneven.predict(configs, [2000.0]).sample(2_000, seed=1)[:, :, 0]
    correlation = np.corrcoef(draws.T)
    assert correlation[0, 1] > 0.8
    assert correlation[0, 1] > correlation[0, 2] + 0.1


def test_what_is_said_of_observed_sizes_does_not_depend_on_offsets(uneven):
    state, _ = ends(uneven)
    plain = solve_exactly(without(state.process), state.data)
    rows = state.data.rows.take(slice(0, None, 7))
    (mean, variance), (other, wider) = (each.marginals(rows) for each in (plain, state))
    np.testing.assert_allclose(mean, other, atol=2e-3)
    np.testing.assert_allclose(variance.sqrt(), wider.sqrt(), atol=1e-3)


def without(process):
    plain = copy.deepcopy(process)
    plain.kernel.terms = plain.kernel.terms[:-1]
    return plain


def test_the_scale_is_the_one_that_integration_gives(smooth):
    state, column = ends(smooth)
    folds = [fold(state, 2e7)]
    # Shifting the ends of the largest sizes makes offsets likely.
    y = state.data.y + 0.04 * (state.data.rows.size > np.log(2e7))
    shifted = replace(state, data=replace(state.data, y=y))
    folds = [(folds[0][0], shifted, folds[0][2])]

    def density(scale):
        small = folds[0][0] if scale is None else column.offset(folds[0][0], scale)
        rows = shifted.data.rows.take(torch.from_numpy(folds[0][2]))
        joint = small.covariance(rows, rows) + torch.diag(small.process.noise(rows).detach())
        left = float((shifted.data.y[folds[0][2]] - small.marginals(rows)[0]).mean())
        return float(norm.pdf(left, scale=np.sqrt(float(joint.mean()))))

    def moment(power):
        def inner(log):
            prior = np.exp(-0.5 * ((log - np.log(functional_sizes.USUAL)) / functional_sizes.USUAL_STD) ** 2)
            return prior * density(np.exp(log)) * np.exp(power * log)

        return quad(inner, *np.log(functional_sizes.SCALES[[0, -1]]), limit=30, epsrel=1e-3)[0]

    assert density(None) < 0.1 * density(0.03)
    expected = np.sqrt(moment(2) / moment(0))
    assert functional_sizes.offset_scale(folds, column) == pytest.approx(expected, rel=0.05)


def test_ends_as_well_foretold_as_claimed_ask_for_no_offsets(smooth):
    state, column = ends(smooth)
    assert functional_sizes.offset_scale([fold(state, 2e7)], column) is None
    assert functional_sizes.offset_scale([], column) is None


def test_where_few_runs_share_a_size_or_all_do_sizes_have_no_offsets(smooth):
    expert = smooth.experts["all runs"]
    assert functional_sizes.size_column(expert) is not None
    state, size = expert.scores.states[0], expert.scores.states[0].data.rows.size.numpy()
    one = solve_exactly(state.process, state.data.take(np.flatnonzero(size == size[0])))
    few = solve_exactly(
        state.process, state.data.take([np.flatnonzero(size == s)[0] for s in np.unique(size)])
    )
    for some in (one, few):
        changed = replace(expert, scores=replace(expert.scores, states=(some,)))
        assert functional_sizes.size_column(changed) is None
        assert functional_sizes.with_size_offsets(changed, []) == (changed, [])


def test_saved_and_loaded_new_sizes_have_the_same_offsets(uneven, tmp_path):
    uneven.save(tmp_path / "sizes.safetensors")
    again = ps.load_surrogate(tmp_path / "sizes.safetensors", embedder=None)
    assert offset(again).std == pytest.approx(offset(uneven).std)
    for size in (4e8, 1e8):
        one, other = (s.predict(new(size), [200.0, 2000.0]).interval(0.9) for s in (uneven, again))
        np.testing.assert_allclose(one, other, rtol=1e-9)


def law(surrogate):
    return surrogate.experts["all runs"].scores.states[0].process.mean


def broken(surrogate, size_break):
    """The surrogate with a law that may break so much per e-fold."""
    expert = surrogate.experts["all runs"]
    first, *rest = expert.scores.states
    process = copy.deepcopy(first.process)
    process.mean.may_break(size_break)
    scores = replace(expert.scores, states=(replace(first, process=process), *rest))
    return replace(surrogate, experts={"all runs": replace(expert, scores=scores)})


def test_many_runs_of_few_sizes_leave_doubt_that_grows_beyond_them(smooth):
    assert (law(smooth).break_std, law(smooth).short_std) == pytest.approx((BREAK, SHORT_BREAK))
    assert "break per e-fold" in str(smooth.report)
    firm, width = broken(smooth, 0.0), []
    for size in (2e8, 8e8, 3.2e9):
        expert, mean = smooth.experts["all runs"], law(smooth)
        rows = expert.rows(new(size), np.full(4, -1.0), np.full(4, 2000.0))
        loose, tight = (s.experts["all runs"].scores.states[0].marginals(rows)[1] for s in (smooth, firm))
        far, _, short = (distance.numpy() for distance in mean.beyond(rows).values())
        np.testing.assert_allclose(far, np.log(size / SIZES[-1]))
        doubt = (mean.break_std * far) ** 2 + (mean.short_std * short) ** 2
        np.testing.assert_allclose(loose - tight, doubt, rtol=1e-3)
        width.append(np.ptp(smooth.predict(new(size), [2000.0]).interval(0.9), axis=0).mean())
    assert width[0] < width[1] < width[2]


def test_a_law_that_may_break_says_the_same_within_the_sizes_and_is_no_other_beyond(smooth):
    firm, loose = broken(smooth, 0.0), broken(smooth, 0.1)
    for size, same in ((1e7, True), (1e8, True), (4e8, False)):
        one, other = (s.predict(new(size), [200.0, 2000.0]) for s in (firm, loose))
        np.testing.assert_allclose(one.quantile(0.5), other.quantile(0.5), rtol=1e-6)
        wider = np.ptp(other.interval(0.9), axis=0) / np.ptp(one.interval(0.9), axis=0)
        assert np.allclose(wider, 1.0, atol=1e-6) if same else (wider > 1.5).all()


def test_a_law_whose_size_term_other_sources_told_does_not_break_on_top(smooth):
    taught = broken(smooth, 0.0).experts["all runs"]
    mean = taught.scores.states[0].process.mean
    assert with_breaks(taught, [])[0].scores.states[0].process.mean.break_std == pytest.approx(BREAK)
    mean.may_break(0.0)
    mean.belief = SizeBelief(0.0, -1.0, 0.1, 0.1)
    assert with_breaks(taught, [])[0].scores.states[0].process.mean.break_std < 1e-5


def test_draws_of_larger_sizes_stray_as_often_as_intervals_say(smooth):
    for size in (4e8, 1e7):
        curves = smooth.predict(new(size, 2), [200.0, 2000.0])
        draws = curves.sample(20_000, seed=3)
        for q in (0.01, 0.05, 0.95, 0.99):
            share = (draws <= curves.quantile(q)).mean(axis=0)
            np.testing.assert_allclose(share, q, atol=5 * np.sqrt(q * (1 - q) / 20_000) + 1e-3)
