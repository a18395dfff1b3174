"""Evidence of a model with its parameters integrated out around their mode."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.gp import CurveProcess, Observations

STEP = 1e-3
"""Step of central differences of gradients, raw parameters."""

LEAST_CURVATURE = 0.1
"""Least eigenvalue of the curvature at the mode: flatter directions would count as evidence without end."""


def laplace_evidence(process: CurveProcess, data: Observations) -> float:
    """Log marginal likelihood of observations, parameters integrated out around their posterior mode.

    Args:
        process: At its maximum a posteriori; left as it is.
        data: Observations of the fit.

    Cost: O(parameters × rows³).

    Source: MacKay 2003, eq. 27.3; curvature from central differences of gradients.
    """
    parameters = [p for p in process.parameters() if p.requires_grad]
    mode = torch.nn.utils.parameters_to_vector(parameters).detach().clone()

    def gradient(flat: torch.Tensor) -> NDArray[np.float64]:
        torch.nn.utils.vector_to_parameters(flat, parameters)
        value = process.log_likelihood(data) + process.log_prior()
        parts = torch.autograd.grad(value, parameters, allow_unused=True)
        dense = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, parts, strict=True)]
        return torch.cat([g.reshape(-1) for g in dense]).cpu().numpy()

    rows = []
    for index in range(len(mode)):
        move = torch.zeros_like(mode)
        move[index] = STEP
        rows.append((gradient(mode - move) - gradient(mode + move)) / (2 * STEP))
    torch.nn.utils.vector_to_parameters(mode, parameters)
    hessian = np.stack(rows)
    curvature = np.maximum(np.linalg.eigvalsh(0.5 * (hessian + hessian.T)), LEAST_CURVATURE)
    with torch.no_grad():
        peak = float(process.log_likelihood(data) + process.log_prior())
    return peak + 0.5 * len(mode) * math.log(2 * math.pi) - 0.5 * float(np.log(curvature).sum())
