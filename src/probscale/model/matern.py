"""Matérn-5/2 correlations of rows of coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probscale.model.gradients import matern_covariance

SQRT5 = math.sqrt(5.0)


def matern52(squared: Tensor) -> Tensor:
    """Matérn-5/2 correlation from squared scaled distances."""
    distance = SQRT5 * squared.clamp_min(1e-14).sqrt()
    return (1 + distance + distance.square() / 3) * torch.exp(-distance)


def scaled_matern(z1: Tensor, z2: Tensor, variance: Tensor, learnt: bool) -> Tensor:
    """Variance times the Matérn-5/2 correlation of coordinates in lengthscales, which may be learnt."""
    if learnt:
        return matern_covariance(z1, z2, variance)
    return variance * matern52(squared_distances(z1, z2))


def squared_distances(x1: Tensor, x2: Tensor) -> Tensor:
    """Squared Euclidean distances, (rows, rows), through one matrix product."""
    cross = x1 @ x2.mT
    return (x1.square().sum(-1)[:, None] + x2.square().sum(-1)[None] - 2 * cross).clamp_min(0.0)
