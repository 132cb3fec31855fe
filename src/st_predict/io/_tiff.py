"""TIFF files: which levels and axes hold the image, tiles decoded where they lie, strips handed over once.

Knows tifffile and zarr; knows nothing of spots, SpatialData or dask.
"""

from __future__ import annotations

import html
import os
import re
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.alpha import BLANK, over_white
from st_predict.core.channels import color_channels, say_names
from st_predict.core.chunks import any_plane, whiten
from st_predict.io._blocks import check_planes, tiff_lacks
from st_predict.io._checks import link_places, unreadable
from st_predict.io._foreign import reading, said
from st_predict.io._orientation import check_tag
from st_predict.io._regions import RegionImage
from st_predict.io._scenes import missing, say_focal, several
from st_predict.io._tiff_color import find_color, n_channels, refusal, ycbcr_to_rgb
from st_predict.io._tiff_names import channel_names, completed
from st_predict.io._tiff_planes import n_focal_planes
from st_predict.io._tiff_scenes import find_levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import tifffile
    from numpy.typing import NDArray

    from st_predict.io._scenes import Scene

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHER_FILES = re.compile(r'\b(?:FileName|MetadataFile)="([^"]+)"')
_NDPI = 65420  # a tag that Hamamatsu's files have, whose offsets are twice as long
_BAND_ROWS = 1024
_MOST_TILE_PX = 2**28  # any of which is decoded whole: 0.8 GB
TILED_CHUNK_PX = 512
"""Whole tiles up to about this edge make a chunk: 256 px tiles by themselves cost more to name than to decode."""


