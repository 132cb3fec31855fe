"""The scale a slide's own metadata states, in um a px of the finest level; ``None`` where it states none."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from st_predict.core.checks import UM_PER_PX_LIMITS
from st_predict.core.errors import InputError
from st_predict.io._checks import logger
from st_predict.io._tiff import open_finest
from st_predict.io._tiff_names import find_pixels
from st_predict.io._units import um_in, um_in_resolution

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from xml.etree import ElementTree

_MICROSCOPES = (0.08, 10.0)  # um a px that a scan has, from 100x oil to a photograph of the section
_SQUARE = 0.02  # pixels of a scanner are square to less than this


def tiff_scale(path: Path, *, where: str, series: int | None = None) -> float | None:
    """Read the scale of a TIFF: from OME-XML, an Aperio description, Philips' XML, or else the resolution tags.

    Resolution tags need not come from the scanner. A value that no microscope has (72 dots an inch, or a unit ten times
    off) was filled in by a program, and is ignored.
    """
    with open_finest(path, where=where, series=series) as (file, found):
        page = found.keyframe
        if file.is_ome:
            return _of_ome_xml(file, page, path, where)
        if file.is_svs:
            stated = re.search(r"\|\s*MPP\s*=\s*([^|\r\n]*)", page.description)
            found_um = None if stated is None else _length_um(stated[1], path)
            return None if found_um is None else _checked(found_um, path, where)
        if file.is_philips:
            spacing = re.search(r'DICOM_PIXEL_SPACING"[^>]*>&?q?u?o?t?;?"?([0-9.,eE-]+)', file.philips_metadata or "")
            found_mm = None if spacing is None else _length(spacing[1], path)
            return None if found_mm is None else _checked(found_mm * 1e3, path, where)
        tags: Any = page.tags
        unit = tags.get("ResolutionUnit")
        sides = [tags.get(name) for name in ("XResolution", "YResolution")]
        um = None if unit is None else um_in_resolution(int(unit.value))
        if um is None and file.is_imagej:  # which states the unit of these tags in a description
            um = um_in((file.imagej_metadata or {}).get("unit"), path, where=where)
        if um is None or None in sides:
            return None
        pitch = [um * side.value[1] / side.value[0] if side.value[0] and side.value[1] else 0.0 for side in sides]
        if file.is_ndpi:
            return _checked(_square(pitch[0], pitch[1], path, where), path, where)
        low, high = _MICROSCOPES
        if low <= min(pitch) and max(pitch) <= high:
            return _square(pitch[0], pitch[1], path, where)
        if min(pitch) > 0:
            logger.info("the resolution tags of %s say %.3g x %.3g um a px, which no slide has: its scale is unknown",
                        path.name, *pitch)  # fmt: skip
        return None


def openslide_scale(properties: Mapping[str, str], path: Path, *, where: str) -> float | None:
    """Read the scale from the properties that OpenSlide found."""
    stated = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    x, y = (None if value is None else _length(value, path) for value in stated)
    return None if x is None or y is None else _checked(_square(x, y, path, where), path, where)


def ome_zarr_scale(
    axes: Sequence[Mapping[str, Any]], transformations: Sequence[Mapping[str, Any]], path: Path, *, where: str
) -> float | None:
    """Compute the scale of an OME-Zarr level from its axes and all its scalings, its own and those of the whole pyramid."""
    scales = [t.get("scale") for t in transformations if isinstance(t, dict) and t.get("type") == "scale"]
    if not scales:
        return None
    if any(not isinstance(scale, list) or len(scale) != len(axes) for scale in scales):
        _say_unknown(path, scales)
        return None
    found = []
    for axis, values in zip(axes, zip(*scales, strict=True), strict=True):
        if axis.get("name") in ("x", "y"):
            um, lengths = um_in(axis.get("unit"), path, where=where), [_length(value, path) for value in values]
            if um is None or None in lengths:
                return None
            found.append(um * math.prod(length for length in lengths if length is not None))
    return _checked(_square(found[0], found[1], path, where), path, where) if len(found) == 2 else None


def _of_ome_xml(file: Any, page: Any, path: Path, where: str) -> float | None:
    """Scale of the image in OME-XML that lists this page."""
    stated = {_ome_sides(pixels, path, where) for pixels in find_pixels(file, page)}
    sides = stated.pop() if len(stated) == 1 else None
    return None if sides is None else _checked(_square(*sides, path, where), path, where)


def _ome_sides(pixels: ElementTree.Element, path: Path, where: str) -> tuple[float, float] | None:
    """Width and height of a px in um."""
    sides = []
    for axis in "XY":
        size = pixels.get(f"PhysicalSize{axis}")
        um = None if size is None else um_in(pixels.get(f"PhysicalSize{axis}Unit", "um"), path, where=where)
        if size is None or um is None:
            return None
        length = _length(size, path)
        if length is None:
            return None
        sides.append(length * um)
    return sides[0], sides[1]


def _length(stated: Any, path: Path) -> float | None:
    """Read a positive number, with a decimal comma or point; anything else is ignored with a warning."""
    try:
        found = float(stated.strip().replace(",", ".") if isinstance(stated, str) else stated)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if math.isfinite(found) and found > 0:
        return found
    _say_unknown(path, stated)
    return None


def _length_um(stated: str, path: Path) -> float | None:
    """Read a length in um, or in the unit that stands behind it."""
    text = re.sub(r"\s*(/|\bper\b).*", "", stated.strip())  # um per px
    unit = re.sub(r"^[-+\d.,]*([eE][-+]?\d+)?\s*", "", text)
    if not unit:
        return _length(stated, path)
    try:
        um = um_in(unit, path, where="path")
    except InputError:
        um = None
    if um is None:
        _say_unknown(path, stated)
        return None
    length = _length(text.removesuffix(unit), path)
    return None if length is None else length * um


def _say_unknown(path: Path, stated: Any) -> None:
    logger.warning(
        "the metadata of %s state %.60r for the size of a pixel, which is not a length: give the scale with um_per_px=",
        path.name, stated,
    )  # fmt: skip


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
