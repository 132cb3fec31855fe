"""A frozen encoder: built when first needed, identified by its weights, run over whole sections."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch

from st_predict.core.encoders.embed import embed_section
from st_predict.core.encoders.registry import SHIPPED, build_encoder
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec


class EncoderIdentity(NamedTuple):
    """Which encoder, with which weights."""

    name: str
    weights: str | None
    """Local weights file it was built from, if any."""
    fingerprint: str


def torch_device(name: str) -> str:
    """A torch device; ``"auto"`` is a GPU if there is one.

    Raises
    ------
    InputError
        If this machine has no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        raise InputError(
            f"device is {name!r}, which cannot be used here ({str(error).split('.')[0].splitlines()[0][:120]})",
            where="device",
            expected="a torch device of this machine, such as 'cpu' or 'cuda:0', or 'auto'",
            remedy="device='auto' takes what there is",
        ) from error
    return name


@cache
def _shared(name: str, device: str) -> Encoder:
    """One network a process, built and converted once for all sections and slides: its weights cannot change meanwhile.

    One a device, so that none is moved while another thread works with it.
    """
    return build_encoder(name).to(device)


class FrozenEncoder:
    """An encoder that is built when first needed, and how to run it.

    Parameters
    ----------
    name, weights
        See :func:`~st_predict.core.encoders.registry.build_encoder`.
    device
        Torch device, or ``"auto"``.
    batch_size
        Tiles at a time.
    """

    def __init__(self, name: str, weights: str | None, *, device: str = "auto", batch_size: int = 32) -> None:
        self.name, self.weights, self.batch_size = name, weights, batch_size
        self.device = torch_device(device)

    @cached_property
    def encoder(self) -> Encoder:
        """The network, which others may share: copy it before changing it or moving it to another device."""
        if self.weights is None and self.name in SHIPPED:
            return _shared(self.name, self.device)
        return build_encoder(self.name, self.weights)

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Name and fingerprint of the weights."""
        return EncoderIdentity(self.name, self.weights, self.encoder.fingerprint())

    def encode(self, section: Section, spec: TileSpec, *, keep: Path | None = None) -> NDArray[np.float32]:
        """Features ``(n, S, d)`` of a section, each tile encoded once; see :func:`embed_section` for ``keep``."""
        return embed_section(section, self.encoder, spec, device=self.device, batch_size=self.batch_size, keep=keep)
