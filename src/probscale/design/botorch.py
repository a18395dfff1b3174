"""Acquisition functions of BoTorch as criteria."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from numpy.typing import NDArray
from torch import Tensor

from probscale.design.criteria import Situation, Value
from probscale.errors import ConfigError

Array = NDArray[np.float64]

JITTER = 1e-9
"""Jitter of the joint covariance, relative to its mean diagonal."""


class CellModel(Model):
    """The joint posterior of a grid of cells as a BoTorch model; inputs are positions of cells.

    Its outcome is the output, linearised at the posterior mean, with the sign turned where small is good:
    BoTorch maximises.
    """

    def __init__(self, situation: Situation) -> None:
        super().__init__()
        cells = situation.cells
        sign = -1.0 if situation.goal == "min" else 1.0
        slope = cells.slope.ravel()
        covariance = cells.covariance * np.outer(slope, slope)
        self.goal_sign = sign
        self._location = torch.from_numpy(sign * cells.output.ravel())
        self._joint = torch.from_numpy(
            covariance + JITTER * covariance.diagonal().mean() * np.eye(len(slope))
        )
        self._noise = torch.from_numpy(cells.noise.ravel() * np.square(slope))

    @property
    def num_outputs(self) -> int:  # noqa: D102
        return 1

    @property
    def batch_shape(self) -> torch.Size:  # noqa: D102
        return torch.Size()

    def posterior(  # noqa: D102
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Callable[[Any], Any] | None = None,
    ) -> Any:
        cells = X.detach().round().long()[..., 0]
        joint = self._joint[cells[..., :, None], cells[..., None, :]]
        if observation_noise is True:
            joint = joint + torch.diag_embed(self._noise[cells])
        posterior = GPyTorchPosterior(MultivariateNormal(self._location[cells], joint))
        return posterior if posterior_transform is None else posterior_transform(posterior)


def acquisition(
    make: Callable[[CellModel, Situation], AcquisitionFunction], *, logarithm: bool = False
) -> Value:
    """Criterion that scores each action by a BoTorch acquisition function at the cell where it stops.

    Args:
        make: From the model of the cells and the situation to an acquisition function. Best values are
            `model.goal_sign * situation.incumbent`; positions of cells are the inputs, (..., q, 1).
        logarithm: The function gives logarithms, as LogExpectedImprovement does; they are raised, so that
            values can be divided by costs.

    Raises:
        ConfigError: for what is no function, such as the class of an acquisition function.

    >>> from botorch.acquisition import LogExpectedImprovement
    >>> criterion = acquisition(
    ...     lambda model, now: LogExpectedImprovement(model, best_f=model.goal_sign * now.incumbent),
    ...     logarithm=True,
    ... )
    """
    if isinstance(make, type) or not callable(make):
        raise ConfigError(
            f"make is {make!r}; pass a function of the model and the situation that returns an acquisition "
            "function, such as lambda model, situation: UpperConfidenceBound(model, beta=2.0)",
            make=make,
        )

    def value(situation: Situation) -> Array:
        function = make(CellModel(situation), situation)
        config, point = np.nonzero(situation.actions.legal)
        cells = torch.from_numpy(config * situation.cells.shape[1] + point).to(torch.float64)
        with torch.no_grad():
            values = function(cells[:, None, None]).numpy()
        return np.exp(values) if logarithm else values

    return value
