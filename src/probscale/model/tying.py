"""Parameter tying: an output whose process has parameters of another output's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import minimize_scalar

from probscale.model.fitting import FAILED
from probscale.model.gp import CurveProcess, Observations
from probscale.model.means import CurveMean

AMPLITUDES = ("scale", "drift")
"""Last names of standard deviations of the terms of a kernel."""

OWN = ("growth", "plateau", "wane", "bend")
"""Those of parameters that are never tied: how amplitudes change along the axis."""


@dataclass(frozen=True)
class Tie:
    """What an output has in common with another one.

    Attributes:
        process: Fitted process of the other output.
        proportional: Whether the mean is common too, and amplitudes and noise up to one factor; else
            lengthscales, drifts of coordinates and closeness of labels alone.
    """

    process: CurveProcess
    proportional: bool


def apply_tie(process: CurveProcess, tie: Tie, data: Observations) -> list[torch.nn.Parameter]:
    """Give a process the parameters that a tie names.

    Args:
        process: Changed in place.
        tie: What it has in common with another output.
        data: Observations, by which a proportional process finds its factor.

    Returns:
        The tied parameters.

    Cost: where proportional, some twenty factorisations.
    """
    known = dict(tie.process.kernel.named_parameters())
    tied, amplitudes = [], []
    for name, parameter in process.kernel.named_parameters():
        last = name.split(".")[-1]
        if last in OWN or (last in AMPLITUDES and not tie.proportional):
            continue
        parameter.data = known[name].detach().to(parameter.device).clone()
        tied.append(parameter)
        amplitudes += [parameter] if last in AMPLITUDES else []
    if tie.proportional:
        tied += _tie_mean(process.mean, tie.process.mean)
        level = process.noise.get_parameter("level")
        for name, parameter in process.noise.named_parameters():
            parameter.data = tie.process.noise.get_parameter(name).detach().to(data.y.device).clone()
            tied.append(parameter)
        _scale_amplitudes([*amplitudes, level], process, data)
    return tied


@torch.no_grad()
def find_tie(process: CurveProcess, other: CurveProcess) -> Tie | None:
    """How a process is tied to another, as far as its parameters show; None where it is not."""
    known = dict(other.kernel.named_parameters())
    shared = [
        torch.equal(parameter, known[name]) if name in known else False
        for name, parameter in process.kernel.named_parameters()
        if name.split(".")[-1] not in (*OWN, *AMPLITUDES)
    ]
    if not all(shared):
        return None
    mine, theirs = (
        dict(zip(mean.names, mean.values() - mean.prior()[0], strict=True))
        for mean in (process.mean, other.mean)
    )
    same = [
        torch.allclose(value, theirs[name], rtol=0, atol=1e-9)
        for name, value in mine.items()
        if name in theirs
    ]
    return Tie(other, proportional=bool(same) and all(same))


def _tie_mean(mean: CurveMean, other: CurveMean) -> list[torch.nn.Parameter]:
    """Raw parameters as far from their prior as those of another mean, where both have them."""
    location = dict(zip(mean.names, mean.prior()[0], strict=True))
    theirs = dict(zip(other.names, (other.values() - other.prior()[0]).detach(), strict=True))
    shared = [name for name in mean.names if name in theirs]
    for name in shared:
        mean.get_parameter(name).data = location[name] + theirs[name].to(location[name].device)
    return [mean.get_parameter(name) for name in shared]


@torch.no_grad()
def _scale_amplitudes(logs: list[torch.nn.Parameter], process: CurveProcess, data: Observations) -> None:
    """Multiply amplitudes and noise by the factor under which the data are most likely."""
    start = [parameter.data.clone() for parameter in logs]

    def loss(log_factor: float) -> float:
        for parameter, value in zip(logs, start, strict=True):
            parameter.data = value + log_factor
        try:
            return -float(process.log_likelihood(data))
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            return FAILED

    found: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 0.01})
    loss(float(found.x))
