"""Predictions into a SpatialData: a layer and an obsm of the measured table, or a new table on H&E-only spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.keys import PROVENANCE_KIND
from st_predict._spatialdata.own import check_name
from st_predict.core.errors import InputError
from st_predict.core.room import give_back, room_for

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Keys

_KIND = "prediction"
_TABLE_KIND = "prediction table"


def check_free(sdata: SpatialData, keys: Keys, key: str) -> None:
    """Refuse a key under which the user has something of their own; an earlier prediction may be replaced.

    Raises
    ------
    InputError
        If writing would overwrite the user's data.
    """
    check_name(key)
    if keys.table is None:
        taken = {} if key not in sdata else {f"sdata[{key!r}]": _ours(getattr(sdata.get(key), "uns", {}), key)}
    else:
        table = sdata.tables[keys.table]
        slots = {"layers": table.layers, "obsm": table.obsm, "uns": table.uns, "obs": table.obs}
        taken = {
            f"{slot}[{name!r}]": _ours(table.uns, key)
            for slot, values in slots.items()
            if (name := distance_column(key) if slot == "obs" else key) in values
        }
    foreign = [place for place, ours in taken.items() if not ours]
    if foreign:
        raise InputError(
            f"{', '.join(foreign)} is there already and is not a prediction of st_predict",
            where="key_added",
            expected="a free key",
            remedy=f"pass another key, such as key_added='{key}_2', or rename yours",
        )


def write_prediction(
    sdata: SpatialData,
    keys: Keys,
    key: str,
    predicted: NDArray[np.float32],
    distance: NDArray[np.float32],
    centers_px: NDArray[np.float64],
    provenance: dict[str, Any],
) -> None:
    """Write a prediction ``(n, G)``, how unlike the training tiles the spots are ``(n,)``, and the provenance.

    On either table the second goes into ``obs`` (:func:`distance_column`). On a section with a table: ``layers[key]`` ``(n_obs, n_vars)``, NaN outside the panel, ``obsm[key]`` a DataFrame
    ``(n_obs, G)`` in the panel's order ("/" in a name becomes "_", which Zarr needs), ``uns[key]``. On an H&E-only one: ``sdata.tables[key]``, genes the panel.
    """
    import pandas as pd

    panel = provenance["panel"]
    if keys.table is None:
        sdata.tables[key] = _new_table(sdata, keys, key, predicted, centers_px, provenance)
        sdata.tables[key].obs[distance_column(key)] = distance
        return
    table = sdata.tables[keys.table]
    layer = np.full(table.shape, np.nan, np.float32)
    columns = table.var_names.get_indexer(panel)
    layer[:, columns[columns >= 0]] = predicted[:, columns >= 0]
    table.layers[key] = layer
    table.obsm[key] = pd.DataFrame(predicted, index=table.obs_names, columns=[gene.replace("/", "_") for gene in panel])
    table.obs[distance_column(key)] = distance
    table.uns[key] = {PROVENANCE_KIND: _KIND, **provenance}


def distance_column(key: str) -> str:
    """Column of ``obs`` that says how unlike the training tiles a spot is."""
    return f"{key}_distance"


def _new_table(
    sdata: SpatialData,
    keys: Keys,
    key: str,
    predicted: NDArray[np.float32],
    centers_px: NDArray[np.float64],
    provenance: dict[str, Any],
) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    spots = sdata.shapes[keys.shapes].index
    own = room_for("predictions", predicted.shape)  # X is the user's to change, the layer stays as predicted
    own[:] = predicted
    give_back(own)
    table = AnnData(
        X=own,
        obs=pd.DataFrame({"instance_id": spots.to_numpy()}, index=spots.astype(str)),
        var=pd.DataFrame(index=provenance["panel"]),
        layers={key: predicted},
        obsm={"spatial": centers_px},
        uns={key: {PROVENANCE_KIND: _TABLE_KIND, **provenance}},
    )
    table.obs["region"] = pd.Categorical([keys.shapes] * table.n_obs)
    return TableModel.parse(table, region=keys.shapes, region_key="region", instance_key="instance_id")


def prediction_record(uns: Any, key: str) -> dict[str, Any]:
    """Provenance of a prediction.

    Raises
    ------
    InputError
        If there is no prediction under the key.
    """
    if not _ours(uns, key):
        raise InputError(
            f"there is no prediction under {key!r}",
            where="key",
            expected="the key_added of an earlier st_predict.tl.predict",
            remedy="run st_predict.tl.predict(sdata) first, or correct key",
        )
    record: dict[str, Any] = uns[key]
    return record


def _ours(uns: Any, key: str) -> bool:
    record = uns.get(key)
    return isinstance(record, dict) and record.get(PROVENANCE_KIND) in {_KIND, _TABLE_KIND}
