"""Encoders by name: timm's from a local file, names nobody knows, hubs nobody reaches."""

from __future__ import annotations

import json
import os
import urllib.error
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.errors
import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from st_predict.core.encoders.registry import ENCODERS, build_encoder
from st_predict.core.errors import InputError

MakeTrap = Callable[[Path], object]

SMALL = "resnet10t.c3_in1k"  # the smallest convolutional model of timm with a pretrained configuration


def test_timm_model_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model(SMALL, pretrained=False).eval()
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    encoder = build_encoder(SMALL, str(path))
    config = timm.data.resolve_data_config({}, model=network)
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 176, 176, 3), dtype=np.uint8))
    pixels = tiles.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features((pixels - mean) / std), pre_logits=True)
        found = encoder(tiles)
    assert encoder.tile_px == config["input_size"][-1] == 176
    assert found.shape == expected.shape == (2, encoder.dim)
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_model_that_hands_out_all_tokens_gives_its_class_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some pathology models come without pooling."""
    create = timm.create_model

    def unpooled(name: str, **settings: Any) -> Any:
        return create(name, **settings, global_pool="")

    name = "vit_tiny_patch16_224"
    torch.manual_seed(0)
    plain = build_encoder(name, pretrained=False)
    monkeypatch.setattr(timm, "create_model", unpooled)
    encoder = build_encoder(name, pretrained=False)
    encoder.network[0].load_state_dict(plain.network.state_dict())
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8))
    with torch.inference_mode():
        assert encoder.network[0](torch.zeros(1, 3, 224, 224)).ndim == 3
        assert torch.allclose(encoder(tiles), plain(tiles), atol=1e-5)
    assert encoder.dim == plain.dim == 192


def test_timm_weights_that_do_not_fit(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="does not fit this encoder"):
        build_encoder(SMALL, str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(("name", "near"), [("efficientnet_lit0", "efficientnet_lite0"), ("resnet81", "resnet18")])
def test_unknown_name_suggests_near_ones(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"there is no encoder '{name}'") as error:
        build_encoder(name)
    assert error.value.remedy.startswith("did you mean") and near in error.value.remedy
    assert all(own in error.value.expected for own in ENCODERS) and "hf-hub:owner/model" in error.value.expected


def test_name_like_no_other() -> None:
    with pytest.raises(InputError, match="timm.list_models"):
        build_encoder("@@@@@@@@@@@@")


def unreachable(*args: object, **kwargs: object) -> None:
    """What huggingface_hub raises without a network: a FileNotFoundError of its own."""
    raise huggingface_hub.errors.LocalEntryNotFoundError("cannot find the requested files in the local cache")


def test_unreachable_hub_names_encoder_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._hub.hf_hub_download", unreachable)
    with pytest.raises(InputError, match="pretrained weights of 'resnet50' could not be fetched") as error:
        build_encoder("resnet50")
    assert "cannot find the requested files in the local cache" in error.value.what
    assert "encoder_weights='/path/to/weights.safetensors'" in error.value.remedy
    assert "encoder='efficientnet_lite0'" in error.value.remedy


def test_unreachable_hub_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._hub.hf_hub_download", unreachable)
    with pytest.raises(InputError, match="'hf-hub:owner/model' could not be fetched"):
        build_encoder("hf-hub:owner/model")


def test_local_weights_of_a_hub_model_need_its_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("timm.models._hub.hf_hub_download", unreachable)
    with pytest.raises(InputError, match="the configuration of 'hf-hub:owner/model' could not be fetched"):
        build_encoder("hf-hub:owner/model", str(tmp_path / "w.safetensors"))


def test_near_names_are_told_once() -> None:
    with pytest.raises(InputError) as error:
        build_encoder("resnt18")
    near = error.value.remedy.removeprefix("did you mean ").rstrip("?").split(", ")
    assert len(near) == len(set(near)) and near[0] == "resnet18"


def test_gated_hub_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(*args: object, **kwargs: object) -> None:
        response: Any = SimpleNamespace(status_code=401, headers={}, request=None)
        raise huggingface_hub.errors.GatedRepoError("Access to model owner/model is restricted", response=response)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", gated)
    with pytest.raises(InputError, match="Access to model owner/model is restricted"):
        build_encoder("hf-hub:owner/model")


def test_unreachable_torchvision_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", refused)
    with pytest.raises(InputError, match="pretrained weights of 'resnet18' could not be fetched") as error:
        build_encoder("resnet18")
    assert "Name or service not known" in error.value.what and "encoder_weights" in error.value.remedy


def test_architecture_alone_asks_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._hub.hf_hub_download", unreachable)
    assert build_encoder("resnet10t", pretrained=False).dim == 512


@pytest.fixture
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Caches of torch's hub and of Hugging Face's, which are all that can be reached."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    checkpoints, snapshot = tmp_path / "torch/hub/checkpoints", tmp_path / "hf/models--owner--model/snapshots/0"
    checkpoints.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    settings = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 0, "first_conv": "patch"}
    described = {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 32, "depth": 1, "num_classes": 0}}
    (snapshot / "config.json").write_text(json.dumps({**described, "pretrained_cfg": settings}))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "cached"),
    [
        ("resnet18", "torch/hub/checkpoints/resnet18-f37072fd.pth"),
        ("hf-hub:owner/model", "hf/models--owner--model/snapshots/0/pytorch_model.bin"),
    ],
)
@pytest.mark.parametrize("allowed", [None, "1"])
def test_what_lies_in_a_cache_runs_no_code(
    hub_cache: Path, make_trap: MakeTrap, monkeypatch: pytest.MonkeyPatch, name: str, cached: str, allowed: str | None
) -> None:
    if allowed:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", allowed)
    torch.save({"conv1.weight": make_trap(hub_cache / "ran")}, hub_cache / cached)
    with pytest.raises(InputError, match=f"the pretrained weights of '{name}' hold more than tensors") as error:
        build_encoder(name)
    assert "remove the file from the hub's cache" in error.value.remedy
    assert not (hub_cache / "ran").exists()
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == allowed
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    torch.load(hub_cache / cached, weights_only=False)
    assert (hub_cache / "ran").exists()  # the trap is a real one


def test_safetensors_go_before_a_pickle(hub_cache: Path, make_trap: MakeTrap) -> None:
    snapshot = hub_cache / "hf/models--owner--model/snapshots/0"
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=0)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    torch.save({"": make_trap(hub_cache / "ran")}, snapshot / "pytorch_model.bin")
    found = build_encoder("hf-hub:owner/model").network.state_dict()
    assert torch.equal(found["pos_embed"], network.state_dict()["pos_embed"]) and not (hub_cache / "ran").exists()


def test_weights_in_torchs_cache_are_read(hub_cache: Path) -> None:
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), hub_cache / "torch/hub/checkpoints/resnet18-f37072fd.pth")
    assert torch.equal(build_encoder("resnet18").network.conv1.weight, network.conv1.weight)
