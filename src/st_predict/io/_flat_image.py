"""Images without random access (JPEG, PNG, strip TIFF): decoded once into a mapped temporary file, read from there.

Owns the temporary file and its life. Knows nothing of spots, SpatialData or dask.

Why a mapped file and not an array in memory: a study of forty 100-megapixel sections is 12 GB of pixels, which the
system can drop from and fetch back into memory as it needs, and other processes map the same file instead of copying it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.alpha import over_white
from st_predict.core.errors import InputError
from st_predict.core.files import remove_left
from st_predict.core.maker import making
from st_predict.io._foreign import reading
from st_predict.io._no_rgb import cmyk, deep, gray, no_rgb
from st_predict.io._orientation import UPRIGHT, not_upright, orientation, turned, turned_size
from st_predict.io._tiff import TiffImage, is_tiff, strip_bands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    Band = NDArray[np.uint8]

logger = logging.getLogger("st_predict")

FLAT_CHUNK_PX = 2048
_BAND_ROWS = 1024
_PNG_GRAY = (0, 4)  # without alpha and with it
MOST_PX = 800_000_000
"""Of an image that has to be decoded whole: Pillow takes 3.2 GB of memory for it, and its pixels 2.4 GB of disk."""
_living: weakref.WeakValueDictionary[str, FlatImage] = weakref.WeakValueDictionary()


class FlatImage:
    """Pixels ``(3, height, width)`` uint8 of one decoded image; indexing gives a read-only view.

    A pickle holds file names, not pixels. The same process gets the same object back. Another process on the same
    machine maps the same file, and one that cannot see the file decodes the source again, once.

    Parameters
    ----------
    source
        The image file that was decoded.
    temp
        The file of raw pixels, stored ``(height, width, 3)``.
    height, width
        Size in px.
    series
        Which picture of the source it is; ``None``: the largest.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, source: str, temp: str, height: int, width: int, series: int | None = None) -> None:
        self.source, self.temp, self.series = source, temp, series
        self.shape = (3, height, width)
        stored = np.memmap(temp, dtype=np.uint8, mode="r", shape=(height, width, 3))
        self._pixels = stored.view(np.ndarray).transpose(2, 0, 1)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        # A read-only view: a chunk costs only the pages that are touched. It keeps the file mapped while it lives.
        return self._pixels[key]

    def __deepcopy__(self, memo: dict[int, Any]) -> FlatImage:
        return self  # pixels are read-only: sharing is safe, and keeps the temporary file alive

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.source, self.temp, self.shape[1], self.shape[2], self.series)


def _reopen(source: str, temp: str, height: int, width: int, series: int | None) -> FlatImage:
    if (living := _living.get(temp)) is not None:
        return living
    if Path(temp).exists():
        image = FlatImage(source, temp, height, width, series)
    else:
        image = decode_flat(Path(source), where=source, series=series)
    # Tasks of one process share what the first of them opened.
    _living[temp] = image
    return image


def decode_flat(path: Path, *, where: str, series: int | None = None) -> FlatImage:
    """Decode a JPEG, PNG or strip TIFF once, a band of rows at a time.

    Parameters
    ----------
    path
        The image file.
    where
        The argument it was given as, for errors.
    series
        Which picture of a TIFF, where it holds several; ``None``: the largest.

    Returns
    -------
    The decoded image; its temporary file is removed when the last reference to it goes.

    Raises
    ------
    InputError
        The file is truncated or corrupt, is not 8-bit RGB, or the temporary folder has no room for its pixels.
    """
    with reading(path, where=where):
        height, width, bands = (
            _strip_bands(path, where=where, series=series) if is_tiff(path) else _pillow_bands(path, where=where)
        )
    place = Path(tempfile.gettempdir())
    remove_left(place)
    temp = str(place / making("image", ".rgb"))
    handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with contextlib.ExitStack() as on_error:
        on_error.callback(Path(temp).unlink, missing_ok=True)
        # Written, not mapped: a full disk is then an error here, not a crash on the first touch of a page.
        with os.fdopen(handle, "wb") as file:
            try:
                for band in bands:
                    file.write(np.ascontiguousarray(band).data)
            except OSError as error:
                raise InputError(
                    f"no room for the {height * width * 3 / 1e9:.2f} GB of pixels of {path.name}: {error}",
                    where=tempfile.gettempdir(),
                    expected="room for the decoded image in the temporary folder",
                    remedy="free space, or set TMPDIR to a larger disk",
                ) from error
        image = FlatImage(str(path.absolute()), temp, height, width, series)
        on_error.pop_all()
    weakref.finalize(image, _remove, temp)
    _living[temp] = image
    return image


def _remove(temp: str) -> None:
    try:
        Path(temp).unlink(missing_ok=True)
    except PermissionError:  # Windows keeps mapped files; the system's own clean-up takes it later
        logger.debug("could not remove %s", temp)


def check_flat_size(path: Path, height: int, width: int, *, where: str) -> None:
    """Refuse an image that would have to be decoded whole and is too large for it, by the size its header states."""
    if height * width <= MOST_PX:
        return
    raise InputError(
        f"{path.name} is {width} x {height} px by its header: {height * width * 3 / 1e9:.1f} GB, which must be decoded "
        "whole because of how the file is stored",
        where=where,
        expected=f"at most {MOST_PX / 1e6:.0f} million px in a PNG, a JPEG or a TIFF in strips; a tiled TIFF of any size",
        remedy=f"convert it to a tiled pyramid: vips tiffsave {shlex.quote(path.name)} {shlex.quote(path.stem + '_tiled.tif')} "
        "--tile --pyramid --bigtiff --compression jpeg --Q 90",
    )


