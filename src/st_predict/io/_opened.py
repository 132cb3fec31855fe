"""A slide as it was opened, and the error for what is no slide. Knows no format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.errors import InputError
from st_predict.io._checks import unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from st_predict.io._scenes import Scene


class Opened(NamedTuple):
    levels: list[Any]
    """Image sources, the finest first."""
    um_per_px: float | None
    notes: tuple[str, ...] = ()
    """Messages about the file, for the user."""
    series: int | None = None
    """Which slide of a file of several it is."""


def of_several(scenes: list[Scene], number: int) -> int | None:
    return number if [scene.number for scene in scenes] != [number] else None


def check_sizes(levels: Sequence[Any], path: Path) -> None:
    """Refuse levels that are not smaller copies of one another: tiles would be cut at wrong places."""
    sizes = np.array([level.shape[1:] for level in levels], float)
    if not sizes.all():
        raise unreadable(path, f"it states {sizes[0, 1]:.0f} x {sizes[0, 0]:.0f} px", where="path")
    # A level is rounded to whole px, time and again.
    apart = np.abs(sizes[:, 0] * sizes[0, 1] / sizes[0, 0] - sizes[:, 1])
    slack = 2 + 2 * max(sizes[0, 1] / sizes[0, 0], 1)
    if (apart > np.maximum(slack, 0.01 * sizes[:, 1])).any() or (np.diff(sizes[:, 0]) >= 0).any():
        raise unreadable(path, f"its levels are {sizes.astype(int).tolist()} (height, width)", where="path")


def no_slide(path: Path, why: str, remedy: str = "") -> InputError:
    return InputError(
        f"{path.name or path} is not a slide this reader knows ({why})",
        where="path",
        expected="SVS, NDPI, TIFF, OME-TIFF, MRXS, DICOM, OME-Zarr, JPEG or PNG",
        remedy=remedy or "check the path, or export the slide as a pyramidal TIFF",
    )
