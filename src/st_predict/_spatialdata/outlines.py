"""Size and outline of spots in px of the image, which only pictures need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.shapes import circle_radii, own_shapes
from st_predict._spatialdata.systems import shapes_to_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed


def spot_outlines(
    sdata: SpatialData, placed: Placed, centers_px: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Sequence[NDArray[np.float64]] | None]:
    """Radii ``(n,)`` in px and, for bins, the corners of each ``(m, 2)``; in the order of the table's own rows.

    The radius of a bin is that of the circle that holds it; circles have no outlines.
    """
    shapes = own_shapes(sdata, placed)
    affine = shapes_to_image(sdata, placed)
    if "radius" in shapes:
        scale = np.sqrt(abs(np.linalg.det(affine[:2, :2])))
        return circle_radii(shapes, placed.shapes or "") * scale, None
    polygons = shapes.geometry
    rings = (polygons if (polygons.geom_type == "Polygon").all() else polygons.convex_hull).exterior
    corners = rings.get_coordinates().to_numpy() @ affine[:2, :2].T + affine[:2, 2]
    outlines = np.split(corners, np.cumsum(rings.count_coordinates())[:-1])
    radii = [np.linalg.norm(o - c, axis=1).max() for o, c in zip(outlines, centers_px, strict=True)]
    return np.array(radii), outlines
