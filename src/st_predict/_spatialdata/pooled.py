"""Transcripts, cells or fine bins of a section, pooled to spots of an array on its tissue."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from st_predict._spatialdata.image import image_source
from st_predict._spatialdata.kept import own_genes
from st_predict._spatialdata.keys import Elements, Placed, measured_tables
from st_predict._spatialdata.read import read_section
from st_predict._spatialdata.scale import store_scale, stored_scale
from st_predict._spatialdata.slide import add_shapes, known_scale, lay_array
from st_predict._spatialdata.systems import shapes_to_image
from st_predict._spatialdata.transcript_columns import find_columns
from st_predict._spatialdata.transcripts import count_transcripts
from st_predict.core.errors import InputError
from st_predict.core.pooling import Lattice, sum_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData

logger = logging.getLogger("st_predict")
COUNTS = "{}_counts"
"""Name of the table beside the spots."""
_KEPT = ("section", "subject")
"""Columns of obs that hold for the whole section, and so for its pooled spots."""


class Array(NamedTuple):
    """The spots to lay."""

    pitch_um: float
    diameter_um: float
    layout: str
    tissue_key: str | None


def find_points(sdata: SpatialData, points_key: str | None, table_key: str | None) -> str | None:
    """Points asked for, or the only ones; ``None`` where a table is to be pooled.

    Raises
    ------
    InputError
        If both are asked for, they are missing, there are several to choose from, or there is nothing to pool.
    """
    names = list(sdata.points)
    if table_key is not None:
        if points_key is None:
            return None
        raise InputError(
            f"points {points_key!r} and table {table_key!r} are both to be pooled",
            where="points_key",
            expected="points_key for transcripts, or table_key for cells or bins",
            remedy="leave one of them out",
        )
    if points_key is not None and points_key not in names:
        raise InputError(
            f"there are no points {points_key!r}",
            where="points_key",
            expected=f"one of {', '.join(names) or '(there are none)'}",
            remedy="correct points_key, or pool a table: table_key=...",
        )
    if points_key is None and len(names) > 1:
        raise InputError(
            f"there are {len(names)} elements of points: {', '.join(names)}",
            where="points_key",
            expected="the name of the one that holds the transcripts",
            remedy=f"pass points_key={names[0]!r} (or another)",
        )
    if not names and not measured_tables(sdata):
        raise InputError(
            "the SpatialData has neither points nor a table of counts",
            where="sdata",
            expected="transcripts in sdata.points, or a table of cells or bins",
            remedy="read them with spatialdata-io, e.g. spatialdata_io.xenium(folder) or spatialdata_io.visium_hd(folder)",
        )
    return points_key or next(iter(names), None)


class Laid(NamedTuple):
    """Spots as they lie."""

    points: NDArray[np.float64]
    """Centers ``(n, 2)`` in px of the image."""
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]


class Pooled(NamedTuple):
    """Counts of genes in spots."""

    counts: csr_matrix
    """``(n_spots, n_genes)``."""
    var: pd.DataFrame
    """A row for each gene."""


def add_pooled(
    sdata: SpatialData,
    image: str,
    key: str,
    array: Array,
    count: Callable[[Lattice], Pooled],
    um_per_px: float,
) -> None:
    """Lay the array and write its spots with what is counted in them, see :func:`st_predict.pp.pool_spots`."""
    points, rows, cols = lay_array(
        sdata, image, pitch_um=array.pitch_um, um_per_px=um_per_px, layout=array.layout, tissue_key=array.tissue_key
    )
    pooled = count(
        Lattice.of(
            rows,
            cols,
            pitch_px=array.pitch_um / um_per_px,
            diameter_px=array.diameter_um / um_per_px,
            layout=array.layout,
        )
    )
    held = np.diff(pooled.counts.indptr) > 0
    if not held.any():
        raise InputError(
            f"none of the {len(points):,} spots on the tissue of image {image!r} holds a count",
            where="sdata",
            expected="counts that lie on the tissue",
            remedy=f"lay wider spots: {array.diameter_um:g} um of {array.pitch_um:g} leave most of the tissue out"
            if array.diameter_um < array.pitch_um / 2
            else "draw the counts over the image: the transformation of one of them is wrong",
        )
    if not held.all():
        logger.info(
            "%d of %d places on tissue have no counts and get no spot: nothing was measured there",
            (~held).sum(), len(held),
        )  # fmt: skip
    laid = Laid(points[held], rows[held], cols[held])
    _write(sdata, image, key, laid, Pooled(pooled.counts[held], pooled.var), array, um_per_px)


def check_free(sdata: SpatialData, key: str) -> None:
    """Refuse names under which there is something.

    Raises
    ------
    InputError
        For the spots or their table.
    """
    for name in (key, COUNTS.format(key)):
        if name in sdata:
            raise InputError(
                f"sdata[{name!r}] is there already",
                where="key_added",
                expected=f"a key such that neither {key!r} nor {COUNTS.format(key)!r} is taken",
                remedy=f"pass another key, such as key_added='{key}_2', or delete what is there: del sdata[{name!r}]",
            )


def pool_points(
    sdata: SpatialData,
    image: str,
    points: str,
    key: str,
    array: Array,
    *,
    feature_key: str | None,
    min_quality: Mapping[str, float] | None,
) -> None:
    """Pool transcripts."""
    import pandas as pd

    check_free(sdata, key)
    um_per_px, to_image = known_scale(sdata, image), shapes_to_image(sdata, Placed(image, points, None))
    columns = find_columns(sdata.points[points], points, feature_key, min_quality)
    source = image_source(sdata, image)
    size_px = int(source.col_edges[-1]), int(source.row_edges[-1])

    def count(lattice: Lattice) -> Pooled:
        found = count_transcripts(sdata.points[points], points, columns, to_image, lattice, size_px=size_px)
        return Pooled(found.counts, pd.DataFrame(index=pd.Index(found.genes.astype(object))))

    add_pooled(sdata, image, key, array, count, um_per_px)


def pool_table(sdata: SpatialData, key: str, array: Array, elements: Elements) -> None:
    """Pool cells or bins, by their centers."""
    from scipy.sparse import csr_matrix

    check_free(sdata, key)
    section, placed = read_section(sdata, elements, need_counts=True)
    if stored_scale(sdata, placed.image) is None and section.um_per_px is not None:
        store_scale(sdata, placed.image, section.um_per_px)

    def count(lattice: Lattice) -> Pooled:
        spots = lattice.spots_of(section.centers_px)
        logger.info(
            "%s of %s rows of table %r lie in spots", f"{(spots >= 0).sum():,}", f"{len(spots):,}", placed.table
        )
        table = sdata.tables[str(placed.table)]
        var = table.var[own_genes(table)].copy()
        var.index = section.gene_names.astype(object)
        return Pooled(sum_rows(csr_matrix(section.counts), spots, n_spots=lattice.n_spots), var)

    add_pooled(sdata, placed.image, key, array, count, known_scale(sdata, placed.image))


def _write(
    sdata: SpatialData, image: str, key: str, laid: Laid, pooled: Pooled, array: Array, um_per_px: float
) -> None:
    """Spots in px of the image, and a table that annotates them."""
    import pandas as pd
    from anndata import AnnData
    from geopandas import GeoDataFrame, points_from_xy
    from shapely import box
    from spatialdata.models import TableModel

    points, rows, cols = laid
    reach = array.diameter_um / um_per_px / 2
    columns = {"array_row": rows, "array_col": cols}
    if array.layout == "hex":
        frame = GeoDataFrame({"radius": reach, **columns}, geometry=points_from_xy(*points.T))
    else:
        (left, top), (right, bottom) = (points - reach).T, (points + reach).T
        frame = GeoDataFrame(columns, geometry=box(left, top, right, bottom))
    obs = pd.DataFrame(
        {"region": pd.Categorical([key] * len(points)), "instance_id": np.arange(len(points)), **columns, **_whole(sdata)},
        index=[f"{key}_{number}" for number in range(len(points))],
    )  # fmt: skip
    table = AnnData(pooled.counts.astype(np.int32), obs=obs, var=pooled.var, obsm={"spatial": points})
    add_shapes(sdata, image, key, frame)
    sdata.tables[COUNTS.format(key)] = TableModel.parse(
        table, region=key, region_key="region", instance_key="instance_id"
    )


def _whole(sdata: SpatialData) -> dict[str, str]:
    """What the tables that are there say of the section as a whole, where they say one thing."""
    found = {}
    for column in _KEPT:
        tables = [sdata.tables[name].obs for name in measured_tables(sdata)]
        values = {str(value) for obs in tables if column in obs for value in obs[column].dropna().unique()}
        if len(values) == 1:
            found[column] = values.pop()
    return found
