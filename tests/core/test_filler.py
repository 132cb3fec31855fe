"""What was filled in around a picture, and what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.filler import real_pixels


@pytest.mark.parametrize(
    ("color", "real"),
    [((255, 0, 255), False), ((128, 0, 128), False), ((255, 0, 0), False), ((240, 240, 240), False), ((190, 110, 170), True)],
)  # fmt: skip
def test_a_flat_color_is_filler_but_that_of_drawn_tissue(color: tuple[int, int, int], real: bool) -> None:
    """No tissue lets all of red or blue through and nothing of green."""
    pixels = np.random.default_rng(0).integers(200, 240, (200, 200, 3)).astype(np.uint8)
    pixels[:80, :80] = color
    found = real_pixels(pixels)
    assert found[100:, 100:].all() and found[10:70, 10:70].all() == real and found[10:70, 10:70].any() == real


def test_what_fills_the_corners_of_a_turned_picture_was_not_drawn_whatever_its_hue() -> None:
    pixels = np.random.default_rng(0).integers(200, 240, (200, 200, 3)).astype(np.uint8)
    rows, cols = np.mgrid[:200, :200]
    turned = np.abs(rows - 99.5) + np.abs(cols - 99.5) > 130
    pixels[turned] = (255, 180, 220)
    found = real_pixels(pixels)
    assert (found == turned).mean() < 0.01
