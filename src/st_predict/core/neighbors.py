"""Where spots lie: neighbors by index, pieces of sections, places on the array; never quadratic in spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_TIED = 1e-5  # of a distance: more than turning an array changes it
_MOST_TIED = 24  # so many of one distance has an array at most, up to hundreds of neighbors


class Nearest(NamedTuple):
    """The nearest spots of every spot. ``n`` spots, ``K'`` columns: K, or more where several are equally far."""

    rows: NDArray[np.int64]
    """Their rows ``(n, K')``, nearest first; where a spot has fewer than K', its own follows."""
    weights: NDArray[np.float32] | None
    """How much each counts ``(n, K')``, K in all; columns that are only filled up count 0. ``None``: each counts 1."""


def nearest_spots(centers_px: NDArray[np.float64], k: int, arrays: NDArray[np.int64] | None = None) -> Nearest:
    """The ``k`` nearest other spots of every spot, whichever way the section lies.

    Where several are equally far and not all of them are among the ``k``, each counts the same part of what is left:
    of the six spots at the second distance of a hexagonal array each counts a third where ``k`` is 8.

    Parameters
    ----------
    centers_px
        Spot centers ``(n_spots, 2)``.
    k
        How many neighbors; needs more than ``k`` spots.
    arrays
        Which of several interleaved arrays, or sections, each spot belongs to ``(n_spots,)``; only spots of its own are
        its neighbors, and each array needs more than ``k``. ``None``: one array.

    Returns
    -------
    Rows and weights. Spots at the same place are neighbors of each other, a spot never of itself. Of more than 24 that
    are equally far, as spots that share one place are, 24 count beside the ``k``.
    """
    from scipy.spatial import cKDTree

    if arrays is not None:
        return _of_each(centers_px, k, arrays)
    n = len(centers_px)
    if n <= k:
        msg = f"{k} neighbors asked of {n} spots"
        raise ValueError(msg)
    if k == 0:
        return Nearest(np.empty((n, 0), np.int64), None)
    itself = np.arange(n)[:, None]
    distance, rows = cKDTree(centers_px).query(centers_px, k=min(k + 1 + _MOST_TIED, n))
    distance[rows == itself] = np.inf
    # The last is the spot itself, or the farthest where so many share its place that it is not among them.
    order = np.argsort(distance, axis=1, kind="stable")[:, :-1]
    distance, rows = (np.take_along_axis(values, order, axis=1) for values in (distance, rows))
    last = distance[:, k - 1 : k]
    apart = last * _TIED + 2 * _rounded_px(centers_px)
    nearer, tied = distance < last - apart, np.abs(distance - last) <= apart
    share = (k - nearer.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    if (share == 1).all():
        return Nearest(rows[:, :k].astype(np.int64), None)
    width = int((nearer | tied).sum(axis=1).max())
    weights = (nearer + tied * share)[:, :width].astype(np.float32)
    return Nearest(np.where(weights > 0, rows[:, :width], itself), weights)


def _rounded_px(centers_px: NDArray[np.float64]) -> float:
    """By how much places were rounded that were kept in single precision, in px; 0 for all others, and for whole px."""
    single = centers_px.astype(np.float32)
    if (single != centers_px).any() or (single == single.round()).all():
        return 0.0
    return float(np.spacing(np.abs(single).max()))


def _of_each(centers_px: NDArray[np.float64], k: int, arrays: NDArray[np.int64]) -> Nearest:
    """See :func:`nearest_spots`; arrays of which one needs fewer columns are filled up."""
    parts = [(own, nearest_spots(centers_px[own], k)) for own in _rows_of_each(arrays)]
    width = max(found.rows.shape[1] for _, found in parts)
    rows = np.repeat(np.arange(len(centers_px))[:, None], width, axis=1)
    weights = np.zeros(rows.shape, np.float32)
    for own, found in parts:
        columns = slice(found.rows.shape[1])
        rows[own, columns] = own[found.rows]
        weights[own, columns] = 1.0 if found.weights is None else found.weights
    return Nearest(rows, None if all(found.weights is None for _, found in parts) else weights)


def _rows_of_each(arrays: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(arrays, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(arrays[order])) + 1)


def array_places(centers_px: NDArray[np.float64], arrays: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Spot centers in units of the array's pitch, from the section's upper left corner, ``(n_spots, 2)``.

    The pitch is the median distance to the nearest other spot. With ``arrays`` as in :func:`nearest_spots`, each array
    is taken by itself.
    """
    if arrays is not None:
        found = np.empty_like(centers_px)
        for rows in _rows_of_each(arrays):
            found[rows] = array_places(centers_px[rows])
        return found
    return (centers_px - centers_px.min(axis=0)) / (pitch_px(centers_px) or 1.0)


def pitch_px(centers_px: NDArray[np.float64]) -> float:
    """Median distance of a spot to the nearest other one, in px; 0 where there is none."""
    from scipy.spatial import cKDTree

    if len(centers_px) < 2:
        return 0.0
    nearest = cKDTree(centers_px).query(centers_px, k=2)[0][:, 1]
    return float(np.median(nearest[nearest > 0])) if (nearest > 0).any() else 0.0


def spatial_blocks(
    places: NDArray[np.floating[Any]], sections: NDArray[np.int64], block_size: int
) -> list[NDArray[np.int64]]:
    """Cut each section across its longer side, again and again, into blocks of nearly one size, ``block_size`` at most."""
    if block_size == 1:
        return list(np.arange(len(places))[:, None])
    waiting = [np.flatnonzero(sections == section) for section in np.unique(sections)]
    blocks = []
    while waiting:
        rows = waiting.pop()
        n_blocks = -(-len(rows) // block_size)
        if n_blocks <= 1:
            blocks.append(rows)
            continue
        axis = np.ptp(places[rows], axis=0).argmax()
        ordered = rows[np.argsort(places[rows, axis], kind="stable")]
        middle = round(len(rows) * (n_blocks // 2) / n_blocks)
        waiting += [ordered[:middle], ordered[middle:]]
    return blocks
