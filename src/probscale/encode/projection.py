"""Centred principal components of embeddings.

Cosine similarities between serialized configurations are all above 0.9: what tells them apart is what is
left after the mean, and it lives in few dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ShapeError

# Embeddings are float32 at heart: below this fraction of the first singular value there is only rounding.
_RELATIVE_FLOOR = 1e-6


@dataclass(frozen=True)
class Projection:
    """A centred, scaled, linear map from embeddings to few dimensions.

    Attributes:
        mean: Weighted mean of the embeddings it was made from, shape (dim,).
        components: Orthonormal rows, then zero rows where the embeddings span fewer dimensions; shape (rank,
            dim).
        scale: Factor that brings the root mean square norm of the projected embeddings to one.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    scale: float

    @property
    def span(self) -> int:
        """Number of components that are not zero."""
        return int(np.count_nonzero(np.any(self.components != 0, axis=1)))

    def apply(self, new: ArrayLike) -> NDArray[np.float64]:
        """Coordinates of embeddings, shape (n, rank)."""
        return (self._checked(new) - self.mean) @ self.components.T * self.scale

    def novelty(self, new: ArrayLike) -> NDArray[np.float64]:
        """Distance of embeddings from the plane of the projection, in its units, shape (n,).

        Two texts with equal coordinates are only as similar as their novelty is small.
        """
        centred = self._checked(new) - self.mean
        return np.linalg.norm(centred - centred @ self.components.T @ self.components, axis=1) * self.scale

    def _checked(self, new: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(new, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.mean):
            raise ShapeError(
                f"embeddings have shape {array.shape}; this projection takes (n, {len(self.mean)})",
                shape=array.shape,
            )
        return array


def center_project(embeddings: ArrayLike, rank: int, *, weights: ArrayLike | None = None) -> Projection:
    """Centred principal components with unit root mean square norm and fixed signs.

    Args:
        embeddings: One row per text, shape (n, dim).
        rank: Dimensions to keep. Where the embeddings span fewer, the rest of the coordinates are zero.
        weights: Weight of each row, such as how many runs share its text, shape (n,); default: equal.

    Returns:
        The projection. The largest entry of each component is positive.

    Raises:
        ShapeError: if `embeddings` is not a finite matrix with rows, `rank` is below one, or `weights` do
            not match or are not positive in sum.

    Cost: O(n dim min(n, dim)).
    """
    array, share = _checked(embeddings, rank, weights)
    mean = share @ array
    centred = array - mean
    # Rounding of the mean alone leaves identical rows slightly apart.
    floor = max(_RELATIVE_FLOOR * float(np.abs(array).max(initial=0.0)), np.finfo(float).tiny)
    _, singular, rows = np.linalg.svd(np.sqrt(share)[:, None] * centred, full_matrices=False)
    kept = min(rank, int(np.count_nonzero(singular > max(floor, _RELATIVE_FLOOR * singular[0]))))
    components = np.zeros((rank, array.shape[1]))
    components[:kept] = rows[:kept] * _signs(rows[:kept])[:, None]
    size = float(np.sqrt(np.sum(singular[:kept] ** 2)))
    return Projection(mean=mean, components=components, scale=1.0 / size if kept else 1.0)


def _signs(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.argmax(np.abs(rows), axis=1)
    return np.where(rows[np.arange(len(rows)), largest] < 0, -1.0, 1.0)


def _checked(
    embeddings: ArrayLike, rank: int, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    array = np.asarray(embeddings, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
        raise ShapeError(
            f"embeddings have shape {array.shape}; a finite (n, dim) matrix with rows is needed",
            shape=array.shape,
        )
    if rank < 1:
        raise ShapeError(f"rank is {rank}; it must be at least 1", rank=rank)
    share = np.ones(len(array)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(array),) or not np.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
        raise ShapeError(
            f"weights have shape {share.shape}; {len(array)} numbers are needed, "
            "none negative and not all zero",
            shape=share.shape,
        )
    return array, share / share.sum()
