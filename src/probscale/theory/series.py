"""Truncated Taylor series along the first axis of an array; coefficient k at index k."""

from __future__ import annotations

import numpy as np

from probscale.theory.spectrum import FloatArray


def multiply(left: FloatArray, right: FloatArray) -> FloatArray:
    """Product of two series, truncated."""
    out = np.zeros_like(left)
    for k in range(len(left)):
        out[k:] += left[k] * right[: len(left) - k]
    return out


def divide(left: FloatArray, right: FloatArray) -> FloatArray:
    """Quotient of two series; the leading coefficient of `right` must not vanish."""
    out = np.zeros_like(left)
    for k in range(len(left)):
        out[k] = (left[k] - (right[1 : k + 1] * out[:k][::-1]).sum(axis=0)) / right[0]
    return out


def compose(outer: FloatArray, inner: FloatArray) -> FloatArray:
    """`outer` evaluated at `inner`, whose constant term is zero (Horner)."""
    out = np.zeros_like(outer)
    for coefficient in outer[::-1]:
        out = multiply(out, inner)
        out[0] += coefficient
    return out


def revert(series: FloatArray) -> FloatArray:
    """Inverse h of y = series(h) − series[0]: coefficients of h in powers of y."""
    shifted = series.copy()
    shifted[0] = 0.0
    out = np.zeros_like(series)
    out[1] = 1 / series[1]
    for k in range(2, len(series)):
        # Every coefficient below k already cancels, so the residual at k fixes the next one.
        out[k] = -compose(shifted, out)[k] / series[1]
    return out
