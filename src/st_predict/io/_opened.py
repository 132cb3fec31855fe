"""A slide as it was opened, and the error for what is no slide. Knows no format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.core.errors import InputError

if TYPE_CHECKING:
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


def no_slide(path: Path, why: str) -> InputError:
    return InputError(
        f"{path.name} is not a slide this reader knows ({why})",
        where="path",
        expected="SVS, NDPI, TIFF, OME-TIFF, MRXS, DICOM, OME-Zarr, JPEG or PNG",
        remedy="check the path, or export the slide as a pyramidal TIFF",
    )
