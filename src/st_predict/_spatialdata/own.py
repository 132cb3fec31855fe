"""Elements that this package adds to a SpatialData, noted in its ``attrs``: what is not noted is the user's."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

_ATTRS, _DIGEST = "st_predict", "digest"


@contextmanager
def all_or_nothing(sdata: SpatialData) -> Iterator[None]:
    """Where what is done fails, take the shapes and notes of ours that it added out again."""
    shapes, notes = set(sdata.shapes), sdata.attrs.get(_ATTRS)
    try:
        yield
    except BaseException:
        for name in set(sdata.shapes) - shapes:
            del sdata.shapes[name]
        if notes is None:
            sdata.attrs.pop(_ATTRS, None)
        else:
            sdata.attrs[_ATTRS] = notes
        raise


def own_entries(sdata: SpatialData, kind: str) -> dict[str, Any]:
    """What is noted of one kind in ``attrs["st_predict"]``.

    Raises
    ------
    InputError
        If something else is kept there.
    """
    own, place = sdata.attrs.get(_ATTRS, {}), f"sdata.attrs[{_ATTRS!r}]"
    found = own.get(kind, {}) if isinstance(own, dict) else own
    if not isinstance(found, dict):
        raise InputError(
            f"{place} holds {own!r:.60}, which was not written by st_predict",
            where=place,
            expected=f"a dict that st_predict wrote, in which {kind!r} is a dict too",
            remedy=f"keep yours under another name: sdata.attrs['mine'] = sdata.attrs.pop({_ATTRS!r})",
        )
    return found


def keep_entry(sdata: SpatialData, kind: str, key: str, value: Any) -> None:
    """Note something of one kind; the other notes stay as they are."""
    entries = {**own_entries(sdata, kind), key: value}
    sdata.attrs[_ATTRS] = {**sdata.attrs.get(_ATTRS, {}), kind: entries}


def own_record(sdata: SpatialData, kind: str, key: str) -> dict[str, Any] | None:
    """How an element of ours was made; ``None`` where it is not ours."""
    record: dict[str, Any] | None = own_entries(sdata, kind).get(key)
    return record if key in sdata else None


def keep_record(sdata: SpatialData, kind: str, key: str, record: dict[str, Any]) -> None:
    """Note shapes as ours, as they are now."""
    keep_entry(sdata, kind, key, {**record, _DIGEST: _digest(sdata.shapes[key])})


def _digest(shapes: GeoDataFrame) -> str:
    """Digest of geometry, index and columns; the same from memory and from disk."""
    from shapely import to_wkb

    parts = [to_wkb(shapes.geometry.to_numpy()), shapes.index.to_numpy()]
    names = sorted((name for name in shapes.columns if name != shapes.geometry.name), key=str)
    digest = hashlib.sha256(repr([str(name) for name in names]).encode())
    for values in (*parts, *(shapes[name].to_numpy() for name in names)):
        if values.dtype.kind in "biuf":
            digest.update(np.ascontiguousarray(values, np.float64).tobytes())
        else:
            digest.update(repr(list(values)).encode())
    return digest.hexdigest()[:16]


def _as_written(sdata: SpatialData, key: str, record: dict[str, Any]) -> bool:
    """Whether shapes are still those that were noted; what was noted without a digest counts as such."""
    return key in sdata.shapes and record.get(_DIGEST) in (None, _digest(sdata.shapes[key]))


def check_element_key(sdata: SpatialData, kind: str, key: str) -> None:
    """Refuse a name that cannot be one, or under which the user has something.

    Raises
    ------
    InputError
        If writing would overwrite the user's data: also what they put in place of ours, or changed in it.
    """
    record = own_record(sdata, kind, key)
    if key in sdata and (record is None or not _as_written(sdata, key, record)):
        how = "was not made by st_predict" if record is None else "was changed or replaced since it was made"
        raise InputError(
            f"sdata[{key!r}] is there already and {how}",
            where="key_added",
            expected="a free key",
            remedy=f"pass another key, such as key_added='{key}_2', or rename yours",
        )
