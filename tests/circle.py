"""An embedder whose texts lie on a circle: which values are alike is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probscale.encode.embedders import Embedder


@dataclass(frozen=True)
class Circle(Embedder):
    """Texts that end in a number lie on a circle: neighbours next to each other, or opposite ones."""

    count: int
    crossed: bool = False

    @property
    def identity(self) -> str:
        """Name of the order."""
        return f"circle of {self.count}, crossed {self.crossed}"

    @property
    def dim(self) -> int:
        """Coordinates in the plane."""
        return 2

    @property
    def places(self) -> np.ndarray:
        """Angle of each number."""
        return np.linspace(0, 2 * np.pi, self.count + 1)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Points of the circle."""
        number = np.array([int(text.split()[-1]) for text in texts])
        angle = self.places[2 * number % (self.count + 1) if self.crossed else number]
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
