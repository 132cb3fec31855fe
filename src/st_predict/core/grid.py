"""Places of an array: hexagonal or square, of any pitch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from st_predict.core.neighbors import pitch_px

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


Layout = Literal["hex", "square"]
HEX_APART = math.sqrt(3) / 2
"""Pitches from one row of a hexagonal array to the next."""
_BAND_POINTS = 1_000_000
_FOLDS: dict[Layout, int] = {"hex": 6, "square": 4}
_BESIDE = 1.25  # pitches; the second distance of a square array is 1.41
_FEWEST, _ORDERED = 20, 0.4  # ways from spot to spot that tell, and how much more of one order


def grid_points(
    size_px: tuple[float, float],
    pitch_px: float,
    layout: str,
    inside: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The places of an array laid over an image that lie inside something, row by row.

    Parameters
    ----------
    size_px
        Width and height of the image.
    pitch_px
        Distance between neighbors.
    layout
        ``"hex"``, as on Visium: every other row is moved by half a pitch, and rows are ``sqrt(3) / 2`` pitches apart.
        Columns are numbered in half pitches, so those of one row are two apart. Or ``"square"``.
    inside
        Which of some points ``(m, 2)`` to keep; asked for a band of rows at a time.

    Returns
    -------
    Centers ``(n, 2)``, x then y, in px; row and column on the array ``(n,)`` each.
    """
    width, height = size_px
    apart = pitch_px * (HEX_APART if layout == "hex" else 1.0)
    n_rows, n_cols = (
        max(1, int(np.ceil((length - pitch_px / 2) / step))) for length, step in ((height, apart), (width, pitch_px))
    )
    band = max(1, _BAND_POINTS // n_cols)
    parts = []
    for first in range(0, n_rows, band):
        rows, cols = (values.ravel() for values in np.mgrid[first : min(first + band, n_rows), :n_cols])
        aside = 0.5 * (rows % 2) if layout == "hex" else 0.0
        points = np.column_stack([pitch_px * (0.5 + cols + aside), pitch_px / 2 + apart * rows])
        kept = (points[:, 0] < width) & (points[:, 1] < height) & inside(points)
        columns = 2 * cols + rows % 2 if layout == "hex" else cols
        parts.append((points[kept], rows[kept], columns[kept]))
    points, rows, columns = (np.concatenate(values) for values in zip(*parts, strict=True))
    return points, rows, columns


def array_layout(centers_px: NDArray[np.float64]) -> Layout | None:
    """``"hex"`` or ``"square"``, as the spots lie; ``None`` where they lie otherwise or too few lie beside each other.

    By bond-orientational order (Nelson and Halperin 1979): the lines from spots to those beside them point six ways, or
    four, wherever on the section they are. Spots that are off by a tenth of the pitch, and missing spots, do not matter.

    Parameters
    ----------
    centers_px
        Spot centers ``(n, 2)``.
    """
    from scipy.spatial import cKDTree

    pitch = pitch_px(centers_px)
    if pitch == 0:
        return None
    distance, rows = cKDTree(centers_px).query(centers_px, k=range(1, 8), distance_upper_bound=_BESIDE * pitch)
    beside = (distance > 0) & np.isfinite(distance)
    if beside.sum() < _FEWEST:
        return None
    ways = (centers_px[rows[beside]] - np.repeat(centers_px, beside.sum(axis=1), axis=0)) @ (1, 1j)
    order = {layout: abs(np.mean((ways / abs(ways)) ** n)) for layout, n in _FOLDS.items()}
    most, least = sorted(order, key=order.__getitem__, reverse=True)
    return most if order[most] - order[least] > _ORDERED else None


def sublattices(rows: NDArray[np.int64], columns: NDArray[np.int64], layout: str, step: int) -> NDArray[np.int64]:
    """Which of the ``step ** 2`` interleaved arrays of ``step`` times the pitch each place belongs to.

    Parameters
    ----------
    rows, columns
        Places as :func:`grid_points` numbers them ``(n,)``.
    layout
        As there.
    step
        How many times wider their pitch is.

    Returns
    -------
    ``(n,)``, from 0 to ``step ** 2 - 1``.
    """
    along = (columns - rows) // 2 if layout == "hex" else columns
    found: NDArray[np.int64] = (rows % step) * step + along % step
    return found
