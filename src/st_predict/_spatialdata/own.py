"""Elements that this package adds to a SpatialData, noted in its ``attrs``: what is not noted is the user's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from spatialdata import SpatialData

_ATTRS = "st_predict"


def own_record(sdata: SpatialData, kind: str, key: str) -> dict[str, Any] | None:
    """How an element of ours was made; ``None`` where it is not ours."""
    record: dict[str, Any] | None = sdata.attrs.get(_ATTRS, {}).get(kind, {}).get(key)
    return record if key in sdata else None


def keep_record(sdata: SpatialData, kind: str, key: str, record: dict[str, Any]) -> None:
    """Note an element as ours."""
    own = sdata.attrs.get(_ATTRS, {})
    sdata.attrs[_ATTRS] = {**own, kind: {**own.get(kind, {}), key: record}}


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
