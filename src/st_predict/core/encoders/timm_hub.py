"""Any image model timm knows, by its timm name or ``hf-hub:`` address (UNI, Virchow2, H-optimus and others)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.imagenet import load_into, load_state
from st_predict.core.errors import InputError

_HUB = "hf-hub:"
_SETTINGS = ("input_size", "mean", "std")
_FILES = {"checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}


def timm_model(name: str, weights: str | None, pretrained: bool, architecture: dict[str, Any] | None = None) -> Encoder:
    """Build a timm model without classifier, with its own tile size and normalization.

    Parameters
    ----------
    name
        A name of ``timm.list_models()``, optionally with a tag, or ``hf-hub:owner/model``.
    weights
        Local weights file; ``None`` fetches the pretrained weights from timm's hub.
    pretrained
        ``False`` builds the architecture alone, without a look at the hub.
    architecture
        The architecture of a model of the hub; ``None``: as the hub has it, or its cache.

    Raises
    ------
    InputError
        If timm does not know the name, the file does not fit, or the architecture is not known here.
    """
    import timm

    if name.startswith(_HUB) and not pretrained and weights is None:
        architecture = architecture or _cached_architecture(name)
        network = _of_architecture(name, architecture)
    else:
        network = timm.create_model(name, pretrained=pretrained and weights is None, num_classes=0)
        architecture = _cached_architecture(name) if name.startswith(_HUB) else None
    if weights is not None:
        load_into(network, load_state(weights), weights)
    config = timm.data.resolve_data_config((architecture or {}).get("settings", {}), model=network)
    tile_px = config["input_size"][-1]
    with torch.inference_mode():
        shape = network.eval()(torch.zeros(1, 3, tile_px, tile_px)).shape
    if len(shape) == 3:  # some pathology models hand out all their tokens
        network = nn.Sequential(network, _ClassToken())
    return Encoder(
        name,
        network,
        dim=shape[-1],
        tile_px=tile_px,
        mean=config["mean"],
        std=config["std"],
        architecture=architecture,
    )


def _of_architecture(name: str, architecture: dict[str, Any] | None) -> nn.Module:
    """Build a network of timm without weights, as its architecture describes it."""
    import timm

    if architecture is None:
        raise InputError(
            f"the architecture of {name!r} is not known here, and nothing is fetched from the network for it",
            where="encoder",
            expected="a model that was saved with the architecture of its encoder, or the hub's configuration in its cache",
            remedy=f"build the encoder once, st_predict.pp.embed(sdata, encoder={name!r}), which fetches it; "
            "load the model then and save it again",
        )
    if not timm.is_model(architecture["name"]) or _FILES & set(architecture["args"]):
        raise ValueError(f"timm has no architecture {architecture['name']!r} of {sorted(architecture['args'])}")
    args = {key: tuple(value) if isinstance(value, list) else value for key, value in architecture["args"].items()}
    network: nn.Module = timm.create_model(architecture["name"], pretrained=False, **{**args, "num_classes": 0})
    return network


def _cached_architecture(name: str) -> dict[str, Any] | None:
    """Name, arguments and settings of a hub's model, as its configuration in the local cache has them."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = name.removeprefix(_HUB).partition("@")
    path = try_to_load_from_cache(repository, "config.json", revision=revision or None)
    if not isinstance(path, str):
        return None
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    settings = found.get("pretrained_cfg", found)  # of old they stood beside the name
    return {
        "name": found["architecture"],
        "args": found.get("model_args", {}),
        "settings": {key: settings[key] for key in _SETTINGS if key in settings},
    }


class _ClassToken(nn.Module):
    """The first of a transformer's tokens."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(B, T, d)`` -> ``(B, d)``. B tiles, T tokens."""
        return tokens[:, 0]


def known_to_timm(name: str) -> bool:
    """Whether timm can build a model of this name."""
    import timm

    return name.startswith("hf-hub:") or timm.is_model(name.split(".")[0])


def unknown_encoder(name: str, own: list[str]) -> InputError:
    """The error for a name nobody knows, with the nearest names."""
    import difflib

    import timm

    near = difflib.get_close_matches(name, list(dict.fromkeys([*own, *timm.list_models()])), n=4, cutoff=0.5)
    return InputError(
        f"there is no encoder {name!r}",
        where="encoder",
        expected=f"one of {', '.join(own)}, a timm model name or 'hf-hub:owner/model'",
        remedy=f"did you mean {', '.join(near)}?" if near else "see timm.list_models()",
    )
