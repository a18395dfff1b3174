import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError


@pytest.fixture(scope="module")
def log():
    return ps.simulate_runs("law", n_runs=40, points=4, seed=0)


@pytest.fixture(scope="module")
def surrogate(log):
    return ps.fit_surrogate(log, embedder=None)


FIXED = {"params": 3e8, "horizon": 2e10, "batch_tokens": 4e5}


def test_the_best_of_ranges_is_at_least_as_good_as_that_of_a_grid_over_them(surrogate):
    grid = [
        {**FIXED, "learning_rate": 3e-4 * (1e-2 / 3e-4) ** (k / 20), "schedule": schedule}
        for k in range(21)
        for schedule in ("cosine", "constant")
    ]
    ranges = {**FIXED, "learning_rate": (3e-4, 1e-2), "schedule": ["cosine", "constant"]}
    found = surrogate.best(ranges, at=2e10)
    assert found.mean <= surrogate.best(grid, at=2e10).mean + 1e-6
    assert 3e-4 <= found.config["learning_rate"] <= 1e-2
    assert found.config["params"] == 3e8
    assert set(found.table["schedule"]) == {"cosine", "constant"}
    # Evenly spread by the logarithm: half of the candidates below the geometric middle of the range.
    assert 0.45 < (found.table["learning_rate"] < (3e-4 * 1e-2) ** 0.5).mean() < 0.55


def test_the_same_seed_finds_the_same(surrogate):
    ranges = {**FIXED, "learning_rate": (3e-4, 1e-2), "schedule": "cosine"}
    first, second = (surrogate.best(ranges, at=2e10, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first.table, second.table)


def test_whole_numbers_stay_whole(log):
    frame = log.to_frame()
    frame["depth"] = (frame["learning_rate"].rank(method="dense") % 5 + 2).astype(int)
    roles = log.roles
    mine = ps.RunLog.from_frame(
        frame,
        run=roles.run,
        axis=roles.axis,
        output="loss",
        params="params",
        config=["learning_rate", "depth"],
    )
    fitted = ps.fit_surrogate(mine, embedder=None)
    found = fitted.best({"params": 3e8, "learning_rate": 1e-3, "depth": (2, 6)}, at=1e10)
    assert set(found.table["depth"]) == {2, 3, 4, 5, 6}
    with pytest.raises(ConfigError, match=r"depth.*without a whole number"):
        fitted.best({"params": 3e8, "learning_rate": 1e-3, "depth": (0.1, 0.9)}, at=1e10)


@pytest.mark.parametrize(
    ("value", "said"),
    [((1e-2, 3e-4), "lower one first"), ((1e-3,), "no range"), (("a", "b"), "no range"), ([], "no choices")],
)
def test_what_is_no_range_is_refused_with_its_name(surrogate, value, said):
    with pytest.raises(ConfigError, match=f"learning_rate.*{said}"):
        surrogate.best({**FIXED, "schedule": "cosine", "learning_rate": value}, at=2e10)


def test_ranges_are_compared_at_one_axis_value(surrogate):
    with pytest.raises(ConfigError, match="one axis value"):
        surrogate.best({**FIXED, "schedule": "cosine", "learning_rate": (1e-4, 1e-2)}, at=[1e9, 2e10])


def test_a_setting_that_no_run_has_cannot_be_searched(surrogate):
    with pytest.raises(ConfigError, match=r"no run of the log has 'learning_rates'.*'learning_rate'\?"):
        surrogate.best({**FIXED, "schedule": "cosine", "learning_rates": (1e-4, 1e-2)}, at=2e10)
