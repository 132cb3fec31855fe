"""``embed``: frozen features of a section's tiles, computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict._spatialdata.features import cached_features, feature_table
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict.core.arguments.checked import checked
from st_predict.core.encoders.frozen import FrozenEncoder
from st_predict.core.log import be_heard
from st_predict.core.tiles.geometry import TileSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spatialdata import SpatialData


@checked
def embed(
    sdata: SpatialData,
    *,
    encoder: str = "efficientnet_lite0",
    encoder_weights: str | None = None,
    tile_um: float | Sequence[float] | None = None,
    tile_px: float | Sequence[float] | None = None,
    key_added: str | None = None,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    device: str = "auto",
    batch_size: int = 32,
) -> str:
    """Encode the tile around every spot, at one or several widths, with a frozen encoder.

    :func:`~st_predict.tl.train` and :func:`~st_predict.tl.predict` do this themselves.

    Features that are there already are kept if they were made from the same encoder, weights, tiles, image and spots. To
    compare images, their name, size and scale are used, the pixels of up to 32 tiles of the widest width all over the
    section, and the smallest copy of the image if it has copies. A new stain or a flip is noticed; paint on one of
    thousands of spots may not be. After such a change, drop ``table.obsm[key]``.

    Parameters
    ----------
    sdata
        One section. Without a table it gets one for its features: ``sdata.tables["<shapes>_features"]``, without genes.
    encoder
        ``"efficientnet_lite0"``, ``"resnet18"``, any timm model name, or ``"hf-hub:owner/model"``.
    encoder_weights
        Local weights file for the encoder.
    tile_um
        Tile widths in um; default 112, 154, 308 and 616. Each tile is resampled to the encoder's own size.
    tile_px
        Tile widths in px of the image instead, if the scale is unknown.
    key_added
        Key for the features; default ``"X_<encoder>"``.
    image_key, shapes_key, table_key
        Names of the elements, if there are several.
    device
        Torch device of the encoder; ``"auto"``: a GPU if there is one.
    batch_size
        How many tiles to encode at a time.

    Returns
    -------
    The key. ``table.obsm[key]`` holds the features ``(n_obs, n_widths * n_features)`` float32, widths in the order
    given. ``table.uns[key]`` holds what they were made from. Spots not in tissue (``obs["in_tissue"]``) are NaN.

    Raises
    ------
    InputError
        If the section cannot be used, its scale is needed and unknown, or the key holds something else.

    Examples
    --------
    >>> key = stp.pp.embed(sections["S1"], tile_um=112, key_added="X_narrow")
    >>> key
    'X_narrow'
    >>> sections["S1"].tables["table"].obsm[key].shape
    (41, 1724)
    """
    be_heard()
    spec = TileSpec.of(tile_um, tile_px)
    section, placed = read_section(sdata, Elements(image_key, shapes_key, table_key), need_counts=False)
    spec.check_section(section)
    frozen = FrozenEncoder(encoder, encoder_weights, device=device, batch_size=batch_size)
    placed = feature_table(sdata, placed, make=True)
    return cached_features(sdata, section, placed, frozen, spec, key_added=key_added)[0]