def _strip_bands(path: Path, *, where: str, series: int | None) -> tuple[int, int, Iterator[Band]]:
    height, width, bands = strip_bands(path, where=where, series=series)
    check_flat_size(path, height, width, where=where)
    return height, width, bands


def _pillow_bands(path: Path, *, where: str) -> tuple[int, int, Iterator[Band]]:
    """Height, width and rows of a JPEG or PNG.

    Pillow and not imagecodecs: on a 92-megapixel JPEG it takes 1.8 s instead of 0.8 s, but imagecodecs returns a file
    cut at any place as if it were whole, the lost part gray, where Pillow raises. The plugin classes are called as they
    are because ``Image.open`` refuses more than 179 megapixels unless a setting of the whole process is changed.
    """
    image: Image = _open_pillow(path, where=where)
    # A palette, or one color of an RGB image, may be transparent as well.
    colors = "RGBA" if image.mode == "RGBA" or "transparency" in image.info else "RGB"
    with contextlib.ExitStack() as on_error, reading(path, where=where):
        on_error.callback(image.close)
        image.load()
        on_error.pop_all()
    image = turned(image)

    def bands() -> Iterator[Band]:
        with image:
            for top in range(0, image.height, _BAND_ROWS):
                box = (0, top, image.width, min(top + _BAND_ROWS, image.height))
                yield over_white(np.asarray(image.crop(box).convert(colors)))

    return image.height, image.width, bands()


def _open_pillow(path: Path, *, where: str) -> ImageFile:
    """A JPEG or PNG of 8-bit color, its pixels not yet decoded."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    with reading(path, where=where), path.open("rb") as file:
        start = file.read(26)
    png = start.startswith(b"\x89PNG")
    # Byte 24 of a PNG is its bit depth, which Pillow silently cuts to 8; byte 25 its kind.
    if png and start[24:25] == b"\x10":
        raise (gray if start[25] in _PNG_GRAY else deep)(path, np.dtype(np.uint16), where=where)
    with reading(path, where=where):
        image = (PngImageFile if png else JpegImageFile)(str(path))
    try:
        check_flat_size(path, image.height, image.width, where=where)
    except InputError:
        image.close()
        raise
    if image.mode not in ("RGB", "RGBA", "P"):
        image.close()
        if image.mode == "CMYK":
            raise cmyk(path, where=where)
        if image.mode in ("1", "L", "LA", "I", "I;16"):
            raise gray(path, image.mode, where=where)
        raise no_rgb(path, f"its mode is {image.mode}", where=where)
    return image


def check_upright(path: Path, *, where: str) -> None:
    """Refuse a JPEG or PNG that is to be shown turned, before spots are laid on it."""
    with _open_pillow(path, where=where) as image:
        if (found := orientation(image)) != UPRIGHT:
            raise not_upright(path, found, where=where)


class UndecodedImage:
    """A JPEG, PNG or strip TIFF that is decoded when its first pixel is asked for; opening it reads the header alone.

    A JPEG or PNG that is to be shown turned is turned; :attr:`orientation` is how.

    An image source, and pixels ``(3, height, width)`` uint8 that can be indexed. Pickling carries the path.

    Parameters
    ----------
    path
        The image file.
    where
        The argument it was given as, for errors.
    series
        Which picture of a TIFF, where it holds several; ``None``: the largest.

    Raises
    ------
    InputError
        The file is no image, or not 8-bit RGB; once pixels are asked for, also what :func:`decode_flat` raises.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, *, where: str, series: int | None = None) -> None:
        self.path, self.where, self.series = path.absolute(), where, series
        self.orientation = UPRIGHT
        if is_tiff(path):
            self.shape: tuple[int, int, int] = TiffImage(path, where=where, series=series).shape
            check_flat_size(path, *self.shape[1:], where=where)
        else:
            with _open_pillow(path, where=where) as image:
                self.orientation = orientation(image)
                self.shape = (3, *turned_size(self.orientation, image.height, image.width))
        self.row_edges, self.col_edges = (np.append(np.arange(0, size, FLAT_CHUNK_PX), size) for size in self.shape[1:])
        self._decoded: FlatImage | None = None
        self._lock = threading.Lock()

    def _pixels(self) -> FlatImage:
        with self._lock:
            if self._decoded is None:
                self._decoded = decode_flat(self.path, where=self.where, series=self.series)
        return self._decoded

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        return self._pixels()[key]

    def read_chunk(self, row: int, col: int) -> NDArray[np.uint8]:
        """A view of one chunk ``(height, width, 3)``."""
        rows, cols = slice(*self.row_edges[row : row + 2]), slice(*self.col_edges[col : col + 2])
        return self[:, rows, cols].transpose(1, 2, 0)

    def __deepcopy__(self, memo: dict[int, Any]) -> UndecodedImage:
        return self  # read-only

    def __reduce__(self) -> tuple[Any, ...]:
        return _undecoded, (str(self.path), self.where, self.series)


def _undecoded(path: str, where: str, series: int | None) -> UndecodedImage:
    return UndecodedImage(Path(path), where=where, series=series)
