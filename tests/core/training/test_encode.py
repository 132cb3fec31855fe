"""Pixels to input rows where the encoder is part of the model."""

from __future__ import annotations

import pytest
import torch

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.training.encode import encode_rows


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
