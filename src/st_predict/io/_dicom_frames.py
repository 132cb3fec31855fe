"""What the headers of DICOM files say of their frames, checked before OpenSlide follows it: one that leads astray ends the process."""

from __future__ import annotations

import mmap
import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.dicom import is_dicom_file
from st_predict.io._checks import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIXELS = re.compile(rb"\xe0\x7f\x10\x00O[BW]\x00\x00")  # the element of all pixels, the last of a file
_FRAMES = b"\xff\xff\xff\xff\xfe\xff\x00\xe0"  # frames one by one, and then their table
_ITEM_BYTES = 8  # before each frame
_WIDE_TABLE = re.compile(rb"\xe0\x7f\x01\x00OV\x00\x00(....)", re.S)
_SPARSE = re.compile(rb"\x20\x00\x11\x93CS..(TILED_SPARSE|3D)", re.S)
_PLACES = re.compile(rb"\x00\x52\x30\x92SQ")
_SERIES = re.compile(rb"\x20\x00\x0e\x00UI(..)", re.S)
_MATRIX = re.compile(rb"\x48\x00\x06\x00UL\x04\x00(....)", re.S), re.compile(rb"\x48\x00\x07\x00UL\x04\x00(....)", re.S)
_FRAME = re.compile(rb"\x28\x00\x11\x00US\x02\x00(..)", re.S), re.compile(rb"\x28\x00\x10\x00US\x02\x00(..)", re.S)
_PALETTE = re.compile(rb"\x28\x00\x04\x00CS..PALETTE", re.S)
_MOST_TILES = 2**26  # 2 million px wide and high, in tiles of 256


def check_frames(file: Path, *, where: str) -> None:
    """Refuse a DICOM file whose frames do not lie where its table says, one behind the other within the file.

    Where a frame begins is not looked up: there are as many as tiles. A place that is wrong by few bytes is not found so.
    So is one whose frames may lie anywhere in the picture, and no list says where; and one of more tiles than can be counted.

    Parameters
    ----------
    file
        A DICOM file.
    where
        The argument it was given as, for errors.

    Raises
    ------
    InputError
        With what is wrong.
    """
    stat = file.stat()
    fault = _fault(file, stat.st_mtime_ns, stat.st_size)
    if fault is not None:
        raise unreadable(file, fault, where=where)


def file_of(file: Path, size: tuple[int, int] | None) -> Path:
    """The one file of a slide, or of its level of this width and height in px; the folder where several may be meant.

    ``file`` is any file of the slide; the others lie beside it.
    """
    own = _series(file)
    found = [
        other
        for other in file.parent.iterdir()
        if is_dicom_file(other) and _series(other) == own and size in (None, _size(other))
    ]
    return found[0] if len(found) == 1 else file.parent


def is_palette(file: Path) -> bool:
    """Whether the colors of a file are numbers in a palette."""
    with _held(file) as (held, end):
        return _PALETTE.search(held, 0, end) is not None


@lru_cache(1024)
def _fault(file: Path, _changed: int, size: int) -> str | None:
    """What would lead astray; ``None`` where nothing does."""
    with _held(file) as (held, end):
        sparse = _SPARSE.search(held, 0, end)
        if sparse is not None and _PLACES.search(held, 0, end) is None:
            return (
                f"its frames lie anywhere (DimensionOrganizationType {sparse[1].decode()}), and no "
                "PerFrameFunctionalGroupsSequence says where"
            )
        columns, rows = (
            -(-_number(whole, held, end) // max(_number(part, held, end), 1))
            for whole, part in zip(_MATRIX, _FRAME, strict=True)
        )
        if columns * rows > _MOST_TILES:
            return f"its header states {columns:,} x {rows:,} tiles"
        wrong = _wrong_frame(held, end, size)
    return None if wrong is None else f"its table of frames names a place for frame {wrong} where none can lie"


def _wrong_frame(held: mmap.mmap, end: int, size: int) -> int | None:
    """Number of the first frame that cannot lie where the table says; ``None`` where all can, or there is no table."""
    pixels = _PIXELS.match(held, end)
    if pixels is None or held[pixels.end() : pixels.end() + len(_FRAMES)] != _FRAMES:
        return None
    place = pixels.end() + len(_FRAMES)
    table, wide = _table(held, place), _WIDE_TABLE.search(held, 0, end)
    room = size - (place + 4 + len(table)) - _ITEM_BYTES
    for content, n in ((table, 4), (b"" if wide is None else _table(held, wide.start(1)), 8)):
        found = np.frombuffer(content[: len(content) // n * n], f"<u{n}").astype(np.int64)
        after = np.append(found[1:], room + _ITEM_BYTES)
        wrong = (found < 0) | (found > room) | (found % 2 == 1) | (after - found < _ITEM_BYTES)
        if wrong.any():
            return int(wrong.argmax())
    return None


def _table(held: mmap.mmap, place: int) -> bytes:
    """The bytes behind a place that holds their number."""
    return held[place + 4 : place + 4 + int.from_bytes(held[place : place + 4], "little")]


@contextmanager
def _held(file: Path) -> Iterator[tuple[mmap.mmap, int]]:
    """The bytes of a file, and where its pixels begin."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as held:
        pixels = _PIXELS.search(held)  # in a file of plain pixels too, so that those are not searched
        yield held, len(held) if pixels is None else pixels.start()


def _number(element: re.Pattern[bytes], held: mmap.mmap, end: int) -> int:
    found = element.search(held, 0, end)
    return 0 if found is None else int.from_bytes(found[1], "little")


def _size(file: Path) -> tuple[int, int]:
    with _held(file) as (held, end):
        return _number(_MATRIX[0], held, end), _number(_MATRIX[1], held, end)


def _series(file: Path) -> bytes:
    with _held(file) as (held, end):
        found = _SERIES.search(held, 0, end)
        return b"" if found is None else held[found.end() : found.end() + int.from_bytes(found[1], "little")]
