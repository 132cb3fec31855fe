"""Images of a SpatialData as image sources: the chunks dask would decode, each asked for once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.lost import find_stored, logger, say_level, say_lost, whitened
from st_predict.core.alpha import over_white
from st_predict.core.channels import FOUR_REMEDY, color_channels, say_names
from st_predict.core.chunks import check_there
from st_predict.core.errors import InputError
from st_predict.core.tiles.sources import ArraySource

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.core.section import ImageSource


class DaskSource:
    """A lazy image ``(3 or 4, height, width)``, the fourth being alpha; its chunks are those of the dask array.

    ``folder`` is where it lies on disk, if it is one array there.
    """

    def __init__(self, pixels: Any, folder: Path | None = None) -> None:
        self._pixels, self._folder = pixels, folder
        self.row_edges = np.cumsum([0, *pixels.chunks[1]])
        self.col_edges = np.cumsum([0, *pixels.chunks[2]])

    def read_chunk(self, row: int, col: int) -> NDArray[np.uint8]:
        """Decode one chunk: ``(height, width, 3)``."""
        import dask

        (block,) = dask.optimize(self._pixels.blocks[:, row, col])
        # The graph is run as it is: compute() would copy the chunk, and into another memory order.
        parts = [part[0][0] for part in dask.get(block.__dask_graph__(), block.__dask_keys__())]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self._folder is not None:
            check_there(self._folder)
        return over_white(np.asarray(pixels).transpose(1, 2, 0))


def image_array(sdata: SpatialData, key: str) -> Any:
    """Full-resolution image as an xarray ``(c, y, x)``; the first scale of a multiscale image."""
    element = sdata.images[key]
    if hasattr(element, "children") and element.children:  # xarray.DataTree
        level = element["scale0"] if "scale0" in element.children else next(iter(element.children.values()))
        element = next(iter(level.data_vars.values()))
    return element.transpose("c", "y", "x")


def image_source(sdata: SpatialData, key: str) -> ImageSource:
    """Pixels of an RGB image, its channels ordered by their names.

    Raises
    ------
    InputError
        If the image is not 8-bit RGB (or RGBA, which is laid over white), or has a fourth channel that is not said to
        be alpha.
    """
    array = image_array(sdata, key)
    if not _is_rgb(array):
        raise InputError(
            f"image {key!r} has {array.sizes['c']} channels of {array.dtype}",
            where=f"sdata.images[{key!r}]",
            expected="an H&E image: 3 channels (RGB) of uint8",
            remedy=_how_to_8_bit(sdata, key, array),
        )
    if _color_channels(array) is None:
        raise InputError(
            f"image {key!r} has 4 channels, {', '.join(map(str, _names(array)))}, and nothing says that the fourth is alpha",
            where=f"sdata.images[{key!r}]",
            expected="an H&E image: channels r, g, b, and a if it has alpha",
            remedy=FOUR_REMEDY,
        )
    return _source(array)


def _how_to_8_bit(sdata: SpatialData, key: str, array: Any) -> str:
    """What to do about an image that is not 8-bit RGB: another one, or the same scaled to 0..255."""
    others = [name for name in sdata.images if name != key and _is_rgb(image_array(sdata, name))]
    if others:
        return f"choose the H&E image: image_key={others[0]!r}"
    if array.sizes["c"] not in (3, 4):
        return "add the H&E image of this section; fluorescence and grayscale cannot be used"
    own = f"sdata.images[{key!r}]"
    pixels = own + ("['scale0']['image']" if hasattr(sdata.images[key], "children") else "")
    most = "1" if array.dtype.kind == "f" else str(np.iinfo(array.dtype).max)
    return (
        f"scale 0..{most} ({'where white is 1' if most == '1' else '4095 if 12 bits are used'}) to 0..255: {own} = "
        f"spatialdata.models.Image2DModel.parse(({pixels}.data * (255 / {most})).round().clip(0, 255).astype('uint8'), "
        f"dims=('c', 'y', 'x'), c_coords={np.asarray(_names(array)).tolist()}, transformations=spatialdata.transformations.get_transformation({own}, get_all=True))"
    )


def _is_rgb(array: Any) -> bool:
    return array.sizes["c"] in (3, 4) and array.dtype == np.uint8


def _names(array: Any) -> list[Any]:
    return list(array.coords["c"].values) if "c" in array.coords else list(range(array.sizes["c"]))


def _color_channels(array: Any) -> list[int] | None:
    return color_channels(_names(array), array.sizes["c"])


def _source(array: Any) -> ImageSource:
    """Pixels ``(c, y, x)`` in memory or lazy, as red, green, blue and, if there is one, alpha."""
    stored = find_stored(array.data)
    pixels, order = whitened(array.data, stored), _color_channels(array)
    if order not in (None, list(range(array.sizes["c"]))):
        pixels = pixels[order]
    if isinstance(pixels, np.ndarray):
        return ArraySource(over_white(pixels.transpose(1, 2, 0)))
    # Where a lazy array is nothing but a view of an image source, that is read: a graph a chunk takes three times as long.
    viewed: Any = pixels.dask.get(f"original-{pixels.name}")
    return viewed if hasattr(viewed, "read_chunk") else DaskSource(pixels, stored and stored.folder)


def reduced_sources(sdata: SpatialData, key: str) -> list[ImageSource]:
    """Smaller copies of a multiscale image, finer ones first; but those that lack what the finest has."""
    finest, reduced = image_array(sdata, key), _reduced(sdata, key)
    kept = [array for array in reduced.values() if say_level(finest.data, array.data, "", key) is None]
    return sorted(map(_source, kept), key=lambda source: -int(source.row_edges[-1]))


def say_what_is_lost(sdata: SpatialData, key: str) -> None:
    """Say what an image lacks in its store, which of its levels are not used for that, and channels named as no colors.

    Raises
    ------
    InputError
        If nothing of one of its colors is there.
    """
    finest = image_array(sdata, key)
    say_lost(finest.data, key)
    if note := say_names(_names(finest), finest.sizes["c"], f"image {key!r}"):
        logger.warning("%s", note)
    for name, array in _reduced(sdata, key).items():
        if note := say_level(finest.data, array.data, f"level {name}", key):
            logger.warning("%s", note)


def _reduced(sdata: SpatialData, key: str) -> dict[str, Any]:
    """Levels ``(c, y, x)`` of a multiscale image that are smaller than the finest, by their names."""
    height = int(image_array(sdata, key).sizes["y"])
    return {
        name: array.transpose("c", "y", "x")
        for name, level in getattr(sdata.images[key], "children", {}).items()
        for array in level.data_vars.values()
        if array.sizes["y"] < height
    }
