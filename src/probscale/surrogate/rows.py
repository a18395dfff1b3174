"""From an encoder's arrays to what the model reads: the layout of columns, and rows as tensors."""

from __future__ import annotations

import numpy as np
import torch

from probscale.encode.encoder import CurveSet, Encoder
from probscale.model.layout import LabelBlock, Layout
from probscale.model.means import Rows
from probscale.model.transforms import Affine, LogOdds, LogScore, OutputTransform


def layout_of(encoder: Encoder, transform: OutputTransform | None = None) -> Layout:
    """Column layout of an encoder's rows, in the model's terms."""
    labels = tuple(
        LabelBlock(item.name, item.code, item.text, item.level, item.lone, item.mirrored)
        for item in encoder.labels
    )
    return Layout(
        encoder.continuous,
        encoder.sizes,
        encoder.progress,
        labels,
        encoder.run_column,
        encoder.axis.curves and transform is not None and starts_at_nothing(transform),
        sharing=sharing_of(encoder, labels),
        untold=encoder.features.untold,
    )


def starts_at_nothing(transform: OutputTransform) -> bool:
    """Whether an output is a score whose curves begin together, and come apart as it rises.

    Under the logarithm of what a score lacks of the best, curves are left to be alike all along: growth there
    changed squared errors by 1 % either way (`benchmarks/results/nanogpt_zero_shot.md`).
    """
    if isinstance(transform, Affine):
        return transform.upper is not None
    return isinstance(transform, LogScore | LogOdds)


def sharing_of(encoder: Encoder, labels: tuple[LabelBlock, ...]) -> tuple[tuple[LabelBlock, LabelBlock], ...]:
    """Blocks of the pairs of levels that share their values."""
    blocks = {block.name: block for block in labels}
    return tuple((blocks[one], blocks[other]) for one, other in encoder.features.sharing)


def rows_of(curves: CurveSet, size_default: float) -> Rows:
    """Tensors of encoded points; an unknown model size takes the default."""
    size = np.where(np.isfinite(curves.size), curves.size, size_default)
    return Rows(
        torch.from_numpy(curves.x.copy()), torch.from_numpy(size), torch.from_numpy(curves.progress.copy())
    )
