"""The scale of an image: kept with the image's name in ``sdata.attrs``, or told by an array of known size. Never guessed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.kept import own_spots
from st_predict._spatialdata.wsi import slide_scale
from st_predict.core.scale import bins_um_per_px, visium_um_per_px

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed

_ATTRS = "st_predict"
_PLACE = ("array_row", "array_col")
_BINS = re.compile(r"(?:^|_)square_(\d{3})um$")


def stored_scale(sdata: SpatialData, image_key: str) -> float | None:
    """What a reader or :func:`st_predict.pp.set_scale` wrote down, or what a WSIData knows."""
    value = sdata.attrs.get(_ATTRS, {}).get("um_per_px", {}).get(image_key)
    return slide_scale(sdata, image_key) if value is None else float(value)


def store_scale(sdata: SpatialData, image_key: str, um_per_px: float) -> None:
    """Write the scale of an image down; other images keep theirs."""
    own = sdata.attrs.get(_ATTRS, {})
    sdata.attrs[_ATTRS] = {**own, "um_per_px": {**own.get("um_per_px", {}), image_key: float(um_per_px)}}


def find_scale(
    sdata: SpatialData, placed: Placed, centers_px: NDArray[np.float64], shapes_to_px: NDArray[np.float64]
) -> float | None:
    """Scale of the section's image: as written down, else from the array of Visium or the bins of Visium HD, else unknown."""
    stored = stored_scale(sdata, placed.image)
    if stored is not None or placed.table is None:
        return stored
    import pandas as pd

    table = sdata.tables[placed.table]
    if not set(_PLACE) <= set(table.obs.columns):
        return None
    obs = table.obs[own_spots(table)]
    row, col = (pd.to_numeric(obs[name].astype(object), errors="coerce").to_numpy(float) for name in _PLACE)
    names = (
        str(placed.table),
        placed.shapes,
    )  # as Space Ranger and spatialdata-io have them, alone or behind the section's
    bins = [found for found in map(_BINS.search, names) if found]
    if bins:
        side_px = _side(sdata.shapes[placed.shapes]) * float(np.sqrt(abs(np.linalg.det(shapes_to_px[:2, :2]))))
        return bins_um_per_px(row, col, centers_px, bin_um=float(bins[0][1]), side_px=side_px)
    return visium_um_per_px(row, col, centers_px)


def _side(bins: GeoDataFrame) -> float:
    """Median side of bins, which are squares or the circles within them."""
    return float(2 * bins["radius"].median() if "radius" in bins else np.sqrt(bins.geometry.area.median()))
