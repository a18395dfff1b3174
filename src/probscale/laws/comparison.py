"""Laws side by side, judged by the scales that they did not see."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import FitError, LawError
from probscale.laws.fitting import fit_law
from probscale.laws.law import Law
from probscale.laws.registry import find_law

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_laws"]

Array = NDArray[np.float64]


def compare_laws(
    laws: Sequence[str | Law],
    *,
    hold_out: str | ArrayLike = "largest",
    share: float = 0.2,
    level: float = 0.9,
    seed: int = 0,
    delta: float = 1e-3,
    **data: Any,
) -> pd.DataFrame:
    """Fit each law without the largest scales and score it on them.

    Args:
        laws: Names or laws; all must have the same output.
        hold_out: "largest" holds out the top `share` by the first law's `scale` (compute, for laws of
            params and tokens), ties included; a boolean mask holds out the points it marks.
        share: Share of points to hold out.
        level: Level of the intervals whose coverage is reported.
        seed: Seed of the fits.
        delta: Huber threshold.
        **data: Every input that any of the laws needs, and the output.

    Returns:
        One row per law, best first: mae (output units), rmse_log and bias_log (logarithm of the output),
        coverage and n_held on the held-out points, n_fit, parameters, objective, seconds.

    Raises:
        LawError: if a law's input is missing, or too few points are left.
    """
    import pandas as pd

    chosen = [find_law(law) for law in laws]
    if not chosen:
        raise LawError(
            "no law was named; pass at least one, such as compare_laws(['chinchilla', 'kaplan'], ...)"
        )
    held = _held_out(chosen[0], hold_out, share, data)
    rows = [_score(law, held, level, data, {"seed": seed, "delta": delta}) for law in chosen]
    return pd.DataFrame(rows).sort_values("mae").set_index("law")


def _held_out(law: Law, hold_out: str | ArrayLike, share: float, data: dict[str, Any]) -> NDArray[np.bool_]:
    if isinstance(hold_out, str):
        if hold_out != "largest" or not 0 < share < 1:
            raise LawError(
                f'hold_out {hold_out!r} with share {share!r} is not known; pass "largest" with a share '
                f"in (0, 1), or a mask"
            )
        missing = [name for name in law.inputs if name not in data]
        if missing:
            raise LawError(
                f"law {law.name!r} needs {', '.join(missing)}; pass one array per keyword", missing=missing
            )
        scale = law.scale(law.prepare({name: data[name] for name in law.inputs}))
        return scale >= np.quantile(scale, 1 - share)
    mask = np.asarray(hold_out, dtype=bool).ravel()
    if mask.all() or not mask.any():
        raise LawError("the hold_out mask must mark some points and leave others; check how it was built")
    return mask


def _score(
    law: Law, held: NDArray[np.bool_], level: float, data: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    inputs = {name: data[name] for name in law.inputs if name in data}
    output = np.asarray(data.get(law.output, np.nan * held), dtype=np.float64).ravel()
    start = time.perf_counter()
    row: dict[str, Any] = {"law": law.name, "parameters": len(law.names)}
    try:
        fit = fit_law(law, **{law.output: output[~held]}, **_rows(inputs, ~held), **options)
    except FitError:
        return row | {"mae": np.inf}
    seconds = time.perf_counter() - start
    band = fit.predict(interval=level, **_rows(inputs, held))
    truth = output[held]
    error = law.link(band.mean) - law.link(truth)
    return row | {
        "mae": float(np.abs(band.mean - truth).mean()),
        "rmse_log": float(np.sqrt(np.mean(error**2))),
        "bias_log": float(np.mean(error)),
        "coverage": float(np.mean((band.lower <= truth) & (truth <= band.upper))),
        "n_fit": fit.n,
        "n_held": int(held.sum()),
        "objective": fit.objective,
        "seconds": seconds,
    }


def _rows(inputs: dict[str, Any], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """Rows of array-like inputs; one value for all points stays as it is."""
    found = {}
    for name, value in inputs.items():
        if isinstance(value, list | tuple):
            found[name] = [entry for entry, kept in zip(value, keep, strict=True) if kept]
        else:
            array = np.asarray(value)
            found[name] = value if array.ndim == 0 else array.ravel()[keep]
    return found
