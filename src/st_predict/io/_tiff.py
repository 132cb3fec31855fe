"""TIFF files: which levels and axes hold the image, tiles decoded where they lie, strips handed over once.

Knows tifffile and zarr; knows nothing of spots, SpatialData or dask.
"""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from contextlib import contextmanager
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
_BLANK = 255  # a scanner leaves out tiles that show nothing but glass
TILED_CHUNK_PX = 512
"""Whole tiles up to about this edge make a chunk: 256 px tiles by themselves cost more to name than to decode."""


def is_tiff(path: Path) -> bool:
    """Whether the file starts as a TIFF or BigTIFF does, whatever its name ends in."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


class TiffImage:
    """Pixels ``(3, height, width)`` uint8 of one level; indexing decodes the blocks under the region and no others.

    Also an image source, which is read a chunk of whole tiles at a time: tiles are then decoded one by one from bytes
    read at their place, 1.6 times as fast for JPEG as through the Zarr view that serves any other indexing.

    Pickling carries the path. A forked process opens the file anew: it must not share a file position with its parent.

    Parameters
    ----------
    path
        A TIFF file.
    where
        The argument it was given as, for errors.
    level
        Level of the pyramid, 0 the finest; see :func:`n_levels`.

    Raises
    ------
    InputError
        The file is corrupt, ends before its last block, or holds no 8-bit RGB image.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, *, where: str, level: int = 0) -> None:
        self.path, self.where, self.level = path.resolve(), where, level
        self._open()
        _, height, width = self.shape
        self.row_edges, self.col_edges = (
            np.append(np.arange(0, size, max(1, TILED_CHUNK_PX // block) * block), size)
            for size, block in zip((height, width), self.block_px, strict=True)
        )

    def _open(self) -> None:
        import zarr

        file = _open_file(self.path, self.where)
        self._close = weakref.finalize(self, file.close)
        series = _levels(file, self.path, self.where)[self.level]
        self._channels_last = series.axes == "YXS"
        self.is_tiled = bool(series.keyframe.is_tiled)
        self._page = series.keyframe
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

    def read_chunk(self, row: int, col: int) -> NDArray[np.uint8]:
        """Decode one chunk ``(height, width, 3)``, each of its tiles once."""
        (top, bottom), (left, right) = self.row_edges[row : row + 2], self.col_edges[col : col + 2]
        if not (self._channels_last and self.is_tiled):
            return self[:, top:bottom, left:right].transpose(1, 2, 0)
        pixels = np.empty((bottom - top, right - left, 3), np.uint8)
        tall, wide = self.block_px
        a_row = -(-self.shape[2] // wide)
        with self.path.open("rb") as file:  # one of its own: other threads and processes read at the same time
            for y in range(top, bottom, tall):
                for x in range(left, right, wide):
                    tile = self._decode(file, y // tall * a_row + x // wide)
                    inside = pixels[y - top : y - top + tall, x - left : x - left + wide]
                    inside[:] = _BLANK if tile is None else tile[: inside.shape[0], : inside.shape[1], :3]
        return pixels

    def _decode(self, file: Any, index: int) -> NDArray[np.uint8] | None:
        page = self._page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not count:
            return None
        file.seek(offset)
        try:
            tile = page.decode(file.read(count), index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]
        except (RuntimeError, ValueError, zlib.error) as error:
            raise unreadable(self.path, error, where=self.where) from error
        return None if tile is None else tile[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> TiffImage:
        return self  # read-only

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.where, self.level)


def _reopen(path: str, where: str, level: int) -> TiffImage:
    return TiffImage(Path(path), where=where, level=level)


@contextmanager
def open_finest(path: Path, *, where: str) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPageSeries]]:
    """The file, and the series of the level that is read: other images of the file have scales of their own."""
    with _open_file(path, where) as file:
        yield file, _levels(file, path, where)[0]


def n_levels(path: Path, *, where: str) -> int:
    """How many levels of a pyramid a TIFF holds; 1 where there is no pyramid."""
    with _open_file(path, where) as file:
        return len(_levels(file, path, where))


def _open_file(path: Path, where: str) -> tifffile.TiffFile:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except (tifffile.TiffFileError, ValueError, OSError, struct.error) as error:
        raise unreadable(path, error, where=where) from error


def _levels(file: tifffile.TiffFile, path: Path, where: str) -> list[tifffile.TiffPageSeries]:
    """Levels of the pyramid, the finest first, each checked to be whole and 8-bit RGB."""
    import tifffile

    try:
        # The largest series is level 0. Writers that keep a pyramid as plain pages give one series a level.
        series = sorted(file.series, key=lambda s: -int(np.prod(s.shape)))
        levels = list(series[0].levels)
        if len(levels) == 1 and levels[0].keyframe.is_tiled and not file.is_ome:  # whose levels are its own
            levels += [s for s in series[1:] if s.keyframe.is_tiled and _is_reduced(s, levels[0])]
        for level in levels:
            _check_level(level, path, where)
    except IndexError as error:
        raise unreadable(path, "the list of its images lies beyond its end", where=where) from error
    except (tifffile.TiffFileError, ValueError, struct.error) as error:
        raise unreadable(path, error, where=where) from error
    return levels


def _is_reduced(series: tifffile.TiffPageSeries, of: tifffile.TiffPageSeries) -> bool:
    """Whether a series is the same picture, smaller: same axes and the same reduction both ways."""
    if (series.axes, series.dtype) != (of.axes, of.dtype) or series.ndim != of.ndim:
        return False
    small, large = (dict(zip(s.axes, s.shape, strict=True)) for s in (series, of))
    tall, wide = (large[axis] / small[axis] for axis in "YX")
    # Another picture of the file (a second section, a label) is of any size; a level is a power of two, or says so.
    halvings = np.log2(tall)
    by_power = abs(halvings - round(halvings)) < 0.01
    return tall > 1.5 and abs(tall / wide - 1) < 0.01 and (by_power or bool(series.keyframe.is_reduced))


def _check_level(series: tifffile.TiffPageSeries, path: Path, where: str) -> None:
    ends = [
        offset + count
        for page in series.pages
        if page is not None
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    end, size = max(ends), path.stat().st_size
    if end > size:
        raise unreadable(path, f"its pixels end at byte {end}, the file at byte {size}", where=where)
    axes, shape, color = series.axes, series.shape, series.keyframe.photometric.name
    if series.dtype != np.uint8:
        raise not_rgb(path, f"{series.dtype}", where=where)
    n_channels = shape[2] if axes == "YXS" else shape[0] if axes in ("SYX", "CYX") else 1
    if n_channels not in (3, 4) or color in ("SEPARATED", "PALETTE", "CIELAB"):
        raise not_rgb(path, f"axes {axes}, shape {shape}, {color.lower()}", where=where)


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
