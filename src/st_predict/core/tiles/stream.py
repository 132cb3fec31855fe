"""Pixels of many tiles in one pass over an image: every stored chunk is decoded once, in storage order.

A chunk is kept in memory until the last tile that needs it is cut, and tiles that overlap share it. So memory grows
with the width of the image and the height of a tile, not with the area or the number of spots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from st_predict.core.alpha import BLANK
from st_predict.core.tiles.geometry import tile_corners

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import ImageSource


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
    reduced: Sequence[ImageSource] = (),
    wanted: NDArray[np.bool_] | None = None,
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
    reduced
        Smaller copies of the image, finer ones first. A scale is cut from the coarsest that needs no enlarging; there
        is one pass over each copy in use.
    wanted
        Which tiles to cut ``(n_spots, n_scales)``; ``None``: all.

    Yields
    ------
    Batches that together hold each (spot, scale) exactly once. What lies off the image is white.
    """
    if wanted is None:
        wanted = np.ones((len(centers_px), len(sides_px)), bool)
    spots: list[int] = []
    scales: list[int] = []
    pixels = np.empty((batch_size, out_px, out_px, 3), np.uint8)
    for spot, scale, tile in _of_all_levels([source, *reduced], centers_px, sides_px, out_px, wanted):
        pixels[len(spots)] = tile
        spots.append(spot)
        scales.append(scale)
        if len(spots) == batch_size:
            yield TileBatch(np.array(spots), np.array(scales), pixels)
            spots, scales, pixels = [], [], np.empty_like(pixels)
    if spots:
        yield TileBatch(np.array(spots), np.array(scales), pixels[: len(spots)])


