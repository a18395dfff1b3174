"""BoTorch's SingleTaskGP and MultiTaskGP, and CatBoost, with the interface of the other peers."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from features import Array, features_of, numeric_columns, target_of
from gp_peer import dense_algebra
from peers import Z90, Forecast
from tasks import Task

ROWS = 1000
"""BoTorch's models are fitted to at most so many training rows, drawn by seed."""

STEPS = 100


def single_task_gp(task: Task) -> Forecast:
    """`SingleTaskGP` with its default priors on standardised features, fitted by L-BFGS."""
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Normalize, Standardize

    x, target, rows = features_of(task), target_of(task), _rows(task)
    learn, y = torch.as_tensor(x.train[rows]), torch.as_tensor(target.values[rows])[:, None]
    scaled = Normalize(learn.shape[1])
    model = SingleTaskGP(learn, y, input_transform=scaled, outcome_transform=Standardize(1))
    return _asked(model, torch.as_tensor(x.test), task)


def multi_task_gp(task: Task) -> Forecast | None:
    """`MultiTaskGP` with one task per cell of the levels; None without levels or with one cell."""
    from botorch.models import MultiTaskGP
    from botorch.models.transforms import Standardize

    levels = list(task.roles["levels"])
    if not levels:
        return None
    cells = [
        pd.Series(list(frame[levels].astype(str).agg("|".join, axis=1))) for frame in (task.train, task.test)
    ]
    names = sorted(set(cells[0]))
    if len(names) < 2 or not set(cells[1]) <= set(names):
        return None
    x, target, rows = _without_levels(task), target_of(task), _rows(task)
    codes = [cell.map({name: i for i, name in enumerate(names)}).to_numpy(float)[:, None] for cell in cells]
    learn = torch.as_tensor(np.hstack([x[0], codes[0]])[rows])
    y = torch.as_tensor(target.values[rows])[:, None]
    model = MultiTaskGP(
        learn, y, task_feature=-1, all_tasks=list(range(len(names))), outcome_transform=Standardize(1)
    )
    return _asked(model, torch.as_tensor(np.hstack([x[1], codes[1]])), task)


def cat_boost(task: Task) -> Forecast:
    """CatBoost with its own settings and its way with categorical columns."""
    from catboost import CatBoostRegressor

    both, numeric, categorical = numeric_columns(task)
    both = both[[*numeric, *categorical]].copy()
    both[categorical] = both[categorical].astype(str)
    target = target_of(task)
    model = CatBoostRegressor(
        cat_features=categorical,
        thread_count=1,
        random_seed=0,
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(both[: len(task.train)], target.values)
    return Forecast(target.inverse(model.predict(both[len(task.train) :])))


def _rows(task: Task) -> Array:
    return np.sort(np.random.default_rng(0).permutation(len(task.train))[:ROWS])


def _without_levels(task: Task) -> tuple[Array, Array]:
    """Numeric features only, standardised; a column of zeros where there are none."""
    levels = set(task.roles["levels"])
    both, numeric, categorical = numeric_columns(task)
    parts = [both[numeric].fillna(both[numeric].mean()).to_numpy(float)]
    parts += [
        pd.get_dummies(both[c].astype(str), dtype=float).to_numpy() for c in categorical if c not in levels
    ]
    values = np.hstack(parts)
    values = values if values.shape[1] else np.zeros((len(both), 1))
    n = len(task.train)
    scale = np.where(values[:n].std(0) > 1e-9, values[:n].std(0), 1.0)
    values = (values - values[:n].mean(0)) / scale
    return values[:n], values[n:]


def _asked(model: object, x: torch.Tensor, task: Task) -> Forecast:
    from botorch.fit import fit_gpytorch_mll
    from gpytorch.mlls import ExactMarginalLogLikelihood

    target = target_of(task)
    with dense_algebra(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objective = ExactMarginalLogLikelihood(model.likelihood, model)  # type: ignore[attr-defined]
        fit_gpytorch_mll(objective, optimizer_kwargs={"options": {"maxiter": STEPS}}, max_attempts=1)
        with torch.no_grad():
            found = [model.posterior(part, observation_noise=True) for part in torch.split(x, 500)]  # type: ignore[attr-defined]
            mean = torch.cat([f.mean for f in found]).numpy().ravel()
            std = torch.cat([f.variance for f in found]).sqrt().numpy().ravel()
    return Forecast(*(target.inverse(v) for v in (mean, mean - Z90 * std, mean + Z90 * std)))
