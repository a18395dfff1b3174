"""Parameters that a process takes over from that of another output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import minimize_scalar

from probscale.model.fitting import FAILED
from probscale.model.gp import CurveProcess, Observations
from probscale.model.means import CurveMean

AMPLITUDES = ("scale", "drift")
OWN = ("growth", "plateau", "wane", "bend")


@dataclass(frozen=True)
class Model:
    """A fitted process of another output to start from.

    Attributes:
        process: Its process.
        twin: Whether its mean, amplitudes and noise are taken over too, these up to one factor; else
            lengthscales, drifts of coordinates and closeness of labels alone.
    """

    process: CurveProcess
    twin: bool


def borrow(process: CurveProcess, model: Model, data: Observations) -> list[torch.nn.Parameter]:
    """Take over parameters of another output's process.

    Returns:
        The parameters that were taken over.

    Cost: of a twin, some twenty factorisations.
    """
    known = dict(model.process.kernel.named_parameters())
    taken, amplitudes = [], []
    for name, parameter in process.kernel.named_parameters():
        last = name.split(".")[-1]
        if last in OWN or (last in AMPLITUDES and not model.twin):
            continue
        parameter.data = known[name].detach().to(parameter.device).clone()
        taken.append(parameter)
        amplitudes += [parameter] if last in AMPLITUDES else []
    if model.twin:
        taken += _borrow_mean(process.mean, model.process.mean)
        level = process.noise.get_parameter("level")
        for name, parameter in process.noise.named_parameters():
            parameter.data = model.process.noise.get_parameter(name).detach().to(data.y.device).clone()
            taken.append(parameter)
        _scale_amplitudes([*amplitudes, level], process, data)
    return taken


@torch.no_grad()
def taken_over(process: CurveProcess, other: CurveProcess) -> Model | None:
    """How a process was borrowed from another, as far as its parameters show; None where it was not."""
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
    return Model(other, twin=bool(same) and all(same))


def _borrow_mean(mean: CurveMean, other: CurveMean) -> list[torch.nn.Parameter]:
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
