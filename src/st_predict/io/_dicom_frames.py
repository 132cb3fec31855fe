"""The table of frames in a DICOM file, checked before OpenSlide follows it: one that leads astray ends the process."""

from __future__ import annotations

import mmap
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from st_predict.io._checks import unreadable

if TYPE_CHECKING:
    from pathlib import Path

_PIXELS = re.compile(rb"\xe0\x7f\x10\x00O[BW]\x00\x00")  # the element of all pixels, the last of a file
_FRAMES = b"\xff\xff\xff\xff\xfe\xff\x00\xe0"  # frames one by one, and then their table
_ITEM_BYTES = 8  # before each frame


def check_frames(file: Path, *, where: str) -> None:
    """Refuse a DICOM file whose frames do not lie where its table says, one behind the other within the file.

    Where a frame begins is not looked up: there are as many as tiles. A place that is wrong by few bytes is not found so.

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
    wrong = _wrong_frame(file, stat.st_mtime_ns, stat.st_size)
    if wrong is not None:
        raise unreadable(file, f"its table of frames names a place for frame {wrong} where none can lie", where=where)


@lru_cache(1024)
def _wrong_frame(file: Path, _changed: int, size: int) -> int | None:
    """Number of the first frame that cannot lie where the table says; ``None`` where all can, or there is no table."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as held:
        pixels = _PIXELS.search(held)  # in a file of plain pixels too, so that those are not searched
        if pixels is None or held[pixels.end() : pixels.end() + len(_FRAMES)] != _FRAMES:
            return None
        place = pixels.end() + len(_FRAMES)
        table = held[place + 4 : place + 4 + int.from_bytes(held[place : place + 4], "little")]
    found = np.frombuffer(table[: len(table) // 4 * 4], "<u4").astype(np.int64)
    room = size - (place + 4 + len(table)) - _ITEM_BYTES
    after = np.append(found[1:], room + _ITEM_BYTES)
    wrong = (found > room) | (found % 2 == 1) | (after - found < _ITEM_BYTES)
    return int(wrong.argmax()) if wrong.any() else None
