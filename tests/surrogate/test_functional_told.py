"""Curves of many runs whose model sizes other columns tell, as where lengths are planned for sizes."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.surrogate.functional_told import told_sizes

SIZES = (1e7, 3e7, 1e8, 3e8)
ROLES = {"run": "run", "axis": "tokens", "output": "loss", "params": "params", "horizon": "horizon"}
SHARES = np.linspace(0.05, 1.0, 16)
RATES = np.array([4e-4, 1e-3, 3e-3])


def loss_of(size, tokens, rate):
    terms = 1.1 * (size / 1e8) ** -0.3 + 1.2 * (tokens / 1e9 + 0.003) ** -0.3
    return 1.6 + terms * np.exp(0.04 * (np.log10(rate) + 3) ** 2)


@pytest.fixture(scope="module")
def planned():
    """Runs of twenty tokens per parameter."""
    rng, frames = np.random.default_rng(3), []
    for size in SIZES:
        for i in range(18):
            rate, tokens = 10 ** rng.uniform(-4, -2), 20 * size * SHARES
            loss = loss_of(size, tokens, rate) * (1 + 0.002 * rng.standard_normal(len(SHARES)))
            columns = {"run": f"{size:g}-{i}", "tokens": tokens, "loss": loss}
            frames.append(pd.DataFrame(columns | {"params": size, "lr": rate, "horizon": 20 * size}))
    log = ps.RunLog.from_frame(pd.concat(frames, ignore_index=True), **ROLES)
    return ps.fit_surrogate(log, embedder=None, model="functional")


def asked(size, length):
    return pd.DataFrame({"params": size, "lr": RATES, "horizon": length})


@pytest.mark.parametrize("size", SIZES)
def test_whole_curves_are_foretold_where_lengths_are_planned_for_sizes(planned, size):
    tokens = 20 * size * SHARES
    curves = planned.predict(asked(size, 20 * size), tokens)
    truth = np.stack([loss_of(size, tokens, rate) for rate in RATES])
    lower, upper = curves.interval(0.9)
    assert np.abs(curves.median / truth - 1).max() < 0.02
    assert np.mean((lower <= truth) & (truth <= upper)) > 0.7


def test_a_size_other_than_its_length_tells_moves_the_end_by_the_law(planned):
    small, usual, large = (planned.predict(asked(size, 2e9), [2e9]).median[:, 0] for size in (3e7, 1e8, 3e8))
    assert (small > usual + 0.1).all()
    assert (large < usual - 0.1).all()


def test_told_sizes_are_a_lone_size_or_what_coordinates_fix_within_what_the_fit_leaves():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(40, 3))
    lone = told_sizes(np.full(40, 18.0), z)
    assert lone.usual(np.array([19.0]), z[:1]) == pytest.approx(18.0, abs=1e-12)
    left = rng.uniform(-0.1, 0.1, 40)
    size = 18 + z @ [1.0, 2.0, 0.0] + left
    told = told_sizes(size, z)
    np.testing.assert_allclose(told.usual(size, z), size, atol=1e-12)
    beyond = told.usual(size + 1.0, z)
    assert ((beyond < size + 1.0) & (beyond > size - 0.3)).all()
