"""A small family of runs with a known law, and surrogates fitted to a part of it."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps

STEPS = np.geomspace(1e8, 1e10, 6)
SIZES = np.geomspace(1e6, 1e9, 9)


def loss_of(size, tokens, depth=8.0):
    """A Chinchilla law with a mild preference for a depth of eight."""
    return 1.7 + 300 * size**-0.35 + 1200 * tokens**-0.35 + 0.02 * np.log(depth / 8) ** 2


def frame_of(rows):
    """Long-format frame of (run, size, depth) rows, one line per point."""
    return pd.DataFrame(
        [
            {"run": run, "N": size, "depth": depth, "tokens": d, "loss": loss_of(size, d, depth)}
            for run, size, depth in rows
            for d in STEPS
        ]
    )


def log_of(frame):
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N")


@pytest.fixture(scope="session")
def make_log():
    """Log of (run, size, depth) rows, all trained to the end."""
    return lambda rows: log_of(frame_of(rows))


@pytest.fixture(scope="session")
def true_loss():
    return loss_of


@pytest.fixture(scope="session")
def small_log():
    rows = [
        (f"r{i}", size, depth) for i, (size, depth) in enumerate(zip(SIZES[:4], [4, 8, 16, 8], strict=True))
    ]
    return log_of(frame_of(rows))


@pytest.fixture(scope="session")
def small_surrogate(small_log):
    return ps.fit_surrogate(small_log, embedder=None, seed=0)


@pytest.fixture(scope="session")
def big_pool():
    return pd.DataFrame({"N": np.tile(SIZES, 2), "depth": np.repeat([4.0, 8.0], len(SIZES))})


@pytest.fixture(scope="session")
def flops():
    return ps.FlopsCost(params="N")
