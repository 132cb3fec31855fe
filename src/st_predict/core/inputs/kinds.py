"""The two kinds of input of a fit: features that are final, and pixels through an encoder that is trained along.

Only :meth:`~st_predict.core.inputs.encoded.EncodedTiles.inputs` decides which of the two it is.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from st_predict.core.inputs.augment import augment
from st_predict.core.inputs.encode import ActivationRoom, encode_rows
from st_predict.core.inputs.rows import SectionRows
from st_predict.core.inputs.transform import InputTransform
from st_predict.core.methods.interface import SECTION_SPOTS
from st_predict.core.methods.recipe import InputConfig
from st_predict.core.processes import gathered, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.inputs.pixels import TileRows
    from st_predict.core.inputs.spots import SpotSet
    from st_predict.core.methods.recipe import FitConfig
    from st_predict.core.splits import Fold

_SCALED_BY = 256  # training spots
_CPU_PART = 16  # spots encoded at a time: their activations stay closer to the core
_PART = 32


class Fed(NamedTuple):
    """An inner fold as one predictor is fed it."""

    train: SpotSet
    held_out: dict[int, SpotSet]
    """By section."""


class FeatureInputs:
    """Features that are final: scaled and reduced before a fit, passed on as they are within it.

    Parameters
    ----------
    config
        How they are scaled and reduced.
    rows
        Of every section.
    """

    encoder: None = None

    def __init__(self, config: InputConfig, rows: Sequence[SectionRows]) -> None:
        self._config, self._rows = config, rows

    def tiles(self, section: int, used: NDArray[np.bool_]) -> Tensor:
        """What stands for the tiles of a section's spots in use: nothing yet, see :meth:`of_fold` and :meth:`of_all`."""
        return torch.empty(int(used.sum()), 0)

    def of_fold(self, fold: Fold, spots: Fed, *, compare: bool) -> tuple[Fed, Fed]:
        """What the method and ridge are fed of a fold; here it is the same."""
        fed = _reduced(self._config, dict(enumerate(self._rows)), fold, spots)
        return fed, fed

    def of_all(self, spots: SpotSet) -> tuple[InputTransform, SpotSet]:
        """What is fitted on the features of all sections, and their spots with the rows it makes of them."""
        transform = InputTransform.fit(self._config, self._rows)
        return transform, spots.with_tiles(transform.of_sections(self._rows))

    def fresh(self, spots: SpotSet, device: str) -> FeatureInputs:
        """The inputs of one fit; no fit changes them."""
        return self

    def n_inputs(self, spots: SpotSet) -> int:
        """Input features of a method."""
        return int(spots.tiles.shape[1])

    def rows(self, tiles: Tensor) -> Tensor:
        """Input rows ``(n, D)``."""
        return tiles

    def training_rows(self, tiles: Tensor, n: int, config: FitConfig, all_gather: Any) -> Tensor:
        """Input rows of a batch, in training."""
        return tiles

    def shared_rows(self, tiles: Tensor, all_gather: Any) -> Tensor:
        """Input rows of a whole section, in which several processes share."""
        return tiles

    def together(self, config: FitConfig, *, whole_sections: bool) -> int:
        """How many neighboring spots are drawn together."""
        return SECTION_SPOTS if whole_sections else 1

    def parameter_groups(self, config: FitConfig) -> list[dict[str, Any]]:
        """What is trained beside the method."""
        return []


