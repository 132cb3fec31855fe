"""Pixels of many tiles in one pass over an image: every stored chunk is decoded once, in storage order.

A tile is held only while chunks it needs are still to come, so memory follows the chunk rows, not the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from st_predict.core.tiles.geometry import tile_corners

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import ImageSource

PAD_VALUE = 255  # white, as the glass around tissue


class TileBatch(NamedTuple):
    """Tiles in the order they were completed."""

    spots: NDArray[np.int64]
    """Spot of each tile ``(b,)``."""
    scales: NDArray[np.int64]
    """Scale (position in the tile widths) of each tile ``(b,)``."""
    pixels: NDArray[np.uint8]
    """``(b, out_px, out_px, 3)``."""


def stream_tiles(
    source: ImageSource,
    centers_px: NDArray[np.float64],
    sides_px: Sequence[int],
    *,
    out_px: int,
    batch_size: int = 64,
) -> Iterator[TileBatch]:
    """Cut the tile of every spot at every scale, resampled to ``out_px``.

    Parameters
    ----------
    source
        The image.
    centers_px
        Spot centers ``(n_spots, 2)``, x then y, in image px.
    sides_px
        Tile sides, one a scale, in image px.
    out_px
        Side of the tiles handed out.
    batch_size
        Tiles a batch; the last may be smaller.

    Yields
    ------
    Batches that together hold each (spot, scale) exactly once. What lies off the image is white.
    """
    spots: list[int] = []
    scales: list[int] = []
    pixels = np.empty((batch_size, out_px, out_px, 3), np.uint8)
    for spot, scale, tile in _whole_tiles(source, centers_px, sides_px):
        pixels[len(spots)] = _resample(tile, out_px)
        spots.append(spot)
        scales.append(scale)
        if len(spots) == batch_size:
            yield TileBatch(np.array(spots), np.array(scales), pixels)
            spots, scales, pixels = [], [], np.empty_like(pixels)
    if spots:
        yield TileBatch(np.array(spots), np.array(scales), pixels[: len(spots)])


def _whole_tiles(
    source: ImageSource, centers_px: NDArray[np.float64], sides_px: Sequence[int]
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Yield (spot, scale, tile at image resolution) as soon as a tile's last chunk was read."""
    corners = np.stack([tile_corners(centers_px, side) for side in sides_px])  # (S, n, 2)
    n_scales, n_spots, _ = corners.shape
    sides = np.broadcast_to(np.asarray(sides_px)[:, None], (n_scales, n_spots))
    by_chunk, missing = _chunks_needed(corners.reshape(-1, 2), sides.reshape(-1), source)
    open_tiles: dict[int, NDArray[np.uint8]] = {}

    for tile in np.flatnonzero(missing == 0).tolist():  # wholly off the image
        side = sides_px[tile // n_spots]
        yield tile % n_spots, tile // n_spots, np.full((side, side, 3), PAD_VALUE, np.uint8)
    for row, col in sorted(by_chunk):
        chunk = source.read_chunk(row, col)
        top, left = int(source.row_edges[row]), int(source.col_edges[col])
        for tile in by_chunk[row, col]:
            scale, spot = divmod(tile, n_spots)
            side = sides_px[scale]
            x, y = (int(v) for v in corners[scale, spot] - (left, top))
            y0, y1, x0, x1 = max(y, 0), min(y + side, chunk.shape[0]), max(x, 0), min(x + side, chunk.shape[1])
            part = chunk[y0:y1, x0:x1]
            missing[tile] -= 1
            if part.shape[:2] == (side, side):
                yield spot, scale, part
                continue
            held = open_tiles.get(tile)
            if held is None:
                held = open_tiles[tile] = np.full((side, side, 3), PAD_VALUE, np.uint8)
            held[y0 - y : y1 - y, x0 - x : x1 - x] = part
            if missing[tile] == 0:
                yield spot, scale, open_tiles.pop(tile)


def _chunks_needed(
    corners: NDArray[np.int64], sides: NDArray[np.int64], source: ImageSource
) -> tuple[dict[tuple[int, int], list[int]], NDArray[np.int64]]:
    """Tiles by the chunk they need, and how many chunks each tile needs."""
    ranges = []
    for axis, edges in ((1, source.row_edges), (0, source.col_edges)):
        low = np.clip(corners[:, axis], 0, edges[-1])
        high = np.clip(corners[:, axis] + sides, 0, edges[-1])
        first = np.searchsorted(edges, low, side="right") - 1
        stop = np.where(high > low, np.searchsorted(edges, high, side="left"), first)
        ranges.append((first, stop))
    (row0, row1), (col0, col1) = ranges
    needed: NDArray[np.int64] = ((row1 - row0) * (col1 - col0)).astype(np.int64)
    by_chunk: dict[tuple[int, int], list[int]] = {}
    for tile, (r0, r1, c0, c1) in enumerate(np.column_stack([row0, row1, col0, col1]).tolist()):
        for row in range(r0, r1):
            for col in range(c0, c1):
                by_chunk.setdefault((row, col), []).append(tile)
    return by_chunk, needed


def _resample(tile: NDArray[np.uint8], out_px: int) -> NDArray[np.uint8]:
    if tile.shape[0] == out_px:
        return tile
    from PIL import Image

    # Pillow's bilinear filter widens with the reduction, so shrinking does not alias.
    resized = Image.fromarray(np.ascontiguousarray(tile)).resize((out_px, out_px), Image.Resampling.BILINEAR)
    return np.asarray(resized)
