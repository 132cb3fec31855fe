"""Images in memory as an image source. Other sources (files, dask) are made where those libraries are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ArraySource:
    """An image held as an array (or memory map); one chunk, since slicing it costs nothing.

    Parameters
    ----------
    pixels
        ``(height, width, 3)`` uint8.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            msg = f"expected (height, width, 3) uint8, got {pixels.shape} {pixels.dtype}"
            raise ValueError(msg)
        self._pixels = pixels
        self.row_edges = np.array([0, pixels.shape[0]])
        self.col_edges = np.array([0, pixels.shape[1]])

    def read_chunk(self, row: int, col: int) -> NDArray[np.uint8]:
        """The whole image; there is only chunk (0, 0)."""
        if (row, col) != (0, 0):
            raise IndexError((row, col))
        return self._pixels
