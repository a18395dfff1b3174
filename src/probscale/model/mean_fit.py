"""Robust regression of a mean function alone, before any kernel."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from probscale.model.devices import threads_for
from probscale.model.fitting import REACH
from probscale.model.gp import Observations
from probscale.model.means import CurveMean
from probscale.model.weighing import LEAST_SPREAD, STUDENT_DEGREES, spread_of

Array = NDArray[np.float64]

MOST_SPREAD = 1e3
"""Largest robust standard deviation that a regression may take, modelled scale."""

ITERATIONS = 100
"""Most optimiser iterations of a regression."""


def fit_mean(mean: CurveMean, data: Observations) -> float:
    """Move a mean's parameters to where they explain the data alone, robustly.

    A mean that starts at its prior leaves the trend to the kernel, which then cannot extrapolate it.

    Returns:
        Robust standard deviation of what the mean leaves over: the natural scale of the kernel.

    Source: Student-t regression, its scale fitted along: Lange, Little and Taylor 1989.
    """
    parameters = [mean.get_parameter(name) for name in mean.names]
    location, std = mean.prior()

    def objective(flat: Array) -> tuple[float, Array]:
        # Without a tape, which costs more than the arithmetic of so small a problem.
        leaf = torch.tensor(flat, device=location.device)
        values, log_scale = leaf[:-1], leaf[-1]
        centre, slopes = mean.with_slopes(values, data.rows)
        residual = (data.y - centre) * torch.exp(-log_scale)
        squared, apart = residual.square(), (values - location) / std
        robust = torch.log1p(squared / STUDENT_DEGREES).sum() * (STUDENT_DEGREES + 1) / 2
        value = robust + len(data) * log_scale + 0.5 * apart.square().sum()
        pull = residual * (STUDENT_DEGREES + 1) / (STUDENT_DEGREES + squared)
        slope = apart / std - torch.exp(-log_scale) * (pull @ slopes)
        scale = len(data) - pull @ residual
        return float(value.item()), torch.cat([slope, scale[None]]).cpu().numpy()

    with torch.no_grad():
        first = spread_of(data.y - mean(data.rows))
    start = np.concatenate([*(p.detach().cpu().numpy().ravel() for p in parameters), [math.log(first)]])
    bounds = [(x - REACH, x + REACH) for x in start[:-1]] + [(math.log(LEAST_SPREAD), math.log(MOST_SPREAD))]
    options = {"maxiter": ITERATIONS}
    with threads_for(0):  # Vectors alone: threads would wait for each other longer than they work.
        result = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    for parameter, value in zip(parameters, result.x[:-1], strict=True):
        parameter.data.fill_(float(value))
    with torch.no_grad():
        return spread_of(data.y - mean(data.rows))
