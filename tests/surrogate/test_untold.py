"""Runs of whose configuration not everything was written down."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from tolerances import EXACT

KEPT, ASKED = 32, 60


def runs_with_gaps(points, seed=3, kept=KEPT):
    """Losses that depend on a learning rate, given for half of the runs, and on a size given for all."""
    rng = np.random.default_rng(seed)
    count = kept + ASKED
    rate, size = 10 ** rng.uniform(-4, -2, count), rng.choice([1e7, 3e7, 1e8, 3e8], count)
    effect = 1 + 0.15 * (np.log10(rate) + 3.0) ** 2
    tokens = np.geomspace(1e8, 4e9, points + 1)[1:]
    loss = 1.6 + (0.8 * (size / 1e8) ** -0.3)[:, None] + (tokens / 1e9) ** -0.3 * 0.8
    loss = 1.6 + (loss - 1.6) * effect[:, None] * np.exp(0.004 * rng.standard_normal((count, points)))
    configs = pd.DataFrame({"run": [f"r{i}" for i in range(count)], "params": size})
    configs["lr"] = np.where(rng.random(count) < 0.5, rate, np.nan)
    frame = configs.loc[configs.index.repeat(points)].assign(tokens=np.tile(tokens, count), loss=loss.ravel())
    known = frame[frame["run"].isin(configs["run"][:kept])]
    log = ps.RunLog.from_frame(known, run="run", axis="tokens", output="loss", params="params")
    asked = configs[kept:].drop(columns="run").reset_index(drop=True)
    return log, asked, tokens, loss[kept:]


@pytest.mark.parametrize(
    ("points", "kept", "model", "held"),
    [(8, 32, "auto", 0.8), (1, 40, "auto", 0.8), (10, 110, "functional", 0.7)],
)
def test_intervals_hold_runs_of_a_known_and_of_an_unknown_rate_alike(points, kept, model, held):
    log, asked, tokens, truth = runs_with_gaps(points, kept=kept)
    curves = ps.fit_surrogate(log, embedder=None, seed=0, model=model).predict(asked, tokens)
    lower, upper = (bound[:, -1] for bound in curves.interval(0.9))
    unknown = asked["lr"].isna().to_numpy()
    width, inside = upper - lower, (lower <= truth[:, -1]) & (truth[:, -1] <= upper)
    assert width[unknown].mean() > 1.8 * width[~unknown].mean()
    assert inside[unknown].mean() > held
    assert inside[~unknown].mean() > held


@pytest.mark.parametrize(("points", "kept", "model"), [(1, 40, "auto"), (10, 110, "functional")])
def test_what_is_hidden_is_saved_and_drawn(points, kept, model, tmp_path):
    log, asked, tokens, _ = runs_with_gaps(points, kept=kept)
    surrogate = ps.fit_surrogate(log, embedder=None, seed=0, model=model)
    surrogate.save(tmp_path / "s.safetensors")
    again = ps.load_surrogate(tmp_path / "s.safetensors", embedder=None)
    curves, other = (each.predict(asked[:12], tokens[-2:]) for each in (surrogate, again))
    np.testing.assert_allclose(curves.quantile(0.1), other.quantile(0.1), rtol=EXACT)
    low, high = np.quantile(curves.sample(4_000, seed=1), [0.1, 0.9], axis=0)
    lower, upper = curves.interval(0.8)
    np.testing.assert_allclose(high - low, upper - lower, rtol=0.15)
