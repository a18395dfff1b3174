"""Configurations move with the sizes: what suits a small model suits a large one elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probscale.model.layout import Layout
from probscale.model.row_cache import squared_differences


class SizeShift(torch.nn.Module):
    """Coordinates of a configuration, moved in proportion to the sizes.

    The best learning rate drifts with model size and data: along the drift two configurations are alike.
    Learning the drift makes what was seen at small sizes say something about large ones.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        shape = (len(layout.sizes), len(layout.others))
        self.slope = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Shifted continuous coordinates, (rows, continuous)."""
        layout = self.layout
        z = x[:, : len(layout.continuous)]
        if self.slope.numel() == 0:
            return z
        every = self.slope.new_zeros(len(layout.sizes), z.shape[1])
        every[:, list(layout.others)] = self.slope
        return z + z[:, list(layout.sizes)] @ every

    def squared(self, x1: Tensor, x2: Tensor, columns: Sequence[int]) -> Tensor | None:
        """Squared differences of rows that nothing shifts; see `row_cache.squared_differences`."""
        return None if self.slope.numel() else squared_differences(x1, x2, tuple(columns))
