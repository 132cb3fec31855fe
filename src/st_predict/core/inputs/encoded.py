"""Sections' tiles as a fit takes them: features that are final, or pixels for an encoder that is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.encoders.frozen import EncoderIdentity
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

    def only(self, wanted: Sequence[int]) -> EncodedTiles:
        """Those of some sections."""
        return self._replace(values=[self.values[i] for i in wanted])
