"""Folds that leave the largest sizes out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.surrogate.extrapolation import MOST_FOLDS, scale_folds


def test_folds_ask_for_larger_sizes_than_they_learn_from():
    size = np.log(np.repeat([1e6, 1.1e6, 3e6, 1e7, 3e7, 1e8], 6))
    folds = scale_folds(size)
    assert len(folds) == MOST_FOLDS
    tops = []
    for learnt, asked in folds:
        assert size[learnt].max() < size[asked].min()
        assert np.ptp(size[asked]) < np.log(1.5) + 1e-6
        tops.append(float(size[asked].max()))
    assert tops == sorted(tops, reverse=True)
    assert tops[0] == size.max()


def test_a_lone_largest_run_is_not_a_fold_but_the_sizes_below_it_are():
    size = np.log(np.r_[np.repeat([1e6, 2e6, 4e6, 8e6], 5), 1e8])
    learnt, asked = scale_folds(size)[0]
    np.testing.assert_allclose(np.exp(size[asked]), 8e6)
    assert len(learnt) == 15


@pytest.mark.parametrize("sizes", [[1e6], [1e6, 1e8], [1e6, 1.05e6, 1e8]])
def test_too_few_sizes_leave_no_fold(sizes):
    assert scale_folds(np.log(np.repeat(sizes, 5))) == []


def test_no_points_make_no_folds():
    assert scale_folds(np.empty(0)) == []


def test_curves_of_few_sizes_leave_doubt_that_grows_beyond_them():
    log = ps.simulate_runs("law", n_runs=24, points=6, seed=2)
    surrogate = ps.fit_surrogate(log, embedder=None, seed=0)
    (report,) = surrogate.report.experts
    assert report.tails["beyond"]["break per e-fold"] > 0
    largest = float(log.configs[log.roles.params].max())
    config = log.configs.iloc[[0]].reset_index(drop=True)
    at = [float(log.points[log.roles.axis].max())]
    spread = [
        float((surrogate.predict(config.assign(**{log.roles.params: n * largest}), at).std).item())
        for n in (1.0, 3.0, 30.0)
    ]
    assert spread[0] < spread[1] < spread[2]


def test_finals_of_runs_shorter_for_their_size_than_any_seen_leave_doubt():
    sizes, ratios = np.geomspace(1e7, 1e9, 6), np.geomspace(20.0, 320.0, 5)
    rng = np.random.default_rng(3)
    frame = pd.DataFrame([(n, n * r) for n in sizes for r in ratios], columns=["params", "tokens"])
    frame["loss"] = 1.7 + 400 / frame.params**0.34 + 410 / frame.tokens**0.28 + 0.003 * rng.normal(size=30)
    log = ps.RunLog.from_frame(
        frame.assign(run=np.arange(30)), run="run", axis="tokens", output="loss", params="params"
    )
    surrogate = ps.fit_surrogate(log, embedder=None)
    (report,) = surrogate.report.experts
    assert report.tails["beyond"]["break per e-fold of shorter runs"] > 0
    asked = surrogate.predict([{"params": 1e9}], [1e9 * r for r in (2.0, 8.0, 20.0)])
    lower, upper = asked.interval(0.9)
    widths = (np.log(upper) - np.log(lower))[0]
    assert widths[0] > 1.5 * widths[1] > 1.5 * widths[2]


def test_what_is_said_of_a_point_does_not_depend_on_which_others_are_asked():
    """Beyond the longest run curves widen, and more and more, but not before it."""
    frame = ps.simulate_runs("law", n_runs=14, points=8, seed=1).to_frame()
    log = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="params")
    surrogate = ps.fit_surrogate(log, embedder=None)
    expert = surrogate.experts["all runs"]
    twice = {"all runs": replace(expert, beyond=2.0 * float(np.mean(expert.tail.scale)))}
    surrogate = replace(surrogate, experts=twice)
    longest = float(frame.tokens.max())
    at = longest * np.array([0.1, 0.999, 1.1, 1.5, 10.0])
    asked = log.configs.drop(columns="tokens", errors="ignore").head(3)
    whole = surrogate.predict(asked, at)
    for point, value in enumerate(at):
        alone = surrogate.predict(asked, [value])
        np.testing.assert_allclose(alone.std[:, 0], whole.std[:, point], rtol=1e-8)
        np.testing.assert_allclose(alone.quantile(0.05)[:, 0], whole.quantile(0.05)[:, point], rtol=1e-8)


@pytest.fixture(scope="module")
def one_length():
    """Finals of twenty sizes, all trained on ten billion tokens, and what they would lose elsewhere."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"run": np.arange(20), "params": np.geomspace(1e7, 2e9, 20), "tokens": 1e10})

    def loss(tokens):
        return 1.7 + 400 / frame.params.to_numpy() ** 0.34 + 410 / tokens**0.28

    frame["loss"] = loss(1e10) + 0.003 * rng.normal(size=20)
    log = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="params")
    return ps.fit_surrogate(log, embedder=None), frame[["params"]], loss


@pytest.mark.parametrize("tokens", [1e9, 3e9, 3e10, 1e11])
def test_finals_of_one_length_leave_open_what_other_lengths_bring(one_length, tokens):
    surrogate, configs, loss = one_length
    curves = surrogate.predict(configs, at=[tokens])
    lower, upper = curves.interval(0.9)
    assert ((lower[:, 0] < loss(tokens)) & (loss(tokens) < upper[:, 0])).all()
    known = surrogate.predict(configs, at=[1e10])
    assert (curves.std > 3 * known.std).all()
    assert ((curves.mean < known.mean) == (tokens > 1e10)).all()
    assert any("every run has tokens 1e+10" in note for note in surrogate.report.notes)


def test_runs_of_another_length_tell_finals_of_one_what_it_brings(one_length, tmp_path):
    surrogate, configs, loss = one_length
    chosen = [3, 9, 15]
    frame = configs.iloc[chosen].assign(run=[50, 51, 52], tokens=3e10, loss=loss(3e10)[chosen])
    more = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="params", config=[])
    told = surrogate.condition(more).predict(configs, at=[3e10])
    before = surrogate.predict(configs, at=[3e10])
    assert (told.std < before.std / 3).all()
    assert np.abs(told.mean[:, 0] - loss(3e10)).mean() < 0.02
    surrogate.save(tmp_path / "one.probscale")
    np.testing.assert_array_equal(
        ps.load_surrogate(tmp_path / "one.probscale").predict(configs, at=[3e10]).mean, before.mean
    )
