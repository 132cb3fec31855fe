"""Tiles changed at random: all orientations equally often, stains and nothing else, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from st_predict.core.methods.recipe import FitConfig
from st_predict.core.training.augment import augment, jitter_stains, turn_and_flip

HEMATOXYLIN = torch.tensor([0.65, 0.70, 0.29]) / torch.tensor([0.65, 0.70, 0.29]).norm()


def random_tiles(n: int, px: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 2, px, px, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_all_eight_orientations_come_equally_often() -> None:
    tile = random_tiles(1)
    orientations = [torch.rot90(t, i, (2, 3)) for t in (tile, tile.flip(2)) for i in range(4)]
    found = turn_and_flip(tile.expand(4000, -1, -1, -1, -1))
    times = [int((found == orientation).flatten(1).all(dim=1).sum()) for orientation in orientations]
    assert sum(times) == 4000, "both scales of a spot are turned alike, and colors stay"
    assert min(times) > 400 and max(times) < 600


def test_the_tiles_given_stay_as_they_are() -> None:
    tiles = random_tiles(5)
    before = tiles.clone()
    augment(tiles, FitConfig(stain_jitter=0.2))
    assert torch.equal(tiles, before)


def test_no_jitter_changes_nothing() -> None:
    tiles = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(-1, -1, -1, -1, 3)
    assert torch.equal(jitter_stains(tiles, 0.0), tiles)
    assert torch.equal(jitter_stains(random_tiles(20), 0.0), random_tiles(20))


def test_stains_are_scaled_and_shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as much again of one stain, and a little of it everywhere: known optical densities."""
    amounts = torch.linspace(0.1, 1.0, 16)
    density = amounts[:, None] * HEMATOXYLIN
    tiles = (256 * 10**-density - 1).round().to(torch.uint8).view(1, 1, 4, 4, 3)
    drawn = torch.zeros(2, 1, 3)
    drawn[0, 0, 0], drawn[1, 0, 0] = 1.0, 0.2  # of the strength, 0.5: a factor of 1.5 and 0.1 more
    monkeypatch.setattr(torch, "rand", lambda *size: (drawn + 1) / 2)
    expected = 256 * 10 ** -((1.5 * amounts + 0.1)[:, None] * HEMATOXYLIN) - 1
    found = jitter_stains(tiles, 0.5).view(16, 3).float()
    assert (found - expected).abs().max() < 2.0, "but for two roundings to whole pixel values"


def test_jitter_differs_between_spots_and_not_within() -> None:
    found = jitter_stains(random_tiles(1).expand(6, -1, -1, -1, -1), 0.2)
    assert found.dtype == torch.uint8 and found.shape == (6, 2, 16, 16, 3)
    assert len({bytes(spot.numpy()) for spot in found}) == 6
    alike = random_tiles(1)[:, :1].expand(3, 2, -1, -1, -1)
    scales = jitter_stains(alike, 0.2)
    assert torch.equal(scales[:, 0], scales[:, 1])


def test_settings_decide_what_is_done() -> None:
    tiles = random_tiles(30)
    assert augment(tiles, FitConfig(augment=False)) is tiles
    turned = augment(tiles, FitConfig())
    assert torch.equal(turned.flatten(1).sort(dim=1)[0], tiles.flatten(1).sort(dim=1)[0]), "pixels move, none changes"
    stained = augment(tiles, FitConfig(augment=False, stain_jitter=0.05))
    shift = (stained.float() - tiles.float()).abs().mean()
    assert 0.5 < shift < 20


def test_mixed_precision_does_not_reach_the_pixels() -> None:
    plain = jitter_stains(random_tiles(4), 0.1)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(jitter_stains(random_tiles(4), 0.1), plain)


def test_the_seed_decides() -> None:
    config = FitConfig(stain_jitter=0.1)
    first = augment(random_tiles(8), config)
    torch.manual_seed(0)
    assert torch.equal(augment(random_tiles(8), config), first)
    assert not torch.equal(augment(random_tiles(8), config), first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_and_is_not_waited_for() -> None:
    config = FitConfig(stain_jitter=0.1)
    expected = augment(random_tiles(8), config)
    tiles = random_tiles(8).cuda()
    augment(tiles, config)  # what is set up once may wait
    torch.manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augment(tiles, config)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (found.cpu().int() - expected.int()).abs().max() <= 1
