"""What a user added to tables of ours: nothing of it is ever dropped with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.keys import FEATURES, OWN_TABLES, PROVENANCE_KIND, is_our_table
from st_predict._spatialdata.prediction import (
    PREDICTION_TABLE,
    distance_column,
    interval_keys,
    is_prediction,
    stored_names,
    var_columns,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData
    from spatialdata import SpatialData

_LINK = {"region", "instance_id"}
_ATTRS = "spatialdata_attrs"


def tables_on(sdata: SpatialData, shapes: str) -> dict[str, list[str] | None]:
    """Tables that annotate shapes, by name: what the user added to one of ours, ``None`` where the table is the user's."""
    found: dict[str, list[str] | None] = {}
    for name, table in sdata.tables.items():
        if shapes in np.atleast_1d((table.uns.get(_ATTRS) or {}).get("region", "")).tolist():
            found[name] = _added(table, name, shapes)
    return found


def _added(table: AnnData, name: str, shapes: str) -> list[str] | None:
    record = table.uns.get(name)
    if isinstance(record, dict) and record.get(PROVENANCE_KIND) == PREDICTION_TABLE:
        return added_to_prediction(table, name)
    if name == f"{shapes}_features" and is_our_table(table):
        return added_to_features(table)
    return None


def added_to_prediction(table: AnnData, key: str) -> list[str]:
    """What is in a prediction that is a table of its own and was not written with it, as ``obs['mine']``."""
    written = table.layers.get(key)
    # The layer stays as it was predicted; X may have been worked on.
    same = table.X is None or (isinstance(table.X, np.ndarray) and np.array_equal(table.X, written, equal_nan=True))
    own = {
        "obs": {*_LINK, distance_column(key)},
        "var": set(var_columns(key)),
        "layers": {key, *_ends(table.uns, key)},
        "obsm": {"spatial"},
        "uns": {key, _ATTRS},
    }
    return [*([] if same else ["X"]), *_others(table, own)]


def added_to_features(table: AnnData) -> list[str]:
    """What is in a table of features and was not written with it."""
    features = {
        name
        for name, record in table.uns.items()
        if isinstance(record, dict) and record.get(PROVENANCE_KIND) in (FEATURES, OWN_TABLES[1])
    }
    others = _others(table, {"obs": _LINK, "obsm": features, "uns": {*features, _ATTRS}})
    return [*(["var"] if table.n_vars else []), *others]


def added_to_columns(table: AnnData, key: str) -> list[str]:
    """What is beside the predicted columns in ``obsm`` of a measured table."""
    if not is_prediction(table.uns, key):
        return []
    own = set(stored_names([str(name) for name in table.uns[key]["panel"]]).values())
    added = []
    for name in (key, *_ends(table.uns, key)):
        if name in table.obsm:
            columns = getattr(table.obsm[name], "columns", None)
            place = f"obsm[{name!r}]"
            added += [place] if columns is None else [f"{place}[{one!r}]" for one in columns if one not in own]
    return added


def _ends(uns: Any, key: str) -> tuple[str, ...]:
    """Names of the ends of intervals, where some were written."""
    return interval_keys(key) if "interval" in uns.get(key, {}) else ()


def _others(table: AnnData, own: Mapping[str, Iterable[str]]) -> list[str]:
    slots = ("obs", "var", "layers", "obsm", "varm", "obsp", "varp", "uns")
    names = [(slot, name) for slot in slots for name in getattr(table, slot) if name is not None]  # a layer: X itself
    added = [f"{slot}[{name!r}]" for slot, name in names if name not in own.get(slot, ())]
    return [*added, *(["raw"] if table.raw is not None else [])]
