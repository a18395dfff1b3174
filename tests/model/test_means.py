"""Mean functions: the law on the modelled scale, the plane, and both made linear in their parameters."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from probscale.laws import find_law
from probscale.model.bent import BentMean
from probscale.model.falling import FallingMean
from probscale.model.mean_choice import curve_mean
from probscale.model.means import LawMean, LawScale, PlaneMean, Rows
from probscale.model.repeats import UniqueData, effective, overfitting, repeat_priors
from probscale.model.rising import RisingMean
from probscale.model.transforms import Affine, LogFloor, LogOdds, LogScore
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


def test_curves_of_all_sizes_begin_alike_where_the_law_says_so():
    plain = LawScale(16.0, 8.0, 2.0, 2.6, True, True, onset=3.0)
    means = [LawMean(LogFloor(0.5), replace(plain, common=common)) for common in (False, True)]
    zero = torch.zeros(3, dtype=torch.float64)
    sizes = zero + torch.tensor([13.0, 16.0, 19.0])
    first, last = (Rows(zero[:, None], sizes, zero + progress) for progress in (-20.0, 30.0))
    (apart, begun), (plainly, ended) = (
        [np.exp(mean(rows).detach().numpy()) for mean in means] for rows in (first, last)
    )
    assert np.ptp(apart) > 0.1
    np.testing.assert_allclose(begun, begun[0], rtol=1e-6)
    np.testing.assert_allclose(ended, plainly, rtol=1e-3)


@pytest.mark.parametrize("kind", ["law", "plane", "bent", "rising", "falling"])
def test_linearisation_is_that_of_finite_differences(make_law, scramble, asked, kind):
    rising = functools.partial(RisingMean, ends=(-1.0, 1.0))
    falling = functools.partial(FallingMean, ends=(-1.0, 1.0))
    plain = {"plane": PlaneMean, "bent": BentMean, "rising": rising, "falling": falling}
    mean = make_law() if kind == "law" else plain[kind](make_law().scale, level=0.3, spread=0.7)
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


def repeated(law, params, seen, tokens):
    """Worth of the tokens (Muennighoff et al. 2023, eq. 5) and the loss that memorising them adds."""
    repeats = tokens / seen - 1
    worth = seen * (1 + law["R_D"] * (1 - np.exp(-repeats / law["R_D"])))
    memorised = law["P"] * (params / seen) ** law["kappa"]
    memorised = (memorised**-3 + law["P_most"] ** -3) ** (-1 / 3)
    return worth, memorised * (1 - np.exp(-((repeats / law["R_P"]) ** law["delta"])))


def test_repeated_data_is_worth_less_and_overfits(asked, scramble):
    unique = UniqueData(column=1, centre=16.5, spread=0.8)
    scale = LawScale(16.0, 20.0, 2.0, 2.6, True, True, unique=unique)
    mean = scramble(LawMean(LogFloor(0.5), scale), seed=3)
    law = mean.described()
    params, tokens = np.exp(asked.size.numpy()), np.exp(asked.progress.numpy())
    seen = np.minimum(np.exp(16.5 + 0.8 * asked.x[:, 1].numpy()), tokens)
    assert (seen < tokens).any()
    data, added = repeated(law, params, seen, tokens)
    assert added.max() > 0.3
    expected = law["E"] + law["A"] * params ** -law["alpha"] + law["B"] * data ** -law["beta"] + added
    np.testing.assert_allclose(mean(asked).detach().numpy(), np.log(expected - 0.5), rtol=1e-9)


def test_four_epochs_of_twenty_tokens_per_parameter_are_as_good_as_fresh_data():
    size = torch.full((1,), 20.0, dtype=torch.float64)
    unique = size + np.log(20)
    raw = {n: torch.tensor(np.exp(m)) for n, (m, _) in repeat_priors(3.0).items()}
    added = overfitting(raw, size, unique, unique + np.log(4))
    assert 0 < float(added) < 1e-3
    assert float(overfitting(raw, size, unique, unique)) < 1e-12
    memorised = overfitting(raw, size + np.log(1000), unique, unique + np.log(400))
    assert 0.5 * 9 < float(memorised) < 9


@pytest.mark.parametrize("log_epochs", [0.0, 1e-9, 3.0, 20.0])
def test_slopes_of_overfitting_stay_finite(log_epochs):
    raw = {n: torch.tensor(np.exp(m), requires_grad=True) for n, (m, _) in repeat_priors(3.0).items()}
    unique = torch.tensor([18.0], dtype=torch.float64)
    progress = unique + log_epochs
    (effective(raw, unique, progress) + overfitting(raw, unique, unique, progress)).sum().backward()
    assert all(np.isfinite(float(value.grad)) for value in raw.values())


def test_data_that_suffices_and_is_never_repeated_leaves_the_plain_law(asked):
    plain = LawScale(16.0, 20.0, 2.0, 2.6, True, True)
    plenty = UniqueData(column=0, centre=60.0, spread=0.0)
    one = LawMean(LogFloor(0.5), plain)(asked)
    tokens = Rows(asked.x, asked.size - 9, asked.progress + 9)
    other = LawMean(LogFloor(0.5), LawScale(7.0, 29.0, 2.0, 2.6, True, True, unique=plenty))(tokens)
    np.testing.assert_allclose(other.detach(), one.detach(), rtol=ALGEBRA)


def test_breaks_are_silent_within_the_observed_sizes_and_widen_in_proportion_beyond(asked):
    top = (float(asked.size.median()), float(asked.progress.median()))
    scale = LawScale(16.0, 20.0, 2.0, 2.6, True, True, top=top)
    mean = LawMean(LogFloor(0.5), scale)
    mean.may_break(0.03)
    with torch.no_grad():
        centre, slopes = mean.linearised(asked)
    plain = LawMean(LogFloor(0.5), LawScale(16.0, 20.0, 2.0, 2.6, True, True))(asked)
    np.testing.assert_allclose(centre, plain.detach(), rtol=ALGEBRA)
    beyond = np.maximum(np.stack([asked.size - top[0], asked.progress - top[1]], axis=1), 0.0)
    assert (beyond.max(axis=1) > 0).any()
    assert (beyond == 0).all(axis=1).any()
    np.testing.assert_allclose(slopes[:, -2:], 0.03 * beyond, rtol=ALGEBRA, atol=1e-15)


def test_runs_shorter_for_their_size_than_any_observed_may_stray_from_the_law(asked):
    length = asked.progress - asked.size
    top, shortest = (99.0, 99.0), float(length.median())
    mean = LawMean(LogFloor(0.5), LawScale(16.0, 20.0, 2.0, 2.6, True, True, top=top, shortest=shortest))
    mean.may_break(0.03, 0.07)
    with torch.no_grad():
        centre, slopes = mean.linearised(asked)
    plain = LawMean(LogFloor(0.5), LawScale(16.0, 20.0, 2.0, 2.6, True, True))(asked)
    np.testing.assert_allclose(centre, plain.detach(), rtol=ALGEBRA)
    short = (shortest - length).clamp_min(0.0)
    assert (short > 0).any()
    np.testing.assert_allclose(slopes[:, -1], 0.07 * short, rtol=ALGEBRA, atol=1e-15)
    assert (mean.break_std, mean.short_std) == (0.03, 0.07)


def test_laws_of_curves_break_beyond_the_sizes_alone(asked):
    top = (float(asked.size.median()), float(asked.progress.median()))
    mean = LawMean(LogFloor(0.5), LawScale(16.0, 20.0, 2.0, 2.6, True, True, onset=18.0, top=top))
    mean.may_break(0.03)
    with torch.no_grad():
        _, slopes = mean.linearised(asked)
    assert mean.breaks == ("size_break",)
    beyond = (asked.size - top[0]).clamp_min(0.0)
    np.testing.assert_allclose(slopes[:, -1], 0.03 * beyond, rtol=ALGEBRA, atol=1e-15)


@pytest.mark.parametrize(
    ("onset", "reach", "std"),
    [(-5.0, 1.0, 1.0), (1.9, 1.0, 1.0), (4.0, 1.0, 2.0), (4.0, 3.0, 2.0), (4.0, 3.75, 1.5), (4.0, 4.5, 1.0)],
)
def test_an_onset_much_later_than_expected_widens_its_prior_where_little_comes_after(
    asked, onset, reach, std
):
    scale = LawScale(16.0, 20.0, 2.0, 2.6, True, True, onset=18.0)
    mean, plain = LawMean(LogFloor(0.5), scale), LawMean(LogFloor(0.5), scale)
    for law in (mean, plain):
        law.get_parameter("onset").data.fill_(onset)
    mean.widen_onset(18.0 + onset + reach)
    index = mean.names.index("onset")
    with torch.no_grad():
        wide, narrow = (law.linearised(asked)[1].numpy() for law in (mean, plain))
    np.testing.assert_allclose(wide[:, index], std * narrow[:, index], rtol=ALGEBRA)
    np.testing.assert_array_equal(np.delete(wide, index, 1), np.delete(narrow, index, 1))
    # What is saved and what restarts receive is the state of the module.
    plain.load_state_dict(mean.state_dict())
    assert plain.prior()[1][index] == mean.prior()[1][index]


def test_laws_without_curves_have_no_onset_to_widen(make_law):
    mean = LawMean(LogFloor(0.5), LawScale(16.0, 20.0, 2.0, 2.6, True, True))
    before = mean.prior()[1]
    mean.widen_onset(21.0)
    np.testing.assert_array_equal(mean.prior()[1], before)


def test_a_plane_is_linear_in_logarithms(asked, make_law):
    plane = PlaneMean(make_law().scale, level=1.0, spread=1.0)
    with torch.no_grad():
        plane.size_slope.fill_(-0.3)
        plane.progress_slope.fill_(-0.2)
    expected = 1 - 0.3 * (asked.size - 16) - 0.2 * (asked.progress - 20)
    np.testing.assert_allclose(plane(asked).detach(), expected, rtol=ALGEBRA)


@pytest.mark.parametrize("exponent", [0.3, 1e-6, 0.0, -0.2])
def test_a_bent_plane_is_a_power_law_and_straight_where_the_exponent_is_zero(asked, make_law, exponent):
    mean = BentMean(make_law().scale, level=1.0, spread=1.0)
    with torch.no_grad():
        for name, value in (("size_slope", 0.3), ("progress_slope", 0.2), ("size_bend", exponent)):
            mean.get_parameter(name).fill_(value)
        mean.progress_bend.fill_(0.0)
    size = asked.size - 16
    power = size if exponent == 0 else (1 - torch.exp(-exponent * size)) / exponent
    expected = 1 + 0.3 * power + 0.2 * (asked.progress - 20)
    np.testing.assert_allclose(mean(asked).detach(), expected, rtol=1e-7)


def test_a_rising_mean_adds_a_power_law_to_the_odds_of_guessing_below_a_ceiling(asked, make_law):
    mean = RisingMean(make_law().scale, level=1.0, spread=1.0, ends=(-0.5, 0.5))
    with torch.no_grad():
        mean.size_slope.fill_(0.3)
        mean.progress_slope.fill_(0.2)
        mean.ceiling.fill_(2.0)
    power = 1.0 + 0.3 * (asked.size - 16) + 0.2 * (asked.progress - 20)
    risen = np.exp(-0.5) + np.exp(power.numpy())
    np.testing.assert_allclose(np.exp(-mean(asked).detach().numpy()), 1 / risen + np.exp(-2.0), rtol=ALGEBRA)


def test_a_falling_mean_is_a_product_of_powers_below_its_start_and_above_its_floor(asked, make_law):
    mean = FallingMean(make_law().scale, level=-1.0, spread=1.0, ends=(-3.0, 0.5))
    with torch.no_grad():
        mean.size_slope.fill_(-0.3)
        mean.progress_slope.fill_(-0.2)
        mean.floor_level.fill_(-4.0)
    power = torch.exp(-1.0 - 0.3 * (asked.size - 16) - 0.2 * (asked.progress - 20)).numpy()
    expected = np.exp(-4.0) + 1 / (np.exp(-0.5) + 1 / power)
    np.testing.assert_allclose(np.exp(mean(asked).detach().numpy()), expected, rtol=ALGEBRA)


@pytest.mark.parametrize(
    ("transform", "mean"),
    [
        (LogOdds(0.02, 1.0), RisingMean),
        (LogScore(0.02), RisingMean),
        (Affine(0.0, 1.0), BentMean),
        (Affine(0.5, -0.1, 1.0), PlaneMean),
    ],
)
def test_curves_of_scores_rise_signed_ones_flatten_and_bounded_ones_are_left_to_the_kernel(
    transform, mean, make_law
):
    y, scale = torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64), make_law().scale
    assert isinstance(curve_mean(transform, scale, y), mean)
    assert isinstance(curve_mean(transform, scale, y, "plane"), PlaneMean)
    assert isinstance(curve_mean(transform, replace(scale, varies_in_size=False), y), PlaneMean)


def test_a_law_goes_with_a_logarithm_and_a_plane_with_the_rest(make_law):
    scale, y = make_law().scale, torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    assert isinstance(curve_mean(LogFloor(0.5), scale, y), LawMean)
    assert isinstance(curve_mean(LogFloor(0.5), scale, y, "plane"), PlaneMean)
    plane = curve_mean(Affine(0.0, -1.0, 1.0), scale, y)
    assert isinstance(plane, PlaneMean)
    assert plane.described()["level"] == pytest.approx(0.5)
    finals = replace(scale, onset=None)
    assert isinstance(curve_mean(Affine(0.0, 1.0), finals, y), BentMean)
    assert isinstance(curve_mean(Affine(0.0, 1.0), finals, y, "plane"), PlaneMean)


def test_rows_can_be_taken_and_joined(asked):
    again = asked.take(slice(0, 4)).cat(asked.take(slice(4, 9)))
    for name in ("x", "size", "progress"):
        assert torch.equal(getattr(again, name), getattr(asked, name))
    assert len(again) == 9
