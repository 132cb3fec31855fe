"""Any image model timm knows, by its timm name or ``hf-hub:`` address (UNI, Virchow2, H-optimus and others)."""

from __future__ import annotations

import torch
from torch import nn

from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.imagenet import load_into, load_state
from st_predict.core.errors import InputError


def timm_model(name: str, weights: str | None, pretrained: bool) -> Encoder:
    """Build a timm model without classifier, with its own tile size and normalization.

    Parameters
    ----------
    name
        A name of ``timm.list_models()``, optionally with a tag, or ``hf-hub:owner/model``.
    weights
        Local weights file; ``None`` fetches the pretrained weights from timm's hub.
    pretrained
        ``False`` builds the architecture alone.

    Raises
    ------
    InputError
        If timm does not know the name, or the file does not fit.
    """
    import timm

    network = timm.create_model(name, pretrained=pretrained and weights is None, num_classes=0)
    if weights is not None:
        load_into(network, load_state(weights), weights)
    config = timm.data.resolve_data_config({}, model=network)
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
    )


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
