"""The boundary of the laws: whatever the caller passes becomes checked float64 arrays, or a LawError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.errors import LawError

__all__ = ["check_enough", "read_array", "read_inputs"]

Array = NDArray[np.float64]


def read_array(name: str, value: Any, positive: bool = True) -> Array:
    """Finite float64 array from anything array-like.

    Raises:
        LawError: naming the first entry that is not a number, not finite, or not positive.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LawError(
            f"{name} must be numbers, got {type(value).__name__} that does not convert; pass an array "
            f"of floats",
            input=name,
        ) from error
    bad = ~np.isfinite(array) | (array <= 0 if positive else False)
    if bad.any():
        where = int(np.flatnonzero(bad.ravel())[0])
        found = array.ravel()[where]
        accepted = "positive, finite numbers" if positive else "finite numbers"
        raise LawError(
            f"{name} must be {accepted}; found {found:g} at position {where} ({int(bad.sum())} of "
            f"{array.size} are "
            "not accepted); drop or correct those rows",
            input=name,
            position=where,
            value=float(found),
        )
    return array


def read_inputs(law: str, names: Sequence[str], raw: Mapping[str, Any]) -> dict[str, Array]:
    """Inputs of a law by keyword, checked and broadcast to one shape.

    Raises:
        LawError: if one is missing or unknown, not positive, or of another shape.
    """
    check_keywords(law, names, raw)
    arrays = {name: read_array(name, raw[name]) for name in names}
    try:
        broadcast = np.broadcast_arrays(*arrays.values())
    except ValueError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise LawError(
            f"the inputs of law {law!r} must have one shape, got {shapes}; pass one entry per point", law=law
        ) from error
    return dict(zip(names, broadcast, strict=True))


def check_keywords(law: str, names: Sequence[str], raw: Mapping[str, Any]) -> None:
    """Refuse a missing or an unknown keyword, naming what the law takes."""
    wanted = ", ".join(f"{name}=" for name in names)
    missing = [name for name in names if raw.get(name) is None]
    unknown = [name for name in raw if name not in names]
    if missing:
        given = f" (given beside: {', '.join(unknown)})" if unknown else ""
        raise LawError(
            f"law {law!r} needs {wanted}; missing: {', '.join(missing)}{given}; pass one array per keyword",
            law=law,
            missing=tuple(missing),
        )
    if unknown:
        raise LawError(
            f"law {law!r} does not take {', '.join(unknown)}; it takes {wanted.rstrip('=')}; drop the others",
            law=law,
            unknown=tuple(unknown),
        )


def check_enough(
    law: str, inputs: Mapping[str, Array], n: int, free: Sequence[str], vary: Sequence[str]
) -> None:
    """Refuse data that cannot identify the law: too few points, or an input that never changes."""
    if n < len(free):
        raise LawError(
            f"law {law!r} has {len(free)} free parameters ({', '.join(free)}) but only {n} points were "
            f"given; "
            f"pass at least {len(free)} points, or fix some with fixed={{name: value}}",
            law=law,
            points=n,
            parameters=len(free),
        )
    for name in vary:
        if n > 1 and np.ptp(inputs[name]) <= 1e-12 * np.abs(inputs[name]).max():
            raise LawError(
                f"{name} is {inputs[name].ravel()[0]:g} at every point, so law {law!r} cannot tell its "
                f"effect from a "
                f"constant; add runs at another {name}, or fit a law that does not use it",
                law=law,
                input=name,
            )
