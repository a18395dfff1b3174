"""What texts tell of numbers: a Gaussian process over their vectors, judged on groups left out in turn.

The covariance of two targets is that of labels in a surrogate, a mix of equal texts and close texts
(`probscale.model.kernels.LabelCorrelation`), on the same projection of the vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Index = NDArray[np.intp]

_UNKNOWN_MEAN = 1.0
_ITERATIONS = 25
_JITTER = 1e-6

# Amplitude, share of closeness (logit), distance at which texts are near, noise: logarithms, for targets of
# unit variance and vectors of unit root mean square distance from their mean.
_PRIOR_MEAN = (math.log(0.7), 0.0, math.log(0.6), math.log(0.5))
_PRIOR_STD = (0.7, 1.5, 0.5, 1.0)


@dataclass(frozen=True)
class TextTargets:
    """Numbers that the texts of one field should tell.

    Attributes:
        text: Position of the text of each target, (targets,).
        group: Group of each target, (targets,); a group is foretold from all others.
        target: Numbers of zero mean and unit variance, (targets,).
    """

    text: Index
    group: Index
    target: NDArray[np.float64]

    def take(self, kept: NDArray[np.bool_]) -> TextTargets:
        """Some of the targets."""
        return TextTargets(self.text[kept], self.group[kept], self.target[kept])

    def of(self, groups: Index) -> TextTargets:
        """The targets of some groups."""
        return self.take(np.isin(self.group, groups))

    @property
    def groups(self) -> Index:
        """The distinct groups."""
        return np.unique(self.group)

    @property
    def texts(self) -> Index:
        """Positions of the distinct texts."""
        return np.unique(self.text)


def covariance(places: Tensor, text: Index, parameters: Tensor) -> Tensor:
    """Covariance of targets, noise included, (targets, targets).

    Args:
        places: Projected vector of the text of each target, (targets, rank).
        text: Position of the text of each target.
        parameters: Log amplitude, logit of the share of closeness, log distance, log noise.
    """
    same = torch.from_numpy(text[:, None] == text[None]).to(places)
    cross = places @ places.mT
    size = cross.diagonal()
    squared = (size[:, None] + size[None] - 2 * cross).clamp_min(0.0)
    share = torch.sigmoid(parameters[1])
    close = torch.exp(-0.5 * squared / torch.exp(2 * parameters[2]))
    likeness = (1 - share) * same + share * close
    noise = torch.exp(2 * parameters[3]) + _JITTER
    return _UNKNOWN_MEAN + torch.exp(2 * parameters[0]) * likeness + noise * torch.eye(len(text)).to(places)


def left_out_densities(cov: Tensor, targets: TextTargets, groups: Index) -> Tensor:
    """Log density of the targets of each group given those of all other groups, (groups,).

    Cost: O(targets³), one inverse in all.

    Source: Rasmussen and Williams 2006, eq. 5.12, by blocks.
    """
    found = []
    for factor, white in _left_out(cov, targets, groups):
        log_volume = factor.diagonal().log().sum() - 0.5 * len(white) * math.log(2 * math.pi)
        found.append(log_volume - 0.5 * white.square().sum())
    return torch.stack(found)


def left_out_errors(cov: Tensor, targets: TextTargets, groups: Index) -> Tensor:
    """Mean absolute error with which the targets of each group are foretold from all others, (groups,)."""
    residuals = (
        torch.linalg.solve_triangular(factor.mT, white, upper=True)
        for factor, white in _left_out(cov, targets, groups)
    )
    return torch.stack([residual.abs().mean() for residual in residuals])


def _left_out(cov: Tensor, targets: TextTargets, groups: Index) -> Iterator[tuple[Tensor, Tensor]]:
    """Factor of the precision of each group given the others, and its white residuals."""
    precision = torch.cholesky_inverse(torch.linalg.cholesky(cov))
    solved = precision @ torch.from_numpy(targets.target).to(cov)
    for group in groups:
        index = torch.from_numpy(np.flatnonzero(targets.group == group)).to(cov.device)
        factor = torch.linalg.cholesky(precision[index][:, index])
        yield factor, torch.linalg.solve_triangular(factor, solved[index][:, None], upper=False)


def fit_parameters(places: Tensor, targets: TextTargets) -> Tensor:
    """Most probable parameters of the covariance.

    Args:
        places: Projected vector of the text of each target, (targets, rank).
        targets: What to foretell.

    Cost: O(targets³) for each of some tens of steps.
    """
    mean, std = (torch.tensor(values).to(places) for values in (_PRIOR_MEAN, _PRIOR_STD))
    y = torch.from_numpy(targets.target).to(places)
    parameters = mean.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([parameters], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        factor = torch.linalg.cholesky(covariance(places, targets.text, parameters))
        white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
        loss = 0.5 * white.square().sum() + factor.diagonal().log().sum()
        loss = loss + 0.5 * ((parameters - mean) / std).square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[reportArgumentType]
    return parameters.detach()
