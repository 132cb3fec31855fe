"""Tissue and spots on a bare slide: outlines found on a reduced image, and an array laid on them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.added import tables_on
from st_predict._spatialdata.image import image_source, reduced_sources, say_what_is_lost
from st_predict._spatialdata.keys import Placed, check_spatialdata, find_image, measured_tables, spot_shapes
from st_predict._spatialdata.own import check_element_key, keep_record, own_record
from st_predict._spatialdata.scale import stored_scale
from st_predict._spatialdata.shapes import shape_areas
from st_predict._spatialdata.systems import shapes_to_image
from st_predict._spatialdata.wsi import TISSUES
from st_predict.core.errors import InputError
from st_predict.core.grid import grid_points
from st_predict.core.tiles.thumbnail import Box, read_thumbnail
from st_predict.core.tissue import is_dark, look_for_tissue, mask_polygons

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.core.tissue import Look

logger = logging.getLogger("st_predict")
TISSUE, GRID = "tissue", "grids"
_LOOK_UM, _LOOK_PX = 8.0, (1000, 6000)  # um a px at which tissue is looked for, and px on the longer side
_MOST_SPOTS = 100_000_000  # on glass too; their places alone take gigabytes
_SMALLEST = 5e-4  # of the image, where no scale tells sizes
_ALL = 0.9  # of it: more glass than that is on every slide


def add_tissue(sdata: SpatialData, image: str, key: str, *, min_area_um2: float, min_hole_um2: float) -> None:
    """Write the outlines of tissue, see :func:`st_predict.pp.find_tissue`."""
    from geopandas import GeoDataFrame
    from shapely import affinity

    _check_shapes_key(sdata, TISSUE, key)
    levels = [image_source(sdata, image), *reduced_sources(sdata, image)]
    say_what_is_lost(sdata, image)
    height, width = int(levels[0].row_edges[-1]), int(levels[0].col_edges[-1])
    um_per_px = stored_scale(sdata, image)
    longer = max(height, width)
    side = _LOOK_PX[0] if um_per_px is None else int(np.clip(longer * um_per_px / _LOOK_UM, *_LOOK_PX))
    look = read_thumbnail(levels, Box(0, 0, width, height), side_px=min(side, longer))
    if is_dark(look.pixels):
        raise InputError(
            f"image {image!r} has a dark background, as fluorescence has",
            where=f"sdata.images[{image!r}]",
            expected="an H&E image: tissue on bright glass",
            remedy="give the H&E image of this tissue",
        )
    seen = look_for_tissue(look.pixels)
    step, step_y = look.extent[1] / look.pixels.shape[1], look.extent[2] / look.pixels.shape[0]
    if um_per_px is None:
        smallest = _SMALLEST * seen.n_real
        sizes = {"min_area_px": smallest, "min_hole_px": smallest / 5}
    else:
        area = (step * um_per_px) ** 2
        sizes = {"min_area_px": min_area_um2 / area, "min_hole_px": min_hole_um2 / area}
    found = mask_polygons(seen.tissue, **sizes)
    if not found:
        raise InputError(
            f"no tissue was found on image {image!r}",
            where=f"sdata.images[{image!r}]",
            expected="stained tissue on bright glass",
            remedy="look at the slide; for faint tissue give outlines of your own, or spots",
        )
    _say_all(image, seen, sum(polygon.area for polygon in found))
    outlines = [affinity.scale(polygon, step, step_y, origin=(0, 0)) for polygon in found]
    frame = GeoDataFrame({"area_px": [outline.area for outline in outlines]}, geometry=outlines)
    add_shapes(sdata, image, key, frame)
    keep_record(sdata, TISSUE, key, {"image": image})


def _say_all(image: str, seen: Look, area_px: float) -> None:
    """Say so where tissue could not be told from glass because there is none."""
    share = area_px / max(seen.n_real, 1)
    if seen.glass is None or share > _ALL:
        logger.warning(
            "%.0f %% of image %r is taken for tissue%s: check the outlines, or give your own",
            100 * share, image, ", and no glass was found, so it is taken to be white" if seen.glass is None else "",
        )  # fmt: skip


def add_grid(
    sdata: SpatialData,
    image: str,
    key: str,
    *,
    pitch_um: float,
    diameter_um: float,
    layout: str,
    tissue_key: str | None,
) -> None:
    """Write spots on the tissue, see :func:`st_predict.pp.spot_grid`; finds the tissue if it is not there yet."""
    from geopandas import GeoDataFrame, points_from_xy

    _check_shapes_key(sdata, GRID, key)
    um_per_px = known_scale(sdata, image)
    points, rows, cols = lay_array(
        sdata, image, pitch_um=pitch_um, um_per_px=um_per_px, layout=layout, tissue_key=tissue_key
    )
    frame = GeoDataFrame(
        {"radius": diameter_um / um_per_px / 2, "array_row": rows, "array_col": cols},
        geometry=points_from_xy(*points.T),
    )
    add_shapes(sdata, image, key, frame)
    keep_record(sdata, GRID, key, {"image": image, "pitch_um": float(pitch_um), "layout": layout})


def known_scale(sdata: SpatialData, image: str) -> float:
    """The scale of an image as it was written down; refused where it was not, as lengths are in um."""
    um_per_px = stored_scale(sdata, image)
    if um_per_px is None:
        raise InputError(
            f"the scale of image {image!r} is unknown, and the grid is in um",
            where="um_per_px",
            expected="the width of an image pixel in um",
            remedy="st_predict.io.slide(path, um_per_px=...), or st_predict.pp.set_scale(sdata, um_per_px=...)",
        )
    return um_per_px


def lay_array(
    sdata: SpatialData, image: str, *, pitch_um: float, um_per_px: float, layout: str, tissue_key: str | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The places of an array that lie on the tissue, see :func:`st_predict.core.grid.grid_points`; finds it if need be.

    Raises
    ------
    InputError
        If there are too many places, or none.
    """
    from shapely import contains_xy, prepare

    _check_tissue(sdata, tissue_key)
    source = image_source(sdata, image)
    size = float(source.col_edges[-1]), float(source.row_edges[-1])
    _check_pitch(size[0] * um_per_px, size[1] * um_per_px, pitch_um)
    tissue = _in_px(sdata, image, _found_tissue(sdata, image, tissue_key))
    prepare(tissue)
    points, rows, cols = grid_points(
        size, pitch_um / um_per_px, layout, lambda some: contains_xy(tissue, some[:, 0], some[:, 1])
    )
    if not len(points):
        raise InputError(
            f"no place of a grid of {pitch_um:g} um lies on tissue",
            where="pitch_um",
            expected="a pitch smaller than the tissue",
            remedy="use a smaller pitch, or look at the outlines in sdata.shapes",
        )
    return points, rows, cols


