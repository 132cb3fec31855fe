"""The scale that follows from the known geometry of an array."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")

VISIUM_PITCH_UM = 100.0
_VISIUM_ROWS, _VISIUM_COLS = 128, 224  # of the 11 mm areas; those of 6.5 mm have 78 and 128
_HEXAGON = np.sqrt(3)  # a row lies 86.6 um from the next, a column 50
_OFF = 0.05  # of the ratio of steps, and of the right angle between them
_POOR_FIT = 0.1  # of the pitch
_APART = 0.1  # by which a pitch may differ from what it is said to be
_FEW = 20  # spots, of which a fit tells little
_EXCHANGED = (
    "x and y of the spots look exchanged: rows of the array run along y of the image and its columns along x, as "
    "on no slide that is only turned. Exchange the two pixel columns or the two of the array, whichever are wrong, or turn "
    "the image back"
)


def visium_um_per_px(
    array_row: NDArray[np.float64], array_col: NDArray[np.float64], centers_px: NDArray[np.float64], *, say: bool = True
) -> float | None:
    """Scale of a Visium section from its hexagonal array, 100 um between neighbors of one row.

    Parameters
    ----------
    array_row, array_col
        Array position of each spot ``(n,)``; neighbors of one row are two columns apart.
    centers_px
        Spot centers ``(n, 2)``.
    say
        Whether to warn if they are odd.

    Returns
    -------
    um a px; ``None`` where the positions are not those of a Visium array (78 x 128 or 128 x 224, row + column all even
    or, where one of them is counted from 1, all odd), lie
    on one line, or the centers do not follow them to a tenth of the pitch.
    """
    if not len(array_row) or not np.isfinite([array_row, array_col]).all():
        return None
    fewer, more = sorted((array_row.max(), array_col.max()))
    odd = (array_row + array_col) % 2
    on_array = fewer <= _VISIUM_ROWS and more <= _VISIUM_COLS and (odd == odd[0]).all() and odd[0] in (0, 1)
    return row_pitch_um_per_px(array_row, array_col, centers_px, say=say) if on_array else None


def row_pitch_um_per_px(
    array_row: NDArray[np.float64], array_col: NDArray[np.float64], centers_px: NDArray[np.float64], *, say: bool = True
) -> float | None:
    """Scale by the 100 um between neighbors of a row, through a plane fitted to all spots; see above.

    A step between rows is the square root of 3 times a step between columns. If the ratio is the inverse of that, rows
    and columns are exchanged; this is corrected, with a warning. Any other ratio is not that of hexagons, and gives no
    scale.
    """
    steps = array_steps(array_row, array_col, centers_px)
    if steps is None:
        return None
    steps_px = _lengths_px(steps)
    ratio = steps_px[0] / steps_px[1]
    if abs(ratio / _HEXAGON - 1) <= _OFF:
        if is_transposed(steps):  # whether or not the scale is known by other means
            logger.warning(_EXCHANGED)
        return VISIUM_PITCH_UM / (2 * steps_px[1])
    level = logging.WARNING if say else logging.DEBUG
    if abs(ratio * _HEXAGON - 1) <= _OFF:
        logger.log(
            level,
            "array_row and array_col are exchanged: a step of array_row is %.2f times one of array_col, but 1.73 times "
            "in a Visium array; the scale is computed with the two exchanged back",
            ratio,
        )
        return VISIUM_PITCH_UM / (2 * steps_px[0])
    logger.log(
        level,
        "a step of array_row is %.2f times one of array_col, but 1.73 times in a Visium array: the scale stays unknown",
        ratio,
    )
    return None


def say_array(
    array_row: NDArray[np.float64],
    array_col: NDArray[np.float64],
    centers_px: NDArray[np.float64],
    um_per_px: float | None,
    *,
    name: str,
    pitch_um: float | None = None,
    say: bool = False,
) -> float | None:
    """Say where places on the array contradict those on the image, or the scale.

    Parameters
    ----------
    array_row, array_col
        Array position of each spot ``(n,)``.
    centers_px
        Spot centers ``(n, 2)``.
    um_per_px
        Scale of the image, if it is known.
    name
        The section, for messages.
    pitch_um
        Distance between neighbors of an array that is none of Visium, if it is known.
    say
        Whether to say why an array tells no scale.

    Returns
    -------
    The scale that a Visium array tells, see :func:`visium_um_per_px`; ``None`` for another array.
    """
    told = visium_um_per_px(array_row, array_col, centers_px, say=say)
    if told is not None:
        if um_per_px is not None:
            say_pitch(name, VISIUM_PITCH_UM / told, um_per_px, VISIUM_PITCH_UM)
        return told
    steps = array_steps(array_row, array_col, centers_px)
    if steps is None:
        places = np.column_stack([np.ones(len(array_row)), array_row, array_col])
        if len(places) >= _FEW and np.linalg.matrix_rank(places) == places.shape[1]:
            logger.warning(
                "spots of %s do not lie on the image as on the array: one of the two is of another section, or in another "
                "order", name,
            )  # fmt: skip
        return None
    if is_transposed(steps):
        logger.warning(_EXCHANGED)
    steps_px = _lengths_px(steps)
    if um_per_px is not None and pitch_um is not None:
        say_pitch(name, min(steps_px, key=lambda step: abs(step * um_per_px / pitch_um - 1)), um_per_px, pitch_um)
    return None


def say_pitch(name: str, apart_px: float, um_per_px: float, pitch_um: float) -> None:
    """Say where the scale contradicts the distance between spots."""
    if abs(apart_px * um_per_px / pitch_um - 1) > _APART:
        logger.warning(
            "on the array, spots of %s lie %g um apart; at %.4g um a pixel they lie %.4g um apart: the scale is wrong, or the "
            "spots were placed on another image. Tiles are cut by um per pixel. If the spots are right, give um_per_px=%.4g",
            name, pitch_um, um_per_px, apart_px * um_per_px, pitch_um / apart_px,
        )  # fmt: skip


def bins_um_per_px(
    array_row: NDArray[np.float64],
    array_col: NDArray[np.float64],
    centers_px: NDArray[np.float64],
    *,
    bin_um: float,
    side_px: float,
    say: bool = True,
) -> float | None:
    """Scale of Visium HD by the side of its bins, through a plane fitted to all.

    ``None`` where they do not lie on squares, or their width in px (``side_px``) is not their distance: bins have no
    gaps.
    """
    if not np.isfinite([array_row, array_col]).all():
        return None
    steps = array_steps(array_row, array_col, centers_px)
    if steps is None:
        return None
    steps_px = _lengths_px(steps)
    if max(abs(step / side_px - 1) for step in steps_px) > 2 * _OFF:
        logger.log(
            logging.WARNING if say else logging.DEBUG,
            "bins are %.1f px wide and lie %.1f px apart from row to row and %.1f from column to column: scale unknown",
            side_px, *steps_px,
        )  # fmt: skip
        return None
    return bin_um / float(np.mean(steps_px))


def array_steps(
    array_row: NDArray[np.float64], array_col: NDArray[np.float64], centers_px: NDArray[np.float64]
) -> NDArray[np.floating] | None:
    """Steps ``(2, 2)`` in px of x and y, from one row of the array to the next, and from one column to the next.

    ``None`` where spots do not follow the array.
    """
    if len(array_row) < 3:
        return None
    design = np.column_stack([np.ones(len(array_row)), array_row, array_col])
    fit, _, rank, _ = np.linalg.lstsq(design, centers_px, rcond=None)
    row_px, col_px = _lengths_px(fit[1:])
    off_px = float(np.sqrt(((design @ fit - centers_px) ** 2).sum(axis=1).mean()))
    if rank < 3 or off_px > _POOR_FIT * 2 * min(row_px, col_px) or abs(fit[1] @ fit[2]) > _OFF * row_px * col_px:
        return None
    steps: NDArray[np.floating] = fit[1:]
    return steps


def _lengths_px(steps: NDArray[np.floating]) -> tuple[float, float]:
    row_px, col_px = (float(np.linalg.norm(step)) for step in steps)
    return row_px, col_px


def is_transposed(steps: NDArray[np.floating]) -> bool:
    """Whether rows of an array lie side by side in x and columns in y, as if x and y were exchanged.

    An image that is only turned shows that too, but the array then is not seen as in a mirror.
    """
    (row_x, row_y), (col_x, col_y) = steps
    return bool(col_x * row_y < col_y * row_x and abs(row_x) > abs(row_y))
