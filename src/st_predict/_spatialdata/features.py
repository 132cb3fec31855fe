"""Frozen features in ``table.obsm``, with the record that tells whether they are the ones asked for."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.added import added_to_features
from st_predict._spatialdata.kept import on_all_rows, own_spots
from st_predict._spatialdata.keys import FEATURES, OWN_TABLES, PROVENANCE_KIND, is_our_table
from st_predict.core.errors import InputError
from st_predict.core.tiles.glass import say_glass
from st_predict.core.tiles.stream import stream_tiles

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed
    from st_predict.core.encoders.frozen import EncoderIdentity, FrozenEncoder
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec

logger = logging.getLogger("st_predict")
_VALUES = "values"  # in the record that is kept, the digest of the features themselves
_SAMPLE_PX = 2**25  # a third of a second of decoding
_SAMPLE_TILES = (4, 32)


def features_key(encoder: str) -> str:
    """Where an encoder's features are kept, unless the user says otherwise."""
    return "X_" + "".join(c if c.isalnum() else "_" for c in encoder)


def features_record(identity: EncoderIdentity, tiles: TileSpec, section: Section, image_key: str) -> dict[str, Any]:
    """Everything the features depend on: encoder, tile widths in um or px and on this image, image and spots.

    What ran the encoder is not told: torch, ONNX Runtime or a GPU give the same features to rounding (2e-5). Of the pixels
    a sample is looked at, see :func:`_pixels`.
    """
    centers = np.ascontiguousarray(section.centers_px.round(3))
    size = (int(section.image.col_edges[-1]), int(section.image.row_edges[-1]))
    return {
        PROVENANCE_KIND: FEATURES,
        "encoder": identity.name,
        "weights": identity.fingerprint,
        "tiles": json.dumps(tiles.to_dict()),
        "tile_px": json.dumps(tiles.sides_px(section)),
        "image": image_key,
        "image_size_px": json.dumps(size),
        "pixels": _pixels(section, max(tiles.sides_px(section))),
        "spots": hashlib.sha256(centers.tobytes()).hexdigest()[:16],
    }


