"""Tiles as stored to a method's input rows, where the encoder is part of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from st_predict.core.tiles.ahead import ahead
from st_predict.core.training.pixels import TileRows, read

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder


def encode_rows(encoder: Encoder | None, tiles: Tensor | TileRows, *, batch_size: int | None = None) -> Tensor:
    """Encode pixels ``(n, S, px, px, 3)`` to rows ``(n, S * d)``; rows that are features already pass through.

    Tiles that are not read yet are read part by part, the next ones while a part is encoded.

    Parameters
    ----------
    encoder
        The encoder, or ``None``.
    tiles
        Pixels, read or not, or features.
    batch_size
        Spots at a time; ``None``: all at once.
    """
    if encoder is None:
        return read(tiles)
    size = batch_size or len(tiles)
    parts = ahead(part.read() for part in tiles.split(size)) if isinstance(tiles, TileRows) else tiles.split(size)
    return torch.cat([encoder(part.flatten(0, 1)).view(len(part), -1) for part in parts])
