"""The color of the glass around tissue, which is that of the lamp. Knows pixels of a reduced H&E image, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.alpha import BLANK
from st_predict.core.filler import BLOCK_PX, LOOK_PX, flat_colors, is_stained

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMOOTH_PX, _FLAT, _PATCH_PX = 2.0, 1.0, 5  # glass changes by less than a level a px over patches; tissue by ten
_FEWEST = 50  # px that tell a color
_BRIGHT_SHARE = 80  # what is pale among the flat, as mucus is, is less bright than glass
_BRIGHTEST, _DIMMER = 95, 10  # percentile of the tissue, and levels under it, that glass is as bright as


def glass_color(pixels: NDArray[np.uint8], real: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Color of the glass ``(3,)``; ``None`` where no glass is seen.

    Glass is the brightest flat part of an image. Tissue is not flat, except in a drawing; so a flat part with the hue
    of a stain (least green) is no glass. If there is no such part, glass is what lies around the tissue and would
    otherwise be filler: white, or exactly one color.

    Parameters
    ----------
    pixels
        ``(height, width, 3)``.
    real
        Mask of pixels that are no filler ``(height, width)``.
    """
    from scipy.ndimage import binary_opening, gaussian_gradient_magnitude, minimum_filter

    step = -(-max(real.shape) // LOOK_PX)
    pixels, real = pixels[::step, ::step], real[::step, ::step]
    change = gaussian_gradient_magnitude(pixels.mean(axis=2, dtype=np.float32), _SMOOTH_PX)
    inner = minimum_filter(real, 2 * BLOCK_PX + 1)  # the border of filler bleeds into its block
    flat = binary_opening((change < _FLAT) & inner, np.ones((_PATCH_PX, _PATCH_PX)))
    seen = pixels[flat]
    if len(seen) >= _FEWEST:
        darkest = seen.min(axis=1)
        color: NDArray[np.float64] = np.median(seen[darkest >= np.percentile(darkest, _BRIGHT_SHARE)], axis=0)
        if not is_stained(color):
            return color
    return _around(pixels, real)


def _around(pixels: NDArray[np.uint8], real: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """The flat color, or white, that borders most of the real pixels and is about as bright as the brightest of them."""
    from scipy.ndimage import maximum_filter

    white = np.full(3, BLANK, np.uint8)
    beside = maximum_filter(real, 2 * BLOCK_PX + 1)
    bright = np.percentile(pixels[real].min(axis=1), _BRIGHTEST) if real.any() else 0
    found, most = None, _FEWEST - 1
    for color in [white, *flat_colors(pixels)]:
        n = int((beside & (pixels == color).all(axis=2)).sum())
        if n > most and color.min() >= bright - _DIMMER:
            found, most = color.astype(float), n
    return found