def _pixels(section: Section, side_px: int) -> str:
    """What tells whether pixels changed, without decoding a slide: widest tiles all over the section, and the smallest copy.

    Any change to the whole image is noticed (stain normalization, flips), and of a pyramid one that shows in its smallest
    copy. A spot that is painted over on an image without copies is noticed if one of the tiles lies on it: of some tens
    of spots each does, of thousands one in a hundred.
    """
    digest = hashlib.sha256()
    n_tiles = int(np.clip(_SAMPLE_PX // side_px**2, *_SAMPLE_TILES))
    some = np.unique(np.linspace(0, section.n_spots - 1, n_tiles).round().astype(int))
    found: dict[int, bytes] = {}
    for batch in stream_tiles(section.image, section.centers_px[some], [side_px], out_px=side_px, batch_size=1):
        found[int(batch.spots[0])] = hashlib.sha256(batch.pixels.tobytes()).digest()
    for spot in sorted(found):  # tiles come in the order of the chunks, and chunks may change
        digest.update(found[spot])
    for source in section.reduced[-1:]:
        if source.row_edges[-1] * source.col_edges[-1] <= _SAMPLE_PX:
            n_rows, n_cols = len(source.row_edges) - 1, len(source.col_edges) - 1
            rows = [np.hstack([source.read_chunk(row, col) for col in range(n_cols)]) for row in range(n_rows)]
            digest.update(np.vstack(rows).tobytes())
    return digest.hexdigest()[:16]


def kept_in(folder: Path | None, record: dict[str, Any]) -> Path | None:
    """The folder of features of one record in a folder of several."""
    return folder and folder / hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def check_features_key(table: AnnData, key: str) -> None:
    """Refuse a key under which the user has something of their own.

    Raises
    ------
    InputError
        If features would overwrite it.
    """
    record = table.uns.get(key)
    ours = isinstance(record, dict) and record.get(PROVENANCE_KIND) == FEATURES
    if (key in table.obsm or key in table.uns) and not ours:
        place = "obsm" if key in table.obsm else "uns"
        raise InputError(
            f"{place}[{key!r}] is there already and was not written by st_predict",
            where=f"{place}[{key!r}]",
            expected="a free key for the features",
            remedy=f"rename yours: table.{place}['mine'] = table.{place}.pop({key!r})",
        )


def stored_features(table: AnnData, key: str, record: dict[str, Any], n_scales: int) -> NDArray[np.float32] | None:
    """Features kept earlier ``(n, S, d)``, if they are those of ``record``; ``None`` where there are none yet."""
    stored = table.uns.get(key, {})
    if key not in table.obsm or not stored:
        return None
    changed = [name for name, value in record.items() if stored.get(name) != value]
    if changed:
        logger.info("features in obsm[%r] were made with other %s; they are made again", key, ", ".join(changed))
        return None
    values: NDArray[np.float32] = np.asarray(table.obsm[key], np.float32)[own_spots(table)]
    if (
        stored.get(_VALUES, digest := _digest(values)) != digest
    ):  # those of earlier versions are told by their record alone
        logger.warning("features in obsm[%r] were changed since st_predict wrote them; they are made again", key)
        return None
    return values.reshape(len(values), n_scales, -1)


def store_features(table: AnnData, key: str, record: dict[str, Any], features: NDArray[np.float32]) -> None:
    """Keep features ``(n, S, d)`` as ``obsm[key]`` ``(n_obs, S * d)``, NaN in spots left out; their record in ``uns[key]``."""
    values = features.reshape(len(features), -1)
    table.obsm[key] = on_all_rows(table, values)
    table.uns[key] = {**record, _VALUES: _digest(values)}


def _digest(values: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:16]


def cached_features(
    sdata: SpatialData,
    section: Section,
    placed: Placed,
    frozen: FrozenEncoder,
    spec: TileSpec,
    *,
    key_added: str | None = None,
    keep: Path | None = None,
) -> tuple[str, NDArray[np.float32]]:
    """Features ``(n, S, d)`` and their key; read from the table where they are kept, else made and kept there.

    ``keep`` is a folder for them while they are encoded, see :func:`kept_in`.
    """
    key = key_added or features_key(frozen.name)
    if placed.table is None:
        return key, frozen.encode(section, spec)
    table = sdata.tables[placed.table]
    check_features_key(table, key)
    record = features_record(frozen.identity, spec, section, placed.image)
    features = stored_features(table, key, record, spec.n_scales)
    if features is None:
        say_glass(section)
        features = frozen.encode(section, spec, keep=kept_in(keep, record))
        store_features(table, key, record, features)
    return key, features


def feature_table(sdata: SpatialData, placed: Placed, *, make: bool) -> Placed:
    """The elements of a section, its features' table among them: without a measured one, a table of ours on its spots.

    It is named ``<shapes>_features``, has a row for each spot and no genes. Where it is neither there nor to be made, the
    section stays without a table.

    Raises
    ------
    InputError
        If it is to be made, and the user has a table of that name, or something of their own in ours.
    """
    name = f"{placed.shapes}_features"
    if placed.table is not None:
        return placed
    found = sdata.tables.get(name)
    if found is not None and not is_our_table(found):
        if not make:
            return placed
        raise InputError(
            f"table {name!r} is there already and was not written by st_predict",
            where=f"sdata.tables[{name!r}]",
            expected="a free name for the table of the features",
            remedy="rename yours",
        )
    spots = sdata.shapes[placed.shapes].index
    if found is not None and list(found.obs["instance_id"]) == list(spots):
        return placed._replace(table=name)
    if make:
        if found is not None and (added := added_to_features(found)):
            raise InputError(
                f"table {name!r} belongs to other spots than {placed.shapes!r}, and holds what you added: {', '.join(added)}",
                where=f"sdata.tables[{name!r}]",
                expected="a free name for the table of the features",
                remedy="rename yours",
            )
        sdata.tables[name] = _empty_table(spots, placed.shapes)
        return placed._replace(table=name)
    return placed


def _empty_table(spots: Any, shapes: str) -> AnnData:
    """A table without genes that annotates spots."""
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    region = pd.Categorical([shapes] * len(spots))
    obs = pd.DataFrame({"region": region, "instance_id": spots.to_numpy()}, index=spots.astype(str))
    table = AnnData(obs=obs, uns={"st_predict": {PROVENANCE_KIND: OWN_TABLES[1]}})
    return TableModel.parse(table, region=shapes, region_key="region", instance_key="instance_id")
