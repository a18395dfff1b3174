"""Laws fitted to draws of a frontier, against the general fitter and exact cases."""

import numpy as np
import pytest

from probscale.laws import fit_law
from probscale.scaling.draws import Draws
from probscale.scaling.law_posterior import LawPosterior, fit_laws, power_with_limit

COMPUTE = np.geomspace(1e17, 1e21, 30)


@pytest.mark.parametrize(
    ("floor", "coefficient", "exponent"), [(1.7, 60.0, 0.1), (0.5, 900.0, 0.16), (2.0, 9.0, 0.05)]
)
def test_exact_power_laws_are_recovered(floor, coefficient, exponent):
    values = (floor + coefficient * COMPUTE**-exponent)[None]
    found = [float(part[0]) for part in power_with_limit(COMPUTE, values, rising=False)]
    np.testing.assert_allclose(found, [floor, coefficient, exponent], rtol=0.02)


def test_noisy_fits_agree_with_the_general_fitter():
    generator = np.random.default_rng(0)
    clean = 1.7 + 60 * COMPUTE**-0.1
    for _ in range(3):
        values = clean * np.exp(2e-3 * generator.standard_normal(len(COMPUTE)))
        floor, _, exponent = (
            float(part[0]) for part in power_with_limit(COMPUTE, values[None], rising=False)
        )
        general = fit_law("power", x=COMPUTE, loss=values, delta=np.inf).values
        assert exponent == pytest.approx(general["alpha"], rel=0.03)
        assert floor == pytest.approx(general["E"], rel=0.03)


def test_rising_scores_mirror_falling_losses():
    score = (0.9 - 30 * COMPUTE**-0.1)[None]
    ceiling, coefficient, exponent = (float(p[0]) for p in power_with_limit(COMPUTE, score, rising=True))
    np.testing.assert_allclose([ceiling, coefficient, exponent], [0.9, 30, 0.1], rtol=0.02)


def test_no_ceiling_passes_what_is_possible():
    score = (0.02 * np.log(COMPUTE / 1e16) + 0.1)[
        None
    ]  # What a law follows best with a ceiling far above one.
    free, bounded = (power_with_limit(COMPUTE, score, rising=True, most=most) for most in (np.inf, 1.0))
    assert free[0] > 1.5
    assert bounded[0] <= 1
    fitted = bounded[0] - bounded[1] * COMPUTE ** -bounded[2]
    assert np.abs(fitted - score[0]).max() < 0.02
    below = (0.9 - 30 * COMPUTE**-0.1)[None]
    ceiling, _, exponent = (float(p[0]) for p in power_with_limit(COMPUTE, below, rising=True, most=1.0))
    np.testing.assert_allclose([ceiling, exponent], [0.9, 0.1], rtol=0.02)


def test_floor_of_positive_losses_is_never_negative():
    values = np.exp(5 - 0.1 * np.log(COMPUTE) - 0.002 * (np.log(COMPUTE) - 40) ** 2)[None]
    floor, coefficient, _ = power_with_limit(COMPUTE, values, rising=False)
    assert floor[0] >= 0
    assert coefficient[0] >= 0


def test_summaries_agree_with_the_draws():
    generator = np.random.default_rng(1)
    draws = 1.7 + generator.normal(60, 1, (200, 1)) * COMPUTE ** -generator.normal(0.1, 0.002, (200, 1))
    law = fit_laws(COMPUTE, draws, goal="min")
    line = np.polyfit(np.log(COMPUTE), np.log(draws).T, 1)
    np.testing.assert_allclose(law.draws["slope"].values, line[0], rtol=1e-9)
    assert law.mean["slope"] == pytest.approx(line[0].mean(), rel=1e-9)
    assert law.std["intercept"] == pytest.approx(line[1].std(ddof=1), rel=1e-9)
    lower, upper = law.interval(0.8)["exponent"]
    inside = (law.draws["exponent"].values >= lower) & (law.draws["exponent"].values <= upper)
    assert inside.mean() == pytest.approx(0.8, abs=0.01)
    table = law.sample(50, seed=3)
    assert table.shape == (50, 5)
    assert set(table["slope"]) <= set(law.draws["slope"].values)
    np.testing.assert_allclose(law.predict(COMPUTE).values, draws, rtol=2e-3)
    assert "exponent" in str(law)


def test_unreachable_levels_are_left_out():
    values = (1.7 + 60 * COMPUTE**-0.1)[None].copy()
    values[:, :5] = np.nan
    assert np.isfinite(fit_laws(COMPUTE, values, goal="min").mean["slope"])


def test_a_law_is_shown_by_medians_which_one_wild_draw_leaves_alone():
    draws = Draws(np.array([1.0, 2.0, 3.0, 4.0, 1e18]))
    law = LawPosterior({"coefficient": draws}, rising=False, logarithmic=True)
    assert str(law).startswith("coefficient 3 [")
