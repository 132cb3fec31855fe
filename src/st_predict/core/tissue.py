"""Where tissue lies on a reduced H&E image, as polygons with their holes. Knows no file and no SpatialData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.alpha import BLANK
from st_predict.core.filler import extremes, real_pixels
from st_predict.core.glass import glass_color

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from shapely import Polygon

_PALEST, _STRONGEST = 0.03, 0.09  # saturation from which something is tissue, at the least and at the most
_DARK = 70  # brightness under which a slide was not lit from behind
_UNLIT, _FADING = 20, 10  # brightness of what no light reached at all; percentage of the lit that is bright on a slide
_INK_SATURATION, _GREENER, _LESS_RED = (
    0.35,
    0.15,
    0.4,
)  # nuclei, packed, are nearly as green as red and half as red as blue
_BLACK, _BLACK_SPREAD = 80, 25
_SMOOTH_PX, _JOIN_PX, _INK_HALO_PX = 2.0, 3, 3
_BAND_ROWS, _TINY = 256, 1e-9


class Look(NamedTuple):
    """What was seen on an image."""

    tissue: NDArray[np.bool_]
    """``(height, width)``."""
    n_real: int
    """Pixels that are no filler."""
    glass: NDArray[np.float64] | None
    """Color of the glass ``(3,)``; ``None`` where none was seen and the lamp was taken for white."""


def is_dark(pixels: NDArray[np.uint8]) -> bool:
    """Whether the image has a dark background, as fluorescence has, and no stained slide; filler tells nothing.

    Light that comes through glass or pale tissue has all colors: somewhere on a slide, none of them is dark. The border
    of a slide may be black and noisy; then all the rest is bright, where fluorescence fades into its background.
    """
    low, high = extremes(pixels)
    real = real_pixels(pixels)
    if not real.any():
        return bool(high.max(initial=0) < _DARK)
    if np.percentile(low[real], 95) < _DARK:
        return True
    lit = real & (high > _UNLIT)
    fades = np.percentile(high[lit], _FADING) < _DARK or np.median(low[lit]) < _DARK
    return bool(np.median(high[real]) < _DARK and fades)


def look_for_tissue(pixels: NDArray[np.uint8]) -> Look:
    """Tissue by its color: more saturated than glass (whose tint is taken off), and not the hue of a marker.

    The threshold is Otsu's (Otsu, IEEE Transactions on Systems, Man, and Cybernetics 1979) of the smoothed saturation,
    kept between that of the palest stroma and that of a faint stain. Eosin and hematoxylin both absorb green the most:
    what is greener or bluer than it is red is ink, and so is what is dark without a hue. Filler counts as glass.

    Parameters
    ----------
    pixels
        ``(height, width, 3)``, some um a px.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_otsu
    from skimage.morphology import closing, dilation, disk

    real = real_pixels(pixels)
    seen = glass_color(pixels, real)
    glass = np.full(3, float(BLANK)) if seen is None else seen
    clear = np.full(pixels.shape, BLANK, np.uint8)
    saturation = np.empty(pixels.shape[:2])
    for rows, _ in _bands(len(pixels)):  # in the colors that a lamp without a tint would show
        lit = np.where(real[rows, :, None], np.minimum(pixels[rows] / glass, 1), 1)
        low, high = extremes(lit)
        saturation[rows] = (high - low) / np.maximum(high, _TINY)
        clear[rows] = np.rint(BLANK * lit)
    gaussian_filter(saturation, _SMOOTH_PX, output=saturation)
    of_real = saturation[real]
    level = np.clip(threshold_otsu(of_real), _PALEST, _STRONGEST) if len(of_real) and np.ptp(of_real) > 0 else _PALEST
    ink = dilation(ink_mask(clear), disk(_INK_HALO_PX))
    found: NDArray[np.bool_] = closing((saturation > level) & ~ink, disk(_JOIN_PX)) & ~ink & real
    return Look(found, int(real.sum()), seen)


def _bands(height: int) -> Iterator[tuple[slice, slice]]:
    """Rows of an image in bands, for what takes many floats a px; each alone and with a row more on either side."""
    for top in range(0, height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, height)
        yield slice(top, bottom), slice(max(top - 1, 0), min(bottom + 1, height))


def ink_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Green, blue and black marker ``(height, width)``; red marker has the hues of blood and cannot be told from it."""
    from scipy.ndimage import uniform_filter

    found = np.empty(pixels.shape[:2], bool)
    for rows, wider in _bands(len(pixels)):
        smooth = np.stack([uniform_filter(pixels[wider, :, c].astype(np.float32), 3) for c in range(3)])
        red, green, blue = smooth[:, rows.start - wider.start :][:, : rows.stop - rows.start]
        high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
        colored = (high - low) / np.maximum(high, 1) > _INK_SATURATION
        greenish, bluish = green - red > _GREENER * high, red < _LESS_RED * blue
        found[rows] = (colored & (greenish | bluish)) | ((high < _BLACK) & (high - low < _BLACK_SPREAD))
    return found


def mask_polygons(mask: NDArray[np.bool_], *, min_area_px: float, min_hole_px: float) -> list[Polygon]:
    """Outlines of a mask with their holes, in its px (pixel ``i`` covers ``[i, i + 1)``), the largest first.

    Parameters
    ----------
    mask
        ``(height, width)``.
    min_area_px, min_hole_px
        Smaller pieces are left out, smaller holes are filled.
    """
    from scipy.ndimage import find_objects
    from shapely import Polygon, unary_union
    from skimage.measure import find_contours, label
    from skimage.morphology import remove_small_holes, remove_small_objects

    kept = _cleaned(mask, remove_small_objects, remove_small_holes, min_area_px, min_hole_px)
    polygons = []
    labels = label(kept, connectivity=1)
    for piece, (rows, cols) in enumerate(find_objects(labels), start=1):
        padded, corner = np.pad(labels[rows, cols] == piece, 1), np.array([cols.start, rows.start])
        rings = [Polygon(ring[:, ::-1] + corner - 0.5) for ring in find_contours(padded, 0.5) if len(ring) > 3]
        rings.sort(key=lambda ring: -ring.area)
        outline = rings[0].buffer(0).difference(unary_union([ring.buffer(0) for ring in rings[1:]]))
        polygons += [part for part in getattr(outline, "geoms", [outline]) if part.geom_type == "Polygon"]
    return sorted((p for p in polygons if p.area >= min_area_px), key=lambda p: -p.area)


def _cleaned(
    mask: NDArray[np.bool_], without_objects: Any, without_holes: Any, min_area_px: float, min_hole_px: float
) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = without_holes(
        without_objects(mask, max_size=max(0, round(min_area_px) - 1)), max_size=max(0, round(min_hole_px) - 1)
    )
    return kept
