"""Short digests: what a file may be compared by with what is given now."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd


def short_digest(text: str) -> str:
    """Sixteen hexadecimal digits that differ where texts do.

    >>> short_digest("pool")
    '27cac5503836765c'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def curves_digest(configs: pd.DataFrame, *curves: np.ndarray) -> str:
    """Sixteen hexadecimal digits that differ where configurations or arrays over them do."""
    digest = hashlib.sha256(configs.to_json(orient="split", double_precision=15).encode())
    for values in curves:
        digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return digest.hexdigest()[:16]