def is_tiff(path: Path) -> bool:
    """Whether the file starts as a TIFF or BigTIFF does, whatever its name ends in."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def tiff_files(path: Path, *, where: str) -> list[Path]:
    """A TIFF and, if it is an OME-TIFF, the other files that it names, as far as they are there."""
    with reading(path, where=where), _open_file(path) as file:
        if not file.is_ome:
            return [path]
        place = _place(file, path)
        return [path, *(place.parent / name for name in _others(file) if (place.parent / name).is_file())]


class TiffImage(RegionImage):
    """Pixels ``(3, height, width)`` uint8 of one level; indexing decodes the blocks under the region and no others.

    Also an image source, which is read a chunk of whole tiles at a time. Both ways are one: :meth:`read_box`. Tiles are
    decoded one by one from bytes read at their place, 1.6 times as fast for JPEG as through the Zarr view that serves
    planes and strips. Blocks that were never stored are white, and alpha lies over white.

    Pickling carries the path. A forked process opens the file anew: it must not share a file position with its parent.

    Parameters
    ----------
    path
        A TIFF file.
    where
        The argument it was given as, for errors.
    level
        Level of the pyramid, 0 the finest; see :func:`n_levels`.
    series
        Which picture of the file, where it holds several; ``None``: the largest.

    Raises
    ------
    InputError
        The file is corrupt, ends before its last block, or holds no 8-bit RGB image.
    """

    def __init__(self, path: Path, *, where: str, level: int = 0, series: int | None = None) -> None:
        self.path, self.where, self.level, self.series = path.absolute(), where, level, series
        self._open()
        super().__init__(*self._size, self.block_px, chunk_px=TILED_CHUNK_PX)

    def _open(self) -> None:
        with reading(self.path, where=self.where) as self.remarks:
            self._read_header()

    def _read_header(self) -> None:
        import zarr

        file = _open_file(self.path)
        self._close = weakref.finalize(self, file.close)
        levels = _levels(file, self.path, self.where, self.series)
        series = levels[self.level]
        self._channels_last = series.axes == "YXS"
        self.is_tiled = bool(series.keyframe.is_tiled)
        n, names = n_channels(series), channel_names(file, levels[0].keyframe)
        color = find_color(series)
        if color is None:
            raise refusal(series, names, self.path, where=self.where)
        self._page, self._color = series.keyframe, color
        self.channels = names if series.axes == "CYX" else ()
        self.n_focal = n_focal_planes(levels[0])
        alpha = [] if color.alpha is None else [color.alpha]
        self._order = color_channels(self.channels, n) or [0, 1, 2, *alpha]
        self.left_out = [i for i in range(3, n) if i not in alpha]
        self._file = Path(self._page.parent.filehandle.path)  # an OME-TIFF may lie in several
        self._array: Any = zarr.open_array(series.aszarr(level=0, fillvalue=BLANK), mode="r")
        rows = 0 if self._channels_last else 1
        self._size: tuple[int, int] = self._array.shape[rows : rows + 2]
        self.block_px: tuple[int, int] = tuple(self._array.chunks[rows : rows + 2])
        grid = [-(-size // side) for size, side in zip(self._size, self.block_px, strict=True)]
        self.lacks = tiff_lacks(series, (grid[0], grid[1]))
        if self.level == 0:
            check_planes(self.lacks, self._order, self.path, where=self.where)
        self._lacks = any_plane(self.lacks)
        self._pid = os.getpid()

    def read_box(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """Pixels of a box, each block under it decoded once."""
        if self._pid != os.getpid():
            self._open()
        stored = self._read_tiles if self._channels_last and self.is_tiled else self._read_view
        with reading(self.path, where=self.where):
            pixels = stored(top, bottom, left, right)
        if self._order != list(range(pixels.shape[-1])):
            pixels = np.ascontiguousarray(pixels[..., self._order])
        if self._color.ycbcr:
            pixels = ycbcr_to_rgb(pixels)
        if self._color.alpha is not None:
            pixels = over_white(pixels, premultiplied=self._color.premultiplied)
        pixels = np.ascontiguousarray(pixels[..., :3])
        whiten(pixels, self._lacks, self.block_px, top, left)
        return pixels

    def _read_view(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        if self._channels_last:
            return np.asarray(self._array[top:bottom, left:right])
        return np.moveaxis(np.asarray(self._array[:, top:bottom, left:right]), 0, -1)

    def _read_tiles(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        tall, wide = self.block_px
        a_row = -(-self.shape[2] // wide)
        n_samples = self._page.samplesperpixel
        pixels = np.full((bottom - top, right - left, n_samples), BLANK, np.uint8)
        with self._file.open("rb") as file:  # one of its own: other threads and processes read at the same time
            for y in range(top // tall * tall, bottom, tall):
                for x in range(left // wide * wide, right, wide):
                    tile = self._decode(file, y // tall * a_row + x // wide)
                    if tile is None:
                        continue
                    rows, cols = slice(max(y, top), min(y + tall, bottom)), slice(max(x, left), min(x + wide, right))
                    part = tile[rows.start - y : rows.stop - y, cols.start - x : cols.stop - x]
                    pixels[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = part
        return pixels

    def _decode(self, file: Any, index: int) -> NDArray[np.uint8] | None:
        page = self._page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not (offset and count):
            return None
        file.seek(offset)
        tile = page.decode(file.read(count), index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]
        return None if tile is None else tile[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.where, self.level, self.series)


def _reopen(path: str, where: str, level: int, series: int | None) -> TiffImage:
    return TiffImage(Path(path), where=where, level=level, series=series)


@contextmanager
def open_finest(
    path: Path, *, where: str, series: int | None = None
) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPageSeries]]:
    """Open the file, and give the series of the level that is read; other images of the file have scales of their own."""
    with reading(path, where=where), _open_file(path) as file:
        yield file, _levels(file, path, where, series)[0]


def n_levels(path: Path, *, where: str, series: int | None = None) -> int:
    """Count the levels of a picture's pyramid; 1 where there is no pyramid."""
    with reading(path, where=where), _open_file(path) as file:
        return len(_levels(file, path, where, series))


def tiff_scenes(path: Path, *, where: str, series: int | None = None) -> tuple[int, list[Scene]]:
    """Number of the picture that is read, and all that are slides."""
    with reading(path, where=where), _open_file(path) as file:
        number, _, scenes = find_levels(file, path, where=where, series=series)
        return number, scenes


