"""Settings of a fit that users rarely touch."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import torch

from probscale.errors import ConfigError

TRANSFORMS = ("auto", "log", "score", "linear")


@dataclass(frozen=True)
class FitOptions:
    """Settings of a fit that users rarely touch.

    Attributes:
        means: Mean functions, "law", "falling" (a product of powers) or "plane"; several are mixed by how
            well each foretells what was left out. By default a law; for losses that span decades a product of
            powers where it foretells better what was left out; and for curves over a grid of few coordinates
            a plane from which the law takes over along the axis.
        subset: Most points on which parameters are fitted.
        refined: Most points on which parameters that were fitted on a subset are refined, where points are
            finals or scores of curves.
        most: Most points that exact inference holds; longer logs are thinned.
        iterations: Optimiser iterations of the first pass.
        rounds: Reweighting rounds against outliers.
        transform: "auto", "log" or "linear".
        spread: Prior standard deviation of the kernel, in units of what the mean leaves over.
        device: Where the algebra runs.
        restarts: Starting points of a fit by the exact engine; the best end is taken.
        executor: Runs restarts side by side (`concurrent.futures`, or alike); the result does not depend
            on it.
        average: Mix laws of several floors where a log of finals is short, and a plane with a law for curves
            over a small grid; logs of several outputs, whose processes are joined one by one, do without.
        hurried: Stop where a few iterations have gained little, for decisions that wait for the fit.
    """

    means: tuple[str, ...] = ()
    subset: int = 450
    refined: int = 1_000
    most: int = 3_000
    iterations: int = 30
    rounds: int = 4
    transform: str = "auto"
    spread: float = 1.5
    device: str = "cpu"
    restarts: int = 1
    executor: Executor | None = None
    average: bool = True
    hurried: bool = False

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            accepted = ", ".join(map(repr, TRANSFORMS))
            raise ConfigError(
                f"transform is {self.transform!r}; choose one of {accepted}", transform=self.transform
            )
        if self.restarts < 1:
            raise ConfigError(f"restarts is {self.restarts}; give at least 1", restarts=self.restarts)

    @property
    def place(self) -> torch.device:
        """The device as PyTorch names it."""
        return torch.device(self.device)
