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


def turn_and_flip(tiles: Tensor, orientation: Tensor) -> Tensor:
    """Each spot's tiles in one of their eight orientations, without a word between host and device.

    Parameters
    ----------
    tiles
        ``(n, S, px, px, 3)``.
    orientation
        0 to 7 for each spot ``(n,)``: what is mirrored up and down (1), left and right (2), and at the diagonal (4).
    """
    orientation = orientation.to(tiles.device).view(-1, 1, 1, 1, 1)
    tiles = torch.where((orientation & 1).bool(), tiles.flip(2), tiles)
    tiles = torch.where((orientation & 2).bool(), tiles.flip(3), tiles)
    return torch.where((orientation & 4).bool(), tiles.transpose(2, 3), tiles)
