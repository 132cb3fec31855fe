"""Encoders by name."""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from st_predict.core.encoders import imagenet, tiny
from st_predict.core.encoders.timm_hub import known_to_timm, timm_model, unknown_encoder
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from st_predict.core.encoders.encoder import Encoder

ENCODERS: dict[str, Callable[[str, str | None, bool], Encoder]] = {
    "efficientnet_lite0": imagenet.efficientnet_lite0,
    "resnet18": imagenet.resnet18,
    "tiny": tiny.tiny,
}
SHIPPED = frozenset({"efficientnet_lite0", "tiny"})
"""Those whose weights come with a package; all others are read from files, or from a model hub's cache."""


def build_encoder(
    name: str, weights: str | None = None, *, pretrained: bool = True, architecture: dict[str, Any] | None = None
) -> Encoder:
    """Build an encoder, in evaluation mode.

    Parameters
    ----------
    name
        A name of ``ENCODERS``, any timm model name, or ``hf-hub:owner/model``.
    weights
        Local weights file instead of the encoder's own source.
    pretrained
        ``False`` builds the architecture alone and fetches nothing; the caller fills in the weights.
    architecture
        Description of an encoder from a model hub: :attr:`Encoder.architecture` of the one that was built with weights.

    Raises
    ------
    InputError
        If the name is unknown, the weights file does not fit, pretrained weights cannot be fetched, or they hold anything
        but tensors.
    """
    build = ENCODERS.get(name)
    if build is None:
        if not known_to_timm(name):
            raise unknown_encoder(name, list(ENCODERS))
        build = partial(timm_model, architecture=architecture)
    try:
        with _tensors_only():
            return build(name, weights, pretrained).eval()
    except InputError:
        raise
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        # Hub clients raise OSError or a subclass; missing tags, and what timm refuses to unpickle, RuntimeError.
        if isinstance(error, pickle.UnpicklingError) or isinstance(error.__cause__, pickle.UnpicklingError):
            raise _more_than_tensors(name) from error
        what = "pretrained weights" if weights is None and pretrained else "configuration"
        raise InputError(
            f"the {what} of {name!r} could not be fetched ({' '.join(str(error).split())[:200] or type(error).__name__})",
            where="encoder",
            expected="a reachable model hub, or a local weights file and a name timm knows without the hub",
            remedy="pass encoder_weights='/path/to/weights.safetensors', or use encoder='efficientnet_lite0'",
        ) from error


def _more_than_tensors(name: str) -> InputError:
    return InputError(
        f"the pretrained weights of {name!r} hold more than tensors: reading the rest could run code",
        where="encoder",
        expected="a state dict, as the hub publishes it",
        remedy="remove the file from the hub's cache to fetch it anew, or pass encoder_weights='/path/to/weights.safetensors'",
    )


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Make ``torch.load`` read tensors only, whoever calls it: the hubs' own code unpickles the files in their caches."""
    forced, allowed = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {name: os.environ.pop(name, None) for name in (forced, allowed)}
    os.environ[forced] = "1"
    try:
        yield
    finally:
        del os.environ[forced]
        os.environ.update({name: value for name, value in before.items() if value is not None})
