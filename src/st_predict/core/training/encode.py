"""Tiles as stored to a method's input rows, where the encoder is part of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder


def encode_rows(encoder: Encoder | None, tiles: Tensor, *, batch_size: int | None = None) -> Tensor:
    """Encode pixels ``(n, S, px, px, 3)`` to rows ``(n, S * d)``; rows that are features already pass through.

    Parameters
    ----------
    encoder
        The encoder, or ``None``.
    tiles
        Pixels, or features.
    batch_size
        Spots at a time, where no gradient is needed; ``None``: all at once.
    """
    if encoder is None:
        return tiles
    parts = tiles.split(batch_size) if batch_size else (tiles,)
    return torch.cat([encoder(part.flatten(0, 1)).view(len(part), -1) for part in parts])


def turn_and_flip(tiles: Tensor) -> Tensor:
    """Each spot's tiles in one of their eight orientations at random: ``(n, S, px, px, 3)``; a copy."""
    turned = tiles.clone()
    orientation = torch.randint(8, (len(tiles),))
    for i in range(8):
        chosen = (orientation == i).to(tiles.device)
        rotated = torch.rot90(tiles[chosen], i % 4, (2, 3))
        turned[chosen] = rotated.flip(2) if i >= 4 else rotated
    return turned
