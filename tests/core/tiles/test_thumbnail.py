"""Reduced pixels: means against plain arithmetic, chunks read once, the right level of a pyramid."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.tiles.sources import ArraySource
from st_predict.core.tiles.thumbnail import Box, read_thumbnail


class CountingSource:
    """An image in chunks of uneven size that remembers which were read."""

    def __init__(self, image: np.ndarray, rows: list[int], cols: list[int]) -> None:
        self.image, self.read = image, []
        self.row_edges, self.col_edges = np.array(rows), np.array(cols)

    def read_chunk(self, row: int, col: int) -> np.ndarray:
        self.read.append((row, col))
        return self.image[self.row_edges[row] : self.row_edges[row + 1], self.col_edges[col] : self.col_edges[col + 1]]


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)


@pytest.mark.parametrize("side_px", [1, 7, 20, 64, 200])
def test_means_over_chunks_of_any_size(image: np.ndarray, side_px: int) -> None:
    source = CountingSource(image, [0, 30, 31, 77, 97], [0, 64, 128, 131])
    thumbnail = read_thumbnail([source], Box(10, 5, 125, 92), side_px=side_px)
    factor = max(1, 115 // side_px)
    crop = image[5:92, 10:125].astype(float)
    for row in range(thumbnail.pixels.shape[0]):
        for col in range(thumbnail.pixels.shape[1]):
            square = crop[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
            assert np.abs(thumbnail.pixels[row, col] - square.mean(axis=(0, 1))).max() <= 0.5 + 1e-9
    height, width = thumbnail.pixels.shape[:2]
    assert thumbnail.extent == (10, 10 + width * factor, 5 + height * factor, 5)
    assert side_px <= max(height, width) <= 2 * side_px or factor == 1
    assert (height - 1) * factor < 87 <= height * factor
    assert (width - 1) * factor < 115 <= width * factor


def test_only_chunks_under_the_box_are_read_and_each_once(image: np.ndarray) -> None:
    source = CountingSource(image, [0, 30, 60, 97], [0, 64, 128, 131])
    read_thumbnail([source], Box(70, 31, 100, 60), side_px=10)
    assert source.read == [(1, 1)]
    read_thumbnail([source], Box(0, 0, 131, 97), side_px=10)
    assert sorted(source.read[1:]) == [(row, col) for row in range(3) for col in range(3)]


def test_box_is_clipped_to_the_image(image: np.ndarray) -> None:
    thumbnail = read_thumbnail([ArraySource(image)], Box(-50, -50, 500, 500), side_px=1000)
    assert np.array_equal(thumbnail.pixels, image)
    assert thumbnail.extent == (0, 131, 97, 0)


def test_coarsest_level_that_is_fine_enough_is_read() -> None:
    levels = [CountingSource(np.full((s, 2 * s, 3), s, np.uint8), [0, s], [0, 2 * s]) for s in (200, 100, 50)]
    thumbnail = read_thumbnail(levels, Box(100, 40, 300, 160), side_px=90)
    assert [len(level.read) for level in levels] == [0, 1, 0]
    assert (thumbnail.pixels == 100).all()
    assert thumbnail.pixels.shape == (60, 100, 3)
    assert thumbnail.extent == (100, 300, 160, 40)
    read_thumbnail(levels, Box(100, 40, 300, 160), side_px=300)
    assert len(levels[0].read) == 1, "no level is fine enough: the finest is read"
