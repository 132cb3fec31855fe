"""What every encoder is: a network, the tiles it takes, and the identity of its weights. Knows no slides."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONSTANT = 1e-6  # standard deviation under which a feature counts as constant


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
    architecture
        Description of the network, where its name alone does not tell it without a model hub.
    """

    mean: torch.Tensor
    std: torch.Tensor
    feature_mean: torch.Tensor
    feature_scale: torch.Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        dim: int,
        tile_px: int,
        mean: Sequence[float],
        std: Sequence[float],
        architecture: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.name, self.dim, self.tile_px = name, dim, tile_px
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("feature_mean", torch.zeros(dim))
        self.register_buffer("feature_scale", torch.ones(dim))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Encode tiles: ``(B, H, W, 3)`` uint8 -> ``(B, dim)``. B tiles."""
        # The permuted view of channels-last pixels is already in the memory format the network wants.
        pixels = tiles.permute(0, 3, 1, 2).to(self.mean.dtype) / 255.0
        features: torch.Tensor = self.network((pixels - self.mean) / self.std)
        return (features - self.feature_mean) / self.feature_scale

    def scale_features(self, features: torch.Tensor) -> None:
        """Center and scale all features from now on, by some of them ``(n, dim)``; constant ones are only centered."""
        scale = features.std(dim=0)
        self.feature_mean += features.mean(dim=0) * self.feature_scale
        self.feature_scale *= torch.where(scale > _CONSTANT, scale, 1.0)

    def fingerprint(self) -> str:
        """Hash of the weights and of the number of features, to tell whether two encoders are the same."""
        digest = hashlib.sha256(str(self.dim).encode())
        scaled = bool(self.feature_mean.any() or (self.feature_scale != 1).any())
        for key, value in (self if scaled else self.network).state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
