"""Places of an array: hexagonal or square, of any pitch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def grid_points(
    size_px: tuple[float, float], pitch_px: float, layout: str
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Every place of an array that covers an image, row by row.

    Parameters
    ----------
    size_px
        Width and height of the image.
    pitch_px
        Distance between neighbors.
    layout
        ``"hex"``: rows half a pitch aside in turn and ``sqrt(3) / 2`` of it apart, as on Visium, where columns are
        numbered in half pitches and those of a row are two apart; ``"square"``.

    Returns
    -------
    Centers ``(n, 2)``, x then y, in px; row and column on the array ``(n,)`` each.
    """
    width, height = size_px
    apart = pitch_px * (np.sqrt(3) / 2 if layout == "hex" else 1.0)
    n_rows, n_cols = (
        max(1, int(np.ceil((length - pitch_px / 2) / step))) for length, step in ((height, apart), (width, pitch_px))
    )
    rows, cols = (values.ravel() for values in np.mgrid[:n_rows, :n_cols])
    aside = 0.5 * (rows % 2) if layout == "hex" else 0.0
    points = np.column_stack([pitch_px * (0.5 + cols + aside), pitch_px / 2 + apart * rows])
    on_image = (points[:, 0] < width) & (points[:, 1] < height)
    columns = 2 * cols + rows % 2 if layout == "hex" else cols
    return points[on_image], rows[on_image], columns[on_image]
