"""Blocks of a TIFF that were never stored, and images that cannot do without theirs. Knows tifffile's series; reads no pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict.io._checks import unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

    Lacks = NDArray[np.bool_]

_PLANES = ("red", "green", "blue", "alpha")


def check_planes(lacks: Lacks, order: Sequence[int], path: Path, *, where: str) -> None:
    """Refuse an image of which a whole plane was never stored: without it no color is known.

    Parameters
    ----------
    lacks
        Which blocks ``(n_planes, n_rows, n_cols)`` were never stored.
    order
        Which planes are red, green, blue and, if there is one, alpha.
    path, where
        The image, and the argument it was given as, for errors.
    """
    gone = np.flatnonzero(lacks.all(axis=(1, 2)))
    if len(gone):
        names = dict(zip(order, _PLANES, strict=False))
        named = ", ".join(names.get(int(i), "fourth") for i in gone)
        which = f"no block of its {named} channel" if len(lacks) > 1 else "none of its blocks"
        hint = "; another of its files may be missing" if len(lacks) > 1 else ""
        raise unreadable(path, f"{which} was ever stored{hint}", where=where)


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
