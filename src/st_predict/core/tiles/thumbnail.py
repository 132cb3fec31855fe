"""Reduced pixels of a part of an image: chunks read one at a time, each averaged down before the next is read.

Knows image sources and boxes in px; neither SpatialData nor matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import ImageSource


class Box(NamedTuple):
    """A part of an image, in px at full resolution."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in px."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in px."""
        return self.bottom - self.top


class Thumbnail(NamedTuple):
    """A reduced image and where it lies."""

    pixels: NDArray[np.uint8]
    """``(height, width, 3)``."""
    extent: tuple[float, float, float, float]
    """Left, right, bottom, top in px at full resolution, as ``imshow`` takes it; may pass the box by a part of a px."""


def read_thumbnail(levels: Sequence[ImageSource], box: Box, *, side_px: int) -> Thumbnail:
    """Average a box of an image down to about ``side_px``.

    Parameters
    ----------
    levels
        The image, and reduced copies of it if there are any, finest first.
    box
        What to read; clipped to the image.
    side_px
        Px wanted on the longer side. The thumbnail has less than twice as many; it has fewer only if the image itself
        does.
    """
    full_height, full_width = int(levels[0].row_edges[-1]), int(levels[0].col_edges[-1])
    source, step_x, step_y = levels[0], 1.0, 1.0
    for level in levels[1:]:
        x, y = full_width / int(level.col_edges[-1]), full_height / int(level.row_edges[-1])
        if max(box.width / x, box.height / y) >= side_px:
            source, step_x, step_y = level, x, y
    rows = _span(box.top / step_y, box.bottom / step_y, int(source.row_edges[-1]))
    cols = _span(box.left / step_x, box.right / step_x, int(source.col_edges[-1]))
    factor = max(1, max(len(rows), len(cols)) // side_px)
    pixels = _reduce(source, rows, cols, factor)
    height, width = pixels.shape[0] * factor, pixels.shape[1] * factor
    return Thumbnail(
        pixels,
        (cols.start * step_x, (cols.start + width) * step_x, (rows.start + height) * step_y, rows.start * step_y),
    )


def _span(low: float, high: float, size: int) -> range:
    """Whole px from ``low`` to ``high``, on the image, at least one."""
    start = min(max(int(np.floor(low)), 0), size - 1)
    return range(start, max(min(int(np.ceil(high)), size), start + 1))


def _reduce(source: ImageSource, rows: range, cols: range, factor: int) -> NDArray[np.uint8]:
    """Mean over squares of ``factor`` px; those at the right and lower border may be cut."""
    shape = -(-len(rows) // factor), -(-len(cols) // factor), 3
    sums: NDArray[Any] = np.zeros(shape, np.uint8 if factor == 1 else np.uint32)
    for row, (top, bottom) in enumerate(zip(source.row_edges[:-1], source.row_edges[1:], strict=True)):
        y = range(max(int(top), rows.start), min(int(bottom), rows.stop))
        for col, (left, right) in enumerate(zip(source.col_edges[:-1], source.col_edges[1:], strict=True)):
            x = range(max(int(left), cols.start), min(int(right), cols.stop))
            if not (len(y) and len(x)):
                continue
            part = source.read_chunk(row, col)[y.start - top : y.stop - top, x.start - left : x.stop - left]
            squares = part if factor == 1 else _sum_squares(part, y.start - rows.start, x.start - cols.start, factor)
            row0, col0 = (y.start - rows.start) // factor, (x.start - cols.start) // factor
            sums[row0 : row0 + squares.shape[0], col0 : col0 + squares.shape[1]] += squares
    if factor == 1:
        return sums
    heights, widths = (np.minimum(factor, len(span) - np.arange(0, len(span), factor)) for span in (rows, cols))
    means = np.empty(shape, np.uint8)
    for row, height in enumerate(heights):
        areas = (height * widths).astype(np.uint32)[:, None]
        means[row] = (sums[row] + areas // 2) // areas  # rounded
    return means


def _sum_squares(part: NDArray[np.uint8], y: int, x: int, factor: int) -> NDArray[np.uint32]:
    """Sum squares of ``factor`` px, which are laid out from 0, in a part that begins at ``y`` and ``x``."""
    by_row = _sum_rows(part, y % factor, factor)
    return _sum_rows(by_row.swapaxes(0, 1), x % factor, factor).swapaxes(0, 1)


def _sum_rows(part: NDArray[Any], phase: int, factor: int) -> NDArray[np.uint32]:
    """Sum runs of ``factor`` rows; the first run lacks ``phase`` rows, the last may be cut as well."""
    sums = np.zeros((-(-(phase + len(part)) // factor), *part.shape[1:]), np.uint32)
    for first in range(min(factor, len(part))):  # forty times as fast as np.add.reduceat
        rows = part[first::factor]
        run = (phase + first) // factor
        sums[run : run + len(rows)] += rows
    return sums
