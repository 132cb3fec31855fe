"""Training batches on their way to the device: from its own memory where all tiles fit there, else fetched ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from st_predict.core.inputs.pixels import DeviceTiles, TileRows
from st_predict.core.inputs.spots import SpotBatches
from st_predict.core.tiles.ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from st_predict.core.inputs.spots import BlockSampler, SpotSet
    from st_predict.core.methods.interface import Batch

_SHARE = 0.5  # of the free memory that tiles may take: the rest is for the network, its gradients and activations
_PART_SPOTS = 256
_BATCHES_AHEAD = 2


class FetchedAhead(DataLoader[Any]):
    """A loader whose next batches are read while one is trained on."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return ahead(super().__iter__(), depth=_BATCHES_AHEAD)


def training_batches(spots: SpotSet, sampler: BlockSampler, device: torch.device) -> DataLoader[Any]:
    """Batches of training spots for a device; tiles that are files are moved there once, or read ahead batch by batch."""
    if not isinstance(spots.tiles, TileRows):
        return DataLoader(SpotBatches(spots), sampler=sampler, batch_size=None)
    tiles = on_device(spots.tiles, device)
    pinned = device.type == "cuda" and tiles is spots.tiles
    return FetchedAhead(SpotBatches(spots.with_tiles(tiles)), sampler=sampler, batch_size=None, pin_memory=pinned)


def on_device(tiles: TileRows, device: torch.device) -> TileRows:
    """The same tiles in a GPU's memory where they fit; elsewhere as they are."""
    if device.type != "cuda" or not fits(tiles.n_bytes, free_bytes(device)):
        return tiles
    held = torch.empty(tiles.shape, dtype=torch.uint8, device=device)
    for place, part in zip(held.split(_PART_SPOTS), ahead(p.read() for p in tiles.split(_PART_SPOTS)), strict=True):
        place.copy_(part)
    return TileRows(DeviceTiles(held), torch.arange(len(tiles)), device)


def fits(n_bytes: int, free: int) -> bool:
    """Whether tiles may stay in a memory of which so much is free."""
    return n_bytes <= _SHARE * free


def free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, with what torch has reserved and does not use at the moment."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
