"""Blocks of an image that were never stored: which they are, what is read there, and which levels can do without them.

Knows tifffile's series and Zarr's arrays; reads no pixel.
"""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.alpha import BLANK
from st_predict.io._checks import unreadable

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    import tifffile
    from numpy.typing import NDArray

    Lacks = NDArray[np.bool_]

_PLANES = ("red", "green", "blue", "alpha")
_NEVER = 2**64 - 1  # what the index of a shard says of a block that it lacks


def whiten(pixels: NDArray[np.uint8], lacks: Lacks, block_px: tuple[int, int], top: int, left: int) -> None:
    """Make pixels white in all channels where any of their channels was never stored.

    Parameters
    ----------
    pixels
        Colors ``(height, width, 3)`` of a box, changed in place.
    lacks
        Which blocks ``(n_rows, n_cols)`` were never stored, in any channel.
    block_px
        Height and width of a block.
    top, left
        Corner of the box, from that of the first block.
    """
    tall, wide = block_px
    for row, col in np.argwhere(lacks):
        y, x = row * tall - top, col * wide - left
        pixels[max(y, 0) : max(y + tall, 0), max(x, 0) : max(x + wide, 0)] = BLANK


def check_planes(lacks: Lacks, path: Path, *, where: str) -> None:
    """Refuse an image of which a whole plane was never stored: without it no color is known."""
    gone = np.flatnonzero(lacks.all(axis=(1, 2)))
    if len(gone):
        named = ", ".join(_PLANES[i] for i in gone)
        which = f"no block of its {named} channel" if len(lacks) > 1 else "none of its blocks"
        hint = "; another of its files may be missing" if len(lacks) > 1 else ""
        raise unreadable(path, f"{which} was ever stored{hint}", where=where)


def whole_levels(levels: Sequence[Any], path: Path) -> tuple[list[Any], list[str]]:
    """Choose the levels that can be read.

    A level that lacks a block which the finest level has would show glass in place of tissue, so it is left out.

    Parameters
    ----------
    levels
        Levels of the pyramid, the finest first.
    path
        The slide's file, for messages.

    Returns
    -------
    The levels that are left, and a message for each level that is not.
    """
    kept, said = [levels[0]], []
    there = ~levels[0].lacks.any(axis=0)
    for number, level in enumerate(levels[1:], 1):
        n = sum(_shows(there, levels[0], level, row, col) for row, col in np.argwhere(level.lacks.any(axis=0)))
        if not n:
            kept.append(level)
            continue
        of = level.lacks[0].size
        _, height, width = level.shape
        said.append(
            f"level {number} ({width} x {height} px) of {path.name} is not used: {n} of its {of} blocks were never "
            "stored, and the finest level has them"
        )
    return kept, said


