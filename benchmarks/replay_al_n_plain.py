"""Active learning of whole runs with a plain exact Gaussian process, and a greedy oracle with ours.

python benchmarks/replay_al_n_plain.py [--seeds 10] [--oracle 5]
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scoring import markdown, write_page
from sources import data_root

from probscale.design.actions import Actions
from probscale.evaluate.replay.active import ActiveTask, law_errors, situation_in, updated
from probscale.evaluate.replay.active_tables import BUDGETS
from probscale.evaluate.replay.active_tasks import nanogpt_task

Array = NDArray[np.float64]
TERMS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
LEVEL, LEVEL_STD, JITTER = 1.6, 5.0, 4e-6
# Logarithms of three lengthscales, seven amplitudes and the noise.
CENTRE = np.log([2.0] * 3 + [0.1] * 7 + [0.01])
STD = np.array([0.7] * 3 + [1.0] * 8)
UNTIL, ORACLE_UNTIL, DRAWS = 0.6, 0.3, 256


def inputs(task: ActiveTask) -> torch.Tensor:
    """Standardised logarithms of width, depth and step of each cell, (cells, 3)."""
    wide, deep = (np.log(task.configs[name].to_numpy(dtype=np.float64)) for name in ("n_embd", "n_layer"))
    points = task.at.shape[1]
    x = np.stack([np.repeat(wide, points), np.repeat(deep, points), np.log(task.at).ravel()], axis=1)
    return torch.from_numpy((x - x.mean(axis=0)) / x.std(axis=0))


def covariance(values: torch.Tensor, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Covariance of cells under logarithmic parameters, (rows, rows)."""
    distance = (x[:, None] - z[None]).abs() / torch.exp(values[:3]) * math.sqrt(5)
    effects = (1 + distance + distance.square() / 3) * torch.exp(-distance)
    parts = [torch.exp(2 * values[3 + i]) * effects[..., list(t)].prod(-1) for i, t in enumerate(TERMS)]
    return torch.stack(parts).sum(0) + LEVEL_STD**2


def noise(values: torch.Tensor) -> torch.Tensor:
    """Noise variance."""
    return torch.exp(2 * values[-1]) + JITTER


def fitted(start: Array, x: torch.Tensor, y: torch.Tensor) -> Array:
    """Parameters of maximum posterior density."""

    def objective(flat: Array) -> tuple[float, Array]:
        values = torch.tensor(flat, requires_grad=True)
        joint = covariance(values, x, x) + noise(values) * torch.eye(len(x), dtype=x.dtype)
        factor, failed = torch.linalg.cholesky_ex(joint)
        if int(failed):
            return 1e10, np.zeros_like(flat)
        white = torch.linalg.solve_triangular(factor, (y - LEVEL)[:, None], upper=False)
        prior = ((values - torch.from_numpy(CENTRE)) / torch.from_numpy(STD)).square().sum()
        value = 0.5 * white.square().sum() + factor.diagonal().log().sum() + 0.5 * prior
        value.backward()
        assert values.grad is not None
        return float(value), values.grad.numpy()

    bounds = [(centre - 6, centre + 6) for centre in CENTRE]
    options = {"maxiter": 40, "ftol": 1e-7}
    return minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


@torch.no_grad()
def posterior(values: Array, x: torch.Tensor, y: torch.Tensor, asked: torch.Tensor) -> tuple[Array, Array]:
    """Mean and covariance of all cells."""
    parameters = torch.from_numpy(values)
    joint = covariance(parameters, x, x) + noise(parameters) * torch.eye(len(x), dtype=x.dtype)
    factor = torch.linalg.cholesky(joint)
    left = torch.linalg.solve_triangular(factor, covariance(parameters, x, asked), upper=False)
    white = torch.linalg.solve_triangular(factor, (y - LEVEL)[:, None], upper=False)
    mean = LEVEL + (left.mT @ white)[:, 0]
    return mean.numpy(), (covariance(parameters, asked, asked) - left.mT @ left).numpy()


def values_of(criterion: str, spread: Array, actions: Actions, variance: float, luck: Array) -> Array:
    """Value of each whole run per cost."""
    table, points = actions.table, actions.at.shape[1]
    cost, out = table["cost"].to_numpy(dtype=np.float64), []
    if criterion == "random":
        return luck[: len(table)]
    for config in table["config"]:
        block = np.arange(config * points, (config + 1) * points)
        own = spread[np.ix_(block, block)]
        if criterion == "max variance / cost":
            out.append(np.trace(own))
        else:
            gain = np.linalg.solve(own + variance * np.eye(points), spread[block])
            out.append(float((spread[:, block].T * gain).sum()))
    return np.array(out) / cost


