"""Frozen features of a section: every tile is encoded exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from st_predict.core.encoders.kept import KeptFeatures
from st_predict.core.encoders.on_cpu import encode_on_cpu
from st_predict.core.progress import progress_bar
from st_predict.core.room import give_back, room_for
from st_predict.core.tiles.ahead import ahead
from st_predict.core.tiles.stream import stream_tiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec


def embed_section(
    section: Section,
    encoder: Encoder,
    tiles: TileSpec,
    *,
    device: str = "cpu",
    batch_size: int = 32,
    keep: Path | None = None,
) -> NDArray[np.float32]:
    """Encode the tile of every spot at every scale.

    Parameters
    ----------
    section
        The section; ``n`` spots.
    encoder
        The encoder; ``d`` features.
    tiles
        Tile widths; ``S`` scales.
    device
        Where to run the encoder.
    batch_size
        Tiles encoded at a time.
    keep
        Folder for finished blocks of features. A call that was broken off goes on from the blocks it finds there. Every
        batch is then filled up with blank tiles, since with torch the last bits of a tile's features depend on the size
        of its batch, and a run that goes on must give the same numbers as one that was never broken off.

    Returns
    -------
    ``(n, S, d)`` float32, in a temporary file where they are many.
    """
    features = room_for("features", (section.n_spots, tiles.n_scales, encoder.dim))
    encode = tile_encoder(encoder, device)
    kept = None if keep is None else KeptFeatures(keep, section.n_spots, tiles.n_scales)
    todo = np.ones(features.shape[:2], bool) if kept is None else kept.restore(features)
    stream = stream_tiles(
        section.image,
        section.centers_px,
        tiles.sides_px(section),
        out_px=encoder.tile_px,
        batch_size=batch_size,
        reduced=section.reduced,
        wanted=todo,
    )
    with progress_bar(todo.size, f"encode {section.name}", unit="tile") as bar:
        bar.update(todo.size - int(todo.sum()))
        for batch in ahead(stream):
            n = len(batch.spots)
            pixels = batch.pixels
            if keep is not None:
                pixels = np.concatenate([pixels, np.zeros((batch_size - n, *pixels.shape[1:]), np.uint8)])
            features[batch.spots, batch.scales] = encode(pixels)[:n]
            if kept is not None:
                kept.note(features, batch.spots, batch.scales)
            give_back(features)
            bar.update(n)
    return features


def tile_encoder(encoder: Encoder, device: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Make the fastest function that encodes tiles ``(B, H, W, 3)`` uint8 to ``(B, dim)`` float32 on a device.

    Parameters
    ----------
    encoder
        The encoder. It is moved to the device and set to evaluation mode. Later changes of its weights have no effect.
    device
        Torch device.
    """
    encoder = encoder.to(device).eval()
    fast = encode_on_cpu(encoder) if torch.device(device).type == "cpu" else None
    if fast is not None:
        return fast

    def encode(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            features: NDArray[np.float32] = encoder(torch.from_numpy(tiles).to(device)).float().cpu().numpy()
        return features

    return encode
