"""``to_anndata``: a section as an AnnData that the plots of scanpy and squidpy draw as it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.columns import comparable
from st_predict._spatialdata.image import image_source, reduced_sources
from st_predict._spatialdata.kept import check_distinct, check_named, own_spots
from st_predict._spatialdata.keys import Elements, Placed, check_region, is_our_table, place
from st_predict._spatialdata.matrices import check_matrices
from st_predict._spatialdata.prediction import is_prediction
from st_predict._spatialdata.scale import find_scale
from st_predict._spatialdata.shapes import circle_radii, row_shapes, shape_areas, shape_centers
from st_predict._spatialdata.systems import shapes_to_image
from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name
from st_predict.core.tiles.thumbnail import Box, read_thumbnail
from st_predict.io._library import LIBRARY_COLUMN

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

logger = logging.getLogger("st_predict")

_SIDES_PX = {"hires": 2000, "lowres": 600}  # on the longer side, as Space Ranger makes them


@checked
def to_anndata(
    sdata: SpatialData,
    *,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
) -> AnnData:
    """Turn a section into an AnnData, with its image and positions where scanpy and squidpy look for them.

    ``squidpy.pl.spatial_scatter`` and ``scanpy.pl.spatial`` draw it as it is, and :func:`st_predict.io.anndata` reads it
    back. Predictions are in ``layers`` and ``obsm``, as in the table.

    Parameters
    ----------
    sdata
        One section; it is not changed.
    image_key, shapes_key, table_key
        Names of the elements, if there are several. If there is no measured table, the prediction on the slide is
        taken.

    Returns
    -------
    A copy of the table. ``uns["spatial"][section]`` holds the images ``"hires"`` and ``"lowres"`` (uint8, at least 2,000
    and 600 px on the longer side if the image has as many) and the scale factors, with ``microns_per_pixel`` if the scale
    is known. ``obsm["spatial"]`` holds the spots, x then y in px of the image at full resolution, and
    ``obs["library_id"]`` the name of the section. A message says so if the table has other values in these places.

    Raises
    ------
    InputError
        If an element is missing, there are several and none is chosen, two spots have one name, or a circle has no size.

    Examples
    --------
    >>> stp.tl.predict(sections["S1"], model)
    >>> adata = stp.to_anndata(sections["S1"])
    >>> list(adata.uns["spatial"]), "predicted" in adata.layers
    (['S1'], True)
    """
    placed = _place(sdata, Elements(image_key, shapes_key, table_key))
    table = sdata.tables[placed.table]
    check_named(table, f"sdata.tables[{placed.table!r}]")
    check_matrices(table, f"sdata.tables[{placed.table!r}]")
    check_distinct(table.obs_names, "obs_names", f"sdata.tables[{placed.table!r}]")
    check_region(sdata, placed)
    shapes = row_shapes(sdata, placed, np.ones(table.n_obs, bool))  # also of spots that are not in tissue
    affine = shapes_to_image(sdata, placed)
    centers_px = shape_centers(shapes) @ affine[:2, :2].T + affine[:2, 2]
    stretch = float(np.sqrt(abs(np.linalg.det(affine[:2, :2]))))
    section = _section(table, placed)
    images, factors = _images(sdata, placed.image)
    factors["spot_diameter_fullres"] = stretch * _diameter(shapes, placed.shapes)
    scale = find_scale(sdata, placed, centers_px[own_spots(table)], affine)
    if scale is not None:
        factors["microns_per_pixel"] = scale
    _say_replaced(table, str(placed.table), section, centers_px)
    return _written(table, section, centers_px, images, factors)


def _place(sdata: SpatialData, elements: Elements) -> Placed:
    """The elements, a prediction of ours standing in for a measured table where there is none."""
    found = place(sdata, elements, need_table=False)
    if found.table is not None:
        return found
    ours = [name for name, table in sdata.tables.items() if is_our_table(table) and is_prediction(table.uns, name)]
    if len(ours) != 1:
        raise InputError(
            f"there are {len(ours)} predictions and no measured table"
            + (f": {', '.join(ours)}" if ours else ""),
            where="table_key",
            expected="a table of the spots",
            remedy=f"pass table_key={ours[0]!r} (or another)" if ours else "run st_predict.tl.predict(sdata) first",
        )  # fmt: skip
    return place(sdata, elements._replace(table_key=ours[0]), need_table=True)


def _diameter(shapes: GeoDataFrame, name: str) -> float:
    """Median diameter of circles, or the side of squares of the same area as other outlines."""
    return float(
        2 * np.median(circle_radii(shapes, name)) if "radius" in shapes else np.sqrt(np.median(shape_areas(shapes)))
    )


def _section(table: AnnData, placed: Placed) -> str:
    names = comparable(table.obs["section"].dropna()).unique() if "section" in table.obs else []
    return clean_name(str(names[0])) if len(names) == 1 else placed.image.removesuffix("_image")


def _images(sdata: SpatialData, key: str) -> tuple[dict[str, NDArray[np.uint8]], dict[str, float]]:
    """Reduced images ``(height, width, 3)`` by name, and their scale factors."""
    levels = [image_source(sdata, key), *reduced_sources(sdata, key)]
    box = Box(0, 0, float(levels[0].col_edges[-1]), float(levels[0].row_edges[-1]))
    images, factors = {}, {}
    for name, side_px in _SIDES_PX.items():
        reduced = read_thumbnail(levels, box, side_px=side_px)
        images[name] = reduced.pixels
        factors[f"tissue_{name}_scalef"] = reduced.pixels.shape[1] / reduced.extent[1]
    return images, factors


def _say_replaced(table: AnnData, key: str, section: str, centers_px: NDArray[np.float64]) -> None:
    """Say what of the user's has other values in the copy."""
    places = np.asarray(table.obsm.get("spatial", centers_px))
    same = places.shape == centers_px.shape and places.dtype.kind in "iuf" and np.allclose(places, centers_px)
    replaced = {
        f"obs[{LIBRARY_COLUMN!r}]": LIBRARY_COLUMN in table.obs
        and set(table.obs[LIBRARY_COLUMN].astype(str)) != {section},
        "uns['spatial']": bool(table.uns.get("spatial")),
        "obsm['spatial']": not same,
    }
    if any(replaced.values()):
        logger.warning(
            "%s of table %r hold other values in the copy, those of section %r: squidpy and scanpy look for them there",
            " and ".join(name for name, held in replaced.items() if held), key, section,
        )  # fmt: skip


def _written(
    table: AnnData,
    section: str,
    centers_px: NDArray[np.float64],
    images: dict[str, NDArray[np.uint8]],
    factors: dict[str, Any],
) -> AnnData:
    """A copy of the table with all that in it, and without what ties it to a SpatialData."""
    import pandas as pd

    adata = table.copy()
    attrs = adata.uns.pop("spatialdata_attrs")
    adata.obs = adata.obs.drop(columns=[attrs["region_key"], attrs["instance_key"]])
    adata.obsm["spatial"] = centers_px
    adata.obs[LIBRARY_COLUMN] = pd.Categorical([section] * adata.n_obs)
    adata.uns["spatial"] = {section: {"images": images, "scalefactors": factors}}
    return adata
