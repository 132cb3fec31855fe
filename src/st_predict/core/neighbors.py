"""Spatial neighbors of spots within one section, by index; never quadratic in spots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nearest_spots(centers_px: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The ``k`` nearest other spots of every spot, nearest first.

    Parameters
    ----------
    centers_px
        Spot centers ``(n_spots, 2)``.
    k
        How many neighbors; needs more than ``k`` spots.

    Returns
    -------
    Indices ``(n_spots, k)``. Spots at the same place count as neighbors of each other, a spot never of itself.
    """
    from scipy.spatial import cKDTree

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
