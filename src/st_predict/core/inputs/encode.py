"""Tiles as stored to a method's input rows, where the encoder is part of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from st_predict.core.inputs.pixels import TileRows
from st_predict.core.processes import rank_and_size
from st_predict.core.tiles.ahead import ahead

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder


_SHARE_OF_MEMORY = 4  # a quarter of what this process may use holds activations


class ActivationRoom:
    """Room for the activations of a batch while its encoder is trained.

    If there is no room for the activations of some tiles, the backward pass computes them once more, part by part (Chen
    et al. 2016); values and gradients are the same.

    Parameters
    ----------
    kept
        Tiles of a batch whose activations are kept; ``None``: as many as a quarter of the memory holds that this process
        may use, shared by all processes of the fit, as found with the first tiles.
    """

    def __init__(self, kept: int | None = None) -> None:
        self.kept = kept

    def encoded(self, encoder: Encoder, tiles: Tensor, *, before: int) -> Tensor:
        """Features ``(n, d)`` of tiles; ``before`` is how many tiles of their batch were encoded already."""
        if self.kept is None:
            features, n_bytes = _measured(encoder, tiles)
            self.kept = int(_memory() / _SHARE_OF_MEMORY / rank_and_size()[1] * len(tiles) / max(n_bytes, 1))
            return features
        if before + len(tiles) <= self.kept:
            return encoder(tiles)
        again: Tensor = checkpoint(encoder, tiles, use_reentrant=False)
        return again


def encode_rows(
    encoder: Encoder,
    tiles: Tensor | TileRows,
    *,
    batch_size: int | None = None,
    room: ActivationRoom | None = None,
) -> Tensor:
    """Encode pixels ``(n, S, px, px, 3)`` to rows ``(n, S * d)``.

    Tiles that are not read yet are read part by part, the next ones while a part is encoded.

    Parameters
    ----------
    encoder
        The encoder.
    tiles
        Pixels, read or not.
    batch_size
        Spots at a time; ``None``: all at once.
    room
        Where the encoder is trained, for what the backward pass needs; ``None``: without limit.
    """
    size = batch_size or len(tiles)
    parts = ahead(part.read() for part in tiles.split(size)) if isinstance(tiles, TileRows) else tiles.split(size)
    rows, n = [], 0
    for part in parts:
        pixels = part.flatten(0, 1)
        features = encoder(pixels) if room is None else room.encoded(encoder, pixels, before=n)
        rows.append(features.view(len(part), -1))
        n += len(pixels)
    return torch.cat(rows)


def _memory() -> int:
    """Bytes that this process may use, under a scheduler or in a container too."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)


def _measured(encoder: Encoder, tiles: Tensor) -> tuple[Tensor, int]:
    """Features ``(n, d)``, and the bytes kept for their backward pass."""
    weights = {values.untyped_storage().data_ptr() for values in encoder.state_dict().values()}
    found: dict[int, int] = {}  # by where they lie: operations share them
    alive = []

    def noted(values: Tensor) -> Tensor:
        alive.append(values)  # or its place is given to another
        found[values.untyped_storage().data_ptr()] = values.untyped_storage().nbytes()
        return values

    with saved_tensors_hooks(noted, lambda values: values):
        features = encoder(tiles)
    return features, sum(n_bytes for place, n_bytes in found.items() if place not in weights)
