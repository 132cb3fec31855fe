"""Ids ``XxY`` of legacy spots, by which counts and positions are joined whatever their numbers were written like.

Opens no file.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.scale import array_steps, is_transposed

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

logger = logging.getLogger("st_predict")

_ID = re.compile(r"\s*(-?\d+(?:\.\d+)?)[xX_](-?\d+(?:\.\d+)?)\s*")
_FEW = 0.1  # of the spots: as many may be in one file only


def is_id(name: object) -> bool:
    """Whether a name is the id of a spot."""
    return _ID.fullmatch(str(name)) is not None


def id_of(x: float, y: float) -> str:
    """An id by its two numbers, whatever they were written like."""
    return f"{x + 0.0:.15g}x{y + 0.0:.15g}"  # 0.0 makes 0 of -0


def _keys(spot_ids: list[str], *, exchanged: bool = False) -> list[str]:
    """Ids of counts by their numbers, or with x and y exchanged; names that are no such ids as they are."""
    found = [_ID.fullmatch(name) for name in spot_ids]
    order = (2, 1) if exchanged else (1, 2)
    return [id_of(*(float(id_[i]) for i in order)) if id_ else name for name, id_ in zip(spot_ids, found, strict=True)]


def join(matrix: csr_matrix, spot_ids: list[str], positions: pd.DataFrame) -> tuple[csr_matrix, pd.DataFrame]:
    """Rows that both have, in the order of the counts, and named as there."""
    keys = _keys(spot_ids)
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        first, second = [name for name, key in zip(spot_ids, keys, strict=True) if key == twice][:2]
        raise InputError(
            f"{first!r} and {second!r} are one spot",
            where="counts",
            expected="one row a spot",
            remedy="sum the two rows, or correct the ids, before reading",
        )
    rows = np.flatnonzero([key in positions.index for key in keys])
    _check_order(spot_ids, positions, len(rows))
    if not len(rows):
        raise InputError(
            f"counts and spots share no spot: counts have {spot_ids[:3]}, spots have {list(positions.index[:3])}",
            where="counts, spots",
            expected="row names XxY in counts that match x and y in spots",
            remedy="give files of the same section; if genes are in rows, transpose the counts",
        )
    n_counts, n_spots = len(spot_ids) - len(rows), len(positions) - len(rows)
    # A few are usual, and one file may hold more than the tissue; losing most of one, or some of both, hints at files of
    # two sections.
    most = len(rows) < max(len(spot_ids), len(positions)) / 2
    both = min(n_counts, n_spots) > _FEW * len(rows)
    level = logging.WARNING if most or both else logging.INFO
    logger.log(
        level,
        "%d spots are in counts and spots; left out: %d in counts only, %d in spots only",
        len(rows),
        n_counts,
        n_spots,
    )
    kept = positions.loc[[keys[row] for row in rows]]
    return matrix[rows], kept.set_axis([spot_ids[row] for row in rows], axis=0)


def _check_order(spot_ids: list[str], positions: pd.DataFrame, n_shared: int) -> None:
    """Refuse files of which one has x and y of its ids exchanged: spots would get the counts of others."""
    n_exchanged = sum(key in positions.index for key in _keys(spot_ids, exchanged=True))
    if n_shared >= (1 - _FEW) * n_exchanged or n_exchanged < min(len(spot_ids), len(positions)) / 2:
        return
    steps = array_steps(positions["y"], positions["x"], positions[["pixel_x", "pixel_y"]].to_numpy())
    remedy = "exchange the two columns: spots.rename(columns={'x': 'y', 'y': 'x'}); the pixel columns stay as they are"
    if steps is not None and not is_transposed(steps):
        remedy = "write the ids of counts as XxY: they look like YxX, since x and y of spots fit the pixels"
    raise InputError(
        f"x and y of the ids look exchanged in one file: counts and spots share {n_shared} spots, and {n_exchanged} if x and "
        "y of either are exchanged",
        where="counts, spots",
        expected="row names XxY in counts that match x and y in spots",
        remedy=remedy,
    )
