"""TIFF files: which level and axes hold the image, tiles decoded where they lie, strips handed over once.

Knows tifffile and zarr; knows nothing of spots, SpatialData or dask.
"""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.io._checks import not_rgb, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tifffile
    from numpy.typing import NDArray

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BAND_ROWS = 1024


def is_tiff(path: Path) -> bool:
    """Whether the file starts as a TIFF or BigTIFF does, whatever its name ends in."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


class TiffImage:
    """Pixels ``(3, height, width)`` uint8 of level 0; indexing decodes the blocks under the region and no others.

    Pickling carries the path. A forked process opens the file anew: it must not share a file position with its parent.

    Parameters
    ----------
    path
        A TIFF file.
    where
        The argument it was given as, for errors.

    Raises
    ------
    InputError
        The file is corrupt, ends before its last block, or holds no 8-bit RGB image.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, *, where: str) -> None:
        self.path, self.where = path.resolve(), where
        self._open()

    def _open(self) -> None:
        import tifffile
        import zarr

        try:
            file = tifffile.TiffFile(self.path)
        except (tifffile.TiffFileError, ValueError, OSError, struct.error) as error:
            raise unreadable(self.path, error, where=self.where) from error
        self._close = weakref.finalize(self, file.close)
        series = _level0(file, self.path, self.where)
        self._channels_last = series.axes == "YXS"
        self.is_tiled = bool(series.keyframe.is_tiled)
        self._array = zarr.open_array(series.aszarr(level=0), mode="r")
        rows = 0 if self._channels_last else 1
        height, width = self._array.shape[rows : rows + 2]
        self.shape = (3, height, width)
        self.block_px: tuple[int, int] = tuple(self._array.chunks[rows : rows + 2])
        self._pid = os.getpid()

    def __getitem__(self, key: tuple[Any, Any, Any]) -> NDArray[np.uint8]:
        if self._pid != os.getpid():
            self._open()
        channels, rows, columns = key
        try:
            # Row and column each may be a number, a slice or a list.
            if self._channels_last:
                region = np.moveaxis(np.asarray(self._array.oindex[rows, columns, :3]), -1, 0)
            else:
                region = np.asarray(self._array.oindex[:3, rows, columns])
        except (RuntimeError, ValueError, zlib.error) as error:  # what the decoders raise
            raise unreadable(self.path, error, where=self.where) from error
        return np.ascontiguousarray(region[channels])

    def __deepcopy__(self, memo: dict[int, Any]) -> TiffImage:
        return self  # read-only

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.where)


def _reopen(path: str, where: str) -> TiffImage:
    return TiffImage(Path(path), where=where)


def _level0(file: tifffile.TiffFile, path: Path, where: str) -> tifffile.TiffPageSeries:
    """The full-resolution level: the largest series, checked to be whole and 8-bit RGB."""
    import tifffile

    try:
        # Writers that keep a pyramid as plain pages give one series a level: the largest is level 0.
        series = max(file.series, key=lambda s: int(np.prod(s.shape)))
        ends = [
            offset + count
            for page in series.pages
            if page is not None
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        end, size = max(ends), path.stat().st_size
    except (tifffile.TiffFileError, ValueError, IndexError, struct.error) as error:
        raise unreadable(path, error, where=where) from error
    if end > size:
        raise unreadable(path, f"its pixels end at byte {end}, the file at byte {size}", where=where)
    axes, shape, color = series.axes, series.shape, series.keyframe.photometric.name
    if series.dtype != np.uint8:
        raise not_rgb(path, f"{series.dtype}", where=where)
    n_channels = shape[2] if axes == "YXS" else shape[0] if axes in ("SYX", "CYX") else 1
    if n_channels not in (3, 4) or color in ("SEPARATED", "PALETTE", "CIELAB"):
        raise not_rgb(path, f"axes {axes}, shape {shape}, {color.lower()}", where=where)
    return series


def strip_bands(path: Path, *, where: str) -> tuple[int, int, Iterator[NDArray[np.uint8]]]:
    """Height, width and rows ``(n_rows, width, 3)`` of a TIFF stored in strips, each strip decoded once."""
    image = TiffImage(path, where=where)
    _, height, width = image.shape
    rows = image.block_px[0]
    step = max(1, _BAND_ROWS // rows) * rows

    def bands() -> Iterator[NDArray[np.uint8]]:
        for top in range(0, height, step):
            yield image[:, top : top + step, :].transpose(1, 2, 0)

    return height, width, bands()
