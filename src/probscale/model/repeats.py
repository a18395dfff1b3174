"""What repeated data is worth, and what it costs: effective tokens and overfitting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class UniqueData:
    """Where rows tell how much of the data is unique.

    Attributes:
        column: Kernel coordinate that holds a standardised logarithm: of the unique data, or of epochs.
        centre: Logarithm at coordinate zero; of unique data in units of the axis.
        spread: Logarithm per unit of the coordinate.
        epochs: Whether the column counts passes over the data.
    """

    column: int
    centre: float
    spread: float
    epochs: bool = False

    def log(self, x: Tensor, progress: Tensor) -> Tensor:
        """Logarithm of the unique data that each row has seen, (rows,).

        Args:
            x: Kernel coordinates, (rows, columns).
            progress: Logarithm of the axis value, (rows,).
        """
        told = self.centre + self.spread * x[:, self.column]
        return torch.minimum(progress - told if self.epochs else told, progress)


REPEATS = {
    "R_D": (15.4, 1.5),
    "P": (0.2, 1.0),
    "P_most": (3.0, 0.4),
    "kappa": (1.2, 0.5),
    "delta": (1.6, 0.5),
    "R_P": (100.0, 1.0),
}
"""Medians of what describes repeats, and standard deviations of its logarithm.

`R_D` as published; the others as the runs of Muennighoff et al. below 1.05e9 parameters suggest.
"""

LOSSES = ("P", "P_most")
"""Those in units of a typical loss."""

LATE = 30.0
"""Largest logarithm of a share of the way to overfitting, either side."""

BEND = 3.0
"""How sharply loss turns towards its most."""

NEVER = 1e-9
"""Repeats that count as none."""

MOST_REPEATS = 30.0
"""Largest logarithm of passes over the data: beyond it numbers would overflow."""


def repeat_priors(typical: float) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of the logarithm of each parameter, given a typical loss."""
    return {
        name: (math.log(usual * (typical if name in LOSSES else 1.0)), std)
        for name, (usual, std) in REPEATS.items()
    }


def repeats(unique: Tensor, progress: Tensor) -> Tensor:
    """How often data was seen again: tokens over unique ones, less one, from logarithms, (rows,)."""
    return torch.expm1((progress - unique).clamp(0.0, MOST_REPEATS))


def effective(raw: Mapping[str, Tensor], unique: Tensor, progress: Tensor) -> Tensor:
    """Logarithm of the effective tokens U + U·R_D·(1 − e^(−R/R_D)), (rows,).

    Source: Muennighoff et al. 2023, eq. 5.
    """
    reach = raw["R_D"]
    return torch.minimum(unique, progress) + torch.log1p(
        -reach * torch.expm1(-repeats(unique, progress) / reach)
    )


def overfitting(raw: Mapping[str, Tensor], size: Tensor, unique: Tensor, progress: Tensor) -> Tensor:
    """Loss that repeats add, (rows,): g·(1 − e^(−(R/R_P)^delta)), g = P·(N/U)^kappa bent to be below P_most.

    The data are memorised: more so the more parameters there are per unique token, and the longer the
    training; neither goes on for ever.

    Source: Lovelace et al. 2026, arXiv 2605.01640, power laws in both; here with an end to each.
    """
    seen = torch.log(repeats(unique, progress).clamp_min(NEVER) / raw["R_P"])
    share = -torch.expm1(-torch.exp((raw["delta"] * seen).clamp(-LATE, LATE)))
    whole, most = torch.log(raw["P"]) + raw["kappa"] * (size - unique), torch.log(raw["P_most"])
    return torch.exp(most - softplus(BEND * (most - whole)) / BEND) * share
