"""The tiny encoder and what all encoders share: normalization, layout of pixels, fingerprint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from st_predict.core.encoders.registry import build_encoder


def tiles(n: int = 3, side: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def test_deterministic_whatever_the_global_seed() -> None:
    torch.manual_seed(1)
    one = build_encoder("tiny")
    torch.manual_seed(2)
    other = build_encoder("tiny")
    assert torch.equal(one(tiles()), other(tiles()))
    assert one.fingerprint() == other.fingerprint()


def test_weights_of_its_own(tmp_path: Path) -> None:
    state = {"2.weight": torch.ones(24, 48), "2.bias": torch.zeros(24)}
    save_file(state, tmp_path / "w.safetensors")
    encoder = build_encoder("tiny", str(tmp_path / "w.safetensors"))
    assert torch.equal(encoder.network[2].weight, state["2.weight"])
    assert encoder.fingerprint() != build_encoder("tiny").fingerprint()


def test_features_are_a_fixed_projection_of_cell_averages() -> None:
    encoder = build_encoder("tiny").eval()
    pixels = tiles()
    cells = pixels.double().view(3, 4, 8, 4, 8, 3).mean(dim=(2, 4))  # (n, row, col, channel)
    flat = ((cells / 255 - 0.5) / 0.5).permute(0, 3, 1, 2).flatten(1)
    project = encoder.network[2]
    expected = flat @ project.weight.double().T + project.bias.double()
    assert encoder.dim == 24 and encoder.tile_px == 32
    assert torch.allclose(encoder(pixels).double(), expected, atol=1e-5)


def test_rows_and_columns_are_told_apart() -> None:
    encoder = build_encoder("tiny")
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    pixels[:, :8] = 255
    assert not torch.allclose(encoder(pixels), encoder(pixels.transpose(1, 2)))


def test_fingerprint_follows_the_weights() -> None:
    encoder = build_encoder("tiny")
    before = encoder.fingerprint()
    with torch.no_grad():
        encoder.network[2].weight[0, 0] += 1e-3
    assert encoder.fingerprint() != before
    assert len(before) == 16
