"""Tiles that are not read yet stand where pixels would: the same values, and nothing read before it is wanted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.inputs.encode import encode_rows
from st_predict.core.inputs.pixels import DeviceTiles, TileRows, joined, read
from st_predict.core.inputs.spots import SpotBatches, SpotSet

SIZES = (7, 1, 12)


class Noted:
    """Tiles of a section that notes which were read."""

    def __init__(self, tiles: np.ndarray) -> None:
        self._tiles, self.shape, self.seen = tiles, tiles.shape, set[int]()

    def __getitem__(self, spot: int) -> np.ndarray:
        self.seen.add(spot)
        return self._tiles[spot]


@pytest.fixture
def sections() -> list[Noted]:
    rng = np.random.default_rng(0)
    return [Noted(rng.integers(0, 256, (n, 2, 8, 8, 3), dtype=np.uint8)) for n in SIZES]


def whole(sections: list[Noted]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([section._tiles for section in sections]))


def test_several_sections_are_read_as_one(sections: list[Noted]) -> None:
    tiles, pixels = joined(TileRows.of_sections(sections)), whole(sections)
    assert len(tiles) == 20 and tiles.shape == pixels.shape and tiles.n_bytes == pixels.nbytes
    generator = torch.Generator().manual_seed(0)
    for chosen in (torch.randperm(20, generator=generator)[:9], torch.rand(20, generator=generator) < 0.4):
        assert torch.equal(tiles[chosen].read(), pixels[chosen])
    picked = tiles[torch.arange(19, -1, -1)][torch.tensor([0, 12, 13])]
    assert torch.equal(picked.read(), pixels[[19, 7, 6]])
    assert torch.equal(torch.cat([part.read() for part in tiles.split(6)]), pixels)


def test_nothing_is_read_before_it_is_wanted(sections: list[Noted]) -> None:
    tiles = joined([rows[torch.arange(len(rows)) % 2 == 0] for rows in TileRows.of_sections(sections)])
    part = tiles.to("cpu")[torch.tensor([1, 4])]
    assert len(tiles) == 11 and part.shape == (2, 2, 8, 8, 3)
    assert [section.seen for section in sections] == [set(), set(), set()]
    read(part)
    assert [section.seen for section in sections] == [{2}, {0}, set()]


def test_tiles_held_by_a_device_are_the_same(sections: list[Noted]) -> None:
    tiles = TileRows(DeviceTiles(whole(sections)), torch.arange(20))
    rows = torch.tensor([5, 5, 19, 0])
    assert tiles.shape == (20, 2, 8, 8, 3) and torch.equal(tiles[rows].read(), whole(sections)[rows])


def test_what_is_read_passes_through() -> None:
    rows = torch.randn(3, 4)
    assert read(rows) is rows and torch.equal(joined([rows, rows]), torch.cat([rows, rows]))


@pytest.mark.parametrize("batch_size", [None, 3])
def test_rows_encoded_from_files_are_those_from_memory(batch_size: int | None) -> None:
    encoder = build_encoder("tiny")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 1, 32, 32, 3), dtype=np.uint8)
    tiles = TileRows.of_sections([pixels])[0]
    with torch.inference_mode():
        found, expected = (encode_rows(encoder, t, batch_size=batch_size) for t in (tiles, torch.from_numpy(pixels)))
    assert torch.equal(found, expected)


def test_spots_of_some_sections_keep_their_tiles(sections: list[Noted], spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set(sizes=((7, 1), (1, 1), (3, 4)), k=0)
    rows = TileRows.of_sections(sections)
    lazy, plain = spots.with_tiles(joined(rows)), spots.with_tiles(whole(sections))
    wanted = np.array([0, 6, 18])
    for chosen in ([0, 2], [2], [0, 1, 2]):
        some = [s.of_sections(chosen) for s in (lazy, plain)]
        assert [section.seen for section in sections] == [set()] * 3, "choosing reads nothing"
        targets = wanted[wanted < len(some[0].expression)]
        batches = [SpotBatches(s)[targets] for s in some]
        assert torch.equal(batches[0].tiles, batches[1].tiles) and torch.equal(*(b.targets for b in batches))
        for section in sections:
            section.seen.clear()
