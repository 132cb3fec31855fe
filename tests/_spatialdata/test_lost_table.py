"""Chunks that a table in a store has lost: named where they cannot have been all zeros, and no whole store is refused."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spatialdata
import zarr
from click.testing import CliRunner
from scipy.sparse import csc_matrix, csr_matrix
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata.lost_table import check_tables
from st_predict._spatialdata.stored import open_store
from st_predict.cli.commands import main
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]


@pytest.fixture
def store(make_section: Make, tmp_path: Path) -> Path:
    """Section A, with places of the array."""
    sdata = make_section("A")
    sdata["table"].obs["array_row"], sdata["table"].obs["array_col"] = (v.ravel() for v in np.mgrid[:6, :7])
    sdata["table"].obs["kind"] = pd.Categorical(["one", "other"] * 21)
    sdata.write(tmp_path / "A.zarr")
    return tmp_path / "A.zarr"


def rechunk(store: Path, name: str, rows: int) -> Path:
    """Store an array in chunks of so many rows; the folder of these chunks."""
    parent, _, own = name.rpartition("/")
    group = zarr.open_group(store / parent, mode="a")
    values, attributes = group[own][:], dict(group[own].attrs)
    del group[own]
    group.create_array(own, data=values, chunks=(rows, *values.shape[1:])).attrs.update(attributes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tables of shapes, which are no part of Zarr
        zarr.consolidate_metadata(store)
    return store / name / "c"


LOST = [
    "X/data",
    "X/indices",
    "X/indptr",
    "obs/_index",
    "obs/instance_id",
    "obs/array_row",
    "obs/kind/categories",
    "var/_index",
    "obsm/spatial",
]


@pytest.mark.parametrize("name", LOST)
def test_what_a_table_has_lost_is_named(store: Path, name: str) -> None:
    array = store / "tables" / "table" / name
    array = array if (array / "c").is_dir() else array / "values"  # of text with pandas 3
    shutil.rmtree(array / "c")
    named = array.relative_to(store).as_posix()
    with pytest.raises(InputError, match=rf"^\S+A\.zarr is damaged: chunks are lost of {named}\n"):
        open_store(store)


@pytest.mark.parametrize("name", ["X/data", "X/indices", "X/indptr", "obs/instance_id"])
@pytest.mark.parametrize("number", ["0", "1", "last"])
def test_one_of_many_chunks(store: Path, name: str, number: str) -> None:
    chunks = rechunk(store, f"tables/table/{name}", 10)
    check_tables(store, where="sections")
    (chunks / (str(len(list(chunks.iterdir())) - 1) if number == "last" else number)).unlink()
    with pytest.raises(InputError, match=f"chunks are lost of tables/table/{name}\n"):
        open_store(store)


def test_every_door_that_takes_a_path(store: Path, make_section: Make, tmp_path: Path) -> None:
    make_section("B", 1).write(tmp_path / "B.zarr")
    shutil.rmtree(store / "tables" / "table" / "X" / "indices" / "c")
    both = {"A": store, "B": tmp_path / "B.zarr"}
    with pytest.raises(InputError, match="chunks are lost of tables/table/X/indices"):
        stp.tl.train(both, method="ridge", encoder="tiny", genes=10)
    with pytest.raises(InputError, match="chunks are lost of tables/table/X/indices"):
        stp.tl.cross_validate(both, methods=["ridge"], encoder="tiny", genes=10, n_jobs=1)
    outcome = CliRunner().invoke(main, ["evaluate", str(store)])
    assert outcome.exit_code and "chunks are lost of tables/table/X/indices" in outcome.output


@pytest.mark.parametrize("form", [csr_matrix, csc_matrix])
def test_a_whole_store_of_zeros_and_few_counts_is_taken(make_section: Make, tmp_path: Path, form: type) -> None:
    """Of which Zarr has left out every chunk that is all zeros."""
    sdata = make_section("A")
    table = sdata["table"]
    counts = np.zeros(table.shape, np.float32)
    counts[-3:, 0] = 1  # each the first and only gene of its spot
    table.X = form(counts)
    table.layers["none"], table.layers["dense"] = csr_matrix(table.shape), counts
    table.obs["nothing"], table.obs["array_row"], table.obs["array_col"] = 0.0, 0, 0
    table.obs["one"] = pd.Categorical([""] * 42)
    sdata.write(tmp_path / "A.zarr")
    rechunk(tmp_path / "A.zarr", f"tables/table/X/{'indices' if form is csr_matrix else 'indptr'}", 2)
    check_tables(tmp_path / "A.zarr", where="sections")
    assert (spatialdata.read_zarr(tmp_path / "A.zarr")["table"].X.toarray() == counts).all()
