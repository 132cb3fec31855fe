"""Sections' tiles as a fit takes them: features that are final, or pixels for an encoder that is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.core.inputs.kinds import FeatureInputs, PixelInputs
from st_predict.core.inputs.pixels import TileRows
from st_predict.core.inputs.rows import SectionRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.encoders.frozen import EncoderIdentity
    from st_predict.core.methods.recipe import InputConfig
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec


class EncodedTiles(NamedTuple):
    """Tiles of every section as one kind of candidate takes them."""

    values: list[Any]
    """Per section: features ``(n, S, d)``; where the encoder is trained pixels ``(n, S, px, px, 3)`` uint8, which are
    :class:`~st_predict.core.tiles.store.StoredTiles` where they were cut from images."""
    spec: TileSpec
    identity: EncoderIdentity
    encoder: Encoder | None
    """The encoder to start from where it is trained."""

    def inputs(
        self, config: InputConfig, sections: Sequence[Section], usable: Sequence[NDArray[np.bool_]]
    ) -> FeatureInputs | PixelInputs:
        """What a fit on the usable spots of these sections is fed."""
        if self.encoder is not None:
            return PixelInputs(config, self.encoder, TileRows.of_sections(self.values))
        parts = zip(self.values, sections, usable, strict=True)
        return FeatureInputs(config, [SectionRows(config, t, s.centers_px, used=mask) for t, s, mask in parts])

    def only(self, wanted: Sequence[int]) -> EncodedTiles:
        """Those of some sections."""
        return self._replace(values=[self.values[i] for i in wanted])
