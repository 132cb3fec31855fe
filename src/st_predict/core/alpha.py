"""The one rule for pixels that are missing or not opaque: they lie on white, as the glass around tissue. Knows arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLANK = 255
"""What is read where nothing was stored, and lies under what is transparent."""


def over_white(pixels: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """Lay the colors of an image with an alpha channel over white.

    Parameters
    ----------
    pixels
        ``(height, width, 4)``; with three channels they are given back as they are.
    premultiplied
        Whether the colors were already multiplied by alpha ("associated" in a TIFF).

    Returns
    -------
    ``(height, width, 3)``.
    """
    if pixels.shape[2] == 3:
        return pixels
    color, alpha = pixels[..., :3], pixels[..., 3:]
    if (alpha == 255).all():
        return color
    clear = np.uint16(255) - alpha
    if premultiplied:
        laid = np.minimum(color + clear, 255)
    else:
        laid = (color * alpha.astype(np.uint16) + BLANK * clear + 127) // 255
    return laid.astype(np.uint8)
