"""The scale of an image: kept with the image's name in ``sdata.attrs``, or told by an array of known size. Never guessed."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from st_predict._spatialdata.columns import comparable, plain_name
from st_predict._spatialdata.kept import own_spots
from st_predict._spatialdata.own import keep_entry, own_entries
from st_predict._spatialdata.shapes import shape_areas
from st_predict._spatialdata.wsi import slide_scale
from st_predict.core.checks import check_number, check_um_per_px
from st_predict.core.scale import bins_um_per_px, say_array, visium_um_per_px

if TYPE_CHECKING:
    import pandas as pd
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed

logger = logging.getLogger("st_predict")

_SCALES = "um_per_px"
_ROW_COL, _Y_X = ("arrayrow", "arraycol"), ("arrayy", "arrayx")  # as :func:`plain_name` has them
_BINS = re.compile(r"(?i)(?:^|[^a-z])square_0*(\d{1,3})um(?![a-z0-9])")
_KNOWN = 0.9  # of the spots, of which the place on the array must be known
_SAME = 0.1  # scales that differ by less come from how they were measured


def stored_scale(sdata: SpatialData, image_key: str) -> float | None:
    """What a reader or :func:`st_predict.pp.set_scale` wrote down, or what a WSIData knows.

    Raises
    ------
    InputError
        If it is no scale of an H&E image.
    """
    value = own_entries(sdata, _SCALES).get(image_key)
    if value is None:
        return slide_scale(sdata, image_key)
    where = f"sdata.attrs['st_predict']['um_per_px'][{image_key!r}]"
    check_number(value, where=where)
    check_um_per_px(value, where=where)
    return float(value)


def store_scale(sdata: SpatialData, image_key: str, um_per_px: float) -> None:
    """Write the scale of an image down; other images keep theirs."""
    keep_entry(sdata, _SCALES, image_key, float(um_per_px))


def find_scale(
    sdata: SpatialData, placed: Placed, centers_px: NDArray[np.float64], shapes_to_px: NDArray[np.float64]
) -> float | None:
    """Scale of the section's image: as written down, else from the array of Visium or the bins of Visium HD, else unknown.

    What is written down goes before the array; where they differ, that is said.
    """
    stored = stored_scale(sdata, placed.image)
    told = _array_scale(sdata, placed, centers_px, shapes_to_px, say=stored is None)
    if stored is not None and told is not None and abs(stored / told - 1) > _SAME:
        logger.warning(
            "image %r is stored with %.3g um a pixel, but the distances between its spots give %.3g: one of them is wrong. "
            "Tiles are cut by the first. If the image was resized, call st_predict.pp.set_scale(sdata, um_per_px=%.4g)",
            placed.image, stored, told, told,
        )  # fmt: skip
    return told if stored is None else stored


def _array_scale(
    sdata: SpatialData,
    placed: Placed,
    centers_px: NDArray[np.float64],
    shapes_to_px: NDArray[np.float64],
    *,
    say: bool,
) -> float | None:
    """What the array of spots tells; ``None`` where it is none of known geometry. ``say`` is whether to say why."""
    if placed.table is None:
        return None
    table = sdata.tables[placed.table]
    found = array_places(table.obs[own_spots(table)], _ROW_COL)
    if found is None:
        return None
    row, col, centers_px = found.row, found.col, centers_px[found.known]
    # As Space Ranger and spatialdata-io have them, alone or with a section's name and a user's word around them.
    sides = {float(found[1]) for found in map(_BINS.search, (placed.table, placed.shapes)) if found}
    if not sides:
        return visium_um_per_px(row, col, centers_px, say=say)
    if len(sides) > 1:
        logger.warning(
            "table %r and shapes %r name bins of different sizes: the scale stays unknown", placed.table, placed.shapes
        )
        return None
    side_px = _side(sdata.shapes[placed.shapes]) * float(np.sqrt(abs(np.linalg.det(shapes_to_px[:2, :2]))))
    return bins_um_per_px(row, col, centers_px, bin_um=sides.pop(), side_px=side_px, say=say)


class ArrayPlaces(NamedTuple):
    """Places of spots on their array; ``m`` of ``n`` spots have one."""

    row: NDArray[np.float64]
    """``(m,)``"""
    col: NDArray[np.float64]
    """``(m,)``"""
    known: NDArray[np.bool_]
    """Which spots these are ``(n,)``."""


def array_places(obs: pd.DataFrame, names: tuple[str, str]) -> ArrayPlaces | None:
    """Places on the array by the columns of these names; ``None`` where most spots have none."""
    import pandas as pd

    columns = {plain_name(column): column for column in reversed(obs.columns)}
    if not set(names) <= set(columns):
        return None
    row, col = (
        pd.to_numeric(comparable(obs[columns[name]]).astype(object), errors="coerce").to_numpy(float) for name in names
    )
    known: NDArray[np.bool_] = np.isfinite(row) & np.isfinite(col)
    return None if known.mean() < _KNOWN else ArrayPlaces(row[known], col[known], known)


def say_places(
    obs: pd.DataFrame, centers_px: NDArray[np.float64], um_per_px: float | None, *, name: str, say: bool = False
) -> float | None:
    """Say where places on the array contradict those on the image or its scale, see :func:`say_array`.

    Returns
    -------
    The scale that ``array_row`` and ``array_col`` of a Visium array tell. ``array_x`` and ``array_y`` are those of many
    arrays, and tell none.
    """
    for names in (_ROW_COL, _Y_X):
        if (found := array_places(obs, names)) is not None:
            row, col, known = found
            by_rows = names == _ROW_COL
            told = say_array(row, col, centers_px[known], um_per_px, name=name, say=say and by_rows)
            return told if by_rows else None
    return None


def _side(bins: GeoDataFrame) -> float:
    """Median side of bins, which are squares or the circles within them."""
    return float(2 * bins["radius"].median() if "radius" in bins else np.sqrt(np.median(shape_areas(bins))))
