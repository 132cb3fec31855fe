"""The scale of an image: kept with the image's name in ``sdata.attrs``, or told by a Visium array. Never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.kept import own_spots
from st_predict._spatialdata.wsi import slide_scale
from st_predict.core.scale import visium_um_per_px

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Keys

_ATTRS = "st_predict"


def stored_scale(sdata: SpatialData, image_key: str) -> float | None:
    """What a reader or :func:`st_predict.pp.set_scale` wrote down, or what a WSIData knows."""
    value = sdata.attrs.get(_ATTRS, {}).get("um_per_px", {}).get(image_key)
    return slide_scale(sdata, image_key) if value is None else float(value)


def store_scale(sdata: SpatialData, image_key: str, um_per_px: float) -> None:
    """Write the scale of an image down; other images keep theirs."""
    own = sdata.attrs.get(_ATTRS, {})
    sdata.attrs[_ATTRS] = {**own, "um_per_px": {**own.get("um_per_px", {}), image_key: float(um_per_px)}}


def find_scale(sdata: SpatialData, keys: Keys, centers_px: NDArray[np.float64]) -> float | None:
    """Scale of the section's image: as written down, else from the hexagons of a Visium array, else unknown."""
    stored = stored_scale(sdata, keys.image)
    if stored is not None or keys.table is None:
        return stored
    table = sdata.tables[keys.table]
    if not {"array_row", "array_col"} <= set(table.obs.columns):
        return None
    obs, rows = table.obs, own_spots(table)
    return visium_um_per_px(obs["array_row"].to_numpy(float)[rows], obs["array_col"].to_numpy(float)[rows], centers_px)
