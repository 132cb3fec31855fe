"""Pixels that no camera saw: what programs fill in around a picture. Knows pixels of a reduced image, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.alpha import BLANK

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_PX = 8
"""Side of the blocks of JPEG, over which it smears the border of filler."""
LOOK_PX = 1500
"""Longer side of the reduced image in which colors are counted."""
_NEARLY = 6
_SIDE_PX = BLOCK_PX + 1  # glass of one color in a block of JPEG ends with the block
_SHARE = 0.02  # of the image; what is smaller does not count for much
_SOLID = 0.8  # of the px of a color that lie in its own squares: glass that happens to be of one color is speckled
_CORNERS = 3  # of an image that turned: no tissue is drawn in so many
_SEEN = 0.02  # of the image: where less is left, somebody drew it, and flat colors are what was drawn
_STAINED, _TINGED = 0.25, 0.05  # saturation, green the least, that no lamp gives to glass, and that nobody fills in


def extremes(pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Least and greatest color of every px; ten times as fast as a minimum along the axis of colors."""
    channels = [pixels[..., c] for c in range(3)]
    return np.minimum.reduce(channels), np.maximum.reduce(channels)


def is_stained(color: NDArray[Any], by: float = _STAINED) -> bool:
    """Whether a color has the hue of a stain: green is the least, but not 0, since any tissue lets some through."""
    red, green, blue = (float(value) for value in color)
    return 0 < green < min(red, blue) and green < (1 - by) * max(red, blue)


def real_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mask of pixels that a camera saw ``(height, width)``.

    Filler is what is exactly black, exactly white, or a large area of exactly one color. Pixels that are nearly so and
    lie within a JPEG block of filler belong to it, since compression smears its border. A flat area with the hue of a
    stain is drawn tissue, not filler.
    """
    low, high = extremes(pixels)
    real = ~(_grown(high == 0, high <= _NEARLY) | _grown(low == BLANK, low >= BLANK - _NEARLY))
    seen = real.copy()
    for color in flat_colors(pixels):
        seen &= ~_of_color(pixels, color)
    return seen if seen.sum() >= _SEEN * max(real.sum(), 1) else real


def flat_colors(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Colors ``(3,)`` that fill large areas of the image exactly and are not the hue of a stain; exact black and white too.

    A camera never gives exactly one color to every px of an area; glass that is averaged comes near, with speckles.
    """
    from scipy.ndimage import maximum_filter

    step = -(-max(pixels.shape[:2]) // LOOK_PX)
    small = pixels[::step, ::step].astype(np.int32)
    packed = small[..., 0] << 16 | small[..., 1] << 8 | small[..., 2]
    changes = np.zeros(packed.shape, bool)
    changes[:, 1:] |= packed[:, 1:] != packed[:, :-1]
    changes[1:] |= packed[1:] != packed[:-1]
    corners = packed[[0, 0, -1, -1], [0, -1, 0, -1]]
    colors = np.unique(packed[~maximum_filter(changes, _SIDE_PX)])
    found = []
    values, counts = np.unique(packed[np.isin(packed, colors)], return_counts=True)
    for value, n in zip(values, counts, strict=True):
        color = np.array([value >> 16, value >> 8 & 255, value & 255], np.uint8)
        drawn = is_stained(color, _TINGED) and (corners == value).sum() < _CORNERS
        if n < _SHARE * packed.size or drawn:
            continue
        if _squares(packed == value).sum() >= max(_SOLID * n, _SHARE * packed.size):
            found.append(color)
    return found


def _of_color(pixels: NDArray[np.uint8], color: NDArray[np.uint8]) -> NDArray[np.bool_]:
    far = np.abs(pixels.astype(np.int16) - color).max(axis=2)
    return _grown(_squares(far == 0), far <= _NEARLY)


def _squares(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of a mask that lies in full squares."""
    from scipy.ndimage import maximum_filter, minimum_filter

    found: NDArray[np.bool_] = maximum_filter(minimum_filter(mask, _SIDE_PX), _SIDE_PX)
    return found


def _grown(exact: NDArray[np.bool_], nearly: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import maximum_filter

    found: NDArray[np.bool_] = exact | (nearly & maximum_filter(exact, 2 * BLOCK_PX + 1)) if exact.any() else exact
    return found
