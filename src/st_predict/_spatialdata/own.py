"""Elements that this package adds to a SpatialData, noted in its ``attrs``: what is not noted is the user's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from spatialdata import SpatialData

_ATTRS = "st_predict"


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
            expected=f"a dict of what st_predict notes, {kind!r} in it a dict as well",
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
    """Note an element as ours."""
    keep_entry(sdata, kind, key, record)


def check_name(key: str) -> None:
    """Refuse what cannot be a key of a SpatialData that is to be saved.

    Raises
    ------
    InputError
        With what a key may hold.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", key) or key.startswith(("__", ".")):
        raise InputError(
            f"{key!r} cannot be a key of a SpatialData that is to be saved",
            where="key_added",
            expected="letters, digits, '_', '-' and '.', not starting with '__' or '.'",
            remedy="choose another key",
        )


def check_element_key(sdata: SpatialData, kind: str, key: str) -> None:
    """Refuse a name that cannot be one, or under which the user has something.

    Raises
    ------
    InputError
        If writing would overwrite the user's data.
    """
    check_name(key)
    if key in sdata and own_record(sdata, kind, key) is None:
        raise InputError(
            f"sdata[{key!r}] is there already and was not made by st_predict",
            where="key_added",
            expected="a free key",
            remedy=f"pass another key, such as key_added='{key}_2', or rename yours",
        )
