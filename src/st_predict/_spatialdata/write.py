"""Predictions into a SpatialData: a layer and an obsm of the measured table, or a new table on H&E-only spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.kept import gene_names, on_all_rows, own_genes, own_spots
from st_predict._spatialdata.keys import PROVENANCE_KIND
from st_predict._spatialdata.own import check_name
from st_predict.core.errors import InputError
from st_predict.core.room import give_back, room_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Keys

_KIND = "prediction"
_TABLE_KIND = "prediction table"


class Predicted(NamedTuple):
    """What is written of one prediction. ``n`` spots, ``G`` genes."""

    expression: NDArray[np.float32]
    """``(n, G)``."""
    distance: NDArray[np.float32]
    """How unlike the training tiles the spots are ``(n,)``."""
    genes: pd.DataFrame
    """What to expect of each gene, a row a gene; its columns go into ``var``."""
    interval: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    """Lower and upper ends ``(n, G)``."""

    def parts(self, key: str) -> dict[str, NDArray[np.float32]]:
        """By name."""
        ends = {} if self.interval is None else dict(zip(interval_keys(key), self.interval, strict=True))
        return {key: self.expression, **ends}


def check_free(sdata: SpatialData, keys: Keys, key: str, *, interval: bool = False) -> None:
    """Refuse a key under which the user has something of their own; an earlier prediction may be replaced.

    ``interval`` is whether ends of intervals will be written.

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
        slots: list[tuple[str, Any, Sequence[str]]] = [
            ("layers", table.layers, (key,)),
            ("obsm", table.obsm, (key,)),
            ("uns", table.uns, (key,)),
            ("obs", table.obs, (distance_column(key),)),
            ("var", table.var, _var_columns(key)),
        ]
        taken = {
            f"{slot}[{name!r}]": _ours(table.uns, key) for slot, held, names in slots for name in names if name in held
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


def write_prediction(
    sdata: SpatialData,
    keys: Keys,
    key: str,
    predicted: Predicted,
    centers_px: NDArray[np.float64],
    provenance: dict[str, Any],
) -> None:
    """Write a prediction and its provenance, in place of an earlier one under this key.

    On either table: ``obs`` (:func:`distance_column`), ``var`` (what to expect of each gene) and ``uns[key]``. On a
    section with a table: ``layers[key]`` ``(n_obs, n_vars)``, NaN outside the panel, ``obsm[key]`` a DataFrame
    ``(n_obs, G)`` in the panel's order ("/" in a name becomes "_", which Zarr needs), NaN in spots left out. On an H&E-only one:
    ``sdata.tables[key]``, genes the panel. Ends of intervals are ``<key>_lower`` and ``<key>_upper``: in obsm beside
    a table's own, which may have many more genes than the panel; layers of a new table.
    """
    import pandas as pd

    panel, sets = provenance["panel"], provenance.get("gene_sets", {})
    if keys.table is None:
        sdata.tables[key] = _new_table(sdata, keys, key, predicted, centers_px, provenance)
        table = sdata.tables[key]
    else:
        table = sdata.tables[keys.table]
        if _has_interval(table.uns, key):
            for name in interval_keys(key):
                table.obsm.pop(name, None)
        columns = _columns(table, [None if name in sets else name for name in panel])
        names = [gene.replace("/", "_") for gene in panel]
        layer = np.full(table.shape, np.nan, np.float32)
        layer[np.ix_(own_spots(table), columns[columns >= 0])] = predicted.expression[:, columns >= 0]
        table.layers[key] = layer
        for name, values in predicted.parts(key).items():
            table.obsm[name] = pd.DataFrame(on_all_rows(table, values), index=table.obs_names, columns=names)
        table.uns[key] = _record(_KIND, provenance)
    # Nothing is expected of an antibody, though it may be named like a gene.
    own = [str(name) if kept else None for name, kept in zip(gene_names(table), own_genes(table), strict=True)]
    table.obs[distance_column(key)] = on_all_rows(table, predicted.distance)
    for column, name in zip(predicted.genes.columns, _var_columns(key), strict=True):
        found = predicted.genes[column].drop(sets if table.uns[key][PROVENANCE_KIND] == _KIND else [])
        # Of a column of text, genes that were not predicted say nothing; the type of one without a value is a number.
        found = found.astype(object).reindex(own).set_axis(table.var_names)
        if column == "expected_for":
            table.var[name] = found.where(found.notna(), "").astype(str).astype("category")
        else:
            table.var[name] = found.eq(True) if column == "predictable" else found.astype(np.float32)


def _columns(table: AnnData, genes: Sequence[str | None]) -> NDArray[np.intp]:
    """Column of every gene, -1 where the table does not have it; a feature of the same name that is no gene is not it."""
    places = np.flatnonzero(own_genes(table))
    found = {str(name): place for name, place in zip(gene_names(table)[places], places, strict=True)}
    return np.array([-1 if gene is None else found.get(gene, -1) for gene in genes], np.intp)


def interval_keys(key: str) -> tuple[str, str]:
    """Names of the lower and the upper ends of the intervals: of obsm, or of layers where the table is new."""
    return f"{key}_lower", f"{key}_upper"


def _var_columns(key: str) -> list[str]:
    """Columns of ``var``, as those of :attr:`~st_predict.core.training.model.Model.genes`."""
    names = ("expected_pcc", "pcc_sd", "ceiling", "chance", "predictable", "expected_for")
    return [f"{key}_{name}" for name in names]


def distance_column(key: str) -> str:
    """Column of ``obs`` that says how unlike the training tiles a spot is."""
    return f"{key}_distance"


def _new_table(
    sdata: SpatialData,
    keys: Keys,
    key: str,
    predicted: Predicted,
    centers_px: NDArray[np.float64],
    provenance: dict[str, Any],
) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    spots = sdata.shapes[keys.shapes].index
    own = room_for("predictions", predicted.expression.shape)  # X is the user's to change, the layer stays as predicted
    own[:] = predicted.expression
    give_back(own)
    table = AnnData(
        X=own,
        obs=pd.DataFrame({"instance_id": spots.to_numpy()}, index=spots.astype(str)),
        var=pd.DataFrame(index=provenance["panel"]),
        layers=predicted.parts(key),
        obsm={"spatial": centers_px},
        uns={key: _record(_TABLE_KIND, provenance)},
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


def _record(kind: str, provenance: dict[str, Any]) -> dict[str, Any]:
    """Provenance as it is kept, gene sets by names that Zarr takes."""
    sets = {name.replace("/", "_"): genes for name, genes in provenance.get("gene_sets", {}).items()}
    return {PROVENANCE_KIND: kind, **provenance, **({"gene_sets": sets} if sets else {})}


def recorded_sets(record: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Genes of every gene set in a prediction's panel, by the set's own name."""
    sets = record.get("gene_sets", {})
    names = {str(name).replace("/", "_"): str(name) for name in record["panel"]}
    return {names[stored]: tuple(str(gene) for gene in genes) for stored, genes in sets.items()}


def _has_interval(uns: Any, key: str) -> bool:
    return _ours(uns, key) and "interval" in uns[key]


def _ours(uns: Any, key: str) -> bool:
    record = uns.get(key)
    return isinstance(record, dict) and record.get(PROVENANCE_KIND) in {_KIND, _TABLE_KIND}
