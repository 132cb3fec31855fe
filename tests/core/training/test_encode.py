"""Pixels to input rows where the encoder is part of the model."""

from __future__ import annotations

import pytest
import torch

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.training.encode import encode_rows, turn_and_flip


@pytest.mark.parametrize("batch_size", [None, 1, 3, 50])
def test_rows_are_the_scales_side_by_side(batch_size: int | None) -> None:
    encoder = build_encoder("tiny")
    tiles = torch.randint(0, 256, (7, 2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = encode_rows(encoder, tiles, batch_size=batch_size)
    assert rows.shape == (7, 48)
    for scale in range(2):
        assert torch.allclose(rows[:, 24 * scale : 24 * (scale + 1)], encoder(tiles[:, scale]), atol=1e-6)


def test_features_pass_through() -> None:
    rows = torch.randn(4, 6)
    assert encode_rows(None, rows, batch_size=2) is rows


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
