"""Which codecs a Zarr store names: those that run code are refused before anything is decoded. Opens no store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN_CODE = ("pickle", "dill", "joblib", "marshal")
"""In the name of a codec, whatever it is called besides: ``pickle`` of format 2 is ``numcodecs.pickle`` in format 3."""
_METADATA = {"zarr.json", ".zarray", ".zmetadata"}
_FIELDS = ("compressor", "filters", "codecs", "storage_transformers")


def check_codecs(store: Path, *, where: str) -> None:
    """Refuse a store with an array, however deep, whose decoding runs code that is written in the store.

    Every metadata file below the store is read, and consolidated metadata too, since a program that opens the store may
    use either.

    Parameters
    ----------
    store
        Folder of the store.
    where
        The argument it was given as, for errors.

    Raises
    ------
    InputError
        If an array has such a codec, or metadata cannot be read.
    """
    for file in _metadata_files(store):
        metadata = read_metadata(file, store, where=where)
        for name in (name for described in _arrays(metadata) for name in _codecs(described)):
            if any(word in name.lower() for word in _RUN_CODE):
                raise InputError(
                    f"{store} names the codec {name!r} in {file.relative_to(store)}: reading it would run whatever code "
                    "its author put there",
                    where=where,
                    expected="codecs that hold numbers and text, as SpatialData.write uses",
                    remedy="ask for a copy that was written with other codecs",
                )


def read_metadata(file: Path, store: Path, *, where: str) -> Any:
    """Read a metadata file of a store, which ``where`` was given; one that is cut is named."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{store} cannot be read: {file.relative_to(store)} is cut or not JSON ({type(error).__name__})",
            where=where,
            expected="a whole Zarr store",
            remedy="copy the whole store again, or write it again",
        ) from error


def _metadata_files(store: Path) -> Iterator[Path]:
    """All metadata files; links are followed once. A path can also name what lies among the chunks of an array."""
    seen = set()
    for folder, below, files in os.walk(store, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        for file in files:
            if file.lower() in _METADATA:  # file systems differ on whether case counts
                yield Path(folder, file)


def _arrays(metadata: Any) -> Iterator[dict[str, Any]]:
    """Arrays that a metadata file describes: its own, and others where metadata are consolidated."""
    waiting = [metadata]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, dict):
            continue
        yield found
        for holder in (found, found.get("consolidated_metadata")):
            members = holder.get("metadata") if isinstance(holder, dict) else None
            waiting += members.values() if isinstance(members, dict) else ()


def _codecs(array: dict[str, Any]) -> Iterator[str]:
    """Every text in the fields of codecs: names, those of codecs within codecs, and their settings."""
    waiting = [array.get(field) for field in _FIELDS]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
