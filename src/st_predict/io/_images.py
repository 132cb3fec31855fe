"""Image files as lazy ``(3, height, width)`` dask arrays, and as elements of SpatialData.

Every reader gets its pixels here: tiled TIFFs stay on disk, flat images are decoded once.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError
from st_predict.io._checks import check_file, logger
from st_predict.io._flat_image import FLAT_CHUNK_PX, check_upright, decode_flat
from st_predict.io._kinds import FIRST_BYTES, say_kind
from st_predict.io._tiff import TiffImage, is_tiff, tiff_notes, tiff_scenes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dask.array as da
    from numpy.typing import NDArray
    from xarray import DataArray


def open_image(path: str | Path, *, where: str = "image") -> da.Array:
    """Open an H&E image so that reading a region costs that region.

    A tiled TIFF (level 0 of a pyramid) stays on disk, in chunks of whole tiles. A JPEG, PNG or strip TIFF is decoded
    once, here, into a temporary file that is removed when the array is no longer referenced. What is transparent or was
    never stored is white.

    Parameters
    ----------
    path
        TIFF, BigTIFF, OME-TIFF, JPEG or PNG, told apart by content.
    where
        The argument it was given as, for errors.

    Returns
    -------
    Pixels ``(3, height, width)``, uint8.

    Raises
    ------
    InputError
        The file is missing, empty, truncated, corrupt, no image, not 8-bit RGB, or to be shown turned: nobody knows
        whether spots were placed before it was turned or after.
    """
    path = Path(path)
    check_file(path, where=where)
    _check_kind(path, where)
    if is_tiff(path):
        number, scenes = tiff_scenes(path, where=where)
        tiff = TiffImage(path, where=where, series=number)
        for note in tiff_notes(tiff, scenes):
            logger.warning("%s", note)
        if tiff.is_tiled:
            return lazy_array(tiff)
    else:
        check_upright(path, where=where)
    return lazy_array(decode_flat(path, where=where), chunk_px=FLAT_CHUNK_PX)


def lazy_array(source: Any, *, chunk_px: int | None = None) -> da.Array:
    """An image that is read when it is indexed, as a dask array that is nothing but a view of it.

    Parameters
    ----------
    source
        Pixels ``(3, height, width)`` uint8 that can be indexed.
    chunk_px
        Edge of the chunks; ``None``: those of ``source``, an :class:`~st_predict.core.section.ImageSource` then.
    """
    import dask.array as da

    chunks: tuple[Any, ...] = (3, chunk_px, chunk_px)
    if chunk_px is None:
        chunks = (3, *(tuple(int(size) for size in np.diff(edges)) for edges in (source.row_edges, source.col_edges)))
    return da.from_array(
        source,
        chunks=chunks,
        name=f"st-predict-image-{uuid.uuid4().hex}",  # without a name dask hashes every pixel
        asarray=False,
        fancy=True,  # or dask would read whole chunks and cut the region out afterwards
        meta=np.empty((0, 0, 0), dtype=np.uint8),
    )


def _check_kind(path: Path, where: str) -> None:
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
    if not (is_tiff(path) or start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))):
        found, remedy = say_kind(path, start)
        raise InputError(
            f"{path.name} is not an image this reader knows ({found})",
            where=where,
            expected="a TIFF, OME-TIFF, JPEG or PNG file",
            remedy=remedy or "check the path, or export the image as one of these",
        )


def image_element(pixels: da.Array | NDArray[np.uint8], transformations: Mapping[str, Any]) -> DataArray:
    """Pixels ``(3, height, width)`` as a single-scale SpatialData image with channels r, g, b.

    Parameters
    ----------
    pixels
        As :func:`open_image` gives them, or in memory.
    transformations
        Coordinate system -> transformation.
    """
    from spatialdata.models import Image2DModel

    return Image2DModel.parse(
        pixels, dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=dict(transformations)
    )
