import numpy as np
import pytest

from probscale.errors import LawError
from probscale.laws import PUBLISHED, compare_laws, find_law, fit_law, pass_at_k, published_law

PARAMS = np.repeat(np.geomspace(5e7, 1e10, 10), 8)
TOKENS = np.tile(np.geomspace(1e9, 5e11, 8), 10)


@pytest.fixture(scope="module")
def data():
    law, values = find_law("chinchilla"), dict(published_law("besiroglu").values)
    clean = law.formula(values, params=PARAMS, tokens=TOKENS)
    noisy = clean * np.exp(np.random.default_rng(0).normal(scale=0.002, size=clean.size))
    return {"params": PARAMS, "tokens": TOKENS, "loss": noisy, "x": 6 * PARAMS * TOKENS}


def test_the_true_law_wins_on_the_largest_scales(data):
    table = compare_laws(["kaplan", "power", "chinchilla"], **data)
    assert table.index[0] == "chinchilla"
    assert table.loc["chinchilla", "mae"] < 0.01
    assert table["mae"].is_monotonic_increasing
    assert table.loc["chinchilla", "n_fit"] + table.loc["chinchilla", "n_held"] == 80


def test_the_held_out_points_are_the_largest_and_unseen(data):
    held = data["x"] >= np.quantile(data["x"], 0.8)
    by_name, by_mask = (
        compare_laws(["chinchilla"], **data),
        compare_laws(["chinchilla"], hold_out=held, **data),
    )
    fit = fit_law("chinchilla", params=PARAMS[~held], tokens=TOKENS[~held], loss=data["loss"][~held])
    error = np.abs(fit.predict(params=PARAMS[held], tokens=TOKENS[held]) - data["loss"][held]).mean()
    assert by_name.loc["chinchilla", "mae"] == pytest.approx(error, rel=1e-9)
    assert by_mask.loc["chinchilla", "mae"] == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize(
    ("laws", "options", "message"),
    [
        ([], {}, "no law was named"),
        (["chinchilla"], {"hold_out": "smallest"}, "hold_out 'smallest'"),
        (["chinchilla"], {"share": 1.5}, "share 1.5"),
        (["chinchilla"], {"hold_out": np.zeros(80, bool)}, "must mark some points"),
        (["data_constrained"], {}, "needs unique_tokens"),
    ],
)
def test_impossible_comparisons_are_refused(data, laws, options, message):
    with pytest.raises(LawError, match=message):
        compare_laws(laws, **data, **options)


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.key)
def test_published_values_name_a_law_and_all_its_parameters(entry):
    law = find_law(entry.law)
    law.check_values(entry.values)
    assert set(entry.values) == set(law.names)
    assert set(entry.std) <= set(law.names)
    assert set(entry.prior()) == set(law.names)


def test_a_published_prior_steadies_a_small_fit(data):
    rows = [0, 13, 27, 42, 58, 71]
    few = {name: data[name][rows] for name in ("params", "tokens", "loss")}
    prior = {
        name: pull for name, pull in published_law("besiroglu").prior().items() if name in ("alpha", "beta")
    }
    helped = fit_law("chinchilla", **few, prior=prior)
    assert helped.values["alpha"] == pytest.approx(0.3478, rel=0.2)


def test_unknown_published_values_are_answered_with_the_known_ones():
    with pytest.raises(LawError, match="available: kaplan, hoffmann"):
        published_law("chinchilla")


def test_step_law_values_are_the_published_ones():
    rate = find_law("step_learning_rate").evaluate(
        published_law("step_learning_rate").values, params=1e9, tokens=1e11
    )
    assert rate == pytest.approx(1.79 * 1e9**-0.713 * 1e11**0.307, rel=1e-12)
    batch = find_law("step_batch").evaluate(published_law("step_batch").values, tokens=1e11)
    assert batch == pytest.approx(0.58 * 1e11**0.571, rel=1e-12)


def test_pass_at_k_agrees_with_drawing_without_replacement():
    correct, n = np.array([0, 1, 3, 10]), 10
    exact = pass_at_k(correct, n, [1, 2, 5])
    assert exact[0] == pytest.approx(np.mean(correct / n), rel=1e-10)
    rng, draws = np.random.default_rng(0), 4000
    for k, value in zip((2, 5), exact[1:], strict=True):
        order = rng.random((draws, n)).argsort(axis=1)[:, :k]
        hits = np.mean([(order < c).any(axis=1).mean() for c in correct])
        assert value == pytest.approx(hits, abs=5 * 0.5 / np.sqrt(4 * draws))
    with pytest.raises(LawError, match="k up to 11"):
        pass_at_k(correct, n, [11])


def test_saturated_pass_rates_are_refused():
    with pytest.raises(LawError, match=r"inside \(0, 1\); found 1 at position 2"):
        fit_law("pass_at_k", attempts=[1, 2, 3], pass_rate=[0.5, 0.9, 1.0])
