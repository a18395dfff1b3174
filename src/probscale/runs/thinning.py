"""A few of many positions, evenly spaced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly(count: int, most: int) -> NDArray[np.intp]:
    """At most so many of the positions 0 to `count` - 1, evenly spaced, the first and the last among them.

    Args:
        count: Number of positions; none is fine.
        most: How many to keep; with one, the first stays.
    """
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.intp))
