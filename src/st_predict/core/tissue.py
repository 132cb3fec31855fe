"""Where tissue lies on a reduced H&E image, as polygons with their holes. Knows no file and no SpatialData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely import Polygon

_PALEST, _STRONGEST = 0.03, 0.09  # saturation from which something is tissue, at the least and at the most
_BRIGHT_SHARE, _GLASS = 80, 190  # the brightest fifth is glass, if it is as bright as that
_DARK = 70  # median brightness under which a slide was not lit from behind
_INK_SATURATION, _GREENER, _LESS_RED = (
    0.35,
    0.15,
    0.4,
)  # nuclei, packed, are nearly as green as red and half as red as blue
_BLACK, _BLACK_SPREAD = 80, 25
_SMOOTH_PX, _JOIN_PX, _INK_HALO_PX = 2.0, 3, 3


def is_dark(pixels: NDArray[np.uint8]) -> bool:
    """Whether the image has a dark background, as fluorescence has, and no stained slide."""
    return bool(np.median(pixels.max(axis=2)) < _DARK)


def tissue_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tissue by its color: more saturated than glass (whose tint is taken off), and not the hue of a marker.

    The threshold is Otsu's (Otsu, IEEE Transactions on Systems, Man, and Cybernetics 1979) of the smoothed saturation,
    kept between that of the palest stroma and that of a faint stain. Eosin and hematoxylin both absorb green the most:
    what is greener or bluer than it is red is ink, and so is what is dark without a hue.

    Parameters
    ----------
    pixels
        ``(height, width, 3)``, some um a px.

    Returns
    -------
    ``(height, width)``.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2hsv
    from skimage.filters import threshold_otsu
    from skimage.morphology import closing, dilation, disk

    saturation = gaussian_filter(rgb2hsv(_on_clear_glass(pixels))[..., 1], _SMOOTH_PX)
    level = np.clip(threshold_otsu(saturation), _PALEST, _STRONGEST) if np.ptp(saturation) > 0 else _PALEST
    ink = dilation(ink_mask(pixels), disk(_INK_HALO_PX))
    found: NDArray[np.bool_] = closing((saturation > level) & ~ink, disk(_JOIN_PX)) & ~ink
    return found


def _on_clear_glass(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colors in 0..1 as a lamp without a tint would show them."""
    darkest = pixels.min(axis=2)
    glass = np.median(pixels[darkest >= np.percentile(darkest, _BRIGHT_SHARE)], axis=0)
    if glass.min() < _GLASS:  # there is little glass to see
        glass = np.full(3, 255.0)
    clear: NDArray[np.float64] = np.clip(pixels / glass, 0, 1)
    return clear


def ink_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Green, blue and black marker ``(height, width)``; red marker has the hues of blood and is told by nothing."""
    from scipy.ndimage import uniform_filter

    smooth = np.stack([uniform_filter(pixels[..., c].astype(np.float32), 3) for c in range(3)])
    red, green, blue = smooth
    high, low = smooth.max(axis=0), smooth.min(axis=0)
    colored = (high - low) / np.maximum(high, 1) > _INK_SATURATION
    greenish, bluish = green - red > _GREENER * high, red < _LESS_RED * blue
    found: NDArray[np.bool_] = (colored & (greenish | bluish)) | ((high < _BLACK) & (high - low < _BLACK_SPREAD))
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
    from shapely import Polygon, unary_union
    from skimage.measure import find_contours, label
    from skimage.morphology import remove_small_holes, remove_small_objects

    kept = _cleaned(mask, remove_small_objects, remove_small_holes, min_area_px, min_hole_px)
    polygons = []
    labels, n = label(kept, return_num=True, connectivity=1)
    for piece in range(1, n + 1):
        padded = np.pad(labels == piece, 1)
        rings = [Polygon(ring[:, ::-1] - 0.5) for ring in find_contours(padded, 0.5) if len(ring) > 3]
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
