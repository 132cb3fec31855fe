"""Where spots lie: neighbors by index, pieces of sections, places on the array; never quadratic in spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nearest_spots(
    centers_px: NDArray[np.float64], k: int, arrays: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The ``k`` nearest other spots of every spot, nearest first.

    Parameters
    ----------
    centers_px
        Spot centers ``(n_spots, 2)``.
    k
        How many neighbors; needs more than ``k`` spots.
    arrays
        Which of several interleaved arrays each spot belongs to ``(n_spots,)``; only spots of its own are its neighbors,
        and each array needs more than ``k``. ``None``: one array.

    Returns
    -------
    Indices ``(n_spots, k)``. Spots at the same place count as neighbors of each other, a spot never of itself.
    """
    from scipy.spatial import cKDTree

    if arrays is not None:
        found = np.empty((len(centers_px), k), np.int64)
        for rows in _rows_of_each(arrays):
            found[rows] = rows[nearest_spots(centers_px[rows], k)]
        return found
    if len(centers_px) <= k:
        msg = f"{k} neighbors asked of {len(centers_px)} spots"
        raise ValueError(msg)
    if k == 0:
        return np.empty((len(centers_px), 0), dtype=np.int64)
    # On an array distances tie. Ties are broken by place, so that the order of the rows does not matter; a shell of a
    # hexagonal array holds up to 12 of them.
    distance, index = cKDTree(centers_px).query(centers_px, k=min(k + 13, len(centers_px)))
    own = index == np.arange(len(centers_px))[:, None]
    place = centers_px[index].round(6)
    order = np.lexsort((index, place[..., 0], place[..., 1], np.where(own, -1.0, distance.round(6))), axis=1)
    nearest: NDArray[np.int64] = np.take_along_axis(index, order, axis=1)
    # A spot of a place shared by very many may not be among its own nearest.
    shift = np.take_along_axis(own, order, axis=1)[:, :1] + np.arange(k)
    return np.take_along_axis(nearest, shift, axis=1).astype(np.int64)


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
