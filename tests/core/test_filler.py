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
