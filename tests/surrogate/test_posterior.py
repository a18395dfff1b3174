"""The posterior over curves: shapes, units, and agreement of every view of one distribution."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from probscale.errors import ConfigError, ShapeError
from tolerances import ALGEBRA, EXACT, monte_carlo


@pytest.fixture(scope="module")
def curves(surrogate, new):
    return surrogate.predict(new.configs, new.at)


def test_everything_has_one_value_per_configuration_and_point(curves, new):
    shape = (len(new.configs), len(new.at))
    assert curves.shape == shape
    lower, upper = curves.interval(0.9)
    for values in (curves.mean, curves.std, curves.median, lower, upper, curves.prob_below(3.0)):
        assert values.shape == shape
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
    assert curves.sample(7, seed=1).shape == (7, *shape)
    assert curves.latent().shape == shape


def test_results_are_in_user_units(curves, log):
    assert (curves.mean > 0.5 * log.points["loss"].min()).all()
    assert (curves.mean < log.points["loss"].max()).all()
    assert (curves.std > 0).all()
    assert (curves.std < 1).all()


def test_one_row_of_axis_values_per_configuration_is_the_same_as_asking_apart(surrogate, new):
    at = new.at * np.array([[1.0], [2.0], [0.5]])
    together = surrogate.predict(new.configs, at)
    for row in range(3):
        alone = surrogate.predict(new.configs.iloc[[row]], at[row])
        np.testing.assert_allclose(together.mean[row], alone.mean[0], rtol=ALGEBRA)
        np.testing.assert_allclose(together.std[row], alone.std[0], rtol=ALGEBRA)


def test_a_list_of_dicts_is_a_frame(surrogate, new, curves):
    listed = surrogate.predict(new.configs.to_dict(orient="records"), list(new.at))
    np.testing.assert_allclose(listed.mean, curves.mean, rtol=EXACT)


def test_a_duplicated_row_is_predicted_twice(surrogate, new, curves):
    twice = surrogate.predict(new.configs.iloc[[0, 0]], new.at)
    np.testing.assert_allclose(twice.mean[0], twice.mean[1], rtol=EXACT)
    np.testing.assert_allclose(twice.mean[0], curves.mean[0], rtol=ALGEBRA)


@pytest.mark.parametrize("q", [0.01, 0.25, 0.5, 0.9, 0.999])
def test_quantile_inverts_the_distribution_function(curves, q):
    for view in (curves, curves.latent()):
        np.testing.assert_allclose(view.prob_below(view.quantile(q)), q, atol=ALGEBRA)


def test_quantiles_rise_and_intervals_nest(curves):
    quantiles = np.stack([curves.quantile(q) for q in (0.05, 0.1, 0.5, 0.9, 0.95)])
    assert (np.diff(quantiles, axis=0) > 0).all()
    np.testing.assert_allclose(curves.interval(0.9), quantiles[[0, 4]], rtol=EXACT)
    np.testing.assert_allclose(curves.interval(0.8), quantiles[[1, 3]], rtol=EXACT)
    np.testing.assert_allclose(curves.median, quantiles[2], rtol=EXACT)


def test_prob_below_is_zero_far_below_and_one_far_above(curves):
    np.testing.assert_allclose(curves.prob_below(-1.0), 0.0, atol=EXACT)
    np.testing.assert_allclose(curves.prob_below(1e6), 1.0, atol=ALGEBRA)
    by_row = curves.prob_below(curves.mean[:, :1])
    assert by_row.shape == curves.shape


@pytest.mark.parametrize("kind", ["predictive", "latent"])
def test_samples_agree_with_the_marginals(curves, kind):
    view, n = curves if kind == "predictive" else curves.latent(), 4_000
    draws = view.sample(n, seed=3)
    assert (np.abs(draws.mean(axis=0) - view.mean) < monte_carlo(n, view.std)).all()
    for q in (0.1, 0.5, 0.9):
        share = (draws <= view.quantile(q)).mean(axis=0)
        assert (np.abs(share - q) < monte_carlo(n, np.sqrt(q * (1 - q)))).all()


def test_samples_are_joint_along_a_curve(curves):
    """Neighbouring points of a curve move together, far more than two runs do."""
    draws = np.log(curves.latent().sample(2_000, seed=4))
    along = np.corrcoef(draws[:, 0, 1], draws[:, 0, 2])[0, 1]
    assert along > 0.5


def test_equal_seeds_give_equal_draws(curves):
    np.testing.assert_array_equal(curves.sample(5, seed=8), curves.sample(5, seed=8))
    assert not np.array_equal(curves.sample(5, seed=8), curves.sample(5, seed=9))


def test_latent_is_narrower_and_centred_alike(curves):
    latent = curves.latent()
    assert (latent.std < curves.std).all()
    np.testing.assert_allclose(latent.median, curves.median, rtol=ALGEBRA)
    np.testing.assert_allclose(latent.latent().std, latent.std, rtol=EXACT)


def test_frame_is_tidy(curves, new):
    table = curves.to_frame(0.8)
    assert list(table) == [
        "config",
        "tokens",
        "mean",
        "std",
        "lower",
        "upper",
        "prob_diverge",
    ]  # Some runs did.
    np.testing.assert_array_equal(table["prob_diverge"], np.repeat(curves.prob_diverge, len(new.at)))
    assert len(table) == len(new.configs) * len(new.at)
    np.testing.assert_array_equal(table["config"], np.repeat(new.configs.index, len(new.at)))
    np.testing.assert_allclose(table["tokens"].head(len(new.at)), new.at)
    np.testing.assert_allclose(table["upper"].to_numpy().reshape(curves.shape), curves.interval(0.8)[1])


@pytest.mark.parametrize("q", [0.0, 1.0, -1, 2, float("nan"), None, "0.5", [0.1, 0.9]])
def test_impossible_probabilities_are_refused(curves, q):
    with pytest.raises(ConfigError, match="strictly between 0 and 1"):
        curves.quantile(q)
    with pytest.raises(ConfigError, match="strictly between 0 and 1"):
        curves.interval(q)


def test_misfits_are_refused(curves):
    with pytest.raises(ConfigError, match="at least one draw"):
        curves.sample(0)
    with pytest.raises(ShapeError, match="broadcast"):
        curves.prob_below(np.zeros((7, 7)))


@pytest.mark.parametrize("n", [0, -1, 2.0, None, "3"])
def test_a_number_of_draws_that_is_none_is_refused(curves, n):
    with pytest.raises(ConfigError, match=r"n is .*; ask for at least one draw"):
        curves.sample(n)


def test_what_was_not_measured_has_no_probability(curves):
    asked = np.full(curves.shape, 3.0)
    asked[0, 1] = np.nan
    below = curves.prob_below(asked)
    assert np.isnan(below[0, 1])
    assert np.isnan(below).sum() == 1


def test_its_name_says_what_it_is(curves):
    assert repr(curves) == "CurvePosterior(predictive loss, 3 configurations × 4 points)"
    assert "latent" in repr(curves.latent())


def test_it_says_by_how_much_it_lies_beyond_the_log(surrogate, log):
    size, axis = log.configs[log.roles.params].max(), log.points[log.roles.axis].max()
    config = log.configs.iloc[[0, 1]]
    inside = surrogate.predict(config.assign(**{log.roles.params: size}), [axis / 2, 1.04 * axis])
    assert inside.beyond == {}
    curves = surrogate.predict(config.assign(**{log.roles.params: [size, 4 * size]}), [axis, 2.5 * axis])
    assert curves.latent().beyond == pytest.approx({log.roles.params: 4.0, log.roles.axis: 2.5})
    said = f"{log.roles.params} up to 4 times the largest of the log, {log.roles.axis} up to 2.5 times"
    assert said in repr(curves)
    assert pickle.loads(pickle.dumps(curves)).beyond == curves.beyond
    best = surrogate.best(config.assign(**{log.roles.params: [size, 4 * size]}), 2.5 * axis)
    assert best.beyond == pytest.approx(curves.beyond)
    assert surrogate.best(config, axis).beyond == {}


def test_a_pickled_posterior_is_the_same_to_the_last_digit(surrogate, log, new):
    begun = pd.DataFrame({log.roles.run: log.runs[:2]})
    asked = pd.concat([new.configs, begun]).set_axis([*"abcde"])
    curves = surrogate.predict(asked, new.at)
    for view in (curves, curves.latent()):
        copied = pickle.loads(pickle.dumps(view))
        assert repr(copied) == repr(view)
        pd.testing.assert_frame_equal(copied.to_frame(), view.to_frame(), check_exact=True)
        np.testing.assert_array_equal(copied.sample(5, seed=1), view.sample(5, seed=1))
        assert copied.runs == view.runs
        assert copy.deepcopy(view) is view


def test_posteriors_that_are_pickled_together_share_their_surrogate(surrogate, new):
    each = [surrogate.predict(new.configs.iloc[[i]], new.at) for i in range(3)]
    alone = len(pickle.dumps(each[0]))
    assert len(pickle.dumps([surrogate, *each])) < 1.5 * alone
