"""Batches on their way: the same ones in the same order, read while others are trained on, an error in its place."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from st_predict.core.inputs import loader as loader_module
from st_predict.core.inputs.loader import FetchedAhead, fits, on_device, training_batches
from st_predict.core.inputs.pixels import TileRows
from st_predict.core.inputs.spots import BlockSampler, SpotBatches, SpotSet

CPU = torch.device("cpu")


class Tiles:
    """Tiles of one section that may be waited for."""

    def __init__(self, n: int) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 4, 4, 3), dtype=np.uint8)
        self.shape, self.seen, self.broken = self.pixels.shape, threading.Event(), False

    def __getitem__(self, spot: int) -> np.ndarray:
        if self.broken:
            raise OSError("the disk is gone")
        self.seen.set()
        return self.pixels[spot]


@pytest.fixture
def spots(spot_set: Callable[..., SpotSet]) -> SpotSet:
    return spot_set(sizes=((8, 8),), k=4)


def sampler(spots: SpotSet) -> BlockSampler:
    return BlockSampler(spots.blocks(4), batch_size=8, seed=3)


def test_batches_read_ahead_are_the_same(spots: SpotSet) -> None:
    tiles = Tiles(64)
    lazy = spots.with_tiles(TileRows.of_sections([tiles])[0])
    plain = spots.with_tiles(torch.from_numpy(tiles.pixels))
    loader = training_batches(lazy, sampler(lazy), CPU)
    other = DataLoader(SpotBatches(plain), sampler=sampler(plain), batch_size=None)
    assert isinstance(loader, FetchedAhead) and len(loader) == len(other) == 8
    for _ in range(2):  # epochs, which differ in order
        for one, two in zip(loader, other, strict=True):
            for name, values in one._asdict().items():
                expected = getattr(two, name)
                assert (values is None and expected is None) or torch.equal(values, expected), name


def test_the_next_batch_is_read_while_one_is_trained_on(spots: SpotSet) -> None:
    tiles = Tiles(64)
    batches = iter(training_batches(spots.with_tiles(TileRows.of_sections([tiles])[0]), sampler(spots), CPU))
    next(batches)
    tiles.seen.clear()
    assert tiles.seen.wait(timeout=30), "nothing was asked for since"


def test_a_disk_that_fails_is_heard(spots: SpotSet) -> None:
    tiles = Tiles(64)
    batches = iter(training_batches(spots.with_tiles(TileRows.of_sections([tiles])[0]), sampler(spots), CPU))
    next(batches)
    tiles.broken = True
    with pytest.raises(OSError, match="the disk is gone"):
        list(batches)


def test_features_need_no_thread(spots: SpotSet) -> None:
    assert type(training_batches(spots, sampler(spots), CPU)) is DataLoader


def test_tiles_may_take_half_of_what_is_free() -> None:
    assert fits(50, 100) and not fits(51, 100) and not fits(1, 0)


def test_tiles_stay_on_disk_where_there_is_no_gpu() -> None:
    tiles = TileRows.of_sections([Tiles(5)])[0]
    assert on_device(tiles, CPU) is tiles


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("free", [10**9, 10])
def test_batches_on_a_gpu(spots: SpotSet, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(loader_module, "free_bytes", lambda device: free)
    tiles, device = Tiles(64), torch.device("cuda")
    lazy = spots.with_tiles(TileRows.of_sections([tiles])[0])
    plain = spots.with_tiles(torch.from_numpy(tiles.pixels))
    loader = training_batches(lazy, sampler(lazy), device)
    for one, two in zip(loader, DataLoader(SpotBatches(plain), sampler=sampler(plain), batch_size=None), strict=True):
        assert one.tiles.is_cuda == (free > 10) and one.tiles.is_pinned() == (free == 10)
        assert torch.equal(one.tiles.cpu(), two.tiles)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_memory_that_torch_holds_for_nothing_is_free() -> None:
    device = torch.device("cuda")
    before = loader_module.free_bytes(device)
    held = torch.empty(2**28, dtype=torch.uint8, device=device)
    assert before - loader_module.free_bytes(device) >= 2**28
    del held
    assert loader_module.free_bytes(device) >= before - 2**24
