"""The pixels of tiles against plain slices of a padded image, and how often each chunk is read."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from PIL import Image

from st_predict.core.tiles.geometry import tile_corners
from st_predict.core.tiles.sources import ArraySource
from st_predict.core.tiles.stream import stream_tiles

HEIGHT, WIDTH, PAD = 70, 110, 200


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """No two pixels of one channel in a row or column are alike, and no pixel is white."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x, y, (3 * x + 7 * y) % 251], axis=-1).astype(np.uint8)


class GridSource:
    """An image in chunks that notes what is read."""

    def __init__(self, pixels: np.ndarray, row_edges: list[int], col_edges: list[int]) -> None:
        self._pixels, self.row_edges, self.col_edges = pixels, np.array(row_edges), np.array(col_edges)
        self.read: list[tuple[int, int]] = []

    def read_chunk(self, row: int, col: int) -> np.ndarray:
        self.read.append((row, col))
        return self._pixels[
            self.row_edges[row] : self.row_edges[row + 1], self.col_edges[col] : self.col_edges[col + 1]
        ].copy()


def grid_source(image: np.ndarray) -> GridSource:
    return GridSource(image, [0, 30, 60, 70], [0, 25, 50, 75, 110])


def padded(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)), constant_values=255)


def reference(image: np.ndarray, center: np.ndarray, side: int) -> np.ndarray:
    x, y = tile_corners(center[None], side)[0] + PAD
    return padded(image)[y : y + side, x : x + side]


def collect(source: object, centers: np.ndarray, sides: list[int], out_px: int, batch_size: int = 64) -> dict:
    found: dict[tuple[int, int], np.ndarray] = {}
    for batch in stream_tiles(source, centers, sides, out_px=out_px, batch_size=batch_size):
        assert len(batch.spots) == len(batch.scales) == len(batch.pixels) <= batch_size
        for spot, scale, pixels in zip(batch.spots.tolist(), batch.scales.tolist(), batch.pixels, strict=True):
            assert (spot, scale) not in found, "a tile was handed out twice"
            found[spot, scale] = pixels
    return found


def test_rows_are_y_and_columns_are_x(image: np.ndarray) -> None:
    tile = collect(ArraySource(image), np.array([[80.0, 20.0]]), [8], 8)[0, 0]
    assert (tile[:, :, 0] == np.arange(76, 84)[None, :]).all()
    assert (tile[:, :, 1] == np.arange(16, 24)[:, None]).all()


@pytest.mark.parametrize(
    ("center", "inside"),
    [
        ((2, 35), (slice(None), slice(3, None))),  # left edge
        ((WIDTH - 2, 35), (slice(None), slice(None, 7))),  # right edge
        ((50, 1), (slice(4, None), slice(None))),  # top edge
        ((50, HEIGHT - 1), (slice(None, 6), slice(None))),  # bottom edge
        ((0, 0), (slice(5, None), slice(5, None))),  # corner
    ],
)
def test_edge_tiles_are_white_off_the_image(image: np.ndarray, center: tuple[int, int], inside: tuple) -> None:
    tile = collect(grid_source(image), np.array([center], float), [10], 10)[0, 0]
    expected = np.full((10, 10, 3), 255, np.uint8)
    x, y = center[0] - 5, center[1] - 5
    expected[inside] = image[max(y, 0) : y + 10, max(x, 0) : x + 10]
    assert (tile == expected).all()
    assert (tile == reference(image, np.array(center, float), 10)).all()


@pytest.mark.parametrize(
    "center", [(-30, 20), (20, -30), (WIDTH + 30, 20), (20, HEIGHT + 30), (-5, 35), (WIDTH + 5, 35)]
)
def test_tiles_off_the_image_are_white_and_read_nothing(image: np.ndarray, center: tuple[int, int]) -> None:
    source = grid_source(image)
    tile = collect(source, np.array([center], float), [10], 10)[0, 0]
    assert tile.shape == (10, 10, 3) and (tile == 255).all()
    assert source.read == []


