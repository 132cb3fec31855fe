"""Features of a section: the right tile in the right place, each encoded once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from st_predict.core.encoders.embed import cut_section, embed_section
from st_predict.core.encoders.frozen import FrozenEncoder, torch_device
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource


@pytest.fixture(scope="module")
def section() -> Section:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    return Section("A", ArraySource(pixels), rng.uniform(0, (160, 120), (25, 2)), 0.5)


SPEC = TileSpec((16.0, 30.0))


def test_cut_tiles_are_those_of_their_spot_and_scale(section: Section) -> None:
    tiles = cut_section(section, SPEC, 32)
    assert tiles.shape == (25, 2, 32, 32, 3) and tiles.dtype == np.uint8
    padded = np.pad(section.image.read_chunk(0, 0), ((50, 50), (50, 50), (0, 0)), constant_values=255)
    for spot, (x, y) in enumerate(section.centers_px):
        left, top = int(np.floor(x - 16 + 0.5)) + 50, int(np.floor(y - 16 + 0.5)) + 50
        assert (tiles[spot, 0] == padded[top : top + 32, left : left + 32]).all()


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_features_are_the_encoded_tiles(section: Section, batch_size: int) -> None:
    encoder = build_encoder("tiny")
    features = embed_section(section, encoder, SPEC, batch_size=batch_size)
    assert features.shape == (25, 2, 24) and features.dtype == np.float32
    with torch.inference_mode():
        direct = encoder(torch.from_numpy(cut_section(section, SPEC, 32)).flatten(0, 1)).view(25, 2, 24)
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
