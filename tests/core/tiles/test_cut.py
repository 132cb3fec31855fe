"""Tiles of a section in one pass, and when their hash changes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from st_predict.core.section import Section
from st_predict.core.tiles import cut as cut_module
from st_predict.core.tiles.cut import cut_section, tiles_digest
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource

SPEC = TileSpec((16.0, 30.0))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def section_of(pixels: np.ndarray, **changes: Any) -> Section:
    centers = np.random.default_rng(1).uniform(0, (160, 120), (25, 2))
    return dataclasses.replace(Section("A", ArraySource(pixels), centers, 0.5), **changes)


def test_tiles_are_those_of_their_spot_and_scale(pixels: np.ndarray) -> None:
    section = section_of(pixels)
    tiles = np.empty((25, 2, 32, 32, 3), np.uint8)
    cut_section(section, SPEC, tiles)
    padded = np.pad(pixels, ((50, 50), (50, 50), (0, 0)), constant_values=255)
    for spot, (x, y) in enumerate(section.centers_px):
        left, top = int(np.floor(x - 16 + 0.5)) + 50, int(np.floor(y - 16 + 0.5)) + 50
        assert (tiles[spot, 0] == padded[top : top + 32, left : left + 32]).all()


def test_the_same_has_the_same_hash_whatever_it_is_called(pixels: np.ndarray) -> None:
    first = tiles_digest(section_of(pixels), SPEC, 32)
    assert first == tiles_digest(section_of(pixels.copy(), name="B", subject="P"), SPEC, 32)


def test_whatever_changes_the_tiles_changes_the_hash(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    section = section_of(pixels)
    other = pixels.copy()
    other[77, 90, 1] ^= 1  # one bit of one pixel
    moved = section.centers_px.copy()
    moved[3, 0] += 1
    half = ArraySource(pixels[::2, ::2].copy())
    found = [
        tiles_digest(section, SPEC, 32),
        tiles_digest(section_of(other), SPEC, 32),
        tiles_digest(section_of(pixels, centers_px=moved), SPEC, 32),
        tiles_digest(section_of(pixels, centers_px=section.centers_px[::-1]), SPEC, 32),
        tiles_digest(section.keep(np.arange(24)), SPEC, 32),
        tiles_digest(section_of(pixels, um_per_px=0.4), SPEC, 32),
        tiles_digest(section, TileSpec((30.0, 16.0)), 32),
        tiles_digest(section, TileSpec((16.0,)), 32),
        tiles_digest(section, SPEC, 24),
        tiles_digest(section_of(pixels, reduced=[half]), SPEC, 24),  # wide tiles are then cut from the smaller copy
    ]
    monkeypatch.setattr(cut_module, "version", lambda name: "another")
    found.append(tiles_digest(section, SPEC, 32))
    assert len(set(found)) == len(found)


def test_only_chunks_under_tiles_are_read() -> None:
    class Quarters(ArraySource):
        """Four chunks, those read noted."""

        def __init__(self, pixels: np.ndarray) -> None:
            super().__init__(pixels)
            self.row_edges = self.col_edges = np.array([0, 100, 200])
            self.read: list[tuple[int, int]] = []

        def read_chunk(self, row: int, col: int) -> np.ndarray:
            self.read.append((row, col))
            return super().read_chunk(0, 0)[100 * row : 100 * row + 100, 100 * col : 100 * col + 100]

    image = Quarters(np.zeros((200, 200, 3), np.uint8))
    section = Section("A", image, np.array([[150.0, 40.0], [150.0, 95.0]]), 1.0)
    tiles_digest(section, TileSpec((20.0,)), 16)
    assert image.read == [(0, 1), (1, 1)], "each once, in storage order"
