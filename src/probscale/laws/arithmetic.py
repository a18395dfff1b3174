"""Elementary functions that pass numpy arrays and torch tensors alike, so that a law is written once.

Nothing here imports torch: a tensor brings the functions as methods, an array does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["exp", "log", "log1p", "minimum", "softplus"]


def exp(x: Any) -> Any:
    """Exponential, elementwise."""
    return x.exp() if hasattr(x, "exp") else np.exp(x)


def log(x: Any) -> Any:
    """Natural logarithm, elementwise."""
    return x.log() if hasattr(x, "log") else np.log(x)


def log1p(x: Any) -> Any:
    """Logarithm of one plus `x`, elementwise."""
    return x.log1p() if hasattr(x, "log1p") else np.log1p(x)


def minimum(x: Any, y: Any) -> Any:
    """Smaller of two broadcastable arrays; both must be finite."""
    below = x < y
    return x * below + y * (1 - 1 * below)


def softplus(x: Any) -> Any:
    """`log(1 + exp(x))` without overflow."""
    return (x + abs(x)) / 2 + log1p(exp(-abs(x)))
