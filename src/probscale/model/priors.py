"""Parameters and their normal priors."""

from __future__ import annotations

import torch
from gpytorch import Module
from gpytorch.priors import NormalPrior
from torch import Tensor

UNTOLD, UNTOLD_STD = 2.0, 1.5
"""Prior scale of what values that were not given would tell, all together, over that of what else sets runs
apart, and the standard deviation of its logarithm; chosen on simulated logs
(`benchmarks/results/general_curves.md`)."""


def declare(module: Module, name: str, start: float | Tensor, mean: float | Tensor, std: float) -> None:
    """Register parameter `name` of a module with a normal prior, `name_prior`, on each of its numbers.

    Args:
        module: Gets both.
        name: Of the parameter.
        start: First value, of the parameter's shape.
        mean: Prior mean, of the same shape or a number for all.
        std: Prior standard deviation.
    """
    value = torch.as_tensor(start, dtype=torch.float64).detach().clone()
    module.register_parameter(name, torch.nn.Parameter(value))
    location = torch.as_tensor(mean, dtype=torch.float64).detach().clone()
    module.register_prior(f"{name}_prior", NormalPrior(location, torch.full_like(location, std)), name)
