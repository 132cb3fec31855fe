"""Sparse matrices whose arrays do not fit their shape: refused by name at every door, before SciPy follows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from scipy.sparse import csc_matrix, csr_matrix
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict._spatialdata.stored import read_stored_section
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]

DAMAGE = {
    "indices -1": ("indices", 0, -1, "indices are -1 to 23, and there are 24 genes"),
    "indices 999": ("indices", 3, 999, "indices are 0 to 999, and there are 24 genes"),
    "indptr too far": ("indptr", 1, 100_000, "indptr does not rise from 0 to the number of values"),
    "indptr negative": ("indptr", 1, -5, "indptr does not rise from 0 to the number of values"),
    "indptr start": ("indptr", 0, 1, "indptr does not rise from 0 to the number of values"),
}
each_damage = pytest.mark.parametrize(("array", "at", "value", "says"), DAMAGE.values(), ids=DAMAGE)


def sparse(sdata: SpatialData) -> Any:
    """The table, its counts made sparse, every value of them stored."""
    table = sdata["table"]
    counts = np.asarray(table.X.toarray() if hasattr(table.X, "toarray") else table.X) + 1
    table.X = csr_matrix(counts)
    table.layers["counts"] = csr_matrix(counts)
    return table


DOORS: dict[str, Callable[[SpatialData], object]] = {
    "counts": lambda sdata: read_section(sdata, Elements(), need_counts=True),
    "counts of a layer": lambda sdata: read_section(sdata, Elements(layer="counts"), need_counts=True),
    "spots alone": lambda sdata: read_section(sdata, Elements(), need_counts=False),
    "to_anndata": stp.to_anndata,
    "pool_spots": lambda sdata: stp.pp.pool_spots(sdata, table_key="table", image_key="A_image"),
}


@each_damage
@pytest.mark.parametrize("door", DOORS)
def test_at_every_door(make_section: Make, door: str, array: str, at: int, value: int, says: str) -> None:
    sdata = make_section("A")
    getattr(sparse(sdata).X, array)[at] = value
    with pytest.raises(InputError, match=rf"{says}[^\n]*\n *where: +sdata.tables\['table'\].X\n"):
        DOORS[door](sdata)


@pytest.mark.parametrize("place", ["layers['counts']", "raw.X", "obsp['near']"])
def test_in_every_place(make_section: Make, place: str) -> None:
    sdata = make_section("A")
    table = sparse(sdata)
    table.raw = table.copy()
    table.obsp["near"] = csr_matrix(np.ones((42, 42)))
    matrix = {"layers['counts']": table.layers["counts"], "raw.X": table.raw.X, "obsp['near']": table.obsp["near"]}[
        place
    ]
    matrix.indices[0] = -1
    with pytest.raises(InputError, match="indices are -1 to") as error:
        stp.to_anndata(sdata)
    assert error.value.where == f"sdata.tables['table'].{place}"


def test_columns_first(make_section: Make) -> None:
    sdata = make_section("A")
    table = sparse(sdata)
    table.X = csc_matrix(table.X)
    assert read_section(sdata, Elements(), need_counts=True)[0].counts.sum() == table.X.sum()
    table.X.indices[0] = 42
    with pytest.raises(InputError, match="indices are 0 to 42, and there are 42 spots"):
        read_section(sdata, Elements(), need_counts=True)


@each_damage
def test_in_a_store_and_a_file(make_section: Make, tmp_path: Path, array: str, at: int, value: int, says: str) -> None:
    sdata = make_section("A")
    sparse(sdata)
    sdata.write(tmp_path / "A.zarr")
    stp.to_anndata(sdata).write_h5ad(tmp_path / "A.h5ad")
    section = read_stored_section(tmp_path / "A.zarr")[0]
    zarr.open_array(tmp_path / "A.zarr/tables/table/X" / array, mode="r+")[at] = value
    with h5py.File(tmp_path / "A.h5ad", "r+") as file:
        file["X"][array][at] = value
    with pytest.raises(InputError, match=says):
        read_stored_section(tmp_path / "A.zarr")
    with pytest.raises(InputError, match=says):
        stp.io.anndata(tmp_path / "A.h5ad")
    if array == "indices":  # after it was first read
        with pytest.raises(InputError, match=f"can no longer be read .{says}"):
            section.counts[:, np.arange(2)]


@pytest.mark.parametrize("last", [42 * 24 - 30, 42 * 24 + 30])
def test_rows_that_were_cut_on_disk(make_section: Make, tmp_path: Path, last: int) -> None:
    """Which SciPy would take as it is, without the values behind."""
    sdata = make_section("A")
    sparse(sdata)
    sdata.write(tmp_path / "A.zarr")
    zarr.open_array(tmp_path / "A.zarr/tables/table/X/indptr", mode="r+")[42] = last
    with pytest.raises(InputError, match="indptr does not rise from 0 to the number of values, 1008"):
        read_stored_section(tmp_path / "A.zarr")
