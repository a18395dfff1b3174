"""Losses that span decades: where size and data divide what is there, the next size is foretold by a product."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.surrogate.fitting import FitOptions

ROLES = {"run": "run", "axis": "D", "output": "loss", "params": "N", "horizon": "H"}


def curves(loss, runs=32, points=10, seed=0):
    """Curves of five sizes whose loss is a function of size and tokens, and of a learning rate."""
    generator = np.random.default_rng(seed)
    size = np.tile([1e7, 3e7, 1e8, 3e8, 1e9], runs // 5 + 1)[:runs]
    lr, end = 10 ** generator.uniform(-4, -2, runs), generator.choice([1e9, 2e9, 4e9], runs)
    at = np.geomspace(0.02, 1, points) * end[:, None]
    factor = np.exp(0.2 * (np.log10(lr) + 3) ** 2 + 0.03 * generator.standard_normal(runs))[:, None]
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(runs)], "N": size, "lr": lr, "H": end})
    frame = frame.loc[frame.index.repeat(points)].reset_index(drop=True)
    value = loss(size[:, None] / 1e8, at / 1e9) * factor * np.exp(0.02 * generator.standard_normal(at.shape))
    return frame.assign(D=at.ravel(), loss=value.ravel())


def product(size, tokens):
    """Mean squared error that size and data both divide."""
    return 0.05 * size**-0.9 * tokens**-0.8


def error_rate(size, tokens):
    """The same, from what guessing has."""
    return 1 / (1 / 0.9 + 1 / product(size, tokens))


def added(size, tokens):
    """Each takes off its own, down to nothing."""
    return 0.02 * size**-0.8 + 0.02 * tokens**-0.7


def asked(frame, **settings):
    """What smaller sizes foretell of the largest, its true losses, and the surrogate."""
    largest = frame.N.max() == frame.N
    log = ps.RunLog.from_frame(frame[~largest].reset_index(drop=True), **ROLES)
    surrogate = ps.fit_surrogate(log, embedder=None, **settings)
    runs = [run for _, run in frame[largest].groupby("run")]
    configs = pd.concat([run.iloc[:1] for run in runs])[["N", "lr", "H"]]
    found = surrogate.predict(configs, np.array([run.D for run in runs]))
    return found, np.array([run.loss for run in runs]), surrogate


@pytest.mark.parametrize("loss", [product, error_rate])
@pytest.mark.parametrize("finals", [False, True], ids=["curves", "finals"])
def test_the_next_size_of_a_product_is_foretold(loss, finals, tmp_path):
    frame = curves(loss)
    frame = frame.groupby("run").tail(1) if finals else frame
    found, truth, surrogate = asked(frame)
    assert "size_slope" in surrogate.report.experts[0].law
    assert np.abs(np.log(found.median / truth)).mean() < 0.12
    lower, upper = found.interval(0.9)
    assert np.mean((lower <= truth) & (truth <= upper)) > 0.6
    surrogate.save(tmp_path / "losses.safetensors")
    again = ps.load_surrogate(tmp_path / "losses.safetensors")
    some = frame[["N", "lr", "H"]].iloc[:3], frame["D"].iloc[:3].to_numpy()
    np.testing.assert_allclose(again.predict(*some).mean, surrogate.predict(*some).mean, rtol=1e-10)


def test_curves_of_many_runs_come_down_to_a_product():
    found, truth, surrogate = asked(curves(product, runs=60), model="functional")
    assert "size_slope" in surrogate.report.experts[0].law
    assert np.abs(np.log(found.median / truth)).mean() < 0.2


def test_losses_to_which_size_adds_keep_the_law():
    *_, surrogate = asked(curves(added, seed=1), options=FitOptions(rounds=2))
    assert "alpha" in surrogate.report.experts[0].law
