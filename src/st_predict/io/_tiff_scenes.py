"""The pictures of a TIFF: which of its series are slides, which are levels of their pyramids, and which one is read.

Knows tifffile's series; reads no pixel but to tell levels from other pictures.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from st_predict.io._checks import unreadable
from st_predict.io._scenes import Scene, choose_scene, lies_beside
from st_predict.io._tiff_color import find_color, may_be_color
from st_predict.io._tiff_planes import in_focus, own_pictures
from st_predict.io._tiff_same import is_reduced

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile

# What descriptions of plain pages begin with that lie beside a slide.
_BESIDE_TOLD = re.compile(r"^\s*(label|macro|thumbnail|overview)\b", re.IGNORECASE | re.MULTILINE)


def find_levels(
    file: tifffile.TiffFile, path: Path, *, where: str, series: int | None
) -> tuple[int, list[tifffile.TiffPageSeries], list[Scene]]:
    """Find the picture that is read, its levels, and all pictures that are slides.

    Parameters
    ----------
    file
        The open file.
    path, where
        Its path, and the argument it was given as, for errors.
    series
        Number of the picture that is asked for; ``None``: the largest.

    Returns
    -------
    Number of the picture, its levels, the finest first, and the slides of the file.

    Raises
    ------
    InputError
        If the file has no picture of that number.
    """
    pyramids = _pyramids(file)
    if not pyramids:
        raise unreadable(path, "the list of its images lies beyond its end, or is empty", where=where)
    slides = {n: levels for n, levels in pyramids.items() if not _lies_beside(levels[0], file)} or pyramids
    color = {n: levels for n, levels in slides.items() if find_color(levels[0]) or may_be_color(levels[0])}
    scenes = [Scene(n, *_size(levels[0])) for n, levels in slides.items()]
    usable = [scene for scene in scenes if scene.number in (color or slides)]
    known = [Scene(n, *_size(levels[0])) for n, levels in pyramids.items()]
    number = choose_scene(usable, known, path, where=where, series=series)
    return number, pyramids[number], scenes


def _pyramids(file: tifffile.TiffFile) -> dict[int, list[tifffile.TiffPageSeries]]:
    """Levels of every picture by its number in the file; plain pages are joined to a pyramid if they show the same."""
    found: dict[int, list[tifffile.TiffPageSeries]] = {}
    apart: list[tifffile.TiffPageSeries] = []
    for number, series in enumerate(file.series):
        first, *others = own_pictures(series)
        found[number] = [in_focus(first)]
        apart += others
        for level in map(in_focus, series.levels[1:]):
            # tifffile goes by sizes where nothing else tells, and so takes a second section for a level.
            told = not _goes_by_size(series, file) or bool(level.keyframe.is_subifd)
            (found[number] if told or is_reduced(level, found[number][-1]) else apart).append(level)
    found.update(enumerate([[series] for series in apart], len(found)))
    pages = [n for n, levels in found.items() if _goes_by_size(levels[0], file) and not _is_told_beside(levels[0])]
    pages.sort(key=lambda n: (-int(np.prod(found[n][0].shape)), n))
    for i, number in enumerate(pages):
        for other in pages[i + 1 :]:
            if number in found and len(found.get(other, [])) == 1 and is_reduced(found[other][0], found[number][-1]):
                found[number] += found.pop(other)
    return dict(sorted(found.items()))


def _goes_by_size(series: tifffile.TiffPageSeries, file: tifffile.TiffFile) -> bool:
    """Whether only its size shows which picture a page is a level of."""
    return series.kind in ("generic", "shaped", "uniform") and not file.is_ndpi


def _is_told_beside(series: tifffile.TiffPageSeries) -> bool:
    return lies_beside(series.name or "") or bool(_BESIDE_TOLD.search(series.keyframe.description[:200]))


def _lies_beside(series: tifffile.TiffPageSeries, file: tifffile.TiffFile) -> bool:
    """Whether a picture is a label, a photograph of the whole glass or the like."""
    if file.is_ome:
        return lies_beside(series.name or "")
    return _is_told_beside(series) or bool(series.keyframe.is_reduced)


def _size(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    sides = dict(zip(series.axes, series.shape, strict=True))
    return int(sides.get("Y", 0)), int(sides.get("X", 0))
