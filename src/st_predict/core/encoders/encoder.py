"""What every encoder is: a network, the tiles it takes, and the identity of its weights. Knows no slides."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Encoder(nn.Module):
    """A network that turns uint8 tiles into feature vectors.

    Parameters
    ----------
    name
        Name it was asked for by.
    network
        Maps normalized tiles ``(B, 3, tile_px, tile_px)`` to features ``(B, dim)``.
    dim
        Length of the feature vector.
    tile_px
        Side of the tiles it takes.
    mean, std
        Per-channel normalization of tiles scaled to [0, 1].
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, name: str, network: nn.Module, *, dim: int, tile_px: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.name, self.dim, self.tile_px = name, dim, tile_px
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Encode tiles: ``(B, H, W, 3)`` uint8 -> ``(B, dim)``. B tiles."""
        # The permuted view of channels-last pixels is already in the memory format the network wants.
        pixels = tiles.permute(0, 3, 1, 2).to(self.mean.dtype) / 255.0
        features: torch.Tensor = self.network((pixels - self.mean) / self.std)
        return features

    def fingerprint(self) -> str:
        """Hash of the weights, to tell whether two encoders are the same."""
        digest = hashlib.sha256()
        for key, value in self.network.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