def tiff_notes(image: TiffImage, scenes: Sequence[Scene]) -> list[str]:
    """Messages about a file: pictures and samples that are not read, blocks that are missing, channels of odd names."""
    found = [
        missing(image, image.path),
        say_names(image.channels, 3, image.path.name),
        say_focal(image.n_focal, image.path),
    ]
    if image.remarks:
        found.append(f"parts of the header of {image.path.name} cannot be used, and are left out{said(image.remarks)}")
    for sample in image.left_out:
        which = {3: "fourth", 4: "fifth"}.get(sample, f"{sample + 1}th")
        found.append(
            f"the {which} sample of {image.path.name} is not marked as alpha (ExtraSamples 1 or 2), and is left out"
        )
    if image.series is not None and scenes:
        found.append(several(scenes, image.series, image.path))
    return [note for note in found if note]


def _open_file(path: Path) -> tifffile.TiffFile:
    import tifffile

    kind = {}
    if path.suffix.lower() == ".ndpi":  # tifffile goes by the ending
        with reading(path, where="path"), tifffile.TiffFile(path) as file:
            kind["is_ndpi"] = len(file.pages) > 0 and _NDPI in file.pages.first.tags
    file = tifffile.TiffFile(path, **kind)
    if (described := completed(file.ome_metadata or "")) is not None:
        file.close()
        file = tifffile.TiffFile(path, omexml=described, **kind)
    # tifffile follows a link to its end, and would look for the other files of an OME-TIFF there alone.
    place = _place(file, path)
    named: Any = file.filehandle
    named._dir, named._name = str(place.parent), place.name
    return file


def _place(file: tifffile.TiffFile, path: Path) -> Path:
    """Choose the path, of a link or of what it points to, beside which most of the files lie that an OME-TIFF names."""
    places = link_places(path)
    if len(places) == 1 or not file.is_ome:
        return places[0]
    names = _others(file)
    return max(places, key=lambda place: sum((place.parent / name).exists() for name in names))


def _others(file: tifffile.TiffFile) -> set[str]:
    return {html.unescape(name) for name in _OTHER_FILES.findall(file.ome_metadata or "")}


def _levels(file: tifffile.TiffFile, path: Path, where: str, number: int | None) -> list[tifffile.TiffPageSeries]:
    """Levels of the pyramid, the finest first, each checked to be whole and of 8 bits."""
    _, levels, _ = find_levels(file, path, where=where, series=number)
    check_tag(levels[0].keyframe, path, where=where)
    for level in levels:
        _check_whole(level, path, where)
        if level.dtype != np.uint8:
            raise refusal(level, channel_names(file, levels[0].keyframe), path, where=where)
    return levels


def _check_whole(series: tifffile.TiffPageSeries, path: Path, where: str) -> None:
    for page in series.pages:
        if page is None:
            continue
        n_places, n_sizes = len(page.dataoffsets), len(page.databytecounts)
        if n_places != n_sizes:
            raise unreadable(path, f"its header lists {n_places} places of blocks, and {n_sizes} sizes", where=where)
        end, size = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))), page.parent.filehandle.size
        if end > size:
            raise unreadable(path, f"its pixels end at byte {end}, the file at byte {size}", where=where)
    page = series.keyframe
    size_px = f"{page.imagewidth} x {page.imagelength} px"
    if not page.imagewidth * page.imagelength:
        raise unreadable(path, f"its header states {size_px}", where=where)
    if page.is_tiled and page.tilewidth * page.tilelength > _MOST_TILE_PX:
        found = f"its header states tiles of {page.tilewidth} x {page.tilelength} px, over {_MOST_TILE_PX / 1e6:.0f} million"
        raise unreadable(path, found, where=where)
    n, needed = len(page.dataoffsets), int(np.prod(page.chunked, dtype=object))
    if n != needed and (n > 1 or page.compression != 1):  # what is stored in one piece needs no list
        raise unreadable(path, f"its header states {size_px} in {needed} blocks, and lists {n}", where=where)


def strip_bands(path: Path, *, where: str, series: int | None = None) -> tuple[int, int, Iterator[NDArray[np.uint8]]]:
    """Height, width and rows ``(n_rows, width, 3)`` of a TIFF stored in strips, each strip decoded once."""
    image = TiffImage(path, where=where, series=series)
    _, height, width = image.shape
    rows = image.block_px[0]
    step = max(1, _BAND_ROWS // rows) * rows

    def bands() -> Iterator[NDArray[np.uint8]]:
        for top in range(0, height, step):
            yield image.read_box(top, min(top + step, height), 0, width)

    return height, width, bands()
