"""Chunks that a table in a store has lost: refused by the name of their array, before anything is read of them.

Zarr reads a chunk that is gone as its fill value, 0 or "", and stores no chunk that is nothing else. So an absent chunk is a
lost one only where it cannot be all zeros: in sparse matrices, in what names rows and columns, and in places. Elsewhere
(dense matrices, marks, codes of categories) nobody can tell, unless the store is of ours and lists its files.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.columns import plain_name
from st_predict._spatialdata.matrices import check_written
from st_predict._spatialdata.one_section import ARRAY_PLACES
from st_predict.core.errors import InputError
from st_predict.core.outputs import lost_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_SPARSE = ("data", "indices", "indptr")
_NAMED = 3


def check_tables(store: Path, *, where: str) -> None:
    """Refuse a store whose tables have lost chunks, or rows of a matrix. What cannot be opened is left to whoever reads it.

    Raises
    ------
    InputError
        With the arrays.
    """
    import zarr

    try:
        root = zarr.open_group(store, mode="r")
        tables = dict(root["tables"].groups()) if "tables" in root else {}
        lost = [name for table in tables.values() for name in _lost(table, store)]
        lost += [name for name in lost_arrays(store) if name.startswith("tables/") and name not in lost]
        for name, table in tables.items() if not lost else ():
            check_written(table, f"{store}/tables/{name}")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, IndexError):
        return
    if lost:
        raise InputError(
            f"{store} is damaged: chunks are lost of {', '.join(lost[:_NAMED])}"
            + (f" and {len(lost) - _NAMED} arrays more" if len(lost) > _NAMED else ""),
            where=where,
            expected="a whole SpatialData Zarr store",
            remedy="copy the whole store again, or write it again: sdata.write('A1.zarr')",
        )


def _lost(table: Any, store: Path) -> Iterator[str]:
    """Arrays of a table that lack what they must have, as paths within the store."""
    groups = dict(table.groups())
    below = {name: [group for _, group in groups[name].groups()] for name in ("layers", "obsm") if name in groups}
    matrices = [groups[name] for name in ("X",) if name in groups] + below.get("layers", [])
    frames = [groups[name] for name in ("obs", "var") if name in groups] + below.get("obsm", [])
    for array in chain(
        *(_of_matrix(matrix, store) for matrix in matrices if set(_SPARSE) <= set(matrix)),
        *(_of_frame(frame, store) for frame in frames if "_index" in frame.attrs),
        _of_spots(table, store),
    ):
        yield array.path


def _gaps(array: Any, store: Path) -> list[slice]:
    """Rows of an array of which a file is gone, in order. In a shard that is there, nothing is lost."""
    side = tuple(array.shards or array.chunks)
    counts = [-(-size // length) for size, length in zip(array.shape, side, strict=True)]
    folder = store / array.path
    gone = {at[0] for at in np.ndindex(*counts) if at and not (folder / array.metadata.encode_chunk_key(at)).is_file()}
    return [slice(at * side[0], min((at + 1) * side[0], array.shape[0])) for at in sorted(gone)]


def _several(gaps: list[slice]) -> bool:
    """Whether one gap holds more than one row: these would be the same."""
    return any(gap.stop - gap.start > 1 for gap in gaps)


def _of_matrix(matrix: Any, store: Path) -> Iterator[Any]:
    """Parts of a sparse matrix that have lost something: no zero is kept, and no row has a column twice."""
    data, indices, indptr = (matrix[part] for part in _SPARSE)
    if _gaps(data, store):
        yield data
    if gaps := _gaps(indices, store):
        ends = indptr[:]
        if any(np.diff(ends.clip(gap.start, gap.stop)).max(initial=0) > 1 for gap in gaps):
            yield indices
    if gaps := _gaps(indptr, store):
        ends, gap = indptr[:], gaps[-1]
        to_its_end = gap.stop == len(ends)
        # The row behind the gap would begin at 0, and so have all of these.
        behind = indices[:] if to_its_end else indices[: ends[gap.stop]]
        if ends[: gap.start].any() or (to_its_end and len(behind)) or (np.diff(behind) <= 0).any():
            yield indptr


def _of_frame(frame: Any, store: Path) -> Iterator[Any]:
    """Names of rows, none of which is empty, and categories, which differ."""
    index = frame.attrs["_index"]
    for name, column in frame.members():
        if name == index:
            names = column["values"] if hasattr(column, "members") else column  # in a group, if some are missing
            if _gaps(names, store):
                yield names
        elif column.attrs.get("encoding-type") == "categorical" and _several(_gaps(column["categories"], store)):
            yield column["categories"]


def _of_spots(table: Any, store: Path) -> Iterator[Any]:
    """What differs from spot to spot: ids, places on the image, and places of the array."""
    obs = table["obs"]
    ids = table.attrs.get("instance_key")
    for array in [obs[ids]] * (ids in obs) + [table["obsm/spatial"]] * ("obsm/spatial" in table):
        if hasattr(array, "chunks") and _several(_gaps(array, store)):
            yield array
    columns = {plain_name(name): array for name, array in obs.arrays()}
    for names in ARRAY_PLACES:
        if not set(names) <= set(columns):
            continue
        pair = [columns[name] for name in names]
        gone = [array for array in pair if _several(_gaps(array, store))]
        if gone and _share_places(np.column_stack([array[:] for array in pair])):
            yield from gone


def _share_places(places: NDArray[Any]) -> bool:
    """Whether spots ``(n, 2)`` share places; if all have the same, it tells none."""
    n_places = len(np.unique(places, axis=0))
    return 1 < n_places < len(places)
