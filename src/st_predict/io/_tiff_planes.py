"""Pages of a TIFF that show one place: the focal plane that is read, and pages of one size that are pictures of their own.

Knows tifffile's series; reads no pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.io._scenes import middle

if TYPE_CHECKING:
    import tifffile

_UNTOLD = "IQR"  # axes of which tifffile knows no more than that there are several pages


def in_focus(series: tifffile.TiffPageSeries) -> tifffile.TiffPageSeries:
    """The middle focal plane of a stack; the series itself where it is none, or one of more than depths."""
    lead, sizes = _leading(series)
    if dict(zip(lead, sizes, strict=True)).get("Z", 1) < 2 or not set(lead) <= set("ZC"):
        return series
    depth = lead.index("Z")
    pages = np.arange(int(np.prod(sizes))).reshape(sizes).take(middle(sizes[depth]), axis=depth).ravel()
    rest = lead.replace("Z", "")
    found = _of_pages(
        series, pages.tolist(), rest, [size for axis, size in zip(lead, sizes, strict=True) if axis in rest]
    )
    if found is None:
        return series
    found.n_focal = sizes[depth]
    return found


def n_focal_planes(series: tifffile.TiffPageSeries) -> int:
    """How many focal planes there were where one was taken; 1 where there was one."""
    return int(getattr(series, "n_focal", 1))


def own_pictures(series: tifffile.TiffPageSeries) -> list[tifffile.TiffPageSeries]:
    """Pages in color of one size, each as a picture of its own; the series alone where it is no such stack."""
    lead, sizes = _leading(series)
    if len(lead) != 1 or lead not in _UNTOLD or series.keyframe.samplesperpixel not in (3, 4) or len(series.levels) > 1:
        return [series]
    found = [_of_pages(series, [number], "", []) for number in range(sizes[0])]
    return [page for page in found if page is not None] if None not in found else [series]


def _leading(series: tifffile.TiffPageSeries) -> tuple[str, list[int]]:
    """Axes over which a series has pages, and their sizes."""
    n = len(series.axes) - len(series.keyframe.axes)
    return series.axes[:n], [int(size) for size in series.shape[:n]]


def _of_pages(
    series: tifffile.TiffPageSeries, numbers: list[int], axes: str, sizes: list[int]
) -> tifffile.TiffPageSeries | None:
    """A series of some pages of another; ``None`` where they have no description of their own."""
    import tifffile

    pages: list[Any] = [series[number] for number in numbers]
    if any(page is None or getattr(page, "is_virtual", False) for page in pages):
        return None
    pages = [page.aspage() for page in pages]
    first = pages[0]
    return tifffile.TiffPageSeries(
        pages, (*sizes, *first.shape), first.dtype, axes + first.axes, name=series.name, kind=series.kind
    )
