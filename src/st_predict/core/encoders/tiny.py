"""A small deterministic encoder: coarse color layout through one random projection. For tests and dry runs."""

from __future__ import annotations

import torch
from torch import nn

from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.imagenet import load_into, load_state

_GRID, _DIM = 4, 24


def tiny(name: str, weights: str | None, pretrained: bool) -> Encoder:
    """Average color on a 4 x 4 grid, projected to 24 numbers by fixed weights; takes tiles of 32 px."""
    project = nn.Linear(3 * _GRID**2, _DIM)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        project.weight.copy_(torch.randn(project.weight.shape, generator=generator) / _GRID)
        project.bias.zero_()
    network = nn.Sequential(nn.AdaptiveAvgPool2d(_GRID), nn.Flatten(), project)
    if weights is not None:
        load_into(network, load_state(weights), weights)
    return Encoder(name, network, dim=_DIM, tile_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
