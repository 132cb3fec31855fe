"""The shapes of a section's spots: one a spot, in the order of the table's own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict._spatialdata.columns import is_choice, tissue_columns
from st_predict._spatialdata.kept import own_spots, spots_in_tissue
from st_predict._spatialdata.keys import table_link
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed


def own_shapes(sdata: SpatialData, placed: Placed) -> GeoDataFrame:
    """Shapes of the table's own rows ``(n,)``, or all where there is no table.

    Raises
    ------
    InputError
        If two spots have one shape, a row has none, or the shapes say that some of these spots are not in tissue.
    """
    shapes, where = sdata.shapes[placed.shapes], f"sdata.shapes[{placed.shapes!r}]"
    twice = shapes.index[shapes.index.duplicated()]
    if len(twice):
        raise InputError(
            f"{len(twice)} of {len(shapes)} shapes {placed.shapes!r} have the index of another, for example {twice.tolist()[0]!r}",
            where=f"{where}.index",
            expected="an index of its own for each shape",
            remedy=f"number them ({where}.index = range(len({where}))), and the table's instance column with them",
        )
    if placed.table is not None:
        shapes = _of_rows(sdata, placed, shapes)
    told = [column for column, _ in tissue_columns(shapes) if not is_choice(column)]
    if told and not (kept := spots_in_tissue(shapes[told[:1]], where)).all():
        column = told[0]
        raise InputError(
            f"{(~kept).sum()} of {len(kept)} spots are not in tissue, says {where}[{column!r}]"
            + ("" if placed.table is None else ", and the table does not"),
            where=f"{where}[{column!r}]",
            expected="spots in tissue alone, or a column of the table that tells them",
            remedy="keep those in tissue: sdata.shapes[...] = shapes[...]"
            if placed.table is None
            else f"copy the column into the table, row by row: sdata.tables[{placed.table!r}].obs['in_tissue'] = ...",
        )
    return shapes


def _of_rows(sdata: SpatialData, placed: Placed, shapes: GeoDataFrame) -> GeoDataFrame:
    table = sdata.tables[placed.table]
    instances = table.obs[table_link(table, str(placed.table)).instance_key][own_spots(table)]
    where = f"sdata.tables[{placed.table!r}].obs[{instances.name!r}]"
    rows = shapes.index.get_indexer(instances)
    if (rows < 0).any():
        raise InputError(
            f"{(rows < 0).sum()} of {len(rows)} table rows name no shape in {placed.shapes!r}, "
            f"for example {instances.iloc[int((rows < 0).argmax())]!r}",
            where=where,
            expected=f"values of the index of sdata.shapes[{placed.shapes!r}]",
            remedy="correct the instance column or the shapes' index",
        )
    twice = instances[instances.duplicated()]
    if len(twice):
        raise InputError(
            f"{len(twice)} of {len(rows)} table rows name a shape in {placed.shapes!r} that another row names, "
            f"for example {twice.tolist()[0]!r}",
            where=where,
            expected="a shape of its own for each row",
            remedy="correct the instance column, or drop the rows that are there twice",
        )
    return shapes.iloc[rows]
