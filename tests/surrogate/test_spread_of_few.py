"""How far a new run may lie from a mean that was fitted to few."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

import probscale as ps
from probscale.encode.encoder import fit_encoder
from probscale.model.mean_choice import curve_mean
from probscale.surrogate.few_runs import FEW_RUNS, MANY_RUNS, fewness, new_run_factor
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import prepare
from tolerances import ALGEBRA, EXACT


def factor(log):
    points = prepare(
        log,
        fit_encoder(log, None),
        transform="auto",
        share=0.0,
        most=2_000,
        generator=np.random.default_rng(0),
    )
    mean = curve_mean(points.transform, points.law_scale, points.data.y)
    return new_run_factor(points, mean), sum(p.numel() for p in mean.parameters())


@pytest.mark.parametrize("runs", [4, 60])
def test_the_fewer_runs_a_law_of_curves_was_fitted_to_the_further_a_new_one_may_lie(runs):
    found, free = factor(ps.simulate_runs("law", n_runs=runs, points=8, tasks=1, seed=0))
    assert_allclose(found**2, 1 + free / runs)


def few(runs):
    """Curves of shapes that follow a law but for bumps halfway, of random height."""
    generator, at, frames = np.random.default_rng(0), np.geomspace(1e8, 1e10, 12), []
    for run in range(runs):
        width, depth = 256.0 * 2 ** (run // 2), 8.0 + 8 * (run % 2)
        size = 12 * depth * width**2
        bump = 0.03 * generator.standard_normal() * np.exp(-0.5 * np.square(np.log(at / 1e9) / 0.8))
        loss = (1.7 + 400 / size**0.34 + 410 / at**0.28) * (1 + bump)
        shape = {"run": f"{run}", "width": width, "depth": depth, "params": size}
        frames.append(pd.DataFrame({"tokens": at, "loss": loss}).assign(**shape))
    return ps.RunLog.from_frame(pd.concat(frames), run="run", axis="tokens", output="loss", params="params")


def waning(surrogate):
    return next(iter(surrogate.experts.values())).states[0].process.kernel.waning


def test_deviations_of_few_curves_are_smaller_where_curves_differ_less(tmp_path):
    log = few(6)
    surrogate = ps.fit_surrogate(log, embedder=None, seed=0)
    middle, end = waning(surrogate)(torch.tensor([0.0, 1.5], dtype=torch.float64)).detach().numpy()
    assert end < middle / 1.5
    surrogate.save(tmp_path / "few.safetensors")
    asked = log.configs.head(1).assign(width=333.0, params=12 * 8 * 333.0**2)
    one, two = (
        s.predict(asked, [1e9, 1e10]) for s in (surrogate, ps.load_surrogate(tmp_path / "few.safetensors"))
    )
    assert_allclose(one.std, two.std, rtol=EXACT)


def test_deviations_of_more_curves_are_as_large_everywhere():
    options = FitOptions(rounds=1, iterations=2)
    assert waning(ps.fit_surrogate(few(MANY_RUNS), embedder=None, seed=0, options=options)) is None


def test_in_a_linear_model_the_factor_is_the_error_of_a_new_run_over_the_noise():
    generator, runs, free = np.random.default_rng(0), 60, 6
    errors = []
    for _ in range(400):
        x, noise = generator.standard_normal((runs, free)), generator.standard_normal(runs)
        weights = np.linalg.lstsq(x, noise, rcond=None)[0]
        new = generator.standard_normal((200, free))
        errors.append(np.mean((new @ weights - generator.standard_normal(200)) ** 2))
    found, free = factor(ps.simulate_runs("law", n_runs=runs, points=8, tasks=1, seed=0))
    assert_allclose(np.sqrt(np.mean(errors)), found, rtol=0.03)


def test_laws_of_finals_are_left_to_their_own_uncertainty():
    log = ps.simulate_runs("law", n_runs=12, points=8, tasks=1, seed=0)
    last = log.to_frame().groupby("run").tail(1).drop(columns="diverged")
    assert factor(ps.RunLog.from_frame(last, **log.roles.arguments()))[0] == 1.0


@pytest.mark.slow
def test_intervals_of_few_finals_hold_further_runs():
    held = []
    for seed in range(8):
        log = ps.simulate_runs("law", n_runs=60, points=2, tasks=1, seed=seed).finals()
        frame = log.to_frame().query("not diverged").drop(columns="diverged")
        turn = np.random.default_rng(seed).permutation(len(frame))
        learn, asked = frame.iloc[turn[:6]], frame.iloc[turn[6:]]
        surrogate = ps.fit_surrogate(ps.RunLog.from_frame(learn, **log.roles.arguments()), embedder=None)
        at = asked[log.roles.axis].to_numpy(float)[:, None]
        lower, upper = surrogate.predict(asked.drop(columns=[log.roles.run, log.output]), at).interval(0.9)
        truth = asked[log.output].to_numpy(float)[:, None]
        held.append(((truth >= lower) & (truth <= upper)).mean())
    # At the most probable parameters alone they hold .55; six runs of one law share their errors.
    assert 0.7 < np.mean(held) < 0.97


def grown(runs):
    """Six curves, then more of the same configurations, which say next to nothing new."""
    log = few(6)
    frame, names = log.to_frame().drop(columns="diverged"), log.runs
    parts = [frame]
    for more in range(runs - 6):
        again = frame[frame["run"] == names[more % 6]].assign(run=f"again {more}")
        noise = np.random.default_rng(more).standard_normal(len(again))
        parts.append(again.assign(loss=again["loss"] * (1 + 1e-3 * noise)))
    return ps.RunLog.from_frame(pd.concat(parts), **log.roles.arguments())


@pytest.mark.parametrize("runs", [FEW_RUNS, MANY_RUNS - 1])
def test_forecasts_do_not_jump_when_one_more_run_is_added(runs):
    width, depth = np.array([2048.0, 700.0]), np.array([16.0, 12.0])
    asked = pd.DataFrame({"width": width, "depth": depth, "params": 12 * depth * width**2})
    options = FitOptions(rounds=2)
    one, two = (
        ps.fit_surrogate(grown(n), embedder=None, seed=0, options=options).predict(asked, [1e9, 1e10])
        for n in (runs, runs + 1)
    )
    # With a prior that ends at eight runs the spread at the end grows by 2.6 from the eighth to the ninth.
    assert np.abs(np.log(two.std / one.std)).max() < np.log(1.4)
    assert (np.abs(two.mean - one.mean) / one.std).max() < 0.3


def test_what_is_said_of_few_runs_fades_by_the_same_with_every_run():
    shares = np.array([fewness(runs) for runs in range(1, 21)])
    assert (shares[:FEW_RUNS] == 1).all()
    assert (shares[MANY_RUNS - 1 :] == 0).all()
    steps = np.diff(shares[FEW_RUNS - 1 : MANY_RUNS])
    assert_allclose(steps, -1 / (MANY_RUNS - FEW_RUNS), rtol=ALGEBRA)


@pytest.mark.parametrize(("last", "widened"), [(2e10, True), (1e12, False)])
@pytest.mark.parametrize("runs", [4, 10])
def test_an_onset_that_comes_late_is_believed_where_runs_end_soon_after_it(runs, last, widened):
    at = np.geomspace(1e7, last, 12)
    assert (onset_std([at] * runs) > 1.1) == widened


def test_few_runs_that_go_on_for_longer_do_not_tell_the_onset_of_the_rest():
    short, long = np.geomspace(1e7, 2e10, 12), np.geomspace(1e7, 1e12, 12)
    assert onset_std([long, short, short, short, short]) > 1.1
    assert onset_std([short, long, long, long, long]) == 1.0


def onset_std(ends):
    """Prior standard deviation of the onset, of runs with a late onset that are observed at given tokens."""
    frames = []
    for run, at in enumerate(ends):
        size = 1e7 * 1.6**run
        loss = 1.7 + 400 / size**0.34 + 2000 / (at + 3e9) ** 0.33
        frames.append(pd.DataFrame({"run": f"{run}", "tokens": at, "loss": loss, "params": size}))
    log = ps.RunLog.from_frame(pd.concat(frames), run="run", axis="tokens", output="loss", params="params")
    surrogate = ps.fit_surrogate(log, embedder=None, seed=0, options=FitOptions(rounds=1, iterations=2))
    mean = next(iter(surrogate.experts.values())).states[0].process.mean
    return float(mean.prior()[1][mean.names.index("onset")])


def scores(runs):
    """Accuracies of runs whose learning rates, of which one run shows one, set where they end."""
    rows = [
        (f"r{i}", 10.0 ** (i - 3), step, (0.5 + 0.1 * i) * (1 - 0.8 * step**-0.5))
        for i in runs
        for step in (1.0, 4.0, 16.0, 64.0, 256.0)
    ]
    frame = pd.DataFrame(rows, columns=["run", "lr", "step", "accuracy"])
    return ps.RunLog.from_frame(frame, run="run", axis="step", output="accuracy", goal="max")


def test_one_run_does_not_promise_that_others_end_like_it():
    log = scores([1])
    alone = ps.fit_surrogate(log, embedder=None)
    asked = [{"lr": 1e-2}]
    lower, upper = alone.predict(asked, [256.0]).interval(0.9)
    assert lower < 0.7 * (1 - 0.8 / 16) < upper
    own = alone.predict([{"run": "r1"}], [256.0])
    assert own.std < 0.1 * alone.predict(asked, [256.0]).std
    grown = ps.fit_surrogate(scores(range(5)), embedder=None, start=alone).predict([{"lr": 0.03}], [256.0])
    fresh = ps.fit_surrogate(scores(range(5)), embedder=None).predict([{"lr": 0.03}], [256.0])
    assert 0.5 < float(grown.std[0, 0] / fresh.std[0, 0]) < 2.0


def test_scores_of_one_run_that_hardly_rises_are_fitted():
    rows = [("r", 10.0 * 2**i, value) for i, value in enumerate([0.0] * 12 + [0.2, 0.6])]
    frame = pd.DataFrame(rows, columns=["run", "size", "bleu"])
    log = ps.RunLog.from_frame(frame, run="run", axis="size", output="bleu", goal="max")
    assert np.isfinite(ps.fit_surrogate(log, embedder=None).predict([{"run": "new"}], [1e6]).std).all()
