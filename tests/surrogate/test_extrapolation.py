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
