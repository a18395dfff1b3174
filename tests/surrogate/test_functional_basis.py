"""How many functions of progress curves are given, and how new runs of a log of one cell are judged."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.runs import RunLog
from probscale.surrogate.functional_basis import EXACT_STD

EPOCHS = np.arange(1.0, 25.0)
WAVES = np.arange(1, 13)
SETTINGS = ("a", "b", "c", "d")
RUNS, ASKED = 150, 40


def frame_of(*, noise, runs=RUNS + ASKED, seed=0):
    """Curves of twelve waves along the logarithm of the axis, whose heights four settings decide."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(runs):
        settings = rng.uniform(-1, 1, 4)
        heights = 0.02 * np.sin(2 * settings[WAVES % 4] + WAVES)
        waves = np.sin(np.outer(np.log(EPOCHS) / np.log(24), np.pi * WAVES)) @ heights
        loss = (0.5 + EPOCHS**-0.6 + 0.05 * settings.sum() + waves) * (1 + noise * rng.standard_normal(24))
        table = {"run": f"r{number}", **dict(zip(SETTINGS, settings, strict=True))}
        frames.append(pd.DataFrame({**table, "epoch": EPOCHS, "loss": loss}))
    return pd.concat(frames, ignore_index=True)


def split(frame):
    known = frame.run.isin([f"r{i}" for i in range(RUNS)])
    return RunLog.from_frame(frame[known], run="run", axis="epoch", output="loss"), frame[~known]


def fitted(log):
    return ps.fit_surrogate(log, embedder=None)


@pytest.fixture(scope="module")
def exact():
    log, asked = split(frame_of(noise=0.0))
    return fitted(log), asked


@pytest.fixture(scope="module")
def noisy():
    log, asked = split(frame_of(noise=0.1))
    return fitted(log), asked


def expert_of(surrogate):
    return surrogate.experts["all runs"]


def truth_and_curves(surrogate, asked):
    configs = asked.drop_duplicates("run")[list(SETTINGS)]
    return asked.loss.to_numpy().reshape(len(configs), -1), surrogate.predict(configs, EPOCHS)


def test_curves_whose_faint_functions_are_foretold_get_more_of_them(exact):
    assert len(expert_of(exact[0]).basis.variance) > 8


def test_curves_whose_faint_functions_are_noise_keep_eight(noisy):
    assert len(expert_of(noisy[0]).basis.variance) <= 8


def test_scores_have_one_variance_where_the_faintest_is_foretold(exact, noisy):
    np.testing.assert_allclose(expert_of(exact[0]).basis.variance[1:], EXACT_STD**2)
    assert np.ptp(expert_of(noisy[0]).basis.variance[1:]) > 0


def test_complete_grids_of_many_runs_take_the_functional_engine(exact):
    assert exact[0].report.experts[0].engine.startswith("functional")


def test_grids_whose_runs_were_cut_short_take_the_grid_engine():
    frame = frame_of(noise=0.05, runs=RUNS + 20)
    ends = pd.Series(np.random.default_rng(1).integers(14, 23, RUNS + 20), index=frame.run.unique())
    log = RunLog.from_frame(
        frame[frame.epoch <= frame.run.map(ends).where(frame.run != "r0", 24)],
        run="run",
        axis="epoch",
        output="loss",
    )
    options = ps.surrogate.FitOptions(most=1_000, iterations=3)
    surrogate = ps.fit_surrogate(log, embedder=None, options=options)
    assert surrogate.report.experts[0].engine == "grid"


def test_intervals_hold_where_all_runs_share_one_cell(noisy):
    truth, curves = truth_and_curves(*noisy)
    lower, upper = curves.interval(0.9)
    assert 0.82 < np.mean((lower < truth) & (truth < upper)) < 0.97


def test_exact_curves_are_foretold_to_a_few_per_cent_of_their_spread(exact):
    truth, curves = truth_and_curves(*exact)
    assert np.abs(curves.median - truth).mean() < 0.05 * np.abs(truth - np.median(truth, axis=0)).mean()
