"""Scores and signed outputs of larger models: they flatten as the loss behind them does, also along curves."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps


def finals(score, seed=0):
    """Scores that are a function of a loss under a Chinchilla law."""
    generator = np.random.default_rng(seed)
    size = generator.choice(np.geomspace(2e7, 2e9, 7).round(), 70)
    tokens = size * generator.choice([5, 10, 20, 40, 80], 70)
    loss = 1.7 + 400 * size**-0.34 + 410 * tokens**-0.28 + 0.01 * generator.standard_normal(70)
    frame = pd.DataFrame({"N": size, "D": tokens, "score": score(loss)})
    return frame.assign(run=[f"r{i}" for i in range(70)])


@pytest.mark.parametrize(
    ("score", "most"),
    [(lambda loss: 100 / (1 + np.exp(2 * (loss - 2.6))), 4.0), (lambda loss: -50 * (loss - 2.4), 6.0)],
    ids=["accuracy in per cent", "signed reward"],
)
def test_scores_of_the_two_largest_sizes_are_not_overshot(score, most, tmp_path):
    frame = finals(score)
    beyond = np.sort(frame.N.unique())[-2] <= frame.N
    roles = {"run": "run", "axis": "D", "output": "score", "goal": "max", "params": "N", "config": ["N"]}
    surrogate = ps.fit_surrogate(ps.RunLog.from_frame(frame[~beyond], **roles), embedder=None)
    asked, at, truth = frame[beyond][["N"]], frame[beyond][["D"]].to_numpy(), frame[beyond].score.to_numpy()
    found = surrogate.predict(asked, at)
    lower, upper = found.interval(0.9)
    assert np.abs(found.mean[:, 0] - truth).mean() < most
    assert np.mean((lower[:, 0] <= truth) & (truth <= upper[:, 0])) > 0.6
    surrogate.save(tmp_path / "scores.safetensors")
    again = ps.load_surrogate(tmp_path / "scores.safetensors").predict(asked, at)
    np.testing.assert_allclose(again.mean, found.mean, rtol=1e-10)


def curves(output, runs=40, points=10, seed=0):
    """Curves of five sizes whose output is a function of size and tokens."""
    generator = np.random.default_rng(seed)
    size = np.tile([1e7, 3e7, 1e8, 3e8, 1e9], runs // 5)
    lr = 10 ** generator.uniform(-4, -2, runs)
    at = np.geomspace(0.02, 1, points) * generator.choice([1e9, 2e9, 4e9], runs)[:, None]
    worth = size[:, None] / 1e8 * np.exp(0.03 * generator.standard_normal((runs, 1)))
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(runs)], "N": size, "lr": lr})
    frame = frame.loc[frame.index.repeat(points)].reset_index(drop=True)
    value = output(worth, at / 1e9, 0.1 * (np.log10(lr)[:, None] + 3) ** 2)
    return frame.assign(D=at.ravel(), output=value.ravel())


def emergent(size, tokens, penalty):
    """Accuracy that leaves chance where size times tokens suffices, measured on two thousand questions."""
    share = 0.25 + 0.7 / (1 + (size * tokens / np.exp(3 * penalty) / 3.0) ** -0.95)
    return np.random.default_rng(1).binomial(2000, share) / 2000


def signed(size, tokens, penalty):
    """Negative log likelihood that passes through zero."""
    return np.exp(penalty) * (0.9 * size**-0.25 + 1.2 * (tokens + 0.003) ** -0.35) - 2.0


@pytest.mark.parametrize(
    ("output", "goal", "most"),
    [(emergent, "max", 0.06), (signed, "min", 0.03)],
    ids=["emergent accuracy", "signed loss"],
)
def test_ends_of_curves_of_the_next_size_are_foretold(output, goal, most, tmp_path):
    frame = curves(output)
    largest = frame.N.max() == frame.N
    roles = {"run": "run", "axis": "D", "output": "output", "goal": goal, "params": "N"}
    surrogate = ps.fit_surrogate(ps.RunLog.from_frame(frame[~largest], **roles), embedder=None)
    ends = frame[largest].groupby("run").tail(1)
    asked, at, truth = ends[["N", "lr"]], ends[["D"]].to_numpy(), ends.output.to_numpy()
    found = surrogate.predict(asked, at)
    assert np.abs(found.median[:, 0] - truth).mean() < most
    lower, upper = found.interval(0.9)
    assert np.mean((lower[:, 0] <= truth) & (truth <= upper[:, 0])) > 0.6
    surrogate.save(tmp_path / "curves.safetensors")
    again = ps.load_surrogate(tmp_path / "curves.safetensors").predict(asked, at)
    np.testing.assert_allclose(again.mean, found.mean, rtol=1e-10)


def steady(size, tokens, penalty):
    """A reward that rises by the same with every e-fold of size."""
    return 0.4 * np.log(size) + 0.5 * np.log(tokens + 0.003) - penalty


@pytest.mark.parametrize(("output", "goal", "bent"), [(signed, "min", True), (steady, "max", False)])
def test_signed_curves_flatten_where_that_foretells_what_was_left_out(output, goal, bent):
    roles = {"run": "run", "axis": "D", "output": "output", "goal": goal, "params": "N"}
    surrogate = ps.fit_surrogate(ps.RunLog.from_frame(curves(output), **roles), embedder=None)
    assert ("size_bend" in surrogate.report.experts[0].law) == bent


def test_accuracies_of_many_curves_are_foretold_under_log_odds():
    frame = curves(emergent, runs=160, points=26)
    largest = frame.N.max() == frame.N
    roles = {"run": "run", "axis": "D", "output": "output", "goal": "max", "params": "N"}
    surrogate = ps.fit_surrogate(ps.RunLog.from_frame(frame[~largest], **roles), embedder=None)
    report = surrogate.report.experts[0]
    assert report.engine.startswith("functional")
    assert report.transform.startswith("log odds")
    ends = frame[largest].groupby("run").tail(1)
    found = surrogate.predict(ends[["N", "lr"]], ends[["D"]].to_numpy())
    lower, upper = (bound[:, 0] for bound in found.interval(0.9))
    assert np.mean((lower <= ends.output) & (ends.output <= upper)) > 0.6
