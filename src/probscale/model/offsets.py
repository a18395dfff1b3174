"""What runs of a model size have in common beyond a smooth function of size: shape, tuning, data order."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from probscale.model.gp import CurveProcess
from probscale.model.terms import LogParameterKernel


class SizeOffset(LogParameterKernel):
    """One offset per model size, independent between sizes.

    A law and a smooth kernel take the runs of a size for as many witnesses of where the next size will be.
    They are one: what a size owes to its depth, its width or its learning rates, all its runs share.

    Args:
        column: Column of rows that holds the size.
        alike: Distance up to which two sizes have anything in common.
        scale: Standard deviation of the offsets, modelled scale.
    """

    def __init__(self, column: int, *, alike: float, scale: float = 0.01) -> None:
        super().__init__()
        self.column, self.alike = column, alike
        self.declare("scale", math.log(scale), math.log(scale), 1.0)

    @property
    def std(self) -> float:
        """Standard deviation of the offsets."""
        return math.exp(float(self.get_parameter("scale").detach()))

    def described(self) -> dict[str, Any]:
        """What builds it again, but for its scale."""
        return {"column": self.column, "alike": self.alike}

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Variance of the offset, fading with the distance of sizes: a triangle is a covariance."""
        variance = torch.exp(2 * self.get_parameter("scale"))
        if diag:
            return variance.expand(x1.shape[0])
        apart = (x1[:, self.column, None] - x2[None, :, self.column]).abs()
        return variance * (1 - apart / self.alike).clamp_min(0.0)


def with_offsets(process: CurveProcess, offset: SizeOffset) -> CurveProcess:
    """The process with an offset per model size; the given one, without offsets, is left as it is."""
    changed = copy.deepcopy(process)
    changed.kernel.terms.append(offset)
    return changed


def offset_of(process: CurveProcess) -> SizeOffset | None:
    """The offsets of a process; None where it has none."""
    found = [term for term in process.kernel.terms if isinstance(term, SizeOffset)]
    return found[0] if found else None
