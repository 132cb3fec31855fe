"""Patches of the spots of a slide as an image: each lies where it was cut, and what no patch shows is white.

A slide that was never given away can so be used as any other: its spots have their places and neighbors, tiles of the
width of a patch show what the patch shows, and wider ones what the patches around it do. Knows HDF5 files of HEST and its
benchmark; knows no SpatialData.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.alpha import BLANK
from st_predict.core.errors import InputError
from st_predict.core.tiles.geometry import tile_corners
from st_predict.io._regions import RegionImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATCH_UM_PER_PX = 0.5
"""Of all patches of HEST, by its description."""
_PIXELS, _BARCODES, _PLACES = ("img", "imgs"), ("barcode", "barcodes"), "coords"
_SIDES = ("patch_size_src", "patch_size_level0")  # the side in px of the slide, as one version or another calls it
_SAME_PX = 3.0  # corners are cut to whole px, and some versions are off by one
_PART_PX = 256


class Patches(NamedTuple):
    """A file of patches, by its rows."""

    path: Path
    key: str
    """Of the pixels in the file."""
    side_px: int
    barcodes: list[str]
    places: NDArray[np.float64] | None
    """Where each was cut ``(n, 2)``; what that means differs by version."""
    attrs: dict[str, Any]
    """Numbers that the file states."""


def read_patches(path: Path) -> Patches:
    """Look into a file of patches; no pixel is read.

    Raises
    ------
    InputError
        If it is cut short, or no such file.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            key = next(name for name in _PIXELS if name in file)
            names = next(name for name in _BARCODES if name in file)
            shape, kind = file[key].shape, file[key].dtype
            barcodes = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(file[names][:])]
            places = file[_PLACES][:] if _PLACES in file else None
            held = [file, *(file[name] for name in (_PLACES, key) if name in file)]
            attrs = {name: value for part in held for name, value in part.attrs.items()}
    except (OSError, KeyError, StopIteration, UnicodeDecodeError) as error:
        raise _bad_patches(path, f"cannot be read ({str(error) or 'images or barcodes are missing'})") from error
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or kind != np.uint8 or len(barcodes) != shape[0]:
        raise _bad_patches(path, f"has images of shape {shape} and type {kind}, and {len(barcodes)} barcodes")
    if len(set(barcodes)) < len(barcodes):
        raise _bad_patches(path, f"has {len(barcodes) - len(set(barcodes))} barcodes more than once")
    if places is not None and (places.shape != (shape[0], 2) or places.dtype.kind not in "iuf"):
        raise _bad_patches(path, f"has {shape[0]} images, and coords of shape {places.shape} and type {places.dtype}")
    return Patches(path, key, int(shape[1]), barcodes, None if places is None else places.astype(float), attrs)


def _bad_patches(path: Path, what: str) -> InputError:
    return InputError(
        f"{path.name} {what}",
        where=str(path),
        expected="square RGB patches img (n, side, side, 3) uint8, and a barcode for each",
        remedy="download the file again",
    )


def side_on_slide(
    patches: Patches, rows: NDArray[np.intp], centers_px: NDArray[np.float64], um_per_px: float | None
) -> float:
    """Side of the patches in px of the slide.

    Parameters
    ----------
    patches
        The file.
    rows
        The row of it that belongs to each spot ``(n,)``.
    centers_px
        The spots ``(n, 2)``, in px of the slide.
    um_per_px
        Scale of the slide, if it is known.

    Returns
    -------
    As the file states it; else twice the distance from the corners it gives to the spots; else by 0.5 um a px of the
    patch, as all of HEST have it.

    Raises
    ------
    InputError
        If nothing tells it.
    """
    stated = next(filter(None, (_number(patches.attrs.get(name)) for name in _SIDES)), None)
    if patches.places is not None:
        half = _half_side(patches, rows, centers_px, stated)
        if stated is None and half > _SAME_PX:
            return 2 * half
    if stated is not None:
        return stated
    # The benchmark calls it patch_size, and gives centers as y, x.
    if (stated := _number(patches.attrs.get("patch_size"))) is not None:
        return stated
    if um_per_px is not None:
        return patches.side_px * PATCH_UM_PER_PX / um_per_px
    raise InputError(
        f"nothing tells how wide the patches of {patches.path.name} are on the slide",
        where=str(patches.path),
        expected="coords, the attribute patch_size_src, or the scale of the slide",
        remedy="give the width of a pixel of the slide that the spots are placed on: um_per_px=",
    )


