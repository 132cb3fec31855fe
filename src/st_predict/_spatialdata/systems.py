"""Where spots lie on an image: through a coordinate system that both are placed in, or several that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.neighbors import pitch_px

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed

_APART = 0.25  # of the spots' pitch, at which systems no longer say the same
_FLAT = 1e-9  # shorter over longer axis of what a circle becomes, at which it is a line


def shapes_to_image(sdata: SpatialData, placed: Placed) -> NDArray[np.float64]:
    """The affine ``(3, 3)`` from the own coordinates of shapes, or of points, to image px, through a system both are placed in.

    Raises
    ------
    InputError
        If there is none, or if a transformation through one draws all points into a line or point, or is not finite.
    """
    affines = _affines(sdata, placed)
    return affines.get("global", next(iter(affines.values())))


def check_agreement(sdata: SpatialData, placed: Placed, centers_px: NDArray[np.float64]) -> None:
    """Refuse spots that lie elsewhere on the image by one coordinate system than by another.

    Parameters
    ----------
    sdata, placed
        The section.
    centers_px
        The spots as they would be taken ``(n, 2)``.

    Raises
    ------
    InputError
        With both systems, and how far apart they put the spots.
    """
    affines = _affines(sdata, placed)
    if len(affines) == 1:
        return
    slack_px = max(_APART * pitch_px(centers_px), 1.0)
    taken = "global" if "global" in affines else next(iter(affines))
    back = np.linalg.inv(affines[taken])
    for name, affine in affines.items():
        moved = affine @ back
        off_px = np.linalg.norm(centers_px @ moved[:2, :2].T + moved[:2, 2] - centers_px, axis=1)
        if off_px.max() > slack_px:
            raise InputError(
                f"coordinate systems {taken!r} and {name!r} contradict each other: they place the same spot of "
                f"{placed.shapes!r} {np.median(off_px):.0f} px apart on image {placed.image!r} (up to {off_px.max():.0f})",
                where="coordinate systems",
                expected="one position for each spot on the image",
                remedy="remove the wrong one: spatialdata.transformations.remove_transformation("
                f"sdata.shapes[{placed.shapes!r}], to_coordinate_system={taken!r}), or {name!r}",
            )


def _affines(sdata: SpatialData, placed: Placed) -> dict[str, NDArray[np.float64]]:
    """The affine from shapes to image through each system that both are placed in."""
    kind = "points" if placed.shapes in sdata.points else "shapes"
    spots, image = _placings(sdata, kind, placed.shapes), _placings(sdata, "images", placed.image)
    shared = [system for system in spots if system in image]
    if not shared:
        raise InputError(
            f"{kind} {placed.shapes!r} and image {placed.image!r} share no coordinate system "
            f"({', '.join(spots)} against {', '.join(image)})",
            where="coordinate systems",
            expected="one coordinate system that both are in",
            remedy=f"if they are in px of the image: spatialdata.transformations.set_transformation(sdata.{kind}["
            f"{placed.shapes!r}], spatialdata.transformations.get_transformation(sdata.images[{placed.image!r}], "
            f"to_coordinate_system={next(iter(image))!r}), to_coordinate_system={next(iter(image))!r})",
        )
    axes = ("x", "y"), ("x", "y")
    found = {}
    for system in shared:
        of_image, of_shapes = (placing[system].to_affine_matrix(*axes) for placing in (image, spots))
        _check_plane(of_image, "images", placed.image, system)
        _check_plane(of_shapes, kind, placed.shapes, system)
        found[system] = np.linalg.inv(of_image) @ of_shapes
    return found


def _placings(sdata: SpatialData, kind: str, key: str) -> dict[str, Any]:
    """Transformations of an element by coordinate system; refused where it has lost them."""
    from spatialdata.transformations import get_transformation

    try:
        return dict(get_transformation(getattr(sdata, kind)[key], get_all=True))
    except AssertionError as error:  # as spatialdata says it, of points after copy.deepcopy
        raise InputError(
            f"{kind} {key!r} are in no coordinate system",
            where=f"sdata.{kind}[{key!r}]",
            expected="an element with a transformation",
            remedy="copy with spatialdata.deepcopy(sdata), which keeps them, or set one: spatialdata.transformations."
            f"set_transformation(sdata.{kind}[{key!r}], spatialdata.transformations.Identity())",
        ) from error


def _check_plane(affine: NDArray[np.float64], kind: str, key: str, system: str) -> None:
    """Refuse a transformation after which the plane is none: every distance along one direction would be 0."""
    if np.isfinite(affine).all():
        longest, shortest = np.linalg.svd(affine[:2, :2], compute_uv=False)
        if shortest > _FLAT * longest:
            return
    raise InputError(
        f"the transformation of {key!r} to {system!r} is singular: {affine[:2].tolist()}",
        where=f"sdata.{kind}[{key!r}]",
        expected="a finite transformation that can be inverted",
        remedy="correct it: spatialdata.transformations.set_transformation("
        f"sdata.{kind}[{key!r}], transformation, to_coordinate_system={system!r})",
    )
