"""Where each ingredient sits in the rows that kernels see."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ANOVA = 4
"""Most configuration coordinates whose interactions on curves are modelled one by one."""


@dataclass(frozen=True)
class LabelBlock:
    """Columns of one label: its code, then the coordinates of its text.

    Attributes:
        name: Field the label comes from.
        code: Column of the code; two rows carry the same label exactly when their codes are equal.
        text: Columns of the projected embedding, empty without an embedder.
        level: Whether the field is a declared level of the task hierarchy.
        lone: Code of the value that all observations share, so that they cannot tell how values differ; None
            where they have several.
        mirrored: Whether it stands for the values of two levels in either order, which share an offset.
    """

    name: str
    code: int
    text: tuple[int, ...] = ()
    level: bool = False
    lone: float | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class Layout:
    """Column layout of a row: one observed or asked point of one run.

    Attributes:
        continuous: Names of the leading columns, all standardised numbers.
        sizes: Which of them measure scale (model size, axis, horizon): other coordinates may shift with
            these.
        axis: Which of them measure progress; empty when every run has a single point.
        labels: Blocks of the categorical fields.
        run: Column of the run's code, or None when every run has a single point.
        growth: Whether deviations of tasks and runs may grow along the axis: scores all start at nothing.
        sharing: Pairs of levels that share their values, such as source and target languages.
        untold: Continuous columns that mark values that were not given, zero where they were.
        wanes: How surely deviations wane along the axis, 0 to 1: those of few runs of a loss do.
    """

    continuous: tuple[str, ...]
    sizes: tuple[int, ...] = ()
    axis: tuple[int, ...] = ()
    labels: tuple[LabelBlock, ...] = ()
    run: int | None = None
    growth: bool = False
    wanes: float = 0.0
    untold: tuple[int, ...] = ()
    sharing: tuple[tuple[LabelBlock, LabelBlock], ...] = ()

    @property
    def others(self) -> tuple[int, ...]:
        """Continuous columns that do not measure scale."""
        return tuple(i for i in range(len(self.continuous)) if i not in self.sizes)

    @property
    def grid(self) -> tuple[int, ...]:
        """Continuous columns that are declared as levels."""
        names = {block.name for block in self.labels if block.level}
        return tuple(i for i, name in enumerate(self.continuous) if name in names)

    @property
    def has_few_coordinates(self) -> bool:
        """Whether rows are curves over so few coordinates that each subset gets an effect of its own."""
        return bool(self.axis) and 2 <= len(self.continuous) - len(self.axis) <= MOST_ANOVA

    @property
    def is_small_grid(self) -> bool:
        """Whether rows are curves over a grid of few coordinates, two of them declared as numeric levels."""
        return self.has_few_coordinates and len(self.grid) >= 2
