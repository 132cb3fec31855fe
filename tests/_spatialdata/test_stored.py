"""Sections given by the paths of their stores: the same model, and counts that stay on disk."""

from __future__ import annotations

import gc
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from anndata import AnnData
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata import stored
from st_predict._spatialdata.sections import read_sections
from st_predict._spatialdata.stored import StoredCounts, read_stored_section
from st_predict.core.errors import InputError
from st_predict.core.expression import choose_panel, section_expression, total_counts

Make = Callable[..., SpatialData]


@pytest.fixture
def stores(make_section: Make, tmp_path: Path) -> dict[str, Path]:
    """Sections A and B on disk."""
    paths = {}
    for seed, name in enumerate("AB"):
        paths[name] = tmp_path / f"{name}.zarr"
        make_section(name, seed, subject=f"P{seed}").write(paths[name])
    return paths


@pytest.mark.one_python
@pytest.mark.parametrize("band", [8192, 10, 1])
def test_counts_are_those_of_the_table(
    stores: dict[str, Path], make_section: Make, monkeypatch: pytest.MonkeyPatch, band: int
) -> None:
    monkeypatch.setattr(stored, "_BAND_ROWS", band)
    section, _ = read_stored_section(stores["A"])
    expected = make_section("A", 0)["table"].X.toarray()
    counts = section.counts
    assert isinstance(counts, StoredCounts) and counts.shape == expected.shape
    np.testing.assert_array_equal(total_counts(counts), expected.sum(axis=1))
    np.testing.assert_array_equal(counts.sum(axis=0), expected.sum(axis=0))
    columns, rows = np.array([3, 0, 11]), np.flatnonzero(np.arange(42) % 3 > 0)
    np.testing.assert_array_equal(counts[:, columns].toarray(), expected[:, columns])
    kept = section.keep(rows)
    np.testing.assert_array_equal(kept.counts[:, columns].toarray(), expected[rows][:, columns])
    np.testing.assert_array_equal(
        kept.keep(np.arange(len(rows)) > 5).counts.sum(axis=0), expected[rows][6:].sum(axis=0)
    )
    again = pickle.loads(pickle.dumps(kept.counts))
    np.testing.assert_array_equal(again.sum(axis=1), expected[rows].sum(axis=1))
    none = section.keep(np.zeros(42, bool)).counts
    assert none[:, columns].shape == (0, 3) and not none.sum(axis=0).any()


@pytest.mark.one_python
@pytest.mark.parametrize("ranking", ["heg", "hvg"])
def test_panel_and_targets_are_those_of_sections_in_memory(
    stores: dict[str, Path], make_section: Make, ranking: Any
) -> None:
    on_disk = read_sections(stores).sections
    held = read_sections({name: make_section(name, seed) for seed, name in enumerate("AB")}).sections
    panel = choose_panel(held, 10, ranking)
    assert choose_panel(on_disk, 10, ranking) == panel
    for one, other in zip(on_disk, held, strict=True):
        np.testing.assert_array_equal(section_expression(one, panel), section_expression(other, panel))


@pytest.mark.one_python
def test_the_model_is_that_of_sections_in_memory(
    stores: dict[str, Path], make_section: Make, quick: dict[str, Any]
) -> None:
    held = stp.tl.train({name: make_section(name, seed, subject=f"P{seed}") for seed, name in enumerate("AB")}, **quick)
    assert stp.tl.train(stores, **quick).id == held.id
    by_text = stp.tl.train([str(path) for path in stores.values()], **quick)
    assert by_text.id == held.id and by_text.sections == ["A", "B"]


@pytest.mark.one_python
def test_no_table_is_held(stores: dict[str, Path]) -> None:
    gc.collect()
    before = sum(type(thing) is AnnData for thing in gc.get_objects())
    read = read_sections(stores)
    gc.collect()
    assert sum(type(thing) is AnnData for thing in gc.get_objects()) == before
    assert read.objects == list(stores.values())


def test_features_in_a_store_are_used(
    make_section: Make, quick: dict[str, Any], tmp_path: Path, tile_count: Any
) -> None:
    section = make_section("A", 0)
    stp.pp.embed(section, encoder="tiny")
    section.write(tmp_path / "A.zarr")
    seen = tile_count.tiles
    stp.tl.train(tmp_path / "A.zarr", **quick)
    assert tile_count.tiles == seen


def test_cross_validation_takes_paths(stores: dict[str, Path], quick: dict[str, Any]) -> None:
    settings = {"encoder": "tiny", "genes": 10}
    table = stp.tl.cross_validate(stores, methods=["ridge"], n_jobs=1, **settings)
    assert set(table["section"]) == {"A", "B"} and np.isfinite(table["value"].dropna()).all()


@pytest.mark.one_python
@pytest.mark.parametrize("inside", ["", "tables", "tables/table/X/data/c", "tables/table/X/indptr"])
def test_a_section_that_disappears_is_named(stores: dict[str, Path], inside: str) -> None:
    section, _ = read_stored_section(stores["A"])
    shutil.rmtree(stores["A"] / inside)
    with pytest.raises(InputError, match=r"A\.zarr can no longer be read") as error:
        section_expression(section, ["g1"])
    assert "leave this section out" in error.value.remedy


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, said in {
        "folder": "folder is not a SpatialData Zarr store",
        "nothing.zarr": "nothing.zarr does not exist",
    }.items():
        with pytest.raises(InputError, match=said):
            stp.tl.train(tmp_path / name)


def test_a_table_of_a_newer_anndata_is_told_from_a_damaged_one(stores: dict[str, Path]) -> None:
    table = zarr.open_group(stores["A"] / "tables" / "table" / "X", mode="a")
    table.attrs["encoding-version"] = "9.0.0"
    with pytest.raises(InputError, match=r"^A\.zarr holds what anndata .* cannot read: No read method registered for"):
        stored.open_store(stores["A"])
