"""The shapes of a section's spots: one a spot, in the order of the table's own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.columns import comparable, is_choice, tissue_columns
from st_predict._spatialdata.kept import own_spots, spots_in_tissue
from st_predict._spatialdata.keys import table_link
from st_predict.core.arguments.kinds import shown
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed


def shape_centers(shapes: GeoDataFrame) -> NDArray[np.float64]:
    """Centers ``(n, 2)`` in their own coordinates, which are px even where GeoJSON is taken for degrees on a globe.

    NaN of what is empty or missing.
    """
    import shapely

    centers = shapely.centroid(shapes.geometry.to_numpy())
    centers[shapely.is_empty(centers)] = None  # whose x is NaN; that of an empty point may be an error
    return np.column_stack([shapely.get_x(centers), shapely.get_y(centers)])


def shape_areas(shapes: GeoDataFrame) -> NDArray[np.float64]:
    """Areas ``(n,)`` in their own coordinates; 0 of points."""
    import shapely

    areas: NDArray[np.float64] = shapely.area(shapes.geometry.to_numpy())
    return areas


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
            f"{len(twice)} of {len(shapes)} shapes {placed.shapes!r} have the same index as another, for example {twice.tolist()[0]!r}",
            where=f"{where}.index",
            expected="an index of its own for each shape",
            remedy=f"number them ({where}.index = range(len({where}))), and the table's instance column with them",
        )
    if placed.table is not None:
        shapes = row_shapes(sdata, placed, own_spots(sdata.tables[placed.table]))
    told = [column for column, _ in tissue_columns(shapes) if not is_choice(column)]
    if told and not (kept := spots_in_tissue(shapes[told[:1]], where)).all():
        column = told[0]
        raise InputError(
            f"{(~kept).sum()} of {len(kept)} spots are not in tissue by {where}[{column!r}]"
            + ("" if placed.table is None else ", and the table does not say so"),
            where=f"{where}[{column!r}]",
            expected="only spots in tissue, or a column of the table that says which ones are",
            remedy=f"keep those in tissue: {where} = {where}[{where}[{column!r}].isin("
            f"{shapes.loc[kept, column].unique().tolist()})]"
            if placed.table is None
            else f"copy the column into the table, row by row: {_copied(sdata, placed, column)}",
        )
    return shapes


def _copied(sdata: SpatialData, placed: Placed, column: str) -> str:
    """Python that copies a column of the shapes into the table."""
    own = f"sdata.tables[{placed.table!r}]"
    instance = table_link(sdata.tables[placed.table], str(placed.table)).instance_key
    return (
        f"{own}.obs[{column!r}] = sdata.shapes[{placed.shapes!r}].loc[{own}.obs[{instance!r}], {column!r}].to_numpy()"
    )


def row_shapes(sdata: SpatialData, placed: Placed, rows: NDArray[np.bool_]) -> GeoDataFrame:
    """The shape of each of some rows of the table.

    Raises
    ------
    InputError
        If a row has none, or two have one.
    """
    import pandas as pd

    table, shapes = sdata.tables[placed.table], sdata.shapes[placed.shapes]
    instances = table.obs[table_link(table, str(placed.table)).instance_key][rows]
    where = f"sdata.tables[{placed.table!r}].obs[{instances.name!r}]"
    found = _find(comparable(instances), shapes.index)
    if (found < 0).any():
        raise InputError(
            f"{(found < 0).sum()} of {len(found)} table rows name no shape in {placed.shapes!r}, "
            f"for example {instances.tolist()[int((found < 0).argmax())]!r}",
            where=where,
            expected=f"values of the index of sdata.shapes[{placed.shapes!r}], such as {shapes.index.tolist()[:1]!r}",
            remedy="correct the instance column or the shapes' index",
        )
    twice = instances[pd.Index(found).duplicated()]
    if len(twice):
        raise InputError(
            f"{len(twice)} of {len(found)} table rows name the same shape in {placed.shapes!r} as another row, "
            f"for example {twice.tolist()[0]!r}",
            where=where,
            expected="a shape of its own for each row",
            remedy="correct the instance column, or drop the duplicate rows",
        )
    return shapes.iloc[found]


def _find(ids: pd.Series, index: pd.Index) -> NDArray[np.intp]:
    """Place of every id in an index ``(n,)``, -1 where it is not there; where none is, as numbers: ``3.0`` is ``"3"``."""
    import pandas as pd

    rows = index.get_indexer(ids)
    if not len(rows) or (rows >= 0).any():
        return rows
    wanted, known = (pd.to_numeric(pd.Series(list(values), dtype=object), errors="coerce") for values in (ids, index))
    if wanted.isna().any() or known.isna().any() or not known.is_unique:
        return rows
    return pd.Index(known.to_numpy(float)).get_indexer(wanted.to_numpy(float))


def circle_radii(shapes: GeoDataFrame, name: str) -> NDArray[np.float64]:
    """Radii of circles ``(n,)`` as they are stored.

    Raises
    ------
    InputError
        If one is no positive finite number.
    """
    try:
        found = shapes["radius"].to_numpy(np.float64)
    except (ValueError, TypeError):
        found = np.full(len(shapes), np.nan)
    if not ((found > 0) & np.isfinite(found)).all():
        wrong = shapes["radius"].to_numpy()[~((found > 0) & np.isfinite(found))][0]
        raise InputError(
            f"a circle of shapes {name!r} has the radius {shown(wrong)}",
            where=f"sdata.shapes[{name!r}]['radius']",
            expected="positive finite numbers",
            remedy=f"set them: sdata.shapes[{name!r}]['radius'] = ...",
        )
    return found