def _of_all_levels(
    levels: Sequence[ImageSource],
    centers_px: NDArray[np.float64],
    sides_px: Sequence[int],
    out_px: int,
    wanted: NDArray[np.bool_],
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Yield (spot, scale, tile of ``out_px``), a level after the other."""
    for number, scales, boxes in levels_in_use(levels, centers_px, sides_px, out_px):
        for spot, scale, tile in _whole_tiles(levels[number], boxes, wanted[:, scales].T.ravel()):
            yield spot, scales[scale], resample(tile, out_px, boxes[scale].within(spot))


def levels_in_use(
    levels: Sequence[ImageSource], centers_px: NDArray[np.float64], sides_px: Sequence[int], out_px: int
) -> Iterator[tuple[int, list[int], list[Boxes]]]:
    """Yield each level that tiles are cut from, by number, with their scales and where on it they lie."""
    size = np.array([levels[0].col_edges[-1], levels[0].row_edges[-1]], float)
    factors = [size / (level.col_edges[-1], level.row_edges[-1]) for level in levels]
    chosen = [max(i for i, f in enumerate(factors) if i == 0 or side / f.max() >= out_px) for side in sides_px]
    for number in sorted(set(chosen)):
        scales = [scale for scale, level in enumerate(chosen) if level == number]
        # The same box of tissue as at full resolution; on a reduced copy its borders lie within pixels.
        boxes = [Boxes.at(tile_corners(centers_px, sides_px[s]), sides_px[s], factors[number]) for s in scales]
        yield number, scales, boxes


def chunks_under(source: ImageSource, boxes: Sequence[Boxes]) -> list[tuple[int, int]]:
    """Row and column of every chunk that a tile lies on, in storage order."""
    first, stop = _chunks_needed(boxes, source)
    return sorted(_schedule(first, stop, np.ones(len(first), bool))[1])


class Boxes(NamedTuple):
    """Where the tiles of one scale lie on a level: boxes of whole px that cover them, and where in its box a tile begins."""

    corners: NDArray[np.int64]
    """Left and top of the whole px ``(n_spots, 2)``."""
    side: int
    """How many whole px."""
    offsets: NDArray[np.float64]
    """Where the tile begins, from the corner of its box ``(n_spots, 2)``, in px."""
    width: tuple[float, float]
    """Side of the tile in px of the level, along x and y."""

    @classmethod
    def at(cls, corners: NDArray[np.int64], side: int, factor: NDArray[np.float64]) -> Boxes:
        """Where boxes of full resolution lie on a level that is ``factor`` times smaller along x and y."""
        begin = corners / factor
        whole = np.floor(begin + 1e-9).astype(np.int64)
        offsets = np.maximum(begin - whole, 0.0)
        wide, tall = (side / factor).tolist()
        return cls(whole, int(np.ceil(offsets.max(initial=0.0) + max(wide, tall) - 1e-9)), offsets, (wide, tall))

    def within(self, spot: int) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom of a tile in its whole px; ``None`` where it is all of them."""
        wide, tall = self.width
        if wide == tall == self.side:
            return None
        x, y = self.offsets[spot].tolist()
        return x, y, x + wide, y + tall


def _whole_tiles(
    source: ImageSource, boxes: Sequence[Boxes], wanted: NDArray[np.bool_]
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Yield (spot, scale, tile at image resolution) as soon as a tile's last chunk was read."""
    corners = np.concatenate([scale.corners for scale in boxes])
    n_spots = len(boxes[0].corners)
    first, stop = _chunks_needed(boxes, source)
    for tile in np.flatnonzero((stop <= first).any(axis=1) & wanted).tolist():  # wholly off the image
        scale, spot = divmod(tile, n_spots)
        yield spot, scale, np.full((boxes[scale].side, boxes[scale].side, 3), BLANK, np.uint8)
    ending, last_use = _schedule(first, stop, wanted)
    held: dict[tuple[int, int], NDArray[np.uint8]] = {}
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for chunk, end in last_use.items():
        leaving.setdefault(end, []).append(chunk)
    for row, col in sorted(last_use):
        held[row, col] = source.read_chunk(row, col)
        for tile in ending.get((row, col), ()):
            scale, spot = divmod(tile, n_spots)
            yield spot, scale, _assemble(held, source, corners[tile], boxes[scale].side, first[tile], stop[tile])
        for chunk in leaving.get((row, col), ()):
            del held[chunk]


def _chunks_needed(boxes: Sequence[Boxes], source: ImageSource) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First chunk of each tile and the one after its last, ``(n_tiles, 2)`` row and column each."""
    corners = np.concatenate([scale.corners for scale in boxes])
    sides = np.repeat([scale.side for scale in boxes], len(boxes[0].corners))
    ranges = []
    for axis, edges in ((1, source.row_edges), (0, source.col_edges)):
        low = np.clip(corners[:, axis], 0, edges[-1])
        high = np.clip(corners[:, axis] + sides, 0, edges[-1])
        first = np.searchsorted(edges, low, side="right") - 1
        ranges.append((first, np.where(high > low, np.searchsorted(edges, high, side="left"), first)))
    (row0, row1), (col0, col1) = ranges
    return np.column_stack([row0, col0]), np.column_stack([row1, col1])


def _schedule(
    first: NDArray[np.int64], stop: NDArray[np.int64], wanted: NDArray[np.bool_]
) -> tuple[dict[tuple[int, int], list[int]], dict[tuple[int, int], tuple[int, int]]]:
    """Tiles by their last chunk, and for each chunk the one after which no tile needs it any more."""
    ending: dict[tuple[int, int], list[int]] = {}
    last_use: dict[tuple[int, int], tuple[int, int]] = {}
    tiles = np.flatnonzero(wanted & (stop > first).all(axis=1))
    for tile, (row0, col0), (row1, col1) in zip(
        tiles.tolist(), first[tiles].tolist(), stop[tiles].tolist(), strict=True
    ):
        end = row1 - 1, col1 - 1
        ending.setdefault(end, []).append(tile)
        for row in range(row0, row1):
            for col in range(col0, col1):
                if last_use.get((row, col), end) <= end:
                    last_use[row, col] = end
    return ending, last_use


def _assemble(
    held: dict[tuple[int, int], NDArray[np.uint8]],
    source: ImageSource,
    corner: NDArray[np.int64],
    side: int,
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """A tile from the chunks under it; white where there is none."""
    tile: NDArray[np.uint8] | None = None
    for row in range(int(first[0]), int(stop[0])):
        for col in range(int(first[1]), int(stop[1])):
            chunk = held[row, col]
            x, y = int(corner[0] - source.col_edges[col]), int(corner[1] - source.row_edges[row])
            y0, y1, x0, x1 = max(y, 0), min(y + side, chunk.shape[0]), max(x, 0), min(x + side, chunk.shape[1])
            part = chunk[y0:y1, x0:x1]
            if part.shape[:2] == (side, side):
                return part
            if tile is None:
                tile = np.full((side, side, 3), BLANK, np.uint8)
            tile[y0 - y : y1 - y, x0 - x : x1 - x] = part
    assert tile is not None
    return tile


def resample(
    tile: NDArray[np.uint8], out_px: int, box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """A square tile, or the box of it (left, top, right, bottom, in px), at another size."""
    if box is None and tile.shape[0] == out_px:
        return tile
    from PIL import Image

    # Pillow's bilinear filter widens with the reduction, so shrinking does not alias.
    image = Image.fromarray(np.ascontiguousarray(tile))
    return np.asarray(image.resize((out_px, out_px), Image.Resampling.BILINEAR, box=box))
