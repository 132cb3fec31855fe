"""Tiles as stored to a method's input rows, where the encoder is part of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from st_predict.core.tiles.ahead import ahead
from st_predict.core.training.hardware import rank_and_size
from st_predict.core.training.pixels import TileRows, read

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder


_SHARE_OF_MEMORY = 4  # a quarter of what this process may use holds activations


def encode_rows(
    encoder: Encoder | None, tiles: Tensor | TileRows, *, batch_size: int | None = None, kept: int | None = None
) -> Tensor:
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
    kept
        Spots whose activations are kept for the backward pass, which computes those of the others once more, part by
        part (Chen et al. 2016); values and gradients are the same. ``None``: of all.
    """
    if encoder is None:
        return read(tiles)
    size = batch_size or len(tiles)
    parts = ahead(part.read() for part in tiles.split(size)) if isinstance(tiles, TileRows) else tiles.split(size)
    rows, n = [], 0
    for part in parts:
        n, pixels = n + len(part), part.flatten(0, 1)
        again = kept is not None and n > kept
        features = checkpoint(encoder, pixels, use_reentrant=False) if again else encoder(pixels)
        rows.append(features.view(len(part), -1))
    return torch.cat(rows)


def spots_kept(encoder: Encoder, tiles: Tensor) -> int:
    """Spots whose activations a CPU has room for while the encoder is trained, all processes of the fit beside it.

    Parameters
    ----------
    encoder
        The encoder.
    tiles
        Of some spots ``(n, S, px, px, 3)``, by which the room of one is measured.
    """
    from distributed.system import MEMORY_LIMIT  # what this process may use, under a scheduler or in a container too

    # By where they lie: operations share them, and weights are not made by a tile.
    own = {values.untyped_storage().data_ptr() for values in encoder.state_dict().values()}
    found: dict[int, int] = {}
    alive = []

    def noted(values: Tensor) -> Tensor:
        alive.append(values)  # or its place is given to another
        found[values.untyped_storage().data_ptr()] = values.untyped_storage().nbytes()
        return values

    with saved_tensors_hooks(noted, lambda values: values):
        encoder(tiles.flatten(0, 1))
    a_spot = sum(n_bytes for place, n_bytes in found.items() if place not in own) / len(tiles)
    return int(MEMORY_LIMIT / _SHARE_OF_MEMORY / rank_and_size()[1] / max(a_spot, 1))
