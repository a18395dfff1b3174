"""Proper scores of a mixture of normals seen through a transform."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

from probscale.model.transforms import OutputTransform, log_slope

Array = NDArray[np.float64]
Normals = Sequence[tuple[float | Array, Array, Array]]
_Parts = list[tuple[Array, Array, Array]]

BREAKS = np.array([-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0])
"""Standard deviations from each component at which the integral is cut into pieces."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)
MANY = 24
"""Components from which on cuts closer than `STEP` of the narrowest deviation are merged: mixtures over
settings that are not known have a hundred, most of whose cuts fall into the same few."""

STEP = 3.0
"""Seven digits; with four deviations six."""

CHUNK = 4_000
"""Points whose integrals are held at a time."""


def mixture_log_density(transform: OutputTransform, normals: Normals, output: Array) -> Array:
    """Logarithm of the predictive density of outputs, per output unit; -inf where none is possible.

    Args:
        transform: Between output and modelled scale.
        normals: Weight, location and variance of each normal; broadcast to the shape of `output`.
        output: Outputs, user units; NaN gives NaN.
    """
    y = transform.forward(output)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [
            np.log(w) - 0.5 * ((y - m) ** 2 / v + np.log(2 * np.pi * v))
            for w, m, v in ((w, m, np.maximum(v, 1e-300)) for w, m, v in normals)
        ]
        density = np.asarray(logsumexp(np.stack(terms), axis=0)) + log_slope(transform, output)
    density = np.where(np.isfinite(y), density, -np.inf)
    return np.where(np.isnan(output), np.nan, density)


def mixture_crps(transform: OutputTransform, normals: Normals, output: Array) -> Array:
    """Continuous ranked probability score of outputs, output units; smaller is better.

    The integral of (F - 1)² over the output, by Gauss-Legendre quadrature in pieces on the modelled scale.
    Their ends follow the components, so that narrow and wide ones are both resolved: six digits or more.

    Args:
        transform: Between output and modelled scale.
        normals: Weight, location and variance of each normal; broadcast to the shape of `output`.
        output: Outputs, user units; NaN gives NaN.

    Cost: O(points × components²); of many components O(points × components).

    Source: Gneiting and Raftery 2007, eq. 20.
    """
    parts = [tuple(np.broadcast_to(x, output.shape).ravel() for x in part) for part in normals]
    flat = output.ravel()
    out = np.empty(flat.shape)
    for start in range(0, len(flat), CHUNK):
        where = slice(start, start + CHUNK)
        some = [(w[where], m[where], np.sqrt(np.maximum(v[where], 1e-300))) for w, m, v in parts]
        out[where] = _crps(transform, some, flat[where])
    return out.reshape(output.shape)


def _crps(transform: OutputTransform, parts: _Parts, output: Array) -> Array:
    """The score of a vector of outputs; `parts` hold standard deviations."""
    cuts = np.concatenate([m[:, None] + BREAKS * s[:, None] for _, m, s in parts], axis=1)
    y = transform.forward(output)
    # Outputs that the transform cannot reach lie below its floor: on the left end of the modelled scale.
    y = np.where(np.isnan(y), -np.inf, y)
    place = np.clip(y, cuts.min(axis=1), cuts.max(axis=1))
    gap = np.abs(transform.inverse(place) - output)
    if len(parts) > MANY:
        cuts = _thinned(cuts, STEP * np.min([s for _, _, s in parts], axis=0))
    cuts = np.sort(np.concatenate([cuts, place[:, None]], axis=1), axis=1)
    half, middle = 0.5 * np.diff(cuts, axis=1), 0.5 * (cuts[:, 1:] + cuts[:, :-1])
    t = middle[:, :, None] + half[:, :, None] * NODES
    below = np.zeros(t.shape)
    for weight, m, s in parts:
        below += weight[:, None, None] * ndtr((t - m[:, None, None]) / s[:, None, None])
    short = np.where(middle < place[:, None], 0.0, 1.0)[:, :, None] - below
    inside = (short**2 * _stretch(transform, t)) @ WEIGHTS
    return gap + (inside * half).sum(axis=1)


def _thinned(cuts: Array, width: Array) -> Array:
    """One of the cuts of each point in each step of a width, and the outermost two; (points, fewer cuts)."""
    cuts = np.sort(cuts, axis=1)
    step = np.floor((cuts - cuts[:, :1]) / width[:, None])
    last = np.append(np.diff(step, axis=1) > 0, np.ones((len(cuts), 1), dtype=bool), axis=1)
    last[:, 0] = True
    kept = np.sort(np.where(last, cuts, np.inf), axis=1)[:, : int(last.sum(axis=1).max())]
    return np.minimum(kept, cuts[:, -1:])


def _stretch(transform: OutputTransform, t: Array) -> Array:
    """Outputs per unit of the modelled scale; zero where outputs are held at a bound."""
    output = transform.inverse(t)
    held = ~(np.abs(transform.forward(output) - t) <= 1e-6 * (1 + np.abs(t)))
    with np.errstate(over="ignore"):
        return np.where(held, 0.0, np.exp(-log_slope(transform, output)))
