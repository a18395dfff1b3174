"""A lower Cholesky factor that grows by rows without being copied."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_APART = 64
"""Rows up to which what was added stays apart from the first block."""


@dataclass(frozen=True)
class Triangle:
    """The factor [[lead, 0], [below, corner]].

    Posteriors after a few more observations share the first block with the one before: neither time nor
    memory is spent on a copy of it.

    Attributes:
        lead: Lower triangle of the first observations, (first, first).
        below: What later ones have in common with these, (later, first).
        corner: Lower triangle of what is theirs, (later, later).
    """

    lead: Tensor
    below: Tensor
    corner: Tensor

    @classmethod
    def whole(cls, factor: Tensor) -> Triangle:
        """A factor in one block."""
        none = factor.new_zeros(0, len(factor))
        return cls(factor, none, none.new_zeros(0, 0))

    def __len__(self) -> int:
        return len(self.lead) + len(self.corner)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.lead.device

    def to(self, device: torch.device) -> Triangle:
        """The same factor on a device."""
        return Triangle(self.lead.to(device), self.below.to(device), self.corner.to(device))

    def dense(self) -> Tensor:
        """The factor in one piece, (rows, rows)."""
        if not len(self.corner):
            return self.lead
        first = len(self.lead)
        out = self.lead.new_zeros(len(self), len(self))
        out[:first, :first] = self.lead
        out[first:, :first] = self.below
        out[first:, first:] = self.corner
        return out

    def grown(self, left: Tensor, block: Tensor) -> Triangle:
        """The factor of more rows.

        Args:
            left: What the new rows have in common with those before, whitened, (new, rows).
            block: Lower triangle of what is theirs, (new, new).

        Cost: O(new × rows), and a copy of everything once in `MOST_APART` rows.
        """
        first = len(self.lead)
        corner = block.new_zeros(len(self.corner) + len(block), len(self.corner) + len(block))
        corner[: len(self.corner), : len(self.corner)] = self.corner
        corner[len(self.corner) :, : len(self.corner)] = left[:, first:]
        corner[len(self.corner) :, len(self.corner) :] = block
        found = Triangle(self.lead, torch.cat([self.below, left[:, :first]]), corner)
        return found if len(corner) <= MOST_APART else Triangle.whole(found.dense())

    def forward(self, right: Tensor) -> Tensor:
        """L⁻¹ right, (rows, columns); L the factor."""
        if not len(self.corner):
            return torch.linalg.solve_triangular(self.lead, right, upper=False)
        top = torch.linalg.solve_triangular(self.lead, right[: len(self.lead)], upper=False)
        left = right[len(self.lead) :] - self.below @ top
        return torch.cat([top, torch.linalg.solve_triangular(self.corner, left, upper=False)])

    def backward(self, right: Tensor) -> Tensor:
        """L⁻ᵀ right, (rows, columns)."""
        if not len(self.corner):
            return torch.linalg.solve_triangular(self.lead.mT, right, upper=True)
        bottom = torch.linalg.solve_triangular(self.corner.mT, right[len(self.lead) :], upper=True)
        left = right[: len(self.lead)] - self.below.mT @ bottom
        return torch.cat([torch.linalg.solve_triangular(self.lead.mT, left, upper=True), bottom])

    def solve(self, right: Tensor) -> Tensor:
        """(L Lᵀ)⁻¹ right, (rows, columns)."""
        return self.backward(self.forward(right))

    def inverse(self) -> Tensor:
        """(L Lᵀ)⁻¹, (rows, rows)."""
        return torch.cholesky_inverse(self.dense())

    def log_volume(self) -> Tensor:
        """Logarithm of the determinant of L."""
        return self.lead.diagonal().log().sum() + self.corner.diagonal().log().sum()
