"""Which file of a DICOM slide OpenSlide stumbled on, and why, by what it says. Reads no header."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from st_predict.io._checks import unreadable
from st_predict.io._dicom_frames import file_of, is_palette
from st_predict.io._no_rgb import gray, no_rgb
from st_predict.io._opened import no_slide

if TYPE_CHECKING:
    from pathlib import Path

    from st_predict.core.errors import InputError

_GRAY = "Attribute SamplesPerPixel value 1 "
_NO_RGB = {
    r"Attribute SamplesPerPixel value (\d+)": "it has {} samples a pixel",
    r"Attribute (?:BitsAllocated|BitsStored) value (\d+)": "its colors are of {} bits",
    r"Attribute PixelRepresentation value 1 ": "its colors are signed numbers",
    r"Attribute TotalPixelMatrixFocalPlanes value (\d+)": "it is a stack of {} focal planes",
}
_UNKNOWN = {
    r"Attribute PlanarConfiguration value 1 ": "its colors lie one behind the other, PlanarConfiguration 1",
    r"Unsupported photometric interpretation (.+) for (\S+)": "its colors are {} in the transfer syntax {}",
    r"Unsupported transfer syntax (\S+)": "it is compressed in the transfer syntax {}",
}
_EXPORT = "export it as an 8-bit RGB TIFF: with the program of the scanner, or in QuPath by File > Export images > Rendered RGB"


def refused(path: Path, why: str, *, where: str, size: tuple[int, int] | None = None) -> InputError:
    """Make the error for a DICOM slide that cannot be opened or read.

    Parameters
    ----------
    path
        Any of its files.
    why
        What OpenSlide says.
    where
        The argument it was given as.
    size
        Width and height in px of the level that was read; ``None`` while the slide is opened.
    """
    named = next((file for file in path.parent.iterdir() if why.startswith(f"Reading {file}: ")), None)
    file = named or file_of(path, size)
    why = why.removeprefix(f"Reading {named}: ")
    if why.startswith(_GRAY) and not is_palette(file):
        return gray(file, "1 sample a pixel", where=where)
    if why.startswith(_GRAY):
        return no_rgb(file, "its colors are numbers in a palette", where=where, remedy=_EXPORT)
    if found := _said(_NO_RGB, why):
        return no_rgb(file, found, where=where, remedy=_EXPORT)
    if found := _said(_UNKNOWN, why):
        return no_slide(file, f"{found}, which OpenSlide does not read", _EXPORT)
    return unreadable(file, why, where=where)


def _said(causes: dict[str, str], why: str) -> str:
    """The cause in our words; empty where it is none of these."""
    found = ((re.match(said, why), cause) for said, cause in causes.items())
    return next((cause.format(*told.groups()) for told, cause in found if told), "")
