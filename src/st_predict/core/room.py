"""Arrays for features and predictions of a slide: in memory, or in a temporary file where they are large."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from st_predict.core.errors import InputError

_IN_MEMORY_BYTES = 256 * 2**20


def room_for(what: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Make a float32 array; beyond 256 MB it lies in a temporary file that is removed with the array.

    Parameters
    ----------
    what
        What it is for, for the error.
    shape
        Spots first.

    Raises
    ------
    InputError
        If the temporary folder has no room for it; found before anything is computed.
    """
    n_bytes = 4 * int(np.prod(shape))
    if n_bytes <= _IN_MEMORY_BYTES:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="st_predict_") as file:
        try:
            reserve(file.fileno(), n_bytes)
        except OSError as error:
            raise InputError(
                f"no room for {n_bytes / 1e9:.1f} GB of {what} ({error.strerror})",
                where=tempfile.gettempdir(),
                expected=f"room for the {what} of all spots in the temporary folder",
                remedy="free space, set TMPDIR to a larger disk, or lay a coarser grid",
            ) from error
        return np.memmap(file, np.float32, "r+", shape=shape)


def reserve(descriptor: int, n_bytes: int) -> None:
    """Take the blocks now: a full disk is then an error here, not a crash on the first touch of a page."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)
    else:
        os.truncate(descriptor, n_bytes)


def give_back(values: NDArray[Any]) -> None:
    """Free the memory of an array that lies in a file; its pages are read again when they are used."""
    mapped = getattr(values, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
