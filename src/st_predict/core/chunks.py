"""Blocks of an image that were never stored: what is read there, which levels can do without them, which a Zarr array lacks.

Knows Zarr's arrays and folders of chunks; reads no pixel.
"""

from __future__ import annotations

import math
import os
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.alpha import BLANK
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Lacks = NDArray[np.bool_]

_MOST_BLOCKS = 2**26
"""In a level: four times what a slide of 300,000 px a side has in chunks of 128 px, a color each; few enough to list."""
_METADATA = ("zarr.json", ".zarray")
_NEVER = 2**64 - 1  # what the index of a shard says of a block that it lacks
_INDEX = {"bytes", "crc32c"}  # codecs of an index


def check_there(folder: Path) -> None:
    """Refuse pixels that were read from an array that was removed: all its chunks would be white, as if never stored.

    Raises
    ------
    InputError
        With its folder.
    """
    if not any((folder / name).is_file() for name in _METADATA):
        raise InputError(
            f"{folder} was removed or replaced while it was read",
            where=str(folder),
            expected="the store as it was when reading began",
            remedy="put it back, and run this again",
        )


class _Index(NamedTuple):
    at_start: bool
    checksum: int
    """Number of bytes after the index."""
    dtype: str


def whiten(pixels: NDArray[np.uint8], lacks: Lacks, block_px: tuple[int, int], top: int, left: int) -> None:
    """Make the whole pixel white, whichever of its channels were never stored.

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


def whole_levels(levels: Sequence[Any], name: str) -> tuple[list[Any], list[str]]:
    """Levels that lack nothing that the finest has, and what is said of the others."""
    notes = [None, *(say_apart(levels[0], level, f"level {n}", name) for n, level in enumerate(levels[1:], 1))]
    kept = [level for level, note in zip(levels, notes, strict=True) if note is None]
    return kept, [note for note in notes if note is not None]


def say_apart(finest: Any, level: Any, which: str, name: str) -> str | None:
    """What is said of a level that lacks what the finest has, and would show glass for tissue; ``None`` of any other."""
    there = ~finest.lacks.any(axis=0)
    n = sum(_shows(there, finest, level, row, col) for row, col in np.argwhere(level.lacks.any(axis=0)))
    if not n:
        return None
    _, height, width = level.shape
    return (
        f"{which} ({width} x {height} px) of {name} is not used: {n} of its {level.lacks[0].size} blocks were never "
        "stored, and the finest level has them"
    )


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
    """Blocks ``(n_rows, n_cols)`` of which some plane lacks."""
    return np.asarray(lacks.any(axis=0))


def say_missing(lacks: Lacks, name: str) -> str | None:
    """What is said of an image some of whose blocks were never stored; ``None`` where all were."""
    n, of = int(lacks.sum()), lacks.size
    if not n:
        return None
    return f"{n} of {of} blocks of {name} ({100 * n / of:.2g} %) were never stored; they are read as white"


class ZarrBlocks:
    """Chunks of a Zarr array of an image in color.

    A chunk that is not stored has the array's fill value. If that is white, nothing is missing. Any other value was not
    written by anybody, and is read as white. If alpha is 0 by the fill value, the block is transparent, and nothing is
    missing either.

    Parameters
    ----------
    array
        The array as it is stored.
    folder
        Where its chunks lie.
    axes
        Names of its axes.
    depth
        Place on the axis z.

    Raises
    ------
    InputError
        If it is stored in shards of which nobody can tell what they hold, or states more blocks than a slide has.
    """

    def __init__(self, array: Any, folder: Path, axes: tuple[str, ...], depth: int = 0) -> None:
        self._array, self._folder, self._axes = array, folder, axes
        self._index = _index_place(array, folder)
        self._sides = dict(zip(axes, array.chunks, strict=True))
        self._shards = dict(zip(axes, array.shards or array.chunks, strict=True))
        sizes = dict(zip(axes, array.shape, strict=True))
        self._n_channels = sizes["c"]
        self.grid = tuple(-(-sizes[axis] // self._sides[axis]) for axis in "cyx")
        if math.prod(self.grid) > _MOST_BLOCKS:
            raise InputError(
                f"{folder} states {' x '.join(map(str, array.shape))} px in {math.prod(self.grid)} blocks, which no slide has",
                where="path",
                expected=f"at most {_MOST_BLOCKS} blocks",
                remedy="fetch or export the image again; if it is so large, write it in larger chunks",
            )
        # The block that is read along the other axes.
        self._rest = {axis: depth // self._sides["z"] if axis == "z" else 0 for axis in axes if axis not in "cyx"}
        self._white = array.fill_value is not None and int(array.fill_value) == BLANK

    def blank(self, rows: range, cols: range) -> Lacks:
        """Blocks ``(n_rows, n_cols)`` of which some channel is not stored, and so the whole is white."""
        if self._white:
            return np.zeros((len(rows), len(cols)), bool)
        return any_plane(self._absent(rows, cols))

    @cached_property
    def lacks(self) -> Lacks:
        """Blocks ``(n, n_rows, n_cols)`` that were never stored and should have been."""
        if self._white:
            return np.zeros_like(self._all)
        if self._n_channels == 4 and self._array.fill_value == 0:
            return self._all & ~self._all[3 // self._sides["c"]]
        return self._all

    @property
    def needed(self) -> Lacks:
        """Blocks ``(n, n_rows, n_cols)`` of the colors that are not stored; of alpha too, unless the fill value is white."""
        return self._all[: -(-3 // self._sides["c"])] if self._white else self._all

    @cached_property
    def _all(self) -> Lacks:
        """Blocks ``(n, n_rows, n_cols)`` that are not stored; found from the files that are there, and not from a claim."""
        lacks = np.ones(self.grid, bool)
        per_file = {axis: self._shards[axis] // self._sides[axis] for axis in self._axes}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                file = Path(folder, name)
                place = self._place(file.relative_to(self._folder).as_posix())
                if place is None or any(place[axis] != self._rest[axis] // per_file[axis] for axis in self._rest):
                    continue
                box = tuple(slice(place[axis] * per_file[axis], (place[axis] + 1) * per_file[axis]) for axis in "cyx")
                stored = self._blocks_of(file, per_file)
                lacks[box] = ~stored[tuple(slice(size) for size in lacks[box].shape)]
        return lacks

    def _place(self, key: str) -> dict[str, int] | None:
        """The place that a file has among those of its array, by its name; ``None`` of a file that is no chunk."""
        numbers = tuple(int(part) for part in re.split("[./]", key.removeprefix("c/")) if part.isdecimal())
        if len(numbers) != len(self._axes) or self._array.metadata.encode_chunk_key(numbers) != key:
            return None
        place = dict(zip(self._axes, numbers, strict=True))
        within = all(
            place[axis] * self._shards[axis] < size for axis, size in zip(self._axes, self._array.shape, strict=True)
        )
        return place if within else None

    def _blocks_of(self, file: Path, per_file: dict[str, int]) -> Lacks:
        """Which of the blocks ``(n, n_rows, n_cols)`` a file holds."""
        if self._array.shards is None:
            return np.ones((1, 1, 1), bool)
        found = _shard_index(file, tuple(per_file[axis] for axis in self._axes), self._index)
        kept = [axis for axis in self._axes if axis in "cyx"]
        here = tuple(self._rest[axis] % per_file[axis] if axis in self._rest else slice(None) for axis in self._axes)
        return found[here].transpose([kept.index(axis) for axis in "cyx"])

    def _absent(self, rows: range, cols: range) -> Lacks:
        found = np.zeros((self.grid[0], len(rows), len(cols)), bool)
        for channel, row, col in np.ndindex(found.shape):
            found[channel, row, col] = not self._is_stored({"c": channel, "y": rows[row], "x": cols[col]})
        return found

    def _is_stored(self, block: dict[str, int]) -> bool:
        start = {axis: {**self._rest, **block}[axis] * self._sides[axis] for axis in self._axes}
        key = self._array.metadata.encode_chunk_key(tuple(start[axis] // self._shards[axis] for axis in self._axes))
        file = self._folder / key
        if not file.exists():
            return False
        if self._array.shards is None:
            return True
        within = tuple(start[axis] % self._shards[axis] // self._sides[axis] for axis in self._axes)
        shape = tuple(self._shards[axis] // self._sides[axis] for axis in self._axes)
        return bool(_shard_index(file, shape, self._index)[within])


def _index_place(array: Any, folder: Path) -> _Index:
    """Where the index of every shard is, by the metadata of an array.

    Raises
    ------
    InputError
        If there are shards within shards, or of codecs that this does not know.
    """
    codecs = [codec.to_dict() for codec in getattr(array.metadata, "codecs", ())]
    if "sharding_indexed" not in str(codecs):
        return _Index(at_start=False, checksum=0, dtype="<u8")
    settings = codecs[0].get("configuration", {})
    named = {codec["name"]: codec.get("configuration", {}) for codec in settings.get("index_codecs", ())}
    if len(codecs) > 1 or "sharding_indexed" in str(settings.get("codecs")) or not {"bytes"} <= named.keys() <= _INDEX:
        raise InputError(
            f"{folder} is stored in shards of a kind that does not tell which of its blocks are there",
            where="path",
            expected="chunks, or shards of chunks whose index is in plain bytes, with a crc32c or without",
            remedy="write the image again, as zarr does by default",
        )
    return _Index(
        at_start=settings.get("index_location") == "start",
        checksum=4 if "crc32c" in named else 0,
        dtype=">u8" if named["bytes"].get("endian") == "big" else "<u8",
    )


@lru_cache(4096)
def _shard_index(file: Path, shape: tuple[int, ...], place: _Index) -> Lacks:
    """Which blocks a shard holds."""
    n = 16 * int(np.prod(shape))
    with file.open("rb") as opened:
        end = opened.seek(0, os.SEEK_END)
        opened.seek(0 if place.at_start else max(0, end - n - place.checksum))
        found = opened.read(n)
    if len(found) == n and end >= n + place.checksum:
        places = np.frombuffer(found, place.dtype).reshape(*shape, 2)
        stored: Lacks = (places != _NEVER).any(axis=-1)
        if (places[stored].max(axis=-1, initial=0) <= end).all() and (places[stored].sum(axis=-1) <= end).all():
            return stored
    raise InputError(
        f"the shard {file} is truncated or corrupt: its index lists more than the file holds",
        where="path",
        expected="a whole Zarr store",
        remedy="fetch or export the image again",
    )
