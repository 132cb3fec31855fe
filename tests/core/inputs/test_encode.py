"""Pixels to input rows where the encoder is part of the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.inputs.encode import ActivationRoom, encode_rows
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.methods.recipe import InputConfig


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
    assert FeatureInputs(InputConfig(), []).rows(rows) is rows


def drawn(n: int, scales: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (n, scales, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kept", "calls"), [(7, 4), (6, 5), (3, 7), (0, 8)])
def test_what_is_not_kept_is_computed_again(kept: int, calls: int) -> None:
    """Parts of two of seven spots; the same values and gradients to the bit."""
    encoder, called = build_encoder("tiny"), []
    encoder.register_forward_pre_hook(lambda *_: called.append(1))
    rows = encode_rows(encoder, drawn(7), batch_size=2, room=ActivationRoom(kept))
    rows.square().sum().backward()
    whole = build_encoder("tiny")
    expected = encode_rows(whole, drawn(7), batch_size=2)
    expected.square().sum().backward()
    assert len(called) == calls and torch.equal(rows, expected)
    for found, wanted in zip(encoder.parameters(), whole.parameters(), strict=True):
        assert found.grad is not None and wanted.grad is not None and torch.equal(found.grad, wanted.grad)


class Squares(torch.nn.Module):
    """Keeps the pixels, for the gradient of its weight, and their products, for the squares: four bytes a value."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1000))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return (tiles.float() * self.weight[:3]).square().mean(dim=(1, 2))


@pytest.mark.parametrize(("batch_size", "scales", "processes"), [(1, 1, 1), (4, 1, 1), (2, 2, 1), (3, 1, 2)])
def test_room_for_activations(monkeypatch: pytest.MonkeyPatch, batch_size: int, scales: int, processes: int) -> None:
    """As found with the first part, which is encoded once like the others."""
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 4_000_000)
    monkeypatch.setattr("st_predict.core.inputs.encode.rank_and_size", lambda: (0, processes))
    encoder: Any = Squares()
    called: list[int] = []
    encoder.register_forward_pre_hook(lambda _, tiles: called.append(len(tiles[0])))
    room = ActivationRoom()
    encode_rows(encoder, drawn(7, scales), batch_size=batch_size, room=room)
    assert room.kept == 1_000_000 // processes // (2 * 4 * 32 * 32 * 3)
    assert sum(called) == 7 * scales
