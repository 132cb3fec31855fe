"""Tiles of a batch changed at random, where they lie: eight orientations, and the stain. Draws on the CPU, never waits.

Random numbers come from torch's CPU generator, so that a seed gives the same on every device; nothing is read back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from st_predict.core.processes import share

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.methods.recipe import FitConfig

# Optical density of hematoxylin, eosin and diaminobenzidine in red, green and blue (Ruifrok and Johnston 2001), to length 1.
_STAINS = torch.nn.functional.normalize(torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]))
_UNMIX = torch.linalg.inv(_STAINS)
_CLEAR = 256.0  # one more than the brightest pixel, which has a density of 0; no pixel has an infinite one


def augment(tiles: Tensor, config: FitConfig, *, of: int) -> Tensor:
    """Tiles of a training batch, changed as the settings say.

    Parameters
    ----------
    tiles
        ``(n, S, px, px, 3)`` uint8; where several processes share a batch, this one's.
    config
        What to change.
    of
        Tiles of the whole batch: numbers are drawn for all, so that processes draw the same.
    """
    own = share(of)
    if config.augment:
        tiles = turn_and_flip(tiles, torch.randint(8, (of,))[own])
    if config.stain_jitter:
        tiles = jitter_stains(tiles, config.stain_jitter * (2 * torch.rand(2, of, 3)[:, own] - 1))
    return tiles


def turn_and_flip(tiles: Tensor, orientation: Tensor) -> Tensor:
    """Each spot's tiles in one of their eight orientations.

    Parameters
    ----------
    tiles
        ``(n, S, px, px, 3)``.
    orientation
        0 to 7 for each spot ``(n,)``: what is mirrored up and down (1), left and right (2), and at the diagonal (4).
    """
    orientation = _to(orientation, tiles.device).view(-1, 1, 1, 1, 1)
    tiles = torch.where((orientation & 1).bool(), tiles.flip(2), tiles)
    tiles = torch.where((orientation & 2).bool(), tiles.flip(3), tiles)
    return torch.where((orientation & 4).bool(), tiles.transpose(2, 3), tiles)


def jitter_stains(tiles: Tensor, drawn: Tensor) -> Tensor:
    """Each spot's tiles as if they were stained a little otherwise.

    After Tellez et al. 2018 (Whole-slide mitosis detection in H&E breast histology, IEEE TMI): optical densities are
    taken apart into stains, each of which is scaled and shifted at random.

    Parameters
    ----------
    tiles
        ``(n, S, px, px, 3)`` uint8.
    drawn
        What is added to the factor 1 of each stain, and to its density (to base 10), ``(2, n, 3)``.
    """
    n, drawn = len(tiles), _to(drawn, tiles.device)
    stains, unmix = (_to(matrix, tiles.device) for matrix in (_STAINS, _UNMIX))
    light = tiles.float().add_(1).div_(_CLEAR).log_().reshape(n, -1, 3)  # less than 0: the density, but for its unit
    with torch.autocast(tiles.device.type, enabled=False):  # a density of three digits would show in the pixels
        # Taking apart, scaling and putting together: (b, 3) @ mix (3, 3) + shift (3,), all of one spot.
        mix = unmix @ ((1 + drawn[0])[:, :, None] * stains)
        shift = -math.log(10) * drawn[1] @ stains
        changed = torch.baddbmm(shift[:, None], light, mix).exp_().mul_(_CLEAR).sub_(1)
    return changed.round_().clamp_(0, 255).to(torch.uint8).view(tiles.shape)


def _to(values: Tensor, device: torch.device) -> Tensor:
    """Small values on the device of the tiles, without waiting for what it is doing."""
    return values.to(device, non_blocking=True)