def plain(task: ActiveTask, criterion: str, seed: int) -> pd.DataFrame:
    """One replay with the plain process, until 60 % of the price."""
    x, y = inputs(task), torch.from_numpy(np.log(task.truth).ravel())
    generator, total = np.random.default_rng([seed, 1]), task.price[:, -1].sum()
    values, known, rows = CENTRE, 0, []
    actions, seen = begun(task, seed)
    while True:
        where = np.flatnonzero(seen.ravel())
        if len(where) >= 1.25 * known:
            values, known = fitted(values, x[where], y[where]), len(where)
        mean, spread = posterior(values, x[where], y[where], x)
        scale, axes = np.linalg.eigh(spread)
        white = np.random.default_rng(0).standard_normal((DRAWS, len(mean)))
        draws = np.exp(mean + white @ (axes * np.sqrt(np.maximum(scale, 0.0))).T).reshape(-1, *seen.shape)
        spent = float(actions.paid.sum() / total)
        rows.append(law_errors(task, np.where(seen, task.truth, draws)) | {"spent": spent})
        if spent >= UNTIL:
            return pd.DataFrame(rows)
        luck, variance = generator.random(len(seen)), float(noise(torch.from_numpy(values)))
        best = int(values_of(criterion, spread, actions, variance, luck).argmax())
        actions, seen, _ = bought(actions, seen, best)


def oracle(task: ActiveTask, seed: int) -> pd.DataFrame:
    """One replay of the greedy oracle with our surrogate, until 30 % of the price."""
    actions, seen = begun(task, seed)
    belief, rows, total = updated(None, task.log(seen), None, 1.5), [], task.price[:, -1].sum()
    while True:
        now = law_errors(task, situation_in(task, belief.surrogate, actions, seen).draws)
        spent = float(actions.paid.sum() / total)
        rows.append(now | {"spent": spent})
        if spent >= ORACLE_UNTIL:
            return pd.DataFrame(rows)
        gains = []
        for choice in range(len(actions.table)):
            _, after, fresh = bought(actions, seen, choice)
            told = belief.surrogate.condition(task.log(fresh))
            gains.append(now["abc"] - law_errors(task, situation_in(task, told, actions, after).draws)["abc"])
        best = int(np.argmax(np.array(gains) / actions.table["cost"].to_numpy(dtype=np.float64)))
        actions, seen, fresh = bought(actions, seen, best)
        belief = updated(belief, task.log(seen), task.log(fresh), 1.5)


def begun(task: ActiveTask, seed: int) -> tuple[Actions, NDArray[np.bool_]]:
    """Actions left after the start, and what it measured."""
    actions, seen = task.actions(), np.zeros(task.at.shape, dtype=bool)
    for config, point in task.start(seed):
        seen.ravel()[actions.block(config, point)] = True
        actions = actions.taken(config, point)
    return actions, seen


def bought(
    actions: Actions, seen: NDArray[np.bool_], choice: int
) -> tuple[Actions, NDArray[np.bool_], NDArray[np.bool_]]:
    """Actions left after one of the table, what is measured then, and what of it is new."""
    row, fresh = actions.table.iloc[choice], np.zeros_like(seen)
    config, point = int(row["config"]), int(row["point"])
    fresh.ravel()[actions.block(config, point)] = True
    return actions.taken(config, point), seen | fresh, fresh


def area(replay: pd.DataFrame, column: str) -> float:
    """Mean over budgets, a step function."""
    at = np.searchsorted(replay["spent"].to_numpy(), BUDGETS + 1e-12, side="right") - 1
    return float(replay[column].to_numpy()[np.maximum(at, 0)].mean())


def main() -> None:
    """Plays and writes the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--oracle", type=int, default=5)
    chosen = parser.parse_args()
    path = data_root() / "schram/nanogpt_large.parquet"
    if not path.is_file():
        sys.exit(
            "this needs schram/nanogpt_large.parquet in the data folder (PROBSCALE_DATA); it is not there"
        )
    task, rows = nanogpt_task(path), []
    games = {name: [plain(task, name, seed) for seed in range(chosen.seeds)] for name in CRITERIA}
    games["ours, greedy oracle, seeds from 100 on"] = [oracle(task, 100 + s) for s in range(chosen.oracle)]
    for name, replays in games.items():
        means = [np.mean([area(replay, column) for replay in replays]) for column in ("abc", "abc_log")]
        rows.append([name, *(f"{mean:.3f}" for mean in means), str(len(replays))])
    table = markdown(["strategy", "AUC AbC", "AUC AbC of ln(loss)", "seeds"], rows)
    write_page("replay_al_n_plain", "Active learning with a plain Gaussian process", [NOTE, table])


NOTE = """The Gaussian process: ln(loss), constant mean, additive and interacting Matérn-5/2 effects of
ln(width), ln(depth) and ln(step), log-normal priors, parameters fitted anew once the log has
grown by a quarter; until 60 % of the price. The oracle buys the run that lowers the true area
between laws most per cost under our surrogate, on seeds from 100 on, until 30 % of the price.
Areas as on the page of whole runs, which says what they mean for its bars."""
CRITERIA = ("random", "max variance / cost", "integrated variance / cost")

if __name__ == "__main__":
    main()