def _check_pitch(width_um: float, height_um: float, pitch_um: float) -> None:
    """Refuse a grid that has too many places on an image, or none."""
    if (places := width_um * height_um / pitch_um**2) > _MOST_SPOTS:
        raise InputError(
            f"a grid of {pitch_um:g} um has {places:,.0f} places on this slide",
            where="pitch_um",
            expected=f"a grid of at most {_MOST_SPOTS:,} places",
            remedy="use a larger pitch",
        )
    if pitch_um / 2 >= min(width_um, height_um):
        raise InputError(
            f"a grid of {pitch_um:g} um has no place on this slide, which is {width_um:.0f} x {height_um:.0f} um wide",
            where="pitch_um",
            expected="a pitch smaller than the slide",
            remedy="use a smaller pitch",
        )


def _check_tissue(sdata: SpatialData, wanted: str | None) -> None:
    """Refuse outlines that are asked for and are not there, or are none."""
    if wanted is None:
        return
    others = f"one of {', '.join(sdata.shapes) or '(there are none)'}, or None to have tissue found"
    if wanted not in sdata.shapes:
        raise InputError(
            f"there are no shapes {wanted!r}", where="tissue_key", expected=others, remedy="correct tissue_key"
        )
    if not shape_areas(sdata.shapes[wanted]).any():
        raise InputError(
            f"shapes {wanted!r} are {'circles' if 'radius' in sdata.shapes[wanted] else 'without area'}, and no outlines of tissue",
            where="tissue_key",
            expected="polygons around the tissue, or None to have it found",
            remedy="name the outlines of tissue, or leave tissue_key out",
        )


