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
    # Ties are broken by index, so that a neighborhood does not depend on how the tree was cut.
    distance, index = cKDTree(centers_px).query(centers_px, k=min(k + 9, len(centers_px)))
    own = index == np.arange(len(centers_px))[:, None]
    distance = np.where(own, -1.0, np.round(distance, 6))
    order = np.lexsort((index, distance), axis=1)
    index = np.take_along_axis(index, order, axis=1)
    found_self = np.take_along_axis(own, order, axis=1)[:, 0]
    shift = np.where(found_self, 1, 0)[:, None] + np.arange(k)
    return np.take_along_axis(index, shift, axis=1).astype(np.int64)
