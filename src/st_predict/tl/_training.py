"""What ``train`` and ``cross_validate`` prepare: encoded tiles, and where a training is kept as it goes."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from st_predict._spatialdata.sections import ReadSections
    from st_predict.core.encoders.frozen import FrozenEncoder
    from st_predict.core.tiles.geometry import TileSpec
    from st_predict.core.tiles.store import TileStore
    from st_predict.core.training.checkpoints import Checkpoints
    from st_predict.core.training.encoded import EncodedTiles


def open_checkpoints(
    folder: str | Path | None,
    *,
    resume: bool,
    read: ReadSections,
    frozen: FrozenEncoder,
    spec: TileSpec,
    settings: Mapping[str, Any],
) -> Checkpoints | None:
    """Where a training is kept as it goes, checked against what was begun there; ``None`` where it is not kept.

    Sections are told apart by their spots, counts, image size and one tile.

    Raises
    ------
    InputError
        If it is to be resumed and there is no folder, or the folder holds something else.
    """
    if folder is None:
        if resume:
            raise InputError(
                "resume=True was given without a folder to resume from",
                where="resume",
                expected="the checkpoint_dir of the training that was broken off",
                remedy="give checkpoint_dir, or leave resume out",
            )
        return None
    from st_predict._spatialdata.features import features_record
    from st_predict.core.training.checkpoints import Checkpoints

    made_from = {"st-predict": version("st-predict"), **settings, "tiles": spec.to_dict(), "encoder": frozen.identity}
    for section, placed in zip(read.sections, read.placed, strict=True):
        record = features_record(frozen.identity, spec, section, placed.image)
        digest = hashlib.sha256(repr((section.subject, section.um_per_px, record)).encode())
        for part in section.measured():
            digest.update(part)
        made_from[f"section {section.name}"] = digest.hexdigest()[:16]
    return Checkpoints(Path(folder), resume=resume, made_from=made_from)


def encode_sections(
    read: ReadSections,
    frozen: FrozenEncoder,
    spec: TileSpec,
    store: TileStore,
    *,
    trainable: bool,
    keep: Path | None = None,
) -> EncodedTiles:
    """Features of every section, kept in its table; or its tiles in a store, where the encoder is trained.

    ``keep`` is a folder for features while they are encoded, so that what was broken off goes on from there.
    """
    from st_predict._spatialdata.features import cached_features, check_features_key, features_key
    from st_predict._spatialdata.stored import open_store
    from st_predict.core.tiles.glass import say_glass
    from st_predict.core.training.encoded import EncodedTiles

    if trainable:
        for section in read.sections:
            say_glass(section)
        tiles = store.tiles(read.sections, spec, frozen.encoder.tile_px)
        return EncodedTiles(tiles, spec, frozen.identity, frozen.encoder)
    for one, found in zip(read.objects, read.placed, strict=True):
        if not isinstance(one, Path):
            check_features_key(one.tables[found.table], features_key(frozen.name))
    features = [
        cached_features(open_store(one) if isinstance(one, Path) else one, section, found, frozen, spec, keep=keep)[1]
        for one, section, found in zip(read.objects, read.sections, read.placed, strict=True)
    ]
    return EncodedTiles(features, spec, frozen.identity, None)