def _shows(there: Lacks, finest: Any, level: Any, row: int, col: int) -> bool:
    """Whether the finest level has anything where a reduced one lacks a block."""
    inside = []
    for axis, at in enumerate((row, col)):
        factor = finest.shape[1 + axis] / level.shape[1 + axis]
        side, fine = level.block_px[axis], finest.block_px[axis]
        # A px within: what lies across the border by rounding is of the next block.
        low, high = at * side * factor + factor, min((at + 1) * side, level.shape[1 + axis]) * factor - factor
        inside.append(slice(int(low // fine), max(int(np.ceil(high / fine)), int(low // fine) + 1)))
    return bool(there[tuple(inside)].any())


def any_plane(lacks: Lacks) -> Lacks:
    """Blocks ``(n_rows, n_cols)`` that at least one plane lacks; ``lacks`` is ``(n_planes, n_rows, n_cols)``."""
    return np.asarray(lacks.any(axis=0))


def tiff_lacks(series: tifffile.TiffPageSeries, grid: tuple[int, int]) -> Lacks:
    """Find the blocks ``(n_planes, n_rows, n_cols)`` of a level that were never stored; if a plane's file is missing, all of it."""
    pages = list(series.pages)
    if series.dataoffset is not None:  # stored in one piece
        return np.zeros((1, *grid), bool)
    n = len(series.keyframe.dataoffsets)
    gone = [
        np.ones(n, bool) if page is None else np.multiply(page.dataoffsets, page.databytecounts, dtype=float) == 0
        for page in pages
    ]
    return np.concatenate(gone).reshape(-1, *grid)


class ZarrBlocks:
    """Chunks of a Zarr array of an image in color.

    A chunk that is not stored holds the array's fill value. If that is white, or an alpha of 0, which is transparent
    and so lies on white, nothing is missing. Any other fill value is one that nobody wrote; it is read as white.

    Parameters
    ----------
    array
        The array as it is stored.
    folder
        Where its chunks lie.
    axes
        Names of its axes.
    """

    def __init__(self, array: Any, folder: Path, axes: tuple[str, ...]) -> None:
        self._array, self._folder, self._axes = array, folder, axes
        self._sides = dict(zip(axes, array.chunks, strict=True))
        self._shards = dict(zip(axes, array.shards or array.chunks, strict=True))
        sizes = dict(zip(axes, array.shape, strict=True))
        self._n_channels = sizes["c"]
        self.grid = tuple(-(-sizes[axis] // self._sides[axis]) for axis in "cyx")
        self._white = array.fill_value is not None and int(array.fill_value) == BLANK

    def blank(self, rows: range, cols: range) -> Lacks:
        """Blocks ``(n_rows, n_cols)`` of which some channel is not stored, and so the whole is white."""
        if self._white:
            return np.zeros((len(rows), len(cols)), bool)
        return any_plane(self._absent(rows, cols, None))

    @cached_property
    def lacks(self) -> Lacks:
        """Blocks ``(n, n_rows, n_cols)`` that were never stored and should have been."""
        if self._white:
            return np.zeros_like(self._all)
        if self._n_channels == 4 and self._array.fill_value == 0:
            return self._all & ~self._all[3 // self._sides["c"]]
        return self._all

    def check(self, path: Path, *, where: str) -> None:
        """Refuse an image that has nothing of a color, or of an alpha that is not white where it is not stored."""
        colors = -(-3 // self._sides["c"])
        check_planes(self._all[:colors] if self._white else self._all, path, where=where)

    @cached_property
    def _all(self) -> Lacks:
        """Blocks ``(n, n_rows, n_cols)`` that are not stored."""
        listed = {
            os.path.relpath(os.path.join(folder, name), self._folder).replace(os.sep, "/")
            for folder, _, names in os.walk(self._folder)
            for name in names
        }
        return self._absent(range(self.grid[1]), range(self.grid[2]), listed)

    def _absent(self, rows: range, cols: range, listed: Container[str] | None) -> Lacks:
        found = np.zeros((self.grid[0], len(rows), len(cols)), bool)
        for channel, row, col in np.ndindex(found.shape):
            found[channel, row, col] = not self._is_stored({"c": channel, "y": rows[row], "x": cols[col]}, listed)
        return found

    def _is_stored(self, block: dict[str, int], listed: Container[str] | None) -> bool:
        start = {axis: block.get(axis, 0) * self._sides[axis] for axis in self._axes}
        key = self._array.metadata.encode_chunk_key(tuple(start[axis] // self._shards[axis] for axis in self._axes))
        file = self._folder / key
        if not (file.exists() if listed is None else key in listed):
            return False
        if self._array.shards is None:
            return True
        within = tuple(start[axis] % self._shards[axis] // self._sides[axis] for axis in self._axes)
        index = _shard_index(file, tuple(self._shards[axis] // self._sides[axis] for axis in self._axes))
        return index is None or bool(index[within])


@lru_cache(4096)
def _shard_index(file: Path, shape: tuple[int, ...]) -> Lacks | None:
    """Which blocks a shard holds; ``None`` where its index is not where, and as, Zarr puts it by default."""
    checksum, n = 4, 16 * int(np.prod(shape))
    with file.open("rb") as opened:
        end = opened.seek(0, os.SEEK_END)
        if end < n + checksum:
            return None
        opened.seek(end - n - checksum)
        places = np.frombuffer(opened.read(n), "<u8").reshape(*shape, 2)
    stored: Lacks = (places != _NEVER).any(axis=-1)
    sound = (places[stored].sum(axis=-1) <= end).all()
    return stored if sound else None