def _half_side(
    patches: Patches, rows: NDArray[np.intp], centers_px: NDArray[np.float64], side_px: float | None
) -> float:
    """How far the places in the file lie up and left of the spots: half a side for corners, 0 for centers.

    Raises
    ------
    InputError
        If they lie neither so nor so: places and spots are then of two orders, or of two images.
    """
    assert patches.places is not None
    places = patches.places[rows]
    half = float(np.median(centers_px - places)) if side_px is None else side_px / 2
    # Corners are x, y. Centers are so too, or y, x: by the benchmark.
    readings = [(places + half, half), (places, 0.0), (places[:, ::-1], 0.0)]
    for centers, found in readings if half > 0 else readings[1:]:
        if (np.abs(centers_px - centers) <= _SAME_PX).all():
            return found
    spot = int((~(np.abs(centers_px - places - half) <= _SAME_PX).all(axis=1)).argmax())
    raise InputError(
        f"patches of {patches.path.name} were not cut at their spots: that of {patches.barcodes[rows[spot]]!r} "
        f"at {places[spot].tolist()}, and the spot lies at {centers_px[spot].tolist()}",
        where=str(patches.path),
        expected="coords that are the corners or the centers of the patches, in px of the slide, in the order of the barcodes",
        remedy="download counts and patches of one sample, of one version",
    )


def _number(value: Any) -> float | None:
    try:
        found = float(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return found if np.isfinite(found) and found > 0 else None


def covered_share(centers_px: NDArray[np.float64], side_px: float, width_px: float) -> float:
    """Share of the tiles of a width around the spots that the patches of all of them cover."""
    from scipy.spatial import KDTree

    steps = (np.arange(9) - 4) / 9 * width_px
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    some = centers_px[:: max(1, len(centers_px) // 200)]
    away, _ = KDTree(centers_px).query((some[:, None] + offsets).reshape(-1, 2), p=np.inf)
    return float((away <= side_px / 2).mean())


class PatchImage(RegionImage):
    """The patches at their places, in px of the patches; where several overlap, a px is of that whose center is nearest.

    Pickling carries the path. A forked process opens the file anew.

    Parameters
    ----------
    path
        The file of patches.
    key
        Of the pixels in it.
    rows
        Rows of the file that are used ``(n,)``.
    centers_px
        Their centers ``(n, 2)``, x then y, in px of this image.
    side_px
        Their side.
    height, width
        Size of the image in px.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        rows: NDArray[np.intp],
        centers_px: NDArray[np.float64],
        side_px: int,
        height: int,
        width: int,
    ) -> None:
        super().__init__(height, width, (_PART_PX, _PART_PX))
        self.path, self.key, self.side_px = path.absolute(), key, side_px
        self._rows, self._centers = np.asarray(rows), np.asarray(centers_px, float)
        self._corners = tile_corners(self._centers, side_px)
        self._open()

    def _open(self) -> None:
        import h5py

        self._file, self._lock, self._pid = h5py.File(self.path), threading.Lock(), os.getpid()

    def read_box(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """Pixels of a box, each patch under it read once."""
        if self._pid != os.getpid():
            self._open()
        found = np.full((bottom - top, right - left, 3), BLANK, np.uint8)
        nearest = np.full(found.shape[:2], np.inf, np.float32)
        x, y = self._corners.T
        inside = (x < right) & (x + self.side_px > left) & (y < bottom) & (y + self.side_px > top)
        for one in np.flatnonzero(inside):
            rows, cols = (
                slice(max(corner, low) - low, min(corner + self.side_px, high) - low)
                for corner, low, high in ((y[one], top, bottom), (x[one], left, right))
            )
            away_y = np.arange(rows.start, rows.stop) + (top + 0.5 - self._centers[one, 1])
            away_x = np.arange(cols.start, cols.stop) + (left + 0.5 - self._centers[one, 0])
            away = (away_y[:, None] ** 2 + away_x**2).astype(np.float32)
            part = (slice(rows.start + top - y[one], rows.stop + top - y[one]),
                    slice(cols.start + left - x[one], cols.stop + left - x[one]))  # fmt: skip
            with self._lock:
                pixels = self._file[self.key][self._rows[one]]
            closer = away < nearest[rows, cols]
            found[rows, cols][closer] = pixels[part][closer]
            nearest[rows, cols][closer] = away[closer]
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _patch_image, (
            str(self.path), self.key, self._rows, self._centers, self.side_px, self.shape[1], self.shape[2],
        )  # fmt: skip


def _patch_image(
    path: str,
    key: str,
    rows: NDArray[np.intp],
    centers_px: NDArray[np.float64],
    side_px: int,
    height: int,
    width: int,
) -> PatchImage:
    return PatchImage(Path(path), key, rows, centers_px, side_px, height, width)
