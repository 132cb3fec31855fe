"""Encoders on a CPU: torch's features whatever runs them, of the weights of now, the same bits whatever lies beside."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from st_predict.core.encoders.embed import tile_encoder
from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.on_cpu import encode_on_cpu
from st_predict.core.encoders.registry import build_encoder

pytestmark = pytest.mark.one_python  # torch alone

CONVERTED = ["efficientnet_lite0", "resnet18", "tiny", "vit_tiny_patch16_224"]


def tiles(side: int, n: int = 5) -> NDArray[np.uint8]:
    """Smooth blobs of color on noise, each tile its own."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (n, side // 16, side // 16, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return (coarse + rng.integers(0, 56, coarse.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    """Real weights where a package brings them, else random ones with statistics that are not those of a new network."""
    torch.manual_seed(0)
    built = {name: build_encoder(name, pretrained=name in ("efficientnet_lite0", "tiny")) for name in CONVERTED}
    for module in built["resnet18"].modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return built


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def by_torch(encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return encoder.eval()(torch.from_numpy(pixels)).numpy()


@pytest.mark.parametrize("name", CONVERTED)
def test_features_are_those_of_torch(encoders: dict[str, Encoder], name: str) -> None:
    encoder = encoders[name]
    pixels = tiles(encoder.tile_px)
    encode = encode_on_cpu(encoder)
    assert encode is not None
    found, expected = encode(pixels), by_torch(encoder, pixels)
    assert found.shape == (5, encoder.dim) and found.dtype == np.float32
    assert expected.std() > 0.05
    assert np.abs(found - expected).max() < 2e-5


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", ["efficientnet_lite0", "vit_tiny_patch16_224"])
def test_same_bits_in_any_company_and_number_of_threads(encoders: dict[str, Encoder], name: str) -> None:
    pixels = tiles(encoders[name].tile_px)
    results = []
    for n_threads, order in [(1, [0, 1, 2, 3, 4]), (1, [4, 2, 0, 3, 1]), (3, [3, 4, 1, 0, 2])]:
        torch.set_num_threads(n_threads)
        encode = tile_encoder(encoders[name], "cpu")
        results.append(encode(pixels[order])[np.argsort(order)])
    results.append(np.concatenate([encode(pixels[:2]), encode(pixels[2:])]))
    assert all((result == results[0]).all() for result in results)


def test_new_weights_give_new_features() -> None:
    encoder = build_encoder("tiny")
    pixels = tiles(32)
    before = tile_encoder(encoder, "cpu")(pixels)
    with torch.no_grad():
        encoder.network[2].weight.data[0] += 1
    after = tile_encoder(encoder, "cpu")(pixels)
    assert np.allclose(after, by_torch(encoder, pixels), atol=2e-5)
    assert (after[:, 0] != before[:, 0]).all() and np.allclose(after[:, 1:], before[:, 1:], atol=1e-6)


def test_statistics_of_a_fit_give_new_features() -> None:
    """A fit in training mode changes the running statistics alone."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder = Encoder("normed", network, dim=4, tile_px=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = tiles(32)
    before = tile_encoder(encoder, "cpu")(pixels)
    encoder.train()(torch.from_numpy(pixels))
    after = tile_encoder(encoder, "cpu")(pixels)
    assert np.allclose(after, by_torch(encoder, pixels), atol=2e-5)
    assert np.abs(after - before).max() > 1e-3


def test_an_encoder_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = build_encoder("tiny")
    calls = []
    export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: (calls.append(1), export(*a, **k)))
    for _ in range(3):
        tile_encoder(encoder, "cpu")(tiles(32))
    assert len(calls) == 1


def test_a_converted_encoder_can_be_copied_and_sent() -> None:
    encoder = build_encoder("tiny")
    pixels = tiles(32)
    expected = tile_encoder(encoder, "cpu")(pixels)
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert (tile_encoder(other, "cpu")(pixels) == expected).all()


class Choosy(nn.Module):
    """What it does depends on what it sees, which a trace cannot tell."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        means = pixels.mean((2, 3))
        return means if float(means.sum()) < -1 else -means


class Foreign(nn.Module):
    """Calls what no graph has."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(torch.einsum("bchw,bdhw->bcd", pixels, pixels))


class Large(nn.Module):
    """More weights than are worth converting."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3, 20_000_000))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3)) + self.weights[:, 0]


@pytest.mark.parametrize(
    ("network", "reason"),
    [(Choosy(), "other features"), (Foreign(), "eigvalsh"), (Large(), "it has 240 MB of weights")],
    ids=["choosy", "foreign", "large"],
)
def test_what_cannot_be_converted_is_run_by_torch_and_said_once(
    network: nn.Module, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder("unusual", network, dim=3, tile_px=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = tiles(32)
    with caplog.at_level(logging.INFO, "st_predict"):
        found = [tile_encoder(encoder, "cpu")(pixels) for _ in range(3)]
    (said,) = caplog.messages
    assert said.startswith("unusual is encoded by torch") and reason in said
    assert all((values == by_torch(encoder, pixels)).all() for values in found)


def test_without_onnx_runtime_torch_encodes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    encoder = build_encoder("tiny")
    with caplog.at_level(logging.INFO, "st_predict"):
        found = tile_encoder(encoder, "cpu")(tiles(32))
    assert (found == by_torch(encoder, tiles(32))).all()
    assert "onnxruntime" in caplog.text


QUIET = """
import os, sys
import numpy as np
import torch
from st_predict.core.encoders.embed import tile_encoder
from st_predict.core.encoders.registry import build_encoder
encoder = build_encoder("efficientnet_lite0")
assert "onnxruntime" not in sys.modules and "onnx" not in sys.modules
tiles = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
torch.set_num_threads(2)
expected = tile_encoder(encoder, "cpu")(tiles)
assert "onnxruntime" in sys.modules
"""
FORKED = """
if os.fork() == 0:
    os._exit(0 if (tile_encoder(encoder, "cpu")(tiles) == expected).all() else 3)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, check=False)


def test_conversion_says_and_leaves_nothing(tmp_path: Path) -> None:
    done = run(QUIET, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_goes_on_with_the_same_encoder(tmp_path: Path) -> None:
    done = run(QUIET + FORKED, tmp_path)
    assert done.returncode == 0, done.stderr
