import time
from pathlib import Path

import pandas as pd
import pytest

from probscale.laws import fit_law

DATA = Path(__file__).parents[3] / "shared/data/chinchilla_epoch/chinchilla_epoch.parquet"


@pytest.fixture(scope="module")
def hoffmann():
    if not DATA.exists():
        pytest.skip("digitised Chinchilla points are absent (shared/data/chinchilla_epoch)")
    points = pd.read_parquet(DATA).sort_values("loss").iloc[:-5]
    params = points["params"].to_numpy()
    return {
        "params": params,
        "tokens": points["flops"].to_numpy() / (6 * params),
        "loss": points["loss"].to_numpy(),
    }


@pytest.fixture(scope="module")
def fit(hoffmann):
    return fit_law("chinchilla", **hoffmann, seed=0)


def test_the_replication_values_are_recovered(fit):
    assert fit.values["A"] == pytest.approx(477.8, rel=0.01)
    assert fit.values["B"] == pytest.approx(2143, rel=0.01)
    assert fit.values["E"] == pytest.approx(1.817, abs=1e-3)
    assert fit.values["alpha"] == pytest.approx(0.3473, abs=1e-3)
    assert fit.values["beta"] == pytest.approx(0.3672, abs=1e-3)
    assert fit.agreement >= 0.8


def test_three_hundred_resamples_have_the_published_spread(fit):
    start = time.perf_counter()
    spread = fit.bootstrap(300, seed=0).std
    assert time.perf_counter() - start < 20
    for name, published in {"A": 122, "B": 1335, "E": 0.028, "alpha": 0.015, "beta": 0.021}.items():
        assert spread[name] == pytest.approx(published, rel=0.25), name


def test_the_optimum_of_the_chinchilla_budget_is_about_twenty_tokens_per_parameter(fit):
    optimum = fit.optimum(5.76e23)
    assert 15 < optimum.tokens / optimum.params < 25
    spread = fit.bootstrap(60, seed=0).optimum(5.76e23)
    assert spread.params.min() < optimum.params < spread.params.max()
