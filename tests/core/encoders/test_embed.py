"""Features of a section: the right tile in the right place, each encoded once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from st_predict.core.encoders.embed import embed_section
from st_predict.core.encoders.frozen import FrozenEncoder, torch_device
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.section import Section
from st_predict.core.tiles.cut import cut_section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource


@pytest.fixture(scope="module")
def section() -> Section:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    return Section("A", ArraySource(pixels), rng.uniform(0, (160, 120), (25, 2)), 0.5)


SPEC = TileSpec((16.0, 30.0))


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_features_are_the_encoded_tiles(section: Section, batch_size: int) -> None:
    encoder = build_encoder("tiny")
    features = embed_section(section, encoder, SPEC, batch_size=batch_size)
    assert features.shape == (25, 2, 24) and features.dtype == np.float32
    tiles = np.empty((25, 2, 32, 32, 3), np.uint8)
    cut_section(section, SPEC, tiles)
    with torch.inference_mode():
        direct = encoder(torch.from_numpy(tiles).flatten(0, 1)).view(25, 2, 24)
    assert np.allclose(features, direct.numpy(), atol=1e-5)


def test_each_tile_is_encoded_once(section: Section, tile_count: SimpleNamespace) -> None:
    FrozenEncoder("tiny", None, batch_size=8).encode(section, SPEC)
    assert tile_count.tiles == 25 * 2


def test_identity_and_laziness() -> None:
    frozen = FrozenEncoder("tiny", None, device="cpu")
    assert "encoder" not in vars(frozen), "nothing is built before it is needed"
    assert frozen.identity == ("tiny", None, build_encoder("tiny").fingerprint())


def test_device() -> None:
    assert torch_device("cpu") == "cpu"
    assert torch_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
