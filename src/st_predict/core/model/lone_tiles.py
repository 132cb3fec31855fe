"""Tiles predicted one by one, without the slide they are from: LazySlide's protocol for tile-prediction models."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from st_predict.core.encoders.frozen import FrozenEncoder, torch_device
from st_predict.core.errors import InputError
from st_predict.core.inputs.encode import encode_rows
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.model.fitted import Fitted
from st_predict.core.model.predict import predict_spots
from st_predict.core.tiles.stream import resample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from st_predict.core.encoders.encoder import Encoder

logger = logging.getLogger("st_predict")


class TileCutter(NamedTuple):
    """Cuts a model's tiles out of one that is as wide as the widest of them; a data loader calls it on every tile."""

    shares: Sequence[float]
    """Width of each of the model's tiles in widths of the widest ``(S,)``."""
    out_px: int
    """Side of the tiles that the encoder takes."""

    def __call__(self, tile: Any) -> Tensor:
        """One tile ``(px, px, 3)`` uint8 to ``(S, out_px, out_px, 3)`` uint8.

        Raises
        ------
        InputError
            If it is no square 8-bit RGB tile.
        """
        pixels = np.asarray(tile)
        if pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1] or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise InputError(
                f"a tile has shape {pixels.shape} of {pixels.dtype}",
                where="tile",
                expected="square 8-bit RGB tiles (px, px, 3)",
                remedy="lay square tiles: lazyslide.pp.tile_tissues(wsi, tile_px, mpp=...)",
            )
        cut = []
        for share in self.shares:
            width = max(1, round(share * len(pixels)))
            first = (len(pixels) - width) // 2  # whole px, as tiles are cut from a slide
            cut.append(resample(pixels[first : first + width, first : first + width], self.out_px))
        return torch.from_numpy(np.stack(cut))


@dataclass(frozen=True, eq=False, kw_only=True)
class TileModel(Fitted):
    """The side of a :class:`Model` that LazySlide sees, so that ``lazyslide.tl.tile_prediction(wsi, model)`` runs it.

    A tile must be as wide as the widest of ``model.tiles``; narrower ones are cut from its middle. It is predicted as a
    slide of one spot is: scored by what a typical training slide has, with itself for its surroundings. Where a model
    was trained to see the slide, :func:`st_predict.tl.predict` on the same WSIData is more accurate.
    """

    @property
    def name(self) -> str:
        """Name for messages and tables."""
        return f"st_predict_{self.method}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Genes, the columns of the result."""
        return tuple(self.panel)

    @property
    def model(self) -> nn.Module:
        """The fitted network."""
        found: nn.Module = self.network
        return found

    @cached_property
    def _lone(self) -> _LoneTiles:
        return _LoneTiles(self)

    def get_transform(self) -> TileCutter:
        """What turns a tile as read into tiles as :meth:`predict` takes them."""
        return self._lone.cutter

    def to(self, device: Any) -> Self:
        """Predict tiles on a torch device from now on; other predictions run where they ran.

        Raises
        ------
        InputError
            If this machine has no such device.
        """
        self._lone.to(torch_device(str(device)))
        return self

    def try_compile(self, **compile_kws: Any) -> None:
        """Compile the encoder with :func:`torch.compile`."""
        self._lone.encoder.compile(**compile_kws)

    def encode_image(self, image: Tensor) -> Tensor:
        """Features ``(B, S * d)`` of transformed tiles ``(B, S, px, px, 3)`` uint8."""
        return self._lone.encode(image)

    def predict(self, image: Tensor) -> dict[str, NDArray[np.float32]]:
        """Expression of transformed tiles, log1p of counts per 10,000.

        Parameters
        ----------
        image
            Tiles ``(B, S, px, px, 3)`` uint8, from :meth:`get_transform`.

        Returns
        -------
        ``(B,)`` by gene.
        """
        return dict(zip(self.columns, self._lone.predict(image).T, strict=True))


class _LoneTiles:
    """Copies of a model's networks that may move to a device, and how they predict tiles."""

    def __init__(self, model: TileModel) -> None:
        self._model, self._device = model, "cpu"
        self.encoder: Encoder = copy.deepcopy(model.encoder or _frozen(model)).cpu()
        self.encoder.eval()
        self.network = copy.deepcopy(model.network).eval()
        widths = model.tiles.widths_um or model.tiles.widths_px
        self.cutter = TileCutter([width / max(widths) for width in widths], self.encoder.tile_px)
        if model.domain is None:
            raise ValueError("only a whole model, as st_predict.tl.train gives it, predicts lone tiles")
        self._domain = model.domain
        if model.looks_around or model.recipe.inputs.standardize == "slide":
            logger.warning(
                "tiles are predicted one by one, each as a slide of one spot, but %s was trained to see the whole slide: "
                "st_predict.tl.predict(wsi, model) shows it the whole slide, and is more accurate",
                model.method,
            )

    def to(self, device: Any) -> None:
        self._device = device
        self.encoder.to(device)
        self.network.to(device)

    def encode(self, tiles: Tensor) -> Tensor:
        px, widths = self.encoder.tile_px, len(self.cutter.shares)
        shape = tuple(getattr(tiles, "shape", ()))
        if shape[1:] != (widths, px, px, 3) or tiles.dtype != torch.uint8:
            raise InputError(
                f"the image is {f'{tiles.dtype} of shape {shape}' if shape else type(tiles).__name__}",
                where="image",
                expected=f"tiles (n, {widths}, {px}, {px}, 3) uint8",
                remedy="cut them with model.get_transform()",
            )
        with torch.inference_mode():
            return encode_rows(self.encoder, tiles.to(self._device)).float()

    def predict(self, tiles: Tensor) -> NDArray[np.float32]:
        rows = self._model.transform.of_lone_tiles(self.encode(tiles).cpu(), self._domain.mean, self._domain.scale).to(
            self._device
        )
        n = len(rows)
        spots = SpotSet(
            tiles=rows,
            expression=torch.empty(n, 0, device=self._device),
            sections=torch.arange(n, device=self._device),
            neighbors=torch.empty(n, 0, dtype=torch.long, device=self._device),
            places=torch.zeros(n, 2, device=self._device),
        )
        predicted: NDArray[np.float32] = (predict_spots(self.network, spots).float().cpu() + self._model.center).numpy()
        return predicted


def _frozen(model: TileModel) -> Encoder:
    """The encoder whose features a model was trained on."""
    frozen = FrozenEncoder(model.encoder_identity.name, model.encoder_identity.weights)
    model.check_encoder(frozen.identity)
    return frozen.encoder
