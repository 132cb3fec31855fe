"""LazySlide's WSIData: a SpatialData whose pixels come from a reader, with tiles and tissue of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict._spatialdata.image import image_array
from st_predict.core.checks import check_um_per_px

if TYPE_CHECKING:
    from spatialdata import SpatialData

TISSUES = "tissues"
_IMAGE, _TILES = "wsi", "tile_spec"


def slide_image(sdata: SpatialData) -> str | None:
    """The slide that a WSIData reads, as one of its images; ``None`` for any other SpatialData.

    Where it is not among them it is put there, lazily and multiscale, as ``wsidata.open_wsi(attach_images=True)``
    does; ``wsi.write()`` leaves it out.
    """
    reader = getattr(sdata, "reader", None)
    if reader is None:
        return None
    for name in sdata.images:
        if image_array(sdata, name).shape[1:] == tuple(reader.properties.shape):
            return str(name)
    from wsidata.reader import to_datatree

    sdata.images[_IMAGE] = to_datatree(reader)
    sdata.set_exclude_elements([_IMAGE])
    return _IMAGE


def slide_scale(sdata: SpatialData, image: str) -> float | None:
    """Scale that a WSIData knows of its slide.

    Raises
    ------
    InputError
        If it cannot be right.
    """
    reader = getattr(sdata, "reader", None)
    if reader is None or reader.properties.mpp is None or image != slide_image(sdata):
        return None
    found = float(reader.properties.mpp)
    check_um_per_px(found, where="wsi.properties.mpp")
    return found


def tile_keys(sdata: SpatialData) -> list[str]:
    """Shapes that ``lazyslide.pp.tile_tissues`` laid on tissue."""
    return [key for key in sdata.attrs.get(_TILES, {}) if key in sdata.shapes]