def _found_tissue(sdata: SpatialData, image: str, wanted: str | None) -> str:
    """The outlines asked for, or those that are there, or else found now."""
    for key in (wanted, TISSUE, TISSUES):
        if key in sdata.shapes:
            return str(key)
    add_tissue(sdata, image, TISSUE, **TISSUE_SIZES)
    return TISSUE


def _in_px(sdata: SpatialData, image: str, shapes: str) -> Any:
    """All outlines as one, in px of the image, wherever they were drawn."""
    from shapely import affinity, make_valid, union_all

    to_image = shapes_to_image(sdata, Placed(image, shapes, None))
    (a, b, x), (d, e, y), _ = to_image.tolist()
    joined = union_all(make_valid(sdata.shapes[shapes].geometry.to_numpy()))
    return affinity.affine_transform(joined, [a, b, d, e, x, y])


def sdata_has_spots(sdata: SpatialData, shapes_key: str | None) -> bool:
    """Whether there is anything to predict on: a table, spots, or shapes that were asked for; outlines are none."""
    check_spatialdata(sdata)
    return bool(shapes_key is not None or measured_tables(sdata) or spot_shapes(sdata))


def add_spots(sdata: SpatialData, image_key: str | None, *, pitch_um: float | None, layout: str | None) -> None:
    """Lay the default grid, of the pitch and layout given if they are; see :func:`st_predict.pp.spot_grid`."""
    image = find_image(sdata, image_key)
    pitch, layout = 100.0 if pitch_um is None else pitch_um, layout or "hex"
    add_grid(sdata, image, "spots", pitch_um=pitch, diameter_um=0.55 * pitch, layout=layout, tissue_key=None)
    logger.info(
        "no spots were given; %d lie on the tissue, %.0f um apart (layout %r)",
        len(sdata.shapes["spots"]),
        pitch,
        layout,
    )


TISSUE_SIZES = {"min_area_um2": 50_000.0, "min_hole_um2": 10_000.0}
"""Pieces and holes smaller than these are not told from dust and fat."""


def grid_record(sdata: SpatialData, key: str) -> dict[str, Any] | None:
    """Pitch and layout of a grid of ours; ``None`` for other shapes, also in its place."""
    record = own_record(sdata, GRID, key)
    return record if key in sdata.shapes and {"array_row", "array_col"} <= set(sdata.shapes[key]) else None


def _check_shapes_key(sdata: SpatialData, kind: str, key: str) -> None:
    """Refuse a name under which the user has shapes, or that a table of theirs annotates: its rows would mean other places.

    Raises
    ------
    InputError
        Also for a table of ours that they added something to.
    """
    check_element_key(sdata, kind, key)
    for name, added in tables_on(sdata, key).items():
        if added is None or added:
            what = "" if added is None else f", and holds what you added or changed: {', '.join(added)}"
            raise InputError(
                f"table {name!r} annotates {key!r}{what}; with new shapes its rows would lie elsewhere",
                where=f"sdata.tables[{name!r}]",
                expected="shapes that no table of yours annotates",
                remedy=f"pass another key, such as key_added='{key}_2', or delete the table",
            )


def add_shapes(sdata: SpatialData, image: str, key: str, frame: GeoDataFrame) -> None:
    """Shapes in px of an image, placed where the image is."""
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import get_transformation

    placed = get_transformation(sdata.images[image], get_all=True)
    for name in tables_on(sdata, key):
        del sdata.tables[name]
        logger.warning("table %r is removed: it belonged to the earlier shapes %r, which are replaced", name, key)
    if key in sdata.shapes:
        del sdata.shapes[key]
    sdata.shapes[key] = ShapesModel.parse(frame, transformations=placed)
