"""Networks of the deep ensemble: trained together, one batch dimension per member."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

Array = NDArray[np.float64]


def predicted_curves(
    features: Array,
    observed: Array,
    asked: Array,
    *,
    forms: Sequence[str],
    hidden: int,
    steps: int,
    learning_rate: float,
    seed: int,
) -> Array:
    """Outputs of every member at asked places, (members, asked).

    Args:
        features: Of all runs, (runs, features).
        observed: Rows of run, axis value and output.
        asked: Rows of run and axis value.
        forms: Form of each member: "power", "exponential" or "mmf".
        hidden: Width of the hidden layers.
        steps: Adam steps.
        learning_rate: Adam's.
        seed: Seed of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    scale_t, (low, spread) = observed[:, 1].max(), _range(observed[:, 2])
    weights = _weights(len(forms), features.shape[1], hidden, generator)
    optimiser = torch.optim.Adam(weights, lr=learning_rate)
    runs = torch.from_numpy(observed[:, 0].astype(np.int64))
    t = torch.from_numpy(observed[:, 1] / scale_t)
    target = torch.from_numpy((observed[:, 2] - low) / spread)
    x = torch.from_numpy(features)
    masks = [torch.tensor([form == name for form in forms])[:, None] for name in ("power", "exponential")]
    for _ in range(steps):
        optimiser.zero_grad()
        error = _curves(_network(weights, x)[:, runs], t, masks) - target
        torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=0.1).backward()
        optimiser.step()
    with torch.no_grad():
        where = torch.from_numpy(asked[:, 0].astype(np.int64))
        at = torch.from_numpy(asked[:, 1] / scale_t)
        return low + spread * _curves(_network(weights, x)[:, where], at, masks).numpy()


def _range(outputs: Array) -> tuple[float, float]:
    low = float(outputs.min())
    return low, max(float(np.quantile(outputs, 0.9)) - low, 1e-9)


def _weights(members: int, inputs: int, hidden: int, generator: torch.Generator) -> list[Tensor]:
    sizes = [(inputs, hidden), (hidden, hidden), (hidden, 4)]
    weights: list[Tensor] = []
    for fan_in, fan_out in sizes:
        matrix = torch.randn(members, fan_in, fan_out, generator=generator, dtype=torch.float64)
        weights += [matrix / math.sqrt(fan_in), torch.zeros(members, 1, fan_out, dtype=torch.float64)]
    return [weight.requires_grad_() for weight in weights]


def _network(weights: list[Tensor], x: Tensor) -> Tensor:
    """Curve parameters, (members, runs, 4)."""
    value = x
    for layer in range(0, len(weights), 2):
        value = value @ weights[layer] + weights[layer + 1]
        if layer + 2 < len(weights):
            value = torch.tanh(value)
    return value


def _curves(parameters: Tensor, t: Tensor, masks: list[Tensor]) -> Tensor:
    """Decreasing curves of the three forms, (members, points)."""
    floor, amplitude, rate, power = parameters.unbind(-1)
    amplitude, rate, power = softplus(amplitude), softplus(rate), softplus(power)
    law = floor + amplitude * torch.clamp(t, min=1e-12) ** -torch.clamp(rate, max=3.0)
    decay = floor + amplitude * torch.exp(-rate * t)
    rise = torch.clamp(t, min=1e-12) ** torch.clamp(power, max=3.0)
    # MMF with asymptote c = floor and start a = floor + amplitude.
    mmf = ((floor + amplitude) * rate + floor * rise) / (rate + rise + 1e-12)
    return torch.where(masks[0], law, torch.where(masks[1], decay, mmf))
