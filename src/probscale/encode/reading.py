"""Vectors of texts with gradients: what fine-tuning needs of a language model and embedding does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probscale.encode.language_models import LanguageModel

Index = NDArray[np.intp]

PORTION = 4096
"""Tokens, padding included, that pass through the network at once."""


@dataclass(frozen=True)
class Reader:
    """A language model and the texts it is to be tuned on.

    Attributes:
        model: The model; its network carries what is trained.
        windows: Token ids of each text, in consecutive windows.
        portion: Tokens, padding included, that pass at once; changes memory and speed only.
    """

    model: LanguageModel
    windows: Sequence[Sequence[Sequence[int]]]
    portion: int = PORTION

    @property
    def trained(self) -> list[Any]:
        """Parameters that are trained."""
        return [p for p in self.model.network.parameters() if p.requires_grad]

    def vectors(self, index: Index) -> NDArray[np.float64]:
        """Vectors of some texts, (texts, dim): those of `LanguageModel.embed`, up to rounding."""
        with torch.no_grad():
            parts = list(self._portions(index))
            found = torch.cat([self._read(index[part]) for part in parts])
        out = np.empty(found.shape)
        out[np.concatenate(parts)] = found.cpu().numpy()
        return out

    def backward(self, index: Index, loss: Callable[[Tensor], Tensor]) -> None:
        """Add up the gradients of a loss of the vectors of some texts, in the memory of one portion.

        Args:
            index: Positions of the texts.
            loss: From their vectors, (texts, dim), to a number.

        Source: Gao et al. 2021, Scaling deep contrastive learning batch size, section 3.
        """
        parts = list(self._portions(index))
        if len(parts) == 1:
            order = torch.from_numpy(np.argsort(parts[0]))
            loss(self._read(index[parts[0]])[order]).backward()
            return
        with torch.no_grad():
            found = torch.cat([self._read(index[part]) for part in parts])
        order = torch.from_numpy(np.argsort(np.concatenate(parts)))
        leaf = found.requires_grad_()
        loss(leaf[order]).backward()
        assert leaf.grad is not None
        for part, gradient in zip(parts, leaf.grad.split([len(part) for part in parts]), strict=True):
            (self._read(index[part]) * gradient).sum().backward()

    def _read(self, index: Index) -> Tensor:
        flat = [window for i in index for window in self.windows[i]]
        if not flat:
            return torch.zeros(len(index), self.model.dim, device=self.model.spec.device)
        pooled = self.model.pooled(flat)
        owner = np.repeat(np.arange(len(index)), [len(self.windows[i]) for i in index])
        place = torch.from_numpy(owner).to(pooled.device)
        length = torch.tensor([len(window) for window in flat]).to(pooled)
        total = pooled.new_zeros(len(index), pooled.shape[1]).index_add(0, place, pooled * length[:, None])
        tokens = length.new_zeros(len(index)).index_add(0, place, length).clamp_min(1.0)
        mean = total / tokens[:, None]
        return torch.nn.functional.normalize(mean, dim=1) if self.model.spec.unit_norm else mean

    def _portions(self, index: Index) -> Iterator[Index]:
        """Positions within `index` in parts of at most `portion` tokens, longest texts first."""
        tokens = np.array([max(map(len, self.windows[i]), default=1) * len(self.windows[i]) for i in index])
        order = np.argsort(-tokens, kind="stable")
        start = 0
        while start < len(order):
            size = max(1, self.portion // max(1, int(tokens[order[start]])))
            yield order[start : start + size]
            start += size
