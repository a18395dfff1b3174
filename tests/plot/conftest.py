"""Axes to draw on, and one small surrogate that the figures show."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import probscale as ps

STEPS = np.geomspace(1e8, 1e10, 6)
SIZES = np.geomspace(1e6, 1e8, 5)
RATES = (1e-3, 1e-2)


def loss_of(size, tokens, rate):
    return 1.7 + 300 * size**-0.35 + 1200 * tokens**-0.35 + 0.02 * np.log(rate / 1e-3) ** 2


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    axes.figure.canvas.draw()
    plt.close(figure)


@pytest.fixture(scope="session")
def log():
    rows = [
        (f"n{i}-lr{rate:g}", size, rate, tokens, loss_of(size, tokens, rate))
        for i, size in enumerate(SIZES)
        for rate in RATES
        for tokens in STEPS
    ]
    frame = pd.DataFrame(rows, columns=["run", "N", "lr", "tokens", "loss"])
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N")


@pytest.fixture(scope="session")
def surrogate(log):
    return ps.fit_surrogate(log, embedder=None, seed=0)


@pytest.fixture(scope="session")
def cost():
    return ps.FlopsCost(params="N")
