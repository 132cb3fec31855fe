"""The color of the glass around tissue, which is that of the lamp. Knows pixels of a reduced H&E image, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.alpha import BLANK

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_PX = 8
"""Of JPEG, over which the border of filler is smeared."""
_LOOK_PX = 1500
_SMOOTH_PX, _FLAT, _PATCH_PX = 2.0, 1.0, 5  # glass changes by less than a level a px over patches; tissue by ten
_FEWEST = 50  # px that tell a color
_BRIGHT_SHARE = 80  # what is pale among the flat, as mucus is, is less bright than glass
_STAINED = 0.25  # saturation, green the least, that no lamp gives to glass


def glass_color(pixels: NDArray[np.uint8], real: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Color of the glass ``(3,)``; ``None`` where none is seen.

    Glass is flat, and the brightest that is flat. Tissue is not, unless somebody drew it: what is flat and has the hue of
    a stain, green the least of it, is no glass. Then glass is white if anything is, which is filler otherwise.

    Parameters
    ----------
    pixels
        ``(height, width, 3)``.
    real
        Which of them are no filler ``(height, width)``.
    """
    from scipy.ndimage import binary_opening, gaussian_gradient_magnitude, minimum_filter

    step = -(-max(real.shape) // _LOOK_PX)
    pixels, real = pixels[::step, ::step], real[::step, ::step]
    change = gaussian_gradient_magnitude(pixels.mean(axis=2, dtype=np.float32), _SMOOTH_PX)
    inner = minimum_filter(real, 2 * BLOCK_PX + 1)  # the border of filler bleeds into its block
    flat = binary_opening((change < _FLAT) & inner, np.ones((_PATCH_PX, _PATCH_PX)))
    seen = pixels[flat]
    if len(seen) >= _FEWEST:
        darkest = seen.min(axis=1)
        color: NDArray[np.float64] = np.median(seen[darkest >= np.percentile(darkest, _BRIGHT_SHARE)], axis=0)
        if not _is_stained(color):
            return color
    is_white = (pixels.min(axis=2) == BLANK).sum() >= _FEWEST
    return np.full(3, float(BLANK)) if is_white else None


def _is_stained(color: NDArray[np.float64]) -> bool:
    red, green, blue = color
    return bool(green < min(red, blue) and green < (1 - _STAINED) * max(red, blue))
