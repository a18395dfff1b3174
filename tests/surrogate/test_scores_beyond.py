"""Scores of larger models: they flatten as the loss behind them does, and the surrogate of few sizes knows."""

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