class PixelInputs:
    """Pixels that reach the method through an encoder in training.

    Parameters
    ----------
    config
        Of it, only ``standardize`` counts: see :meth:`fresh`.
    encoder
        The encoder to start from.
    stored
        Tiles of every section.
    """

    def __init__(self, config: InputConfig, encoder: Encoder, stored: Sequence[TileRows]) -> None:
        self._config, self.encoder, self._stored = config, encoder, stored
        self._room = ActivationRoom()
        self._found: dict[int, SectionRows] = {}

    def tiles(self, section: int, used: NDArray[np.bool_]) -> TileRows:
        """Tiles of a section's spots in use."""
        return self._stored[section][torch.from_numpy(used)]

    def of_fold(self, fold: Fold, spots: Fed, *, compare: bool) -> tuple[Fed, Fed]:
        """What the method and ridge are fed of a fold; ridge gets features of the encoder as it was before."""
        if not compare:
            return spots, spots
        config = InputConfig()
        rows = {number: self._as_found(number, spots.train, config) for number in fold.train}
        rows |= {number: self._as_found(number, held, config) for number, held in spots.held_out.items()}
        return spots, _reduced(config, rows, fold, spots)

    def _as_found(self, section: int, spots: SpotSet, config: InputConfig) -> SectionRows:
        """Rows of a section's features by the encoder as it was before; made once for all folds."""
        if section not in self._found:
            mine = spots.sections == section
            with torch.inference_mode():
                features = encode_rows(self.encoder, spots.tiles[mine], batch_size=_PART)
            self._found[section] = SectionRows(config, features.numpy()[:, None], spots.places[mine].double().numpy())
        return self._found[section]

    def of_all(self, spots: SpotSet) -> tuple[InputTransform, SpotSet]:
        """Nothing is fitted to what the encoder gives."""
        return InputTransform(self._config, {}), spots

    def fresh(self, spots: SpotSet, device: str) -> PixelInputs:
        """For one fit, with a copy of the encoder.

        With ``standardize="training"`` it gives centered features of one scale, measured on some tiles: stages of a
        network differ in scale by orders of magnitude, and one step size would be too large for some.
        """
        made = PixelInputs(self._config, copy.deepcopy(self.encoder), self._stored)
        if self._config.standardize == "training":
            encoder = made.encoder
            rows = torch.linspace(0, len(spots.sections) - 1, min(len(spots.sections), _SCALED_BY)).long()
            with torch.no_grad():
                features = encode_rows(encoder.to(device).eval(), spots.tiles[rows].to(device), batch_size=_PART)
            encoder.cpu().scale_features(features.view(-1, encoder.dim).cpu())
        return made

    def n_inputs(self, spots: SpotSet) -> int:
        """Input features of a method."""
        return int(spots.tiles.shape[1]) * self.encoder.dim

    def rows(self, tiles: Tensor | TileRows) -> Tensor:
        """Input rows ``(n, S * d)``."""
        return encode_rows(self.encoder, tiles, batch_size=2 * _PART)

    def training_rows(self, tiles: Tensor, n: int, config: FitConfig, all_gather: Any) -> Tensor:
        """Input rows of a batch of ``n`` spots, of which this process encodes its share, changed at random."""
        changed = augment(tiles, config, of=n)
        if changed.device.type == "cpu":
            rows = encode_rows(self.encoder, changed, batch_size=_CPU_PART, room=self._room)
        else:
            rows = encode_rows(self.encoder, changed)
        return gathered(rows, n, all_gather)

    def shared_rows(self, tiles: Tensor | TileRows, all_gather: Any) -> Tensor:
        """Input rows of a whole section, of which this process encodes its share."""
        n = len(tiles)
        return gathered(self.rows(tiles[torch.arange(n)[share(n)]]), n, all_gather)

    def together(self, config: FitConfig, *, whole_sections: bool) -> int:
        """How many neighboring spots are drawn together: they share tiles.

        Memory is too small to train an encoder on all tiles of a section at once; a batch fits.
        """
        return config.batch_size if whole_sections else max(1, min(config.block_size, config.batch_size // 2))

    def parameter_groups(self, config: FitConfig) -> list[dict[str, Any]]:
        """The encoder's weights, which have a learning rate of their own."""
        return [{"params": self.encoder.parameters(), "lr": config.encoder_learning_rate}]


Inputs = FeatureInputs | PixelInputs


def _reduced(config: InputConfig, rows: Mapping[int, SectionRows], fold: Fold, spots: Fed) -> Fed:
    """A fold's spots, their rows scaled and reduced by a transform that is fitted on its training sections."""
    trained_on = [rows[number] for number in fold.train]
    transform = InputTransform.fit(config, trained_on)
    held_out = {
        number: part.with_tiles(transform.of_sections([rows[number]])) for number, part in spots.held_out.items()
    }
    return Fed(spots.train.with_tiles(transform.of_sections(trained_on)), held_out)