def test_every_spot_and_scale_once_each_chunk_once_in_storage_order(image: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    centers = rng.uniform((-20, -20), (WIDTH + 20, HEIGHT + 20), (60, 2))
    sides = [6, 16, 61]  # the last spans up to twelve chunks
    source = grid_source(image)
    found = {}
    for side_index, side in enumerate(sides):
        found[side_index] = {k[0]: v for k, v in collect(grid_source(image), centers, [side], side).items()}
        for spot, center in enumerate(centers):
            assert (found[side_index][spot] == reference(image, center, side)).all(), (spot, side)
    together = collect(source, centers, sides, 16)
    assert set(together) == {(spot, scale) for spot in range(60) for scale in range(3)}
    assert source.read == sorted(set(source.read)) == [(r, c) for r in range(3) for c in range(4)]
    for spot in range(60):
        assert (together[spot, 1] == found[1][spot]).all()


def test_tile_over_four_chunks(image: np.ndarray) -> None:
    source = grid_source(image)
    tile = collect(source, np.array([[50.0, 30.0]]), [12], 12)[0, 0]
    assert source.read == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert (tile == image[24:36, 44:56]).all()


def test_chunks_without_spots_are_not_read(image: np.ndarray) -> None:
    source = grid_source(image)
    collect(source, np.array([[10.0, 10.0], [100.0, 65.0]]), [4], 4)
    assert source.read == [(0, 0), (2, 3)]


def test_chunk_borders_belong_to_one_side(image: np.ndarray) -> None:
    source = grid_source(image)
    collect(source, np.array([[45.0, 25.0]]), [10], 10)  # ends exactly where the next chunk begins
    assert source.read == [(0, 1)]


def test_resampling_is_an_area_weighted_pillow_resize(image: np.ndarray) -> None:
    tile = collect(grid_source(image), np.array([[55.0, 35.0]]), [40], 8)[0, 0]
    expected = Image.fromarray(image[15:55, 35:75]).resize((8, 8), Image.Resampling.BILINEAR)
    assert (tile == np.asarray(expected)).all()
    assert abs(float(tile[..., 0].mean()) - 54.5) < 0.6


def test_constant_tiles_stay_constant_at_any_size() -> None:
    flat = np.full((50, 50, 3), (12, 130, 240), np.uint8)
    for out_px in (3, 20, 33):
        assert (collect(ArraySource(flat), np.array([[25.0, 25.0]]), [20], out_px)[0, 0] == flat[0, 0]).all()


def test_batches_are_full_but_the_last_and_do_not_share_memory(image: np.ndarray) -> None:
    centers = np.random.default_rng(1).uniform(10, 60, (23, 2))
    batches = list(stream_tiles(grid_source(image), centers, [8], out_px=8, batch_size=5))
    assert [len(b.spots) for b in batches] == [5, 5, 5, 5, 3]
    for batch in batches:
        for spot, pixels in zip(batch.spots, batch.pixels, strict=True):
            assert (pixels == reference(image, centers[spot], 8)).all()


def test_order_of_chunks_does_not_matter_to_pixels(image: np.ndarray) -> None:
    centers = np.random.default_rng(2).uniform(-5, 80, (30, 2))
    whole = collect(ArraySource(image), centers, [14, 30], 12)
    chunked = collect(grid_source(image), centers, [14, 30], 12)
    assert set(whole) == set(chunked)
    assert all((whole[key] == chunked[key]).all() for key in whole)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_array_source_takes_rgb_bytes_only(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected \\(height, width, 3\\) uint8"):
        ArraySource(pixels)


def test_array_source_has_one_chunk() -> None:
    source = ArraySource(np.zeros((4, 6, 3), np.uint8))
    assert source.row_edges.tolist() == [0, 4] and source.col_edges.tolist() == [0, 6]
    with pytest.raises(IndexError):
        source.read_chunk(0, 1)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 37.0 + c) * np.cos(y / 23.0 - c) for c in range(3)]
    return (128 + 90 * np.stack(waves, axis=-1)).round().astype(np.uint8)


@pytest.mark.parametrize("factor", [2, 4])
def test_wide_tiles_come_from_reduced_copies_and_show_the_same(factor: int) -> None:
    pixels = smooth(480, 640)
    copy = pixels.reshape(480 // factor, factor, 640 // factor, factor, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    source, small = ArraySource(pixels), GridSource(copy, [0, 50, 480 // factor], [0, 70, 640 // factor])
    centers = np.random.default_rng(0).uniform((-10, -10), (650, 490), (40, 2))
    whole = collect(source, centers, [33, 130], 30)
    found: dict[tuple[int, int], np.ndarray] = {}
    for batch in stream_tiles(source, centers, [33, 130], out_px=30, reduced=[small]):
        found |= dict(zip(zip(batch.spots.tolist(), batch.scales.tolist(), strict=True), batch.pixels, strict=True))
    assert found.keys() == whole.keys() and len(small.read) == len(set(small.read)) > 0
    for (spot, scale), tile in whole.items():
        apart = np.abs(found[spot, scale].astype(int) - tile)
        assert not apart.any() if scale == 0 else apart.mean() < 2, "narrow tiles are not enlarged"


def test_a_copy_that_would_have_to_be_enlarged_is_not_used() -> None:
    pixels = smooth(100, 100)
    small = GridSource(pixels[::2, ::2], [0, 50], [0, 50])
    centers = np.array([[50.0, 50.0]])
    list(stream_tiles(ArraySource(pixels), centers, [40], out_px=21, reduced=[small]))
    assert small.read == []
    list(stream_tiles(ArraySource(pixels), centers, [40], out_px=20, reduced=[small]))
    assert small.read == [(0, 0)]


def test_chunks_are_held_no_longer_than_tiles_need_them() -> None:
    """Two rows of chunks at most, however tall the image and however many spots."""

    class Counted(GridSource):
        alive, most = 0, 0

        def read_chunk(self, row: int, col: int) -> np.ndarray:
            chunk = super().read_chunk(row, col)
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)
            weakref.finalize(chunk, self._gone)
            return chunk

        @staticmethod
        def _gone() -> None:
            Counted.alive -= 1

    edges = list(range(0, 1001, 50))
    source = Counted(smooth(1000, 200), edges, [0, 50, 100, 150, 200])
    x, y = (v.ravel() for v in np.meshgrid(np.arange(10, 200, 10), np.arange(10, 1000, 10)))
    for _ in stream_tiles(source, np.column_stack([x, y]).astype(float), [40], out_px=8, batch_size=4):
        pass
    assert len(source.read) == 80 and Counted.most <= 2 * 4 + 2
