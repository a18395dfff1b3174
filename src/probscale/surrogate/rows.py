"""From an encoder's arrays to what the model reads: the layout of columns, and rows as tensors."""

from __future__ import annotations

import numpy as np
import torch

from probscale.encode.encoder import CurveSet, Encoder
from probscale.model.layout import LabelBlock, Layout
from probscale.model.means import Rows
from probscale.model.transforms import LogOdds, LogScore, OutputTransform


def layout_of(encoder: Encoder, transform: OutputTransform | None = None) -> Layout:
    """Column layout of an encoder's rows, in the model's terms."""
    labels = tuple(
        LabelBlock(item.name, item.code, item.text, item.level, item.lone, item.mirrored)
        for item in encoder.labels
    )
    growth = isinstance(transform, LogScore | LogOdds) and encoder.axis.curves
    return Layout(
        encoder.continuous,
        encoder.sizes,
        encoder.progress,
        labels,
        encoder.run_column,
        growth,
        sharing=sharing_of(encoder, labels),
    )


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
