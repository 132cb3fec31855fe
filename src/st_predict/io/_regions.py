"""Slides that other libraries decode, OpenSlide's formats and OME-Zarr, as image sources. Knows no SpatialData."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.alpha import over_white
from st_predict.core.channels import FOUR_REMEDY, color_channels
from st_predict.core.chunks import ZarrBlocks, check_there, whiten
from st_predict.core.dicom import dicom_files, is_dicom_file
from st_predict.core.errors import InputError
from st_predict.io._blocks import check_planes
from st_predict.io._checks import link_places
from st_predict.io._dicom_frames import check_frames
from st_predict.io._dicom_refused import refused
from st_predict.io._foreign import reading
from st_predict.io._no_rgb import by_pixels, no_rgb, stack
from st_predict.io._scenes import middle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_CHUNK_PX = 1024


class RegionImage:
    """One level of a slide whose library reads boxes of it; an image source, and pixels ``(3, height, width)`` uint8.

    Parameters
    ----------
    height, width
        Size in px.
    block_px
        Height and width of the blocks the file stores; chunks are whole blocks.
    chunk_px
        About how wide a chunk is.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, height: int, width: int, block_px: tuple[int, int], *, chunk_px: int = _CHUNK_PX) -> None:
        self.shape = (3, height, width)
        self.row_edges, self.col_edges = (
            np.append(np.arange(0, size, max(1, chunk_px // block) * block), size)
            for size, block in zip((height, width), block_px, strict=True)
        )

    def read_box(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """Pixels ``(bottom - top, right - left, 3)``."""
        raise NotImplementedError

    def read_chunk(self, row: int, col: int) -> NDArray[np.uint8]:
        """Decode one chunk ``(height, width, 3)``."""
        (top, bottom), (left, right) = self.row_edges[row : row + 2], self.col_edges[col : col + 2]
        return self.read_box(int(top), int(bottom), int(left), int(right))

    def __getitem__(self, key: tuple[Any, Any, Any]) -> NDArray[np.uint8]:
        channels, *axes = key
        boxes, inside = [], []
        for asked, size in zip(axes, self.shape[1:], strict=True):
            wanted = np.arange(size)[asked]
            low, high = (int(wanted.min()), int(wanted.max()) + 1) if np.size(wanted) else (0, 1)
            boxes += [low, high]
            inside.append(wanted - low)
        region = self.read_box(*boxes)
        for axis, wanted in reversed(list(enumerate(inside))):
            region = region.take(wanted, axis=axis)
        return np.ascontiguousarray(np.moveaxis(region, -1, 0)[channels])

    def __deepcopy__(self, memo: dict[int, Any]) -> RegionImage:
        return self  # read-only


class OpenSlideImage(RegionImage):
    """A level of a slide that OpenSlide reads (MRXS, DICOM, and other formats of scanners).

    Parameters
    ----------
    path
        The slide's file.
    where
        The argument it was given as, for errors.
    level
        Level of its pyramid, 0 the finest.

    Raises
    ------
    InputError
        The file cannot be read to its end.
    """

    def __init__(self, path: Path, *, where: str, level: int = 0) -> None:
        self.path, self.where, self.level = path.absolute(), where, level
        self._open()
        width, height = self._slide.level_dimensions[level]
        properties = self._slide.properties
        block = [int(properties.get(f"openslide.level[{level}].tile-{side}", 256)) for side in ("height", "width")]
        super().__init__(height, width, (block[0], block[1]))
        self._factor = float(self._slide.level_downsamples[level])

    def _open(self) -> None:
        self._slide, self._lock, self._pid = _open_openslide(self.path, self.where), threading.Lock(), os.getpid()

    @property
    def n_levels(self) -> int:
        """Levels of the slide."""
        return int(self._slide.level_count)

    @property
    def properties(self) -> dict[str, str]:
        """Metadata that the scanner wrote."""
        return dict(self._slide.properties)

    def read_box(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """Pixels of a box; what the scanner left out is transparent, and so white."""
        if self._pid != os.getpid():  # a forked process shares the file's position with its parent
            self._open()
        corner = round(left * self._factor), round(top * self._factor)
        with _openslide(self.path, self.where, self._slide.level_dimensions[self.level]), self._lock:
            region = self._slide.read_region(corner, self.level, (right - left, bottom - top))
        return over_white(np.asarray(region))  # whose colors the library has divided by alpha

    def __reduce__(self) -> tuple[Any, ...]:
        return _openslide_level, (str(self.path), self.where, self.level)


def _openslide_level(path: str, where: str, level: int) -> OpenSlideImage:
    return OpenSlideImage(Path(path), where=where, level=level)


def _open_openslide(path: Path, where: str) -> Any:
    import openslide

    if is_dicom_file(path):  # OpenSlide opens those beside it too
        for file in filter(is_dicom_file, path.parent.iterdir()):
            check_frames(file, where=where)
    with _openslide(path, where):
        return openslide.OpenSlide(path)


@contextmanager
def _openslide(path: Path, where: str, size: tuple[int, int] | None = None) -> Iterator[None]:
    """Call OpenSlide within this; of a DICOM slide the file is named that is at fault, of the level of that size."""
    import openslide

    with reading(path, where=where):
        try:
            yield
        except openslide.OpenSlideUnsupportedFormatError:
            raise
        except openslide.OpenSlideError as error:
            if not is_dicom_file(path):
                raise
            raise refused(path, str(error), where=where, size=size) from error


def openslide_vendor(path: Path) -> str | None:
    """OpenSlide's name of the file's format; ``None`` where it knows none."""
    import openslide

    found: str | None = openslide.OpenSlide.detect_format(path)
    return found


def openslide_knows(path: Path) -> bool:
    """Whether OpenSlide tells the file's format."""
    return openslide_vendor(openslide_place(path)) is not None


def openslide_reads(path: Path) -> bool:
    """Whether OpenSlide opens the file and decodes its first pixel."""
    try:
        OpenSlideImage(path, where="path").read_box(0, 1, 0, 1)
    except InputError:
        return False
    return True


def openslide_place(path: Path) -> Path:
    """Find the path at which to open a slide of several files, whose other files are looked for beside it.

    This is the path that was named or, for a link, what it points to: whichever shows more of the slide's levels.
    """
    places = link_places(path)
    return max(places, key=_n_levels) if len(places) > 1 else places[0]  # the first, where both have as many


def _n_levels(path: Path) -> int:
    try:
        with _open_openslide(path, "path") as slide:
            return int(slide.level_count)
    except InputError:
        return 0


def dicom_series(folder: Path, *, where: str) -> tuple[list[Path], list[str], InputError | None]:
    """Find the first file of every DICOM slide in a folder, the names of files that cannot be opened, and why one cannot."""
    import openslide

    found: dict[str, Path] = {}
    left, reasons = [], []
    for file in dicom_files(folder):
        try:
            with _open_openslide(file, where) as slide:
                found.setdefault(slide.properties.get("dicom.SeriesInstanceUID", str(file)), file)
        except InputError as error:
            left.append(file.name)
            if not isinstance(
                error.__cause__, openslide.OpenSlideUnsupportedFormatError
            ):  # no picture of a slide, or cut
                reasons.append(error)
    return list(found.values()), left, next(iter(reasons), None)


class OmeZarrImage(RegionImage):
    """A level of an OME-Zarr image.

    Parameters
    ----------
    path
        The OME-Zarr folder.
    where
        The argument it was given as, for errors.
    name
        Name of the level's array.
    axes
        Names of its axes.
    channels
        Names of its channels, if they have any.

    Raises
    ------
    InputError
        The array is not that of an 8-bit RGB image, or its fourth channel is not said to be alpha.
    """

    def __init__(
        self, path: Path, *, where: str, name: str, axes: tuple[str, ...], channels: tuple[str, ...] = ()
    ) -> None:
        import zarr

        self.path, self.where, self.name, self.axes, self.channels = path.absolute(), where, name, axes, channels
        self._array: Any = zarr.open_group(str(self.path), mode="r")[name]
        sizes = dict(zip(axes, self._array.shape, strict=True))
        self._check_axes(sizes)
        self.n_focal, self.n_channels = sizes.get("z", 1), sizes["c"]
        self._at = {"z": middle(self.n_focal)}
        order = color_channels(channels, sizes["c"])
        if order is None:
            raise InputError(
                f"{path.name} has 4 channels{': ' if channels else ''}{', '.join(channels)}; nothing says that the fourth "
                "is alpha",
                where=where,
                expected="an H&E image: channels r, g, b, and a if it has alpha",
                remedy=FOUR_REMEDY,
            )
        self._order = order
        self._blocks = ZarrBlocks(self._array, self.path / name, axes, self._at["z"])
        blocks = dict(zip(axes, self._array.chunks, strict=True))
        self.block_px: tuple[int, int] = (blocks["y"], blocks["x"])
        super().__init__(sizes["y"], sizes["x"], self.block_px)

    def _check_axes(self, sizes: dict[str, int]) -> None:
        """Refuse what is no picture in color of 8 bits, or several that are no focal planes."""
        if sizes.get("t", 1) > 1:
            raise stack(self.path, sizes["t"], "times", where=self.where, level=self.name)
        if others := [f"{n} {axis}" for axis, n in sizes.items() if axis not in "tczyx" and n != 1]:
            raise no_rgb(self.path, f"it has other axes than t, c, z, y and x ({', '.join(others)})", where=self.where)
        wrong = by_pixels(
            self.path, sizes.get("c", 1), self.channels, self._array.dtype, where=self.where, level=self.name
        )
        if wrong is not None:
            raise wrong

    @property
    def lacks(self) -> NDArray[np.bool_]:
        """Which blocks ``(n, n_rows, n_cols)`` were never stored, and should have been."""
        return self._blocks.lacks

    def check_planes(self) -> None:
        """Refuse an image of which nothing of a channel is stored."""
        check_planes(self._blocks.needed, self._order, self.path, where=self.where)

    def read_box(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """Pixels of a box."""
        box = {"c": slice(None), "y": slice(top, bottom), "x": slice(left, right)}
        with reading(self.path, where=self.where):
            pixels = np.asarray(self._array[tuple(box.get(axis, self._at.get(axis, 0)) for axis in self.axes)])
        kept = [axis for axis in self.axes if axis in box]
        pixels = pixels.transpose([kept.index(axis) for axis in "yxc"])
        pixels = np.ascontiguousarray(over_white(np.ascontiguousarray(pixels[..., self._order])))
        tall, wide = self.block_px
        rows, cols = range(top // tall, -(-bottom // tall)), range(left // wide, -(-right // wide))
        check_there(self.path / self.name)
        whiten(pixels, self._blocks.blank(rows, cols), self.block_px, top - rows[0] * tall, left - cols[0] * wide)
        return pixels

    def __reduce__(self) -> tuple[Any, ...]:
        return _ome_zarr_level, (str(self.path), self.where, self.name, self.axes, self.channels)


def _ome_zarr_level(path: str, where: str, name: str, axes: tuple[str, ...], channels: tuple[str, ...]) -> OmeZarrImage:
    return OmeZarrImage(Path(path), where=where, name=name, axes=axes, channels=channels)
