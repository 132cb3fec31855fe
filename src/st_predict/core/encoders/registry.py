"""Encoders by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict.core.encoders import imagenet, tiny
from st_predict.core.encoders.timm_hub import known_to_timm, timm_model, unknown_encoder
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from st_predict.core.encoders.encoder import Encoder

ENCODERS: dict[str, Callable[[str, str | None, bool], Encoder]] = {
    "efficientnet_lite0": imagenet.efficientnet_lite0,
    "resnet18": imagenet.resnet18,
    "tiny": tiny.tiny,
}


def build_encoder(name: str, weights: str | None = None, *, pretrained: bool = True) -> Encoder:
    """Build an encoder, in evaluation mode.

    Parameters
    ----------
    name
        A name of ``ENCODERS``, any timm model name, or ``hf-hub:owner/model``.
    weights
        Local weights file instead of the encoder's own source.
    pretrained
        ``False`` builds the architecture alone, to be filled by the caller.

    Raises
    ------
    InputError
        If the name is unknown, the weights file does not fit, or pretrained weights cannot be fetched.
    """
    build = ENCODERS.get(name)
    if build is None:
        if not known_to_timm(name):
            raise unknown_encoder(name, list(ENCODERS))
        build = timm_model
    try:
        return build(name, weights, pretrained).eval()
    except InputError:
        raise
    except (OSError, RuntimeError) as error:  # hub clients raise OSError or a subclass; missing tags RuntimeError
        what = "pretrained weights" if weights is None and pretrained else "configuration"
        raise InputError(
            f"the {what} of {name!r} could not be had ({' '.join(str(error).split())[:200] or type(error).__name__})",
            where="encoder",
            expected="a reachable model hub, or a local weights file and a name timm knows without the hub",
            remedy="pass encoder_weights='/path/to/weights.safetensors', or use encoder='efficientnet_lite0'",
        ) from error
