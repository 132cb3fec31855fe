"""The pictures of a TIFF: which of its series are slides, which are levels of their pyramids, and which one is read.

Knows tifffile's series; reads no pixel.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from st_predict.io._scenes import Scene, choose_scene, lies_beside
from st_predict.io._tiff_color import find_color, may_be_color

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile

# What descriptions of plain pages begin with that lie beside a slide.
_BESIDE_TOLD = re.compile(r"^\s*(label|macro|thumbnail|overview)\b", re.IGNORECASE | re.MULTILINE)


def find_levels(
    file: tifffile.TiffFile, path: Path, *, where: str, series: int | None
) -> tuple[int, list[tifffile.TiffPageSeries], list[Scene]]:
    """Number and levels, the finest first, of the picture that is read, and all pictures that are slides.

    Raises
    ------
    InputError
        If the file has no picture of that number.
    """
    pyramids = _pyramids(file)
    if not pyramids:
        raise IndexError(path)
    slides = {n: levels for n, levels in pyramids.items() if not _lies_beside(levels[0], file)} or pyramids
    color = {n: levels for n, levels in slides.items() if find_color(levels[0]) or may_be_color(levels[0])}
    scenes = [Scene(n, *_size(levels[0])) for n, levels in slides.items()]
    usable = [scene for scene in scenes if scene.number in (color or slides)]
    known = [Scene(n, *_size(levels[0])) for n, levels in pyramids.items()]
    number = choose_scene(usable, known, path, where=where, series=series)
    return number, pyramids[number], scenes


def _pyramids(file: tifffile.TiffFile) -> dict[int, list[tifffile.TiffPageSeries]]:
    """Levels of every picture by its number in the file, those of plain pages put together."""
    waiting = dict(enumerate(file.series))
    found: dict[int, list[tifffile.TiffPageSeries]] = {}
    for number in sorted(waiting, key=lambda n: -int(np.prod(waiting[n].shape))):
        if number not in waiting:
            continue
        series = waiting.pop(number)
        found[number] = list(series.levels)
        if len(series.levels) > 1 or not series.keyframe.is_tiled or file.is_ome:
            continue  # its levels are its own
        # Writers that keep a pyramid as plain pages give one series a level.
        for other, smaller in list(waiting.items()):
            if smaller.keyframe.is_tiled and _is_reduced(smaller, found[number][-1]) and _is_reduced(smaller, series):
                found[number].append(waiting.pop(other))
    return dict(sorted(found.items()))


def _is_reduced(series: tifffile.TiffPageSeries, of: tifffile.TiffPageSeries) -> bool:
    """Whether a series is the same picture, smaller: same axes and the same reduction both ways."""
    if (series.axes, series.dtype) != (of.axes, of.dtype) or series.ndim != of.ndim:
        return False
    small, large = (dict(zip(s.axes, s.shape, strict=True)) for s in (series, of))
    tall, wide = (large[axis] / small[axis] for axis in "YX")
    # Another picture of the file (a second section, a label) is of any size; a level is a power of two, or says so.
    halvings = np.log2(tall)
    by_power = abs(halvings - round(halvings)) < 0.01
    return tall > 1.5 and abs(tall / wide - 1) < 0.01 and (by_power or bool(series.keyframe.is_reduced))


def _lies_beside(series: tifffile.TiffPageSeries, file: tifffile.TiffFile) -> bool:
    """Whether a picture is a label, a photograph of the whole glass or the like."""
    if lies_beside(series.name or ""):
        return True
    page = series.keyframe
    return not file.is_ome and bool(page.is_reduced or _BESIDE_TOLD.search(page.description[:200]))


def _size(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    sides = dict(zip(series.axes, series.shape, strict=True))
    return int(sides.get("Y", 0)), int(sides.get("X", 0))
