"""Small simulated logs and one fit of each, shared by the tests of this folder."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.runs import RunLog


def scores_of(log):
    """The same runs measured as an accuracy in [0, 1], larger is better; zeros included."""
    frame = log.to_frame().drop(columns="diverged")
    frame["accuracy"] = np.clip(1.2 * np.exp(-0.45 * (frame.pop("loss") - 1.0)) - 0.1, 0.0, 0.99)
    return RunLog.from_frame(frame, **log.roles.arguments() | {"output": "accuracy", "goal": "max"})


@pytest.fixture(scope="session")
def log():
    """Two tasks, finished runs of eight points."""
    return ps.simulate_runs("law", n_runs=24, points=8, tasks=2, seed=5)


@pytest.fixture(scope="session")
def surrogate(log):
    return ps.fit_surrogate(log, embedder=None, seed=0)


@pytest.fixture(scope="session")
def new(log):
    """Configurations of runs that nobody has begun, and where to predict them."""
    other = ps.simulate_runs("law", n_runs=24, points=8, tasks=2, seed=5).configs.iloc[[1, 4, 7]]
    configs = other.reset_index(drop=True).assign(lr=lambda c: c["lr"] * 1.3) if "lr" in other else other
    return SimpleNamespace(configs=configs.reset_index(drop=True), at=np.geomspace(2e8, 2e10, 4))


@pytest.fixture(scope="session")
def scores(log):
    return scores_of(log)


@pytest.fixture(scope="session")
def texts():
    """Runs that differ in words too: optimisers by name, one run with a single point, a missing field."""
    rng = np.random.default_rng(2)
    rows = []
    for number, (optimizer, lr) in enumerate(
        (o, r) for o in ("adamw", "muon", "lion", "sgd") for r in (1e-3, 3e-3, 1e-2)
    ):
        shift = {"adamw": 0.0, "muon": -0.1, "lion": 0.05, "sgd": 0.4}[optimizer]
        for tokens in (1e8, 2e8, 4e8)[: 1 if number == 7 else 3]:
            loss = 2 + shift + 40 * tokens**-0.25 + 0.05 * np.log(lr / 3e-3) ** 2
            rows.append(
                {"run": f"r{number}", "optimizer": optimizer, "lr": lr, "warmup": 100 if number % 3 else None,
                 "tokens": tokens, "loss": loss * (1 + 0.002 * rng.standard_normal())}
            )  # fmt: skip
    return RunLog.from_frame(pd.DataFrame(rows), run="run", axis="tokens", output="loss")
