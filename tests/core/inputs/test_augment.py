"""Tiles changed at random: all orientations equally often, stains and nothing else, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from st_predict.core import processes
from st_predict.core.inputs.augment import augment, jitter_stains, turn_and_flip
from st_predict.core.methods.recipe import FitConfig

HEMATOXYLIN = torch.tensor([0.65, 0.70, 0.29]) / torch.tensor([0.65, 0.70, 0.29]).norm()


JITTER = FitConfig(augment=False, stain_jitter=0.2)


def random_tiles(n: int, px: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 2, px, px, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_all_eight_orientations_come_equally_often() -> None:
    tile = random_tiles(1)
    orientations = [torch.rot90(t, i, (2, 3)) for t in (tile, tile.flip(2)) for i in range(4)]
    found = augment(tile.expand(4000, -1, -1, -1, -1), FitConfig(), of=4000)
    times = [int((found == orientation).flatten(1).all(dim=1).sum()) for orientation in orientations]
    assert sum(times) == 4000, "both scales of a spot are turned alike, and colors stay"
    assert min(times) > 400 and max(times) < 600


def test_the_tiles_given_stay_as_they_are() -> None:
    tiles = random_tiles(5)
    before = tiles.clone()
    augment(tiles, FitConfig(stain_jitter=0.2), of=5)
    assert torch.equal(tiles, before)


def test_no_jitter_changes_nothing() -> None:
    tiles = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(-1, -1, -1, -1, 3)
    assert torch.equal(jitter_stains(tiles, torch.zeros(2, 1, 3)), tiles)
    assert torch.equal(jitter_stains(random_tiles(20), torch.zeros(2, 20, 3)), random_tiles(20))


def test_stains_are_scaled_and_shifted() -> None:
    """Half as much again of one stain, and a little of it everywhere: known optical densities."""
    amounts = torch.linspace(0.1, 1.0, 16)
    density = amounts[:, None] * HEMATOXYLIN
    tiles = (256 * 10**-density - 1).round().to(torch.uint8).view(1, 1, 4, 4, 3)
    drawn = torch.zeros(2, 1, 3)
    drawn[0, 0, 0], drawn[1, 0, 0] = 0.5, 0.1
    expected = 256 * 10 ** -((1.5 * amounts + 0.1)[:, None] * HEMATOXYLIN) - 1
    found = jitter_stains(tiles, drawn).view(16, 3).float()
    assert (found - expected).abs().max() < 2.0, "but for two roundings to whole pixel values"


def test_jitter_differs_between_spots_and_not_within() -> None:
    found = augment(random_tiles(1).expand(6, -1, -1, -1, -1), JITTER, of=6)
    assert found.dtype == torch.uint8 and found.shape == (6, 2, 16, 16, 3)
    assert len({bytes(spot.numpy()) for spot in found}) == 6
    alike = random_tiles(1)[:, :1].expand(3, 2, -1, -1, -1)
    scales = augment(alike, JITTER, of=3)
    assert torch.equal(scales[:, 0], scales[:, 1])


def test_settings_decide_what_is_done() -> None:
    tiles = random_tiles(30)
    assert augment(tiles, FitConfig(augment=False), of=30) is tiles
    turned = augment(tiles, FitConfig(), of=30)
    assert torch.equal(turned.flatten(1).sort(dim=1)[0], tiles.flatten(1).sort(dim=1)[0]), "pixels move, none changes"
    stained = augment(tiles, FitConfig(augment=False, stain_jitter=0.05), of=30)
    shift = (stained.float() - tiles.float()).abs().mean()
    assert 0.5 < shift < 20


def test_mixed_precision_does_not_reach_the_pixels() -> None:
    plain = augment(random_tiles(4), JITTER, of=4)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(random_tiles(4), JITTER, of=4), plain)


def test_the_seed_decides() -> None:
    config = FitConfig(stain_jitter=0.1)
    first = augment(random_tiles(8), config, of=8)
    torch.manual_seed(0)
    assert torch.equal(augment(random_tiles(8), config, of=8), first)
    assert not torch.equal(augment(random_tiles(8), config, of=8), first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_and_is_not_waited_for() -> None:
    config = FitConfig(stain_jitter=0.1)
    expected = augment(random_tiles(8), config, of=8)
    tiles = random_tiles(8).cuda()
    augment(tiles, config, of=8)  # what is set up once may wait
    torch.manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augment(tiles, config, of=8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (found.cpu().int() - expected.int()).abs().max() <= 1


def test_all_eight_orientations_and_no_other() -> None:
    tile = torch.arange(2 * 9 * 3, dtype=torch.uint8).view(2, 3, 3, 3)
    turned = turn_and_flip(tile.expand(8, *tile.shape), torch.arange(8))
    assert torch.equal(turned[0], tile)
    wanted = [torch.rot90(side, quarter, (1, 2)) for side in (tile, tile.flip(1)) for quarter in range(4)]
    found = [sum(torch.equal(one, other) for one in turned) for other in wanted]
    assert found == [1] * 8


def test_each_spot_is_turned_by_its_own_number() -> None:
    tiles = torch.randint(0, 256, (5, 2, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    orientation = torch.tensor([3, 0, 7, 3, 4])
    together = turn_and_flip(tiles, orientation)
    for i in range(5):
        assert torch.equal(together[i : i + 1], turn_and_flip(tiles[i : i + 1], orientation[i : i + 1]))


def test_processes_that_share_a_batch_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config, tiles = FitConfig(stain_jitter=0.1), random_tiles(7)
    whole, parts = augment(tiles, config, of=7), []
    for rank in range(2):
        monkeypatch.setattr(processes, "rank_and_size", lambda rank=rank: (rank, 2))
        torch.manual_seed(0)
        parts.append(augment(tiles[processes.share(7)], config, of=7))
    assert torch.equal(torch.cat(parts), whole)
