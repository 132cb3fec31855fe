"""The scale an array's known geometry tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

VISIUM_PITCH_UM = 100.0
_VISIUM_ROWS, _VISIUM_COLS = 78, 128


def visium_um_per_px(
    array_row: NDArray[np.float64], array_col: NDArray[np.float64], centers_px: NDArray[np.float64]
) -> float | None:
    """Scale of a Visium section from its hexagonal array, 100 um between neighbors of one row.

    Parameters
    ----------
    array_row, array_col
        Array position of each spot ``(n,)``; neighbors of one row are two columns apart.
    centers_px
        Spot centers ``(n, 2)``.

    Returns
    -------
    um a px; ``None`` where the positions are not those of a Visium array (78 x 128, row + column even), lie on one
    line, or the centers do not follow them to a tenth of the pitch.
    """
    on_array = (array_row < _VISIUM_ROWS) & (array_col < _VISIUM_COLS) & ((array_row + array_col) % 2 == 0)
    return row_pitch_um_per_px(array_row, array_col, centers_px) if on_array.all() else None


def row_pitch_um_per_px(
    array_row: NDArray[np.float64], array_col: NDArray[np.float64], centers_px: NDArray[np.float64]
) -> float | None:
    """Scale by the 100 um between neighbors of a row, through a plane fitted to all spots; see above."""
    if len(array_row) < 3:
        return None
    design = np.column_stack([np.ones(len(array_row)), array_row, array_col])
    fit, _, rank, _ = np.linalg.lstsq(design, centers_px, rcond=None)
    pitch_px = 2 * float(np.linalg.norm(fit[2]))
    off_px = float(np.sqrt(((design @ fit - centers_px) ** 2).sum(axis=1).mean()))
    return None if rank < 3 or off_px > 0.1 * pitch_px else VISIUM_PITCH_UM / pitch_px
