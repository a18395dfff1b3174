"""Runs of whose configuration not everything was written down."""

import numpy as np
import pandas as pd

import probscale as ps

KEPT, ASKED = 32, 60


def runs_with_gaps(points, seed=3):
    """Losses that depend on a learning rate, given for half of the runs, and on a size given for all."""
    rng = np.random.default_rng(seed)
    count = KEPT + ASKED
    rate, size = 10 ** rng.uniform(-4, -2, count), rng.choice([1e7, 3e7, 1e8, 3e8], count)
    effect = 1 + 0.15 * (np.log10(rate) + 3.0) ** 2
    tokens = np.geomspace(1e8, 4e9, points + 1)[1:]
    loss = 1.6 + (0.8 * (size / 1e8) ** -0.3)[:, None] + (tokens / 1e9) ** -0.3 * 0.8
    loss = 1.6 + (loss - 1.6) * effect[:, None] * np.exp(0.004 * rng.standard_normal((count, points)))
    configs = pd.DataFrame({"run": [f"r{i}" for i in range(count)], "params": size})
    configs["lr"] = np.where(rng.random(count) < 0.5, rate, np.nan)
    frame = configs.loc[configs.index.repeat(points)].assign(tokens=np.tile(tokens, count), loss=loss.ravel())
    known = frame[frame["run"].isin(configs["run"][:KEPT])]
    log = ps.RunLog.from_frame(known, run="run", axis="tokens", output="loss", params="params")
    asked = configs[KEPT:].drop(columns="run").reset_index(drop=True)
    return log, asked, tokens, loss[KEPT:]


def test_intervals_hold_runs_of_a_known_and_of_an_unknown_rate_alike():
    log, asked, tokens, truth = runs_with_gaps(8)
    curves = ps.fit_surrogate(log, embedder=None, seed=0).predict(asked, tokens)
    lower, upper = (bound[:, -1] for bound in curves.interval(0.9))
    unknown = asked["lr"].isna().to_numpy()
    width, inside = upper - lower, (lower <= truth[:, -1]) & (truth[:, -1] <= upper)
    assert width[unknown].mean() > 1.8 * width[~unknown].mean()
    assert inside[unknown].mean() > 0.8
    assert inside[~unknown].mean() > 0.8
