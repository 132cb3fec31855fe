"""Whether one picture of a TIFF is a smaller copy of another: compares their sizes, and a few places of both.

Knows tifffile's series and zarr.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tifffile
    from numpy.typing import NDArray

_LEAST_FACTOR = 1.2
_ROUNDING_PX = 1.5  # sides are cut or rounded to whole px, time and again
_A_SIDE, _PATCH_PX = 8, 64  # places that are looked at, and how wide they are in the smaller picture
_CELL_PX = 8  # averaged: levels differ in how they were reduced
_TELLING = 12  # places with most in them, which are compared
_FLAT = 2.0  # gray levels, below which there is nothing to be known by
_SAME, _CLOSE = 0.9, 12.0  # least correlation, and most gray levels apart on average
_KEPT = 4096

_found: dict[Any, bool | None] = {}  # of files, which are opened several times


def is_reduced(small: tifffile.TiffPageSeries, large: tifffile.TiffPageSeries) -> bool:
    """Whether a series is a smaller copy of another one.

    Its sides are those of the larger one divided by a common factor, and it shows the same. Of pictures that show
    nothing, it is if it says so, or if it is smaller by a power of two.
    """
    if (small.axes, small.dtype) != (large.axes, large.dtype):
        return False
    sides, wide = (dict(zip(series.axes, series.shape, strict=True)) for series in (small, large))
    if not {"Y", "X"} <= sides.keys() or any(sides[axis] != wide[axis] for axis in sides if axis not in "YX"):
        return False
    longer = "Y" if wide["Y"] > wide["X"] else "X"
    factor = wide[longer] / sides[longer]
    if factor < _LEAST_FACTOR or max(abs(wide[axis] / factor - sides[axis]) for axis in "YX") > _ROUNDING_PX:
        return False
    shown = _shows_same(small, large)
    halvings = np.log2(factor)
    return shown if shown is not None else bool(small.keyframe.is_reduced or abs(halvings - round(halvings)) < 0.01)


def _shows_same(small: tifffile.TiffPageSeries, large: tifffile.TiffPageSeries) -> bool | None:
    """Whether both show the same; ``None`` where there is nothing to see, or nothing can be read."""
    file = Path(small.keyframe.parent.filehandle.path)
    state = file.stat()
    key = str(file), state.st_size, state.st_mtime_ns, small.keyframe.offset, large.keyframe.offset
    if key not in _found:
        if len(_found) >= _KEPT:
            _found.clear()
        try:
            _found[key] = _compare(_Pixels(small), _Pixels(large))
        except Exception:  # noqa: BLE001 - whatever a decoder raises is told when it is read
            _found[key] = None
    return _found[key]


class _Pixels:
    """Boxes of a series; what is stored in strips is decoded over its whole width, and kept for the next box."""

    def __init__(self, series: tifffile.TiffPageSeries) -> None:
        import zarr

        self._array: Any = zarr.open_array(series.aszarr(level=0), mode="r")
        self._axes, self._tiled = series.axes, bool(series.keyframe.is_tiled)
        sides = dict(zip(series.axes, self._array.shape, strict=True))
        self.size = int(sides["Y"]), int(sides["X"])
        self._band: tuple[Any, NDArray[Any]] | None = None

    def box(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Pixels ``(height, width, n)``."""
        if self._tiled:
            return self._read(rows, cols)
        if self._band is None or self._band[0] != (rows.start, rows.stop):
            self._band = (rows.start, rows.stop), self._read(rows, slice(None))
        return self._band[1][:, cols]

    def _read(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        stored = np.asarray(self._array[tuple({"Y": rows, "X": cols}.get(axis, slice(None)) for axis in self._axes)])
        order = [self._axes.index("Y"), self._axes.index("X")]
        rest = [i for i in range(stored.ndim) if i not in order]
        return stored.transpose(*order, *rest).reshape(stored.shape[order[0]], stored.shape[order[1]], -1).astype(float)


def _compare(small: _Pixels, large: _Pixels) -> bool | None:
    boxes = [(rows, cols) for rows in _parts(small.size[0]) for cols in _parts(small.size[1])]
    seen = [_cells(small.box(*box)) for box in boxes]
    spread = [float(cells.std(axis=(0, 1)).max()) for cells in seen]
    # Where the smaller one shows nothing, the larger one is asked everywhere.
    telling = sorted(np.argsort(spread)[::-1][: _TELLING if max(spread) > _FLAT else None].tolist())
    factors = [of / by for of, by in zip(large.size, small.size, strict=True)]
    shown = []
    for i in telling:
        rows, cols = (slice(round(part.start * by), max(round(part.stop * by), round(part.start * by) + 1))
                      for part, by in zip(boxes[i], factors, strict=True))  # fmt: skip
        shown.append(_cells(large.box(rows, cols), like=seen[i].shape[:2]))
    of_small, of_large = (np.concatenate([cells.ravel() for cells in found])
                          for found in ([seen[i] for i in telling], shown))  # fmt: skip
    if np.abs(of_small - of_large).mean() > _CLOSE:
        return False
    flat = [found.std() < _FLAT for found in (of_small, of_large)]
    if any(flat):
        return None if all(flat) else False
    return bool(np.corrcoef(of_small, of_large)[0, 1] > _SAME)


def _parts(size: int) -> list[slice]:
    """Places spread over a side, or all of it where it is small."""
    n = min(_A_SIDE, -(-size // _PATCH_PX))
    starts = np.linspace(0, max(size - _PATCH_PX, 0), n).astype(int)
    return [slice(int(start), int(min(start + _PATCH_PX, size))) for start in starts]


def _cells(pixels: NDArray[np.float64], like: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Means ``(n_rows, n_cols, n)`` over cells of a box."""
    n_rows, n_cols = like or tuple(max(1, side // _CELL_PX) for side in pixels.shape[:2])
    rows, cols = (np.linspace(0, side, n, endpoint=False).astype(int)
                  for side, n in zip(pixels.shape[:2], (n_rows, n_cols), strict=True))  # fmt: skip
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=0), cols, axis=1)
    tall, wide = np.diff([*rows, pixels.shape[0]]), np.diff([*cols, pixels.shape[1]])
    found: NDArray[np.float64] = sums / (tall[:, None] * wide[None, :])[..., None]
    return found
