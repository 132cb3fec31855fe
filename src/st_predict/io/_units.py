"""Units of length, however they are written: the one table for OME-XML, OME-Zarr, ImageJ and TIFF's tags."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_SYMBOLS = {"m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "A": 1e-4, "in": 25400.0,
            "thou": 25.4, "mil": 25.4, "pt": 25400 / 72, "ft": 304800.0, "yd": 914400.0}  # fmt: skip
"""Um in each; capitals count, as Mm is a megameter."""
_NAMES = {"meter": "m", "decimeter": "dm", "centimeter": "cm", "millimeter": "mm", "micrometer": "um", "micron": "um",
          "nanometer": "nm", "picometer": "pm", "angstrom": "A", "ångström": "A", "ångstrom": "A", "inch": "in", "inche": "in",
          "point": "pt", "foot": "ft", "feet": "ft", "yard": "yd"}  # fmt: skip
_NO_LENGTH = {"", "pixel", "px", "reference frame", "none", "null", "arbitrary", "arbitrary unit"}
_TIFF = {2: "in", 3: "cm", 4: "mm", 5: "um"}  # ResolutionUnit; 4 and 5 are no part of the standard, and are written


def um_in(unit: object, path: Path, *, where: str) -> float | None:
    """Micrometers in a unit; ``None`` where it is none of length, such as pixels, or is not stated.

    Parameters
    ----------
    unit
        As the file has it: a symbol or a name, American or British, one or many.
    path, where
        The file, and the argument it was given as, for errors.

    Raises
    ------
    InputError
        If nobody knows the unit: a guess would give a wrong scale, and silence a slide without one.
    """
    written = str(unit if unit is not None else "").strip().replace("\\u00B5", "\u00b5").replace("\\u00b5", "\u00b5")
    symbol = unicodedata.normalize("NFKC", written).replace("\u03bc", "u").replace("\u00c5", "A")
    if symbol in _SYMBOLS:
        return _SYMBOLS[symbol]
    name = unicodedata.normalize("NFKC", written).lower()
    name = name[:-2] + "er" if name.endswith("metre") else name[:-3] + "er" if name.endswith("metres") else name
    for known in (name, name.removesuffix("s")):
        if known in _NO_LENGTH:
            return None
        if known in _NAMES:
            return _SYMBOLS[_NAMES[known]]
    raise InputError(
        f"the metadata of {path.name} state the size of a pixel in {written!r}, which is no unit known here",
        where=where,
        expected="micrometer, nm, mm, cm, inch or another unit of length, or pixel where there is none",
        remedy="give the scale yourself: slide(path, um_per_px=...)",
    )


def um_in_resolution(unit: int) -> float | None:
    """Micrometers in a TIFF's ``ResolutionUnit``; ``None`` where it is none."""
    return _SYMBOLS.get(_TIFF.get(unit, ""))
