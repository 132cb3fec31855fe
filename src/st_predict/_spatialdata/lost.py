"""Chunks of an image in a store that were never stored, or were lost: counted, said, and white, as on a slide.

Zarr would show its fill value there, black as a rule, and say nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.alpha import BLANK
from st_predict.core.chunks import ZarrBlocks, any_plane, say_apart, say_missing
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")
_AXES = ("c", "y", "x")


class Stored(NamedTuple):
    """What an image lies in on disk."""

    array: Any
    folder: Path
    """Where it lies."""
    key: str
    """Of the array in the graph."""
    lacks: NDArray[np.bool_]
    """Blocks ``(n, n_rows, n_cols)`` that are not there, and should be."""
    needed: NDArray[np.bool_]
    """Blocks of colors that are not there."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return tuple(self.array.shape)

    @property
    def block_px(self) -> tuple[int, int]:
        """Height and width of a block."""
        return self.array.chunks[1:]


class _White:
    """A stored array that is white where it lacks a block, in whichever channel."""

    def __init__(self, stored: Stored) -> None:
        self._array, self._lacks, self._block_px = stored.array, any_plane(stored.lacks), stored.block_px
        self.shape, self.dtype, self.ndim = stored.array.shape, stored.array.dtype, stored.array.ndim

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        _, y, x = (*(key if isinstance(key, tuple) else (key,)), slice(None), slice(None))[:3]
        rows, cols = np.arange(self.shape[1])[y], np.arange(self.shape[2])[x]
        white = self._lacks[rows // self._block_px[0]][..., cols // self._block_px[1]]
        found: NDArray[np.uint8] = np.where(white, np.uint8(BLANK), np.asarray(self._array[key]))
        return found


def find_stored(pixels: Any) -> Stored | None:
    """The one array on disk that pixels ``(c, y, x)``, or what was made of them, are read from."""
    import zarr

    keys = [name for name in getattr(getattr(pixels, "dask", None), "layers", ()) if name.startswith("original-")]
    if len(keys) != 1:
        return None
    array = pixels.dask[keys[0]]
    if not isinstance(array, zarr.Array) or not hasattr(array.store, "root"):
        return None  # in memory, or on another machine
    if array.ndim != len(_AXES) or array.dtype != np.uint8 or array.shape[0] not in (3, 4):
        return None  # no image in color, which is refused elsewhere
    folder = array.store.root / array.path
    blocks = ZarrBlocks(array, folder, _AXES)
    return Stored(array, folder, keys[0], blocks.lacks, blocks.needed)


def whitened(pixels: Any, stored: Stored | None) -> Any:
    """The same lazy pixels, white where the array on disk that they are read from lacks blocks."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    if stored is None or not stored.lacks.any():
        return pixels
    layers = {**pixels.dask.layers, stored.key: MaterializedLayer({stored.key: _White(stored)})}
    graph = HighLevelGraph(layers, pixels.dask.dependencies)
    return da.Array(graph, pixels.name, pixels.chunks, meta=pixels._meta)


def say_level(finest: Any, level: Any, which: str, key: str) -> str | None:
    """Why a reduced level ``(c, y, x)`` of an image is not used: it lacks what the finest has; ``None`` where it is."""
    stored, reduced = find_stored(finest), find_stored(level)
    if stored is None or reduced is None:
        return None
    return say_apart(stored, reduced, which, f"image {key!r}")


def say_lost(pixels: Any, key: str) -> None:
    """Say what an image lacks.

    Parameters
    ----------
    pixels
        Those at full resolution ``(c, y, x)``.
    key
        Name of the image.

    Raises
    ------
    InputError
        If nothing of one of its colors is there.
    """
    stored = find_stored(pixels)
    if stored is None:
        return
    if stored.needed.all(axis=(1, 2)).any():
        raise InputError(
            f"a channel of image {key!r} has no blocks: none was ever stored, or all were lost",
            where=f"sdata.images[{key!r}]",
            expected="a complete Zarr store",
            remedy="copy the whole store again, or write it again",
        )
    if note := say_missing(stored.lacks, f"image {key!r}"):
        logger.warning("%s", note)
