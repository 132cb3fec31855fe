"""Cuts all tiles of a section in one pass, and hashes what they depend on. Knows neither files nor networks."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.progress import progress_bar
from st_predict.core.room import give_back
from st_predict.core.tiles.ahead import ahead
from st_predict.core.tiles.stream import chunks_under, levels_in_use, stream_tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec


def cut_section(section: Section, spec: TileSpec, cut: NDArray[np.uint8]) -> None:
    """Cut the tile of every spot at every scale.

    Parameters
    ----------
    section
        The section; ``n`` spots.
    spec
        Tile widths; ``S`` scales.
    cut
        Array to fill, ``(n, S, px, px, 3)`` uint8.
    """
    stream = stream_tiles(
        section.image, section.centers_px, spec.sides_px(section), out_px=cut.shape[2], reduced=section.reduced
    )
    with progress_bar(section.n_spots * spec.n_scales, f"cut tiles of {section.name}", unit="tile") as bar:
        for batch in ahead(stream):
            cut[batch.spots, batch.scales] = batch.pixels
            give_back(cut)
            bar.update(len(batch.spots))


def tiles_digest(section: Section, spec: TileSpec, tile_px: int) -> str:
    """Hash all that tiles depend on: where they lie, their size, the code that cuts them, and every pixel under them.

    The pixels themselves are read, not a file's name or date, so an image that was changed in place has another hash.

    Parameters
    ----------
    section
        The section.
    spec
        Tile widths.
    tile_px
        Side that tiles are resampled to.
    """
    sides = spec.sides_px(section)
    digest = hashlib.sha256(repr((version("st-predict"), version("pillow"), sides, tile_px)).encode())
    levels = [section.image, *section.reduced]
    for number, scales, boxes in levels_in_use(levels, section.centers_px, sides, tile_px):
        level = levels[number]
        chunks = chunks_under(level, boxes)
        arrays = [level.row_edges, level.col_edges, *(a for box in boxes for a in (box.corners, box.offsets))]
        shapes = [np.shape(array) for array in arrays]
        digest.update(repr((number, scales, [(box.side, box.width) for box in boxes], shapes, chunks)).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array))
        with progress_bar(len(chunks), f"look for tiles of {section.name}", unit="chunk") as bar:
            for chunk in ahead(level.read_chunk(row, col) for row, col in chunks):
                digest.update(np.ascontiguousarray(chunk))
                bar.update(1)
    return digest.hexdigest()[:32]
