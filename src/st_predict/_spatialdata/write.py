"""Predictions into a SpatialData: a layer and an obsm of the measured table, or a new table on H&E-only spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.added import added_to_columns, added_to_prediction
from st_predict._spatialdata.kept import gene_columns, names_of_genes, on_all_rows, own_genes, own_spots
from st_predict._spatialdata.keys import PROVENANCE_KIND
from st_predict._spatialdata.prediction import (
    PREDICTION,
    PREDICTION_TABLE,
    Prediction,
    distance_column,
    interval_keys,
    is_prediction,
    var_columns,
)
from st_predict.core.errors import InputError
from st_predict.core.room import give_back, room_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed


def check_free(sdata: SpatialData, placed: Placed, key: str, *, interval: bool = False) -> None:
    """Refuse a key under which the user has something of their own; an earlier prediction may be replaced.

    ``interval`` is whether ends of intervals will be written.

    Raises
    ------
    InputError
        If writing would overwrite the user's data, also such as were added to an earlier prediction.
    """
    if placed.table is None:
        taken = {} if key not in sdata else {f"sdata[{key!r}]": is_prediction(getattr(sdata.get(key), "uns", {}), key)}
    else:
        table = sdata.tables[placed.table]
        slots: list[tuple[str, Any, Sequence[str]]] = [
            ("layers", table.layers, (key,)),
            ("obsm", table.obsm, (key,)),
            ("uns", table.uns, (key,)),
            ("obs", table.obs, (distance_column(key),)),
            ("var", table.var, var_columns(key)),
        ]
        taken = {
            f"{slot}[{name!r}]": is_prediction(table.uns, key)
            for slot, held, names in slots
            for name in names
            if name in held
        }
        if interval and not _has_interval(table.uns, key):
            taken |= {f"obsm[{name!r}]": False for name in interval_keys(key) if name in table.obsm}
    foreign = [place for place, ours in taken.items() if not ours]
    if foreign:
        raise InputError(
            f"{', '.join(foreign)} is there already and is not a prediction of st_predict",
            where="key_added",
            expected="a free key",
            remedy=f"pass another key, such as key_added='{key}_2', or rename yours",
        )
    _check_nothing_added(sdata, placed, key)


def _check_nothing_added(sdata: SpatialData, placed: Placed, key: str) -> None:
    """Refuse to replace an earlier prediction beside which the user keeps something of their own."""
    name = key if placed.table is None else placed.table
    if name not in sdata.tables:
        return
    table = sdata.tables[name]
    added = added_to_prediction(table, key) if placed.table is None else added_to_columns(table, key)
    if added:
        raise InputError(
            f"the earlier prediction {key!r} holds what you added or changed: {', '.join(added)}",
            where=f"sdata.tables[{name!r}]",
            expected="a prediction as it was written, or a free key",
            remedy=f"pass another key, such as key_added='{key}_2', or "
            + ("remove what you added" if placed.table else f"delete it: del sdata.tables[{key!r}]"),
        )


def write_prediction(
    sdata: SpatialData,
    placed: Placed,
    key: str,
    predicted: Prediction,
    genes: pd.DataFrame,
    centers_px: NDArray[np.float64],
) -> None:
    """Write a prediction and its provenance, in place of an earlier one under this key.

    On either table: ``obs`` (:func:`distance_column`), ``var`` (what to expect of each gene) and ``uns[key]``. On a
    section with a table: ``layers[key]`` ``(n_obs, n_vars)``, NaN outside the panel, ``obsm[key]`` a DataFrame
    ``(n_obs, G)`` in the panel's order (by :attr:`~Prediction.stored_names`), NaN in spots left out. On an H&E-only one:
    ``sdata.tables[key]``, genes the panel. Ends of intervals are ``<key>_lower`` and ``<key>_upper``: in obsm beside
    a table's own, which may have many more genes than the panel; layers of a new table.

    Parameters
    ----------
    sdata, placed
        The section.
    key
        Where to write.
    predicted
        The prediction.
    genes
        What to expect of each gene, a row a gene; its columns go into ``var``.
    centers_px
        Centers of the spots ``(n, 2)``.
    """
    import pandas as pd

    panel, sets = predicted.panel, predicted.gene_sets
    if placed.table is None:
        sdata.tables[key] = _new_table(sdata, placed, key, predicted, centers_px)
        table = sdata.tables[key]
    else:
        table = sdata.tables[placed.table]
        if _has_interval(table.uns, key):
            for name in interval_keys(key):
                table.obsm.pop(name, None)
        columns = gene_columns(table, [None if name in sets else name for name in panel])
        stored = predicted.stored_names
        headings = [stored[gene] for gene in panel]
        layer = np.full(table.shape, np.nan, np.float32)
        layer[np.ix_(own_spots(table), columns[columns >= 0])] = predicted.expression[:, columns >= 0]
        table.layers[key] = layer
        for name, values in predicted.parts(key).items():
            table.obsm[name] = pd.DataFrame(on_all_rows(table, values), index=table.obs_names, columns=headings)
        table.uns[key] = _record(PREDICTION, predicted)
    # Nothing is expected of an antibody, though it may be named like a gene.
    names = names_of_genes(table, predicted.genes)
    own = [str(name) if kept else None for name, kept in zip(names, own_genes(table), strict=True)]
    table.obs[distance_column(key)] = on_all_rows(table, predicted.distance)
    for column, name in zip(genes.columns, var_columns(key), strict=True):
        found = genes[column].drop(sets if table.uns[key][PROVENANCE_KIND] == PREDICTION else [])
        # Of a column of text, genes that were not predicted say nothing; the type of one without a value is a number.
        found = found.astype(object).reindex(own).set_axis(table.var_names)
        if column == "expected_for":
            table.var[name] = found.where(found.notna(), "").astype(str).astype("category")
        else:
            table.var[name] = found.eq(True) if column == "predictable" else found.astype(np.float32)


def _new_table(
    sdata: SpatialData,
    placed: Placed,
    key: str,
    predicted: Prediction,
    centers_px: NDArray[np.float64],
) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    spots = sdata.shapes[placed.shapes].index
    own = room_for("predictions", predicted.expression.shape)  # X is the user's to change, the layer stays as predicted
    own[:] = predicted.expression
    give_back(own)
    table = AnnData(
        X=own,
        obs=pd.DataFrame({"instance_id": spots.to_numpy()}, index=spots.astype(str)),
        var=pd.DataFrame(index=predicted.panel),
        layers=predicted.parts(key),
        obsm={"spatial": centers_px},
        uns={key: _record(PREDICTION_TABLE, predicted)},
    )
    table.obs["region"] = pd.Categorical([placed.shapes] * table.n_obs)
    return TableModel.parse(table, region=placed.shapes, region_key="region", instance_key="instance_id")


def _record(kind: str, predicted: Prediction) -> dict[str, Any]:
    """Provenance as it is kept, gene sets by names that Zarr takes."""
    names = predicted.stored_names
    sets = {names[name]: genes for name, genes in predicted.provenance.get("gene_sets", {}).items()}
    return {PROVENANCE_KIND: kind, **predicted.provenance, **({"gene_sets": sets} if sets else {})}


def _has_interval(uns: Any, key: str) -> bool:
    return is_prediction(uns, key) and "interval" in uns[key]
