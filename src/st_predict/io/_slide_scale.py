"""The scale a slide's own metadata states, in um a px of the finest level; ``None`` where it states none."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from st_predict.core.checks import UM_PER_PX_LIMITS
from st_predict.core.errors import InputError
from st_predict.io._tiff import open_finest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "\u00b5m": 1.0, "\u03bcm": 1.0, "um": 1.0, "micrometer": 1.0, "nm": 1e-3,
       "nanometer": 1e-3, "millimeter": 1e3, "inch": 25400.0}  # fmt: skip
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
_SQUARE = 0.02  # pixels of a scanner are square to less than this


def tiff_scale(path: Path, *, where: str) -> float | None:
    """From OME-XML, an Aperio description, Philips' XML, or the resolution tags of any other TIFF.

    Resolution tags that no microscope could have (72 dots an inch) are what a program fills in, and tell nothing.
    """
    with open_finest(path, where=where) as (file, series):
        page = series.keyframe
        if file.is_ome:
            image = next(i for i, other in enumerate(file.series) if other.keyframe is page)
            return _of_ome_xml(file.ome_metadata or "", image, path, where)
        if file.is_svs:
            stated = re.search(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)", page.description)
            return None if stated is None else _checked(float(stated[1]), path, where)
        if file.is_philips:
            spacing = re.search(r'DICOM_PIXEL_SPACING"[^>]*>&?q?u?o?t?;?"?([0-9.]+)', file.philips_metadata or "")
            return None if spacing is None else _checked(float(spacing[1]) * 1e3, path, where)
        tags: Any = page.tags
        unit = tags.get("ResolutionUnit")
        sides = [tags.get(name) for name in ("XResolution", "YResolution")]
        um = _UM.get(_RESOLUTION_UNITS.get(int(unit.value), "")) if unit is not None else None
        if um is None or None in sides:
            return None
        pitch = [um * side.value[1] / side.value[0] if side.value[0] and side.value[1] else 0.0 for side in sides]
        if file.is_ndpi:
            return _checked(_square(pitch[0], pitch[1], path, where), path, where)
        low, high = UM_PER_PX_LIMITS
        known = low < min(pitch) and max(pitch) < high and max(pitch) / min(pitch) - 1 < _SQUARE
        return float(pitch[0]) if known else None


def openslide_scale(properties: Mapping[str, str], path: Path, *, where: str) -> float | None:
    """From what OpenSlide found."""
    x, y = (properties.get(f"openslide.mpp-{axis}") for axis in "xy")
    if x is None or y is None:
        return None
    return _checked(_square(float(x), float(y), path, where), path, where)


def ome_zarr_scale(
    axes: Sequence[Mapping[str, Any]], transformations: Sequence[Mapping[str, Any]], path: Path, *, where: str
) -> float | None:
    """From the axes and all scalings of a level of an OME-Zarr image, its own and those of the whole pyramid."""
    scales = [t["scale"] for t in transformations if t.get("type") == "scale"]
    if not scales:
        return None
    found = []
    for axis, *values in zip(axes, *scales, strict=True):
        value = math.prod(map(float, values))
        if axis.get("name") in ("x", "y"):
            um = _UM.get(str(axis.get("unit")))
            if um is None:
                return None
            found.append(um * value)
    return _checked(_square(found[0], found[1], path, where), path, where)


def _of_ome_xml(xml: str, index: int, path: Path, where: str) -> float | None:
    try:
        images = ElementTree.fromstring(xml).findall("{*}Image")
        pixels = images[index].find("{*}Pixels")
    except (ElementTree.ParseError, IndexError):
        return None
    sides = []
    for axis in "XY":
        size = None if pixels is None else pixels.get(f"PhysicalSize{axis}")
        um = None if pixels is None else _UM.get(pixels.get(f"PhysicalSize{axis}Unit", "\u00b5m"))
        if size is None or um is None:
            return None
        sides.append(float(size) * um)
    return _checked(_square(sides[0], sides[1], path, where), path, where)


def _square(x: float, y: float, path: Path, where: str) -> float:
    if not (y and abs(x / y - 1) < _SQUARE):
        raise InputError(
            f"{path.name} states pixels of {x:g} x {y:g} um, which are not square",
            where=where,
            expected="square pixels",
            remedy="export the slide anew with square pixels",
        )
    return (x + y) / 2


def _checked(um_per_px: float, path: Path, where: str) -> float:
    low, high = UM_PER_PX_LIMITS
    if not low < um_per_px < high:
        raise InputError(
            f"the metadata of {path.name} state {um_per_px:g} um a pixel, which cannot be right",
            where=where,
            expected=f"between {low:g} and {high:g}",
            remedy="give the scale yourself: slide(path, um_per_px=...)",
        )
    return float(um_per_px)
