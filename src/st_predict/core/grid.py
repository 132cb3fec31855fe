"""Places of an array: hexagonal or square, of any pitch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


_BAND_POINTS = 1_000_000


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
        ``"hex"``: rows half a pitch aside in turn and ``sqrt(3) / 2`` of it apart, as on Visium, where columns are
        numbered in half pitches and those of a row are two apart; ``"square"``.
    inside
        Which of some points ``(m, 2)`` to keep; asked for a band of rows at a time.

    Returns
    -------
    Centers ``(n, 2)``, x then y, in px; row and column on the array ``(n,)`` each.
    """
    width, height = size_px
    apart = pitch_px * (np.sqrt(3) / 2 if layout == "hex" else 1.0)
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
